"""Single HTTP requests, each sent once, with time-outs: shared by `gcs` and `http`.

Whole bodies or an error: a connection that ends too early is a transient failure, never less data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from artifactstore.backend.errors import range_beyond_end
from artifactstore.backend.remote.request_body import send_watched
from artifactstore.errors import BackendError

__all__ = ["Reply", "exchange", "range_body"]

_CONNECT: Final = 10.0  # seconds
_SILENCE: Final = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Reply:
    """A reply, read to its end.

    Attributes:
        status: HTTP status.
        headers: with case-insensitive names.
        pieces: of its body, as received.
        url: final URL, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Sequence[bytes]
    url: str

    @cached_property
    def body(self) -> bytes:
        """Return the whole body; empty for HEAD. A large one is joined by the caller's thread, not on the event loop."""
        return b"".join(self.pieces)


async def exchange(session: Any, method: str, url: str, *, data: bytes | memoryview | None = None, **more: Any) -> Reply:
    """Send one request through an aiohttp session and read the reply, whatever its status.

    Args:
        session: aiohttp's.
        method: GET, HEAD, POST, PUT or DELETE.
        url: the URL.
        data: the body to send.
        **more: headers, params and other arguments of aiohttp.
    """
    import aiohttp  # noqa: PLC0415 - only HTTP backends need it
    from yarl import URL  # noqa: PLC0415 - aiohttp's own

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
    # Quoted again by aiohttp, the URL would name another key: keys are already quoted.
    target = URL(url, encoded=True)

    async def send(body: Any) -> Reply:
        async with session.request(method, target, data=body, timeout=timeout, **more) as answer:
            pieces = [piece async for piece in answer.content.iter_any()]
            return Reply(answer.status, answer.headers, pieces, str(answer.url))

    return await send_watched(send, data, _SILENCE)


def range_body(reply: Reply, wanted: tuple[int, int], key: str, url: str) -> bytes:
    """Return the bytes of a range (offset, length) from the reply to a request for it, or from a reply with the whole object.

    Raises:
        BackendError: the range ends beyond the object's end, or it is a different range (transient).
    """
    offset, length = wanted
    if reply.status == 200:  # the server ignores ranges and sent everything
        if len(reply.body) < offset + length:
            raise range_beyond_end(key, offset, length, len(reply.body), url)
        return reply.body[offset : offset + length]
    content_range = reply.headers.get("Content-Range", "")  # "bytes 0-9/100"
    first = content_range.removeprefix("bytes").strip().partition("-")[0]
    if not first.isdigit() or int(first) != offset:
        raise BackendError(f"{key} in {url}: expected bytes from {offset:,} on, got others ({content_range})", transient=True)
    if len(reply.body) != length:  # the server returns as many bytes as exist
        raise range_beyond_end(key, offset, length, None, url)
    return reply.body
