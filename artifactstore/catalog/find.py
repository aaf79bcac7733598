"""Finding versions: by name, kind, metadata and metrics. Pure functions of the state."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from artifactstore.catalog.lineage import closure, code_of
from artifactstore.catalog.state import State
from artifactstore.catalog.versions import Version, versions
from artifactstore.errors import InvalidInputError

__all__ = ["condition", "find"]

_CONDITION: Final = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}", re.ASCII)
_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def condition(text: str | float) -> Callable[[float], bool]:
    """Read a condition on a metric: `OP NUMBER` with one of `>= <= == != > <`, or a bare number for equality.

    Raises:
        InvalidInputError: another form.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return lambda value: value == text
    match = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInputError(f"{text!r} is no condition on a metric; expected for example '>= 0.9' or '< 1e-3'")
    compare, number = _OPERATORS[match[1]], float(match[2])
    return lambda value: compare(value, number)


def find(
    state: State,
    *,
    name: Any = None,
    kind: Any = None,
    metadata: Any = None,
    metrics: Any = None,
    uses: str | None = None,
    code: Any = None,
    run: Any = None,
    since: Any = None,
) -> Iterator[Version]:
    """Yield the versions that meet all conditions, by name and number; removed ones are left out.

    Args:
        state: where to look.
        name: a name or a pattern with `*`, `?` and `[…]`.
        kind: the kind.
        metadata: keys and the values that they must have; a dotted key looks inside.
        metrics: metric → condition, for example `{"auc": ">= 0.9"}`; the newest measured value counts.
        uses: a digest that they were made from, by however many steps.
        code: the beginning of a commit of a run that produced them.
        run: id, name or pattern of the name of a run that produced them.
        since: not put before this moment.

    Raises:
        InvalidInputError: a condition that can't be read.
    """
    for what, text in (("name", name), ("kind", kind), ("code", code), ("run", run)):
        if text is not None and not isinstance(text, str):
            raise InvalidInputError(f"{what}={text!r}: a str is needed")
    for what, table in (("metadata", metadata), ("metrics", metrics)):
        if table is not None and not (isinstance(table, Mapping) and all(isinstance(key, str) for key in table)):
            raise InvalidInputError(f"{what} is a dict with str keys, not {table!r}")
    if code is not None and not _COMMIT.fullmatch(code):
        raise InvalidInputError(f"code={code!r}: a commit, or the first 7 or more of its hexadecimal digits")
    if since is not None and (not isinstance(since, datetime) or since.tzinfo is None):
        raise InvalidInputError(f"since={since!r}: a datetime with its time zone")
    tests = {metric: condition(text) for metric, text in (metrics or {}).items()}
    chosen = _chosen(state, uses=uses, code=code, run=run, tests=tests)
    for one, numbers in _candidates(state, name, chosen):
        for version in versions(state, one, numbers):
            if (
                not version.removed
                and (since is None or version.time >= since)
                and (kind is None or version.kind == kind)
                and all(_same(_inside(version.metadata, key), value) for key, value in (metadata or {}).items())
            ):
                yield version


def _candidates(state: State, name: str | None, chosen: set[str] | None) -> Iterator[tuple[str, list[int] | None]]:
    """Yield names, each with the numbers of those versions that are worth looking at; None for all."""
    if chosen is None:
        yield from ((one, None) for one in sorted(state.names) if name is None or fnmatchcase(one, name))
        return
    found: dict[str, list[int]] = {}
    for digest in chosen:
        for one, number, _ in state.named.get(digest, ()):
            if name is None or fnmatchcase(one, name):
                found.setdefault(one, []).append(number)
    yield from ((one, sorted(found[one])) for one in sorted(found))


def _chosen(
    state: State, *, uses: str | None, code: str | None, run: str | None, tests: Mapping[str, Callable[[float], bool]]
) -> set[str] | None:
    """Return the digests that meet the conditions of lineage and metrics; None where there is no such condition."""
    found: list[set[str]] = []
    if uses is not None:
        found.append({node.id for node in closure(state, uses, up=False).nodes.values() if node.depth})
    if code is not None or run is not None:
        found.append({edge["digest"] for edges in _runs(state, code, run) for edge in edges if edge["fact"] == "produced"})
    if tests:
        rows = state.metrics.items()
        found.append({digest for digest, row in rows if all(one in row and test(row[one]) for one, test in tests.items())})
    return set.intersection(*found) if found else None


def _runs(state: State, code: str | None, run: str | None) -> Iterator[list[dict[str, Any]]]:
    """Yield what runs used and produced that have a commit, and an id or a name."""
    if run is not None and run not in state.runs:
        if run in state.edges and code is None:
            yield state.edges[run]  # of another store, whose start is not known here
        wanted = [one for one, row in state.runs.items() if fnmatchcase(row["name"], run)]
    else:
        wanted = [*state.runs] if run is None else [run]
        if run is not None:
            wanted += [one for one, row in state.runs.items() if one != run and fnmatchcase(row["name"], run)]
    for one in wanted:
        if code is None or str(code_of(state, one)[1].get("commit", "")).startswith(code.lower()):
            yield state.edges.get(one, [])


def _same(found: Any, wanted: Any) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _inside(metadata: Mapping[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
