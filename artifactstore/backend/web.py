"""Single requests over HTTP, each sent once, with an end to waiting: what `gcs` and `http` share.

Whole bodies or an error: a connection that ends too early is a transient failure, never less data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from artifactstore.backend.bodies import send_watched
from artifactstore.backend.failures import past_the_end
from artifactstore.errors import BackendError

__all__ = ["Reply", "exchange", "of_range"]

_CONNECT: Final = 10.0  # seconds
_SILENCE: Final = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end.

    Attributes:
        status: of the answer.
        headers: names are looked up in any case.
        pieces: of its body, as they came.
        url: where it came from in the end, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Sequence[bytes]
    url: str

    @cached_property
    def body(self) -> bytes:
        """All of it; empty for HEAD. A large one is put together by whoever wants it, and not on the loop."""
        return b"".join(self.pieces)


async def exchange(session: Any, method: str, url: str, *, data: bytes | memoryview | None = None, **more: Any) -> Reply:
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
            pieces = [piece async for piece in answer.content.iter_any()]
            return Reply(answer.status, answer.headers, pieces, str(answer.url))

    return await send_watched(send, data, _SILENCE)


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
