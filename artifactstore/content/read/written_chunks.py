"""The last step of a get: decoded chunks become a file; chunks of zeros become holes of it, where the file system has them."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from artifactstore.errors import BackendError

__all__ = ["PAGE", "runs_of", "write_chunks", "write_error"]

PAGE: Final = 4096  # bytes: the smallest hole of a file system


def write_chunks(fd: int, chunks: Sequence[bytes | memoryview], size: int) -> None:
    """Write chunks at the position of a new file; skip zeros, and set the file's size to `size` if it is not 0."""
    hole = False
    for chunk in chunks:
        hole = _is_hole(chunk)
        if hole:
            os.lseek(fd, len(chunk), os.SEEK_CUR)
        elif (done := os.write(fd, chunk)) < len(chunk):
            view = memoryview(chunk)[done:]
            while view:
                view = view[os.write(fd, view) :]
    if hole and size:
        os.ftruncate(fd, size)


def _is_hole(chunk: bytes | memoryview) -> bool:
    """Return whether a chunk is all zeros, and long enough for a hole."""
    return len(chunk) >= PAGE and not chunk[0] and not chunk[-1] and bytes(chunk) == bytes(len(chunk))


def runs_of(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Return the ranges of consecutive rows: (first, one past the last)."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return [(rows[0], rows[-1] + 1)]
    ends = [0, *(i for i in range(1, len(rows)) if rows[i] != rows[i - 1] + 1), len(rows)]
    return [(rows[low], rows[high - 1] + 1) for low, high in pairwise(ends)]


def write_error(path: str, error: OSError) -> BackendError:
    """Make the error for a file that cannot be written."""
    return BackendError(
        f"{path} cannot be written: {error.strerror or error}; nothing was written: free some space or choose another folder"
    )
