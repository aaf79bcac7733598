"""A seekable reader over one file of an artifact: fetches only the ranges it needs, each chunk verified."""

import io
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.content.fetch import fetch
from artifactstore.content.manifest import Manifest
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Hasher, new_hasher

__all__ = ["Seekable", "chunk_starts", "open_chunks", "read_ranges"]

_KEPT: Final = 8 * 2**20  # bytes of decoded chunks kept
_AHEAD: Final = 4 * 2**20  # bytes fetched at most ahead of a reader that goes on where it stopped


def open_chunks(backend: Backend, manifest: Manifest, row: int) -> io.BufferedReader:
    """Open a file of a manifest for reading.

    Errors come from the reads: `CorruptionError` where a chunk does not match its digest, `BackendError` where
    the store can't be reached.
    """
    return io.BufferedReader(_Reader(backend, manifest, row), buffer_size=64 * 1024)


def read_ranges(backend: Backend, manifest: Manifest, row: int, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
    """Return parts of a file, given as (offset, length), in memory that may be written to; all are fetched at once.

    Raises:
        MissingPackError: a pack is not there.
        CorruptionError: a chunk does not match its digest.
        BackendError: the store can't be reached.
    """
    starts = chunk_starts(manifest, row)
    spans = [(bisect_right(starts, at) - 1, bisect_right(starts, at + size - 1) if size else 0) for at, size in ranges]
    wanted = sorted({i for low, high in spans for i in range(low, high)})
    extents = [manifest.extent(manifest.first[row] + i) for i in wanted]
    chunks = dict(zip(wanted, fetch(backend, extents, algorithm=manifest.algorithm), strict=True))
    found = []
    for (offset, size), (low, high) in zip(ranges, spans, strict=True):
        room = bytearray(size)
        for i in range(low, high):
            begin = max(offset, starts[i])
            end = min(offset + size, starts[i + 1])
            room[begin - offset : end - offset] = memoryview(chunks[i])[begin - starts[i] : end - starts[i]]
        found.append(memoryview(room))
    return found


def chunk_starts(manifest: Manifest, row: int) -> "array[int]":
    """Return where the chunks of a file begin, and where the last one ends."""
    return array("q", accumulate(manifest.chunks.sizes[manifest.first[row] : manifest.first[row + 1]], initial=0))


class Seekable(io.RawIOBase):
    """Bytes of a known length that are read from any place on; a subclass has `readinto`, which reads at `_at`.

    Args:
        size: how many bytes there are.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from any place on."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Let the next read begin elsewhere; returns where.

        Raises:
            ValueError: a place before the begin, or another `whence` than 0, 1 and 2.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError(f"whence is {whence}: 0, 1 and 2 are known")
        if base + offset < 0:
            raise ValueError(f"can't seek to {base + offset}, before the file's begin")
        self._at = base + offset
        return self._at


class _Reader(Seekable):
    def __init__(self, backend: Backend, manifest: Manifest, row: int) -> None:
        super().__init__(manifest.sizes[row])
        self._backend = backend
        self._manifest = manifest
        self._first = manifest.first[row]
        self._starts = chunk_starts(manifest, row)
        self._expected = -1  # where the next read begins if this reader just goes on
        self._ahead = 1
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        # Chunk digests are the word of whoever wrote the manifest, and the file's digest is not: what is read from the first
        # byte to the last is held against it. A single chunk has that digest itself.
        self._row = row
        self._whole: Hasher | None = new_hasher(manifest.algorithm) if len(self._starts) > 2 else None
        self._hashed = 0
        self.name = manifest.paths[row]

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        self._ahead = min(self._ahead * 2, 64) if self._at == self._expected else 1
        low = bisect_right(self._starts, self._at) - 1
        high = bisect_right(self._starts, self._at + wanted - 1)
        done = 0
        for i, chunk in zip(range(low, high), self._chunks(low, high), strict=True):
            start = self._at + done - self._starts[i]
            part = memoryview(chunk)[start : start + wanted - done]
            view[done : done + len(part)] = part
            done += len(part)
        if self._whole is not None:
            self._check_whole(view[:done])
        self._at += done
        self._expected = self._at
        return done

    def _check_whole(self, data: memoryview) -> None:
        """Hash on what a reader takes in from the beginning; a gap ends it, for then there is nothing to compare with."""
        assert self._whole is not None  # its caller has looked
        if self._at > self._hashed:
            self._whole = None
            return
        fresh = data[self._hashed - self._at :]
        self._whole.update(fresh)
        self._hashed += len(fresh)
        if self._hashed == self._size and self._whole.digest() != self._manifest.digests[self._row]:
            raise CorruptionError(
                f"{self.name} does not match its digest, though its chunks match theirs: its manifest is false; "
                "`artifactstore verify` names who recorded it",
                digest=f"{self._manifest.algorithm}:{self._manifest.digests[self._row].hex()}",
                location=self.name,
            )

    def _chunks(self, low: int, high: int) -> list[bytes]:
        """Chunks low … high - 1 of the file, with some more behind them kept for a reader that goes on."""
        found: dict[int, bytes] = {i: self._kept[i] for i in range(low, high) if i in self._kept}
        if len(found) < high - low:
            last = min(high + self._ahead - 1, len(self._starts) - 1)
            while last > high and self._starts[last] - self._starts[high] > _AHEAD:
                last -= 1
            missing = [i for i in range(low, last) if i not in self._kept]
            extents = [self._manifest.extent(self._first + i) for i in missing]
            for i, chunk in zip(missing, fetch(self._backend, extents, algorithm=self._manifest.algorithm), strict=True):
                found[i] = self._kept[i] = bytes(chunk)  # a view would keep the whole range alive
            total = sum(len(chunk) for chunk in self._kept.values())
            while total > _KEPT and len(self._kept) > 1:
                total -= len(self._kept.popitem(last=False)[1])
        return [found[i] for i in range(low, high)]
