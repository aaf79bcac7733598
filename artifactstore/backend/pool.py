"""A pool of threads for requests that may travel at the same time; where there can be no threads, work is done at once.

When a program's main thread has ended, executors take no more work, though other threads are still busy and `atexit`
functions are yet to come. That must not keep anybody from storing a result.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Pool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Pool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that works in the calling thread where it can have no other."""

    _over = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its parent
        """Take no more work."""
        self._over = True
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
