"""Waiting in a thread for a coroutine on an event loop elsewhere, until cancelled."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from typing import Any, Final, TypeVar

from artifactstore.errors import BackendError
from artifactstore.runtime.threads import is_cancelled

__all__ = ["run_coroutine"]

_T = TypeVar("_T")
_STEP: Final = 0.2  # seconds between two checks for cancellation


def run_coroutine(loop: Any, function: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any) -> _T:
    """Run a coroutine function on an event loop that another thread runs, and return its result.

    Unlike fsspec's `sync`, a cancelled request is dropped where it is: after Ctrl-C, or in a pool that was
    left by an error, a server that does not reply would block the program for as long as its time-out.

    Raises:
        RuntimeError: the loop is closed, or this thread runs it.
        BackendError: the result is no longer needed.
    """
    if loop is None or loop.is_closed():
        raise RuntimeError("the event loop of this backend's client is closed")
    if _loop_of_this_thread() is loop:
        raise RuntimeError("a store cannot be used within the event loop that runs its client")
    future = asyncio.run_coroutine_threadsafe(function(*arguments), loop)
    try:
        while not wait((future,), _STEP).done:
            if is_cancelled():
                raise BackendError("the request was cancelled", transient=True)
        return future.result()
    finally:
        future.cancel()


def _loop_of_this_thread() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
