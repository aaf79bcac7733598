"""A pool of threads for requests that may travel at the same time; where there can be no threads, work is done at once.

When a program's main thread has ended, executors take no more work, though other threads are still busy and `atexit`
functions are yet to come. That must not keep anybody from storing a result.

Whoever leaves a pool by an error, such as Ctrl-C, still waits for what is under way. What only waits for a reply or to try
a place again gives up then: nobody wants its answer any more, and its patience may last for minutes.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

__all__ = ["Pool", "forsaken", "rest"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_STEP: Final = 0.1  # seconds between two looks whether anybody still waits
_HERE = threading.local()  # of a pool's thread: what tells that the pool was left by an error, and those around it


def forsaken() -> bool:
    """Whether nobody wants any more what this thread works at: its pool, or one around that, was left by an error."""
    return any(left.is_set() for left in getattr(_HERE, "left", ()))


def rest(seconds: float) -> None:
    """Sleep for as long as somebody wants what this thread works at, and at most for `seconds`."""
    if not hasattr(_HERE, "left"):
        time.sleep(seconds)
        return
    end = time.monotonic() + seconds
    while not forsaken() and (more := end - time.monotonic()) > 0:
        time.sleep(min(more, _STEP))


class Pool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that works in the calling thread where it can have no other.

    Args:
        most: threads.
        name: what their names begin with.
    """

    _over = False

    def __init__(self, most: int | None = None, name: str = "") -> None:
        self._left = threading.Event()
        super().__init__(most, name, _enter, ((*getattr(_HERE, "left", ()), self._left),))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        """Wait for what is under way; after an error the rest is not begun."""
        self.shutdown(cancel_futures=kind is not None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its parent
        """Take no more work; with `cancel_futures` begin no more of it, and let what waits to try again give up."""
        self._over = True
        if cancel_futures:
            self._left.set()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn` called by a thread, or call it now.

        Raises:
            RuntimeError: this pool was shut down.
        """
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            # Said before anything was queued, unlike "can't start new thread".
            if self._over or "cannot schedule" not in str(error):
                raise
        done: Future[_T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the future's to tell
            done.set_exception(error)
        return done


def _enter(left: tuple[threading.Event, ...]) -> None:
    """Begin a pool's thread."""
    _HERE.left = left
