"""Concurrent reads of many ranges of one object: a failure of some does not lose the others.

One thread serves a client's event loop, and so all its connections; work that can be done elsewhere is left to the
calling thread. Joining a reply of some megabytes takes a quarter of that thread's time, so replies come in pieces.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from artifactstore.backend.errors import RangesFailedError
from artifactstore.errors import BackendError

__all__ = ["collect_ranges", "gather_ranges"]

_T = TypeVar("_T")


async def gather_ranges(
    one: Callable[[tuple[int, int]], Awaitable[_T]], ranges: Sequence[tuple[int, int]], limit: int
) -> list[_T | BaseException | None]:
    """Request each range, `limit` at a time.

    Args:
        one: requests an (offset, length).
        ranges: all ranges; empty ones are not requested.
        limit: number of concurrent requests.

    Returns:
        For each range the reply, or the failure, or None.
    """
    turn = asyncio.Semaphore(limit)

    async def in_turn(wanted: tuple[int, int]) -> _T | None:
        if wanted[1] == 0:
            return None
        async with turn:
            return await one(wanted)

    tasks = [asyncio.ensure_future(in_turn(wanted)) for wanted in ranges]
    try:
        return await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()


def collect_ranges(
    came: Sequence[_T | BaseException | None],
    ranges: Sequence[tuple[int, int]],
    judge: Callable[[_T, tuple[int, int]], bytes],
    explain: Callable[[Exception], BaseException],
) -> list[bytes]:
    """Convert the replies to bytes, and return them if all succeeded.

    Args:
        came: as `gather_ranges` returns it.
        ranges: the requested ranges.
        judge: converts a reply to bytes, or raises a `BackendError` if they are not the requested ones.
        explain: converts a failure to an error of this library.

    Raises:
        BackendError: the first permanent failure; else, if some succeeded, a `RangesFailedError` that holds those.
    """
    found: dict[int, bytes] = {}
    failed: list[BaseException] = []
    for at, (answer, wanted) in enumerate(zip(came, ranges, strict=True)):
        if isinstance(answer, BaseException):
            failed.append(explain(answer) if isinstance(answer, Exception) else answer)
            continue
        try:
            found[at] = b"" if answer is None else judge(answer, wanted)
        except BackendError as error:
            failed.append(error)
    for failure in failed:
        if not (isinstance(failure, BackendError) and failure.transient):
            raise failure  # permanent: the other ranges are of no use
    if failed and isinstance(failed[0], BackendError):
        raise RangesFailedError(found, failed[0]) if found else failed[0]
    return list(found.values())
