"""Marks: metadata that say which version of another system a version is."""

from collections.abc import Mapping, Sequence

from artifactstore.catalog.fold.metadata_index import further
from artifactstore.model.facts import Fact

__all__ = ["Marks"]


class Marks:
    """The versions of one name by the values of some metadata.

    Args:
        keys: of these metadata.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = keys
        self._seen = 0
        self._newest: dict[tuple[str, ...], int] = {}

    def find(self, rows: Sequence[Fact], marks: Mapping[str, str]) -> int | None:
        """Return the number of the newest version with these values; of `rows` the newest alone changes, and gets successors."""
        for number in range(max(self._seen, 1), len(rows) + 1):
            metadata = rows[number - 1].get("metadata", {})
            for one in (metadata, *further(metadata)):
                if all(isinstance(one.get(key), str) for key in self._keys):
                    self._newest[tuple(one[key] for key in self._keys)] = number
        self._seen = len(rows)
        return self._newest.get(tuple(marks[key] for key in self._keys))
