"""Bodies of requests through aiohttp: copied nowhere, and none is waited for without end."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

__all__ = ["send_watched"]

_T = TypeVar("_T")
_PIECE: Final = 2**18  # bytes of a body that are handed on at a time
_WATCHED: Final = 2**18  # bytes of a body from which on it is watched on its way; less fits into the sockets' buffers
_PATIENCE: Final = 1.5  # times the time-out of a reply, which has one of its own


class Body(Payload):
    """A request's body that is copied nowhere, and knows when the last of it was taken.

    botocore reads it as a file where it signs it; aiohttp sends it as it is. A `BytesIO` instead is copied by aiohttp as a
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
        """Read on, as a file is read."""
        self.moved = time.monotonic()
        start = self._at
        self._at = len(self._view) if size < 0 else min(len(self._view), start + size)
        return self._view[start : self._at]

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Say where the next read begins."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._view)}[whence]
        return self._at

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; of use to nobody, and demanded by the class."""
        return str(self._view, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it, piece by piece."""
        for start in range(0, len(self._view), _PIECE):
            self.moved = time.monotonic()
            await writer.write(self._view[start : start + _PIECE])

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send it; its length is the one that was announced."""
        del content_length
        await self.write(writer)


async def unless_stalled(request: Awaitable[_T], body: Body, seconds: float) -> _T:
    """Await a request; a body of which nothing is taken for `seconds` is a server that hangs.

    aiohttp's time-outs begin when a body has been sent, so a server that stops reading halfway would be waited for without end.

    Raises:
        TimeoutError: it hung.
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
    """Send a request with a body; a large one is watched on its way.

    Args:
        send: makes the request with the body that it is given.
        data: the body, or None for none.
        read_timeout: seconds that are waited for a reply.

    Raises:
        TimeoutError: the server takes no more of the body.
    """
    if data is None or len(data) < _WATCHED:
        return await send(None if data is None else bytes(data))
    body = Body(data)
    return await unless_stalled(send(body), body, _PATIENCE * read_timeout)
