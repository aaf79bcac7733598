"""What callers hand in to be written: one bytes-like, or an iterable of buffers; here both become flat memory."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from artifactstore.backend.base import MAX_WRITE, Buffer
from artifactstore.errors import InvalidInputError
from artifactstore.model.loading import LOADING

_crc32c: Any
try:
    import google_crc32c as _crc32c
except ImportError:  # it comes with the extras `s3` and `gcs`
    _crc32c = None

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

LARGE: Final = 2**20  # bytes, from which on it matters what a checksum costs
_STEP: Final = 2**18  # bytes that are copied at a time for one
_MOST: Final = 1024  # buffers that one system call takes: IOV_MAX of Linux, macOS and the BSDs
_SMALL: Final = 16 * 1024  # bytes: what is less is cheaper to copy twice than to hand over alone
_GROUP: Final = 2**20  # bytes: small buffers are copied together up to here, larger ones pass uncopied


def content_md5(raw: Buffer) -> str:
    """The checksum as HTTP's Content-MD5 writes it: against damage on the way; nothing rests on MD5 being hard to forge."""
    return base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()


def content_crc32c(raw: Buffer) -> str | None:
    """The checksum as S3 and Google write it (RFC 3720); None where that would take longer than an MD5.

    It takes 0.2 seconds of a core a GB, MD5 1.5.
    """
    if getattr(_crc32c, "implementation", "") != "c":
        return None
    found = 0
    for at in range(0, len(raw), _STEP):  # it takes nothing but bytes, and keeps other threads from running meanwhile
        found = _crc32c.extend(found, bytes(raw[at : at + _STEP]))
    return base64.b64encode(found.to_bytes(4, "big")).decode()


def is_buffer(data: Any) -> bool:
    """Whether `data` is one bytes-like and not an iterable of them."""
    return isinstance(data, bytes | bytearray | memoryview)


def flat(data: Any, *, limit: int = MAX_WRITE) -> memoryview:
    """Return a bytes-like as bytes in a row, without a copy where it already is that.

    Raises:
        InvalidInputError: no bytes-like, or over `limit` bytes.
    """
    if not is_buffer(data):
        raise InvalidInputError(f"expected bytes, bytearray or memoryview, not {type(data).__name__}")
    view = memoryview(data)
    if view.nbytes > limit:
        raise InvalidInputError(f"{view.nbytes:,} bytes in one piece: the most is {limit:,}; hand in an iterator of buffers")
    return view.cast("B") if view.c_contiguous and view.ndim > 0 and view.nbytes else memoryview(view.tobytes())


def pieces(data: Any) -> list[memoryview]:
    """Return a bytes-like of any size as bytes in a row, in pieces of at most `MAX_WRITE`.

    Raises:
        InvalidInputError: no bytes-like.
    """
    view = flat(data, limit=memoryview(data).nbytes if is_buffer(data) else 0)
    if view.nbytes <= MAX_WRITE:
        return [view]
    return [view[at : at + MAX_WRITE] for at in range(0, view.nbytes, MAX_WRITE)]


def writable(raw: Buffer, limit: int = MAX_WRITE) -> Buffer | list[Buffer]:
    """Return bytes as `write` takes them: in one piece up to `limit`, in a list of pieces beyond; nothing is copied."""
    view = memoryview(raw)
    return raw if view.nbytes <= limit else [view[at : at + limit] for at in range(0, view.nbytes, limit)]


def batched(data: Any) -> Iterator[list[memoryview]]:
    """Yield the bytes in lists of pieces fit for one system call each; a list is valid until the next is asked for.

    Where all buffers are there at once nothing is copied.

    Raises:
        InvalidInputError: something in it is no bytes-like.
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
    """Yield the bytes in pieces fit for one system call each; a piece is valid until the next is asked for.

    A buffer of an iterable is never looked at again after the next was asked for, so small ones
    are copied together: that costs a tenth of what a system call each would.

    Args:
        data: one bytes-like or an iterable of them.
        least: bytes from which on a buffer is not copied.

    Raises:
        InvalidInputError: something in it is no bytes-like.
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
    """Return all bytes in one row; while many are copied, other threads run.

    `bytes.join` holds the interpreter's lock for as long as it copies and takes fresh memory each time: 0.45 seconds a GB,
    in which no other thread finds work, beside 0.1 here.
    """
    size = sum(memoryview(part).nbytes for part in parts)
    if size < _GROUP:
        return b"".join(parts)
    with LOADING:
        import pyarrow as pa  # noqa: PLC0415 - what is this large came of chunks, which need it anyway
    room = pa.allocate_buffer(size)
    sink = pa.FixedSizeBufferWriter(room)
    for piece in grouped(parts, _SMALL):
        sink.write(piece)
    sink.close()
    return memoryview(room).cast("B").toreadonly()


def gather(data: Any, limit: int = MAX_WRITE) -> tuple[bytes | memoryview, Iterator[memoryview] | None]:
    """Return all bytes and None; or, where an iterable has more than `limit`, exactly that many and the rest.

    One bytes-like is returned as it is: its owner leaves it alone until the call that it was handed to has returned.

    Raises:
        InvalidInputError: see `grouped`.
    """
    if isinstance(data, bytes) and len(data) <= limit:
        return data, None
    if is_buffer(data) and memoryview(data).nbytes <= limit:
        return flat(data, limit=limit), None
    if isinstance(data, list | tuple):
        # All of it is there already: one copy, where the pieces of an iterator have to be copied as they come.
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
