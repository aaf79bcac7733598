"""A part of a large file, cut by itself: several workers store one file, and its chunks are those of a put by one.

Cut points depend on where the cutting began, for some chunks only: a part begins some chunks early, and whether two
neighbours meet at the same cut is seen when both are done.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.chunker import HEAD, Cutter, choose_rule
from artifactstore.content.manifests.manifest import INLINE, Manifest
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.writer import Packer
from artifactstore.content.write.ingest import WINDOW, Ingest
from artifactstore.content.write.read_ahead import open_source
from artifactstore.content.write.source import Source
from artifactstore.model.digest import new_hasher
from artifactstore.runtime.threads import Pool

__all__ = ["FilePart", "hash_file", "join_parts", "store_part", "store_windows"]

_LEAD: Final = 8  # chunks of the largest size that a part begins early
_BLOCK: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class FilePart:
    """The stored chunks of a part of a file.

    Attributes:
        begin: offset of its first chunk.
        end: offset behind its last one.
        manifest: their records, without a file.
        packs: ids of the packs written for it.
        uploaded: bytes of these packs.
    """

    begin: int
    end: int
    manifest: Manifest
    packs: frozenset[str]
    uploaded: int


def store_part(
    backend: Backend,
    source: Source,
    part: tuple[int, int],
    *,
    exact: bool,
    algorithm: str,
    chunkers: Mapping[str, tuple[int, int, int]],
    known: KnownChunks,
    footers: Footers | None = None,
) -> FilePart:
    """Store the chunks that begin in a part of a file, up to the first cut behind it.

    Args:
        backend: target of the packs.
        source: the file.
        part: its begin and end.
        exact: whether a chunk is known to begin there.
        algorithm: the store's digest algorithm.
        chunkers: the store's chunker parameters.
        known: chunks that need not be stored.
        footers: caches the footers of the packs written.

    Raises:
        ConflictError: the file changed while it was read.
        BackendError: a pack could not be written.
    """
    spans: list[tuple[int, int]] = []

    def windows() -> Generator[tuple[memoryview, list[int]], None, None]:
        for start, window, ends in _cut(source, part, chunkers, exact=exact):
            spans.append((start, start + ends[-1]))
            yield window, ends

    packer = Packer(backend, Manifest(algorithm), known, footers=footers, left=part[1] - part[0])
    store_windows(packer, windows(), algorithm=algorithm, chunkers=chunkers, known=known, local=not backend.is_remote)
    begin, end = (spans[0][0], spans[-1][1]) if spans else (part[0], part[0])
    return FilePart(begin, end, packer.manifest, frozenset(packer.packs), packer.uploaded)


def store_windows(
    packer: Packer,
    windows: Generator[tuple[memoryview, list[int]], None, None],
    *,
    algorithm: str,
    chunkers: Mapping[str, tuple[int, int, int]],
    known: KnownChunks,
    local: bool,
) -> None:
    """Store the chunks of one file, window by window; all packs are durable when this returns.

    Args:
        packer: gets the chunks, and is closed.
        windows: bytes, and the ends of the chunks in them.
        algorithm: the store's digest algorithm.
        chunkers: the store's chunker parameters.
        known: chunks that need not be stored.
        local: whether the target is on this machine.

    Raises:
        BackendError: a pack could not be written.
        Exception: whatever `windows` raises.
    """
    run = Ingest(
        packer,
        algorithm=algorithm,
        chunkers=chunkers,
        known=known,
        series=None,
        sha256=False,
        local=local,
        progress=lambda _: None,
    )
    try:
        with Pool(run.workers, "artifactstore-ingest") as workers:
            try:
                with closing(windows):
                    run.collect(workers.submit(run.store_window, window, ends) for window, ends in windows)
            except BaseException:
                run.stop()
                workers.shutdown(wait=False, cancel_futures=True)
                raise
        packer.finish()
        packer.wait()
    finally:
        packer.close()


def _cut(
    source: Source, part: tuple[int, int], chunkers: Mapping[str, tuple[int, int, int]], *, exact: bool
) -> Iterator[tuple[int, memoryview, list[int]]]:
    """Yield the chunks of a part, window by window: (offset, bytes, ends of the chunks in it)."""
    begin, end = part
    with open_source(source) as (read_at, stream):
        rule, bounds = choose_rule(read_at(0, min(HEAD, source.size)), source.size, read_at)
        cutter = Cutter(chunkers[rule], bounds)
        most = cutter.maximum
        at = begin if exact else max(0, begin - _LEAD * most) // most * most
        if not exact and bounds and (near := bounds[bisect_right(bounds, begin) - 1]) <= begin:
            at = max(at, near)
        stream.seek(at)
        rest = b""
        while at < source.size:
            size = min(max(WINDOW, 2 * most), source.size - at - len(rest))
            block = memoryview(bytearray(len(rest) + size))
            block[: len(rest)] = rest
            filled = len(rest)
            while filled < len(block) and (more := stream.fill(block[filled:])):
                filled += more
            window = block[:filled]
            ends = cutter.cut(window, at, last=at + filled >= source.size)
            if not ends:
                return  # it became shorter, which closing it reports
            ahead = [one for one in ends if at + one <= begin]
            skip = ahead[-1] if ahead else 0
            chosen = [one for one in ends if one > skip]
            done = next((k for k, one in enumerate(chosen, 1) if at + one >= end), None)
            if at + skip >= begin and chosen:
                kept = chosen[:done]
                yield at + skip, window[skip : kept[-1]], [one - skip for one in kept]
                if done is not None:
                    return
            rest = bytes(window[ends[-1] :])
            at += ends[-1]


def hash_file(source: Source, algorithm: str, *, sha256: bool) -> tuple[bytes, bytes]:
    """Return a file's digest, and its SHA-256 or nothing.

    Raises:
        ConflictError: the file changed while it was read.
    """
    hashers = [new_hasher(algorithm, parallel=True), *([new_hasher("sha256")] if sha256 else ())]
    with open_source(source) as (_, stream):
        block, left = memoryview(bytearray(_BLOCK)), source.size
        while left and (got := stream.fill(block[: min(left, _BLOCK)])):
            for hasher in hashers:
                hasher.update(block[:got])
            left -= got
    return hashers[0].digest(), hashers[1].digest() if sha256 else b""


def join_parts(source: Source, digest: bytes, algorithm: str, parts: Sequence[FilePart]) -> Manifest:
    """Return a manifest of one file from its parts, which must meet."""
    whole = Manifest(algorithm)
    ours = whole.chunks
    for part in parts:
        theirs, numbers = part.manifest.chunks, dict[int, int]()
        for k, pack in enumerate(part.manifest.packs):
            if pack not in whole.packs:
                whole.packs.append(pack)
            numbers[k] = whole.packs.index(pack)
        for i in range(len(theirs)):
            if theirs.packs[i] == INLINE:
                ours.inline[len(ours)] = theirs.inline[i]
            if (base := theirs.bases.get(i)) is not None:
                ours.bases[len(ours)] = base
            number = numbers.get(theirs.packs[i], INLINE)
            ours.add(theirs.digests[i], theirs.sizes[i], number, theirs.offsets[i], theirs.stored[i], theirs.codecs[i])
    whole.close_file(source.path, source.size, digest, executable=source.executable)
    whole.all_proven = True
    return whole
