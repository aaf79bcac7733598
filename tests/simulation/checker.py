"""What must hold after every step, looked at from outside: the objects, and a fold of the raw entries alone."""

import json
from collections import Counter
from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal.chain import entry_key, facts_key
from artifactstore.maintenance.gc import litter
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import Config

from .reference import Reference
from .world import Violation, World


class Checker:
    """The invariants of the design at one place, each checked where it can break.

    Attributes:
        truth: the library's fold over the raw entries, fed one by one as they land.
        effects: marker of a transaction → entries in which it took effect.
        source: of a place that is a copy: the checker of the place it is copied from.
        forked: whether an owner made both writable on purpose.
        stores: the checkers of all stores of the world, by their ids.
    """

    def __init__(self, world: World, config: Config, reference: Reference | None, place: str = "") -> None:
        self.world = world
        self.place = place
        self.config = config
        self.truth = State()
        self.digest = Digest.of(config.raw)
        self.dumps: dict[int, bytes] = {0: canonical_json(self.truth.dump())}
        self.effects: dict[str, list[int]] = {}
        self.effective: dict[str, int] = {}
        self.deleters: set[str] = set()
        self.spilled: set[str] = set()  # facts files that entries name
        self.decayed: dict[str, bytes] = {}  # objects that a disk lost or changed, as they were
        self.reference = reference
        self.journals: list[Any] = []
        self.source: Checker | None = None
        self.forked = False
        self.stores: dict[str, Checker] = {}
        self._seen: dict[int, int] = {}
        self._changed = True
        self._own: dict[str, list[Any]] = {}

    def object(self, key: str) -> bytes | None:
        return self.world.objects.get(self.place + key)

    def is_mine(self, key: str) -> bool:
        return key.startswith(self.place) if self.place else not key.startswith("@")

    # -- before a change: invariant 2

    def before(self, verb: str, key: str, owner: str, data: bytes | None) -> None:
        if not self.is_mine(key):
            return
        self._changed = True
        there = self.world.objects.get(key)
        key = key.removeprefix(self.place)
        if verb == "delete":
            one = key.rpartition("/")[2].partition(".")[0]
            if owner not in self.deleters:
                raise Violation(f"2: {owner} deletes {key}")
            if not self._is_litter(key) and one not in {**self.truth.condemned_manifests, **self.truth.condemned_packs}:
                raise Violation(f"2: {owner} deletes {key}, which no entry condemns")
        elif there is not None and there != data and not key.startswith(("segments/", "journal/inbox/")):
            raise Violation(f"2: {owner} overwrites {key}")

    def _is_litter(self, key: str) -> bool:
        """Whether nothing can need an object: decided anew, from what is there."""
        if key.startswith("journal/inbox/"):
            span, window = vars(litter)["INBOX_FOLDER"], vars(litter)["WINDOW"]  # as they are in this world
            return "/clock-" in key or int(key.split("/")[2]) * span + span - 1 + window < self.truth.head
        others = [
            one.removeprefix(self.place).split("-") for one in self.world.objects if one.startswith(f"{self.place}segments/")
        ]
        parts = key.split("-")
        if key.startswith("segments/delta"):
            there = [one.removeprefix(self.place) for one in self.world.objects if one.startswith(f"{self.place}segments/")]
            return self._reached_by(there) == self._reached_by([one for one in there if one != key])
        if key.startswith("segments/fold"):
            return any((other[0] == "segments/fold" and "/folds/" in key) or other[1:3] > parts[1:3] for other in others)
        return key.startswith("segments/") and any(
            other[0] == parts[0] and other != parts and other[1] <= parts[1] and other[2] >= parts[2] for other in others
        )

    def _reached_by(self, keys: list[str]) -> int:
        """Return the last entry that a newcomer knows without reading entries, of what the journal vouches for."""
        wholes = [key.split("-") for key in keys if key.startswith("segments/fold-")]
        reached = {0, *(int(parts[2]) for parts in wholes if f"segments/folds/{parts[5].removesuffix('.json')}.sqlite" in keys)}
        deltas = sorted((int(parts[4]), int(parts[3]), parts[7]) for parts in (key.split("-") for key in keys) if len(parts) == 8)
        for seq, since, name in deltas:
            hexed = name.removesuffix(".json")
            vouched = self.truth.snapshots.get(f"blake3:{hexed}") == seq
            if vouched and since in reached and f"segments/deltas/{hexed}.layer" in keys:
                reached.add(seq)
        return max(reached)

    # -- after a step

    def after(self) -> None:
        if self._changed:
            self._changed = False
            while (raw := self.object(entry_key(self.truth.head + 1))) is not None:
                self._entry(raw, self.truth.head + 1)
            if self.source is not None:
                self._one_store()
            if self.is_reached():
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
                self.spilled.add(facts_key(txn["spilled"]["id"]))
                stored = self.object(facts_key(txn["spilled"]["id"]))
                if stored is None or str(Digest.of(stored)) != txn["spilled"]["digest"]:
                    raise Violation(f"1: entry {seq} names facts that are not durable")
                txn["facts"] = json.loads(stored)
        condemned = {**self.truth.condemned_manifests, **self.truth.condemned_packs}
        overtaken = [self._overtaken(txn) for txn in entry["txns"]]
        voids = self.truth.apply(entry)
        if self.reference is not None:
            expected = self.reference.apply(entry)
            found = [void is None for void in voids]
            if found != expected:
                raise Violation(f"7: entry {seq}: the fold says {[str(v) for v in voids]}, the reference {expected}")
        for txn, void, late in zip(entry["txns"], voids, overtaken, strict=True):
            self.world.log(f"    entry {seq}: {txn['txn'][:6]} {[f['fact'] for f in txn['facts']]} {void or 'takes effect'}")
            if void is None and late:
                raise Violation(f"4: entry {seq}: {txn['txn'][:6]} of {txn['base']} moves what was moved in {late} again")
            if void is None:
                self._effect(txn, seq, condemned)
        for manifest, (_, _, packs) in self.truth.manifests.items():
            if manifest not in self.truth.condemned_manifests:
                for pack in packs:
                    if pack in self.truth.condemned_packs:
                        raise Violation(f"3: the uncondemned manifest {manifest} needs the condemned pack {pack}")
        self._own_words(seq)
        self.dumps[seq] = canonical_json(self.truth.dump())

    def _overtaken(self, txn: dict[str, Any]) -> int:
        """Return the entry that moved what a transaction moves, if that was after its writer judged it, else 0."""
        moved = [
            row["seq"]
            for fact in txn["facts"]
            if fact["fact"] == "aliased"
            for row in self.truth.aliases.get(fact["name"], {}).get(fact["alias"], ())[-1:]
        ]
        return max((seq for seq in moved if seq > txn["base"]), default=0)

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
                if self.object(key) is None and self.is_reached() and key not in self.decayed:
                    raise Violation(f"1: entry {seq} refers to {key}, which is not durable")

    def _live(self) -> None:
        """Nothing that a name or a hold keeps alive may lack any of its objects."""
        for digest in live_digests(self.truth):
            manifest = self.truth.current_manifest(digest)
            if manifest is None:
                raise Violation(f"data loss: {digest} is named and nothing holds it")
            keys = [manifest_key(manifest), *(pack_key(pack) for pack in self.truth.manifests[manifest][2])]
            for key in keys:
                if self.object(key) is None and key not in self.decayed:
                    raise Violation(f"data loss: {digest} needs {key}")

    def marks(self) -> tuple[int | None, bool]:
        """The head that the place names as its target, if it is a copy, and whether it was released."""
        begin = f"{self.place}replica/"
        keys = [key.removeprefix(begin) for key in self.world.objects if key.startswith(begin)]
        targets = [int(key.partition("-")[0]) for key in keys if not key.endswith("-end.json")]
        return max(targets, default=None), any(key.endswith("-end.json") for key in keys)

    def is_writable(self) -> bool:
        target, released = self.marks()
        there = self.object("store.json") is not None and self.truth.header["moved_to"] is None
        return there and (target is None or released)

    def is_reached(self) -> bool:
        if self.source is None:
            return True
        target, released = self.marks()
        return target is None or released or self.truth.head >= target

    def _one_store(self) -> None:
        """A copy has the entries of its source and no others; never do both take writes."""
        assert self.source is not None
        if self.forked:
            return
        if self.is_writable() and self.source.is_writable():
            raise Violation(f"13: {self.place} and {self.source.place or 'its source'} take writes")
        end = self.source.truth.end
        for seq in range(1, self.truth.head + 1):
            theirs = self.source.object(entry_key(seq))
            if theirs != self.object(entry_key(seq)) and (seq <= end or not self.is_writable()):
                raise Violation(f"13: entry {seq} of {self.place} is not its source's")

    def _own_words(self, seq: int) -> None:
        """What was said here is not changed by what was said elsewhere; and nothing that was received counts twice."""
        for name, rows in self.truth.names.items():
            before, now = self._own.get(name, []), [(row["digest"], row.get("from"), row.get("entry")) for row in rows]
            if now[: len(before)] != before:
                raise Violation(f"entry {seq}: the history of {name} was {before} and is {now}")
            for (store, entry), count in Counter((row[1], row[2]) for row in now if row[1] is not None).items():
                there = self.stores[store].truth.names.get(name.partition(".from-")[0], ())
                if count > sum("from" not in row and row["seq"] == entry for row in there):
                    raise Violation(f"entry {seq}: {name} received something twice: {now}")
            for k, (digest, store, _) in enumerate(now):
                theirs = self.stores[store].truth.names[name.partition(".from-")[0]] if store is not None else rows
                if k >= len(theirs) or theirs[k]["digest"] != digest:
                    raise Violation(f"entry {seq}: {name}:v{k + 1} is another version in the store that it came from")
            self._own[name] = now
            for row in rows:
                if "from" not in row and "from" in row.get("removed", {}):
                    raise Violation(f"entry {seq}: what was put under {name} here was removed from elsewhere")

    def _same(self, journal: Any) -> None:
        """Invariant 7: every process's fold is the fold of the raw entries up to where it has read."""
        head = journal.fold.head
        if self._seen.get(id(journal)) == head:
            return
        self._seen[id(journal)] = head
        if head > self.truth.head or canonical_json(journal.fold.dump()) != self.dumps[head]:
            raise Violation(f"7: a process's fold at {head} is not that of the entries")


def live_digests(state: State) -> set[str]:
    named = {row["digest"] for rows in state.names.values() for row in rows if "removed" not in row}
    return named | {row["digest"] for row in state.holds.values()} | set(state.unnamed)
