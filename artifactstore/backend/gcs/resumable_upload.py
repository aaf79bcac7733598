"""A resumable upload to Google Cloud Storage: bytes in order to one session URL; nothing is visible before the last."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Final

from artifactstore.backend.base import MAX_WRITE
from artifactstore.backend.gcs.errors import Refusal
from artifactstore.backend.remote.http_client import Reply
from artifactstore.errors import BackendError

__all__ = ["Upload"]

_GOES_ON: Final = 308  # Google's "resume incomplete"; its Range header tells what has arrived
_GONE: Final = 499  # Google's reply to the end of an aborted upload

Send = Callable[..., Awaitable[Reply]]


class Upload:
    """State of one upload. Parts are of `MAX_WRITE` bytes each except the last.

    Args:
        address: the session URL; it alone is enough to write, so no message shows it.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._parts = 0
        self._tail: bytes | memoryview = b""

    def count(self, number: int, data: bytes | memoryview) -> None:
        """Add a part to the checksum, before it is sent: once, and not on the event loop, which all requests share."""
        if number > self._parts:
            self._md5.update(data)
            self._parts = number

    async def send(self, send: Send, number: int, data: bytes | memoryview) -> None:
        """Send a part; a short one is kept for `finish`, since only the last part may have an odd size.

        Raises:
            Refusal: the service refuses.
        """
        if len(data) < MAX_WRITE:
            self._tail = data
            return
        start = (number - 1) * MAX_WRITE
        end = start + len(data)
        at = start
        while at < end:  # the service keeps the beginning of a truncated body, and expects the rest
            reply = await self._put(send, data[at - start :], f"bytes {at}-{end - 1}/*")
            if reply.status != _GOES_ON:
                raise Refusal(reply)
            arrived = _received_bytes(reply)
            if arrived <= at:
                raise BackendError("the service stores none of the uploaded bytes", transient=True)
            at = arrived

    async def finish(self, send: Send, what: str) -> None:
        """Send the last bytes and the total size.

        Raises:
            Refusal: the service refuses.
            BackendError: the service stored other bytes.
        """
        start = (self._parts - (1 if self._tail else 0)) * MAX_WRITE
        total = start + len(self._tail)
        span = f"bytes {start}-{total - 1}/{total}" if self._tail else f"bytes */{total}"
        reply = await self._put(send, self._tail, span)
        if reply.status == _GOES_ON:
            raise BackendError(f"{what}: {_received_bytes(reply):,} of {total:,} bytes have arrived", transient=True)
        if reply.status not in {200, 201}:
            raise Refusal(reply)
        kept = json.loads(reply.body or b"{}")
        digest = base64.b64encode(self._md5.digest()).decode()
        if int(kept.get("size", total)) != total or kept.get("md5Hash", digest) != digest:
            raise BackendError(f"{what}: the service stored other bytes than were sent")

    async def drop(self, send: Send) -> None:
        """Abort the upload; an abandoned upload expires in a week.

        Raises:
            Refusal: the service refuses.
        """
        reply = await send("DELETE", self._address, headers={"Content-Length": "0"})
        if reply.status not in {200, 204, 404, 410, _GONE}:
            raise Refusal(reply)

    async def _put(self, send: Send, data: bytes | memoryview, span: str) -> Reply:
        return await send("PUT", self._address, headers={"Content-Range": span}, data=data)


def _received_bytes(reply: Reply) -> int:
    """Return how many bytes the service has: `Range: bytes=0-99` means a hundred."""
    last = reply.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last.isdigit() else 0
