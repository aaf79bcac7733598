"""Pack writer: adds chunk records to a manifest and new chunks to packs; full packs are written concurrently."""

import threading
from array import array
from collections import deque
from concurrent.futures import Future
from itertools import pairwise
from typing import Final, NamedTuple

from artifactstore.backend.base import Backend
from artifactstore.backend.buffers import joined
from artifactstore.content.manifests.compact_lists import SIZE, Digests
from artifactstore.content.manifests.manifest import INLINE, Extent, Manifest
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.known_chunks import FalseChunksError, KnownChunks
from artifactstore.content.packs.pack import MAX_FRAMES, TARGET, OpenPack, pack_key
from artifactstore.content.packs.reader import fetch
from artifactstore.content.packs.upload_ledger import UploadLedger
from artifactstore.errors import CorruptionError, NotFoundError
from artifactstore.runtime.threads import Pool

__all__ = ["EncodedChunk", "Packer"]

INLINE_LIMIT: Final = 32 * 1024  # max stored bytes of content kept inline in the manifest instead of a pack
_OPEN: Final = -2  # the pack number of records whose bytes are still pending
_LAST_PACKS: Final = 8  # over a network packs get smaller towards the end, so that this many connections share the rest
_MIN_PACK: Final = 12 * 2**20  # bytes: min size of such packs
_DICT_MAX: Final = 250_000  # digests in a dict: about 40 MB
_MAX_UPLOADS: Final = 12  # max packs in flight, so that about eight connections are always busy: 384 MiB


class EncodedChunk(NamedTuple):  # cheap to create: there may be millions
    """A chunk as a worker returns it.

    Attributes:
        digest: the chunk's raw digest.
        size: its length in bytes.
        codec: encoding of `stored`.
        stored: its bytes to store in a pack, or None if the store has them already.
        base: extent of a delta's base.
        checksum: checksum of `stored`, if a worker has computed it already: the single packing thread is busy enough.
    """

    digest: bytes
    size: int
    codec: int = 0
    stored: bytes | memoryview | None = None
    base: Extent | None = None
    checksum: int | None = None


class _DigestIndex:
    """Maps digests to their index; one thread adds, any may look up.

    The first ones are in a dict, which is fast; more of them, without an object each, in a hash table of indices keyed by the
    first bytes of the digest, with linear probing.

    Args:
        digests: the digests that the indices refer to.
    """

    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        self._first: dict[bytes, int] = {}
        self._table = array("i", [-1]) * 1024
        self._left = 512  # free slots before the table grows

    def find(self, digest: bytes) -> int:
        """Return the index of a digest, or -1."""
        at = self._first.get(digest, -1)
        if at >= 0 or len(self._first) < _DICT_MAX:
            return at
        table, data = self._table, self._digests.data
        mask = len(table) - 1
        slot = int.from_bytes(digest[:8], "little") & mask
        while (at := table[slot]) >= 0:
            if data[at * SIZE : at * SIZE + SIZE] == digest:
                break
            slot = (slot + 1) & mask
        return at

    def find_or_add(self, digest: bytes, number: int) -> int:
        """Return the index of a digest; if it has none, assign `number`, at which it is about to be appended."""
        if len(self._first) < _DICT_MAX:
            return self._first.setdefault(digest, number)
        at = self.find(digest)
        if at >= 0:
            return at
        if not self._left:
            self._grow()
        self._left -= 1
        _insert(self._table, digest, number)
        return number

    def _grow(self) -> None:
        table = array("i", [-1]) * (4 * len(self._table))
        data = self._digests.data
        for at in self._table:
            if at >= 0:
                _insert(table, data[at * SIZE : at * SIZE + SIZE], at)
        self._left += (len(table) - len(self._table)) // 2
        self._table = table


def _insert(table: "array[int]", digest: bytes | bytearray, number: int) -> None:
    mask = len(table) - 1
    slot = int.from_bytes(digest[:8], "little") & mask
    while table[slot] >= 0:
        slot = (slot + 1) & mask
    table[slot] = number


class Packer:
    """Fills a manifest's chunk records and packs; used by one thread, except `has`, which is thread-safe."""

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        known: KnownChunks,
        *,
        ledger: UploadLedger | None = None,
        footers: Footers | None = None,
        left: int = 0,
    ) -> None:
        """Start a manifest.

        Args:
            backend: target of the packs.
            manifest: the manifest to fill.
            known: chunks that need not be stored.
            ledger: records each durable pack.
            footers: caches the footers of the packs written.
            left: bytes of content still to come, as far as known.
        """
        self.manifest = manifest
        self.new = 0  # bytes of content that were not in the store
        self.uploaded = 0  # bytes of packs written
        self.packs: set[str] = set()  # their ids
        self.failed = threading.Event()  # one of them could not be written
        self._backend = backend
        self._known = known
        self._ledger = ledger
        self._footers = footers
        self._left = left
        self._own = _DigestIndex(manifest.chunks.digests)  # chunk digest → its first record
        self._numbers: dict[str, int] = {}  # pack id → its index in the manifest
        self._mapped: dict[int, list[int | None]] = {}  # another manifest → its packs' indices here
        self._pending: list[EncodedChunk] = []  # content of the next pack
        self._pending_size = 0
        self._known_at_open = len(known)
        self._open_records: list[int] = []  # records whose bytes are pending: their offset is the piece's index for now
        self._uploaders: Pool | None = None
        self._uploads: deque[Future[int]] = deque()

    def has(self, digest: bytes) -> bool:
        """Return whether a chunk has a record already."""
        return self._own.find(digest) >= 0

    def add_chunk(self, piece: EncodedChunk) -> None:
        """Append a chunk record; its bytes are queued for the next pack unless they are stored already."""
        chunks, digest = self.manifest.chunks, piece.digest
        number = len(chunks)
        self._left -= piece.size
        at = self._own.find_or_add(digest, number)
        if at < number:
            pack, offset, stored, codec = chunks.packs[at], chunks.offsets[at], chunks.stored[at], chunks.codecs[at]
            base = chunks.bases.get(at)
        else:
            pack, offset, stored, codec, base = self._put(piece)
        self._refer(number, base)
        if pack == _OPEN:
            self._open_records.append(number)
        chunks.add(digest, piece.size, pack, offset, stored, codec)

    def copy(self, manifest: Manifest, low: int, high: int) -> None:
        """Append the records of chunks `low` … `high - 1` of a manifest whose packs are durable."""
        theirs, ours = manifest.chunks, self.manifest.chunks
        numbers = self._mapped.get(id(manifest))
        if numbers is None:
            numbers = self._mapped[id(manifest)] = [None] * len(manifest.packs)
        for i in range(low, high):
            pack = theirs.packs[i]
            if pack < 0:
                self._check(manifest.extent(i), manifest)
                self.add_chunk(
                    EncodedChunk(theirs.digests[i], theirs.sizes[i], theirs.codecs[i], theirs.inline[i], theirs.bases.get(i))
                )
                continue
            self._left -= theirs.sizes[i]
            number = numbers[pack]
            if number is None:
                number = numbers[pack] = self._number(manifest.packs[pack])
            if theirs.bases:
                self._refer(len(ours), theirs.bases.get(i))
            ours.add(theirs.digests[i], theirs.sizes[i], number, theirs.offsets[i], theirs.stored[i], theirs.codecs[i])

    def copy_run(self, manifest: Manifest, low: int, high: int) -> None:
        """Append the records of many chunks as `copy` does, column by column; those that ride inline one by one."""
        theirs, ours = manifest.chunks, self.manifest.chunks
        packs = theirs.packs[low:high]
        if packs and min(packs) < 0:
            inline = [low + i for i, pack in enumerate(packs) if pack < 0]
            for begin, end in pairwise([low - 1, *inline, high]):
                if begin + 1 < end:
                    self.copy_run(manifest, begin + 1, end)
                if end < high:
                    self.copy(manifest, end, end + 1)
            return
        numbers = {pack: self._number(manifest.packs[pack]) for pack in dict.fromkeys(packs)}
        if theirs.bases:
            for i in range(low, high):
                self._refer(len(ours) + i - low, theirs.bases.get(i))
        ours.digests.data += theirs.digests.data[low * SIZE : high * SIZE]
        ours.sizes += theirs.sizes[low:high]
        ours.packs += array("i", map(numbers.__getitem__, packs))
        ours.offsets += theirs.offsets[low:high]
        ours.stored += theirs.stored[low:high]
        ours.codecs += theirs.codecs[low:high]

    def _refer(self, number: int, base: Extent | None) -> None:
        """Make a chunk record a delta to `base`, whose pack must live as long as the chunk."""
        if base is not None:
            self._number(str(base.pack))
            self.manifest.chunks.bases[number] = base

    def _put(self, piece: EncodedChunk) -> tuple[int, int, int, int, Extent | None]:
        if piece.stored is None:
            extent = self._known.chunk(piece.digest)
            assert extent is not None  # a worker omits the bytes only if an index has the digest
            if extent.pack is not None:
                return self._number(extent.pack), extent.offset, extent.stored, extent.codec, extent.base
            self._check(extent, self._known.source(piece.digest))
            piece = EncodedChunk(piece.digest, piece.size, extent.codec, extent.data or b"", extent.base)
        length = len(piece.stored or b"")
        target = min(TARGET, max(_MIN_PACK, self._left // _LAST_PACKS)) if self._backend.is_remote else TARGET
        if self._pending and (self._pending_size + length > target or len(self._pending) >= MAX_FRAMES):
            self._flush()
        self._pending.append(piece)
        self._pending_size += length
        return _OPEN, len(self._pending) - 1, length, piece.codec, piece.base

    def _check(self, extent: Extent, manifest: Manifest) -> None:
        """Verify the inline bytes of a chunk from another manifest, since they become part of this one.

        Raises:
            FalseChunksError: they do not match the chunk's digest.
        """
        try:
            fetch(self._backend, [extent], algorithm=self.manifest.algorithm)
        except (CorruptionError, NotFoundError) as error:
            raise FalseChunksError([manifest], str(error)) from error

    def _number(self, pack: str) -> int:
        number = self._numbers.setdefault(pack, len(self.manifest.packs))
        if number == len(self.manifest.packs):
            self.manifest.packs.append(pack)
        return number

    def _flush(self) -> None:
        """Close the current pack.

        Manifests loaded through hooks meanwhile may contain some of its chunks: those are left out.
        """
        pack = OpenPack()
        grown = len(self._known) > self._known_at_open
        homes: list[Extent | int] = []
        for piece in self._pending:
            extent = self._known.chunk(piece.digest) if grown else None
            if extent is not None and extent.pack is not None:
                homes.append(extent)
            else:
                self.new += piece.size
                stored = piece.stored or b""
                homes.append(pack.add(piece.digest, piece.size, piece.codec, stored, piece.base, checksum=piece.checksum))
        number = self._number(pack.id) if len(pack) else INLINE
        chunks = self.manifest.chunks
        for i in self._open_records:
            home = homes[chunks.offsets[i]]
            if isinstance(home, int):
                chunks.packs[i], chunks.offsets[i] = number, home
            else:
                assert home.pack is not None  # checked above
                chunks.packs[i], chunks.offsets[i] = self._number(home.pack), home.offset
                chunks.stored[i], chunks.codecs[i] = home.stored, home.codec
                chunks.bases.pop(i, None)
                self._refer(i, home.base)
        self._pending, self._pending_size, self._open_records, self._known_at_open = [], 0, [], len(self._known)
        if len(pack):
            self._send(pack)

    def _send(self, pack: OpenPack) -> None:
        self.packs.add(pack.id)
        limit = max(2, min(self._backend.concurrency, _MAX_UPLOADS))
        if self._uploaders is None:
            self._uploaders = Pool(limit, "artifactstore-upload")
        while len(self._uploads) >= limit:
            self.uploaded += self._uploads.popleft().result()
        self._uploads.append(self._uploaders.submit(self._upload, pack))
        self._uploads[-1].add_done_callback(self._note_failure)

    def _note_failure(self, upload: Future[int]) -> None:
        if not upload.cancelled() and upload.exception() is not None:
            self.failed.set()

    def _upload(self, pack: OpenPack) -> int:
        buffers = pack.seal()
        size = sum(map(len, buffers))
        tail = bytes(buffers[-2]) + bytes(buffers[-1])  # records and trailer
        if self._backend.is_remote:
            # A network client wants a single buffer; joined here, the frames are freed while it is being sent.
            raw = joined(buffers)
            del buffers
            self._backend.write(pack_key(pack.id), raw)
        else:
            self._backend.write(pack_key(pack.id), buffers)
        if self._footers is not None:
            self._footers.keep(pack.id, tail, size)
        if self._ledger is not None:
            self._ledger.record(pack.id, pack.extents)
        return size

    def finish(self) -> None:
        """Store the remaining chunks, inline in the manifest if small, else in a last pack: the manifest is then complete.

        Raises:
            BackendError: a pack could not be written.
        """
        chunks = self.manifest.chunks
        if self._uploaders is None and sum(chunks.stored[i] for i in self._open_records) <= INLINE_LIMIT:
            for i in self._open_records:
                chunks.inline[i] = bytes(self._pending[chunks.offsets[i]].stored or b"")
                chunks.packs[i], chunks.offsets[i] = INLINE, 0
            self.new += sum(piece.size for piece in self._pending)
        elif self._pending:
            self._flush()

    def wait(self) -> None:
        """Wait for all packs: they are durable when this returns.

        Raises:
            BackendError: a pack could not be written.
        """
        while self._uploads:
            self.uploaded += self._uploads.popleft().result()

    def close(self) -> None:
        """Wait for the writes in flight; start no more."""
        if self._uploaders is not None:
            self._uploaders.shutdown(wait=True, cancel_futures=True)
