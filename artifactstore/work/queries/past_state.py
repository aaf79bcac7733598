"""The state after an entry, as far as the words of its transactions need it, from the state at the head: these tables only grow."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from artifactstore.catalog.fold.state import State

__all__ = ["PastState"]


class PastState:
    """What the words of a transaction take from the state after its entry.

    Args:
        state: the state at the head.
        seq: the entry.
    """

    def __init__(self, state: State, seq: int) -> None:
        self.header: Mapping[str, Any] = state.header
        self.runs = _Before(state.runs.get, lambda row: row["seq"] <= seq)
        self.versions_by_digest = _Before(self._versions, bool)
        self._state = state
        self._seq = seq

    def _versions(self, digest: str) -> list[Any]:
        """Return the newest version of a digest."""
        rows = self._state.versions_by_digest.get(digest, ())
        names = self._state.names
        return next(([row] for row in reversed(rows) if names[row[0]][row[1] - 1]["seq"] <= self._seq), [])

    def version_of(self, fact: Mapping[str, Any]) -> int | None:
        """Return the number of the version that a fact names."""
        rows = self._state.names.get(fact["name"], ())
        if fact.get("version") is not None:
            known = 1 <= fact["version"] <= len(rows) and rows[fact["version"] - 1]["seq"] <= self._seq
            return int(fact["version"]) if known else None
        wanted = fact.get("digest")
        found = (k for k in range(len(rows), 0, -1) if rows[k - 1]["digest"] == wanted and rows[k - 1]["seq"] <= self._seq)
        return next(found, None)


class _Before(Mapping[str, Any]):
    """A table without the rows that came later."""

    def __init__(self, find: Callable[[str], Any], is_known: Callable[[Any], bool]) -> None:
        self._find = find
        self._is_known = is_known

    def __getitem__(self, key: str) -> Any:
        row = self._find(key)
        if row is None or not self._is_known(row):
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
