"""Ingest: splits files into chunks and writes them into packs, in a pipeline with bounded memory.

One coordinator reads large files window by window and finds the cut points; one thread hashes them as a whole;
workers hash and compress chunks, and process small files; the coordinator does so on this machine, unless reading waits for a
disk (decision 0103); uploaders write full packs meanwhile.
Results are collected in the order of the files, so packs contain neighbours next to each other and a get reads long ranges.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.chunker import HEAD, Cutter, choose_rule
from artifactstore.content.codecs.codec import RAW, Encoders
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.pack import check_frame
from artifactstore.content.packs.upload_ledger import UploadLedger
from artifactstore.content.packs.writer import EncodedChunk, Packer
from artifactstore.content.write.delta_bases import DeltaBase, DeltaBases, DeltaLine, ReadAt
from artifactstore.content.write.ingested import Ingested
from artifactstore.content.write.read_ahead import BufferPool, Zeros, cut_blocks, is_sparse, open_source
from artifactstore.content.write.scan import Scanned
from artifactstore.content.write.source import Folder, Source, read_unchanged
from artifactstore.errors import BackendError
from artifactstore.model.digest import hash_bytes, new_hasher
from artifactstore.runtime.file_stats import Held
from artifactstore.runtime.threads import Pool, SmallFiles, until

__all__ = ["WINDOW", "Ingest", "ingest"]

WINDOW: Final = 4 * 2**20  # bytes of a large file per unit of work
_REMOTE_WINDOW: Final = 16 * 2**20  # the same for a remote file: several concurrent requests
BATCH_FILES: Final = 256  # files read per batch
_BATCH_KNOWN: Final = 4096  # files per batch, including those that need no reading
_FEW_FILES: Final = 16
_FEW_BYTES: Final = 512 * 1024
WORKERS: Final = max(2, min(8, os.cpu_count() or 2))
_REMOTE_WORKERS: Final = 8  # workers, if each may wait for chunks of an earlier version over a network
_HASH_LAG: Final = 8  # windows that the hashing of a whole file may lag behind
_References = Sequence[DeltaBase | None] | None  # per chunk of a window; None if no chunk has a reference
_Window = tuple[memoryview, list[int], _References]
_Item: TypeAlias = "Future[list[_Result]] | list[_Result]"  # of a batch or a window: results, perhaps to come
_Work = tuple[Source, bytes | None]  # a file, and its digest if it need not be read


class _Result(NamedTuple):
    """The result for a file, or for a window of a large one.

    Attributes:
        pieces: its chunks; None if the whole file is stored already: its records are copied.
        source: the file that ends here, or None; `digest` is its digest.
        read: whether that file was read, or only its digest looked up.
    """

    pieces: list[EncodedChunk] | None
    source: Source | None = None
    digest: bytes = b""
    read: bool = True


@contextmanager
def ingest(
    backend: Backend,
    folder: Folder,
    *,
    algorithm: str,
    chunkers: Mapping[str, tuple[int, int, int]],
    known: KnownChunks,
    digests: Sequence[bytes | None] = (),
    series: Sequence[Manifest] = (),
    sha256: bool = False,
    ledger: UploadLedger | None = None,
    footers: Footers | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Ingested]:
    """Store the content that `known` lacks.

    Inside the block the manifest is complete, while the last packs may still be in flight; when the block ends, every pack that
    the manifest refers to is durable.

    Args:
        backend: target of the packs.
        folder: the files to store.
        algorithm: the store's digest algorithm.
        chunkers: the store's chunker parameters.
        known: chunks that need not be stored.
        digests: per file its digest from the stat cache, else None.
        series: manifests of earlier versions, the likeliest first; chunks are stored as deltas to theirs where that pays.
        sha256: also compute each file's SHA-256; every file is then read.
        ledger: records each durable pack.
        footers: caches the footers of the packs written.
        progress: called with the number of content bytes just completed.

    Raises:
        ConflictError: a file changed while it was read.
        FalseChunksError: a manifest in `known` is false.
        InvalidInputError: a file cannot be read.
        BackendError: a pack could not be written.
    """
    packer = Packer(backend, Manifest(algorithm), known, ledger=ledger, footers=footers, left=folder.size)
    known_digests = [None] * len(folder.files) if sha256 or not digests else digests
    run = Ingest(
        packer,
        algorithm=algorithm,
        chunkers=chunkers,
        known=known,
        series=DeltaBases(backend, series, single=len(folder.files) == 1) if series else None,
        sha256=sha256,
        local=not backend.is_remote,
        progress=progress,
    )
    try:
        if len(folder.files) <= _FEW_FILES and folder.size <= _FEW_BYTES:
            run.collect(run.feed(None, folder, known_digests))  # threads would cost more than they save
        else:
            run.workers = _REMOTE_WORKERS if backend.is_remote and series else WORKERS
            with Pool(run.workers, "artifactstore-ingest") as workers:
                try:
                    # Close it on the way out: its read-ahead and hashing are threads, which the end of a program waits for.
                    with closing(run.feed(workers, folder, known_digests)) as work:
                        run.collect(work)
                except BaseException:
                    run.stop()
                    workers.shutdown(wait=False, cancel_futures=True)
                    raise
        made = run.finish(folder)
        try:
            with until(packer.failed):
                yield made
        except BackendError:
            if packer.failed.is_set():
                packer.wait()  # the failure of a pack, if there is one, comes first
            raise
        packer.wait()
        made.uploaded = packer.uploaded
    finally:
        packer.close()


class Ingest:
    """The state of an ingest; only the coordinating thread changes it."""

    def __init__(
        self,
        packer: Packer,
        *,
        algorithm: str,
        chunkers: Mapping[str, tuple[int, int, int]],
        known: KnownChunks,
        series: DeltaBases | None,
        sha256: bool,
        local: bool,
        progress: Callable[[int], None],
    ) -> None:
        self.workers = WORKERS
        self._local = local
        self._small = SmallFiles()
        self._encoders = Encoders(local=local)
        self._blocks = BufferPool()
        self._sha256: dict[str, bytes] | None = {} if sha256 else None
        self._series = series
        self._lines: dict[str, DeltaLine] = {}  # by path: files stored as deltas
        self._algorithm = algorithm
        self._chunkers = chunkers
        self._least = min(average for _, average, _ in chunkers.values())
        self._known = known
        self._progress = progress
        self._packer = packer
        self._read = bytearray()
        self._held = Held()
        self._stopped = False

    def store_window(self, window: memoryview, ends: Sequence[int]) -> list[_Result]:
        """Store the chunks of a window; runs in a worker thread."""
        return self._do_window(window, ends, None)

    def stop(self) -> None:
        """Let the worker threads finish soon."""
        self._stopped = True

    # -- feeding: the coordinating thread creates work, in the order of the files

    def feed(self, workers: Pool | None, folder: Folder, digests: Sequence[bytes | None]) -> Generator[_Item, None, None]:
        """Yield the work on the files, in their order."""
        batch: list[_Work] = []
        unread, size = 0, 0
        for source, digest in zip(folder.files, digests, strict=True):
            known = digest if digest is not None and self._known.find(digest) is not None else None
            large = known is None and source.size > WINDOW
            if batch and (large or unread >= BATCH_FILES or size + source.size > WINDOW or len(batch) >= _BATCH_KNOWN):
                yield self._send(workers, batch, unread, size)
                batch, unread, size = [], 0, 0
            if large:
                assert workers is not None  # large files are never processed inline
                yield from self._large(workers, source)
                continue
            batch.append((source, known))
            if known is None:
                unread, size = unread + 1, size + source.size
        if batch:
            yield self._send(workers, batch, unread, size)

    def _send(self, workers: Pool | None, batch: list[_Work], unread: int, size: int) -> _Item:
        """Submit a batch to a worker, unless it has nothing to read, or takes no longer here."""
        if workers is None or not unread:
            return self._do_batch(batch)
        if self._local and all(source.reader is None for source, _ in batch) and self._small.are_quick(unread, size):
            return self._small.measure(unread, partial(self._do_batch, batch))
        return workers.submit(self._do_batch, batch)

    def _large(self, workers: Pool, source: Source) -> Iterator[_Item]:
        behind, hashers = deque[Future[object]](), [new_hasher(self._algorithm, parallel=is_sparse(source))]
        if self._sha256 is not None:
            hashers.append(new_hasher("sha256"))

        def update(pieces: Iterable[memoryview]) -> None:
            for data in pieces:
                for hasher in hashers:
                    hasher.update(data)

        # One thread: updates keep their order, while the coordinator continues to read and cut.
        with Pool(1, "artifactstore-hash") as hashing:
            for one in self._windows(source):
                behind.append(hashing.submit(update, one.pieces() if isinstance(one, Zeros) else (one[0][: one[1][-1]],)))
                if len(behind) > _HASH_LAG:
                    behind.popleft().result()
                yield self._zeros(one) if isinstance(one, Zeros) else workers.submit(self._do_window, *one)
            for future in behind:
                future.result()
        if self._sha256 is not None:
            self._sha256[source.path] = hashers[1].digest()
        yield [_Result([], source, hashers[0].digest())]

    def _windows(self, source: Source) -> Iterator[_Window | Zeros]:
        if source.data is not None:
            yield from self._cut_memory(source, memoryview(source.data).cast("B"))
            return
        with open_source(source, self._held) as (read_at, stream):
            cutter, refer = self._cutter(source, read_at(0, min(HEAD, source.size)), read_at)
            size = max(WINDOW if source.base is None or not source.reader else _REMOTE_WINDOW, 2 * cutter.maximum)
            for one in cut_blocks(stream, source, cutter, size, self._blocks):
                yield one if isinstance(one, Zeros) else (one[1], one[2], refer(one[0], one[2]))

    def _zeros(self, zeros: Zeros) -> list[_Result]:
        (piece,) = self._pieces(memoryview(bytes(zeros.size)), [zeros.size], None)
        return [_Result([piece] * zeros.count)]

    def _cut_memory(self, source: Source, view: memoryview) -> Iterator[_Window]:
        cutter, refer = self._cutter(source, view[:HEAD], lambda at, size: bytes(view[at : at + size]))
        offset = 0
        while offset < len(view):
            window = view[offset : offset + max(WINDOW, 2 * cutter.maximum)]
            ends = cutter.cut(window, offset, last=offset + len(window) == len(view))
            yield window, ends, refer(offset, ends)
            offset += ends[-1]

    def _cutter(
        self, source: Source, head: bytes | memoryview, read_at: ReadAt
    ) -> tuple[Cutter, Callable[[int, Sequence[int]], _References]]:
        """Return the cutter for a file, and the function that returns the delta references for the chunks of a window."""
        rule, bounds = choose_rule(head, source.size, read_at)
        line = self._series.line(source.path, source.size, read_at) if self._series is not None else None
        if line is None:
            return Cutter(self._chunkers[rule], bounds), lambda _start, _ends: None
        self._lines[source.path] = line

        def refer(start: int, ends: Sequence[int]) -> _References:
            return [line.refer(start + low, start + high) for low, high in pairwise([0, *ends])]

        return Cutter(self._chunkers[rule], bounds, line.cuts), refer

    # -- working: these run in worker threads

    def _do_batch(self, batch: Sequence[_Work]) -> list[_Result]:
        done = []
        for source, known in batch:
            if self._stopped:
                break
            if known is not None:
                done.append(_Result(None, source, known, read=False))
                continue
            data = source.data if source.data is not None else read_unchanged(source, self._held)
            digest = hash_bytes(data, self._algorithm)
            if self._sha256 is not None:
                self._sha256[source.path] = hashlib.sha256(data).digest()
            done.append(_Result(self._cut(source, data, digest), source, digest))
        return done

    def _cut(self, source: Source, data: bytes | memoryview, digest: bytes) -> list[EncodedChunk] | None:
        """The pieces of a file that is entirely in memory; a file not longer than an average chunk is one piece."""
        if not len(data):
            return []
        if self._known.find(digest) is not None:
            return None
        if len(data) > self._least:
            view = memoryview(data).cast("B")
            cutter, refer = self._cutter(source, view[:HEAD], lambda at, size: bytes(view[at : at + size]))
            continued = source.path in self._lines
            if continued or len(view) > cutter.average:
                ends = cutter.cut(view, 0, last=True)
                if continued or len(ends) > 1:
                    return self._pieces(view, ends, refer(0, ends))
        self._known.follow((digest,))
        return [self._piece(digest, data)]

    def _do_window(self, window: memoryview, ends: Sequence[int], references: _References) -> list[_Result]:
        return [_Result(self._pieces(window, ends, references))]

    def _pieces(self, view: memoryview, ends: Sequence[int], references: _References) -> list[EncodedChunk]:
        chunks = [view[start:end] for start, end in pairwise([0, *ends])]
        digests = [hash_bytes(chunk, self._algorithm) for chunk in chunks]
        self._known.follow(digests)
        deltas = self._deltas(digests, chunks, references) if references is not None else {}
        pieces = [deltas.get(digest) or self._piece(digest, chunk) for digest, chunk in zip(digests, chunks, strict=True)]
        if sum(len(piece.stored) for piece in pieces if piece.codec == RAW and piece.stored is not None) < len(view) // 2:
            # A raw piece is a view into the window and would keep all of it in memory until its pack is written.
            return [p if p.stored is None or p.codec != RAW else p._replace(stored=bytes(p.stored)) for p in pieces]
        return pieces

    def _deltas(
        self, digests: Sequence[bytes], chunks: Sequence[memoryview], references: Sequence[DeltaBase | None]
    ) -> dict[bytes, EncodedChunk]:
        """Store new chunks as deltas, where these take less than their bases."""
        assert self._series is not None  # references need a series
        wanted = [
            (digest, chunk, reference)
            for digest, chunk, reference in zip(digests, chunks, references, strict=True)
            if reference is not None and not self._is_stored(digest)
        ]
        return self._series.pieces(wanted, self._encoders.mine())

    def _is_stored(self, digest: bytes) -> bool:
        return self._stopped or self._known.chunk(digest) is not None or self._packer.has(digest)

    def _piece(self, digest: bytes, data: bytes | memoryview) -> EncodedChunk:
        if self._is_stored(digest):
            return EncodedChunk(digest, len(data))
        codec, stored = self._encoders.mine().encode(data)
        return EncodedChunk(digest, len(data), codec, stored, None, check_frame(stored))

    # -- collecting: the coordinating thread again, in the order of the files

    def collect(self, work: Iterator[_Item]) -> None:
        """Take the results, in the order of the files."""
        waiting: deque[_Item] = deque()
        running = 0
        for item in work:
            waiting.append(item)
            running += isinstance(item, Future)
            while waiting and (
                max(4 * running, len(waiting)) > 8 * self.workers or isinstance(waiting[0], list) or waiting[0].done()
            ):
                first = waiting.popleft()
                running -= isinstance(first, Future)
                self._take(first)
        while waiting:
            self._take(waiting.popleft())

    def _take(self, item: _Item) -> None:
        packer, size, chunks = self._packer, 0, self._packer.manifest.chunks.sizes
        rows: list[tuple[str, int, bytes, bool, int]] = []
        for done in item if isinstance(item, list) else item.result():
            if done.pieces is None:
                found = self._known.find(done.digest)
                assert found is not None  # it existed when the pieces were omitted, and nothing is ever removed
                packer.copy(*found)
                size += done.source.size if done.source is not None else 0
            else:
                for piece in done.pieces:
                    packer.add_chunk(piece)
                    size += piece.size
            if (source := done.source) is not None:
                self._read.append(done.read)
                rows.append((source.path, source.size, done.digest, source.executable, len(chunks)))
        if rows:
            packer.manifest.close_files(rows)
        self._progress(size)

    def finish(self, folder: Folder) -> Ingested:
        """Return the complete manifest; its last packs may still be in flight."""
        packer, manifest = self._packer, self._packer.manifest
        packer.finish()
        manifest.folders, manifest.links = list(folder.folders), list(folder.links)
        if isinstance(folder.files, Scanned):
            folder.files.share(manifest)
        manifest.deltas.update({path: line.count(manifest, path) for path, line in self._lines.items()})
        manifest.all_proven = True  # each chunk was cut from its file, or copied from a proven record
        made = Ingested(manifest, folder.files, self._read, self._held.paths, packer.new)
        made.packs, made.sha256 = packer.packs, self._sha256 or {}
        return made
