"""Seekable reader for one file of an artifact: fetches only the ranges it needs, each chunk verified."""

import io
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.reader import MissingPackError, fetch
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Hasher, new_hasher

__all__ = [
    "SMALL_FILE",
    "FalseChunkDigestsError",
    "ManifestRetry",
    "Seekable",
    "chunk_starts",
    "open_chunks",
    "prove",
    "read_parts",
    "read_ranges",
]

SMALL_FILE: Final = 4 * 2**20  # max bytes of a file read whole to prove its chunk digests: as much as would be read ahead
_CACHED: Final = 8 * 2**20  # bytes of decoded chunks cached
_READ_AHEAD: Final = 4 * 2**20  # max bytes read ahead for a sequential reader

T = TypeVar("T")


class ManifestRetry(Protocol):
    """Calls a function with a readable manifest of an artifact, and with another manifest if it fails with that."""

    def __call__(self, use: Callable[[Manifest], T], /) -> T:
        """Return the function's result."""


def open_chunks(backend: Backend, manifest: Manifest, row: int, again: ManifestRetry | None = None) -> io.BufferedReader:
    """Open a file of a manifest for reading; a small file with unproven chunk digests is read whole, which proves them.

    Args:
        backend: backend of the packs.
        manifest: manifest of the artifact.
        row: row of the file.
        again: calls a function with another manifest of the same artifact once this one's packs are unreadable.

    Raises:
        MissingPackError: a pack is missing; also raised by reads.
        CorruptionError: bytes do not match a digest; also raised by reads.
        BackendError: the store cannot be reached; also raised by reads.
    """
    return io.BufferedReader(_Reader(backend, manifest, row, again), buffer_size=64 * 1024)


def read_parts(backend: Backend, manifest: Manifest, row: int, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
    """Return ranges of a file as `read_ranges` does; a small file with unproven chunk digests is read whole, which proves them.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: bytes do not match a digest.
        BackendError: the store cannot be reached.
    """
    if manifest.is_proven(row) or manifest.sizes[row] > SMALL_FILE:
        return read_ranges(backend, manifest, row, ranges)
    whole = memoryview(b"".join(_prove_small(backend, manifest, row)))
    return [memoryview(bytearray(whole[offset : offset + size])) for offset, size in ranges]


def prove(backend: Backend, manifest: Manifest, row: int) -> None:
    """Read a whole file once, to prove that its chunk digests are those of its content.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: bytes do not match a digest.
        BackendError: the store cannot be reached.
    """
    hasher, low, last = new_hasher(manifest.algorithm), manifest.first[row], manifest.first[row + 1]
    sizes = manifest.chunks.sizes
    while low < last:
        high, size = low + 1, sizes[low]
        while high < last and size + sizes[high] <= _CACHED:
            size += sizes[high]
            high += 1
        for chunk in fetch(backend, manifest.extent_range(low, high), algorithm=manifest.algorithm):
            hasher.update(chunk)
        low = high
    _note_proven(manifest, row, hasher)


def _prove_small(backend: Backend, manifest: Manifest, row: int) -> list[bytes | memoryview]:
    """Return the chunks of a small file, verified by the file's own digest."""
    chunks = fetch(backend, list(manifest.extents(row)), algorithm=manifest.algorithm)
    hasher = new_hasher(manifest.algorithm)
    for chunk in chunks:
        hasher.update(chunk)
    _note_proven(manifest, row, hasher)
    return chunks


def _note_proven(manifest: Manifest, row: int, hasher: Hasher) -> None:
    if hasher.digest() != manifest.digests[row]:
        raise FalseChunkDigestsError(
            f"{manifest.paths[row]} does not match its digest, although its chunks match theirs: its manifest is false; "
            "`artifactstore verify --level full` names the entry and the actor",
            digest=f"{manifest.algorithm}:{manifest.digests[row].hex()}",
            location=manifest.paths[row],
        )
    manifest.proven.add(row)


class FalseChunkDigestsError(CorruptionError):
    """A manifest has the right digest of a file, but the chunks of another."""


def read_ranges(backend: Backend, manifest: Manifest, row: int, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
    """Return ranges of a file, given as (offset, length), in writable memory; all are fetched concurrently.

    Each chunk is verified against its digest; that the digest is one of the file's chunks is not.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: a chunk does not match its digest.
        BackendError: the store cannot be reached.
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
    """Return the offsets of a file's chunks, and the file's size."""
    return array("q", accumulate(manifest.chunks.sizes[manifest.first[row] : manifest.first[row + 1]], initial=0))


class Seekable(io.RawIOBase):
    """A seekable reader of a known size; a subclass implements `readinto`, which reads at `_at`.

    Args:
        size: number of bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read, and return it.

        Raises:
            ValueError: a position before the beginning, or another `whence` than 0, 1 and 2.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError(f"whence must be 0, 1 or 2, got {whence}")
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}: it is before the beginning of the file")
        self._at = base + offset
        return self._at


class _Reader(Seekable):
    def __init__(self, backend: Backend, manifest: Manifest, row: int, again: ManifestRetry | None) -> None:
        super().__init__(manifest.sizes[row])
        self._backend = backend
        self._again = again
        self._row = row
        self._expected = -1  # position of the next read if the reader is sequential
        self._ahead = 1
        self._cached: OrderedDict[int, bytes] = OrderedDict()
        self.name = manifest.paths[row]
        self._turn_to(manifest)
        # A sequential read of the whole file is verified by the file's own digest.
        self._whole: Hasher | None = None if manifest.is_proven(row) else new_hasher(manifest.algorithm)
        self._hashed = 0

    def _turn_to(self, manifest: Manifest) -> None:
        """Switch to another manifest."""
        row = self._row
        kept = () if manifest.is_proven(row) or manifest.sizes[row] > SMALL_FILE else _prove_small(self._backend, manifest, row)
        self._manifest = manifest
        self._size = manifest.sizes[row]
        self._first = manifest.first[row]
        self._starts = chunk_starts(manifest, row)
        self._cached = OrderedDict(enumerate(map(bytes, kept)))

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, min(len(view), self._size - self._at))]
        if not view:
            return 0
        self._ahead = min(self._ahead * 2, 64) if self._at == self._expected else 1
        try:
            self._fill(view)
        except (CorruptionError, MissingPackError):
            if self._again is None:
                raise
            self._again(lambda manifest: self._fill_from(manifest, view))
        if self._whole is not None:
            self._check_whole(self._whole, view)
        self._at += len(view)
        self._expected = self._at
        return len(view)

    def _fill_from(self, manifest: Manifest, view: memoryview) -> None:
        if manifest is not self._manifest:
            if manifest.sizes[self._row] != self._size:
                raise CorruptionError(f"{self.name} has {manifest.sizes[self._row]} bytes, expected {self._size}: open it again")
            self._turn_to(manifest)
        self._fill(view)

    def _fill(self, view: memoryview) -> None:
        low = bisect_right(self._starts, self._at) - 1
        high = bisect_right(self._starts, self._at + len(view) - 1)
        done = 0
        for i, chunk in zip(range(low, high), self._chunks(low, high), strict=True):
            start = self._at + done - self._starts[i]
            part = memoryview(chunk)[start : start + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)

    def _check_whole(self, hasher: Hasher, data: memoryview) -> None:
        """Continue the hash of a read from the beginning; a gap stops it, since there is then no digest to compare with."""
        if self._at > self._hashed:
            self._whole = None
            return
        fresh = data[self._hashed - self._at :]
        hasher.update(fresh)
        self._hashed += len(fresh)
        if self._hashed == self._size:
            _note_proven(self._manifest, self._row, hasher)
            self._whole = None

    def _chunks(self, low: int, high: int) -> list[bytes]:
        """Return chunks low … high - 1 of the file; cache some more after them for a sequential reader."""
        found: dict[int, bytes] = {i: self._cached[i] for i in range(low, high) if i in self._cached}
        if len(found) < high - low:
            last = min(high + self._ahead - 1, len(self._starts) - 1)
            while last > high and self._starts[last] - self._starts[high] > _READ_AHEAD:
                last -= 1
            missing = [i for i in range(low, last) if i not in self._cached]
            extents = [self._manifest.extent(self._first + i) for i in missing]
            for i, chunk in zip(missing, fetch(self._backend, extents, algorithm=self._manifest.algorithm), strict=True):
                found[i] = self._cached[i] = bytes(chunk)  # a view would keep the whole range in memory
            total = sum(len(chunk) for chunk in self._cached.values())
            while total > _CACHED and len(self._cached) > 1:
                total -= len(self._cached.popitem(last=False)[1])
        return [found[i] for i in range(low, high)]
