"""The names of a state with their newest versions, in columns; and a list of them that is kept with the state."""

import json
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.table import get_many, touched

__all__ = ["columns_of", "kept_columns", "listing", "newest"]

_LISTED: Final = 200_000  # names, beyond which a list of them is not kept: reading it takes as long as asking for some


def newest(state: State, name: str, *, tainted: bool = False) -> int | None:
    """Return the number of the newest version that is not removed nor, unless `tainted`, tainted; None if there is none."""
    rows = state.names.get(name, ())
    for k in range(len(rows), 0, -1):
        if "removed" not in rows[k - 1] and (tainted or rows[k - 1]["digest"] not in state.tainted):
            return k
    return None


def columns_of(state: State, lasts: Iterable[tuple[str, int, dict[str, Any]]]) -> dict[str, list[Any]]:
    """Return names in columns, sorted, as `Name` has them; the time as text, without aliases and metadata."""
    tainted, rows = state.tainted, list[tuple[str, int, int | None, dict[str, Any], str]]()
    for name, count, last in lasts:
        if "removed" not in last and (not tainted or last["digest"] not in tainted):
            rows.append((name, count, count, last, last["time"]))
            continue
        latest = newest(state, name)
        row = last if latest is None else state.names[name][latest - 1]
        rows.append((name, count, latest, row, last["time"]))
    rows.sort(key=itemgetter(0))
    digests = [row["digest"] for _, _, _, row, _ in rows]
    stored = get_many(state.stored, digests)
    return {
        "name": [name for name, _, _, _, _ in rows],
        "versions": [count for _, count, _, _, _ in rows],
        "latest": [latest for _, _, latest, _, _ in rows],
        "kind": [row["kind"] for _, _, _, row, _ in rows],
        "size": [stored[digest].get("size", 0) if stored.get(digest) else 0 for digest in digests],
        "time": [time for _, _, _, _, time in rows],
    }


def listing(state: State) -> bytes | None:
    """Return a list of all names for a kept state: one text is read ten times as fast as a row for each; None if there are too many."""
    if len(state.names) > _LISTED:
        return None
    return json.dumps({**columns_of(state, state.last_versions("")), "tainted": sorted(state.tainted)}).encode()


def kept_columns(state: State) -> dict[str, list[Any]] | None:
    """Return the kept list of names with what has changed since; None if none is kept."""
    text = state.base.listing() if state.listed and state.base is not None else None
    if text is None:
        return None
    kept = json.loads(text)
    digests = touched(state.stored) | ({*kept.pop("tainted")} ^ {*state.tainted})
    columns: dict[str, list[Any]] = kept  # in the order of `columns_of`: the name is the first
    changed = touched(state.names) | {name for one in digests for name, _, _ in state.versions_by_digest.get(one, ())}
    if not changed:
        return columns
    lasts = ((name, len(rows), rows[-1]) for name in changed if (rows := state.names.get(name)))
    news = columns_of(state, lasts)
    whole = zip(*columns.values(), strict=True)
    merged = [row for row in whole if row[0] not in changed] + [*zip(*(news[name] for name in columns), strict=True)]
    merged.sort(key=itemgetter(0))
    return dict(zip(columns, map(list, zip(*merged, strict=True)), strict=True)) if merged else news
