"""Request bodies for aiohttp: never copied, and never waited for without a time-out."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

__all__ = ["send_watched"]

_T = TypeVar("_T")
_PIECE: Final = 2**18  # bytes of a body that are passed on at a time
_WATCHED: Final = 2**18  # bytes: bodies from this size on are watched while they are sent; less fits into the sockets' buffers
_PATIENCE: Final = 1.5  # times the time-out of a reply, which is timed separately


class RequestBody(Payload):
    """A request body that is never copied, and records when its last bytes were taken.

    botocore reads it like a file to sign it; aiohttp sends it as it is. aiohttp would copy a `BytesIO` as a
    whole, on the one thread that serves all connections.
    """

    _autoclose = True

    def __init__(self, data: bytes | memoryview) -> None:
        super().__init__(data, content_type="application/octet-stream")
        self._view = memoryview(data)
        self._size = len(self._view)
        self._at = 0
        self.moved = 0.0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int = -1) -> memoryview:
        """Read the next bytes, like a file."""
        self.moved = time.monotonic()
        start = self._at
        self._at = len(self._view) if size < 0 else min(len(self._view), start + size)
        return self._view[start : self._at]

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position of the next read."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._view)}[whence]
        return self._at

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; unused, but the base class requires it."""
        return str(self._view, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body, piece by piece."""
        for start in range(0, len(self._view), _PIECE):
            self.moved = time.monotonic()
            await writer.write(self._view[start : start + _PIECE])

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the body; its length is the announced one."""
        del content_length
        await self.write(writer)


async def unless_stalled(request: Awaitable[_T], body: RequestBody, seconds: float) -> _T:
    """Await a request; a server that takes nothing of the body for `seconds` hangs.

    aiohttp's time-outs begin when the body has been sent, so a server that stops reading halfway would block for ever.

    Raises:
        TimeoutError: the server hangs.
    """
    task = asyncio.ensure_future(request)
    body.moved = time.monotonic()
    try:
        while not task.done():
            left = body.moved + seconds - time.monotonic()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait({task}, timeout=left)
        return task.result()
    finally:
        task.cancel()


async def send_watched(send: Callable[[Any], Awaitable[_T]], data: bytes | memoryview | None, read_timeout: float) -> _T:
    """Send a request with a body; a large body is watched while it is sent.

    Args:
        send: sends the request with the given body.
        data: the body, or None.
        read_timeout: seconds to wait for a reply.

    Raises:
        TimeoutError: the server stopped reading the body.
    """
    if data is None or len(data) < _WATCHED:
        return await send(None if data is None else bytes(data))
    body = RequestBody(data)
    return await unless_stalled(send(body), body, _PATIENCE * read_timeout)
