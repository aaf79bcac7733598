"""The fold: the state that the journal's facts add up to. It decides; appenders only predict it.

Deterministic and pure: entries are applied by number, transactions in their order, each judged on the state after the one before
(docs/reference/protocol.md, rule 1). It never depends on content, clocks or a reader's configuration. The state consists of plain
tables (`catalog.fold.tables`); every change goes through `_set`, `_push` and `_drop`, so that a trial can be undone.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.lost import is_whole, relies_on_lost
from artifactstore.catalog.fold.metadata_index import with_version
from artifactstore.catalog.fold.received import LAYOUT, is_own, subject
from artifactstore.catalog.fold.standing_facts import Standing
from artifactstore.catalog.fold.times import reset_by
from artifactstore.model.facts import WINDOW, Fact
from artifactstore.model.fields import CheckedFacts, sane
from artifactstore.model.format import FORMAT, needed

if TYPE_CHECKING:
    from artifactstore.catalog.fold.judge import Void
    from artifactstore.model.schema import Entry, Txn

__all__ = ["State"]

_SPILL_CHECK: Final = 256  # entries between two checks of the tables' memory
_CLEAN_UP: Final = 1024  # entries between two clean-ups of the verdicts
_OF_STORED: Final = ("content", "format")  # optional fields of facts that are in their rows
_OF_VERSIONED: Final = ("kind", "file", "metadata")


class State(Standing):
    """The state after the entries folded so far; see `Tables` for its content."""

    # -- the interface for the journal

    def apply(self, entry: "Entry", seen: "Callable[[Txn, Void | None], object] | None" = None) -> "list[Void | None]":
        """Fold an entry; return for each of its transactions why it is void, or None if it took effect.

        Args:
            entry: the next entry.
            seen: called with each transaction and why it is void, on the state before it.
        """
        if self._base is None:
            outcome = self._apply(entry, seen)
        else:
            with self._recording():
                outcome = self._apply(entry, seen)
        if entry["seq"] % _SPILL_CHECK == 0:
            self.spill_if_large()
        return outcome

    def _apply(self, entry: "Entry", seen: "Callable[[Txn, Void | None], object] | None") -> "list[Void | None]":
        from artifactstore.catalog.fold.judge import Void, judge  # noqa: PLC0415 - a kept fold that is read needs no rules

        seq, time, format, header, verdicts = entry["seq"], entry["time"], entry["format"], self.header, self.verdicts  # noqa: A001 - the field's name
        if time < header["time"]:
            if (resets := reset_by(header, seq, time)) is None:
                time = header["time"]
            else:
                header["resets"] = resets
        header["time"] = time
        lower = format < header["format"]
        if not lower:
            header["format"] = format
        outcome: list[Void | None] = []
        alone = len(entry["txns"]) == 1
        for txn in entry["txns"]:
            if format < FORMAT and needed(txn["facts"]) > format:
                void: Void | None = Void("format", "its entry's format is lower than its facts need")
            elif lower:
                void = Void("format", "its entry's format is lower than the store's")
            else:
                void = judge(self, txn, seq, alone=alone, time=time)
            outcome.append(void)
            if seen is not None:
                seen(txn, void)
            if void is None:
                self._fold(txn, seq, time)
                verdicts.pop(txn["txn"], None)  # so that verdicts are in the order of their entries
                verdicts[txn["txn"]] = [seq, None]
            elif txn["txn"] not in verdicts:
                verdicts[txn["txn"]] = [seq, str(void)]
        header["head"] = seq
        self._forget(seq)
        return outcome

    def verdict(self, txn: str) -> tuple[int, str | None] | None:
        """Return (entry, why void or None) of a transaction within the window, else None."""
        found = self.verdicts.get(txn)
        return None if found is None else (int(found[0]), found[1])

    def predict(self, txns: "Sequence[Txn]", time: str, others: int = 0) -> "list[Void | None]":
        """Judge transactions as the next entry would, in order, and leave the state unchanged.

        Args:
            txns: the transactions.
            time: of the entry.
            others: how many at the end are other writers', which have to be as they were when they were posted.
        """
        from artifactstore.catalog.fold.judge import judge  # noqa: PLC0415 - as above

        seq, time = self.head + 1, max(time, self.header["time"])
        outcome: list[Void | None] = []
        with self._recording(), self._trial():
            for k, txn in enumerate(txns):
                void = judge(self, txn, seq, alone=len(txns) == 1, time=time) or self.lost(txn)
                if void is None and k >= len(txns) - others:
                    void = self.overtaken(txn)
                outcome.append(void)
                if void is None:
                    self._fold(txn, seq, time)
                    self._set(self.verdicts, txn["txn"], [seq, None])
        return outcome

    # -- reading

    def lost(self, txn: "Mapping[str, Any] | Txn") -> "Void | None":
        """Return why a transaction relies on content that was found lost since its references were checked, or None."""
        return relies_on_lost(self, txn) if self.damaged or self.condemned_packs else None

    def overtaken(self, txn: "Mapping[str, Any] | Txn") -> "Void | None":
        """Return why no other writer may append a transaction that was posted with this base, or None."""
        from artifactstore.catalog.fold.overtaken import overtaken  # noqa: PLC0415 - as above

        return overtaken(self, txn)

    def intact(self, digest: str) -> bool:
        """Return whether a manifest holds this digest of which no fact says that bytes are lost: such content need not be stored again."""
        return any(is_whole(self, one) for one in self.holders.get(digest, ()))

    def vouches(self, digest: str, seq: int) -> bool:
        """Return whether a fact vouches for a snapshot at an entry."""
        return self.snapshots.get(digest) == seq

    # -- changing

    def _forget(self, seq: int) -> None:
        """Drop verdicts outside the window: such an id cannot take effect again (its birth is too old)."""
        if seq % _CLEAN_UP == 0:
            for txn in [*takewhile(lambda txn: self.verdicts[txn][0] < seq - WINDOW, self.verdicts)]:
                del self.verdicts[txn]

    def _fold(self, txn: "Txn", seq: int, time: str) -> None:
        stamp: dict[str, Any] = {"seq": seq, "time": time, "actor": txn["actor"], "txn": txn["txn"]}
        if "reason" in txn:
            stamp["reason"] = txn["reason"]
        graph = self.adjacency if self.adjacency.ids else None
        facts = txn["facts"]
        for fact in facts if type(facts) is CheckedFacts else map(sane, facts):
            kind = fact["fact"]
            handler = _HANDLERS.get(kind)
            if handler is not None:
                if graph is not None:
                    graph.see(fact)
                own = {**stamp, "reason": fact["reason"]} if "reason" in fact else stamp
                handler(self, fact, {**own, "identity": txn["identity"]} if kind == "approved" else own)

    def _fold_stored(self, fact: Fact, _stamp: Fact) -> None:
        digest = fact["digest"]
        self._set(self.manifests, fact["manifest"], [digest, fact["manifest_digest"], fact["packs"]])
        self._push(self.holders, digest, fact["manifest"])
        row = {"size": fact["size"], "files": fact["files"]}
        for key in _OF_STORED:
            if key in fact:
                row[key] = fact[key]
        self._set(self.stored, digest, row)
        if fact.get("hooks"):
            self._set(self.hooks, digest, fact["hooks"])

    def _fold_relocated(self, fact: Fact, _stamp: Fact) -> None:
        self._set(self.manifests, fact["to"], [fact["digest"], fact["manifest_digest"], fact["packs"]])
        self._push(self.holders, fact["digest"], fact["to"])

    def _fold_condemned(self, fact: Fact, stamp: Fact) -> None:
        self._set(self.header, "condemned", stamp["seq"])
        for pack in fact["packs"]:
            self._set(self.condemned_packs, pack, stamp["seq"])
        for manifest in fact["manifests"]:
            self._set(self.condemned_manifests, manifest, stamp["seq"])
            known = self.manifests.get(manifest)
            if known is not None:
                self._drop(self.damaged, manifest)
                digest = known[0]
                self._set(self.holders, digest, [m for m in self.holders.get(digest, ()) if m != manifest])
                if not self.holders[digest]:
                    self._drop(self.hooks, digest)

    def _fold_versioned(self, fact: Fact, stamp: Fact) -> None:
        name, digest = fact["name"], fact["digest"]
        row: dict[str, Any] = {**stamp, "digest": digest}
        for key in _OF_VERSIONED:
            if key in fact:
                row[key] = fact[key]
        if name is None:
            known = self.unnamed.get(digest)
            if known is None or is_own(row) or not is_own(known):
                self._set(self.unnamed, digest, row)
            return
        versions = self.names.get(name)
        if versions and versions[-1]["digest"] == digest and "removed" not in versions[-1]:
            return
        if self.approvals and (older := len(self.approvals.get(digest, ()))):
            row["approvals"] = older
        number = len(self._push(self.names, name, row))
        self._push(self.versions_by_digest, digest, [name, number, fact["kind"]])
        if "metadata" in row:
            self._index(name, number, row["metadata"])

    def _index(self, name: str, number: int, metadata: Any) -> None:
        for row, listed in with_version(self.by_metadata, name, number, metadata):
            self._set(self.by_metadata, row, listed)

    def _fold_described(self, fact: Fact, stamp: Fact) -> None:
        row, number = None, None
        if fact["name"] is None:
            row = self.unnamed.get(fact.get("digest") or "")
        elif fact.get("version") is None and "digest" not in fact:
            if is_own(stamp):
                self._push(self.name_metadata, fact["name"], {"metadata": fact["metadata"], **stamp})
            return
        elif (number := self.version_of(fact)) is not None:
            row = self.names[fact["name"]][number - 1]
        if row is None or (not is_own(stamp) and (is_own(row) or "described" in row)):
            return
        self._set(row, "metadata", fact["metadata"])
        if fact["name"] is not None and number is not None:
            self._index(fact["name"], number, fact["metadata"])
        digest = str(row["digest"])
        if self.approvals and (older := len(self.approvals.get(digest, ()))):
            self._set(row, "approvals", older)
        if is_own(stamp) and not is_own(row):
            self._set(row, "described", stamp["seq"])

    def version_of(self, fact: Mapping[str, Any]) -> int | None:
        """Return k of the version in `{name, version}` or `{name, digest}`, or None if there is none."""
        versions = self.names.get(fact["name"], ())
        if fact.get("version") is not None:
            return int(fact["version"]) if 1 <= fact["version"] <= len(versions) else None
        for k in range(len(versions), 0, -1):
            if versions[k - 1]["digest"] == fact.get("digest"):
                return k
        return None

    def _fold_aliased(self, fact: Fact, stamp: Fact) -> None:
        ends = fact.get("version") is None and "digest" not in fact
        number = None if ends else self.version_of(fact)
        if number is None and not ends:
            return  # received from another store, without that version
        move = {"version": number, **stamp}
        if isinstance(fact.get("rollback"), dict):
            move["rollback"] = fact["rollback"].get("quotes", 0)
        if fact["name"] not in self.aliases:
            self._set(self.aliases, fact["name"], {})
        self._push(self.aliases[fact["name"]], fact["alias"], move)

    def _fold_removed(self, fact: Fact, stamp: Fact) -> None:
        def remove(row: dict[str, Any]) -> None:
            # A version received without its content counts as removed before its removal is received.
            if row.get("removed", {"gone": True}).get("gone") and (is_own(stamp) or not is_own(row)):
                self._set(row, "removed", stamp)

        if "name" in fact:
            number = self.version_of(fact)
            if number is not None:
                remove(self.names[fact["name"]][number - 1])
            return
        if fact["digest"] in self.unnamed and (is_own(stamp) or not is_own(self.unnamed[fact["digest"]])):
            self._drop(self.unnamed, fact["digest"])
        if not is_own(stamp):
            return  # a received removal names each of its versions
        for name, number, _ in self.versions_by_digest.get(fact["digest"], ()):
            remove(self.names[name][number - 1])

    def _fold_measured(self, fact: Fact, stamp: Fact) -> None:
        key = fact["digest"] if "digest" in fact else f"run:{fact.get('run', '')}"
        if "run" in fact:
            self._see(fact["run"], stamp)
        known, before = self.metrics.get(key, {}), self.received_metrics.get(key, [])
        metrics = fact["metrics"]
        if is_own(stamp):
            received = [metric for metric in before if metric not in metrics]
        else:
            metrics = {metric: value for metric, value in metrics.items() if metric not in known or metric in before}
            received = sorted({*before, *metrics})
        self._set(self.metrics, key, {**known, **metrics})
        self.sorted_metrics.touch(key)
        if "digest" in fact:
            self._see_measures(fact, stamp)
        if received != before:
            self._set(self.received_metrics, key, received)

    def _see_measures(self, fact: Fact, stamp: Fact) -> None:
        """Record on what, where and by which run an artifact was measured; an own measure is not replaced by a received one."""
        digest, own = fact["digest"], is_own(stamp)
        known = dict(self.measures.get(digest, {}))
        others = fact.get("not_finite")
        values: dict[str, Any] = {**dict.fromkeys(others if isinstance(others, dict) else ()), **fact["metrics"]}
        for metric, value in values.items():
            rows = known.get(metric, [])
            if own or all(row[4] for row in rows):
                kept = [row for row in rows if row[0] != fact.get("on")]
                known[metric] = [*kept, [fact.get("on"), value, stamp["seq"], fact.get("by"), not own]]
        self._set(self.measures, digest, known)
        if self.approvals and (older := len(self.approvals.get(digest, ()))):
            self._set(self.changed, digest, older)

    def _fold_started(self, fact: Fact, stamp: Fact) -> None:
        if (row := self.runs.get(fact["run"])) is None:
            more = {key: fact[key] for key in ("params", "parent", "command", "job") if key in fact}
            self._set(self.runs, fact["run"], {**stamp, "name": fact["name"], **more})
        elif "job" in fact and (is_own(stamp) or not is_own(row)):  # a rank or a requeued job has joined
            self._set(row, "jobs", [*row.get("jobs", ())[-999:], fact["job"]])

    def _fold_finished(self, fact: Fact, stamp: Fact) -> None:
        run = self.runs.get(fact["run"])
        if run is not None and "status" not in run and (is_own(stamp) or not is_own(run)):
            self._set(run, "status", fact["status"])
            self._set(run, "finished", stamp["time"])
            for key in ("error", "seconds", "reads_seen", "around", "around_more", "programs", "not_finite"):
                if key in fact:
                    self._set(run, key, fact[key])

    def _fold_used(self, fact: Fact, stamp: Fact) -> None:
        self._fold_edge(self.used_by_runs, fact, stamp)

    def _fold_produced(self, fact: Fact, stamp: Fact) -> None:
        self._fold_edge(self.produced_by, fact, stamp)

    def _fold_edge(self, table: MutableMapping[str, list[Any]], fact: Fact, stamp: Fact) -> None:
        run, digest, kind = fact["run"], fact["digest"], fact["fact"]
        if "from" in stamp and is_own(self.runs.get(run, stamp)):
            return
        runs, edges = table.get(digest, ()), self.edges.get(run, ())
        # Both have it or none. The shorter list is searched: ten thousand runs may use one data set, and one run as many files.
        if len(runs) < len(edges):
            if run in runs:
                return
        else:
            for edge in edges:
                if edge["digest"] == digest and edge["fact"] == kind:
                    return
        row = fact.copy()
        del row["run"]
        self._push(table, digest, run)
        self._push(self.edges, run, row)
        self._see(run, stamp)

    def _see(self, run: str, stamp: Fact) -> None:
        """Record a sign of life of an unfinished run."""
        row = self.runs.get(run)
        if row is not None and "status" not in row and row["time"] != stamp["time"]:
            self._set(row, "seen", stamp["time"])

    def _fold_moved_to(self, fact: Fact, stamp: Fact) -> None:
        self._set(self.header, "moved_to", fact["url"])
        self._set(self.header, "moved_at", stamp["seq"])

    def _fold_snapshot(self, fact: Fact, _stamp: Fact) -> None:
        # A reader that starts after that entry does not see an earlier fact.
        self._set(self.snapshots, fact["digest"], fact["seq"])

    def _fold_received(self, fact: Fact, stamp: Fact) -> None:
        """Apply another store's facts, with their actor and time; local facts take precedence."""
        store, seq, gone = fact["store"], fact["seq"], fact.get("gone", ())
        origin = {"seq": stamp["seq"], "txn": stamp["txn"], "actor": fact["actor"], "time": fact["time"]}
        origin |= {"from": store, "entry": seq}
        for table, news in ((self.received, ()), (self.renamed, fact.get("renamed", {}).items())):
            if store not in table:
                self._set(table, store, {})
            for there, here in news:
                self._set(table[store], there, here)
        if self.gates:
            from artifactstore.catalog.gates.evaluate import gates_of  # noqa: PLC0415 - as above
        for inner in fact["facts"]:
            kind, reason = inner.get("fact"), inner.get("reason", fact.get("reason"))
            if kind in LAYOUT or kind == "received":
                continue
            key = subject(inner)
            self._set(self.received[store], key, max(seq, self.received[store].get(key, 0)))
            if kind not in _HANDLERS or (
                kind == "aliased" and inner["alias"] in self.gates and gates_of(self, inner["name"], inner["alias"])
            ):
                continue  # another store's move means nothing where an alias is gated
            mine = origin if reason is None else {**origin, "reason": reason}
            if kind == "approved":
                mine = {**mine, "identity": fact["identity"]}
            if kind == "versioned" and inner["digest"] in gone:
                mine = {**mine, "removed": {**origin, "gone": True}}
            self.adjacency.see(inner)
            _HANDLERS[kind](self, inner, mine)


_HANDLERS: Final[dict[str, Callable[[State, Fact, Fact], None]]] = {
    name.removeprefix("_fold_"): getattr(State, name) for name in dir(State) if name.startswith("_fold_")
}
