"""The tables of the fold: plain dicts and lists, so that a cache can keep them as JSON; every change can be undone.

This room knows what the tables hold; what puts it there is the fold's business.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from artifactstore.model.loading import no_collecting

__all__ = ["Tables"]

_ABSENT: Final = object()
_TABLES: Final = (
    "marks",
    "verdicts",
    "holders",
    "manifests",
    "condemned_manifests",
    "condemned_packs",
    "stored",
    "names",
    "aliases",
    "unnamed",
    "named",
    "metrics",
    "holds",
    "tainted",
    "runs",
    "produced_by",
    "used_in",
    "edges",
    "hooks",
    "received",
    "renamed",
    "hearsay",
)


class Tables:
    """What is true after the entries folded so far.

    Attributes:
        marks: single values: `head`, `format`, `condemned` (entry of the last effective one), `moved_to` and
            `moved_at` (its entry), `time`.
        verdicts: txn id → [seq, None or why it is void], within the window.
        holders: digest → ids of its uncondemned manifests, the last is current.
        manifests: manifest id → [digest, manifest digest, packs].
        condemned_manifests: manifest id → entry that condemned it; `condemned_packs` likewise.
        stored: digest → {size, files, content?, format?}.
        names: name → versions, each {digest, seq, time, actor, kind, txn, file?, metadata?, reason?, removed?}; one that was
            received also {from: the store, entry: the number there, described?: whether it was described here since}.
        aliases: name → alias → moves, each {version or None, seq, time, actor, txn, reason?}.
        named: digest → [name, number] of each version that it is, in order.
        unnamed: digest → what its unnamed `versioned` said.
        metrics: digest or `run:<id>` → metric → value, the newest.
        holds: hold id (`received/<id>` of a received one) → digest.
        tainted: digest → [what was said here or None, what was received or None], each {seq, time, actor, reason?, spread}.
        runs: run → {name, seq, time, actor, txn, params?, parent?, command?, seen?, finished?, status?, error?, seconds?,
            reads_seen?, around?, programs?}.
        edges: run → what it used and produced, in order, each the fact without its run.
        produced_by: digest → runs.   used_in: digest → runs.
        hooks: digest → its hooks as hex.
        received: another store → subject → its entry up to which that was received.
        renamed: another store → name there (or `run:<id>`) → name here, where they differ.
        hearsay: digest or `run:<id>` → metrics whose value was received.
    """

    def __init__(self) -> None:
        self.marks: dict[str, Any] = {"head": 0, "format": 1, "condemned": 0, "moved_to": None, "moved_at": 0, "time": ""}
        self.verdicts: dict[str, Any] = {}
        self.holders: dict[str, list[str]] = {}
        self.manifests: dict[str, list[Any]] = {}
        self.condemned_manifests: dict[str, int] = {}
        self.condemned_packs: dict[str, int] = {}
        self.stored: dict[str, dict[str, Any]] = {}
        self.names: dict[str, list[dict[str, Any]]] = {}
        self.aliases: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.unnamed: dict[str, dict[str, Any]] = {}
        self.named: dict[str, list[list[Any]]] = {}
        self.metrics: dict[str, dict[str, float]] = {}
        self.holds: dict[str, str] = {}
        self.tainted: dict[str, list[dict[str, Any] | None]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.produced_by: dict[str, list[str]] = {}
        self.used_in: dict[str, list[str]] = {}
        self.edges: dict[str, list[dict[str, Any]]] = {}
        self.hooks: dict[str, str] = {}
        self.received: dict[str, dict[str, int]] = {}
        self.renamed: dict[str, dict[str, str]] = {}
        self.hearsay: dict[str, list[str]] = {}
        self._undo: list[Callable[[], object]] | None = None
        self._texts: dict[str, bytes] = {}

    # -- keeping

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON values (not a copy)."""
        return {table: getattr(self, table) for table in _TABLES}

    @classmethod
    def load(cls, tables: Mapping[str, Any]) -> Self:
        """Make tables of what `dump` returned.

        Raises:
            KeyError: a table is missing: another version wrote it.
        """
        made = cls()
        for table in _TABLES:
            setattr(made, table, tables[table])
        return made

    def texts(self) -> dict[str, bytes]:
        """Return each table as JSON; what was never looked at since `load_texts` is handed on as it came."""
        return {
            table: self._texts[table]
            if table in self._texts
            else json.dumps(getattr(self, table), separators=(",", ":")).encode()
            for table in _TABLES
        }

    @classmethod
    def load_texts(cls, texts: Mapping[str, bytes]) -> Self:
        """Make tables of what `texts` returned; a table is decoded when it is first looked at.

        Listing the names of a hundred thousand entries needs a third of what they add up to.

        Raises:
            KeyError: a table is missing: another version wrote it.
        """
        made = cls()
        made.marks = json.loads(texts["marks"])
        for table in _TABLES[1:]:
            made._texts[table] = texts[table]
            delattr(made, table)
        return made

    if not TYPE_CHECKING:  # a type checker sees the attributes that __init__ makes

        def __getattr__(self, table: str) -> Any:
            texts = self.__dict__.get("_texts", {})
            if table not in texts:
                raise AttributeError(table)
            with no_collecting():
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

    def _set(self, table: dict[str, Any], key: str, value: Any) -> None:
        if self._undo is not None:
            old = table.get(key, _ABSENT)
            self._undo.append((lambda: table.pop(key)) if old is _ABSENT else (lambda: table.__setitem__(key, old)))
        table[key] = value

    def _push(self, table: dict[str, list[Any]], key: str, value: Any) -> None:
        row = table.get(key)
        if row is None:
            row = []
            self._set(table, key, row)
        if self._undo is not None:
            self._undo.append(row.pop)
        row.append(value)

    def _drop(self, table: dict[str, Any], key: str) -> None:
        if key in table:
            if self._undo is not None:
                old = table[key]
                self._undo.append(lambda: table.__setitem__(key, old))
            del table[key]
