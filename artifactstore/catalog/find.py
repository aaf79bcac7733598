"""Search for versions: by name, kind, metadata and metrics. Pure functions of the state."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final

from artifactstore.catalog.comparison import Comparison
from artifactstore.catalog.fold.metadata_index import candidates, values_at
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import code_of, descendants
from artifactstore.catalog.spill.table import keys_containing, keys_with_prefix
from artifactstore.catalog.versions import Version, versions
from artifactstore.errors import InvalidInputError

__all__ = ["condition", "find"]

_COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}", re.ASCII)


def condition(text: str | float) -> Callable[[float], bool]:
    """Parse a condition on a metric: `OP NUMBER` with one of `>= <= == != > <`, or a bare number for equality.

    Raises:
        InvalidInputError: the form differs.
    """
    return Comparison.parse(text)


def find(
    state: State,
    *,
    name: Any = None,
    text: Any = None,
    alias: Any = None,
    tag: Any = None,
    kind: Any = None,
    metadata: Any = None,
    metrics: Any = None,
    uses: str | None = None,
    code: Any = None,
    run: Any = None,
    since: Any = None,
) -> Iterator[Version]:
    """Yield the versions that meet all conditions, sorted by name and number, without removed ones.

    Args:
        state: the state to search.
        name: a name or a pattern with `*`, `?` and `[…]`.
        text: words that all occur in what is recorded of a version, in any case.
        alias: an alias that points to it now.
        tag: `KEY`, `KEY=VALUE`, or a dict of tags.
        kind: the kind.
        metadata: keys and their required values, or sets of values of which any will do; a dotted key is one as it is, and looks
            inside.
        metrics: metric → condition, for example `{"auc": ">= 0.9"}`; the latest measured value counts.
        uses: a digest that they were made from, directly or indirectly.
        code: the beginning of a commit of a run that produced them.
        run: id (or the beginning of one, 6 digits or more), name or name pattern of a run that produced them.
        since: not put before this time.

    Raises:
        InvalidInputError: an invalid condition.
    """
    for what, given in (("name", name), ("text", text), ("alias", alias), ("kind", kind), ("code", code), ("run", run)):
        if given is not None and not isinstance(given, str):
            raise InvalidInputError(f"{what}= must be a str, got {given!r}")
    tags = _tags(tag)
    for what, table in (("metadata", metadata), ("metrics", metrics)):
        if table is not None and not (isinstance(table, Mapping) and all(isinstance(key, str) for key in table)):
            raise InvalidInputError(f"{what}= must be a dict with str keys, got {table!r}")
    if code is not None and not _COMMIT.fullmatch(code):
        raise InvalidInputError(f"code= must be a commit, or its first 7 or more hexadecimal digits, got {code!r}")
    if since is not None and (not isinstance(since, datetime) or since.tzinfo is None):
        raise InvalidInputError(f"since= must be a datetime with a time zone, got {since!r}")
    tests = {metric: Comparison.parse(one) for metric, one in (metrics or {}).items()}
    run = _only_run(state, run)
    of_run = run is not None or code is not None
    words = text.casefold().split() if text is not None else []
    made = _made_from(state, uses)
    noted = None if not metadata else candidates(state.by_metadata, metadata)
    for one, numbers in _candidates(state, name, noted=noted, made=made, tests=tests, of_run=(run, code) if of_run else None):
        for version in versions(state, one, numbers):
            if (
                not version.removed
                and (noted is None or made is None or version.digest in made)
                and (since is None or version.time >= since)
                and (kind is None or version.kind == kind)
                and (alias is None or alias in version.aliases)
                and (not tags or _is_tagged(version, tags))
                and (not words or _mentions(state, version, words))
                and all(metric in version.metrics and test(version.metrics[metric]) for metric, test in tests.items())
                and all(_has(version.metadata, key, value) for key, value in (metadata or {}).items())
                and (not of_run or any(_is_of(state, one, run, code) for one in state.produced_by.get(version.digest, ())))
            ):
                yield version


def _tags(tag: Any) -> dict[str, Any]:
    """Return tags and their required values; None for any value.

    Raises:
        InvalidInputError: neither text nor a dict with str keys.
    """
    if tag is None:
        return {}
    if isinstance(tag, Mapping) and all(isinstance(key, str) for key in tag):
        return dict(tag)
    if not isinstance(tag, str) or not tag.partition("=")[0]:
        raise InvalidInputError(f"tag= must be 'KEY', 'KEY=VALUE' or a dict, got {tag!r}")
    key, sign, value = tag.partition("=")
    return {key: value if sign else None}


def _is_tagged(version: Version, tags: Mapping[str, Any]) -> bool:
    held = version.metadata.get("tags")
    if isinstance(held, list | tuple):  # words alone
        return all(key in held and value is None for key, value in tags.items())
    if not isinstance(held, Mapping):
        return False
    return all(
        key in held and (value is None or _same(held[key], value) or (isinstance(value, str) and _as_text(held[key]) == value))
        for key, value in tags.items()
    )


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _mentions(state: State, version: Version, words: Iterable[str]) -> bool:
    """Return whether all words occur in what is recorded: name, aliases, kind, reason, metadata, and parameters of its runs."""
    held = [version.name, version.kind, version.reason, *version.aliases, json.dumps(version.metadata, ensure_ascii=False)]
    for run in state.produced_by.get(version.digest, ()):
        row = state.runs.get(run)
        if row is not None:
            held += [row["name"], json.dumps(row.get("params", {}), ensure_ascii=False)]
    everything = "\n".join(one for one in held if one).casefold()
    return all(word in everything for word in words)


_Tests = Mapping[str, Comparison]


def _made_from(state: State, uses: str | None) -> set[str] | None:
    return None if uses is None else descendants(state, uses)


def _candidates(
    state: State,
    name: str | None,
    *,
    noted: set[tuple[str, int]] | None,
    made: set[str] | None,
    tests: _Tests,
    of_run: tuple[str | None, str | None] | None,
) -> Iterator[tuple[str, list[int] | None]]:
    """Yield names, each with the numbers of its candidate versions (None: all), by the most selective condition.

    Most of a million versions do not match, and checking each takes seconds.
    """
    chosen: Iterable[str]
    if noted is not None:
        yield from _grouped(noted, name)
        return
    if made is not None:
        chosen = made
    elif name is not None or not (tests or of_run):
        yield from ((one, None) for one in sorted(state.names) if name is None or fnmatchcase(one, name))
        return
    elif tests:
        metric, test = next(iter(tests.items()))
        chosen = state.sorted_metrics.chosen(state.metrics, metric, test)
    else:
        assert of_run is not None
        chosen = {
            edge["digest"] for run in _runs(state, *of_run) for edge in state.edges.get(run, ()) if edge["fact"] == "produced"
        }
    rows = (row for digest in chosen for row in state.versions_by_digest.get(digest, ()))
    yield from _grouped(((one, number) for one, number, _ in rows), name)


def _grouped(pairs: Iterable[tuple[str, int]], name: str | None) -> Iterator[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for one, number in pairs:
        if name is None or fnmatchcase(one, name):
            found.setdefault(one, []).append(number)
    yield from ((one, sorted(found[one])) for one in sorted(found))


def _only_run(state: State, run: str | None) -> str | None:
    """Return the id of the only run that starts with `run`, if it is neither an id nor a run's name."""
    if run is None or run in state.runs or len(run) < 6 or any(sign in run for sign in "*?[/:"):
        return run
    matches = [*islice(keys_with_prefix(state.runs, run), 2)]
    return matches[0] if len(matches) == 1 and next(_runs(state, run, None), None) is None else run


def _runs(state: State, run: str | None, code: str | None) -> Iterator[str]:
    """Yield the runs that match an id or a name, and a commit."""
    if run is not None and (run in state.runs or run in state.edges):
        yield run
    exact = run is not None and not any(sign in run for sign in "*?[")
    for one in keys_containing(state.runs, run) if exact and run is not None else state.runs:
        if one != run and _is_of(state, one, run, code):
            yield one


def _is_of(state: State, one: str, run: str | None, code: str | None) -> bool:
    row = state.runs.get(one)
    if row is None:  # a run of another store, whose start is unknown here
        return run == one and code is None
    if run is not None and run != one and not fnmatchcase(row["name"], run):
        return False
    return code is None or str(code_of(state, one)[1].get("commit", "")).startswith(code.lower())


def _same(found: Any, wanted: Any) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _has(metadata: Mapping[str, Any], key: str, wanted: Any) -> bool:
    found = [*values_at(metadata, key)] or [None]
    allowed = wanted if isinstance(wanted, set | frozenset) else (wanted,)
    return any(_same(one, value) for one in found for value in allowed)
