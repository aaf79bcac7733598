"""A seed becomes a world, its tasks and a verdict."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from artifactstore.catalog import judge as judge_module
from artifactstore.catalog import state as state_module
from artifactstore.catalog.state import State
from artifactstore.journal import append as append_module
from artifactstore.journal import fetch as fetch_module
from artifactstore.journal import journal as journal_module
from artifactstore.journal import segments as segments_module
from artifactstore.journal.append import Appender, Author
from artifactstore.journal.journal import Journal
from artifactstore.model.encoding import format_time
from artifactstore.model.facts import Config

from .checker import Checker
from .tasks import Habits, Process
from .world import EPOCH, InlinePool, SimBackend, SimLock, Violation, World


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


class Scenario:
    """One world: how many processes, which tasks, which limits."""

    def __init__(self, seed: int, habits: Habits, *, with_reference: bool) -> None:
        self.world = World(seed)
        rng = self.world.rng
        self.window = rng.choice([4096, 4096, 6, 3, 3])
        self.tidy = rng.choice([1, 1, 256])
        self.spill = rng.choice([2**20, 2**20, 2**20, 900])
        self.patience = rng.choice([0.0, 1.0, 5.0, 60.0])
        self.adopting = rng.random() < 0.3
        self.sealing = rng.random() < 0.15
        self.furnished = rng.random() < 0.6  # something is there when all begins
        self.keeping = rng.random() < 0.4
        self.habits = habits
        config = Config.new(f"{seed:032x}", "blake3", {"only": (64, 64, 64)}, format_time(EPOCH))
        self.config = config
        self.world.objects["store.json"] = config.raw
        self.checker = Checker(self.world, config, window=self.window, tidy=self.tidy, with_reference=with_reference)
        self.told: dict[str, int | str] = {}
        self.inbox: list[dict[str, Any]] = []
        self.kept = Kept()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace what is random, of the moment or parallel; and the limits."""
        world = self.world
        clock = SimpleNamespace(monotonic=world.monotonic, sleep=world.sleep)
        with ExitStack() as stack:
            for module, name, value in [
                (append_module, "new_id", world.new_id),
                (append_module, "datetime", SimpleNamespace(now=world.now)),
                (append_module, "clock", clock),
                (append_module, "retry_seconds", lambda: self.patience),
                (append_module, "SPILL", self.spill),
                (append_module, "WINDOW", self.window),
                (judge_module, "WINDOW", self.window),
                (state_module, "WINDOW", self.window),
                (state_module, "_TIDY", self.tidy),
                (journal_module, "Pool", InlinePool),
                (fetch_module, "Pool", InlinePool),
                (segments_module, "STRIDE", 6),
            ]:
                stack.enter_context(patch.object(module, name, value))
            yield

    def process(self) -> Process:
        backend = SimBackend(self.world)
        if self.adopting:
            backend.on_trouble = self._post
        journal = Journal(backend, self.config, State, self.kept if self.keeping else None)
        journal.lock = SimLock(self.world, "journal")  # type: ignore[assignment]
        appender = Appender(journal, Author("somebody", "os", "here", "simulator"), sleep=self.world.sleep)
        appender._turn = SimLock(self.world, "turn")  # type: ignore[assignment]
        self.checker.journals.append(journal)
        return Process(self.world, backend, journal, appender, self.checker, self.habits, self.told)

    def _post(self, key: str, data: bytes) -> None:
        """Whoever could not append posts what others may append for it."""
        if key.startswith("journal/") and self.world.rng.random() < 0.5:
            self.inbox += [txn for txn in json.loads(data)["txns"] if txn["adoptable"] and "spilled" not in txn]

    def populate(self) -> None:
        """Draw the tasks: at least one writer and one clean-up, some of them in one process."""
        world, rng = self.world, self.world.rng
        acts: dict[str, Callable[[Process], Callable[[], None]]] = {
            "writer": lambda p: lambda: p.writer(3),
            "mover": lambda p: lambda: p.mover(4),
            "remover": lambda p: lambda: p.remover(3),
            "reader": lambda _: self.process().reader_of(8),  # of its own: what others read would help it
            "chatterer": lambda p: lambda: p.chatterer(10),
            "repacker": lambda p: lambda: p.repacker(3),
            "gc": lambda p: lambda: p.gc(3),
        }
        # What meets rarely where everything happens meets often where little else does.
        mixes = [
            list(acts),
            list(acts),
            ["mover", "mover", "mover", "writer"],
            ["reader", "reader", "repacker", "repacker", "gc"],
            ["writer", "remover", "gc"],
        ]
        chosen = [acts[name] for name in ("writer", "gc", *rng.choices(rng.choice(mixes), k=rng.randint(2, 7)))]
        if self.adopting:
            chosen.append(lambda p: lambda: p.adopter(12, self.inbox))
        if self.sealing:
            chosen.append(lambda p: lambda: p.sealer(3))
        processes = [self.process() for _ in range(rng.choice([1, 2, 3, len(chosen) - 1]))]
        for k, act in enumerate(chosen):
            process = processes[k % len(processes)]
            world.add(f"t{k}", act(process))

    def finish(self) -> None:
        """What must hold when all is over."""
        posted = {fact.get("marker") for txn in self.inbox for fact in txn["facts"]}
        for marker, told in self.told.items():
            effects = self.checker.effects.get(marker, [])
            if isinstance(told, int) and effects != [told]:
                raise Violation(f"told that {marker[:6]} is committed in {told}, it takes effect in {effects}")
            if told == "failed" and effects and marker not in posted:
                raise Violation(f"told that {marker[:6]} failed, it takes effect in {effects}")
            if told == "unknown" and not self.world.faulty:
                raise Violation(f"told that the outcome of {marker[:6]} is unknown, and nothing went wrong")
        for marker, effects in self.checker.effects.items():
            if len(effects) > 1:
                raise Violation(f"{marker[:6]} takes effect in {effects}")


def simulate(seed: int, habits: Habits | None = None, *, with_reference: bool = True) -> Outcome:
    """Run a seed to its end or to its first violation."""
    scenario = Scenario(seed, copy.copy(habits) if habits is not None else Habits(), with_reference=with_reference)
    violation: str | None = None
    with scenario.installed():
        scenario.populate()
        try:
            if scenario.furnished:
                scenario.world.prepare("founder", lambda: scenario.process().writer(3))
            scenario.world.run()
            scenario.finish()
        except Exception as error:  # noqa: BLE001 - whatever a mutant breaks, in whichever way, is found
            violation = f"{type(error).__name__}: {error}"
    return Outcome(violation, scenario.world.trace, scenario.world, scenario.told)
