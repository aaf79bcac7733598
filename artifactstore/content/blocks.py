"""Reading a large file that is to be stored: block by block, ahead of the work on it, refusing one that changes meanwhile.

The holes of a sparse file are not read: all their bytes are zeros.
"""

import errno
import io
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.backend.pool import Pool
from artifactstore.content.chunker import Cutter
from artifactstore.content.manifest import Manifest
from artifactstore.content.source import Source, open_unchanged
from artifactstore.content.stats import Held
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.digest import hash_bytes
from artifactstore.model.loading import LOADING

__all__ = ["Blocks", "Stream", "Zeros", "cut_blocks", "differing", "is_sparse", "open_source"]

_HOLE: Final = 8 * 2**20  # bytes of a hole that is worth passing over
_UNIT: Final = 512  # bytes of what `st_blocks` counts
_PIECE: Final = 4 * 2**20  # bytes of them that are hashed at a time
_RUN: Final = 128 * 2**20  # bytes of zeros that are handed on at a time


@dataclass(frozen=True, slots=True)
class Zeros:
    """Equal chunks of zeros in a row, which were not read.

    Attributes:
        count: how many.
        size: of each, in bytes.
    """

    count: int
    size: int

    def pieces(self) -> Iterator[memoryview]:
        """Yield all of them as memory, some megabytes at a time."""
        left = self.count * self.size
        block = memoryview(bytes(min(_PIECE, left)))
        while left:
            yield block[:left]
            left -= min(len(block), left)


@dataclass(frozen=True, slots=True)
class Stream:
    """A file that is read on and on.

    Attributes:
        fill: reads on into memory; returns how many bytes came.
        seek: goes to an offset.
        holes: lists (begin, end) of stretches that hold nothing but zeros and take no room, ascending.
    """

    fill: Callable[[memoryview], int]
    seek: Callable[[int], object]
    holes: Callable[[], list[tuple[int, int]]]


def is_sparse(source: Source) -> bool:
    """Tell whether a file takes much less room than it has bytes."""
    if source.size < _HOLE or source.disk is None or source.far is not None:
        return False
    with suppress(OSError):
        return _is_sparse(os.stat(source.disk))  # noqa: PTH116 - as the scan does
    return False


@contextmanager
def open_source(source: Source, held: Held | None = None) -> Iterator[tuple[Callable[[int, int], bytes], Stream]]:
    """Give two ways of reading a file: (offset, size) → bytes, and on and on into memory; refuse one that changes.

    Args:
        source: the file.
        held: as for `open_unchanged`.
    """
    far = source.far
    if far is not None:
        at = 0

        def load(view: memoryview) -> int:
            nonlocal at
            far.fill(view, at)
            at += len(view)
            return len(view)

        def jump(offset: int) -> None:
            nonlocal at
            at = offset

        yield far.read, Stream(load, jump, list)
        far.check()
        return
    with open_unchanged(source, held) as fd:
        file = io.FileIO(fd, closefd=False)

        def read_at(offset: int, size: int) -> bytes:
            data = _read_at(fd, offset, size)
            os.lseek(fd, 0, os.SEEK_SET)
            return data

        yield read_at, Stream(file.readinto, file.seek, lambda: _holes(fd, source.size))


def differing(sources: Sequence[Source], manifest: Manifest, *, own: Manifest | None = None) -> str | None:
    """Return the path of a file whose chunk digests in a manifest are not those of its content, or None.

    Args:
        sources: the files of the manifest, in its order.
        manifest: another writer's, with the right digests of files.
        own: what this machine made of the same files; what is equal in it need not be read.

    Raises:
        ConflictError: a file changed since it was found.
        InvalidInputError: a file can't be read.
    """
    for row, source in enumerate(sources):
        if manifest.is_proven(row) or (own is not None and manifest.same_chunks(own, row)):
            continue
        if manifest.sizes[row] != source.size or not _has_chunks(source, manifest, row):
            return manifest.paths[row]
        manifest.proven.add(row)
    return None


def _has_chunks(source: Source, manifest: Manifest, row: int) -> bool:
    extents = manifest.extents(row)
    if source.data is not None:
        view, at = memoryview(source.data).cast("B"), 0
        for extent in extents:
            if hash_bytes(view[at : at + extent.size], manifest.algorithm) != extent.digest:
                return False
            at += extent.size
        return True
    with open_source(source) as (read_at, _):
        at = 0
        for extent in extents:
            if hash_bytes(read_at(at, extent.size), manifest.algorithm) != extent.digest:
                return False
            at += extent.size
    return True


def _is_sparse(st: os.stat_result) -> bool:
    return getattr(st, "st_blocks", st.st_size) * _UNIT <= st.st_size - _HOLE


def _holes(fd: int, size: int) -> list[tuple[int, int]]:
    """Return the large holes of a file; none where the file system does not list them.

    A file that was just written is flushed first: some file systems list what is only in memory as a hole.
    """
    found: list[tuple[int, int]] = []
    if not hasattr(os, "SEEK_HOLE") or not _is_sparse(os.fstat(fd)):
        return found
    try:
        os.fsync(fd)
        at = 0
        while at < size:
            begin = os.lseek(fd, at, os.SEEK_HOLE)
            try:
                at = min(os.lseek(fd, begin, os.SEEK_DATA), size)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no data behind this offset
                    raise
                at = size
            if at - begin >= _HOLE:
                found.append((begin, at))
    except OSError:
        return []
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return found


class Blocks:
    """Memory for blocks, used again as soon as nobody looks at what was in it: fresh memory costs more than what is done in it.

    Many threads may hold what `lend` gave: the last view of it gives it back.
    """

    def __init__(self) -> None:
        self._free: deque[Any] = deque()

    def lend(self, size: int) -> memoryview:
        """Return so many bytes, in which there may be anything."""
        with LOADING:
            import pyarrow as pa  # noqa: PLC0415 - the manifest needs it anyway
        base = None
        while base is None and self._free:
            one = self._free.popleft()
            base = one if one.size >= size else None
        if base is None:
            # Arrow's pool hands out used memory as it is: a bytearray is cleared first, page by page, while all threads wait.
            base = pa.allocate_buffer(size)
        lent = pa.py_buffer(memoryview(base)[:size])
        weakref.finalize(lent, self._free.append, base).atexit = False
        return memoryview(lent).cast("B")


def cut_blocks(
    stream: Stream, source: Source, cutter: Cutter, size: int, blocks: Blocks
) -> Iterator[tuple[int, memoryview, list[int]] | Zeros]:
    """Yield a file window by window, cut: (offset, bytes, ends of the chunks in it), or zeros for what a hole holds.

    The chunks are those of the same bytes without holes.

    Args:
        stream: of the file, at its begin.
        source: the file.
        cutter: cuts it.
        size: bytes of a window.
        blocks: lends the memory.

    Raises:
        ConflictError: the file is shorter than it was.
        InvalidInputError: it can't be read.
    """
    most = cutter.maximum
    holes = stream.holes() if cutter.cuts_zeros_evenly() else []
    start = at = 0  # of the next chunk, and of what is read next
    for begin, end in [*holes, (source.size, source.size)]:
        # So far into the hole that a chunk begins in it: from there on all chunks are alike.
        stop = min(begin + 2 * most, source.size)
        if stop <= at:
            continue
        rest = memoryview(b"")  # behind the last cut: it comes again, before the next block
        for block, room in _read_blocks(stream.fill, source, stop - at, size, most, blocks):
            first = room - len(rest)
            block[first:room] = rest
            window = block[first:]
            ends = cutter.cut(window, start, last=start + len(window) == source.size)
            if ends:
                yield start, window, ends
                start += ends[-1]
            rest = window[ends[-1] :] if ends else window
        at = stop
        if end - start >= most:
            total = (end - start) // most
            for done in range(0, total, step := max(1, _RUN // most)):
                yield Zeros(min(step, total - done), most)
            start += total * most
            at = start
            stream.seek(at)
        elif start < at < source.size:
            at = start  # behind the last cut: read again
            stream.seek(at)


def _read_blocks(  # noqa: PLR0917 - what a generator of one caller needs
    fill: Callable[[memoryview], int], source: Source, length: int, size: int, room: int, blocks: Blocks
) -> Iterator[tuple[memoryview, int]]:
    """Yield so much of a file block by block, each read while the one before is worked on; `room` bytes before it are free.

    Raises:
        ConflictError: the file is shorter than it was.
        InvalidInputError: it can't be read.
    """

    def read(length: int) -> memoryview:
        block = blocks.lend(room + length)
        at = room
        try:
            while at < len(block) and (more := fill(block[at:])):
                at += more
        except OSError as error:
            raise InvalidInputError(f"{source.disk} can't be read on: {error.strerror or error}") from error
        if at < len(block):
            raise ConflictError(f"{source.disk} became shorter while it was being put; nothing was committed: put again")
        return block

    with Pool(1, "artifactstore-read") as reading:
        ahead, left = reading.submit(read, min(size, length)), length - min(size, length)
        while True:
            block = ahead.result()
            if not left:
                yield block, room
                return
            ahead = reading.submit(read, min(size, left))
            left -= min(size, left)
            yield block, room


def _read_at(fd: int, offset: int, size: int) -> bytes:
    """Read up to `size` bytes; fewer only where the file ends."""
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
    except OSError as error:
        raise InvalidInputError(f"a file can't be read on: {error.strerror or error}") from error
    return data
