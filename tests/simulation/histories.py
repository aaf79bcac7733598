"""Worlds in which disks lose and change entries, facts files and `store.json`, and the shipped repair of histories brings them back.

Several repairs at a time work beside writers, clean-up and readers, with two copies, one of which lies about some entries.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, cast
from unittest.mock import patch

from artifactstore.backend.base import Backend
from artifactstore.errors import ArtifactStoreError, ConflictError, CorruptionError, FormatError, NotFoundError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import target_key
from artifactstore.maintenance.repair import history as history_module
from artifactstore.maintenance.repair.history import mend_history
from artifactstore.maintenance.repair.history_sources import CopyHistory, SegmentHistory
from artifactstore.model.encoding import canonical_json

from .scenario import Outcome, Scenario, played
from .tasks import Habits, Process
from .world import InlinePool, Violation

BROKEN: Final = b"?"
HISTORY: Final = ("journal/0", "facts/", "store.json")


def is_history(key: str) -> bool:
    return key.startswith(HISTORY)


def changed(raw: bytes) -> bytes:
    """The same object as a forger would leave it: it can be read, and says something else."""
    try:
        found = json.loads(raw)
    except ValueError:
        return BROKEN
    if isinstance(found, dict) and "txns" in found:
        found["writer"] = "f" * 32
    elif isinstance(found, dict) and "created" in found:
        found["created"] = "2020-01-01T00:00:00.000000Z"
    else:
        return BROKEN
    return bytes(canonical_json(found))


class Copied:
    """A copy of the place, as it was before anything was lost; reading it takes no turn.

    Args:
        process: of the place.
        lies: whether some entries are others there.
    """

    url = "sim://copy"
    concurrency = 1
    listable = False

    def __init__(self, process: "Keeper", *, lies: bool) -> None:
        self._process = process
        self._lies = lies
        self._left = 5000

    def read(self, key: str) -> bytes:
        self._left -= 1
        if not self._left:
            raise Violation("a repair comes to no end")
        world, truth = self._process.world, self._process.checker.truth
        if key == target_key(truth.head, self._process.checker.digest):
            return b"{}"  # it was copied up to the head
        found = self._process.checker.decayed.get(key, world.objects.get(key))
        if found is None:
            raise NotFoundError(key)
        if self._lies and random.Random(f"{world.objects['store.json'][:9]!r} {key}").random() < 0.6:
            return changed(found)
        return found


class Keeper(Process):
    """A process of a world whose history decays."""

    __slots__ = ()

    def decay(self, times: int) -> None:
        """Lose or change objects of the history; the last entry has no successor that shows a change that can be read."""
        world, rng = self.world, self.world.rng
        for _ in range(times):
            world.turn("decay")
            head = self.checker.truth.head
            there = [key for key in sorted(world.objects) if is_history(key) and key not in self.checker.decayed]
            there = [key for key in there if not key.startswith("journal/") or int(key[-17:-5]) <= head]
            there = [key for key in there if not key.startswith("facts/") or key in self.checker.spilled]
            if not there:
                continue
            key = rng.choice(there)
            last = key == entry_key(head) or (key == "store.json" and head == 0)
            how = "broken" if last else rng.choice(["broken", "changed", "gone", "gone"])
            if key == "store.json" and how == "gone":
                how = "changed"
            self.checker.decayed[key] = world.objects[key]
            world.faulty += 1
            world.log(f"    {key} decays: {how}")
            if how == "gone":
                del world.objects[key]
            else:
                world.objects[key] = BROKEN if how == "broken" else changed(world.objects[key])

    def mender(self, times: int) -> None:
        for _ in range(times):
            self.quietly(self.mend)

    def mend(self, *, honest: bool = False) -> None:
        copies = [Copied(self, lies=True), Copied(self, lies=False)]
        chosen = copies[1:] if honest else self.world.rng.choice([copies, copies[::-1], copies[:1], []])
        sources = [SegmentHistory(self.backend), *(CopyHistory(cast("Backend", one)) for one in chosen)]
        head = self.journal.head
        anchors = {head: str(self.journal.digest)} if head and self.world.rng.random() < 0.5 and self.is_true() else {}
        done = mend_history(self.backend, sources, anchors=anchors)
        self.world.log(f"    restored {[one.key for one in done.restored]}, lost {[one.key for one in done.lost]}")

    def is_true(self) -> bool:
        """Whether the head that this process has seen was not changed when it saw it."""
        journal = self.journal
        return bool(json.loads(json.dumps(journal.fold.dump())) == json.loads(self.checker.dumps[journal.head]))

    def quietly(self, act: Callable[[], None]) -> None:
        """Do something whose failure its caller was told of: damage is, too."""

        def bear() -> None:
            try:
                act()
            except (ConflictError, CorruptionError, FormatError, NotFoundError) as error:
                if not self.ever_decayed():
                    raise
                self.world.log(f"    told: {error}"[:150])

        super().quietly(bear)

    def ever_decayed(self) -> bool:
        return any(" decays: " in line for line in self.world.trace)


class Historical(Scenario):
    """A world of one place whose history decays, and is repaired."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Habits(mode="alone"), with_reference=False)
        self.publishing = self.keeping = False
        self.freed: set[int] = set()  # entries that others took for free, since a disk had lost what was there
        self.spill = random.Random(seed + 9).choice([300, 300, 2**20])
        checker = self.main.checker
        self.digests = {0: str(checker.digest)}  # entry → the digest of its bytes as they were written
        checker._same = self._same_if_true(checker._same)  # type: ignore[assignment,method-assign]
        checker._entry = self._noted(checker._entry)  # type: ignore[assignment,method-assign]

    def _noted(self, entry: Callable[[bytes, int], None]) -> Callable[[bytes, int], None]:
        def noted(raw: bytes, seq: int) -> None:
            entry(raw, seq)
            self.digests[seq] = str(self.main.checker.digest)

        return noted

    def _same_if_true(self, same: Callable[[Any], None]) -> Callable[[Any], None]:
        """A process that has just read what was changed learns of it by the next entry: until then its fold is another."""

        def check(journal: Any) -> None:
            if str(journal.digest) == self.digests.get(int(journal.fold.head)):
                same(journal)
            elif not self.ever_decayed():
                raise Violation(f"7: a process has another entry {journal.fold.head}")

        return check

    def ever_decayed(self) -> bool:
        return any(" decays: " in line for line in self.world.trace)

    @contextmanager
    def installed(self) -> Iterator[None]:
        with super().installed(), ExitStack() as stack:
            stack.enter_context(patch.object(history_module, "Pool", InlinePool))
            yield

    def process(self, name: str = "") -> Keeper:
        made = super().process(name)
        fields: Mapping[str, Any] = {one: getattr(made, one) for one in Process.__dataclass_fields__}
        return Keeper(**fields)

    def populate(self) -> None:
        rng = self.world.rng
        acts: dict[str, Callable[[Keeper], Callable[[], None]]] = {
            "writer": lambda p: lambda: p.writer(3),
            "remover": lambda p: lambda: p.remover(2),
            "mover": lambda p: lambda: p.mover(2),
            "chatterer": lambda p: lambda: p.chatterer(4),
            "sealer": lambda p: lambda: p.sealer(2),
            "gc": lambda p: lambda: p.quietly(lambda: p.gc(2)),
            "mender": lambda p: lambda: p.mender(3),
            "decay": lambda p: lambda: p.decay(4),
        }
        chosen = ["writer", "writer", "mender", "decay", *rng.choices([*acts], k=rng.randint(1, 5))]
        processes = [self.process() for _ in range(rng.choice([2, 3, len(chosen)]))]
        for k, act in enumerate(chosen):
            self.world.add(f"t{k}", acts[act](processes[k % len(processes)]))
        self.menders = {f"t{k}" for k, act in enumerate(chosen) if act == "mender"} | {"last repair"}
        self.everybody = processes

    def _before(self, verb: str, key: str, owner: str, data: bytes | None) -> None:
        if data is not None and is_history(key) and self.main.checker.decayed.get(key) == data:
            return  # what it was
        if data is not None and key in self.main.checker.decayed:
            if verb == "create" and owner not in self.menders and key not in self.world.objects:
                if key.startswith("journal/"):
                    self.freed.add(int(key[-17:-5]))
                return  # of who has not seen the entry whose number a disk has freed: nothing tells it before the next look
            raise Violation(f"9: {owner} puts other bytes in the place of {key}, which is damaged")
        super()._before(verb, key, owner, data)

    def _after(self) -> None:
        checker = self.main.checker
        for key in [one for one, was in checker.decayed.items() if self.world.objects.get(one) == was]:
            del checker.decayed[key]
        super()._after()

    def _all_is_freed(self, name: str) -> None:
        """Leave clean-up to the other worlds."""

    def finish(self) -> None:
        process = self.process()
        self.world.prepare("last repair", lambda: process.mend(honest=True))
        if self.main.checker.decayed:
            raise Violation(f"9: {sorted(self.main.checker.decayed)} stay damaged, though a copy has them")
        for one in [*self.everybody, self.process()]:
            self.world.prepare("reader", lambda one=one: self._reads(one))  # type: ignore[misc]
        for place in self.places.values():
            for marker, told in place.told.items():
                if told in self.freed and not place.checker.effects.get(marker):
                    place.told[marker] = "unknown"  # what was there came back in its place
        super().finish()

    def _reads(self, process: Keeper) -> None:
        """Each process reads on, the second time at the latest: the first one may report what it had read."""
        journal: Journal = process.journal
        try:
            process.insist(journal.catch_up)
        except ArtifactStoreError as error:
            process.world.log(f"    told: {error}"[:150])
        process.insist(journal.catch_up)
        if str(journal.digest) != str(self.main.checker.digest):
            raise Violation(f"2: a process reads {journal.head} entries of {self.main.checker.truth.head} after the repair")


def simulate(seed: int) -> Outcome:
    """Run a seed to its end or to its first violation."""
    return played(Historical(seed), first=2)
