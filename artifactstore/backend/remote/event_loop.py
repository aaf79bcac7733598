"""Waiting in a thread for a coroutine on an event loop elsewhere, until cancelled.

The caller's thread never holds the coroutine's task. asyncio keeps weak references to tasks, and Python drops an exception that is
raised while it clears one: a task that the main thread frees would lose a Ctrl-C that comes just then.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from artifactstore.errors import BackendError
from artifactstore.runtime.threads import is_cancelled

__all__ = ["run_coroutine"]

_T = TypeVar("_T")
_STEP: Final = 0.2  # seconds between two checks for cancellation
_TASKS: Final[dict[Future[Any], asyncio.Task[Any]]] = {}  # by whose result they bring; changed on their loops alone


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
    future: Future[_T] = Future()
    try:
        loop.call_soon_threadsafe(_start, future, function, arguments)
        while not wait((future,), _STEP).done:
            if is_cancelled():
                raise BackendError("the request was cancelled", transient=True)
        return future.result()
    finally:
        if not future.done() and not future.cancel():
            with suppress(RuntimeError):  # the loop was closed, and the task with it
                loop.call_soon_threadsafe(_cancel, future)
        del future  # an error that it holds refers to this frame: both would wait for the garbage collector


# -- run on the loop


def _start(future: Future[Any], function: Callable[..., Coroutine[Any, Any, Any]], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        task = asyncio.get_running_loop().create_task(function(*arguments))
    except Exception as error:  # noqa: BLE001 - raised in the caller's thread, as if it had called the function
        future.set_exception(error)
        return
    _TASKS[future] = task
    task.add_done_callback(partial(_finish, future))


def _finish(future: Future[Any], task: asyncio.Task[Any]) -> None:
    _TASKS.pop(future, None)
    if task.cancelled():
        future.set_exception(CancelledError())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def _cancel(future: Future[Any]) -> None:
    task = _TASKS.get(future)
    if task is not None:
        task.cancel()


def _loop_of_this_thread() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
