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
    made = _made(state, uses, code, run)
    tests = {metric: condition(text) for metric, text in (metrics or {}).items()}
    for one in sorted(state.names):
        if name is not None and not fnmatchcase(one, name):
            continue
        for version in versions(state, one):
            if (
                not version.removed
                and (made is None or version.digest in made)
                and (since is None or version.time >= since)
                and (kind is None or version.kind == kind)
                and all(_same(_inside(version.metadata, key), value) for key, value in (metadata or {}).items())
                and all(metric in version.metrics and test(version.metrics[metric]) for metric, test in tests.items())
            ):
                yield version


def _made(state: State, uses: str | None, code: str | None, run: str | None) -> set[str] | None:
    """Return the digests that some runs produced, or that were made from something; None for no such condition."""
    found: set[str] | None = None
    if uses is not None:
        found = {node.id for node in closure(state, uses, up=False).nodes.values() if node.depth}
    if code is not None or run is not None:
        produced = {digest for digest, runs in state.produced_by.items() if any(_is_of(state, one, code, run) for one in runs)}
        found = produced if found is None else found & produced
    return found


def _is_of(state: State, one: str, code: str | None, run: str | None) -> bool:
    if one not in state.runs:
        return run == one and code is None
    name = state.runs[one]["name"]
    if run is not None and run != one and not fnmatchcase(name, run):
        return False
    return code is None or str(code_of(state, one)[1].get("commit", "")).startswith(code.lower())


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
