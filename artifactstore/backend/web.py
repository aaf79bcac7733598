"""Single requests over HTTP, each sent once, with an end to waiting: what `gcs` and `http` share.

Whole bodies or an error: a connection that ends too early is a transient failure, never less data.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from artifactstore.backend.failures import RangesFailedError, past_the_end
from artifactstore.backend.s3_wire import Body, unless_stalled
from artifactstore.errors import BackendError

__all__ = ["Reply", "exchange", "keep_or_raise", "of_range", "retry_after", "together"]

_CONNECT: Final = 10.0  # seconds
_SILENCE: Final = 60.0  # seconds without a byte
_WATCHED: Final = 2**18  # bytes of a body from which on it is watched on its way; less fits into the sockets' buffers


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end.

    Attributes:
        status: of the answer.
        headers: names are looked up in any case.
        body: all of it; empty for HEAD.
        url: where it came from in the end, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


async def exchange(session: Any, method: str, url: str, *, data: bytes | None = None, **more: Any) -> Reply:
    """Send one request through a session of aiohttp and read the answer, whatever it says.

    Args:
        session: aiohttp's.
        method: GET, HEAD, POST, PUT or DELETE.
        url: where to.
        data: the body to send.
        **more: headers, params and what else aiohttp takes.
    """
    import aiohttp  # noqa: PLC0415 - only a place in the web needs it
    from yarl import URL  # noqa: PLC0415 - aiohttp's own

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
    # What aiohttp quotes anew would ask for another key: keys are already quoted.
    target = URL(url, encoded=True)

    async def send(body: Any) -> Reply:
        async with session.request(method, target, data=body, timeout=timeout, **more) as answer:
            return Reply(answer.status, answer.headers, await answer.read(), str(answer.url))

    if data is None or len(data) < _WATCHED:
        return await send(data)
    body = Body(data)
    return await unless_stalled(send(body), body, 1.5 * _SILENCE)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long the server wants to be left alone, in seconds; it may say a number or a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()) if text else None
    except (TypeError, ValueError):
        return None


def of_range(reply: Reply, wanted: tuple[int, int], key: str, url: str) -> bytes:
    """Return the bytes of a range (offset, length) from the answer to a request for it, also from one that holds everything.

    Raises:
        BackendError: the range ends behind the object's end, or it is another one (transient).
    """
    offset, length = wanted
    if reply.status == 200:  # it knows no ranges and sent everything
        if len(reply.body) < offset + length:
            raise past_the_end(key, offset, length, len(reply.body), url)
        return reply.body[offset : offset + length]
    said = reply.headers.get("Content-Range", "")  # "bytes 0-9/100"
    first = said.removeprefix("bytes").strip().partition("-")[0]
    if not first.isdigit() or int(first) != offset:
        raise BackendError(f"{key} in {url}: bytes from {offset:,} on were asked for, and others came ({said})", transient=True)
    if len(reply.body) != length:  # the server gives what there is
        raise past_the_end(key, offset, length, None, url)
    return reply.body


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
