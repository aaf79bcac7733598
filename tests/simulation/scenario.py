"""A seed becomes a world, its tasks and a verdict."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from artifactstore.backend.wrappers import retry_policy as retry_module
from artifactstore.catalog.fold import judge as judge_module
from artifactstore.catalog.fold import state as state_module
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs import pack as pack_module
from artifactstore.content.packs import writer as packer_module
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal import append as append_module
from artifactstore.journal import chain as chain_module
from artifactstore.journal import fetch as fetch_module
from artifactstore.journal import inbox as inbox_module
from artifactstore.journal import journal as journal_module
from artifactstore.journal import segments as segments_module
from artifactstore.journal import snapshots as snapshots_module
from artifactstore.journal import turns as turns_module
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.maintenance import extend as extend_module
from artifactstore.maintenance import snapshot as snapshot_module
from artifactstore.maintenance.gc import check as check_module
from artifactstore.maintenance.gc import execute as execute_module
from artifactstore.maintenance.gc import litter as litter_module
from artifactstore.maintenance.gc.execute import collect
from artifactstore.maintenance.repack import execute as repack_module
from artifactstore.maintenance.sync import object_copy as whole_module
from artifactstore.maintenance.sync import replicate as replicate_module
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.model.actor import Actor
from artifactstore.model.encoding import format_time
from artifactstore.model.facts import Config

from .checker import Checker, live_digests
from .neighbours import Copier, Importer, Visitor
from .reference import Reference
from .strangers import Stranger
from .tasks import WORDS, Habits, Process
from .uploading import Rewriting, TaskPool, decoded
from .world import EPOCH, InlinePool, SimBackend, SimLock, Violation, World

Act = Callable[[Process], Callable[[], None]]


@dataclass(slots=True)
class Outcome:
    """What became of a seed.

    Attributes:
        violation: what did not hold, or None.
        trace: all that happened.
        world: at its end.
        told: what callers were told, by the markers of their transactions.
    """

    violation: str | None
    trace: list[str]
    world: World
    told: dict[str, int | str]


class Kept:
    """A fold kept between processes, as JSON."""

    def __init__(self) -> None:
        self._kept: tuple[str, str] | None = None

    def load(self) -> tuple[Any, str] | None:
        return None if self._kept is None else (State.load(json.loads(self._kept[0])), self._kept[1])

    def save(self, fold: Any, digest: str) -> None:
        self._kept = (json.dumps(fold.dump()), digest)

    def is_due(self, fold: Any, saved: int) -> bool:
        return bool(fold.head - saved > saved // 64)

    def see(self, entry: Any) -> None:
        """Keep nothing but folds."""

    def note(self, fold: Any) -> None:
        """Keep nothing but folds."""


@dataclass(slots=True)
class Place:
    """A place of a world.

    Attributes:
        config: of its store.
        checker: of its invariants.
        told: what its callers were told, by the markers of their transactions.
        kept: its fold between processes.
    """

    config: Config
    checker: Checker
    told: dict[str, int | str] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)


class Scenario:
    """One world: how many places and processes, which tasks, which limits."""

    def __init__(self, seed: int, habits: Habits, *, with_reference: bool) -> None:
        self.world = World(seed)
        self.seed = seed
        rng = self.world.rng
        self.window = rng.choice([4096, 4096, 6, 3, 3])
        self.tidy = rng.choice([1, 1, 256])
        self.spill = rng.choice([2**20, 2**20, 2**20, 900])
        self.patience = rng.choice([0.0, 1.0, 5.0, 60.0])
        self.sealing = rng.random() < 0.15 or habits.sealing
        self.furnished = rng.random() < 0.6  # something is there when all begins
        self.keeping = rng.random() < 0.4
        self.extending = habits.extending or random.Random(seed + 5).random() < 0.08
        self.sealing = self.sealing or self.extending
        self.publishing = habits.publishing or self.extending or random.Random(seed).random() < 0.12
        habits.strange = habits.strange or random.Random(seed + 1).random() < 0.08
        habits.by_library = habits.by_library or random.Random(seed + 2).random() < 0.08
        habits.crowded = habits.crowded or random.Random(seed + 3).random() < 0.3
        self.folder = random.Random(seed + 4).choice([16, 4, 1])
        self.mode = habits.mode or rng.choice(["alone", "alone", "copy", "import"])
        habits.ending = habits.ending or self.mode == "alone"
        likely = self.mode == "alone"
        habits.gating = habits.gating or (likely and random.Random(seed + 6).random() < 0.2)
        self.habits = habits
        self.with_reference = with_reference
        self.places: dict[str, Place] = {}
        self.stores: dict[str, Checker] = {}
        self.main = self._add("", seed)
        self.copies: list[Checker] = []
        if self.mode == "copy":
            copy_ = self._add("@b/", seed, copied=True)
            copy_.checker.source = self.main.checker
            self.copies.append(copy_.checker)
        elif self.mode == "import":
            self._add("@c/", seed + 2**64)
            if rng.random() < 0.4:
                self._add("@d/", seed + 2**65)
        self.world.before = self._before
        self.world.after = self._after
        self.told = self.main.told

    def _add(self, name: str, store: int, *, copied: bool = False) -> Place:
        config = Config.new(
            f"{store:032x}", "blake3", dict.fromkeys(("rows", "bytes", "tensors"), (64, 65, 66)), format_time(EPOCH)
        )
        reference = Reference(self.window) if self.with_reference else None
        place = Place(config, Checker(self.world, config, reference, name))
        self.places[name] = place
        if not copied:
            self.stores[config.store] = place.checker
        place.checker.stores = self.stores
        if not copied:
            self.world.objects[f"{name}store.json"] = config.raw
        return place

    def _before(self, verb: str, key: str, owner: str, data: bytes | None) -> None:
        for place in self.places.values():
            place.checker.before(verb, key, owner, data)

    def _after(self) -> None:
        for place in self.places.values():
            place.checker.after()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace what is random, of the moment or parallel; and the limits."""
        world = self.world
        clock = SimpleNamespace(monotonic=world.monotonic, sleep=world.sleep)
        rewriting = Rewriting(world, WORDS)
        with ExitStack() as stack:
            for module, name, value in [
                (append_module, "new_id", world.new_id),
                (append_module, "datetime", SimpleNamespace(now=world.now)),
                (append_module, "clock", clock),
                (turns_module, "clock", clock),
                (turns_module, "Pool", InlinePool),
                (inbox_module, "Pool", InlinePool),
                (append_module, "Pool", InlinePool),
                *((module, "INBOX_FOLDER", self.folder) for module in (append_module, chain_module, inbox_module)),
                (retry_module, "clock", clock),
                (retry_module, "retry_seconds", lambda: self.patience),
                (append_module, "SPILL", self.spill),
                (append_module, "WINDOW", self.window),
                (judge_module, "WINDOW", self.window),
                (state_module, "WINDOW", self.window),
                (state_module, "_CLEAN_UP", self.tidy),
                (pack_module, "new_id", world.new_id),
                (packer_module, "Pool", lambda *_: TaskPool(world)),
                (packer_module, "INLINE_LIMIT", -1),
                (packer_module, "MAX_FRAMES", 1),  # a letter a pack
                (journal_module, "Pool", InlinePool),
                (fetch_module, "Pool", InlinePool),
                (segments_module, "STRIDE", 6),
                (check_module, "decode", decoded),
                (repack_module, "decode", decoded),
                (repack_module, "choose", rewriting.choose),
                (repack_module, "rewrite", rewriting.rewrite),
                (execute_module, "_BATCH", random.Random(self.seed + 3).choice([1, 2, 20_000])),
                (litter_module, "new_id", world.new_id),
                (litter_module, "WINDOW", self.window),
                (litter_module, "INBOX_FOLDER", 2),
                (chain_module, "INBOX_FOLDER", 2),
                (inbox_module, "INBOX_FOLDER", 2),
                (snapshots_module, "_ENTRY", 2**40),  # a snapshot is always worth it
                (extend_module, "STRIDE", 5),
                (extend_module, "TOGETHER", 3),
                (extend_module, "_PATIENCE", 1e12),  # seconds that nothing in a world takes
                (snapshot_module, "Pool", InlinePool),
                (replicate_module, "Pool", InlinePool),
                (whole_module, "_sleep", world.sleep),
                (whole_module, "check_pack", lambda _raw, _key: None),  # a pack is a letter here
            ]:
                stack.enter_context(patch.object(module, name, value))
            yield

    def process(self, name: str = "") -> Process:
        place = self.places[name]
        backend = SimBackend(self.world, name)
        opening = partial(snapshot_module.open_snapshot, backend, "blake3") if self.publishing else None
        journal = Journal(backend, place.config, State, place.kept if self.keeping else None, open_snapshot=opening)
        journal.lock = SimLock(self.world, "journal")  # type: ignore[assignment]
        appender = Appender(journal, Actor("somebody", "os", "here", "simulator"), sleep=self.world.sleep)
        appender._turn = SimLock(self.world, "turn")  # type: ignore[assignment]
        place.checker.journals.append(journal)
        self._show_adoptions(appender)
        if self.habits.crowded:
            appender._turns._until = 1e12  # it has lost a race just before all begins, and does not forget it
        copies = [] if name else self.copies
        own = partial(self._own_history, name)
        made = Process(self.world, backend, journal, appender, place.checker, self.habits, place.told, copies, own_history=own)
        made.deltas = extend_module.Publisher(journal, appender) if self.extending else None
        return made

    def _own_history(self, name: str) -> tuple[Journal, Appender]:
        """A history for whoever deletes: of entries alone, as `work.cleaning.own_history` makes it."""
        place = self.places[name]
        journal = Journal(SimBackend(self.world, name), place.config, State)
        journal.lock = SimLock(self.world, "own journal")  # type: ignore[assignment]
        appender = Appender(journal, Actor("janitor", "os", "here", "simulator"), sleep=self.world.sleep)
        appender._turn = SimLock(self.world, "own turn")  # type: ignore[assignment]
        place.checker.journals.append(journal)
        return journal, appender

    def _show_adoptions(self, appender: Appender) -> None:
        adopt = appender._adopt

        def adopt_and_tell(good: Any, head: int, now: str) -> Any:
            found = adopt(good, head, now)
            if found:
                self.world.log(f"    adopts {[one.txn['txn'][:6] for one in found]}")
            return found

        appender._adopt = adopt_and_tell  # type: ignore[method-assign]

    def populate(self) -> None:
        """Draw the tasks: at least one writer and one clean-up, some of them in one process."""
        world, rng = self.world, self.world.rng
        acts: dict[str, Act] = {
            "writer": lambda p: lambda: p.writer(3),
            "mover": lambda p: lambda: p.mover(4),
            "remover": lambda p: lambda: p.remover(3),
            "reader": lambda _: self.process().reader_of(8),  # of its own: what others read would help it
            "chatterer": lambda p: lambda: p.chatterer(10),
            "repacker": lambda p: lambda: p.repacker(3),
            "gc": lambda p: lambda: p.gc(3),
        }
        if self.habits.eager:
            acts = {name: acts[name] for name in ("writer", "remover", "gc")}
        # What meets rarely where everything happens meets often where little else does.
        mixes = [
            list(acts),
            list(acts),
            ["mover", "mover", "mover", "writer"],
            ["reader", "reader", "repacker", "repacker", "gc"],
            ["writer", "remover", "gc"],
        ]
        mix = [*acts] if self.habits.eager else rng.choice(mixes)
        mix = mixes[3] if self.habits.repacking else ["mover"] if self.habits.moving else mix
        mix = ["mover", "remover"] if self.habits.holding else mix
        chosen = [acts[name] for name in ("writer", "gc", *rng.choices(mix, k=rng.randint(2, 7)))]
        if self.sealing:
            chosen.append(lambda p: lambda: p.sealer(3))
        if self.publishing:
            chosen += [lambda p: lambda: p.publisher(2), lambda p: lambda: p.forger(2), *[lambda _: self._newcomers] * 2]
        if self.habits.strange:
            chosen.append(lambda _: lambda: Stranger(self.process(), self.window).run(6))
        if self.mode == "copy":
            chosen += self._copying()
        elif self.mode == "import":
            chosen += self._importing()
        processes = [self.process() for _ in range(rng.choice([1, 2, 3, len(chosen) - 1]))]
        for k, act in enumerate(chosen):
            process = processes[k % len(processes)]
            world.add(f"t{k}", act(process))

    def _newcomers(self) -> None:
        """Processes that come when some of the history is there, and write."""
        for _ in range(3):
            process = self.process()
            process.quietly(lambda process=process: process.insist(process.journal.catch_up))  # type: ignore[misc]
            process.writer(1)

    def _copying(self) -> list[Act]:
        """Copiers and movers of the first place, and who comes to the other."""
        rng, target = self.world.rng, SimBackend(self.world, "@b/")

        def copier() -> Copier:
            return Copier(self.process(), target)

        acts: list[Act] = [lambda _: lambda: copier().copy(3)] * rng.choice([1, 1, 2])
        moving, releasing = rng.random() < 0.7, rng.random() < 0.3
        if self.habits.eager:
            return [
                *[lambda _: lambda: copier().copy(4)] * 2,
                *[lambda _: lambda: copier().release(6)] * 2,
                *[lambda _: lambda: Visitor(self.process("@b/")).visit(8)] * 2,
            ]
        if moving:
            acts += [lambda _: lambda: copier().move(3)] * rng.choice([1, 2])
        if releasing:
            acts.append(lambda _: lambda: copier().release(2))
        acts += [lambda _: lambda: Visitor(self.process("@b/")).visit(3)] * rng.choice([1, 2])
        return acts

    def _importing(self) -> list[Act]:
        """Who works at the other stores, and importers in all directions."""
        rng, others = self.world.rng, [name for name in self.places if name]
        acts: list[Act] = []
        for name in others:
            at: dict[str, Callable[[Process], None]] = {
                "writer": lambda p: p.writer(2),
                "mover": lambda p: p.mover(2),
                "remover": lambda p: p.remover(2),
                "gc": lambda p: p.gc(2),
            }
            busy = ["writer", "remover", "gc"] if self.habits.eager or rng.random() < 0.5 else []
            acts += [self._working(name, at[work]) for work in [*busy, *rng.choices([*at], k=rng.randint(1, 3))]]
            pairs = [("", name), ("", name), (name, ""), *((one, name) for one in others if one != name)]
            acts += [self._taking_in(*pair) for pair in rng.choices(pairs, k=rng.randint(1, 3))]
        return acts

    def _working(self, name: str, work: Callable[[Process], None]) -> Act:
        return lambda _: lambda: work(self.process(name))

    def _taking_in(self, source: str, target: str) -> Act:
        return lambda _: lambda: Importer(self.process(source), self.process(target), "l").run(2)

    def finish(self) -> None:
        """What must hold when all is over."""
        for place in self.places.values():
            effects_of, forked = place.checker.effects, place.checker.forked
            for marker, told in place.told.items():
                effects = effects_of.get(marker, [])
                if isinstance(told, int) and effects != [told]:
                    raise Violation(f"told that {marker[:6]} is committed in {told}, it takes effect in {effects}")
                if told == "failed" and effects:
                    raise Violation(f"told that {marker[:6]} failed, it takes effect in {effects}")
                if told == "unknown" and not self.world.faulty:
                    raise Violation(f"told that the outcome of {marker[:6]} is unknown, and nothing went wrong")
            for marker, effects in effects_of.items():
                if len(effects) > 1 and not forked:
                    raise Violation(f"{marker[:6]} takes effect in {effects}")
        if self.mode == "copy":
            self._copy_is_whole()
        elif self.mode == "import":
            for name in self.places:
                if name:
                    self._import_ends(name)

        for name, place in self.places.items():
            if place.checker.is_writable():
                self._all_is_freed(name)

    def _all_is_freed(self, name: str) -> None:
        """Run again with nothing going wrong, a clean-up leaves what is needed, and nothing else."""
        checker = self.places[name].checker
        checker.deleters.add("last clean-up")
        self.world.prepare("last clean-up", lambda: self._clean_up(name))
        truth, needed = checker.truth, set[str]()
        for digest in live_digests(truth):
            manifest = str(truth.current_manifest(digest))
            needed.update([manifest_key(manifest), *map(pack_key, truth.manifests[manifest][2])])
        keys = {key.removeprefix(checker.place) for key in self.world.objects if checker.is_mine(key)}
        if left := {key for key in keys if key.startswith(("manifests/", "packs/"))} - needed:
            raise Violation(f"6: a clean-up of {name or 'the store'} leaves {sorted(left)}")

    def _clean_up(self, name: str) -> None:
        self.world.clock += 1000
        journal, appender = self._own_history(name)
        collect(journal, appender, dry_run=False, grace=timedelta(seconds=500))

    def _copy_is_whole(self) -> None:
        """Run again with nothing going wrong, the copy gets all that its source has."""
        copy_, main = self.places["@b/"].checker, self.main.checker
        if copy_.forked:
            return
        copier = Copier(self.process(), SimBackend(self.world, "@b/"))
        moved = main.truth.header["moved_to"] is not None
        self.world.prepare("last copy", lambda: copier.move(1) if moved else copier.copy(1))
        if moved and not copy_.is_writable():
            raise Violation("13: the old place is closed, and the new one never opens")
        if copy_.truth.head < main.truth.end or not copy_.is_reached():
            raise Violation(f"13: the copy ends at {copy_.truth.head}, its source at {main.truth.end}")

    def _import_ends(self, name: str) -> None:
        """Run again with nothing going wrong, an import brings all that it can, and then nothing more."""
        importer = Importer(self.process(""), self.process(name), "l")
        counts: list[int] = []
        for _ in range(3):
            self.world.prepare("last import", lambda: counts.append(importer.receive(ImportFilter())))
        if counts[-1] != 0:
            raise Violation(f"an import comes to no end: {counts} transactions")
        self._all_came(importer, name)

    def _all_came(self, importer: Importer, name: str) -> None:
        there, here = self.main.checker.truth, self.places[name].checker.truth
        left = {one.what.partition(":")[0] for one in importer.receiver.left_out}
        for theirs, ours in importer.receiver.names.items():
            rows = [row["digest"] for row in there.names[theirs]]
            if ours not in left and [row["digest"] for row in here.names.get(ours, ())][: len(rows)] != rows:
                raise Violation(f"{theirs} did not come to {name} as {ours}")


def simulate(seed: int, habits: Habits | None = None, *, with_reference: bool = True) -> Outcome:
    """Run a seed to its end or to its first violation."""
    scenario = Scenario(seed, copy.copy(habits) if habits is not None else Habits(), with_reference=with_reference)
    return played(scenario, first=3 if scenario.furnished else 0)


def played(scenario: Scenario, *, first: int) -> Outcome:
    """Run a scenario to its end or to its first violation; so many puts come before anything else."""
    violation: str | None = None
    with scenario.installed():
        scenario.populate()
        try:
            if first:
                scenario.world.prepare("founder", lambda: scenario.process().writer(first))
            scenario.world.run()
            scenario.finish()
        except Exception as error:  # noqa: BLE001 - whatever a mutant breaks, in whichever way, is found
            violation = f"{type(error).__name__}: {error}"
    return Outcome(violation, scenario.world.trace, scenario.world, scenario.told)
