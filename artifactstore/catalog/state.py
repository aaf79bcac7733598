"""The fold: what the journal's facts add up to. It is the judge; appenders only predict it.

Deterministic and pure: entries go in by number, transactions in their order, each judged on the state that
the one before left (PROTOCOL 1). It never depends on content, clocks or a reader's configuration. The state is
made of plain dicts and lists, so that a cache can keep it as JSON; every change goes through `_set` and
`_push`, so that a trial can be undone.
"""

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.judge import Void, judge
from artifactstore.model.facts import WINDOW, Fact

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["State", "Void"]

_ABSENT: Final = object()
_TIDY: Final = 1024  # entries between two clean-ups of the verdicts
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
    "metrics",
    "holds",
    "tainted",
    "runs",
    "produced_by",
    "used_in",
    "hooks",
)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Pause the garbage collector while a large table is decoded: walking the new objects again and again doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class State:
    """What is true after the entries folded so far.

    Attributes:
        marks: single values: `head`, `format`, `condemned` (entry of the last effective one), `moved_to` and
            `moved_at` (its entry), `time`.
        verdicts: txn id → [seq, None or why it is void], within the window.
        holders: digest → ids of its uncondemned manifests, the last is current.
        manifests: manifest id → [digest, manifest digest, packs].
        condemned_manifests: manifest id → entry that condemned it; `condemned_packs` likewise.
        stored: digest → {size, files, content?, format?}.
        names: name → versions, each {digest, seq, time, actor, kind, txn, file?, metadata?, reason?, removed?}.
        aliases: name → alias → moves, each {version or None, seq, time, actor, txn, reason?}.
        unnamed: digest → what its unnamed `versioned` said.
        metrics: digest or `run:<id>` → metric → value, the newest.
        holds: hold id → digest.   tainted: digest → seq.
        runs: run → {name, seq, started, finished?, status?, …}.
        produced_by: digest → runs.   used_in: digest → runs.
        hooks: digest → its hooks as hex.
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
        self.metrics: dict[str, dict[str, float]] = {}
        self.holds: dict[str, str] = {}
        self.tainted: dict[str, int] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.produced_by: dict[str, list[str]] = {}
        self.used_in: dict[str, list[str]] = {}
        self.hooks: dict[str, str] = {}
        self._undo: list[Callable[[], object]] | None = None
        self._texts: dict[str, bytes] = {}

    # -- the interface that the journal sees

    @property
    def head(self) -> int:
        """The number of the last entry folded."""
        return int(self.marks["head"])

    def apply(self, entry: "Entry") -> list[Void | None]:
        """Fold one entry; returns why each of its transactions is void, or None where it took effect."""
        seq = entry["seq"]
        time = max(self.marks["time"], entry["time"])
        self._set(self.marks, "time", time)
        lower = entry["format"] < self.marks["format"]
        self._set(self.marks, "format", max(entry["format"], self.marks["format"]))
        outcome: list[Void | None] = []
        for txn in entry["txns"]:
            void = Void("format", "its entry's format is lower than the store's") if lower else None
            void = void or judge(self, txn, seq, alone=len(entry["txns"]) == 1)
            outcome.append(void)
            if void is None:
                self._take(txn, seq, time)
                self._set(self.verdicts, txn["txn"], [seq, None])
            elif txn["txn"] not in self.verdicts:
                self._set(self.verdicts, txn["txn"], [seq, str(void)])
        self._set(self.marks, "head", seq)
        self._forget(seq)
        return outcome

    def verdict(self, txn: str) -> tuple[int, str | None] | None:
        """Return (entry, why void or None) of a transaction seen within the window, else None."""
        found = self.verdicts.get(txn)
        return None if found is None else (int(found[0]), found[1])

    def predict(self, txns: "Sequence[Txn]", time: str) -> list[Void | None]:
        """Judge transactions as the next entry would, one after the other, and leave the state as it was."""
        seq = self.head + 1
        outcome: list[Void | None] = []
        with self._trial():
            for txn in txns:
                void = judge(self, txn, seq, alone=len(txns) == 1)
                outcome.append(void)
                if void is None:
                    self._take(txn, seq, max(time, self.marks["time"]))
                    self._set(self.verdicts, txn["txn"], [seq, None])
        return outcome

    # -- reading

    @property
    def end(self) -> int:
        """The number of the last entry that copies of the store share: what a move appended as the old place's last is not among them."""
        return int(self.marks["moved_at"]) - 1 if self.marks["moved_to"] is not None else self.head

    def alive(self, digest: str) -> bool:
        """Tell whether bytes of this digest are held by an uncondemned manifest."""
        return bool(self.holders.get(digest))

    def current_manifest(self, digest: str) -> str | None:
        """Return the id of the manifest that currently holds a digest, or None."""
        holders = self.holders.get(digest)
        return holders[-1] if holders else None

    # -- keeping

    def dump(self) -> dict[str, Any]:
        """Return the whole state as JSON values (not a copy)."""
        return {table: getattr(self, table) for table in _TABLES}

    @classmethod
    def load(cls, tables: Mapping[str, Any]) -> "State":
        """Make a state of what `dump` returned.

        Raises:
            KeyError: a table is missing: another version wrote it.
        """
        state = cls()
        for table in _TABLES:
            setattr(state, table, tables[table])
        return state

    def texts(self) -> dict[str, bytes]:
        """Return each table as JSON; what was never looked at since `load_texts` is handed on as it came."""
        return {
            table: self._texts[table]
            if table in self._texts
            else json.dumps(getattr(self, table), separators=(",", ":")).encode()
            for table in _TABLES
        }

    @classmethod
    def load_texts(cls, texts: Mapping[str, bytes]) -> "State":
        """Make a state of what `texts` returned; a table is decoded when it is first looked at.

        Listing the names of a hundred thousand entries needs a third of what they add up to.

        Raises:
            KeyError: a table is missing: another version wrote it.
        """
        state = cls()
        state.marks = json.loads(texts["marks"])
        for table in _TABLES[1:]:
            state._texts[table] = texts[table]
            delattr(state, table)
        return state

    if not TYPE_CHECKING:  # a type checker sees the attributes that __init__ makes

        def __getattr__(self, table: str) -> Any:
            texts = self.__dict__.get("_texts", {})
            if table not in texts:
                raise AttributeError(table)
            with _no_collecting():
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

    def _forget(self, seq: int) -> None:
        """Drop verdicts that the window has passed: such an id can't take effect again (its birth is too old)."""
        if seq % _TIDY == 0:
            self.verdicts = {txn: found for txn, found in self.verdicts.items() if found[0] >= seq - WINDOW}

    def _take(self, txn: "Txn", seq: int, time: str) -> None:
        stamp: dict[str, Any] = {"seq": seq, "time": time, "actor": txn["actor"], "txn": txn["txn"]}
        if "reason" in txn:
            stamp["reason"] = txn["reason"]
        for fact in txn["facts"]:
            handler = _HANDLERS.get(fact["fact"])
            if handler is not None:
                handler(self, fact, {**stamp, "reason": fact["reason"]} if "reason" in fact else stamp)

    def _take_stored(self, fact: Fact, _stamp: Fact) -> None:
        digest = fact["digest"]
        self._set(self.manifests, fact["manifest"], [digest, fact["manifest_digest"], fact["packs"]])
        self._push(self.holders, digest, fact["manifest"])
        self._set(self.stored, digest, {key: fact[key] for key in ("size", "files", "content", "format") if key in fact})
        if fact.get("hooks"):
            self._set(self.hooks, digest, fact["hooks"])

    def _take_relocated(self, fact: Fact, _stamp: Fact) -> None:
        self._set(self.manifests, fact["to"], [fact["digest"], fact["manifest_digest"], fact["packs"]])
        self._push(self.holders, fact["digest"], fact["to"])

    def _take_condemned(self, fact: Fact, stamp: Fact) -> None:
        self._set(self.marks, "condemned", stamp["seq"])
        for pack in fact["packs"]:
            self._set(self.condemned_packs, pack, stamp["seq"])
        for manifest in fact["manifests"]:
            self._set(self.condemned_manifests, manifest, stamp["seq"])
            known = self.manifests.get(manifest)
            if known is not None:
                digest = known[0]
                self._set(self.holders, digest, [m for m in self.holders.get(digest, ()) if m != manifest])
                if not self.holders[digest]:
                    self._drop(self.hooks, digest)

    def _take_versioned(self, fact: Fact, stamp: Fact) -> None:
        row: dict[str, Any] = {**stamp, **{key: fact[key] for key in ("digest", "kind", "file", "metadata") if key in fact}}
        if fact["name"] is None:
            self._set(self.unnamed, fact["digest"], row)
            return
        versions = self.names.get(fact["name"])
        if not versions or versions[-1]["digest"] != fact["digest"] or "removed" in versions[-1]:
            self._push(self.names, fact["name"], row)

    def _take_described(self, fact: Fact, _stamp: Fact) -> None:
        if fact["name"] is None:
            row = self.unnamed.get(fact.get("digest", ""))
            if row is not None:
                self._set(row, "metadata", fact["metadata"])
        elif (number := self.version_of(fact)) is not None:
            self._set(self.names[fact["name"]][number - 1], "metadata", fact["metadata"])

    def version_of(self, fact: Mapping[str, Any]) -> int | None:
        """Return k of the version that a fact names by `{name, version}` or `{name, digest}`, or None if there is none."""
        versions = self.names.get(fact["name"], ())
        if fact.get("version") is not None:
            return int(fact["version"]) if 1 <= fact["version"] <= len(versions) else None
        for k in range(len(versions), 0, -1):
            if versions[k - 1]["digest"] == fact.get("digest"):
                return k
        return None

    def _take_aliased(self, fact: Fact, stamp: Fact) -> None:
        ends = fact.get("version") is None and "digest" not in fact
        number = None if ends else self.version_of(fact)
        if number is None and not ends:
            return  # received from another store, and that version is not here
        move = {"version": number, **stamp}
        if fact["name"] not in self.aliases:
            self._set(self.aliases, fact["name"], {})
        self._push(self.aliases[fact["name"]], fact["alias"], move)

    def _take_removed(self, fact: Fact, stamp: Fact) -> None:
        if "name" in fact:
            number = self.version_of(fact)
            if number is not None and "removed" not in self.names[fact["name"]][number - 1]:
                self._set(self.names[fact["name"]][number - 1], "removed", stamp)
            return
        self._drop(self.unnamed, fact["digest"])
        for versions in self.names.values():
            for row in versions:
                if row["digest"] == fact["digest"] and "removed" not in row:
                    self._set(row, "removed", stamp)

    def _take_measured(self, fact: Fact, _stamp: Fact) -> None:
        subject = fact["digest"] if "digest" in fact else f"run:{fact.get('run', '')}"
        self._set(self.metrics, subject, {**self.metrics.get(subject, {}), **fact["metrics"]})

    def _take_held(self, fact: Fact, _stamp: Fact) -> None:
        self._set(self.holds, fact["hold"], fact["digest"])

    def _take_released(self, fact: Fact, _stamp: Fact) -> None:
        self._drop(self.holds, fact["hold"])

    def _take_tainted(self, fact: Fact, stamp: Fact) -> None:
        self._set(self.tainted, fact["digest"], stamp["seq"])

    def _take_cleared(self, fact: Fact, _stamp: Fact) -> None:
        self._drop(self.tainted, fact["digest"])

    def _take_started(self, fact: Fact, stamp: Fact) -> None:
        if fact["run"] not in self.runs:
            self._set(self.runs, fact["run"], {**stamp, "name": fact["name"]})

    def _take_finished(self, fact: Fact, stamp: Fact) -> None:
        run = self.runs.get(fact["run"])
        if run is not None and "status" not in run:
            self._set(run, "status", fact["status"])
            self._set(run, "finished", stamp["time"])

    def _take_used(self, fact: Fact, _stamp: Fact) -> None:
        if fact["run"] not in self.used_in.get(fact["digest"], ()):
            self._push(self.used_in, fact["digest"], fact["run"])

    def _take_produced(self, fact: Fact, _stamp: Fact) -> None:
        if fact["run"] not in self.produced_by.get(fact["digest"], ()):
            self._push(self.produced_by, fact["digest"], fact["run"])

    def _take_moved_to(self, fact: Fact, stamp: Fact) -> None:
        self._set(self.marks, "moved_to", fact["url"])
        self._set(self.marks, "moved_at", stamp["seq"])

    def _take_received(self, fact: Fact, stamp: Fact) -> None:
        """Take another store's facts as if they had been said here, by their own actor at their own time.

        What speaks of the other store's layout (where bytes lie there) has no effect here.
        """
        origin = {**stamp, "actor": fact["actor"], "time": fact["time"], "from": fact["store"]}
        for inner in fact["facts"]:
            kind = inner.get("fact")
            if kind not in {"stored", "relocated", "condemned", "moved_to", "received"} and kind in _HANDLERS:
                _HANDLERS[kind](self, inner, {**origin, "reason": inner["reason"]} if "reason" in inner else origin)


_HANDLERS: Final[dict[str, Callable[[State, Fact, Fact], None]]] = {
    name.removeprefix("_take_"): getattr(State, name) for name in sorted(vars(State)) if name.startswith("_take_")
}
