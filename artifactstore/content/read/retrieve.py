"""Retrieve: writes an artifact's files to disk, verified, in bounded memory.

Chunks of zeros become holes, where the file system supports them.
Ranges of packs are read ahead, over a network by many dedicated threads; workers decode them, verify and
write small files; a large file is hashed in order by the collecting thread. From a local store the calling thread writes small
files itself, unless writing waits: several threads would take twice the processors' time, and longer (decision 0103).
Every file is verified against its digest before it is visible under its name: the caller stages the tree and renames it when
this returns.
"""

import os
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import groupby
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.reader import (
    PackRead,
    decode_extents,
    evict_packs,
    fetch,
    plan_reads,
    read_pack,
)
from artifactstore.content.read.written_chunks import runs_of, write_chunks, write_error
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Hasher, hash_bytes, new_hasher
from artifactstore.runtime.records import dataclass
from artifactstore.runtime.threads import Pool, SmallFiles

__all__ = ["ReadGroup", "cut_parts", "false_chunks_error", "groups", "named", "read_file", "retrieve"]

LOCAL_GROUP: Final = 8 * 2**20  # stored bytes fetched at a time from a local store
REMOTE_GROUP: Final = 17 * 2**20  # the same over a network: one long request, two for a full pack
REMOTE_PART: Final = 8 * 2**20  # the same for a large file: shorter reads arrive sooner, and delay later ones less
REMOTE_AHEAD: Final = 208 * 2**20  # stored bytes read ahead over a network, so that about eight connections are always busy
FETCHERS: Final = 16  # max concurrent requests
GROUP_FILES: Final = 2_048
PROBE_FILES: Final = 64  # of a first group, which shows how long writing takes
WORKERS: Final = 2
_REPEATED_RATIO: Final = 64  # compression ratio from which on a file must consist mostly of repetitions
_BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class ReadGroup:
    """Work for one worker: whole small files, or a part of a large one.

    Attributes:
        rows: rows of the files.
        part: whether this is a part of a large file.
        low: the part's first chunk.
        high: one past its last chunk.
        offset: offset of the part in its file, in bytes.
        last: whether the part is the file's last.
        weight: bytes of memory that it takes while being fetched.
    """

    rows: Sequence[int]
    part: bool = False
    low: int = 0
    high: int = 0
    offset: int = 0
    last: bool = True
    weight: int = 0


def retrieve(
    backend: Backend,
    manifest: Manifest,
    rows: "array[int]",
    path: Callable[[int], str],
    *,
    progress: Callable[[int, int], None] = lambda _size, _files: None,
) -> None:
    """Write files of a manifest to disk; their folders must exist, the files must not.

    Args:
        backend: backend of the packs.
        manifest: the manifest.
        rows: rows of the files in the manifest, ascending.
        path: returns the path on disk of the file with this index in `rows`.
        progress: called with the number of bytes, and of files, just written.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: bytes do not match a digest.
        BackendError: reading the store failed, or the disk is full.
    """
    run = _Retrieval(backend, manifest, _Paths(rows, path), progress)
    remote = backend.is_remote
    waiting: deque[tuple[ReadGroup, Future[Sequence[bytes | memoryview]]]] = deque()
    ahead, small = 0, SmallFiles()
    with Pool(WORKERS, "artifactstore-get") as workers, _fetchers(backend) as fetchers:
        try:
            sizes = (REMOTE_GROUP, REMOTE_PART) if remote else (LOCAL_GROUP, LOCAL_GROUP)
            for group in groups(manifest, rows, *sizes, most=GROUP_FILES if remote else PROBE_FILES):
                if not (remote or group.part) and small.are_quick(len(group.rows), group.weight):
                    small.measure(len(group.rows), partial(run.work, group, run.load(group, fetchers)))
                    continue
                waiting.append((group, workers.submit(run.work, group, run.load(group, fetchers))))
                ahead += group.weight
                while ahead > REMOTE_AHEAD if remote else len(waiting) > WORKERS + 1:
                    ahead -= waiting[0][0].weight
                    run.collect(*waiting.popleft())
            while waiting:
                run.collect(*waiting.popleft())
        except BaseException:
            run.stopped = True
            for pool in (fetchers, workers):
                pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetchers(backend: Backend) -> Pool:
    return Pool(max(1, min(backend.concurrency, FETCHERS)), "artifactstore-fetch")


@dataclass(frozen=True, slots=True)
class _Load:
    """A group's extents, and their reads in flight; None if the worker reads itself."""

    extents: Sequence[Extent]
    reads: Sequence[PackRead]
    parts: Sequence[Future[list[bytes]]] | None


class _Paths:
    """The paths on disk by row, built on demand."""

    def __init__(self, rows: "array[int]", path: Callable[[int], str]) -> None:
        self._rows = rows
        self._path = path

    def __getitem__(self, row: int) -> str:
        return self._path(bisect_left(self._rows, row))


class _Retrieval:
    """A retrieve: the state shared by its threads."""

    def __init__(self, backend: Backend, manifest: Manifest, paths: _Paths, progress: Callable[[int, int], None]) -> None:
        self.stopped = False
        self._backend = backend
        self._manifest = manifest
        self._paths = paths
        self._progress = progress
        self._hashers: dict[int, Hasher] = {}

    def load(self, group: ReadGroup, fetchers: Pool) -> _Load:
        """Start to read a group's data."""
        manifest = self._manifest
        first = manifest.first
        if group.part:
            extents = manifest.extent_range(group.low, group.high)
        else:
            extents = [one for low, high in runs_of(group.rows) for one in manifest.extent_range(first[low], first[high])]
        reads = plan_reads(extents)
        if not self._backend.is_remote:
            return _Load(extents, reads, None)
        return _Load(extents, reads, [fetchers.submit(read_pack, self._backend, read) for read in reads])

    def work(self, group: ReadGroup, load: _Load) -> Sequence[bytes | memoryview]:
        """Decode a group and write it; return the chunks of a part of a large file. Runs in a worker."""
        if self.stopped:
            return ()
        parts = (
            [read_pack(self._backend, read) for read in load.reads] if load.parts is None else [p.result() for p in load.parts]
        )
        try:
            chunks = decode_extents(load.extents, load.reads, parts)
        except CorruptionError:
            evict_packs(self._backend, load.extents)  # it may have been damaged in transit
            chunks = fetch(self._backend, load.extents)
        if group.part:
            _write_part(self._manifest, self._paths[group.rows[0]], group, chunks)
            return chunks
        _write_files(self._backend, self._manifest, self._paths, group, chunks)
        self._progress(sum(map(len, chunks)), len(group.rows))
        return ()

    def collect(self, group: ReadGroup, future: Future[Sequence[bytes | memoryview]]) -> None:
        """Wait for a group; continue the hash of a large file. Runs in the calling thread, in the order of the groups."""
        chunks = future.result()
        if not group.part:
            return
        row = group.rows[0]
        if row not in self._hashers:
            self._hashers[row] = new_hasher(self._manifest.algorithm, parallel=_is_repeated(self._manifest, row))
        hasher = self._hashers[row]
        for _, run in groupby(chunks, id):
            same = list(run)
            hasher.update(same[0] if len(same) == 1 else bytes(same[0]) * len(same))
        if group.last and self._hashers.pop(row).digest() != self._manifest.digests[row]:
            _rewrite_file(self._backend, self._manifest, row, self._paths[row])
        self._progress(sum(map(len, chunks)), int(group.last))


def read_file(backend: Backend, manifest: Manifest, row: int) -> bytes:
    """Return a file's bytes, verified against its digest.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: the bytes do not match the digest.
    """
    data = b"".join(fetch(backend, list(manifest.extents(row))))
    if hash_bytes(data, manifest.algorithm) != manifest.digests[row]:
        return b"".join(_reread_chunks(backend, manifest, row))
    return data


def cut_parts(manifest: Manifest, row: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Split a file into parts of about `size` stored bytes: (first chunk, one past the last, offset in the file)."""
    return ((part.low, part.high, part.offset) for part in _parts(manifest, row, size))


def _weight(manifest: Manifest, low: int, high: int) -> int:
    """Return the memory cost of chunks: their stored size, or half of their decoded size, which bounds decompression."""
    chunks = manifest.chunks
    bases = sum(chunks.bases[i].stored for i in range(low, high) if i in chunks.bases) if chunks.bases else 0
    if high - low == 1:
        return max(chunks.stored[low] + bases, chunks.sizes[low] // 2)
    return max(sum(chunks.stored[low:high]) + bases, sum(chunks.sizes[low:high]) // 2)


def groups(manifest: Manifest, rows: Sequence[int], size: int, part: int, *, most: int = GROUP_FILES) -> Iterator[ReadGroup]:
    """Split the work into groups of neighbours of about `size`; a larger file becomes parts of about `part`.

    The first group has at most `most` files.
    """
    first = manifest.first
    start, total = 0, 0
    for n, row in enumerate(rows):
        weight = _weight(manifest, first[row], first[row + 1])
        large = weight > size
        if n > start and (large or total + weight > size or n - start >= (GROUP_FILES if start else most)):
            yield ReadGroup(rows[start:n], weight=total)
            start, total = n, 0
        if large:
            yield from _parts(manifest, row, part)
            start, total = n + 1, 0
        else:
            total += weight
    if start < len(rows):
        yield ReadGroup(rows[start:], weight=total)


def _parts(manifest: Manifest, row: int, size: int) -> Iterator[ReadGroup]:
    chunks, end = manifest.chunks, manifest.first[row + 1]
    low, total, offset, length = manifest.first[row], 0, 0, 0
    for i in range(low, end):
        weight = _weight(manifest, i, i + 1)
        turns = (
            i > low and chunks.packs[i] != chunks.packs[i - 1] and total >= size // 2
        )  # no request for just the last bytes of a pack
        if i > low and (total + weight > size or turns):
            yield ReadGroup([row], part=True, low=low, high=i, offset=offset, last=False, weight=total)
            low, total, offset, length = i, 0, offset + length, 0
        total += weight
        length += chunks.sizes[i]
    yield ReadGroup([row], part=True, low=low, high=end, offset=offset, weight=total)


def _is_repeated(manifest: Manifest, row: int) -> bool:
    """Return whether a file's compression ratio is so high that it must consist mostly of repetitions."""
    stored = sum(manifest.chunks.stored[manifest.first[row] : manifest.first[row + 1]])
    return stored * _REPEATED_RATIO < manifest.sizes[row]


def _write_part(manifest: Manifest, path: str, group: ReadGroup, chunks: Sequence[bytes | memoryview]) -> None:
    mode = 0o777 if manifest.executable[group.rows[0]] else 0o666
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | _BINARY, mode)
        try:
            os.lseek(fd, group.offset, os.SEEK_SET)
            write_chunks(fd, chunks, manifest.sizes[group.rows[0]] if group.last else 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise write_error(path, error) from error


def _write_files(
    backend: Backend, manifest: Manifest, paths: _Paths, group: ReadGroup, chunks: Sequence[bytes | memoryview]
) -> None:
    algorithm, first, at = manifest.algorithm, manifest.first, 0
    digests = [digest for low, high in runs_of(group.rows) for digest in manifest.digests[low:high]]
    for row, digest in zip(group.rows, digests, strict=True):
        mine = chunks[at : at + first[row + 1] - first[row]]
        at += len(mine)
        if _digest(mine, algorithm) != digest:
            mine = _reread_chunks(backend, manifest, row)
        path = paths[row]
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o777 if manifest.executable[row] else 0o666)
            try:
                write_chunks(fd, mine, manifest.sizes[row])
            finally:
                os.close(fd)
        except OSError as error:
            raise write_error(path, error) from error


def _digest(chunks: Sequence[bytes | memoryview], algorithm: str) -> bytes:
    if len(chunks) == 1:
        return hash_bytes(chunks[0], algorithm)
    hasher = new_hasher(algorithm)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()


def _reread_chunks(backend: Backend, manifest: Manifest, row: int) -> Sequence[bytes | memoryview]:
    """Read a small file's chunks again, each verified: damage in transit is gone.

    Raises:
        CorruptionError: the store is damaged.
    """
    extents = list(manifest.extents(row))
    evict_packs(backend, extents)
    try:
        chunks = fetch(backend, extents, algorithm=manifest.algorithm)
    except CorruptionError as error:
        raise named(manifest, row, error) from error
    if _digest(chunks, manifest.algorithm) != manifest.digests[row]:
        raise false_chunks_error(manifest, row)
    return chunks


def _rewrite_file(backend: Backend, manifest: Manifest, row: int, path: str) -> None:
    """Write a large file again, each chunk verified.

    Raises:
        CorruptionError: the store is damaged.
    """
    hasher = new_hasher(manifest.algorithm)
    evict_packs(backend, list(manifest.extents(row)))
    try:
        os.truncate(path, 0)  # the bytes written before may not be zeros where a hole belongs
    except OSError as error:
        raise write_error(path, error) from error
    for group in _parts(manifest, row, LOCAL_GROUP):
        extents = manifest.extent_range(group.low, group.high)
        try:
            chunks = fetch(backend, extents, algorithm=manifest.algorithm)
        except CorruptionError as error:
            raise named(manifest, row, error) from error
        _write_part(manifest, path, group, chunks)
        for chunk in chunks:
            hasher.update(chunk)
    if hasher.digest() != manifest.digests[row]:
        raise false_chunks_error(manifest, row)


def named(manifest: Manifest, row: int, error: CorruptionError) -> CorruptionError:
    """Return an error of a chunk with the name of its file."""
    name = f"{manifest.algorithm}:{manifest.digests[row].hex()}"
    return CorruptionError(f"{manifest.paths[row]}: {error}", digest=name, location=error.location)


def false_chunks_error(manifest: Manifest, row: int) -> CorruptionError:
    """Make the error for a file that does not match its digest although its chunks match theirs."""
    name = f"{manifest.algorithm}:{manifest.digests[row].hex()}"
    text = (
        f"{manifest.paths[row]} does not match its digest {name}: the store is damaged there; restore it from a copy of the store"
    )
    return CorruptionError(text, digest=name, location=manifest.paths[row])
