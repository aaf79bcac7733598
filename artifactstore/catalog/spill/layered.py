"""Large tables of the fold in layers: what a published base and the deltas on it add up to, read on access."""

import json
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from artifactstore.catalog.spill.layer import GONE, Layer, Row, compose, key_hash, row_between
from artifactstore.catalog.spill.sqlite_file import LISTS, ORDERED, SPILLED, SqliteTables
from artifactstore.errors import CorruptionError

__all__ = ["AnyTables", "LayeredTables", "member_key"]

_BATCH: Final = 200  # values decoded at a time
_END: Final = "\U0010ffff"
_DIGITS: Final = 12


def member_key(key: str, number: int) -> str:
    """Return the key of a list's member: those of a list are in order, behind one another."""
    return f"{key}\0{number:0{_DIGITS}d}"


class LayeredTables:
    """Tables in layers, each on the one before; read only.

    Args:
        layers: the oldest first.
        bottom: the file that the first is on, if that does not begin with the journal.
        store: id of the store.

    Attributes:
        path: of no file.
        own: False: it is never changed.
        recording: whether rows accessed now may be changed by the caller.
    """

    own: Final = False

    def __init__(self, layers: Sequence[Layer], bottom: SqliteTables | None = None, store: str = "") -> None:
        self.store = store
        self.layers = tuple(layers)
        self.bottom = bottom
        self.recording = False
        self.path = Path()

    def close(self) -> None:
        """Release the file at the bottom."""
        if self.bottom is not None:
            self.bottom.close()

    def listing(self) -> None:
        """Return None: a list of names is kept beside this machine's files only."""

    # -- one row

    def text(self, table: str, key: str) -> bytes | None:
        """Return a row's value as JSON, or None.

        Raises:
            CorruptionError: a layer is damaged, although its digest is right.
        """
        mixed, added = key_hash(key), []
        try:
            for layer in reversed(self.layers):
                row = layer.find(table, key, mixed)
                if row is not None:
                    added.append(row)
                    if row[:1] != b"+":
                        break
            else:
                value = self._from_bottom(table, key)
                return value if not added else _composed(value, added)
            return _composed(None, added)
        except (ValueError, TypeError) as error:
            raise _damaged(error) from error

    def _from_bottom(self, table: str, key: str) -> bytes | None:
        if self.bottom is None:
            return None
        if table in LISTS.values():
            name, _, number = key.rpartition("\0")
            return self.bottom.member_text(table, name, int(number))
        return self.bottom.text(table, key)

    def has(self, table: str, key: str) -> bool:
        """Return whether a row exists."""
        return self.text(table, key) is not None

    def get_many(self, table: str, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Yield (key, value) of the rows that exist, in any order."""
        found = ((key, self.text(table, key)) for key in keys)
        return _decoded((key, text) for key, text in found if text is not None)

    def member(self, table: str, key: str, number: int) -> Any:
        """Return a member of a list, other than its last; indices start at 0."""
        text = self.text(LISTS[table], member_key(key, number))
        if text is None:
            raise _damaged(f"{key} lacks a member")
        return json.loads(text)

    # -- many rows

    def texts_between(self, table: str, low: str = "", high: str | None = None) -> Iterator[Row]:
        """Yield (key, JSON of the value) by key, from `low` on, and below `high`."""
        sources: list[Iterable[Row]] = [layer.rows(table, low, high) for layer in self.layers if table in layer.tables()]
        if self.bottom is not None:
            sources.insert(0, self.bottom.texts_between(table, low, high, members=table in LISTS.values()))
        try:
            if len(sources) == 1:
                yield from ((key, row) for key, row in sources[0] if row != GONE)
                return
            # Rows of one key come in the order of the sources.
            for key, rows in groupby(merge(*sources, key=itemgetter(0)), itemgetter(0)):
                value: bytes | None = None
                for _, row in rows:
                    value = compose(value, row)
                if value is not None:
                    yield key, value
        except (ValueError, TypeError) as error:
            raise _damaged(error) from error

    def rows_with_prefix(self, table: str, prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield the rows whose key starts with a prefix, by key."""
        return _decoded(self.texts_between(table, prefix, prefix + _END))

    def members(self, table: str, key: str, count: int) -> Iterator[Any]:
        """Yield all of the `count` members of a list except the last, in order."""
        low, high = member_key(key, 0), member_key(key, count - 1)
        found = 0
        for _, value in _decoded(
            (one, text) for one, text in self.texts_between(LISTS[table], low, high) if len(one) == len(low)
        ):
            found += 1
            yield value
        if found != count - 1:
            raise _damaged(f"{key} has other members")

    def count(self, table: str) -> int:
        """Return the number of rows."""
        if self.layers:
            return self.layers[-1].counts.get(table, 0)
        return 0 if self.bottom is None else self.bottom.count(table)

    def keys(self, table: str) -> Iterator[str]:
        """Yield the keys in order."""
        if table not in ORDERED:
            yield from (key for key, _ in self.texts_between(table))
            return
        if self.bottom is not None:
            yield from self.bottom.keys(table)
        try:
            for layer in self.layers:
                yield from layer.order()
        except (ValueError, TypeError) as error:
            raise _damaged(error) from error

    def keys_with_prefix(self, table: str, prefix: str) -> Iterator[str]:
        """Yield the keys that start with a prefix."""
        return (key for key, _ in self.texts_between(table, prefix, prefix + _END))

    def keys_containing(self, table: str, text: bytes) -> Iterator[str]:
        """Yield the keys of rows whose JSON contains some bytes."""
        return (key for key, value in self._texts(table) if text in value)

    def items(self, table: str) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order."""
        return _decoded(self._texts(table))

    def _texts(self, table: str) -> Iterator[Row]:
        if table not in ORDERED:
            yield from self.texts_between(table)
            return
        found = dict(self.texts_between(table))
        try:
            yield from ((key, found[key]) for key in self.keys(table))
        except KeyError as error:
            raise _damaged(f"{error} has an order and no row") from error

    # -- making others of them

    def copy(self) -> SqliteTables:
        """Create a file that has all rows and may be changed."""
        made = SqliteTables.empty()
        with made.transaction():
            for table in SPILLED:
                made.write_texts_of(table, self._texts(table))
            for table in LISTS.values():
                found = ((key.rpartition("\0"), text) for key, text in self.texts_between(table))
                made.write_members(table, ((key, int(number), text) for (key, _, number), text in found))
        return made

    def merged(self, layers: Sequence[Layer]) -> dict[str, Iterable[Row]]:
        """Return the rows of one layer on top of these, which does what several do, one behind the other."""

        def rows(table: str) -> Iterator[Row]:
            for key, found in groupby(merge(*(layer.rows(table) for layer in layers), key=itemgetter(0)), itemgetter(0)):
                added = [row for _, row in found]
                if len(added) == 1:
                    yield key, added[0]
                    continue
                old = self.text(table, key)
                row = row_between(old, _composed(old, added[::-1]))
                if row is not None:
                    yield key, row

        return {table: rows(table) for table in (*SPILLED, *LISTS.values())}


AnyTables = SqliteTables | LayeredTables


def _composed(value: bytes | None, newest_first: Sequence[bytes]) -> bytes | None:
    for row in reversed(newest_first):
        value = compose(value, row)
    return value


def _decoded(rows: Iterable[Row]) -> Iterator[tuple[str, Any]]:
    left = iter(rows)
    while some := list(islice(left, _BATCH)):
        try:
            values = json.loads(b"[" + b",".join([text for _, text in some]) + b"]")
            found = list(zip([key for key, _ in some], values, strict=True))
        except (ValueError, RecursionError) as error:
            raise _damaged(error) from error
        yield from found


def _damaged(what: object) -> CorruptionError:
    return CorruptionError(
        f"a snapshot of this store is damaged ({what}): `verify` names it; delete it, since it is derived data"
    )
