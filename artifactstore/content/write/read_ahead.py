"""Read-ahead of a large file during a put: block by block, concurrent with hashing; a file that changes meanwhile is rejected.

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

from artifactstore.content.codecs.chunker import Cutter
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.write.source import Source, open_unchanged
from artifactstore.errors import ArtifactStoreError, ConflictError, InvalidInputError
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.file_stats import Held
from artifactstore.runtime.loading import arrow
from artifactstore.runtime.threads import Pool

__all__ = ["BufferPool", "Stream", "Zeros", "cut_blocks", "first_false_file", "is_sparse", "open_source"]

_MIN_HOLE: Final = 8 * 2**20  # min bytes of a hole worth skipping
_BLOCK_UNIT: Final = 512  # bytes per unit of `st_blocks`
_ZEROS_HASHED: Final = 4 * 2**20  # bytes of zeros hashed at a time
_ZEROS_RUN: Final = 128 * 2**20  # bytes of zeros passed on at a time


@dataclass(frozen=True, slots=True)
class Zeros:
    """A run of equal chunks of zeros, which were not read.

    Attributes:
        count: number of chunks.
        size: bytes per chunk.
    """

    count: int
    size: int

    def pieces(self) -> Iterator[memoryview]:
        """Yield the zeros as memory, some megabytes at a time."""
        left = self.count * self.size
        block = memoryview(bytes(min(_ZEROS_HASHED, left)))
        while left:
            yield block[:left]
            left -= min(len(block), left)


@dataclass(frozen=True, slots=True)
class Stream:
    """A sequential reader of a file.

    Attributes:
        fill: reads the next bytes into memory; returns how many.
        seek: moves to an offset.
        holes: lists (begin, end) of holes (unallocated zeros), ascending.
    """

    fill: Callable[[memoryview], int]
    seek: Callable[[int], object]
    holes: Callable[[], list[tuple[int, int]]]


def is_sparse(source: Source) -> bool:
    """Return whether a file takes far less disk space than its size."""
    if source.size < _MIN_HOLE or source.disk is None or source.reader is not None:
        return False
    with suppress(OSError):
        return _is_sparse(os.stat(source.disk))  # noqa: PTH116 - as the scan does
    return False


@contextmanager
def open_source(source: Source, held: Held | None = None) -> Iterator[tuple[Callable[[int, int], bytes], Stream]]:
    """Yield two readers of a file: (offset, size) → bytes, and a sequential one; reject a file that changes.

    Args:
        source: the file.
        held: as for `open_unchanged`.
    """
    reader = source.reader
    if reader is not None:
        at = 0

        def load(view: memoryview) -> int:
            nonlocal at
            reader.fill(view, at)
            at += len(view)
            return len(view)

        def jump(offset: int) -> None:
            nonlocal at
            at = offset

        yield reader.read, Stream(load, jump, list)
        reader.check()
        return
    with open_unchanged(source, held) as fd:
        file = io.FileIO(fd, closefd=False)

        def read_at(offset: int, size: int) -> bytes:
            data = _read_at(fd, offset, size)
            os.lseek(fd, 0, os.SEEK_SET)
            return data

        yield read_at, Stream(file.readinto, file.seek, lambda: _holes(fd, source.size))


def first_false_file(sources: Sequence[Source], manifest: Manifest, *, own: Manifest | None = None) -> str | None:
    """Return the path of a file whose chunk digests in a manifest are not those of its content, or None.

    Args:
        sources: the files of the manifest, in its order.
        manifest: another writer's, whose file digests are correct.
        own: this machine's manifest of the same files; files whose chunks are equal in it are not read.

    Raises:
        ConflictError: a file changed since the scan.
        InvalidInputError: a file cannot be read.
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
    return getattr(st, "st_blocks", st.st_size) * _BLOCK_UNIT <= st.st_size - _MIN_HOLE


def _holes(fd: int, size: int) -> list[tuple[int, int]]:
    """Return the large holes of a file; none if the file system does not list them.

    A freshly written file is flushed first: some file systems list dirty pages as a hole.
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
                if error.errno != errno.ENXIO:  # no data after this offset
                    raise
                at = size
            if at - begin >= _MIN_HOLE:
                found.append((begin, at))
    except OSError:
        return []
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return found


class BufferPool:
    """A pool of buffers, each reused once nothing refers to it: page faults of fresh memory cost more than the work done in it.

    Several threads may hold views of what `lend` returned: the last view to go returns the buffer.
    """

    def __init__(self) -> None:
        self._free: deque[Any] = deque()

    def lend(self, size: int) -> memoryview:
        """Return `size` bytes of uninitialised memory."""
        pa = arrow()  # the manifest needs it anyway
        base = None
        while base is None and self._free:
            one = self._free.popleft()
            base = one if one.size >= size else None
        if base is None:
            # Arrow's pool returns used memory unchanged: a bytearray is zeroed first, page by page, while it blocks all threads.
            base = pa.allocate_buffer(size)
        lent = pa.py_buffer(memoryview(base)[:size])
        weakref.finalize(lent, self._free.append, base).atexit = False
        return memoryview(lent).cast("B")


def cut_blocks(
    stream: Stream, source: Source, cutter: Cutter, size: int, blocks: BufferPool
) -> Iterator[tuple[int, memoryview, list[int]] | Zeros]:
    """Yield a file window by window: (offset, bytes, ends of the chunks in it), or zeros for a hole.

    The chunks are the same as for the same bytes without holes.

    Args:
        stream: stream of the file, at its beginning.
        source: the file.
        cutter: chooses the cut points.
        size: bytes of a window.
        blocks: the buffer pool.

    Raises:
        ConflictError: the file became shorter.
        InvalidInputError: it cannot be read.
    """
    most = cutter.maximum
    holes = stream.holes() if cutter.cuts_zeros_evenly() else []
    start = at = 0  # offsets of the next chunk, and of the next read
    for begin, end in [*holes, (source.size, source.size)]:
        # Far enough into the hole that a chunk begins in it: from there on all chunks are equal.
        stop = min(begin + 2 * most, source.size)
        if stop <= at:
            continue
        rest = memoryview(b"")  # bytes after the last cut: repeated before the next block
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
            for done in range(0, total, step := max(1, _ZEROS_RUN // most)):
                yield Zeros(min(step, total - done), most)
            start += total * most
            at = start
            stream.seek(at)
        elif start < at < source.size:
            at = start  # after the last cut: read again
            stream.seek(at)


def _read_blocks(  # noqa: PLR0917 - a generator with a single caller
    fill: Callable[[memoryview], int], source: Source, length: int, size: int, room: int, blocks: BufferPool
) -> Iterator[tuple[memoryview, int]]:
    """Yield `length` bytes of a file block by block, each read ahead; the first `room` bytes of a block are free.

    Raises:
        ConflictError: the file became shorter.
        InvalidInputError: it cannot be read.
    """

    def read(length: int) -> memoryview:
        block = blocks.lend(room + length)
        at = room
        try:
            while at < len(block) and (more := fill(block[at:])):
                at += more
        except ArtifactStoreError:
            raise
        except OSError as error:
            raise InvalidInputError(f"{source.disk} cannot be read further: {error.strerror or error}") from error
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
    """Read up to `size` bytes; fewer only at the end of the file."""
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
    except OSError as error:
        raise InvalidInputError(f"a file cannot be read further: {error.strerror or error}") from error
    return data
