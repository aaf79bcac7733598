"""The tables of the fold: plain dicts and lists, so that a cache can store them as JSON; every change can be undone.

For a large store most of them are on disk (`catalog.spill`). Knows what the tables contain; filling them is the fold's part.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from artifactstore.catalog.fold.adjacency import Adjacency
from artifactstore.catalog.fold.sorted_metrics import SortedMetrics
from artifactstore.catalog.spill.list_table import SpilledLists, write_lists
from artifactstore.catalog.spill.sqlite_file import LISTS, SPILLED, SqliteTables
from artifactstore.catalog.spill.table import SpilledTable
from artifactstore.runtime.loading import gc_paused

if TYPE_CHECKING:
    from artifactstore.catalog.spill.layered import AnyTables

__all__ = ["LARGE", "Tables"]

_ABSENT: Final = object()
_ROW: Final = 200  # bytes of a row as JSON, about
_TABLES: Final = (
    "header", "verdicts", "holders", "manifests", "condemned_manifests", "condemned_packs", "stored", "names", "aliases",
    "unnamed", "versions_by_digest", "metrics", "holds", "tainted", "runs", "produced_by", "used_by_runs", "edges", "hooks",
    "received", "renamed", "received_metrics", "snapshots", "measures", "approvals", "changed", "signed", "gates",
    "retention", "name_metadata", "damaged", "by_metadata",
)  # fmt: skip
_STORED_AS: Final = {table: table for table in _TABLES} | {  # table → its name in caches and snapshots
    "header": "marks",
    "received_metrics": "hearsay",
    "used_by_runs": "used_in",
    "versions_by_digest": "named",
}
LARGE: Final = tuple({stored: table for table, stored in _STORED_AS.items()}[name] for name in SPILLED)


class Tables:
    """The state after the entries folded so far.

    Attributes:
        header: single values: `store` (its id), `head`, `format`, `condemned` (entry of the last effective one), `publish_as` and
            `moved_at` (its entry), `time`.
        verdicts: txn id → [seq, None or why it is void], within the window; `str(Void)` is thus part of snapshots.
        holders: digest → ids of its uncondemned manifests, the last is current.
        manifests: manifest id → [digest, manifest digest, packs].
        condemned_manifests: manifest id → entry that condemned it; `condemned_packs` likewise.
        stored: digest → {size, files, content?, format?}.
        names: name → versions, each {digest, seq, time, actor, kind, txn, file?, metadata?, reason?, removed?}; a received
            version also {from: the store, entry: the number there, described?: whether it was described here since}.
        aliases: name → alias → moves, each {version or None, seq, time, actor, txn, reason?, rollback? (the entry that it quotes)}.
        versions_by_digest: digest → [name, number, kind] of each of its versions, in order.
        unnamed: digest → the content of its unnamed `versioned`.
        metrics: digest or `run:<id>` → metric → value, the latest.
        holds: hold id (`received/<id>` of a received one) → {digest, until?, seq, time, actor, txn, reason?}.
        tainted: digest → [local taint or None, received taint or None], each {seq, time, actor, reason?, spread}.
        runs: run → {name, seq, time, actor, txn, params?, parent?, command?, seen?, finished?, status?, error?, seconds?,
            reads_seen?, around?, around_more?, programs?}.
        edges: run → its inputs and outputs, in order, each the fact without its run.
        produced_by: digest → runs.   used_by_runs: digest → runs.
        hooks: digest → its hooks as hex.
        received: another store → subject → the last of its entries that was received.
        renamed: another store → name there (or `run:<id>`) → name here, where they differ.
        received_metrics: digest or `run:<id>` → metrics whose value was received.
        snapshots: digest of a snapshot → the entry of its state.
        measures: digest → metric → the newest measure on each data, the newest last: [digest of the data or None, value or None if it
            was not finite, entry, run or None, whether it was received].
        approvals: digest → approvals and rejections, in order, each {verdict, meaning?, role?, alias?, name?, signature?, seq, time,
            actor, identity, txn, reason?}.
        changed: digest → how many of its approvals are older than its last measure; a version's row has the same as `approvals`.
        signed: digest → signatures, each {type, key, seq, time, actor, txn, reason?}; the bundle is in the entry.
        gates: alias → pattern of names → versions of its gate, each {rules or None, signature?, seq, time, actor, txn, reason?}.
        retention: pattern of names → versions of its rule, likewise.
        name_metadata: name → what describes it, each time: {metadata, seq, time, actor, txn, reason?}.
        damaged: manifest id → the entry that found bytes of it lost; of uncondemned ones.
        by_metadata: a value under a dotted key of metadata → [name, number] of versions (`metadata_index`).
    """

    LAYOUT: ClassVar[int] = 12  # version of this layout in caches and snapshots; those with another one are ignored

    def __init__(self, store: str = "") -> None:
        self.header: dict[str, Any] = {"store": store, "head": 0, "format": 1, "condemned": 0}
        self.header |= {"moved_to": None, "moved_at": 0, "time": ""}
        self.verdicts: dict[str, Any] = {}
        self.holders: MutableMapping[str, list[str]] = {}
        self.manifests: MutableMapping[str, list[Any]] = {}
        self.condemned_manifests: dict[str, int] = {}
        self.condemned_packs: dict[str, int] = {}
        self.stored: MutableMapping[str, dict[str, Any]] = {}
        self.names: MutableMapping[str, list[dict[str, Any]]] = {}
        self.aliases: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.unnamed: MutableMapping[str, dict[str, Any]] = {}
        self.versions_by_digest: MutableMapping[str, list[list[Any]]] = {}
        self.metrics: MutableMapping[str, dict[str, float]] = {}
        self.holds: dict[str, dict[str, Any]] = {}
        self.tainted: dict[str, list[dict[str, Any] | None]] = {}
        self.runs: MutableMapping[str, dict[str, Any]] = {}
        self.produced_by: MutableMapping[str, list[str]] = {}
        self.used_by_runs: MutableMapping[str, list[str]] = {}
        self.edges: MutableMapping[str, list[dict[str, Any]]] = {}
        self.hooks: MutableMapping[str, str] = {}
        self.received: dict[str, dict[str, int]] = {}
        self.renamed: dict[str, dict[str, str]] = {}
        self.received_metrics: dict[str, list[str]] = {}
        self.snapshots: dict[str, int] = {}
        self.measures: MutableMapping[str, dict[str, list[list[Any]]]] = {}
        self.approvals: MutableMapping[str, list[dict[str, Any]]] = {}
        self.changed: dict[str, int] = {}
        self.signed: dict[str, list[dict[str, Any]]] = {}
        self.gates: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.retention: dict[str, list[dict[str, Any]]] = {}
        self.name_metadata: dict[str, list[dict[str, Any]]] = {}
        self.damaged: dict[str, int] = {}
        self.by_metadata: MutableMapping[str, list[Any]] = {}
        self._undo: list[Callable[[], object]] | None = None
        self._texts: dict[str, bytes] = {}
        self._base: AnyTables | None = None
        self._growth = 1
        self.sorted_metrics, self.adjacency = SortedMetrics(), Adjacency()
        self._deltas: dict[str, bytes] = {}  # what differs from the file of large tables, of those never accessed
        self.base_head = 0  # the entry that this file stands at
        self.listed = False  # whether it has a list of names, as of this machine's cache has

    @property
    def head(self) -> int:
        """The number of the last entry folded."""
        return int(self.header["head"])

    @property
    def end(self) -> int:
        """The number of the last entry shared by all copies of the store: not the one that a move appends at the old location."""
        return int(self.header["moved_at"]) - 1 if self.header["moved_to"] is not None else self.head

    def alive(self, digest: str) -> bool:
        """Return whether an uncondemned manifest holds bytes of this digest."""
        return bool(self.holders.get(digest))

    def current_manifest(self, digest: str) -> str | None:
        """Return the id of the manifest that currently holds a digest, or None."""
        holders = self.holders.get(digest)
        return holders[-1] if holders else None

    # -- storing

    SPILL = 600_000  # rows of large tables above which they move to disk: about 800 MB
    SETTLE = 500_000  # changed rows above which they are written to disk

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON values (not a copy, unless most of it is on disk)."""
        found = ((_STORED_AS[table], getattr(self, table)) for table in _TABLES)
        return {name: dict(rows.items()) if isinstance(rows, SpilledTable) else rows for name, rows in found}

    @property
    def base(self) -> "AnyTables | None":
        """The file of large tables, or None."""
        return self._base

    def close(self) -> None:
        """Release the file of large tables; the state cannot be used afterwards."""
        if self._base is not None:
            self._base.close()

    def spill_if_large(self) -> None:
        """Move large tables, and changes to those on disk, to disk once they take too much memory; if the disk is full, later."""
        try:
            if self._base is None:
                if sum(len(self.__dict__.get(table, ())) for table in LARGE) > self.SPILL * self._growth:
                    self._spill()
            elif sum(getattr(self, table).unwritten for table in LARGE) > self.SETTLE * self._growth:
                self._settle()
        except (sqlite3.Error, OSError):
            self._growth *= 2

    def count_rows(self) -> int:
        """Return the number of rows of large tables, estimated where these were not decoded yet."""
        texts = self._texts
        return sum(len(texts[table]) // _ROW if table in texts else len(getattr(self, table)) for table in LARGE)

    def _spill(self) -> None:
        base = SqliteTables.empty()
        with base.transaction():
            self._write_to(base)
        for table in LARGE:
            setattr(self, table, _spilled(base, table))
        self._base = base

    def _settle(self) -> None:
        assert self._base is not None
        base = self._base if isinstance(self._base, SqliteTables) and self._base.own else self._base.copy()
        with base.transaction():
            self._write_to(base)
        for table in LARGE:
            getattr(self, table).reopen(base, written=True)
        self._base, self.listed = base, False

    def _write_to(self, base: SqliteTables) -> None:
        """Write large tables to a file, or only the changes of tables that are in a file already."""
        for table in LARGE:
            rows = getattr(self, table)
            if isinstance(rows, SpilledTable):
                rows.write_to(base)
            elif table in LISTS:
                write_lists(base, table, rows, ())
            else:
                base.write(_STORED_AS[table], rows.items(), ())

    def _counts(self) -> dict[str, int]:
        return {_STORED_AS[table]: len(getattr(self, table)) for table in LARGE}

    def publish(self, path: Path, listing: bytes | None = None) -> None:
        """Publish the file of large tables, with all changes and a list of names, under a path for other processes.

        Tables in memory are written there, and stay in memory.
        """
        if self._base is None:
            base = SqliteTables.empty()
            with base.transaction():
                self._write_to(base)
            base.publish_as(path, self._counts(), listing).close()
            return
        self._settle()
        assert isinstance(self._base, SqliteTables)  # as it was settled
        self._base = self._base.publish_as(path, self._counts(), listing)
        self.base_head = self.header["head"]
        for table in LARGE:
            getattr(self, table).reopen(self._base, written=False)

    def deltas(self) -> dict[str, bytes]:
        """Return what differs from the file of large tables, each table's as JSON."""
        found = {_STORED_AS[table]: text for table, text in self._deltas.items()}
        for table in LARGE:
            if table not in self._deltas and (delta := getattr(self, table).delta()) is not None:
                found[_STORED_AS[table]] = json.dumps(delta, separators=(",", ":")).encode()
        return found

    def write_file(self, path: Path, entry: str) -> None:
        """Write the whole state into one file, for other processes; the state is unchanged.

        Args:
            path: an empty or missing file.
            entry: digest of the last entry folded.
        """
        base = SqliteTables.empty() if self._base is None else self._base.copy()
        try:
            with base.transaction():
                self._write_to(base)
                texts = {_STORED_AS[table]: self._text(table) for table in _TABLES if table not in LARGE}
                base.write_texts({**texts, "entry": entry.encode()}, self._counts())
            base.compact_to(path)
        finally:
            base.close()

    @classmethod
    def open_file(cls, base: SqliteTables) -> tuple[Self, str]:
        """Open a file written by `write_file`; return the state, and the digest of the last entry folded.

        Raises:
            CorruptionError: the file is damaged.
            KeyError: a table is missing.
            ValueError: its content is inconsistent.
        """
        texts = base.texts()
        return cls.load_texts(texts, base), texts["entry"].decode()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Treat rows accessed in the block as changed."""
        if self._base is not None:
            self._base.recording = True
        try:
            yield
        finally:
            if self._base is not None:
                self._base.recording = False

    def last_versions(self, prefix: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield for each name that starts with a prefix: the name, its number of versions, and the newest."""
        if isinstance(self.names, SpilledLists):
            return self.names.last_members(prefix)
        return ((name, len(rows), rows[-1]) for name, rows in self.names.items() if name.startswith(prefix))

    @classmethod
    def load(cls, tables: Mapping[str, Any]) -> Self:
        """Build a state from the output of `dump`.

        Raises:
            KeyError: a table is missing: another version wrote it.
        """
        made = cls()
        for table in _TABLES:
            setattr(made, table, tables[_STORED_AS[table]])
        return made

    def texts(self, *, filed: bool = False) -> dict[str, bytes]:
        """Return each table as JSON; tables never accessed since `load_texts` are returned unchanged.

        Tables on disk are not included, nor, if `filed`, large ones.
        """
        skipped = LARGE if filed or self._base is not None else ()
        return {_STORED_AS[table]: self._text(table) for table in _TABLES if table not in skipped}

    def _text(self, table: str) -> bytes:
        if table in self._texts:
            return self._texts[table]
        return json.dumps(getattr(self, table), separators=(",", ":")).encode()

    @classmethod
    def load_texts(
        cls, texts: Mapping[str, bytes], base: "AnyTables | None" = None, deltas: Mapping[str, bytes] = MappingProxyType({})
    ) -> Self:
        """Build a state from the output of `texts` and `deltas`; a table is decoded on first access.

        Listing the names of a hundred thousand entries needs a third of the state.

        Raises:
            KeyError: a table is missing: another version wrote it.
        """
        made = cls()
        made.header = json.loads(texts[_STORED_AS["header"]])
        made._base = base
        for table in _TABLES[1:]:
            if base is not None and table in LARGE:
                if _STORED_AS[table] in deltas:
                    made._deltas[table] = deltas[_STORED_AS[table]]
                    delattr(made, table)
                else:
                    setattr(made, table, _spilled(base, table))
            else:
                made._texts[table] = texts[_STORED_AS[table]]
                delattr(made, table)
        return made

    if not TYPE_CHECKING:  # a type checker sees the attributes set by __init__

        def __getattr__(self, table: str) -> Any:
            if (delta := self.__dict__.get("_deltas", {}).get(table)) is not None:
                spilled = _spilled(self._base, table)
                spilled.restore(json.loads(delta))
                setattr(self, table, spilled)
                del self._deltas[table]
                return spilled
            texts = self.__dict__.get("_texts", {})
            if table not in texts:
                raise AttributeError(table)
            with gc_paused():
                value = json.loads(texts[table])
            setattr(self, table, value)
            del texts[table]
            return value

    # -- changing

    @contextmanager
    def _trial(self) -> Iterator[None]:
        undo: list[Callable[[], object]] = []
        self._undo = undo
        try:
            yield
        finally:
            self._undo = None
            for step in reversed(undo):
                step()

    def _set(self, table: MutableMapping[str, Any], key: str, value: Any) -> None:
        if self._undo is None:
            table[key] = value
            return
        old = table.get(key, _ABSENT)
        self._undo.append((lambda: table.pop(key)) if old is _ABSENT else (lambda: table.__setitem__(key, old)))
        table[key] = value

    def _push(self, table: MutableMapping[str, list[Any]], key: str, value: Any) -> list[Any]:
        """Add a value to a row of a table of lists; return the row."""
        row = table.get(key)
        if row is None:
            if self._undo is None and type(table) is dict:
                row = table[key] = [value]
                return row
            row = []
            self._set(table, key, row)
        if self._undo is not None:
            self._undo.append(row.pop)
        row.append(value)
        return row

    def _drop(self, table: MutableMapping[str, Any], key: str) -> None:
        if key in table:
            if self._undo is not None:
                old = table[key]
                self._undo.append(lambda: table.__setitem__(key, old))
            del table[key]


def _spilled(base: "AnyTables", table: str) -> SpilledTable:
    return (SpilledLists if table in LISTS else SpilledTable)(base, _STORED_AS[table])
