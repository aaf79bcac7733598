"""Deletion of up to 100 objects by one request (`/batch/storage/v1`): its body, and the replies inside of its reply.

The form is Google's: https://cloud.google.com/storage/docs/batch. Each part is a request of its own to the service, judged and
answered by itself; the answer of the whole says only that it was understood.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from artifactstore.backend.remote.http_client import Reply

__all__ = ["MOST", "body_of", "replies_in"]

MOST: Final = 100  # calls of one request


def body_of(paths: Sequence[str]) -> tuple[str, bytes]:
    """Return the boundary and the body of a request that deletes objects, each named by the path and query of a single request."""
    edge = f"batch-{secrets.token_hex(16)}"
    parts = [
        f"--{edge}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{number}>\r\n\r\n"
        f"DELETE {path} HTTP/1.1\r\nAccept: application/json\r\nContent-Length: 0\r\n\r\n\r\n"
        for number, path in enumerate(paths, 1)
    ]
    return edge, f"{''.join(parts)}--{edge}--\r\n".encode()


def replies_in(reply: Reply, count: int) -> list[Reply] | None:
    """Return the replies inside of a reply, in the order of the requests; None if it is not one for each of them.

    Args:
        reply: of the service.
        count: how many requests there were.
    """
    from email.parser import BytesParser  # noqa: PLC0415 - 10 ms, for clean-up only

    kind = str(reply.headers.get("Content-Type", ""))
    whole = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace") + reply.body)
    if whole.get_content_type() != "multipart/mixed" or not whole.is_multipart():
        return None
    found: dict[int, Reply] = {}
    for place, part in enumerate(whole.get_payload(), 1):
        payload = part.get_payload(decode=True) if not isinstance(part, str) else None
        one = None if not isinstance(payload, bytes) else _reply_of(payload, reply.url)
        number = _number(part.get("Content-ID"), place) if not isinstance(part, str) else None
        if one is None or number is None or number in found:
            return None
        found[number] = one
    return [found[number] for number in range(1, count + 1)] if sorted(found) == [*range(1, count + 1)] else None


def _number(name: str | None, place: int) -> int | None:
    """Return the number of the request that a part answers: `<response-3>` for `<3>`; without a name the place counts."""
    if name is None:
        return place
    digits = str(name).strip().strip("<>").removeprefix("response-")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= len(str(MOST)) else None


def _reply_of(payload: bytes, url: str) -> Reply | None:
    from email.parser import BytesParser  # noqa: PLC0415 - as above
    from email.policy import HTTP  # noqa: PLC0415 - as above

    line, _, rest = payload.lstrip().partition(b"\n")
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit() or len(words[1]) != 3:
        return None
    message = BytesParser(policy=HTTP).parsebytes(rest, headersonly=True)
    headers: Mapping[str, str] = {name: str(value) for name, value in message.items()}
    return Reply(int(words[1]), headers, [str(message.get_payload()).encode("utf-8", "surrogateescape")], url)
