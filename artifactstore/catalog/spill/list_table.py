"""Tables of long lists on disk: of each list, only members that are new or may be changed are in memory."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.catalog.spill.table import SpilledTable

if TYPE_CHECKING:
    from artifactstore.catalog.spill.layered import AnyTables

__all__ = ["SpilledLists", "write_lists"]


class SpilledLists(SpilledTable):
    """A table of the fold whose values are lists, mostly in a file."""

    def __init__(self, base: "AnyTables", name: str) -> None:
        super().__init__(base, name)
        self.added = 0  # members added since the file was written

    def reopen(self, base: "AnyTables", *, written: bool) -> None:
        """Switch to another file of the same lists; `written`: it contains the changes, too."""
        super().reopen(base, written=written)
        self.added = 0 if written else self.added

    def _changes(self) -> dict[str, Any]:
        return {key: rows.delta() if isinstance(rows, _Members) else rows for key, rows in self.changed.items()}

    def _restored(self, key: str, value: Any) -> Any:
        if isinstance(value, list):
            return value
        text = self._base.text(self._name, key)
        if text is None:
            raise KeyError(key)
        found = _Members(self, key, *json.loads(text))
        found.restore(value)
        self.added += value["count"] - value["stored"]
        return found

    def _decoded(self, key: str, text: bytes) -> Any:
        return _Members(self, key, *json.loads(text))

    def _stored(self) -> Iterator[tuple[str, Any]]:
        return ((key, _Members(self, key, count, last)) for key, (count, last) in self._base.items(self._name))

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Yield keys and whole lists in order."""
        return ((key, list(value)) for key, value in super().pairs())

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the lists of the given keys that exist."""
        return {key: self[key] for key in keys if key in self}

    def keys_containing(self, _text: str) -> Iterator[str]:
        """Yield all keys, without a search."""
        return iter(self)

    def last_members(self, prefix: str) -> Iterator[tuple[str, int, Any]]:
        """Yield for each list whose key starts with a prefix: the key, its length, and its last member."""
        newer = {*self.gone, *self.changed}
        for key, (count, last) in self._base.rows_with_prefix(self._name, prefix):
            if not newer or key not in newer:
                yield key, count, last
        yield from ((key, len(value), value[-1]) for key, value in self.changed.items() if key.startswith(prefix))

    @property
    def unwritten(self) -> int:
        """The approximate number of members that have changed, or may have."""
        return len(self.changed) + self.added

    def write_to(self, base: SqliteTables) -> None:
        """Write the changes to a file."""
        write_lists(base, self._name, self.changed, self.gone)

    def member(self, key: str, number: int) -> Any:
        """Return a member of a list from the file."""
        return self._base.member(self._name, key, number)

    def members(self, key: str, count: int) -> Iterator[Any]:
        """Yield all of the `count` members of a list in the file except the last."""
        return self._base.members(self._name, key, count)

    @property
    def recording(self) -> bool:
        """Whether members accessed now may be changed by the caller."""
        return self._base.recording


class _Members(Sequence[Any]):
    """A list that is mostly in a file; only added members can be removed again.

    Args:
        table: its table.
        key: its key.
        count: number of its members in the file.
        last: the last of these.
    """

    __slots__ = ("_count", "_key", "_last", "_stored", "_table", "changed")

    def __init__(self, table: SpilledLists, key: str, count: int, last: Any) -> None:
        self._table = table
        self._key = key
        self._count = self._stored = count
        self._last = last
        self.changed: dict[int, Any] = {}  # index → member, for members that are new or may have changed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(self._count))]
        number = at + self._count if at < 0 else at
        if not 0 <= number < self._count:
            raise IndexError(at)
        if number in self.changed:
            return self.changed[number]
        value = self._last if number == self._stored - 1 else self._table.member(self._key, number)
        if self._table.recording:
            self.changed[number] = value
        return value

    def __iter__(self) -> Iterator[Any]:
        if self._table.recording:
            yield from super().__iter__()
            return
        for number, value in enumerate(self._table.members(self._key, self._stored)):
            yield self.changed.get(number, value)
        for number in range(self._stored - 1, self._count):
            yield self[number]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list can be changed

    def append(self, value: Any) -> None:
        """Append a member."""
        self.changed.setdefault(self._stored - 1, self._last)  # no longer the last member
        self.changed[self._count] = value
        self._count += 1
        self._table.added += 1

    def pop(self) -> Any:
        """Remove the last member, which was added since the file was written."""
        if self._count == self._stored:
            raise IndexError(f"all of {self._key} is in the file")
        self._count -= 1
        return self.changed.pop(self._count)

    def delta(self) -> dict[str, Any]:
        """Return what differs from the file, as a JSON value."""
        return {"stored": self._stored, "count": self._count, "changed": self.changed}

    def restore(self, delta: Mapping[str, Any]) -> None:
        """Apply the output of `delta` to a list of the same file.

        Raises:
            ValueError: the file has another list.
        """
        if delta["stored"] != self._stored:
            raise ValueError(self._key)
        self._count = delta["count"]
        self.changed = {int(at): member for at, member in delta["changed"].items()}


def write_lists(base: SqliteTables, table: str, lists: Mapping[str, Any], gone: Iterable[str]) -> None:
    """Write whole lists, and only the changes of lists that are in a file already.

    Args:
        base: the file.
        table: name of the table.
        lists: key → list.
        gone: keys of removed lists.
    """
    anew = [key for key, rows in lists.items() if not isinstance(rows, _Members)]
    parts = ((key, rows, rows.changed.items() if isinstance(rows, _Members) else enumerate(rows)) for key, rows in lists.items())
    base.write_lists(table, ((key, len(rows), rows[-1], some) for key, rows, some in parts), gone, anew)
