"""A thread pool for concurrent requests; runs work in the calling thread where it cannot start threads.

After a program's main thread has ended, executors accept no more work, though other threads are still busy and `atexit`
functions are yet to run. Storing a result must still work then.

A pool that is left by an error, such as Ctrl-C, still waits for running work. Work that only waits for a reply or for
the next retry gives up then: its result is no longer needed, and its time-out may be minutes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

__all__ = ["Pool", "SmallFiles", "cancellable_sleep", "is_cancelled", "until"]

SMALL: Final = 64 * 1024
WAITING: Final = 60e-6
_P = ParamSpec("_P")
_T = TypeVar("_T")
_STEP: Final = 0.1  # seconds between two checks for cancellation
_HERE = threading.local()  # of a pool's thread: cancellation events of its pool and the enclosing pools


def is_cancelled() -> bool:
    """True if this thread's pool, or an enclosing pool, was cancelled by an error."""
    return any(left.is_set() for left in getattr(_HERE, "left", ()))


def cancellable_sleep(seconds: float) -> None:
    """Sleep for `seconds`, or until this thread's work is cancelled."""
    if not hasattr(_HERE, "left"):
        time.sleep(seconds)
        return
    end = time.monotonic() + seconds
    while not is_cancelled() and (more := end - time.monotonic()) > 0:
        time.sleep(min(more, _STEP))


@contextmanager
def until(given_up: threading.Event) -> Iterator[None]:
    """Cancel the waits of the calling thread inside the block as soon as an event is set."""
    around = getattr(_HERE, "left", None)
    _HERE.left = (*(around or ()), given_up)
    try:
        yield
    finally:
        if around is None:
            del _HERE.left
        else:
            _HERE.left = around


class Pool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that works in the calling thread where it cannot start threads.

    Args:
        most: number of threads.
        name: prefix of their names.
    """

    _over = False

    def __init__(self, most: int | None = None, name: str = "") -> None:
        self._left = threading.Event()
        super().__init__(most, name, _enter, ((*getattr(_HERE, "left", ()), self._left),))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        """Wait for running work; after an error the rest is not started."""
        self.shutdown(cancel_futures=kind is not None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its parent
        """Accept no more work; with `cancel_futures` start no more of it, and let pending retries give up."""
        self._over = True
        if cancel_futures:
            self._left.set()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a thread call `fn`, or call it now.

        Raises:
            RuntimeError: this pool was shut down.
        """
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            # Raised before anything was queued, unlike "can't start new thread".
            if self._over or "cannot schedule" not in str(error):
                raise
        done: Future[_T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised by the future
            done.set_exception(error)
        return done


class SmallFiles:
    """Decides whether the calling thread handles small files itself, and measures whether that pays.

    Files up to SMALL bytes take Python longer than the kernel: two threads that take turns at the interpreter's lock take twice
    the processors' time of one, and longer (docs/decisions/0103-small-files-in-one-thread.md). Where WAITING seconds pass for
    each file in which its thread does nothing, threads pay: a disk that is not cached, a network file system.
    """

    def __init__(self) -> None:
        self._waited = 0.0  # seconds per file

    def are_quick(self, count: int, size: int) -> bool:
        """Return whether the calling thread handles some files of `size` bytes; sometimes so that this is measured again."""
        if size > SMALL * count:
            return False
        if self._waited < WAITING:
            return True
        self._waited /= 2
        return False

    def measure(self, count: int, work: Callable[[], _T]) -> _T:
        """Return what `work` returns, which handles some files."""
        started = time.perf_counter() - time.thread_time()
        made = work()
        self._waited = (time.perf_counter() - time.thread_time() - started) / count
        return made


def _enter(left: tuple[threading.Event, ...]) -> None:
    """Initialize a pool's thread."""
    _HERE.left = left
