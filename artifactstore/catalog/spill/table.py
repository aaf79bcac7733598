"""Large tables of the fold on disk: a mapping that reads rows on access, and keeps changed rows in memory."""

import json
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.spill.sqlite_file import SqliteTables, encoded

if TYPE_CHECKING:
    from artifactstore.catalog.spill.layered import AnyTables

__all__ = ["SpilledTable", "get_many", "keys_containing", "keys_with_prefix", "load", "plain", "touched"]

_ABSENT: Final = object()
_MAX_CACHED: Final = 50_000  # max rows of a table cached in memory after reading
_SCAN: Final = 4  # if more than one row of so many is wanted, all are read


class SpilledTable(MutableMapping[str, Any]):
    """A table of the fold that is mostly in a file.

    Args:
        base: the file.
        name: name of the table.
    """

    def __init__(self, base: "AnyTables", name: str) -> None:
        self._base = base
        self._name = name
        self._count = base.count(name)
        self.changed: dict[str, Any] = {}  # rows that have changed, or may have
        self.gone: set[str] = set()
        self._added: dict[str, None] = {}  # keys that are not in the file, in order
        self._loaded: dict[str, Any] = {}
        self._order: list[str] | None = None  # the keys in the file, once all of its rows were loaded
        self._missed: str | None = None  # the last key not found in the file
        self._lacking: set[str] = set()  # keys not found in the file, which walks of the graph ask for again and again

    @property
    def name(self) -> str:
        """Its name in files."""
        return self._name

    def added_keys(self) -> Iterator[str]:
        """Yield the keys that are not in the file, in order."""
        return iter(self._added)

    def _find(self, key: str) -> Any:
        value = self.changed.get(key, _ABSENT)
        if value is not _ABSENT:
            return value
        value = self._loaded.get(key, _ABSENT)
        if value is _ABSENT:
            if key in self.gone:
                return _ABSENT
            known = self._order is not None or key in self._lacking
            text = None if known else self._base.text(self._name, key)
            if text is None:
                self._missed = key
                if not known:
                    self._lack(key)
                return _ABSENT
            value = self._decoded(key, text)
            if not self._base.recording:
                if len(self._loaded) >= _MAX_CACHED:
                    self._loaded.clear()
                self._loaded[key] = value
        if self._base.recording:
            self._loaded.pop(key, None)
            self.changed[key] = value
        return value

    def _decoded(self, _key: str, text: bytes) -> Any:
        return json.loads(text)

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
        if key in self.gone or key in self._lacking or self._order is not None:
            return False
        if self._base.has(self._name, str(key)):
            return True
        self._lack(str(key))
        return False

    def _lack(self, key: str) -> None:
        if len(self._lacking) >= _MAX_CACHED:
            self._lacking.clear()
        self._lacking.add(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.changed and key not in self.gone and (key == self._missed or key not in self):
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
        keys = self._base.keys(self._name) if self._order is None else self._order
        yield from (key for key in keys if key not in self.gone)
        yield from self._added

    def __len__(self) -> int:
        return self._count - len(self.gone) + len(self._added)

    def items(self) -> ItemsView[str, Any]:
        """Return keys and values in order; rows only iterated over are not cached, unless these are few."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the values in order, likewise."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order."""
        if self.load():
            rows: Iterable[tuple[str, Any]] = self._in_memory()
        else:
            rows = self._stored()
        if not self.gone and not self.changed:
            yield from rows
            return
        for key, value in rows:
            if key not in self.gone:
                yield key, self.changed.get(key, value)
        for key in self._added:
            yield key, self.changed[key]

    def load(self) -> bool:
        """Load all rows, for a question that needs most of them; return whether they are in memory, which many are not."""
        if self._order is None and self._count <= _MAX_CACHED and not self._base.recording:
            found = dict(self._stored())
            self._order = [*found]
            for key in (*self.changed, *self.gone):
                found.pop(key, None)
            self._loaded = found
        return self._order is not None

    def plain(self) -> Mapping[str, Any]:
        """Return the table for many lookups: a dict if its rows are in memory; valid as long as it does not change."""
        if not self.load():
            return self
        return dict(self.pairs()) if self.changed or self.gone else self._loaded

    def _in_memory(self) -> Iterator[tuple[str, Any]]:
        return ((key, self._loaded.get(key)) for key in self._order or ())

    def _stored(self) -> Iterator[tuple[str, Any]]:
        return self._base.items(self._name)

    def keys_with_prefix(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with a prefix."""
        yield from (key for key in self._base.keys_with_prefix(self._name, prefix) if key not in self.gone)
        yield from (key for key in self._added if key.startswith(prefix))

    def keys_containing(self, text: str) -> Iterator[str]:
        """Yield the keys of all rows that contain a text; may yield others, too."""
        for key in self._base.keys_containing(self._name, encoded(text)):
            if key not in self.gone and key not in self.changed:
                yield key
        yield from self.changed

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the given keys that exist; rows only looked up are not cached."""
        found: dict[str, Any] = {}
        wanted: list[str] = []
        keys = list(keys)
        if len(keys) * _SCAN > self._count and self.load():
            rows = self.plain()
            return {key: rows[key] for key in keys if key in rows}
        for key in keys:
            value = self.changed.get(key, self._loaded.get(key, _ABSENT))
            if value is not _ABSENT:
                found[key] = value
            elif key not in self.gone and self._order is None:
                wanted.append(key)
        if len(wanted) * _SCAN > self._count:  # reading all rows is faster than finding so many
            chosen = {*wanted}
            found |= {key: value for key, value in self._base.items(self._name) if key in chosen}
        else:
            found.update(self._base.get_many(self._name, wanted))
        return found

    @property
    def touched(self) -> set[str]:
        """The keys of rows that differ from the file, or may."""
        return {*self.changed, *self.gone}

    @property
    def unwritten(self) -> int:
        """The number of rows that have changed, or may have."""
        return len(self.changed)

    def write_to(self, base: SqliteTables) -> None:
        """Write the changed rows to a file."""
        base.write(self._name, [(key, value) for key, value in self.changed.items() if key not in self._added], self.gone)
        base.write(self._name, ((key, self.changed[key]) for key in self._added), ())

    def delta(self) -> dict[str, Any] | None:
        """Return what differs from the file, as a JSON value; None if nothing does."""
        if not self.changed and not self.gone:
            return None
        return {"rows": self._changes(), "added": [*self._added], "gone": sorted(self.gone)}

    def _changes(self) -> dict[str, Any]:
        return self.changed

    def restore(self, delta: Mapping[str, Any]) -> None:
        """Apply the output of `delta` to a table of the same file."""
        self.changed = {key: self._restored(key, value) for key, value in delta["rows"].items()}
        self._added, self.gone = dict.fromkeys(delta["added"]), set(delta["gone"])

    def _restored(self, _key: str, value: Any) -> Any:
        return value

    def reopen(self, base: "AnyTables", *, written: bool) -> None:
        """Switch to another file of the same rows; `written`: it contains the changed rows, too."""
        self._base = base
        if written:
            self._loaded, self._order, self._lacking = {}, None, set()
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


def keys_with_prefix(table: MutableMapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the keys of a table that start with a prefix."""
    if isinstance(table, SpilledTable):
        return table.keys_with_prefix(prefix)
    return (key for key in table if key.startswith(prefix))


def load(*tables: MutableMapping[str, Any]) -> None:
    """Load tables for a question that needs most of their rows."""
    for table in tables:
        if isinstance(table, SpilledTable):
            table.load()


def plain(table: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Return a table for many lookups, as long as it does not change."""
    return table.plain() if isinstance(table, SpilledTable) else table


def touched(table: MutableMapping[str, Any]) -> set[str]:
    """Return the keys of rows that differ from the file of a table, or may; all of a table in memory."""
    return table.touched if isinstance(table, SpilledTable) else {*table}


def get_many(table: MutableMapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of the given keys that exist in a table."""
    return table.get_many(keys) if isinstance(table, SpilledTable) else {key: table[key] for key in keys if key in table}


def keys_containing(table: MutableMapping[str, Any], text: str) -> Iterator[str]:
    """Yield the keys of all rows of a table that contain a text; may yield others, too."""
    return table.keys_containing(text) if isinstance(table, SpilledTable) else iter(table)
