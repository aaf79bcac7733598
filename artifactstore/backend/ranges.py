"""Many ranges of one object, asked for at the same time: a failure of some does not lose the others.

One thread serves the loop of a client, and so all its connections; what need not be done there is done by whoever asked. To
put an answer of some megabytes together is a quarter of that thread's work, so it comes in pieces, as they arrived.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from artifactstore.backend.failures import RangesFailedError
from artifactstore.errors import BackendError

__all__ = ["keep_or_raise", "together"]

_T = TypeVar("_T")


async def together(
    one: Callable[[tuple[int, int]], Awaitable[_T]], ranges: Sequence[tuple[int, int]], limit: int
) -> list[_T | BaseException | None]:
    """Ask for each range, `limit` at a time.

    Args:
        one: asks for an (offset, length).
        ranges: all of them; one of no bytes is not asked for.
        limit: how many at a time.

    Returns:
        For each range the answer, or the failure, or None.
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


def keep_or_raise(
    came: Sequence[_T | BaseException | None],
    ranges: Sequence[tuple[int, int]],
    judge: Callable[[_T, tuple[int, int]], bytes],
    explain: Callable[[Exception], BaseException],
) -> list[bytes]:
    """Make bytes of the answers, and return them if all came.

    Args:
        came: as `together` returns it.
        ranges: what was asked for.
        judge: makes bytes of an answer, or raises a `BackendError` where they are not those that were wanted.
        explain: makes an error of ours of a failure.

    Raises:
        BackendError: the first that will fail again; else, where some came, a `RangesFailedError` that holds those.
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
            raise failure  # it will fail again: there is nothing to keep the others for
    if failed and isinstance(failed[0], BackendError):
        raise RangesFailedError(found, failed[0]) if found else failed[0]
    return list(found.values())
