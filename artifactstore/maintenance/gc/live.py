"""Which artifacts must stay, as pure functions of the fold: what versions, unnamed puts, holds and runs name."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from artifactstore.catalog.fold.state import State

__all__ = ["edge_candidates", "is_live", "live_digests", "named_by_runs"]

_REMOVED: Final[dict[str, Any]] = {"removed": {}}


def live_digests(state: State, by_runs: Collection[str] = ()) -> set[str]:
    """Return the digests whose content must stay.

    Args:
        state: the fold.
        by_runs: digests that runs alone name (`named_by_runs`).
    """
    found = {row["digest"] for rows in state.names.values() for row in rows if "removed" not in row}
    found.update(digest for digest, row in state.unnamed.items() if "removed" not in row)  # received without its content
    found.update(row["digest"] for row in state.holds.values())
    found.update(by_runs)
    return found


def is_live(state: State, digest: str, by_runs: Collection[str] = ()) -> bool:
    """Return whether the content of a digest must stay: `live_digests` for one."""
    return (
        "removed" not in state.unnamed.get(digest, _REMOVED)
        or digest in by_runs
        or any("removed" not in state.names[name][number - 1] for name, number, _ in state.versions_by_digest.get(digest, ()))
        or any(row["digest"] == digest for row in state.holds.values())
    )


def edge_candidates(state: State, live: Collection[str]) -> set[str]:
    """Return digests that no version, unnamed put or hold keeps, and a run names: whether they were removed, only history shows."""
    found = set()
    for table in (state.produced_by, state.used_by_runs):
        for digest in table:
            if digest not in live and state.alive(digest) and not state.versions_by_digest.get(digest):
                found.add(digest)
    return found


def named_by_runs(candidates: Collection[str], history: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return those of some digests that a run has named since they were last removed.

    Args:
        candidates: as `edge_candidates` returns them.
        history: the effective transactions, in order.
    """
    found: set[str] = set()
    for txn in history:
        for fact, received in _facts(txn["facts"]):
            digest = fact.get("digest")
            if digest in candidates:
                if fact["fact"] in {"used", "produced"}:
                    found.add(str(digest))
                elif fact["fact"] == "removed" and not received:
                    found.discard(str(digest))
    return found


def _facts(facts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield facts, and those inside of received ones; each with whether it was received."""
    for fact in facts:
        yield fact, False
        if fact["fact"] == "received":
            yield from ((inner, True) for inner in fact["facts"])
