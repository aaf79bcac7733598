"""The pool of threads: what nobody waits for any more keeps nobody waiting."""

import threading
import time
from concurrent.futures import Future

import pytest

from artifactstore.backend.failures import ThrottledError
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.pool import Pool
from artifactstore.backend.retrying import RetryingBackend
from artifactstore.backend.wrappers import Wrapper
from artifactstore.errors import BackendError


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
    down, working = Down(error), list[Future[object]]()
    place = RetryingBackend(down, seconds=60)

    def interrupted() -> None:
        with Pool(2) as pool:
            working.append(pool.submit(place.read, "key"))
            working.append(pool.submit(lambda: [*Pool(1).map(place.read, ["key"])]))
            assert down.asked.wait(10)
            time.sleep(1)
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 10
    for one in working:
        assert isinstance(one.exception(timeout=10), BackendError)


def test_who_is_waited_for_goes_on_trying():
    class Once(Down):
        def read(self, key):
            if not self.asked.is_set():
                super().read(key)
            return b"there"

    with Pool(1) as pool:
        future = pool.submit(RetryingBackend(Once(BackendError), seconds=60).read, "key")
    assert future.result() == b"there"
