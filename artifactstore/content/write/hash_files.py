"""Digests of files on disk, for comparing them: nothing is stored. Files that the stat cache knows are not read."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from artifactstore.content.write.read_ahead import open_source
from artifactstore.content.write.source import Source, read_unchanged
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.model.digest import hash_bytes, new_hasher
from artifactstore.runtime.file_stats import Held
from artifactstore.runtime.threads import Pool

__all__ = ["hash_files"]

_WORKERS: Final = max(2, min(8, os.cpu_count() or 2))
_SMALL: Final = 2**20  # bytes of a file that is read at once
_BLOCK: Final = 8 * 2**20
_BATCH: Final = 128  # files per task
_PARALLEL: Final = 256 * 2**20  # bytes from which on one file is hashed by all cores


def hash_files(
    root: str,
    sources: Sequence[Source],
    algorithm: str,
    stats: StatCache | None,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> list[bytes]:
    """Return the raw digest of each file, and record those that were read in the stat cache.

    Args:
        root: absolute path that contains all files, or the single file's own path.
        sources: sorted by path.
        algorithm: the store's digest algorithm.
        stats: its stat cache; None to read every file, whatever is known of it.
        progress: called with the number of bytes done.

    Raises:
        InvalidInputError: a file cannot be read.
        ConflictError: a file changed while it was read.
    """
    started, held = time.time_ns(), Held()
    known: Sequence[bytes | None] = [None] * len(sources) if stats is None else stats.lookup(root, sources)
    unknown = [source for source, digest in zip(sources, known, strict=True) if digest is None]
    progress(sum(source.size for source, digest in zip(sources, known, strict=True) if digest is not None))

    def digests(some: Sequence[Source]) -> list[bytes]:
        made = []
        for source in some:
            made.append(_digest(source, algorithm, held))
            progress(source.size)
        return made

    tasks = [*_batches(unknown)]
    if len(tasks) < 2:
        read = [*map(digests, tasks)]  # threads would cost more than they save
    else:
        with Pool(_WORKERS, "artifactstore-hash") as pool:
            read = [*pool.map(digests, tasks)]
    found = dict(zip((source.path for source in unknown), chain.from_iterable(read), strict=True))
    if stats is not None:
        stats.store(((source, found[source.path], source.path in held.paths) for source in unknown), hashed_at=started)
    return [found[source.path] if digest is None else digest for source, digest in zip(sources, known, strict=True)]


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    size = 0
    for source in sources:
        if batch and (len(batch) >= _BATCH or size + source.size > _BLOCK):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += source.size
    if batch:
        yield batch


def _digest(source: Source, algorithm: str, held: Held) -> bytes:
    if source.size <= _SMALL:
        return hash_bytes(read_unchanged(source, held), algorithm)
    hasher = new_hasher(algorithm, parallel=source.size >= _PARALLEL)
    room = memoryview(bytearray(_BLOCK))
    with open_source(source, held) as (_, stream):
        while size := stream.fill(room):
            hasher.update(room[:size])
    return hasher.digest()
