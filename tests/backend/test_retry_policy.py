"""The policy of all loops that try again: how often, with which pauses, until when."""

import ast
import math
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.errors import NotAppliedError, RangesFailedError
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers import retry_policy
from artifactstore.backend.wrappers.retry_policy import Retries, RetryPolicy, retried
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import AlreadyExistsError, BackendError


class Clock:
    """Passes by being slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(retry_policy, "clock", made)
    return made


def failing(clock: Clock, calls: list[float], *, times: float = math.inf, takes: float = 0.0, transient: bool = True):
    def call() -> str:
        calls.append(clock.now)
        clock.now += takes
        if len(calls) > times:
            return "done"
        raise BackendError("busy", transient=transient)

    return call


@pytest.mark.parametrize("first", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("longest", [0.2, 5.0])
@pytest.mark.parametrize("tries", [1, 2, 6])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_pauses_double_up_to_the_longest_and_tries_are_counted(clock, first, longest, tries, spread):
    calls: list[float] = []
    with pytest.raises(BackendError, match="busy"):
        retried(failing(clock, calls), RetryPolicy(first=first, longest=longest, spread=spread, tries=tries, seconds=math.inf))
    assert len(calls) == tries
    whole = [min(longest, first * 2**number) for number in range(tries - 1)]
    assert len(clock.pauses) == len(whole)
    for pause, most in zip(clock.pauses, whole, strict=True):
        assert most * (1 - spread) <= pause <= most


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.5, 7.0, 300.0])
@pytest.mark.parametrize("how", [(0.0, 0.0), (0.0, 0.5), (0.4, 0.0), (0.4, 0.5)])
@pytest.mark.parametrize("source", ["policy", "environment", "limit"])
def test_the_last_try_is_made_when_the_time_is_up_and_none_after(clock, monkeypatch, seconds, how, source):
    takes, spread = how
    calls: list[float] = []
    policy = RetryPolicy(spread=spread, seconds=seconds if source == "policy" else None)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", str(seconds if source == "environment" else 1e6))
    retries = Retries(policy, limit=(lambda _: seconds) if source == "limit" else None)
    call = failing(clock, calls, takes=takes)
    while True:
        try:
            call()
        except BackendError as error:
            if not retries.again(error):
                break
    assert seconds - 0.001 <= clock.now <= seconds + takes + 1e-6
    assert calls[-1] <= seconds + 1e-6


def test_permanent_failures_and_other_errors_are_not_tried_again(clock):
    calls: list[float] = []
    with pytest.raises(BackendError, match="busy"):
        retried(failing(clock, calls, transient=False))

    def exists() -> None:
        calls.append(clock.now)
        raise AlreadyExistsError("there")

    with pytest.raises(AlreadyExistsError):
        retried(exists)
    assert (len(calls), clock.pauses) == (2, [])


def test_a_success_starts_the_count_and_the_time_anew(clock):
    retries = Retries(RetryPolicy(tries=3, seconds=10.0))
    error = BackendError("busy", transient=True)
    for _ in range(20):
        assert retries.again(error)
        clock.now += 9.0
        retries.succeeded()
    assert retries.again(error)
    assert retries.again(error)
    assert not retries.again(error)
    assert clock.pauses == [0.05] * 20 + [0.05, 0.1]
    assert retried(failing(clock, [], times=3), sleep=clock.sleep) == "done"


@pytest.mark.filterwarnings("ignore:.*does not answer")
@pytest.mark.parametrize("seconds", [3.0, 30.0, 300.0])
@pytest.mark.parametrize("takes", [0.0, 1.0])
def test_two_loops_one_inside_the_other_wait_no_longer_than_one(clock, monkeypatch, seconds, takes):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", str(seconds))

    class Down(MemoryBackend):
        def read(self, key: str) -> bytes:
            clock.now += takes
            raise BackendError(f"no reply for {key}", transient=True)

    backend = RetryingBackend(Down("memory://twice"), sleep=clock.sleep, clock=clock.monotonic)
    with pytest.raises(BackendError, match="no reply for a"):
        retried(lambda: backend.read("a"))
    assert clock.now <= seconds + takes + 0.1


def test_what_certainly_did_nothing_is_a_transient_failure_to_every_policy(clock):
    assert Retries().again(NotAppliedError("met another writer"))
    assert clock.pauses == [0.05]


SLEEPERS = {
    "backend/wrappers/rate_limit.py",  # waits for a permit, before anything is sent
    "backend/wrappers/retry_policy.py",
    "cli/history/cmd_log.py",  # `--follow` looks for entries that come later
    "content/read/shared_tree.py",  # waits for the next tick of the clock by which files get their times
    "integrations/mlflow/repository.py",  # waits until a thread has taken what a client sends
    "journal/turns.py",  # waits for its turn among many writers, which is no failure
    "maintenance/doctor/create_race.py",  # waits for the start of the race
    "runtime/file_locks.py",  # polls a lock of the operating system, which is no failure
    "runtime/loading.py",  # a fork waits for imports
    "runtime/threads.py",  # what the others wait with
}


def test_every_loop_that_tries_again_uses_the_policy():
    """A new module that sleeps belongs to the list above with its reason, or uses `Retries`."""
    folder = Path(artifactstore.__file__).parent
    found = set()
    for path in folder.rglob("*.py"):
        text = path.read_text()
        if "sleep(" not in text:
            continue
        calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        if any(getattr(one, "attr", getattr(one, "id", "")) in {"sleep", "_sleep", "cancellable_sleep"} for one in calls):
            found.add(path.relative_to(folder).as_posix())
    assert {one for one in found if not one.startswith("testing/")} == SLEEPERS


@pytest.mark.filterwarnings("ignore:.*does not answer")
@pytest.mark.parametrize("seconds", [0, 9])
def test_of_ranges_that_fail_for_ever_the_first_failure_is_raised(clock, seconds):
    class Half(MemoryBackend):
        def read_ranges(self, key: str, ranges):
            failure = NotAppliedError(f"no reply for {key}")
            raise RangesFailedError({0: b"1"}, failure) if len(ranges) > 1 else failure

    backend = RetryingBackend(Half("memory://half"), seconds=seconds, sleep=clock.sleep, clock=clock.monotonic)
    tried = r" \(tried \d+ times in 9 s; the limit is" if seconds else "$"
    with pytest.raises(NotAppliedError, match=f"^no reply for a{tried}"):
        backend.read_ranges("a", [(0, 1), (1, 1)])
    assert clock.now == pytest.approx(seconds)
