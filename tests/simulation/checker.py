"""What must hold after every step, looked at from outside: the objects, and a fold of the raw entries alone."""

import json
from typing import Any

from artifactstore.catalog.state import State
from artifactstore.journal.chain import entry_key, facts_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import Config

from .reference import Reference
from .world import Violation, World


class Checker:
    """The invariants of the design, each checked where it can break.

    Attributes:
        truth: the library's fold over the raw entries, fed one by one as they land.
        effects: marker of a transaction → entries in which it took effect.
    """

    def __init__(self, world: World, config: Config, *, window: int, tidy: int, with_reference: bool) -> None:
        self.world = world
        self.truth = State()
        self.digest = Digest.of(config.raw)
        self.dumps: dict[int, bytes] = {0: canonical_json(self.truth.dump())}
        self.effects: dict[str, list[int]] = {}
        self.effective: dict[str, int] = {}
        self.deleters: set[str] = set()
        self.reference = Reference(window) if with_reference else None
        self.journals: list[Any] = []
        self._seen: dict[int, int] = {}
        self._changed = True
        world.before = self.before
        world.after = self.after

    # -- before a change: invariant 2

    def before(self, verb: str, key: str, owner: str, data: bytes | None) -> None:
        self._changed = True
        there = self.world.objects.get(key)
        if verb == "delete":
            one = key.rpartition("/")[2].partition(".")[0]
            if owner not in self.deleters:
                raise Violation(f"2: {owner} deletes {key}")
            if one not in self.truth.condemned_manifests and one not in self.truth.condemned_packs:
                raise Violation(f"2: {owner} deletes {key}, which no entry condemns")
        elif there is not None and there != data and not key.startswith(("segments/", "journal/inbox/")):
            raise Violation(f"2: {owner} overwrites {key}")

    # -- after a step

    def after(self) -> None:
        if self._changed:
            self._changed = False
            while (raw := self.world.objects.get(entry_key(self.truth.head + 1))) is not None:
                self._entry(raw, self.truth.head + 1)
            self._live()
        for journal in self.journals:
            self._same(journal)

    def _entry(self, raw: bytes, seq: int) -> None:
        """Invariants 1, 3, 4 and 7 for a new entry."""
        entry = json.loads(raw)
        if entry["previous"] != str(self.digest):
            raise Violation(f"4: entry {seq} does not follow the one before")
        self.digest = Digest.of(raw)
        for txn in entry["txns"]:
            if "spilled" in txn:
                stored = self.world.objects.get(facts_key(txn["spilled"]["id"]))
                if stored is None or str(Digest.of(stored)) != txn["spilled"]["digest"]:
                    raise Violation(f"1: entry {seq} names facts that are not durable")
                txn["facts"] = json.loads(stored)
        condemned = {**self.truth.condemned_manifests, **self.truth.condemned_packs}
        voids = self.truth.apply(entry)
        if self.reference is not None:
            expected = self.reference.apply(entry)
            found = [void is None for void in voids]
            if found != expected:
                raise Violation(f"7: entry {seq}: the fold says {[str(v) for v in voids]}, the reference {expected}")
        for txn, void in zip(entry["txns"], voids, strict=True):
            self.world.log(f"    entry {seq}: {txn['txn'][:6]} {[f['fact'] for f in txn['facts']]} {void or 'takes effect'}")
            if void is None:
                self._effect(txn, seq, condemned)
        for manifest, (_, _, packs) in self.truth.manifests.items():
            if manifest not in self.truth.condemned_manifests:
                for pack in packs:
                    if pack in self.truth.condemned_packs:
                        raise Violation(f"3: the uncondemned manifest {manifest} needs the condemned pack {pack}")
        self.dumps[seq] = canonical_json(self.truth.dump())

    def _effect(self, txn: dict[str, Any], seq: int, condemned: dict[str, int]) -> None:
        if txn["txn"] in self.effective:
            raise Violation(f"7: {txn['txn']} takes effect in {self.effective[txn['txn']]} and in {seq}")
        self.effective[txn["txn"]] = seq
        for marker in {fact.get("marker") for fact in txn["facts"]} - {None}:
            self.effects.setdefault(marker, []).append(seq)
        for fact in txn["facts"]:
            if fact["fact"] not in {"stored", "relocated"}:
                continue
            manifest = fact["manifest" if fact["fact"] == "stored" else "to"]
            keys = {manifest: manifest_key(manifest)} | {pack: pack_key(pack) for pack in fact["packs"]}
            for one, key in keys.items():
                if one in condemned:
                    raise Violation(f"3: entry {seq} refers to {one}, condemned by {condemned[one]}")
                if key not in self.world.objects:
                    raise Violation(f"1: entry {seq} refers to {key}, which is not durable")

    def _live(self) -> None:
        """Nothing that a name or a hold keeps alive may lack any of its objects."""
        for digest in live_digests(self.truth):
            manifest = self.truth.current_manifest(digest)
            if manifest is None:
                raise Violation(f"data loss: {digest} is named and nothing holds it")
            keys = [manifest_key(manifest), *(pack_key(pack) for pack in self.truth.manifests[manifest][2])]
            for key in keys:
                if key not in self.world.objects:
                    raise Violation(f"data loss: {digest} needs {key}")

    def _same(self, journal: Any) -> None:
        """Invariant 7: every process's fold is the fold of the raw entries up to where it has read."""
        head = journal.fold.head
        if self._seen.get(id(journal)) == head:
            return
        self._seen[id(journal)] = head
        if head > self.truth.head or canonical_json(journal.fold.dump()) != self.dumps[head]:
            raise Violation(f"7: a process's fold at {head} is not that of the entries")


def manifest_key(one: str) -> str:
    return f"manifests/{one[:2]}/{one}.json"


def pack_key(one: str) -> str:
    return f"packs/{one[:2]}/{one}.pack"


def live_digests(state: State) -> set[str]:
    named = {row["digest"] for rows in state.names.values() for row in rows if "removed" not in row}
    return named | set(state.holds.values()) | set(state.unnamed)
