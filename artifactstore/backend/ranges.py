"""Many ranges of one object, asked for at the same time: a failure of some does not lose the others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from artifactstore.backend.failures import RangesFailedError
from artifactstore.errors import BackendError

__all__ = ["keep_or_raise", "together"]


async def together(
    one: Callable[[tuple[int, int]], Awaitable[bytes]], ranges: Sequence[tuple[int, int]], limit: int
) -> list[bytes | BaseException]:
    """Ask for each range, `limit` at a time; a failure stands where its bytes would."""
    turn = asyncio.Semaphore(limit)

    async def in_turn(wanted: tuple[int, int]) -> bytes:
        if wanted[1] == 0:
            return b""
        async with turn:
            return await one(wanted)

    tasks = [asyncio.ensure_future(in_turn(wanted)) for wanted in ranges]
    try:
        return await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()


def keep_or_raise(came: Sequence[bytes | BaseException], explain: Callable[[Exception], BaseException]) -> list[bytes]:
    """Return the ranges if all came.

    Args:
        came: as `together` returns it.
        explain: makes an error of ours of a failure.

    Raises:
        BackendError: the first that will fail again; else, where some came, a `RangesFailedError` that holds those.
    """
    failed = [explain(one) if isinstance(one, Exception) else one for one in came if isinstance(one, BaseException)]
    found = {at: one for at, one in enumerate(came) if isinstance(one, bytes)}
    for failure in failed:
        if not (isinstance(failure, BackendError) and failure.transient):
            raise failure  # it will fail again: there is nothing to keep the others for
    if failed and isinstance(failed[0], BackendError):
        raise RangesFailedError(found, failed[0]) if found else failed[0]
    return list(found.values())
