"""The pool of threads: what nobody waits for any more keeps nobody waiting."""

import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from artifactstore.backend.errors import ThrottledError
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import BackendError
from artifactstore.runtime.threads import Pool, cancellable_sleep, is_cancelled


class Down(Wrapper):
    """A place that never gives what it is asked for."""

    def __init__(self, error: type[BackendError]) -> None:
        super().__init__(MemoryBackend("memory://down"))
        self.error = error
        self.asked = threading.Event()

    def read(self, key):
        self.asked.set()
        if self.error is ThrottledError:
            raise ThrottledError("slow down", retry_after=50)
        raise BackendError("no answer came", transient=True)


@pytest.mark.parametrize("error", [BackendError, ThrottledError])
def test_who_is_left_by_an_error_is_not_waited_for_until_his_patience_ends(error: type[BackendError]):
    down, working, ends = Down(error), list[Future[object]](), list[bool]()

    def pause(seconds: float) -> None:
        cancellable_sleep(seconds)
        ends.append(is_cancelled())

    place = RetryingBackend(down, seconds=60, sleep=pause)

    def interrupted() -> None:
        with Pool(2) as pool:
            working.append(pool.submit(place.read, "key"))
            working.append(pool.submit(lambda: [*Pool(1).map(place.read, ["key"])]))
            assert down.asked.wait(10)
            time.sleep(0.3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for one in working:
        assert isinstance(one.exception(timeout=10), BackendError)
    assert 1 <= ends.count(True) < 10, "each gives up after the pause in which it was left"


def test_a_rest_ends_soon_after_nobody_wants_its_work_any_more(monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    with Pool(1) as pool:

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                pool._left.set()

        monkeypatch.setattr("artifactstore.runtime.threads.time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.0))
        pool.submit(cancellable_sleep, 50.0).result()
    assert len(slept) == 3
    assert max(slept) < 1


def test_who_is_waited_for_goes_on_trying():
    class Once(Down):
        def read(self, key):
            if not self.asked.is_set():
                super().read(key)
            return b"there"

    with Pool(1) as pool:
        future = pool.submit(RetryingBackend(Once(BackendError), seconds=60).read, "key")
    assert future.result() == b"there"
