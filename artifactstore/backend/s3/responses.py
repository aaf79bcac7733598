"""Validation of S3 replies: whole bodies, the requested range, listings that end.

Servers differ here: some report no length, ignore ranges, cut listings into pages of their own size, or reply 200 with an
HTML page. Each of these is either understood or an error; none passes for less data than exists.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Any
from urllib.parse import unquote

from artifactstore.backend.base import Stored
from artifactstore.backend.errors import range_beyond_end
from artifactstore.backend.s3.checksums import md5_of
from artifactstore.errors import BackendError

__all__ = ["complete_body", "next_page", "parse_listing", "range_body"]


def _incomplete(what: str, got: int, announced: int) -> BackendError:
    return BackendError(f"{what}: {got:,} of {announced:,} bytes received, then the connection ended", transient=True)


def complete_body(data: bytes, reply: Mapping[str, Any], what: str, ask: Callable[[], int | None]) -> bytes:
    """Return an object's bytes if they are known to be complete.

    Args:
        data: the received bytes.
        reply: the reply to GET without its body.
        what: the object, for messages.
        ask: requests the object's size.

    Raises:
        BackendError: some are missing, or completeness cannot be determined.
    """
    announced = reply.get("ContentLength")
    if announced is None and not _framed(reply) and reply.get("ETag", "").strip('"') != md5_of(data):
        # HTTP/1.0: the body ends where the connection does, for any reason.
        announced = ask()
        if announced is None:
            raise BackendError(f"{what}: the server does not report the length, so truncation could not be detected")
    if announced is not None and len(data) != announced:
        raise _incomplete(what, len(data), announced)
    return data


def _framed(reply: Mapping[str, Any]) -> bool:
    """Whether the body was chunked, so that its end is known."""
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "chunked" in str(headers.get("transfer-encoding", "")).lower()


def range_body(data: bytes, reply: Mapping[str, Any], wanted: tuple[int, int], key: str, url: str) -> bytes:
    """Return the bytes of a range if they are the requested ones.

    Raises:
        BackendError: some are missing (transient), the range ends beyond the object's end, or it is a different range.
    """
    what = f"{key} in {url}"
    offset, length = wanted
    announced = reply.get("ContentLength")
    if announced is not None and len(data) < announced:
        raise _incomplete(what, len(data), announced)
    if reply.get("ResponseMetadata", {}).get("HTTPStatusCode") == 200:  # the server ignores ranges and sent everything
        if len(data) < offset + length:
            raise range_beyond_end(key, offset, length, len(data), url) if announced is not None else _incomplete(what, 0, length)
        return data[offset : offset + length]
    content_range = str(reply.get("ContentRange", ""))  # "bytes 0-9/100"
    first, _, rest = content_range.removeprefix("bytes").strip().partition("-")
    last = rest.partition("/")[0]
    if first.isdigit() and last.isdigit():
        if int(first) != offset:
            raise BackendError(f"{what}: expected bytes from {offset:,} on, got others ({content_range})", transient=True)
        if len(data) < min(length, int(last) - offset + 1):
            raise _incomplete(what, len(data), int(last) - offset + 1)
    if len(data) != length:  # the server returns as many bytes as exist
        raise range_beyond_end(key, offset, length, None, url)
    return data


def parse_listing(page: Mapping[str, Any], root: str) -> Iterator[Stored]:
    """Yield the objects of a listing page, with keys relative to `root`."""
    for item in page.get("Contents", ()):
        key = item["Key"]
        if not key.startswith(root) and unquote(key).startswith(root):
            key = unquote(key)  # encoded as requested, though the reply does not declare it
        modified = item.get("LastModified")
        yield Stored(key[len(root) :], int(item["Size"]), modified.astimezone(UTC) if modified else None)


def next_page(page: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    """Return the arguments of the next page's request, or None if this was the last page.

    Raises:
        BackendError: it is not a listing (transient).
    """
    if not page.keys() & {"Contents", "KeyCount", "IsTruncated", "Name", "Prefix", "MaxKeys"}:
        raise BackendError(f"{what}: the reply is not a listing: check AWS_ENDPOINT_URL", transient=True)
    token = page.get("NextContinuationToken")
    if not page.get("IsTruncated") and not token:
        return None
    if token:
        return {"ContinuationToken": token}
    if page.get("Contents"):
        return {"StartAfter": page["Contents"][-1]["Key"]}
    raise BackendError(f"{what}: an empty page claims that more follow, but has no continuation token", transient=True)
