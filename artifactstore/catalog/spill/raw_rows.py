"""Rows of an SQLite file as they are stored, without decoding: for whoever only passes them on."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from xxhash import xxh3_64_intdigest

__all__ = ["SIGNED", "RawRows", "are_whole", "checksum_of"]

SIGNED: Final = 2**63  # SQLite's integers are signed


class RawRows:
    """The part of a file of tables that reads and writes rows as JSON."""

    _file: sqlite3.Connection

    def _one(self, query: str, *values: str | int) -> Any:
        raise NotImplementedError

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        raise NotImplementedError

    def _checked(self, key: str, value: Any, checksum: int, number: int = 0) -> bytes:
        raise NotImplementedError

    def member_text(self, members: str, key: str, number: int) -> bytes | None:
        """Return a member of a list, other than its last, as JSON, or None; `members` is the table of these."""
        value, checksum = self._one(f"select value, sum from {members} where key = ? and number = ?", key, number) or (None, 0)  # noqa: S608
        return None if value is None else self._checked(key, value, checksum, number)

    def texts_between(self, table: str, low: str, high: str | None, *, members: bool = False) -> Iterator[tuple[str, bytes]]:
        """Yield (key, JSON of the value) by key, from `low` on, and below `high`; `members`: of lists, named as in layers."""
        span = (low, high if high is not None else "\U0010ffff" * 8)
        if members:
            query = f"select key, number, value, sum from {table} where key >= ? and key < ? order by key, number"  # noqa: S608
            for key, number, value, checksum in self._rows(query, (low.rpartition("\0")[0], span[1])):
                name = f"{key}\0{number:012d}"
                if low <= name < span[1]:
                    yield name, self._checked(key, value, checksum, number)
            return
        query = f"select key, value, sum from {table} where key >= ? and key < ? order by key"  # noqa: S608 - a name of ours
        yield from ((key, self._checked(key, value, checksum)) for key, value, checksum in self._rows(query, span))

    def write_texts_of(self, table: str, rows: Iterable[tuple[str, bytes]]) -> None:
        """Insert rows whose values are JSON already."""
        found = ((key, text, checksum_of(key, text)) for key, text in rows)
        self._file.executemany(f"insert into {table} values (?, ?, ?)", found)  # noqa: S608 - a name of ours

    def write_members(self, members: str, rows: Iterable[tuple[str, int, bytes]]) -> None:
        """Insert members of lists, likewise; `members` is the table of these."""
        found = ((key, number, text, checksum_of(key, text, number)) for key, number, text in rows)
        self._file.executemany(f"insert into {members} values (?, ?, ?, ?)", found)  # noqa: S608 - a name of ours


def checksum_of(key: str, value: bytes, number: int = 0) -> int:
    """Return the checksum of a row."""
    return xxh3_64_intdigest(value, len(key) + (number << 32)) - SIGNED


def are_whole(keys: Sequence[str], texts: Sequence[Any], sums: Sequence[Any]) -> bool:
    """Return whether no row has changed, without a call for each."""
    if {*map(type, texts)} != {bytes} or {*map(type, sums)} != {int}:
        return False
    return [*map(xxh3_64_intdigest, texts, map(len, keys))] == [one + SIGNED for one in sums]
