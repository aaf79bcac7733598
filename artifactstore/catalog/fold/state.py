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
from artifactstore.catalog.fold.received import LAYOUT, hold_key, is_own, subject
from artifactstore.catalog.fold.tables import Tables
from artifactstore.catalog.fold.times import reset_by
from artifactstore.model.facts import WINDOW, Fact
from artifactstore.model.fields import sane
from artifactstore.model.format import FORMAT, needed

if TYPE_CHECKING:
    from artifactstore.catalog.fold.judge import Void
    from artifactstore.model.schema import Entry, Txn

__all__ = ["State"]

_SPILL_CHECK: Final = 256  # entries between two checks of the tables' memory
_CLEAN_UP: Final = 1024  # entries between two clean-ups of the verdicts


class State(Tables):
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

        seq, header, verdicts = entry["seq"], self.header, self.verdicts
        time = max(header["time"], entry["time"])
        if time != entry["time"] and (resets := reset_by(header, seq, entry["time"])) is not None:
            header["resets"] = resets
            time = entry["time"]
        header["time"] = time
        lower = entry["format"] < header["format"]
        header["format"] = max(entry["format"], header["format"])
        outcome: list[Void | None] = []
        for txn in entry["txns"]:
            void = Void("format", "its entry's format is lower than the store's") if lower else None
            if entry["format"] < FORMAT and needed(txn["facts"]) > entry["format"]:
                void = Void("format", "its entry's format is lower than its facts need")
            void = void or judge(self, txn, seq, alone=len(entry["txns"]) == 1, time=time)
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

    def predict(self, txns: "Sequence[Txn]", time: str) -> "list[Void | None]":
        """Judge transactions as the next entry would, in order, and leave the state unchanged."""
        from artifactstore.catalog.fold.judge import judge  # noqa: PLC0415 - as above

        seq, time = self.head + 1, max(time, self.header["time"])
        outcome: list[Void | None] = []
        with self._recording(), self._trial():
            for txn in txns:
                void = judge(self, txn, seq, alone=len(txns) == 1, time=time) or self.lost(txn)
                outcome.append(void)
                if void is None:
                    self._fold(txn, seq, time)
                    self._set(self.verdicts, txn["txn"], [seq, None])
        return outcome

    # -- reading

    def lost(self, txn: "Mapping[str, Any] | Txn") -> "Void | None":
        """Return why a transaction relies on content that was found lost since its references were checked, or None."""
        return relies_on_lost(self, txn) if self.damaged or self.condemned_packs else None

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
        for fact in map(sane, txn["facts"]):
            handler = _HANDLERS.get(fact["fact"])
            if handler is not None:
                if graph is not None:
                    graph.see(fact)
                own = {**stamp, "reason": fact["reason"]} if "reason" in fact else stamp
                handler(self, fact, {**own, "identity": txn["identity"]} if fact["fact"] == "approved" else own)

    def _fold_stored(self, fact: Fact, _stamp: Fact) -> None:
        digest = fact["digest"]
        self._set(self.manifests, fact["manifest"], [digest, fact["manifest_digest"], fact["packs"]])
        self._push(self.holders, digest, fact["manifest"])
        self._set(self.stored, digest, {key: fact[key] for key in ("size", "files", "content", "format") if key in fact})
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
        row: dict[str, Any] = {**stamp, **{key: fact[key] for key in ("digest", "kind", "file", "metadata") if key in fact}}
        if fact["name"] is None:
            known = self.unnamed.get(fact["digest"])
            if known is None or is_own(row) or not is_own(known):
                self._set(self.unnamed, fact["digest"], row)
            return
        versions = self.names.get(fact["name"])
        if not versions or versions[-1]["digest"] != fact["digest"] or "removed" in versions[-1]:
            if self.approvals and (older := len(self.approvals.get(fact["digest"], ()))):
                row["approvals"] = older
            self._push(self.names, fact["name"], row)
            number = len(self.names[fact["name"]])
            self._push(self.versions_by_digest, fact["digest"], [fact["name"], number, fact["kind"]])
            self._index(fact["name"], number, row.get("metadata"))

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

    def _fold_approved(self, fact: Fact, stamp: Fact) -> None:
        fields = ("verdict", "meaning", "role", "alias", "name", "signature")
        self._push(self.approvals, fact["digest"], {**{key: fact[key] for key in fields if key in fact}, **stamp})

    def _fold_signed(self, fact: Fact, stamp: Fact) -> None:
        self._push(self.signed, fact["digest"], {"type": fact["type"], "key": fact["key"], **stamp})

    def _fold_gated(self, fact: Fact, stamp: Fact) -> None:
        if fact["alias"] not in self.gates:
            self._set(self.gates, fact["alias"], {})
        self._push(self.gates[fact["alias"]], fact["names"], {**_rules_of(fact), **stamp})

    def _fold_retained(self, fact: Fact, stamp: Fact) -> None:
        self._push(self.retention, fact["names"], {**_rules_of(fact), **stamp})

    def _fold_held(self, fact: Fact, stamp: Fact) -> None:
        row = {key: fact[key] for key in ("digest", "until") if key in fact}
        self._set(self.holds, hold_key(stamp, fact["hold"]), {**row, **stamp})

    def _fold_released(self, fact: Fact, stamp: Fact) -> None:
        self._drop(self.holds, hold_key(stamp, fact["hold"]))
        if is_own(stamp):
            self._drop(self.holds, f"received/{fact['hold']}")

    def _fold_tainted(self, fact: Fact, stamp: Fact) -> None:
        own, received = self.tainted.get(fact["digest"], [None, None])
        row = {key: value for key, value in stamp.items() if key != "txn"} | {"spread": fact.get("spread", True)}
        self._set(self.tainted, fact["digest"], [row, received] if is_own(stamp) else [own, row])

    def _fold_cleared(self, fact: Fact, stamp: Fact) -> None:
        own = self.tainted.get(fact["digest"], [None])[0]
        if is_own(stamp) or own is None:
            self._drop(self.tainted, fact["digest"])
        else:
            self._set(self.tainted, fact["digest"], [own, None])

    def _fold_started(self, fact: Fact, stamp: Fact) -> None:
        if (row := self.runs.get(fact["run"])) is None:
            more = {key: fact[key] for key in ("params", "parent", "command", "job") if key in fact}
            self._set(self.runs, fact["run"], {**stamp, "name": fact["name"], **more})
        elif "job" in fact and (is_own(stamp) or not is_own(row)):  # a rank or a requeued job; the last thousand are known
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
        foreign = not is_own(stamp) and is_own(self.runs.get(run, stamp))
        runs, edges = table.get(digest, ()), self.edges.get(run, ())
        # Both have it or none. The shorter list is searched: ten thousand runs may use one data set, and one run as many files.
        known = run in runs if len(runs) < len(edges) else any(one["digest"] == digest and one["fact"] == kind for one in edges)
        if not foreign and not known:
            self._push(table, digest, run)
            self._push(self.edges, run, {key: value for key, value in fact.items() if key != "run"})
            self._see(fact["run"], stamp)

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

    def _fold_damaged(self, fact: Fact, stamp: Fact) -> None:
        if fact["manifest"] in self.holders.get(fact["digest"], ()):
            self._set(self.damaged, fact["manifest"], stamp["seq"])

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


def _rules_of(fact: Fact) -> Fact:
    return {key: fact[key] for key in ("rules", "signature") if key in fact}


_HANDLERS: Final[dict[str, Callable[[State, Fact, Fact], None]]] = {
    name.removeprefix("_fold_"): getattr(State, name) for name in sorted(vars(State)) if name.startswith("_fold_")
}
