"""Files in memory that are several buffers in a row, such as a header and an array: none of it is copied as a whole."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from artifactstore.content.source import Source, from_bytes
from artifactstore.model.digest import hash_bytes, new_hasher
from artifactstore.model.listing import check_path

__all__ = ["Parts", "from_parts", "memory_digest"]


class Parts:
    """A file in memory that is several buffers in a row: read window by window, so that none of it is copied as a whole.

    A window is a copy: whoever changes an array while it is stored gets an artifact that is one thing or the other, never
    one whose digests contradict each other.
    """

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = parts
        self._starts = list(accumulate((len(part) for part in parts), initial=0))

    @property
    def size(self) -> int:
        """In bytes."""
        return self._starts[-1]

    def fill(self, view: memoryview, offset: int) -> None:
        """Copy as many bytes from `offset` on as the view has room for."""
        done = 0
        for i in range(bisect_right(self._starts, offset) - 1, len(self._parts)):
            if done == len(view):
                break
            start = offset + done - self._starts[i]
            piece = self._parts[i][start : start + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly these bytes."""
        room = bytearray(size)
        self.fill(memoryview(room), offset)
        return bytes(room)

    def check(self) -> None:
        """Nothing to compare with."""

    def digest(self, algorithm: str) -> bytes:
        """Return what it holds now."""
        hasher = new_hasher(algorithm)
        for part in self._parts:
            hasher.update(part)
        return hasher.digest()


def from_parts(path: str, parts: Sequence[bytes | memoryview]) -> Source:
    """Make a source of buffers in memory that are one file in a row."""
    if len(parts) == 1:
        return from_bytes(path, parts[0])
    check_path(path)
    held = Parts([memoryview(part).cast("B") for part in parts if memoryview(part).nbytes])
    return Source(path, held.size, b"", executable=False, base=None, far=held)


def memory_digest(source: Source, algorithm: str) -> bytes | None:
    """Return the digest of what is in memory; None for files, which are hashed as they are read."""
    if source.data is not None:
        return hash_bytes(source.data, algorithm)
    return source.far.digest(algorithm) if isinstance(source.far, Parts) else None
