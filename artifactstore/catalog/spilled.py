"""Large tables of the fold on disk: a mapping that reads a row when it is asked for it, and keeps in memory what has changed.

The file is SQLite's, a table for each of the fold's, each row a key and its value as JSON. A file that others may use too
is never changed: what is new goes into a copy. Runs are told in the order in which they came, as in a dict, all else by key.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import finalize

import xxhash

from artifactstore.errors import CorruptionError

__all__ = ["SPILLED", "Base", "SpilledTable", "holding", "starting"]

SPILLED: Final = (
    "holders", "manifests", "stored", "names", "unnamed", "named", "metrics", "runs", "produced_by", "used_in", "edges", "hooks",
)  # fmt: skip
_ORDERED: Final = frozenset({"runs"})  # whose rows are told in the order in which they came; others by their keys
_BY_ROWS: Final = frozenset({"names"})  # whose values' last members are asked for alone
_SIGNED: Final = 2**63  # SQLite's numbers have a sign
_ABSENT: Final = object()
_LOADED: Final = 50_000  # rows of one table that are kept in memory for having been read


class Base:
    """One such file.

    Args:
        path: the file.
        own: nobody else uses it: it may be changed, and is removed when it is no longer needed.

    Attributes:
        path: the file.
        own: as above.
        recording: whether what is looked at now may be changed by whoever looks.
    """

    def __init__(self, path: Path, *, own: bool) -> None:
        self.path = path
        self.own = own
        self.recording = False
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
        made = cls(_scratch(), own=True)
        for table in SPILLED:
            kind = "" if table in _ORDERED else " without rowid"
            made._file.execute(
                f"create table {table} (key text primary key not null, value blob not null, sum integer not null){kind}"
            )
        made._file.execute("create table counts (name text not null unique, rows integer not null)")
        return made

    def copy(self) -> "Base":
        """Make a copy that may be changed."""
        made = Base(_scratch(), own=True)
        self._file.backup(made._file)  # from what is open: its path may be gone
        return made

    def moved_to(self, path: Path, counts: Mapping[str, int]) -> "Base":
        """Give the file to others under another path, and return it as they see it.

        Args:
            path: where.
            counts: how many rows each table has, which takes long to count.
        """
        self._file.executemany("insert or replace into counts values (?, ?)", counts.items())
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
        if row is None:
            return None
        if _sum(key, row[0]) != row[1]:
            raise self._changed(key)
        return bytes(row[0])

    def has(self, table: str, key: str) -> bool:
        """Tell whether there is a row."""
        return self._one(f"select 1 from {table} where key = ?", key) is not None  # noqa: S608

    def count(self, table: str) -> int:
        """Return how many rows there are."""
        known = None if self.own else self._file.execute("select rows from counts where name = ?", (table,)).fetchone()
        return int((known or self._file.execute(f"select count(*) from {table}").fetchone())[0])  # noqa: S608

    def keys(self, table: str) -> Iterator[str]:
        """Yield the keys in order."""
        return (key for (key,) in self._rows(f"select key from {table} order by {_order(table)}"))  # noqa: S608

    def starting(self, table: str, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so."""
        rows = self._rows(f"select key from {table} where key >= ? and key < ?", (prefix, prefix + "\U0010ffff"))  # noqa: S608
        return (key for (key,) in rows)

    def holding(self, table: str, text: bytes) -> Iterator[str]:
        """Yield the keys of rows whose JSON holds some bytes."""
        rows = self._rows(f"select key from {table} where instr(value, ?) order by {_order(table)}", (text,))  # noqa: S608
        return (key for (key,) in rows)

    def items(self, table: str) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order."""
        loads, check = json.loads, xxhash.xxh3_64_intdigest  # a million times
        for key, value, told in self._rows(f"select key, value, sum from {table} order by {_order(table)}"):  # noqa: S608
            if check(value, len(key)) - _SIGNED != told:
                raise self._changed(key)
            yield key, loads(value)

    def _one(self, query: str, key: str) -> Any:
        try:
            return self._file.execute(query, (key,)).fetchone()
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
        encoded = _rows_encoded if table in _BY_ROWS else _encoded
        wanted = rows if table in _ORDERED else sorted(rows, key=lambda row: row[0])  # neighbours share a page of the file
        told = ((key, encoded(value)) for key, value in wanted)
        self._file.executemany(text, ((key, value, _sum(key, value)) for key, value in told))
        self._file.executemany(f"delete from {table} where key = ?", ((key,) for key in gone))  # noqa: S608

    def _changed(self, key: str) -> CorruptionError:
        return self._damaged(f"the row of {key} has changed")

    def _damaged(self, what: str) -> CorruptionError:
        with suppress(OSError):
            self.path.unlink()  # it is only derived: the next one to open the store makes it anew
        return CorruptionError(
            f"what is kept of this store on this machine is damaged ({what}); it was removed: open the store again"
        )


def _scratch() -> Path:
    handle, name = tempfile.mkstemp(prefix="artifactstore-", suffix=".fold")
    os.close(handle)
    return Path(name)


def _order(table: str) -> str:
    return "rowid" if table in _ORDERED else "key"


_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _encoded(value: Any) -> bytes:
    return _encode(value).encode()


def _rows_encoded(value: list[Any]) -> bytes:
    """Return a list as JSON, each member on a line of its own, so that the last can be had alone."""
    return b"[" + ",\n".join(map(_encode, value)).encode() + b"]"


def _sum(key: str, value: bytes) -> int:
    return xxhash.xxh3_64_intdigest(value, len(key)) - _SIGNED


def _remove(path: str, pid: int) -> None:
    if pid == os.getpid():  # a forked child must leave its parent's
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - at the interpreter's end, too


class SpilledTable(MutableMapping[str, Any]):
    """One table of the fold, most of which lies in a file.

    Args:
        base: the file.
        name: of the table.
    """

    def __init__(self, base: Base, name: str) -> None:
        self._base = base
        self._name = name
        self._count = base.count(name)
        self.changed: dict[str, Any] = {}  # and what may have been changed
        self.gone: set[str] = set()
        self._added: dict[str, None] = {}  # keys that the file has not, in order
        self._loaded: dict[str, Any] = {}
        self._missed: str | None = None  # the last key that was looked for in the file in vain

    def _find(self, key: str) -> Any:
        value = self.changed.get(key, _ABSENT)
        if value is not _ABSENT:
            return value
        value = self._loaded.get(key, _ABSENT)
        if value is _ABSENT:
            if key in self.gone:
                return _ABSENT
            text = self._base.text(self._name, key)
            if text is None:
                self._missed = key
                return _ABSENT
            value = json.loads(text)
            if not self._base.recording:
                if len(self._loaded) >= _LOADED:
                    self._loaded.clear()
                self._loaded[key] = value
        if self._base.recording:
            self._loaded.pop(key, None)
            self.changed[key] = value
        return value

    def __getitem__(self, key: str) -> Any:
        value = self._find(key)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default."""
        value = self._find(key)
        return default if value is _ABSENT else value

    def __contains__(self, key: object) -> bool:
        if key in self.changed or key in self._loaded:
            return True
        return key not in self.gone and self._base.has(self._name, str(key))

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.changed and (key == self._missed or not self._base.has(self._name, key)):
            self._added[key] = None
        self.changed[key] = value
        self._loaded.pop(key, None)
        self.gone.discard(key)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self.changed.pop(key, None)
        self._loaded.pop(key, None)
        if key in self._added:
            del self._added[key]
        else:
            self.gone.add(key)

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self._base.keys(self._name) if key not in self.gone)
        yield from self._added

    def __len__(self) -> int:
        return self._count - len(self.gone) + len(self._added)

    def items(self) -> ItemsView[str, Any]:
        """Return keys and values in order; what is only passed is not kept in memory."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the values in order, likewise."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order."""
        rows = self._base.items(self._name)
        if not self.gone and not self.changed:
            yield from rows
            return
        for key, value in rows:
            if key not in self.gone:
                yield key, self.changed.get(key, value)
        for key in self._added:
            yield key, self.changed[key]

    def starting(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin so."""
        yield from (key for key in self._base.starting(self._name, prefix) if key not in self.gone)
        yield from (key for key in self._added if key.startswith(prefix))

    def holding(self, text: str) -> Iterator[str]:
        """Yield the keys of all rows that hold a text, and perhaps of others."""
        for key in self._base.holding(self._name, _encoded(text)):
            if key not in self.gone and key not in self.changed:
                yield key
        yield from self.changed

    def last(self, key: str) -> tuple[int, Any]:
        """Return of a list how many members it has, and the last one."""
        if key not in self.changed and key not in self._loaded and key not in self.gone:
            text = self._base.text(self._name, key)
            if text is not None:
                return text.count(b"\n") + 1, json.loads(text[text.rfind(b"\n") + 1 if b"\n" in text else 1 : -1])
        value = self[key]
        return len(value), value[-1]

    def write_to(self, base: Base) -> None:
        """Write what has changed into a file."""
        base.write(self._name, [(key, value) for key, value in self.changed.items() if key not in self._added], self.gone)
        base.write(self._name, ((key, self.changed[key]) for key in self._added), ())

    def reopen(self, base: Base, *, written: bool) -> None:
        """Go on with another file of the same rows; `written`: it has what has changed, too."""
        self._base = base
        if written:
            self._count += len(self._added) - len(self.gone)
            self.changed, self.gone, self._added, self._missed = {}, set(), {}, None


class _Items(ItemsView[str, Any]):
    def __init__(self, table: SpilledTable) -> None:
        super().__init__(table)
        self._pairs = table.pairs

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._pairs()


class _Values(ValuesView[Any]):
    def __init__(self, table: SpilledTable) -> None:
        super().__init__(table)
        self._pairs = table.pairs

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._pairs())


def starting(table: MutableMapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the keys of a table that begin so."""
    if isinstance(table, SpilledTable):
        return table.starting(prefix)
    return (key for key in table if key.startswith(prefix))


def holding(table: MutableMapping[str, Any], text: str) -> Iterator[str]:
    """Yield the keys of all rows of a table that hold a text, and perhaps of others."""
    return table.holding(text) if isinstance(table, SpilledTable) else iter(table)
