"""Waiting in a thread for what runs on a loop elsewhere, for as long as anybody wants it."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from typing import Any, Final, TypeVar

from artifactstore.backend.pool import forsaken
from artifactstore.errors import BackendError

__all__ = ["run_on"]

_T = TypeVar("_T")
_STEP: Final = 0.2  # seconds between two looks whether anybody still waits


def run_on(loop: Any, function: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any) -> _T:
    """Return what a coroutine function returns, run on a loop that another thread serves.

    Unlike fsspec's `sync`, a request that nobody wants any more is dropped where it is: after Ctrl-C, or in a pool that was
    left by an error, a server that does not answer would keep the program for as long as a reply may take.

    Raises:
        RuntimeError: the loop is closed, or it is this thread that serves it.
        BackendError: nobody wants the answer any more.
    """
    if loop is None or loop.is_closed():
        raise RuntimeError("the loop of this place's client is closed")
    if _loop_of_this_thread() is loop:
        raise RuntimeError("a store can't be used within the loop that serves its client")
    future = asyncio.run_coroutine_threadsafe(function(*arguments), loop)
    try:
        while not wait((future,), _STEP).done:
            if forsaken():
                raise BackendError("a request was dropped: nobody waits for its answer any more", transient=True)
        return future.result()
    finally:
        future.cancel()


def _loop_of_this_thread() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
