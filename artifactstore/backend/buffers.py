"""Normalisation of the data passed to a write: a bytes-like object or an iterable of buffers becomes flat memory."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

from artifactstore.backend.base import MAX_WRITE, Buffer
from artifactstore.errors import InvalidInputError
from artifactstore.runtime.loading import arrow

__all__ = [
    "LARGE",
    "batched",
    "content_crc32c",
    "content_md5",
    "flat",
    "gather",
    "grouped",
    "is_buffer",
    "joined",
    "pieces",
    "writable",
]

LARGE: Final = 2**20  # bytes: from this size on the cost of a checksum matters
_STEP: Final = 2**18  # bytes that a checksum copies at a time
_MOST: Final = 1024  # buffers per system call: IOV_MAX of Linux, macOS and the BSDs
_SMALL: Final = 16 * 1024  # bytes: smaller buffers are cheaper to copy twice than to pass on alone
_GROUP: Final = 2**20  # bytes: small buffers are copied together up to here, larger ones pass uncopied


def content_md5(raw: Buffer) -> str:
    """Return the checksum for HTTP's Content-MD5: against damage in transit; nothing relies on MD5 being hard to forge."""
    import hashlib  # noqa: PLC0415 - OpenSSL takes 6 ms to load, and a local store has no use for it

    return base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()


def content_crc32c(raw: Buffer) -> str | None:
    """Return the checksum as S3 and Google encode it (RFC 3720); None where it would take longer than an MD5.

    It takes 0.2 core seconds a GB, MD5 1.5.
    """
    crc32c = _crc32c()
    if getattr(crc32c, "implementation", "") != "c":
        return None
    found = 0
    for at in range(0, len(raw), _STEP):  # it accepts bytes only, and blocks other threads meanwhile
        found = crc32c.extend(found, bytes(raw[at : at + _STEP]))
    return base64.b64encode(found.to_bytes(4, "big")).decode()


@cache
def _crc32c() -> Any:
    try:
        import google_crc32c  # noqa: PLC0415 - stores on a network only
    except ImportError:  # installed with the extras `s3` and `gcs`
        return None
    return google_crc32c


def is_buffer(data: Any) -> bool:
    """Whether `data` is a single bytes-like object, not an iterable of them."""
    return isinstance(data, bytes | bytearray | memoryview)


def flat(data: Any, *, limit: int = MAX_WRITE) -> memoryview:
    """Return a bytes-like object as contiguous bytes, without a copy where it already is.

    Raises:
        InvalidInputError: not a bytes-like object, or over `limit` bytes.
    """
    if not is_buffer(data):
        raise InvalidInputError(f"expected bytes, bytearray or memoryview, not {type(data).__name__}")
    view = memoryview(data)
    if view.nbytes > limit:
        raise InvalidInputError(
            f"a buffer of {view.nbytes:,} bytes is too large: the limit is {limit:,} bytes; pass an iterator of smaller buffers"
        )
    return view.cast("B") if view.c_contiguous and view.ndim > 0 and view.nbytes else memoryview(view.tobytes())


def pieces(data: Any) -> list[memoryview]:
    """Return a bytes-like object of any size as contiguous bytes, in pieces of at most `MAX_WRITE`.

    Raises:
        InvalidInputError: not a bytes-like object.
    """
    view = flat(data, limit=memoryview(data).nbytes if is_buffer(data) else 0)
    if view.nbytes <= MAX_WRITE:
        return [view]
    return [view[at : at + MAX_WRITE] for at in range(0, view.nbytes, MAX_WRITE)]


def writable(raw: Buffer, limit: int = MAX_WRITE) -> Buffer | list[Buffer]:
    """Return bytes in the form that `write` accepts: one piece up to `limit`, a list of pieces beyond; nothing is copied."""
    view = memoryview(raw)
    return raw if view.nbytes <= limit else [view[at : at + limit] for at in range(0, view.nbytes, limit)]


def batched(data: Any) -> Iterator[list[memoryview]]:
    """Yield the bytes in lists of pieces sized for one system call each; a list is valid until the next is requested.

    Nothing is copied if all buffers exist at once.

    Raises:
        InvalidInputError: an item is not a bytes-like object.
    """
    if not isinstance(data, list | tuple):
        yield from ([piece] for piece in grouped(data))
        return
    batch: list[memoryview] = []
    size = 0
    for view in chain.from_iterable(map(pieces, data)):
        if batch and (len(batch) == _MOST or size + view.nbytes > MAX_WRITE):
            yield batch
            batch, size = [], 0
        if view.nbytes:
            batch.append(view)
            size += view.nbytes
    if batch:
        yield batch


def grouped(data: Any, least: int = _GROUP // 4) -> Iterator[memoryview]:
    """Yield the bytes in pieces sized for one system call each; a piece is valid until the next is requested.

    A buffer of an iterable is never used after the next was requested, so small ones
    are copied together: that costs a tenth of a system call each.

    Args:
        data: one bytes-like object or an iterable of them.
        least: buffers from this size on, in bytes, are not copied.

    Raises:
        InvalidInputError: an item is not a bytes-like object.
    """
    if is_buffer(data):
        yield from pieces(data)
        return
    if isinstance(data, str) or not isinstance(data, Iterable):
        raise InvalidInputError(f"expected bytes or an iterable of buffers, not {type(data).__name__}")
    small = bytearray()
    for view in chain.from_iterable(map(pieces, data)):
        if view.nbytes < least:
            small += view
            if len(small) >= _GROUP:
                yield memoryview(small)
                small = bytearray()
            continue
        if small:
            yield memoryview(small)
            small = bytearray()
        yield view
    if small:
        yield memoryview(small)


def joined(parts: Sequence[Buffer]) -> bytes | memoryview:
    """Return all bytes as one contiguous buffer; other threads run during large copies.

    `bytes.join` holds the interpreter's lock while it copies and takes fresh memory each time: 0.45 seconds a GB,
    in which no other thread can run, compared with 0.1 here.
    """
    size = sum(memoryview(part).nbytes for part in parts)
    if size < _GROUP:
        return b"".join(parts)
    pa = arrow()  # data of this size comes from chunks, which need it anyway
    room = pa.allocate_buffer(size)
    sink = pa.FixedSizeBufferWriter(room)
    for piece in grouped(parts, _SMALL):
        sink.write(piece)
    sink.close()
    return memoryview(room).cast("B").toreadonly()


def gather(data: Any, limit: int = MAX_WRITE) -> tuple[bytes | memoryview, Iterator[memoryview] | None]:
    """Return all bytes and None; or, if an iterable has more than `limit`, exactly that many and the rest.

    A single bytes-like object is returned as it is: its owner must not change it until the call that it was passed to returns.

    Raises:
        InvalidInputError: see `grouped`.
    """
    if isinstance(data, bytes) and len(data) <= limit:
        return data, None
    if is_buffer(data) and memoryview(data).nbytes <= limit:
        return flat(data, limit=limit), None
    if isinstance(data, list | tuple):
        # All buffers exist already: one copy; the pieces of an iterator have to be copied as they arrive.
        views = [view for item in data for view in pieces(item)]
        if sum(view.nbytes for view in views) <= limit:
            return joined(views), None
    whole = bytearray()
    rest = grouped(data)
    for piece in rest:
        room = limit - len(whole)
        whole += piece[:room]
        if piece.nbytes > room:
            return bytes(whole), chain((memoryview(bytes(piece[room:])),), rest)
    return bytes(whole), None
