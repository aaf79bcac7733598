"""What S3's replies must hold to be believed: whole bodies, the range that was asked for, listings that end.

Servers differ here: some announce no length, ignore ranges, cut listings into pages of their own, or answer 200 with a
page of HTML. Each of these is either understood or an error; none is taken for less data than there is.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Any
from urllib.parse import unquote

from artifactstore.backend.base import Stored
from artifactstore.backend.failures import past_the_end
from artifactstore.backend.s3_tags import md5_of
from artifactstore.errors import BackendError

__all__ = ["next_page", "of_listing", "part_of", "whole_of"]


def _broken(what: str, got: int, announced: int) -> BackendError:
    return BackendError(f"{what}: {got:,} of {announced:,} bytes came, then the connection ended", transient=True)


def whole_of(data: bytes, reply: Mapping[str, Any], what: str, ask: Callable[[], int | None]) -> bytes:
    """Return an object's bytes if they are known to be all of them.

    Args:
        data: what came.
        reply: the reply to GET without its body.
        what: the object, for messages.
        ask: the object's size, by another request.

    Raises:
        BackendError: some are missing, or nothing can tell.
    """
    announced = reply.get("ContentLength")
    if announced is None and not _framed(reply) and reply.get("ETag", "").strip('"') != md5_of(data):
        # HTTP/1.0: the body ends where the connection does, for whatever reason.
        announced = ask()
        if announced is None:
            raise BackendError(f"{what}: the server says nowhere how many bytes it has, so a cut could not be noticed")
    if announced is not None and len(data) != announced:
        raise _broken(what, len(data), announced)
    return data


def _framed(reply: Mapping[str, Any]) -> bool:
    """Whether the body came in chunks, whose end is seen."""
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "chunked" in str(headers.get("transfer-encoding", "")).lower()


def part_of(data: bytes, reply: Mapping[str, Any], wanted: tuple[int, int], key: str, url: str) -> bytes:
    """Return the bytes of a range if they are the ones that were asked for.

    Raises:
        BackendError: some are missing (transient), the range ends behind the object's end, or it is another one.
    """
    what = f"{key} in {url}"
    offset, length = wanted
    announced = reply.get("ContentLength")
    if announced is not None and len(data) < announced:
        raise _broken(what, len(data), announced)
    if reply.get("ResponseMetadata", {}).get("HTTPStatusCode") == 200:  # it knows no ranges and sent everything
        if len(data) < offset + length:
            raise past_the_end(key, offset, length, len(data), url) if announced is not None else _broken(what, 0, length)
        return data[offset : offset + length]
    said = str(reply.get("ContentRange", ""))  # "bytes 0-9/100"
    first, _, rest = said.removeprefix("bytes").strip().partition("-")
    last = rest.partition("/")[0]
    if first.isdigit() and last.isdigit():
        if int(first) != offset:
            raise BackendError(f"{what}: bytes from {offset:,} on were asked for, and others came ({said})", transient=True)
        if len(data) < min(length, int(last) - offset + 1):
            raise _broken(what, len(data), int(last) - offset + 1)
    if len(data) != length:  # the server gives what there is
        raise past_the_end(key, offset, length, None, url)
    return data


def of_listing(page: Mapping[str, Any], root: str) -> Iterator[Stored]:
    """Yield what a page of a listing shows, with keys that begin after `root`."""
    for item in page.get("Contents", ()):
        key = item["Key"]
        if not key.startswith(root) and unquote(key).startswith(root):
            key = unquote(key)  # encoded as was asked for, and not said so in the reply
        modified = item.get("LastModified")
        yield Stored(key[len(root) :], int(item["Size"]), modified.astimezone(UTC) if modified else None)


def next_page(page: Mapping[str, Any], asked: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    """Return what to ask the next page with, or None if this was the last.

    Raises:
        BackendError: it is no listing (transient), or the next page would be this one again.
    """
    if not page.keys() & {"Contents", "KeyCount", "IsTruncated", "Name", "Prefix", "MaxKeys"}:
        raise BackendError(f"{what}: the answer is no listing; is AWS_ENDPOINT_URL right?", transient=True)
    token = page.get("NextContinuationToken")
    if not page.get("IsTruncated") and not token:
        return None
    if token:
        more = {"ContinuationToken": token}
    elif page.get("Contents"):
        more = {"StartAfter": page["Contents"][-1]["Key"]}
    else:
        raise BackendError(f"{what}: a page without keys says that there are more, and not where", transient=True)
    if more == dict(asked):
        raise BackendError(f"{what}: the server gives the same page again and again, so what comes after it can't be listed")
    return more
