"""Reading a large file that is to be stored: block by block, ahead of the work on it, refusing one that changes meanwhile."""

import io
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from artifactstore.backend.pool import Pool
from artifactstore.content.source import Source, open_unchanged
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.loading import LOADING

__all__ = ["Blocks", "open_source", "read_blocks"]


@contextmanager
def open_source(
    source: Source, held: set[str] | None = None
) -> Iterator[tuple[Callable[[int, int], bytes], Callable[[memoryview], int]]]:
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

        yield far.read, load
        far.check()
        return
    with open_unchanged(source, held) as fd:
        file = io.FileIO(fd, closefd=False)

        def read_at(offset: int, size: int) -> bytes:
            data = _read_at(fd, offset, size)
            os.lseek(fd, 0, os.SEEK_SET)
            return data

        yield read_at, file.readinto


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


def read_blocks(
    fill: Callable[[memoryview], int], source: Source, size: int, room: int, blocks: Blocks
) -> Iterator[tuple[memoryview, int]]:
    """Yield a file block by block, each read while the one before is worked on; `room` bytes before its data are free.

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
        ahead, left = reading.submit(read, min(size, source.size)), source.size - min(size, source.size)
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
