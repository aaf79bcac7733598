"""Large tables of the fold in an SQLite file: one table each, one row per key, with its value as JSON.

For a table of long lists a row has a list's length and its last member; the other members are rows of a second table: adding
one to a thousand writes one. A file shared with other processes is never changed: changes go to a copy. Runs are
in insertion order, as in a dict, all other tables by key.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import finalize

from artifactstore.catalog.spill.raw_rows import RawRows, are_whole, checksum_of
from artifactstore.errors import CorruptionError
from artifactstore.runtime.local_files import temporary

__all__ = ["LISTING", "LISTS", "ORDERED", "SPILLED", "SqliteTables", "encoded", "scratch"]

SPILLED: Final = (
    "holders", "manifests", "stored", "names", "unnamed", "named", "metrics", "runs", "produced_by", "used_in", "edges", "hooks",
    "measures", "approvals", "by_metadata",
)  # fmt: skip
ORDERED: Final = frozenset({"runs"})  # tables in insertion order; others are sorted by key
LISTS: Final = {"names": "versions"}  # tables of long lists → tables of their members
LISTING: Final = "listing"  # the text that is a list of all names
T = TypeVar("T")
_CHECKSUM: Final = 8  # bytes
_PAGE: Final = 16_384  # bytes: a row larger than a quarter page gets a page of its own; at 4,096 this wastes a fifth of the file
_QUERY_ROWS: Final = 500  # rows per query
_DECODE_BATCH: Final = 500  # values decoded at a time


class SqliteTables(RawRows):
    """An SQLite file of tables.

    Args:
        path: the file.
        own: whether this process alone uses it: it may be changed, and is removed when no longer needed.
        lasting: whether it belongs to a store, not to this machine's cache: it is not removed, even if damaged.

    Attributes:
        path: the file.
        own: as above.
        recording: whether rows accessed now may be changed by the caller.
    """

    def __init__(self, path: Path, *, own: bool, lasting: bool = False) -> None:
        self.path = path
        self.own = own
        self.recording = False
        self._lasting = lasting
        mode = "mode=rw" if own else "mode=ro&immutable=1"
        self._file = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False, isolation_level=None
        )
        if own:
            # It is rebuilt if lost, so nothing has to reach the disk.
            for setting in ("journal_mode = delete", "synchronous = off", "locking_mode = exclusive", "cache_size = -100000"):
                self._file.execute(f"pragma {setting}")
            self._end = finalize(self, _remove, str(path), os.getpid())

    @classmethod
    def empty(cls) -> "SqliteTables":
        """Create an empty file."""
        made = cls(scratch(), own=True)
        _make_tables(made._file)
        return made

    @classmethod
    def received(cls, path: Path, *, own: bool, lasting: bool) -> "SqliteTables":
        """Open a file of another process: it must contain exactly the tables that `empty` creates (no views, no triggers).

        Raises:
            CorruptionError: it contains anything else.
        """
        try:
            made = cls(path, own=own, lasting=lasting)
            made._file.execute("pragma trusted_schema = off")
            found = made._file.execute("select type, name, sql from sqlite_master").fetchall()
        except sqlite3.Error as error:
            raise CorruptionError(f"{path.name} is not a file of tables: {error}", location=path.name) from error
        with closing(sqlite3.connect(":memory:")) as model:
            _make_tables(model)
            if sorted(map(repr, found)) != sorted(map(repr, model.execute("select type, name, sql from sqlite_master"))):
                raise CorruptionError(f"{path.name} is not a file of the fold's tables", location=path.name)
        return made

    def copy(self) -> "SqliteTables":
        """Create a copy that may be changed."""
        made = SqliteTables(scratch(), own=True)
        self._file.backup(made._file)  # from the open file: its path may be gone
        made._file.execute("delete from texts where name = ?", (LISTING,))
        return made

    def close(self) -> None:
        """Close the file; remove it if it is owned."""
        self._file.close()
        if self.own:
            self._end()

    def texts(self) -> dict[str, bytes]:
        """Return the texts that `write_texts` wrote.

        Raises:
            CorruptionError: the file is damaged.
        """
        return {name: bytes(value) for name, value in self._rows("select name, value from texts")}

    def listing(self) -> bytes | None:
        """Return the list of names that `publish_as` wrote, or None; it is missing in copies, which may be changed.

        Raises:
            CorruptionError: the file is damaged.
        """
        row = self._one("select value from texts where name = ?", LISTING)
        if row is None:
            return None
        checksum, text = row[0][:_CHECKSUM], row[0][_CHECKSUM:]
        return self._checked(LISTING, text, int.from_bytes(checksum, "big", signed=True))

    def write_texts(self, texts: Mapping[str, bytes], counts: Mapping[str, int]) -> None:
        """Write texts beside the tables, and the row count of each table."""
        self._file.executemany("insert or replace into texts values (?, ?)", texts.items())
        self._note(counts)

    def _note(self, counts: Mapping[str, int]) -> None:
        self._file.executemany("insert or replace into counts values (?, ?)", counts.items())

    def compact_to(self, path: Path) -> None:
        """Rewrite the file under another path, each table contiguous."""
        self._file.execute(f"pragma page_size = {_PAGE}")  # files of an earlier version may have another
        self._file.execute("vacuum into ?", (str(path),))

    def publish_as(self, path: Path, counts: Mapping[str, int], listing: bytes | None = None) -> "SqliteTables":
        """Publish the file under another path for other processes, and return it as they see it.

        Args:
            path: the new path.
            counts: row count of each table, which is slow to compute.
            listing: the list of names, which is slow to compute, too.
        """
        texts = (
            {} if listing is None else {LISTING: checksum_of(LISTING, listing).to_bytes(_CHECKSUM, "big", signed=True) + listing}
        )
        self.write_texts(texts, counts)
        shutil.move(self.path, path)
        made = SqliteTables(path, own=False)
        self._end.detach()
        self._file.close()
        return made

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes of the block, or none."""
        self._file.execute("begin")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite rolls back by itself when the disk is full
                self._file.execute("rollback")
            raise
        self._file.execute("commit")

    def text(self, table: str, key: str) -> bytes | None:
        """Return a row's value as JSON, or None.

        Raises:
            CorruptionError: the file is damaged.
        """
        row = self._one(f"select value, sum from {table} where key = ?", key)  # noqa: S608 - a name of ours
        return None if row is None else self._checked(key, *row)

    def get_many(self, table: str, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Yield (key, value) of the rows that exist, in any order.

        Raises:
            CorruptionError: the file is damaged.
        """
        wanted = iter(sorted(keys))  # neighbours share a page of the file
        while some := tuple(islice(wanted, _QUERY_ROWS)):
            marks = ",".join("?" * len(some))
            yield from self._values(f"select key, value, sum from {table} where key in ({marks})", some)  # noqa: S608

    def rows_with_prefix(self, table: str, prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield the rows whose key starts with a prefix, by key.

        Raises:
            CorruptionError: the file is damaged.
        """
        query = f"select key, value, sum from {table} where key >= ? and key < ? order by key"  # noqa: S608 - a name of ours
        return self._values(query, _span(prefix))

    def member(self, table: str, key: str, number: int) -> Any:
        """Return a member of a list, other than its last; indices start at 0.

        Raises:
            CorruptionError: the file is damaged.
        """
        query = f"select value, sum from {LISTS[table]} where key = ? and number = ?"  # noqa: S608 - a name of ours
        value, checksum = self._one(query, key, number) or (None, 0)
        return json.loads(self._checked(key, value, checksum, number))

    def members(self, table: str, key: str, count: int) -> Iterator[Any]:
        """Yield all members of a list except its last, in order.

        Args:
            table: table of the list.
            key: key of the list.
            count: number of its members.

        Raises:
            CorruptionError: the file is damaged.
        """
        query = f"select number, value, sum from {LISTS[table]} where key = ? order by number"  # noqa: S608 - a name of ours
        rows = ((at, self._checked(key, value, checksum, at)) for at, value, checksum in self._rows(query, (key,)))
        last = -1
        for last, (at, value) in enumerate(_decoded(rows)):
            if at != last:
                raise self._changed(key)
            yield value
        if last != count - 2:
            raise self._changed(key)

    def _checked(self, key: str, value: Any, checksum: int, number: int = 0) -> bytes:
        if not isinstance(value, bytes) or checksum_of(key, value, number) != checksum:
            raise self._changed(key)
        return value

    def has(self, table: str, key: str) -> bool:
        """Return whether a row exists."""
        return self._one(f"select 1 from {table} where key = ?", key) is not None  # noqa: S608

    def count(self, table: str) -> int:
        """Return the number of rows."""
        known = self._file.execute("select rows from counts where name = ?", (table,)).fetchone()
        return int((known or self._file.execute(f"select count(*) from {table}").fetchone())[0])  # noqa: S608

    def keys(self, table: str) -> Iterator[str]:
        """Yield the keys in order."""
        return (key for (key,) in self._rows(f"select key from {table} order by {_order(table)}"))  # noqa: S608

    def keys_with_prefix(self, table: str, prefix: str) -> Iterator[str]:
        """Yield the keys that start with a prefix."""
        rows = self._rows(f"select key from {table} where key >= ? and key < ?", _span(prefix))  # noqa: S608
        return (key for (key,) in rows)

    def keys_containing(self, table: str, text: bytes) -> Iterator[str]:
        """Yield the keys of rows whose JSON contains some bytes."""
        rows = self._rows(f"select key from {table} where instr(value, ?) order by {_order(table)}", (text,))  # noqa: S608
        return (key for (key,) in rows)

    def items(self, table: str) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order."""
        return self._values(f"select key, value, sum from {table} order by {_order(table)}")  # noqa: S608

    def _values(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
        """Yield the rows of a query of (key, value, checksum)."""
        return chain.from_iterable(self._batches(query, values))

    def _batches(self, query: str, values: tuple[Any, ...]) -> Iterator[Iterable[tuple[str, Any]]]:
        """Yield the rows of a query in batches: a call for each row takes longer than its JSON."""
        try:
            found = self._file.execute(query, values)
            while rows := found.fetchmany(_DECODE_BATCH):
                keys, texts, sums = zip(*rows, strict=True)
                if not are_whole(keys, texts, sums):
                    for row in rows:
                        self._checked(*row)
                yield zip(keys, json.loads(b"[" + b",".join(texts) + b"]"), strict=True)
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def _one(self, query: str, *values: str | int) -> Any:
        try:
            return self._file.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        try:
            yield from self._file.execute(query, values)
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def write(self, table: str, rows: Iterable[tuple[str, Any]], gone: Iterable[str]) -> None:
        """Insert or replace rows, and delete some."""
        text = f"insert into {table} values (?, ?, ?) on conflict (key) do update set value = excluded.value, sum = excluded.sum"  # noqa: S608
        wanted = rows if table in ORDERED else sorted(rows, key=itemgetter(0))  # neighbours share a page of the file
        encoded_rows = ((key, encoded(value)) for key, value in wanted)
        self._file.executemany(text, ((key, value, checksum_of(key, value)) for key, value in encoded_rows))
        self._file.executemany(f"delete from {table} where key = ?", ((key,) for key in gone))  # noqa: S608

    def write_lists(
        self,
        table: str,
        lists: Iterable[tuple[str, int, Any, Iterable[tuple[int, Any]]]],
        gone: Iterable[str],
        anew: Iterable[str] = (),
    ) -> None:
        """Insert or replace members of lists, and delete some lists.

        Args:
            table: the table.
            lists: for each list its key, its length, its last member, and (index, member) of those to write, without the
                last one.
            gone: keys of lists to delete.
            anew: keys of lists whose members are all replaced.
        """
        lists, gone, members = sorted(lists, key=itemgetter(0)), list(gone), LISTS[table]
        self._file.executemany(f"delete from {members} where key = ?", ((key,) for key in (*gone, *anew)))  # noqa: S608
        self.write(table, ((key, [count, last]) for key, count, last, _ in lists), gone)
        encoded_rows = ((key, at, encoded(value)) for key, count, _, some in lists for at, value in some if at < count - 1)
        rows = ((key, at, value, checksum_of(key, value, at)) for key, at, value in encoded_rows)
        self._file.executemany(f"insert or replace into {members} values (?, ?, ?, ?)", rows)  # noqa: S608

    def _changed(self, key: str) -> CorruptionError:
        return self._damaged(f"the row of {key} has changed")

    def _damaged(self, what: str) -> CorruptionError:
        if self._lasting:
            text = f"the snapshot {self.path.name} is damaged ({what}): delete it, since it is derived data, and open the store again"
            return CorruptionError(text, location=self.path.name)
        with suppress(OSError):
            self.path.unlink()  # derived data: rebuilt when the store is opened next
        return CorruptionError(
            f"the cached state of this store on this machine is damaged ({what}); it was removed: open the store again"
        )


def scratch() -> Path:
    """Create an empty temporary file."""
    import tempfile  # noqa: PLC0415 - loads what draws random numbers: 2 ms, which a reader of a kept file need not spend

    with temporary("the tables of a snapshot need a file"):
        handle, name = tempfile.mkstemp(prefix="artifactstore-", suffix=".fold")
        os.close(handle)
    return Path(name)


def _make_tables(file: sqlite3.Connection) -> None:
    file.execute(f"pragma page_size = {_PAGE}")
    row = "value blob not null, sum integer not null"
    for table in SPILLED:
        kind = "" if table in ORDERED else " without rowid"
        file.execute(f"create table {table} (key text primary key not null, {row}){kind}")
    for table in LISTS.values():
        file.execute(
            f"create table {table} (key text not null, number integer not null, {row}, primary key (key, number)) without rowid"
        )
    file.execute("create table counts (name text not null unique, rows integer not null)")
    file.execute("create table texts (name text not null unique, value blob not null)")


def _span(prefix: str) -> tuple[str, str]:
    return prefix, prefix + "\U0010ffff"


def _order(table: str) -> str:
    return "rowid" if table in ORDERED else "key"


_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encoded(value: Any) -> bytes:
    """Encode a value for a row."""
    return _encode(value).encode()


def _decoded(rows: Iterable[tuple[T, bytes]]) -> Iterator[tuple[T, Any]]:
    """Decode the JSON of values, many at a time, which takes a third of the time."""
    left = iter(rows)
    while some := tuple(islice(left, _DECODE_BATCH)):
        yield from zip((key for key, _ in some), json.loads(b"[" + b",".join([text for _, text in some]) + b"]"), strict=True)


def _remove(path: str, pid: int) -> None:
    if pid == os.getpid():  # a forked child must not remove its parent's file
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - also at interpreter exit
