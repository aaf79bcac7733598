"""Work for an executor of the caller's: tasks of plain values, each done again if its worker was lost.

A worker opens the store by itself, by URL, and finds credentials itself: no secret is ever part of a task.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import field
from typing import Any, Final, TypeVar

from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError
from artifactstore.runtime.records import dataclass
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import secret_options

__all__ = ["StoreAddress", "address_of", "check_executor", "open_store", "plain_options", "run_tasks"]

_T = TypeVar("_T")
_AHEAD: Final = 256  # tasks that are submitted and not finished
_TRIES: Final = 3  # of one task
_STORES: Final = 4  # that a worker keeps open
_OPENING: Final = threading.Lock()
_opened: Final[dict[str, Session]] = {}


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """How a worker opens the store of its caller.

    Attributes:
        url: of the store.
        options: storage options without secrets.
        cache: the cache folder, as the caller gave it.
        single_writer: as the caller gave it.
        head: that the caller has read.
    """

    url: str
    options: tuple[tuple[str, Any], ...]
    cache: Any
    single_writer: bool
    head: int = field(default=0, repr=False)


def plain_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options without those that are, or may hold, secrets."""
    secret = {name.partition(".")[0] for name in secret_options(options)}
    return {name: value for name, value in (options or {}).items() if name not in secret}


def address_of(session: Session) -> StoreAddress:
    """Return how a worker opens this store."""
    url, options, single_writer = session.connection_args
    return StoreAddress(
        url, tuple(plain_options(options).items()), session.cache_given, single_writer, session.core().journal.head
    )


def open_store(address: StoreAddress) -> Session:
    """Open the store of a task: once a process, for all of its tasks; what its caller has read, this one has read, too."""
    session = _open(address)
    journal = session.core().journal
    if journal.head < address.head:
        journal.catch_up()
    return session


def _open(address: StoreAddress) -> Session:
    key = f"{os.getpid()} {address!r}"
    with _OPENING:
        if key not in _opened:
            if len(_opened) >= _STORES:
                _opened.clear()
            options = dict(address.options) or None
            _opened[key] = Session(address.url, storage_options=options, cache=address.cache, single_writer=address.single_writer)
        return _opened[key]


def check_executor(executor: Any) -> Any:
    """Return an executor, or None.

    Raises:
        InvalidInputError: it has no `submit`.
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise InvalidInputError(
            f"executor must be a concurrent.futures.Executor, or have its submit(), got {type(executor).__name__}; of Dask pass client.get_executor()"
        )
    return executor


def run_tasks(executor: Any, work: Callable[[Any], _T], tasks: Sequence[Any]) -> Iterator[_T]:
    """Yield the results of tasks, in their order; a task whose worker was lost is done again.

    Args:
        executor: any `concurrent.futures.Executor`.
        work: does a task; importable by the workers.
        tasks: plain values.

    Raises:
        ArtifactStoreError: a task failed so.
        BackendError: the executor failed; its error is the cause.
    """
    waiting: deque[tuple[Any, Any, int]] = deque()
    rest = iter(tasks)
    try:
        while True:
            while len(waiting) < _AHEAD and (task := next(rest, None)) is not None:
                waiting.append((_submit(executor, work, task), task, 1))
            if not waiting:
                return
            future, task, tries = waiting.popleft()
            try:
                done: _T = future.result()
            except ArtifactStoreError:
                raise
            except BrokenExecutor as error:
                raise _failure(error) from error
            except Exception as error:  # each executor reports a lost worker by a class of its own
                if tries >= _TRIES:
                    raise _failure(error) from error
                waiting.appendleft((_submit(executor, work, task), task, tries + 1))
                continue
            yield done
    finally:
        for future, _, _ in waiting:
            with suppress(Exception):  # it may be broken; what still runs has no effect
                future.cancel()


def _submit(executor: Any, work: Callable[[Any], _T], task: Any) -> Any:
    try:
        return executor.submit(work, task)
    except Exception as error:
        raise _failure(error) from error


def _failure(error: BaseException) -> BackendError:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return BackendError(f"the executor failed ({text[:500]}): nothing was committed; try again with workers that live")
