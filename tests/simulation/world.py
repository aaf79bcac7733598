"""A world: tasks in threads of which exactly one runs at a time, over objects in a dict, all drawn from one seed.

Each request to the store is a turn: the task waits until the scheduler grants it, the request then happens at
once and wholly. Nothing sleeps, nothing reads a clock: a seed replays the same trace for ever.
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, Protocol, Self

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.errors import AlreadyExistsError, BackendError, NotFoundError

MAX_STEPS: Final = 400
SPEEDS: Final = (0.03, 0.1, 0.3, 1.0, 1.0, 3.0, 10.0)
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    """The end of a task at a request: `kill -9`, or Ctrl-C where another thread of its process goes on."""


class Violation(AssertionError):  # noqa: N818 - what it is, whoever raises it
    """An invariant does not hold."""


class Blocking(Protocol):
    """What a task may wait for."""

    def free_for(self, task: "Task") -> bool:
        """Tell whether the task may go on."""


@dataclass(slots=True)
class Task:
    """Something that happens: a thread that runs only when it holds the baton."""

    name: str
    run: Callable[[], None]
    speed: float
    mortal: bool
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None
    wants: str = "start"
    blocked_on: "Blocking | None" = None
    dying: bool = False
    done: bool = False
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Flight:
    """A request on its way that nobody waits for any more."""

    verb: str
    key: str
    data: bytes
    owner: str


class World:
    """The scheduler, the objects and the dice.

    Attributes:
        objects: what the store holds.
        trace: one line a step.
        faults: how many more faults of each sort may happen.
        watchers: called with (verb, key, task, data) before each change and with `None` data after each step.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.more = random.Random(seed + 7)  # for what came later: worlds of before stay as they were
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, datetime] = {}
        self.trace: list[str] = []
        self.tasks: list[Task] = []
        self.flights: list[Flight] = []
        self.steps = 0
        self.clock = 0.0
        self.faulty = 0
        rng = self.rng
        self.eagerness = rng.choice([0.02, 0.08, 0.2, 0.35])
        self.faults = {
            "lost": rng.randint(0, 4),
            "late": rng.randint(0, 5),
            "duplicate": rng.randint(0, 3),
            "refused": rng.randint(0, 4),
            "conflict": rng.randint(0, 2),
            "crash": rng.choice([0, 0, 1, 2]),
        }
        self.words = rng.choice([1, 2, 4])  # few contents meet often
        self.moods = rng.choice([0.0, 0.05, 0.15])
        self.landing = rng.choice([0.05, 0.2, 0.6])  # how eagerly what is in flight lands
        self.current: Task | None = None
        self._baton = threading.Semaphore(0)
        self.before: Callable[[str, str, str, bytes | None], None] = lambda *_: None
        self.after: Callable[[], None] = lambda: None

    # -- values that are random or of the moment

    def new_id(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"

    def now(self, _zone: object = None) -> datetime:
        return EPOCH + timedelta(seconds=self.clock)

    def monotonic(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.turn(f"sleep {seconds}")
        self.clock += seconds

    # -- scheduling

    def add(self, name: str, run: Callable[[], None], *, mortal: bool = True) -> None:
        self.tasks.append(Task(name, run, self.rng.choice(SPEEDS), mortal))

    def turn(self, wants: str) -> None:
        """Wait for the baton."""
        task = self.current
        assert task is not None
        task.wants = wants
        self._baton.release()
        task.baton.acquire()
        if task.dying:
            task.dying = False
            raise Crash

    def prepare(self, name: str, run: Callable[[], None]) -> None:
        """Run one task alone to its end, with nothing going wrong."""
        tasks, faults = self.tasks, self.faults
        self.tasks, self.faults = [Task(name, run, 1.0, mortal=False)], dict.fromkeys(faults, 0)
        self.run()
        self.tasks, self.faults = tasks, faults

    def run(self) -> None:
        """Run all tasks to their end, checking after each step.

        Raises:
            Violation: an invariant does not hold; or a task failed in a way that it must not.
        """
        try:
            while any(not task.done for task in self.tasks):
                self._step()
            while self.flights:
                self._land(self.flights.pop(self.rng.randrange(len(self.flights))))
                self.after()
        finally:
            faults, self.faults = self.faults, dict.fromkeys(self.faults, 0)
            self._end()
            self.faults = faults

    def _step(self) -> None:
        ready = [t for t in self.tasks if not t.done and (t.blocked_on is None or t.blocked_on.free_for(t))]
        if not ready:
            raise Violation(f"deadlock: {[(t.name, t.wants) for t in self.tasks if not t.done]}")
        self.steps += 1
        if self.steps > 40 * MAX_STEPS:
            raise Violation(f"no end in sight: {[(t.name, t.wants) for t in self.tasks if not t.done]}")
        if self.steps > MAX_STEPS:
            self.faults = dict.fromkeys(self.faults, 0)
        if self.flights and self.rng.random() < self.landing:
            self._land(self.flights.pop(self.rng.randrange(len(self.flights))))
        else:
            task = self.rng.choices(ready, [t.speed for t in ready])[0]
            if task.mortal and task.wants != "start" and self.draw("crash", self.eagerness / 8):
                task.dying = True
            self.clock += 0.03
            if self.rng.random() < self.moods:
                task.speed = self.rng.choice(SPEEDS)  # now fast, now stopped in the middle of things
            self.log(f"{task.name}: {'CRASH at ' if task.dying else ''}{task.wants}")
            self._grant(task)
            if task.error is not None:
                raise task.error
        self.after()

    def _grant(self, task: Task) -> None:
        self.current = task
        if task.thread is None:
            task.thread = threading.Thread(target=self._body, args=(task,), daemon=True)
            task.thread.start()
        else:
            task.baton.release()
        self._baton.acquire()

    def _body(self, task: Task) -> None:
        try:
            task.run()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the scheduler, which raises it
            task.error = error
        task.done = True
        self._baton.release()

    def _end(self) -> None:
        """Let every thread that still waits come to its end."""
        for _ in range(1000):
            left = [t for t in self.tasks if not t.done and t.thread is not None]
            for task in left:
                task.dying, self.current, task.blocked_on = True, task, None
                task.baton.release()
                self._baton.acquire()
            if not left:
                return

    def draw(self, fault: str, chance: float) -> bool:
        """Decide whether a fault happens now, while its budget lasts."""
        if self.faults[fault] and self.rng.random() < chance:
            self.faults[fault] -= 1
            self.faulty += 1
            return True
        return False

    def log(self, line: str) -> None:
        self.trace.append(f"{self.steps:4d} {line}")

    # -- changes of the objects

    def put(self, verb: str, key: str, data: bytes, owner: str) -> None:
        self.before(verb, key, owner, data)
        self.objects[key] = data
        self.times[key] = self.now()

    def remove(self, key: str, owner: str) -> None:
        self.before("delete", key, owner, None)
        self.objects.pop(key, None)

    def send(self, verb: str, key: str, data: bytes, owner: str) -> None:
        self.flights.append(Flight(verb, key, data, owner))

    def _land(self, flight: Flight) -> None:
        lost = flight.verb == "create" and flight.key in self.objects
        self.log(f"({flight.owner}): late {flight.verb} {flight.key}{' finds it taken' if lost else ' lands'}")
        if flight.verb == "delete":
            self.remove(flight.key, flight.owner)
        elif not lost:
            self.put(flight.verb, flight.key, flight.data, flight.owner)


class SimLock:
    """A lock whose waiters hand the baton on; reentrant, as the strictest user needs it."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name
        self._owner: Task | None = None
        self._depth = 0
        self._waiting: list[Waiting] = []

    def free_for(self, task: Task) -> bool:
        return self._owner is None or self._owner is task

    def __enter__(self) -> Self:
        task = self._world.current
        assert task is not None
        while not self.free_for(task):
            task.blocked_on = self
            try:
                self._world.turn(f"lock {self._name}")
            finally:
                task.blocked_on = None
        self._owner = task
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None

    def wait(self) -> None:
        """As a condition: give the lock back until somebody notifies."""
        task, depth = self._owner, self._depth
        assert task is not None
        self._owner, self._depth = None, 0
        waiting = Waiting(self)
        self._waiting.append(waiting)
        task.blocked_on = waiting
        try:
            self._world.turn(f"wait {self._name}")
        finally:
            task.blocked_on = None
            while not self.free_for(task):
                task.blocked_on = self
                self._world.turn(f"lock {self._name}")
            task.blocked_on = None
            self._owner, self._depth = task, depth

    def notify_all(self) -> None:
        for waiting in self._waiting:
            waiting.notified = True
        self._waiting.clear()


@dataclass(slots=True)
class Waiting:
    """Who waits to be notified, and then for the lock."""

    lock: SimLock
    notified: bool = False

    def free_for(self, task: Task) -> bool:
        return self.notified and self.lock.free_for(task)


class SimBackend(Backend):
    """A store as the world's tasks see it; a world may have several places, told apart by how their keys begin."""

    concurrency = 1

    def __init__(self, world: World, place: str = "") -> None:
        self.world = world
        self.place = place
        self.url = f"sim://{place}"

    def _turn(self, verb: str, key: str, data: bytes | None = None) -> str:
        """Wait for the turn; a request that was sent just before its sender's end may still arrive."""
        world = self.world
        try:
            world.turn(f"{verb} {self.place}{key}")
        except Crash:
            if data is not None and world.rng.random() < 0.5:
                world.send(verb, self.place + key, data, self._me())
            raise
        if world.draw("refused", world.eagerness / 4):
            world.log(f"{self._me()}: refused")
            raise BackendError("503 slow down", transient=True)
        return self._me()

    def _me(self) -> str:
        assert self.world.current is not None
        return self.world.current.name

    def read(self, key: str) -> bytes:
        self._turn("read", key)
        if self.place + key not in self.world.objects:
            raise NotFoundError(key)
        return self.world.objects[self.place + key]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        data = self.read(key)
        return [data[at : at + length] for at, length in ranges]

    def size(self, key: str) -> int:
        return len(self.read(key))

    def list(self, prefix: str) -> Iterator[Stored]:
        self._turn("list", prefix)
        begin = self.place + prefix
        found = [(key, data) for key, data in sorted(self.world.objects.items()) if key.startswith(begin)]
        cut = len(self.place)
        times = self.world.times
        return iter(
            [Stored(key[cut:], len(data), times.get(key, EPOCH)) for key, data in found if self.place or not key.startswith("@")]
        )

    def delete(self, key: str) -> None:
        me = self._turn("delete", key)
        if self.world.draw("late", self.world.eagerness):
            self.world.send("delete", self.place + key, b"", me)
            self._fail(f"{me}: timed out, in flight", "timed out")
        self.world.remove(self.place + key, me)
        if self.world.draw("lost", self.world.eagerness):
            raise BackendError("the reply got lost", transient=True)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        whole = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(bytes(piece) for piece in data)
        self._send("write", key, whole)

    def create(self, key: str, data: bytes) -> None:
        self._send("create", key, data)

    def _send(self, verb: str, key: str, data: bytes) -> None:
        world = self.world
        me = self._turn(verb, key, data)
        chance = world.eagerness
        if verb == "create" and world.draw("conflict", chance):
            self._fail(f"{me}: 409", "409 conditional request conflict")
        if world.draw("late", chance):
            world.send(verb, self.place + key, data, me)
            self._fail(f"{me}: timed out, in flight", "timed out")
        self._deliver(verb, key, data, me)
        if world.draw("duplicate", chance):
            world.log(f"{me}: will arrive again")
            world.send(verb, self.place + key, data, me)
        if world.draw("lost", chance):
            self._fail(f"{me}: reply lost", "the reply got lost")

    def _fail(self, line: str, message: str) -> NoReturn:
        self.world.log(line)
        raise BackendError(message, transient=True)

    def _deliver(self, verb: str, key: str, data: bytes, me: str) -> None:
        if verb == "create" and self.place + key in self.world.objects:
            self.world.log(f"{me}: {self.place}{key} exists")
            raise AlreadyExistsError(key)
        self.world.put(verb, self.place + key, data, me)


class InlinePool:
    """A thread pool that does what it is asked at once, in the caller's thread and turn."""

    def __init__(self, _workers: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], *args: Any) -> "Done":
        return Done(call(*args))

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [call(item) for item in items]


@dataclass(frozen=True, slots=True)
class Done:
    """A future whose result is there."""

    value: Any

    def result(self) -> Any:
        return self.value
