"""What goes over the wire to an S3 server: no more than every server knows, and nothing that may wait for ever.

Not every server that speaks S3 knows all that botocore sends these days. What no server needs is left out: the wait for
`100 Continue` (a round trip a PUT, and a hang where the server doesn't know it), counters of tries, checksums as trailers.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

__all__ = ["Body", "client_options", "make_plain", "unless_stalled"]

_T = TypeVar("_T")
_CONFIG: Final[Mapping[str, Any]] = {
    # One try a request: RetryingBackend tries again, and knows which requests must not be sent twice.
    "retries": {"total_max_attempts": 1, "mode": "standard"},
    "max_pool_connections": 64,
    "read_timeout": 60,  # seconds without a byte
    "connect_timeout": 10,
    # Newer botocores send a checksum as a trailer, which some servers refuse or store as if it were data (boto/boto3#4392).
    # Content-MD5, which every PUT carries, every server knows; so is the digest that signs it, where it is signed.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "user_agent": "artifactstore",
}
_PIECE: Final = 2**18  # bytes of a body that are handed on at a time
_NEEDLESS: Final = ("Expect", "amz-sdk-invocation-id", "amz-sdk-request")


def client_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for s3fs's class; what the caller set in `config_kwargs` stands."""
    return {**options, "config_kwargs": {**_CONFIG, **options.get("config_kwargs", {})}}


def _leave_out(request: Any, **_: Any) -> None:
    for name in _NEEDLESS:
        if name in request.headers:
            del request.headers[name]  # none of them is signed


def _note_host(params: Any, context: Any, **_: Any) -> None:
    context["artifactstore_host"] = urlsplit(params["url"]).netloc


def _note_redirect(http_response: Any, parsed: Any, context: Any, **_: Any) -> None:
    """Say in a reply that it is another host's: aiohttp follows redirects, without the signature that is not for others."""
    host = urlsplit(str(http_response.url)).netloc
    if host != context.get("artifactstore_host", host):
        parsed.setdefault("ResponseMetadata", {})["RedirectedTo"] = host


def make_plain(client: Any) -> Any:
    """Let a client of botocore leave out the headers that no server needs; returns it."""
    if not getattr(client, "_artifactstore_plain", False):
        client.meta.events.register("before-send.s3", _leave_out)
        client.meta.events.register("before-call.s3", _note_host)
        client.meta.events.register("after-call.s3", _note_redirect)
        client._artifactstore_plain = True  # noqa: SLF001 - a mark of ours
    return client


class Body(Payload):
    """A request's body that is copied nowhere, and knows when the last of it was taken.

    botocore reads it as a file where it signs it; aiohttp sends it as it is. A `BytesIO` instead is copied by aiohttp as a
    whole, on the one thread that serves all connections.
    """

    _autoclose = True

    def __init__(self, data: bytes) -> None:
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
