"""Transfer: copies an artifact's chunks from one store's packs to another's in stored form, decoded only for verification.

Nothing is chunked or compressed again. Ranges of packs are read ahead, frames verified by workers, and packed by the
collecting thread, in the order of the files. Content that the target has already is neither read nor written.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.codec import RAW, ZSTD, Encoder
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.reader import decode_extents, plan_reads, read_pack, retry_once_on_corruption, stored_frames
from artifactstore.content.packs.upload_ledger import UploadLedger
from artifactstore.content.packs.writer import EncodedChunk, Packer
from artifactstore.content.side_content import read_side, store_side
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Hasher, hash_bytes, new_hasher
from artifactstore.runtime.threads import Pool

__all__ = ["Transferred", "amount_to_move", "transfer"]

_GROUP_BYTES: Final = 17 * 2**20  # stored bytes read at a time: half a full pack
_AHEAD: Final = 8  # groups read ahead over a network: about 140 MB
_GROUP_CHUNKS: Final = 4_096  # max chunks of a group


@dataclass(slots=True)
class Transferred:
    """The result of a transfer.

    Attributes:
        manifest: the complete manifest, with all packs durable.
        new: bytes of content that the target did not have.
        uploaded: bytes of packs written.
        packs: ids of the packs written.
    """

    manifest: Manifest
    new: int = 0
    uploaded: int = 0
    packs: Collection[str] = ()


@dataclass(slots=True)
class _TransferGroup:
    """Neighbouring chunks, and the ends of files among them.

    Attributes:
        chunks: indices of chunks in the source's manifest, or (manifest, low, high) if the target has a whole file.
        fetched: those of the chunks that have to be read.
        size: their stored bytes.
    """

    chunks: "list[int | tuple[Manifest, int, int] | _FileEnd]" = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True, slots=True)
class _FileEnd:
    """The end of a file.

    Attributes:
        row: its row in the source's manifest.
    """

    row: int


_Frames = dict[int, tuple[bytes | memoryview, bytes | memoryview]]  # index of the chunk → (stored, decoded)


def transfer(
    source: Backend,
    manifest: Manifest,
    target: Backend,
    known: KnownChunks,
    *,
    ledger: UploadLedger | None = None,
    footers: Footers | None = None,
    progress: Callable[[int], None] = lambda _: None,
    recode: bool = False,
) -> Transferred:
    """Copy an artifact's content to another backend; when it returns, every pack of the new manifest is durable.

    Args:
        source: backend of its packs.
        manifest: its manifest there.
        target: backend to copy to.
        known: chunks that the target has.
        ledger: records each durable pack.
        footers: footers of the target; caches those of the packs written.
        progress: called with the number of content bytes just completed.
        recode: encode chunks again, and keep what is smaller.

    Raises:
        MissingPackError: a pack is missing.
        FalseChunksError: a manifest in `known` is false.
        CorruptionError: a frame does not decode to its chunk, or the chunks do not form their file.
        FormatError: the codec is unknown to this version.
        BackendError: a backend failed.
    """
    left = sum(manifest.sizes)
    packer = Packer(target, Manifest(manifest.algorithm), known, ledger=ledger, footers=footers, left=left)
    run = _Transfer(source, manifest, packer, known, progress, recode=recode)
    far = source.is_remote
    waiting: deque[tuple[_TransferGroup, Future[_Frames]]] = deque()
    try:
        if left <= _GROUP_BYTES and not far:
            for group in run.groups():
                run.collect(group, run.fetch(group))  # threads would cost more than they save
        else:
            with Pool(_AHEAD if far else 2, "artifactstore-transfer") as pool:
                try:
                    for group in run.groups():
                        waiting.append((group, pool.submit(run.fetch, group)))
                        while len(waiting) > (_AHEAD if far else 2):
                            first, future = waiting.popleft()
                            run.collect(first, future.result())
                    while waiting:
                        first, future = waiting.popleft()
                        run.collect(first, future.result())
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        packer.finish()
        packer.wait()
    finally:
        packer.close()
    made = packer.manifest
    before = set(made.packs)
    beside = store_side(target, made, ((name, read_side(source, manifest, name) or b"") for name in manifest.side))
    made.all_proven = all(map(made.is_proven, range(len(made.paths))))
    made.folders, made.links = list(manifest.folders), list(manifest.links)
    made.modes, made.format, made.deltas = manifest.modes, manifest.format, manifest.deltas
    return Transferred(made, packer.new, packer.uploaded + beside, packer.packs | (set(made.packs) - before))


def amount_to_move(manifest: Manifest, known: KnownChunks) -> int:
    """Return how many stored bytes a transfer would read."""
    chunks, seen, total = manifest.chunks, set[bytes](), 0
    for i, (digest, stored) in enumerate(zip(chunks.digests, chunks.stored, strict=True)):
        if digest not in seen and known.chunk(digest) is None:
            seen.add(digest)
            total += stored + (chunks.bases[i].stored if i in chunks.bases else 0)
    return total


class _Transfer:
    """A transfer: the state shared by its threads."""

    def __init__(
        self,
        source: Backend,
        manifest: Manifest,
        packer: Packer,
        known: KnownChunks,
        progress: Callable[[int], None],
        *,
        recode: bool,
    ) -> None:
        self._source = source
        self._manifest = manifest
        self._packer = packer
        self._known = known
        self._progress = progress
        self._asked: set[bytes] = set()
        self._encoder = Encoder(local=recode and not source.is_remote)
        self._recode = recode
        self._copied = False  # whether the current file's chunks are those of a proven file
        self._hasher: Hasher | None = None  # over the current file, as long as all of it was read

    def groups(self) -> Iterator[_TransferGroup]:
        """Split the work into groups, in the order of the files."""
        manifest, group = self._manifest, _TransferGroup()
        chunks = manifest.chunks
        for row, digest in enumerate(manifest.digests):
            low, high = manifest.first[row], manifest.first[row + 1]
            found = self._known.find(digest) if high > low else None
            if found is not None:
                group.chunks.append(found)
            else:
                for start in range(low, high, _GROUP_CHUNKS):
                    self._known.follow(chunks.digests[start : min(high, start + _GROUP_CHUNKS)])
                    for i in range(start, min(high, start + _GROUP_CHUNKS)):
                        if group.size > _GROUP_BYTES or len(group.chunks) > _GROUP_CHUNKS:
                            yield group
                            group = _TransferGroup()
                        self._add(group, i)
            group.chunks.append(_FileEnd(row))
            if len(group.chunks) > _GROUP_CHUNKS:
                yield group
                group = _TransferGroup()
        if group.chunks:
            yield group

    def _add(self, group: _TransferGroup, i: int) -> None:
        chunks = self._manifest.chunks
        digest = chunks.digests[i]
        group.chunks.append(i)
        if digest not in self._asked and self._known.chunk(digest) is None:
            self._asked.add(digest)
            group.fetched.append(i)
            group.size += chunks.stored[i]

    def fetch(self, group: _TransferGroup) -> _Frames:
        """Read and verify a group's data. Runs in a worker."""
        extents = [self._manifest.extent(i) for i in group.fetched]
        return retry_once_on_corruption(self._source, extents, lambda: self._read(group, extents))

    def _read(self, group: _TransferGroup, extents: Sequence[Extent]) -> _Frames:
        reads = plan_reads(extents)
        parts = [read_pack(self._source, read) for read in reads]
        chunks = decode_extents(extents, reads, parts, algorithm=self._manifest.algorithm)
        frames = stored_frames(extents, reads, parts)
        return dict(zip(group.fetched, zip(frames, chunks, strict=False), strict=True))

    def collect(self, group: _TransferGroup, frames: _Frames) -> None:
        """Record a group's chunks. Runs in the calling thread, in order."""
        manifest, packer = self._manifest, self._packer
        chunks, size = manifest.chunks, 0
        for item in group.chunks:
            if isinstance(item, _FileEnd):
                self._end(item.row)
                size += manifest.sizes[item.row]
            elif isinstance(item, tuple):
                packer.copy(*item)
                self._hasher, self._copied = None, True
            else:
                self._place(item, chunks.digests[item], frames.get(item))
        self._progress(size)

    def _place(self, i: int, digest: bytes, frame: tuple[bytes | memoryview, bytes | memoryview] | None) -> None:
        chunks, row = self._manifest.chunks, len(self._packer.manifest.paths)
        if i == self._manifest.first[row]:
            self._hasher = new_hasher(self._manifest.algorithm)
        if frame is None:
            self._hasher = None  # existing content was verified when it was written
            self._packer.add_chunk(EncodedChunk(digest, chunks.sizes[i]))
            return
        if self._hasher is not None:
            self._hasher.update(frame[1])
        codec, stored, base = chunks.codecs[i], frame[0], chunks.bases.get(i)
        if base is not None:
            # A delta's base is elsewhere in the target; without it the chunk is stored decoded.
            base = self._known.chunk(base.digest)
            if base is None or base.pack is None or base.base is not None:
                base = None
                codec, stored = self._encoder.encode(frame[1])
        elif self._recode and codec in {RAW, ZSTD}:
            again = self._encoder.encode(frame[1])
            codec, stored = again if len(again[1]) < len(stored) else (codec, stored)
        # A view would keep a whole range in memory until its pack is written.
        self._packer.add_chunk(EncodedChunk(digest, chunks.sizes[i], codec, bytes(stored), base))

    def _end(self, row: int) -> None:
        manifest = self._manifest
        empty = manifest.first[row] == manifest.first[row + 1]
        found = hash_bytes(b"", manifest.algorithm) if empty else None if self._hasher is None else self._hasher.digest()
        if found is not None and found != manifest.digests[row]:
            raise CorruptionError(
                f"the chunks of {manifest.paths[row]!r} do not match its digest {manifest.algorithm}:{manifest.digests[row].hex()}: "
                "the source is damaged there; restore it from a copy",
                digest=f"{manifest.algorithm}:{manifest.digests[row].hex()}",
                location=manifest.paths[row],
            )
        self._hasher = None
        if found is not None or self._copied:
            self._packer.manifest.proven.add(row)
        self._copied = False
        self._packer.manifest.close_file(
            manifest.paths[row], manifest.sizes[row], manifest.digests[row], executable=bool(manifest.executable[row])
        )
