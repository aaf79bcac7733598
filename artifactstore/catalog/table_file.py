"""Files of rows: large tables of the fold on disk, in SQLite's format; a table each, a row a key and its value as JSON.

Of a table of long lists a row has how many members the list has and the last one; the members are rows of another table:
who adds one to a thousand writes one. A file that others use too is never changed: what is new goes into a copy. Runs are
told in the order in which they came, as in a dict, all else by key.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import finalize

import xxhash

from artifactstore.backend.disk import temporary
from artifactstore.errors import CorruptionError

__all__ = ["LISTS", "SPILLED", "Base", "encoded", "scratch"]

SPILLED: Final = (
    "holders", "manifests", "stored", "names", "unnamed", "named", "metrics", "runs", "produced_by", "used_in", "edges", "hooks",
)  # fmt: skip
_ORDERED: Final = frozenset({"runs"})  # whose rows are told in the order in which they came; others by their keys
LISTS: Final = {"names": "versions"}  # tables of long lists, and where their members are
T = TypeVar("T")
_SIGNED: Final = 2**63  # SQLite's numbers have a sign
_PAGE: Final = 16_384  # bytes: a row of more than a quarter of it takes its own; at 4,096 a fifth of the file is that waste
_AT_ONCE: Final = 500  # rows that are asked for by one query
_TOGETHER: Final = 200  # values that are decoded as one


class Base:
    """One such file.

    Args:
        path: the file.
        own: nobody else uses it: it may be changed, and is removed when it is no longer needed.
        lasting: it is a store's, and not this machine's: it is not removed, even if it is damaged.

    Attributes:
        path: the file.
        own: as above.
        recording: whether what is looked at now may be changed by whoever looks.
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
            # It is made anew if it is lost, so nothing has to reach the disk.
            for setting in ("journal_mode = delete", "synchronous = off", "locking_mode = exclusive", "cache_size = -100000"):
                self._file.execute(f"pragma {setting}")
            self._end = finalize(self, _remove, str(path), os.getpid())

    @classmethod
    def empty(cls) -> "Base":
        """Make an empty one."""
        made = cls(scratch(), own=True)
        _make_tables(made._file)
        return made

    @classmethod
    def received(cls, path: Path, *, own: bool, lasting: bool) -> "Base":
        """Open a file that somebody else made: nothing but the tables that `empty` makes may be in it (no views, no triggers).

        Raises:
            CorruptionError: it is another kind of file.
        """
        try:
            made = cls(path, own=own, lasting=lasting)
            made._file.execute("pragma trusted_schema = off")
            found = made._file.execute("select type, name, sql from sqlite_master").fetchall()
        except sqlite3.Error as error:
            raise CorruptionError(f"{path.name} is no file of tables: {error}", location=path.name) from error
        with closing(sqlite3.connect(":memory:")) as model:
            _make_tables(model)
            if sorted(map(repr, found)) != sorted(map(repr, model.execute("select type, name, sql from sqlite_master"))):
                raise CorruptionError(f"{path.name} is no file of the fold's tables", location=path.name)
        return made

    def copy(self) -> "Base":
        """Make a copy that may be changed."""
        made = Base(scratch(), own=True)
        self._file.backup(made._file)  # from what is open: its path may be gone
        return made

    def close(self) -> None:
        """Close the file; it is removed if it is an own one."""
        self._file.close()
        if self.own:
            self._end()

    def texts(self) -> dict[str, bytes]:
        """Return the texts that `write_texts` wrote.

        Raises:
            CorruptionError: the file is damaged.
        """
        return {name: bytes(value) for name, value in self._rows("select name, value from texts")}

    def write_texts(self, texts: Mapping[str, bytes], counts: Mapping[str, int]) -> None:
        """Write texts beside the tables, and how many rows each table has."""
        self._file.executemany("insert or replace into texts values (?, ?)", texts.items())
        self._note(counts)

    def _note(self, counts: Mapping[str, int]) -> None:
        self._file.executemany("insert or replace into counts values (?, ?)", counts.items())

    def packed_to(self, path: Path) -> None:
        """Write the file anew under another path, each table in one piece."""
        self._file.execute(f"pragma page_size = {_PAGE}")  # one that an earlier version made may have another
        self._file.execute("vacuum into ?", (str(path),))

    def moved_to(self, path: Path, counts: Mapping[str, int]) -> "Base":
        """Give the file to others under another path, and return it as they see it.

        Args:
            path: where.
            counts: how many rows each table has, which takes long to count.
        """
        self._note(counts)
        shutil.move(self.path, path)
        made = Base(path, own=False)
        self._end.detach()
        self._file.close()
        return made

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all of what is written inside, or nothing of it."""
        self._file.execute("begin")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has done so itself
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

    def several(self, table: str, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Yield (key, value) of those rows that there are, in any order.

        Raises:
            CorruptionError: the file is damaged.
        """
        wanted = iter(sorted(keys))  # neighbours share a page of the file
        while some := tuple(islice(wanted, _AT_ONCE)):
            marks = ",".join("?" * len(some))
            yield from self._values(f"select key, value, sum from {table} where key in ({marks})", some)  # noqa: S608

    def beginning(self, table: str, prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield the rows whose key begins so, by key.

        Raises:
            CorruptionError: the file is damaged.
        """
        query = f"select key, value, sum from {table} where key >= ? and key < ? order by key"  # noqa: S608 - a name of ours
        return self._values(query, _span(prefix))

    def member(self, table: str, key: str, number: int) -> Any:
        """Return one member of a list that is not its last; the first is 0.

        Raises:
            CorruptionError: the file is damaged.
        """
        query = f"select value, sum from {LISTS[table]} where key = ? and number = ?"  # noqa: S608 - a name of ours
        value, told = self._one(query, key, number) or (None, 0)
        return json.loads(self._checked(key, value, told, number))

    def members(self, table: str, key: str, count: int) -> Iterator[Any]:
        """Yield all members of a list but its last, in order.

        Args:
            table: whose list it is.
            key: of the list.
            count: how many members it has.

        Raises:
            CorruptionError: the file is damaged.
        """
        query = f"select number, value, sum from {LISTS[table]} where key = ? order by number"  # noqa: S608 - a name of ours
        rows = ((at, self._checked(key, value, told, at)) for at, value, told in self._rows(query, (key,)))
        told = -1
        for told, (at, value) in enumerate(_decoded(rows)):
            if at != told:
                raise self._changed(key)
            yield value
        if told != count - 2:
            raise self._changed(key)

    def _checked(self, key: str, value: Any, told: int, number: int = 0) -> bytes:
        if not isinstance(value, bytes) or _sum(key, value, number) != told:
            raise self._changed(key)
        return value

    def has(self, table: str, key: str) -> bool:
        """Tell whether there is a row."""
        return self._one(f"select 1 from {table} where key = ?", key) is not None  # noqa: S608

    def count(self, table: str) -> int:
        """Return how many rows there are."""
        known = self._file.execute("select rows from counts where name = ?", (table,)).fetchone()
        return int((known or self._file.execute(f"select count(*) from {table}").fetchone())[0])  # noqa: S608

    def keys(self, table: str) -> Iterator[str]:
        """Yield the keys in order."""
        return (key for (key,) in self._rows(f"select key from {table} order by {_order(table)}"))  # noqa: S608

    def starting(self, table: str, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so."""
        rows = self._rows(f"select key from {table} where key >= ? and key < ?", _span(prefix))  # noqa: S608
        return (key for (key,) in rows)

    def holding(self, table: str, text: bytes) -> Iterator[str]:
        """Yield the keys of rows whose JSON holds some bytes."""
        rows = self._rows(f"select key from {table} where instr(value, ?) order by {_order(table)}", (text,))  # noqa: S608
        return (key for (key,) in rows)

    def items(self, table: str) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order."""
        return self._values(f"select key, value, sum from {table} order by {_order(table)}")  # noqa: S608

    def _values(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
        return _decoded((key, self._checked(key, value, told)) for key, value, told in self._rows(query, values))

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
        """Put rows in the place of those with their keys, and take some away."""
        text = f"insert into {table} values (?, ?, ?) on conflict (key) do update set value = excluded.value, sum = excluded.sum"  # noqa: S608
        wanted = rows if table in _ORDERED else sorted(rows, key=itemgetter(0))  # neighbours share a page of the file
        told = ((key, encoded(value)) for key, value in wanted)
        self._file.executemany(text, ((key, value, _sum(key, value)) for key, value in told))
        self._file.executemany(f"delete from {table} where key = ?", ((key,) for key in gone))  # noqa: S608

    def write_lists(
        self,
        table: str,
        lists: Iterable[tuple[str, int, Any, Iterable[tuple[int, Any]]]],
        gone: Iterable[str],
        anew: Iterable[str] = (),
    ) -> None:
        """Put members of lists in the place of those with their numbers, and take some lists away.

        Args:
            table: which.
            lists: of each list its key, how many members it has, the last one, and (number, member) of those to write; the
                last one is not among the other members.
            gone: keys of lists.
            anew: keys of lists none of whose members stay.
        """
        lists, gone, members = sorted(lists, key=itemgetter(0)), list(gone), LISTS[table]
        self._file.executemany(f"delete from {members} where key = ?", ((key,) for key in (*gone, *anew)))  # noqa: S608
        self.write(table, ((key, [count, last]) for key, count, last, _ in lists), gone)
        told = ((key, at, encoded(value)) for key, count, _, some in lists for at, value in some if at < count - 1)
        rows = ((key, at, value, _sum(key, value, at)) for key, at, value in told)
        self._file.executemany(f"insert or replace into {members} values (?, ?, ?, ?)", rows)  # noqa: S608

    def _changed(self, key: str) -> CorruptionError:
        return self._damaged(f"the row of {key} has changed")

    def _damaged(self, what: str) -> CorruptionError:
        if self._lasting:
            text = f"the snapshot {self.path.name} is damaged ({what}): delete it, it is only derived, and open the store again"
            return CorruptionError(text, location=self.path.name)
        with suppress(OSError):
            self.path.unlink()  # it is only derived: the next one to open the store makes it anew
        return CorruptionError(
            f"what is kept of this store on this machine is damaged ({what}); it was removed: open the store again"
        )


def scratch() -> Path:
    """Make an empty file for passing use."""
    with temporary("the tables of a snapshot need a file"):
        handle, name = tempfile.mkstemp(prefix="artifactstore-", suffix=".fold")
        os.close(handle)
    return Path(name)


def _make_tables(file: sqlite3.Connection) -> None:
    file.execute(f"pragma page_size = {_PAGE}")
    row = "value blob not null, sum integer not null"
    for table in SPILLED:
        kind = "" if table in _ORDERED else " without rowid"
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
    return "rowid" if table in _ORDERED else "key"


_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encoded(value: Any) -> bytes:
    """Return a value as it lies in a row."""
    return _encode(value).encode()


def _decoded(rows: Iterable[tuple[T, bytes]]) -> Iterator[tuple[T, Any]]:
    """Yield values of their JSON: many are decoded at a time, which takes a third of the time of one by one."""
    left = iter(rows)
    while some := tuple(islice(left, _TOGETHER)):
        yield from zip((key for key, _ in some), json.loads(b"[" + b",".join([text for _, text in some]) + b"]"), strict=True)


def _sum(key: str, value: bytes, number: int = 0) -> int:
    return xxhash.xxh3_64_intdigest(value, len(key) + (number << 32)) - _SIGNED


def _remove(path: str, pid: int) -> None:
    if pid == os.getpid():  # a forked child must leave its parent's
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - at the interpreter's end, too
