"""Tables of long lists on disk: of each list only those members are in memory that are new, or that may be changed."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from artifactstore.catalog.spilled import SpilledTable
from artifactstore.catalog.table_file import Base

__all__ = ["SpilledLists", "write_lists"]


class SpilledLists(SpilledTable):
    """One table of the fold whose values are lists, most of which lies in a file."""

    def __init__(self, base: Base, name: str) -> None:
        super().__init__(base, name)
        self.added = 0  # members that were added since the file was written

    def reopen(self, base: Base, *, written: bool) -> None:
        """Go on with another file of the same lists; `written`: it has what has changed, too."""
        super().reopen(base, written=written)
        self.added = 0 if written else self.added

    def _decoded(self, key: str, text: bytes) -> Any:
        return _Members(self, key, *json.loads(text))

    def _stored(self) -> Iterator[tuple[str, Any]]:
        return ((key, _Members(self, key, count, last)) for key, (count, last) in self._base.items(self._name))

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Yield keys and whole lists in order."""
        return ((key, list(value)) for key, value in super().pairs())

    def several(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the lists of those keys that there are."""
        return {key: self[key] for key in keys if key in self}

    def holding(self, _text: str) -> Iterator[str]:
        """Yield all keys: nothing is searched."""
        return iter(self)

    def lasts(self, prefix: str) -> Iterator[tuple[str, int, Any]]:
        """Yield of each list whose key begins so the key, how many members it has, and the last one."""
        for key, (count, last) in self._base.beginning(self._name, prefix):
            if key not in self.gone and key not in self.changed:
                yield key, count, last
        yield from ((key, len(value), value[-1]) for key, value in self.changed.items() if key.startswith(prefix))

    @property
    def unwritten(self) -> int:
        """How many members have changed, or may have; about."""
        return len(self.changed) + self.added

    def write_to(self, base: Base) -> None:
        """Write what has changed into a file."""
        write_lists(base, self._name, self.changed, self.gone)

    def member(self, key: str, number: int) -> Any:
        """Return what the file has as one member of a list."""
        return self._base.member(self._name, key, number)

    def members(self, key: str, count: int) -> Iterator[Any]:
        """Yield all of the `count` members that the file has of a list but the last."""
        return self._base.members(self._name, key, count)

    @property
    def recording(self) -> bool:
        """Whether what is looked at now may be changed by whoever looks."""
        return self._base.recording


class _Members(Sequence[Any]):
    """One list, most of which lies in a file; only what was added can be taken away again.

    Args:
        table: whose it is.
        key: its key.
        count: how many members the file has.
        last: the last of these.
    """

    __slots__ = ("_count", "_key", "_last", "_stored", "_table", "changed")

    def __init__(self, table: SpilledLists, key: str, count: int, last: Any) -> None:
        self._table = table
        self._key = key
        self._count = self._stored = count
        self._last = last
        self.changed: dict[int, Any] = {}  # number → member, of those that are new or may have been changed

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
        """Add a member."""
        self.changed.setdefault(self._stored - 1, self._last)  # it goes to the other members, now that it is not the last
        self.changed[self._count] = value
        self._count += 1
        self._table.added += 1

    def pop(self) -> Any:
        """Take away the last member, which was added since the file was written."""
        if self._count == self._stored:
            raise IndexError(f"all of {self._key} is in the file")
        self._count -= 1
        return self.changed.pop(self._count)


def write_lists(base: Base, table: str, lists: Mapping[str, Any], gone: Iterable[str]) -> None:
    """Write whole lists, and of those that lie in a file already, what has changed.

    Args:
        base: the file.
        table: which of its tables.
        lists: key → list.
        gone: keys of lists that are taken away.
    """
    anew = [key for key, rows in lists.items() if not isinstance(rows, _Members)]
    parts = ((key, rows, rows.changed.items() if isinstance(rows, _Members) else enumerate(rows)) for key, rows in lists.items())
    base.write_lists(table, ((key, len(rows), rows[-1], some) for key, rows, some in parts), gone, anew)
