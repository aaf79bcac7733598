"""Pack reader: reads the frames of chunks in few long ranges, and decodes them, bounded by their recorded sizes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.codec import RAW, decode
from artifactstore.content.manifests.manifest import Extent
from artifactstore.content.packs.pack import pack_key
from artifactstore.errors import BackendError, CorruptionError, NotFoundError
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.records import dataclass
from artifactstore.runtime.threads import Pool

__all__ = [
    "MissingPackError",
    "PackRead",
    "decode_extents",
    "evict_packs",
    "fetch",
    "plan_ranges",
    "plan_reads",
    "read_into",
    "read_pack",
    "retry_once_on_corruption",
    "stored_frames",
]

T = TypeVar("T")
GAP: Final = 128 * 1024  # bytes worth reading to save a request
LONGEST: Final = 17 * 2**20  # bytes of one range: half a full pack; several are read at a time


class MissingPackError(NotFoundError):
    """A pack is missing: collected since the manifest was read, or lost. Only the journal can tell which."""

    def __init__(self, pack: str) -> None:
        super().__init__(f"the pack {pack_key(pack)} is missing")
        self.pack = pack


def plan_ranges(extents: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge (offset, length) pairs into as few ranges as worthwhile, sorted, none longer than necessary."""
    ranges: list[tuple[int, int]] = []
    for offset, length in sorted(extents):
        if ranges:
            start, size = ranges[-1]
            end = max(start + size, offset + length)
            if offset <= start + size + GAP and (end - start <= LONGEST or offset < start + size):
                ranges[-1] = (start, end - start)
                continue
        ranges.append((offset, length))
    return ranges


@dataclass(frozen=True, slots=True)
class PackRead:
    """The reads from one pack in one call.

    Attributes:
        pack: its id.
        numbers: indices of the planned extents in it.
        ranges: (offset, length) that cover them all.
    """

    pack: str
    numbers: Sequence[int]
    ranges: Sequence[tuple[int, int]]


def _with_bases(extents: Sequence[Extent]) -> Sequence[Extent]:
    """Return extents followed by the bases of the deltas among them."""
    bases = [extent.base for extent in extents if extent.base is not None]
    return [*extents, *bases] if bases else extents


def plan_reads(extents: Sequence[Extent]) -> list[PackRead]:
    """Plan the reads for extents: one call per pack; inline chunks need none.

    The bases of deltas are read in the same round trip; their indices follow those of the extents, in order.
    """
    extents = _with_bases(extents)
    wanted: dict[str, list[int]] = {}
    for i, extent in enumerate(extents):
        if extent.pack is not None:
            wanted.setdefault(extent.pack, []).append(i)
    return [
        PackRead(pack, numbers, plan_ranges((extents[i].offset, extents[i].stored) for i in numbers))
        for pack, numbers in wanted.items()
    ]


def read_pack(backend: Backend, read: PackRead) -> list[bytes]:
    """Read the ranges of one pack.

    Raises:
        MissingPackError: the pack is missing.
        CorruptionError: it is too short.
        BackendError: reading failed.
    """
    with _explain_missing(backend, read.pack, read.ranges):
        return backend.read_ranges(pack_key(read.pack), read.ranges)


def read_into(backend: Backend, extents: Sequence[Extent], room: memoryview) -> None:
    """Read raw chunks from packs straight into their destination, consecutively; nothing is verified.

    Args:
        backend: backend of the packs; meant for local backends.
        extents: extents of chunks, each stored raw.
        room: destination, as large as all of them together.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: a pack is too short.
        BackendError: reading failed.
    """
    at = 0
    for pack, ranges in _runs(extents):
        wanted = []
        for offset, length in ranges:
            wanted.append((offset, room[at : at + length]))
            at += length
        with _explain_missing(backend, pack, ranges):
            backend.read_into(pack_key(pack), wanted)


def _runs(extents: Sequence[Extent]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return (pack, ranges) for the extents' stored bytes in their order; neighbours in a pack are one range."""
    found: list[tuple[str, list[tuple[int, int]]]] = []
    for extent in extents:
        pack = str(extent.pack)
        if not found or found[-1][0] != pack:
            found.append((pack, []))
        ranges = found[-1][1]
        if ranges and sum(ranges[-1]) == extent.offset:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + extent.stored)
        else:
            ranges.append((extent.offset, extent.stored))
    return found


@contextmanager
def _explain_missing(backend: Backend, pack: str, ranges: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Report for an unreadable pack whether it is missing or truncated."""
    key = pack_key(pack)
    try:
        yield
    except NotFoundError as error:
        raise MissingPackError(pack) from error
    except BackendError as error:
        if not error.transient and (truncated := _truncated(backend, key, ranges)) is not None:
            raise truncated from error
        raise


def decode_extents(
    extents: Sequence[Extent],
    reads: Sequence[PackRead],
    parts: Iterable[Sequence[bytes]],
    *,
    algorithm: str | None = None,
) -> list[bytes | memoryview]:
    """Return the decoded chunks of extents, in order.

    Args:
        extents: the planned extents.
        reads: their plan.
        parts: results of `read_pack` for each read.
        algorithm: verify each chunk against its digest with it; None if the caller verifies whole files.

    Raises:
        CorruptionError: a frame is damaged, or a chunk does not match its digest.
    """
    raw = stored_frames(extents, reads, parts)
    bases = iter(raw[len(extents) :])
    chunks: list[bytes | memoryview] = []
    before: Extent | None = None
    for extent, stored in zip(extents, raw, strict=False):
        if extent == before and extent.base is None:
            chunks.append(chunks[-1])  # such as the zeros of a sparse file: the same chunk thousands of times
            continue
        before = extent
        if extent.codec == RAW and len(stored) == extent.size:
            chunks.append(stored)
            continue
        base = None
        if extent.base is not None:
            base = decode(extent.base.codec, next(bases), extent.base.size, _location(extent.base))
            if algorithm is not None and hash_bytes(base, algorithm) != extent.base.digest:
                raise mismatch(extent.base, algorithm)
        chunks.append(decode(extent.codec, stored, extent.size, _location(extent), base))
    if algorithm is not None:
        checked: bytes | memoryview | None = None
        for extent, chunk in zip(extents, chunks, strict=True):
            if chunk is not checked and hash_bytes(chunk, algorithm) != extent.digest:
                raise mismatch(extent, algorithm)
            checked = chunk
    return chunks


def fetch(backend: Backend, extents: Sequence[Extent], *, algorithm: str | None = None) -> list[bytes | memoryview]:
    """Read and decode the chunks of extents, in order; concurrently from several packs if that saves round trips.

    Data that does not decode or match its digest is read a second time before it is reported as damaged.

    Args:
        backend: backend of the packs.
        extents: extents to fetch; duplicates are allowed.
        algorithm: verify each chunk against its digest with it; None if the caller verifies whole files.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: a pack is too short, a frame is damaged, or a chunk does not match its digest.
        BackendError: reading failed.
    """
    reads = plan_reads(extents)
    return retry_once_on_corruption(
        backend, extents, lambda: decode_extents(extents, reads, _read_packs(backend, reads), algorithm=algorithm)
    )


def retry_once_on_corruption(backend: Backend, extents: Sequence[Extent], read: Callable[[], T]) -> T:
    """Read and check extents of packs, a second time if they seem damaged.

    They may have been damaged in transit; damage in the store shows the second time, too.
    """
    try:
        return read()
    except CorruptionError:
        if all(extent.pack is None for extent in _with_bases(extents)):
            raise
    evict_packs(backend, extents)
    return read()


def evict_packs(backend: Backend, extents: Sequence[Extent]) -> None:
    """Evict packs from the cache, so that damaged data is read again from the store itself."""
    from artifactstore.backend.wrappers.caching import evict  # noqa: PLC0415 - only needed after damage

    for pack in {extent.pack for extent in _with_bases(extents) if extent.pack is not None}:
        evict(backend, pack_key(pack))


def _read_packs(backend: Backend, reads: Sequence[PackRead]) -> list[list[bytes]]:
    if len(reads) < 2 or not backend.is_remote:
        return [read_pack(backend, read) for read in reads]
    with Pool(min(len(reads), backend.concurrency), "artifactstore-fetch") as pool:
        return list(pool.map(lambda read: read_pack(backend, read), reads))


def _location(extent: Extent) -> str:
    return f"{pack_key(extent.pack)} at {extent.offset}" if extent.pack else "the manifest"


def mismatch(extent: Extent, algorithm: str) -> CorruptionError:
    """Make the error for a chunk whose bytes do not match its digest."""
    where = _location(extent)
    return CorruptionError(
        f"{where}: {extent.stored} stored bytes do not decode to the chunk {algorithm}:{extent.digest.hex()}: "
        "the store is damaged there; restore that object from a copy of the store",
        digest=f"{algorithm}:{extent.digest.hex()}",
        location=where,
    )


def _frames(read: PackRead, parts: Sequence[bytes], extents: Sequence[Extent]) -> list[memoryview]:
    """Slice the stored bytes of extents from the ranges that were read."""
    found: dict[int, memoryview] = {}
    at = 0
    for offset, length in sorted({(one.offset, one.stored) for one in extents}):
        while offset + length > read.ranges[at][0] + read.ranges[at][1]:
            at += 1
        start = offset - read.ranges[at][0]
        found[offset] = memoryview(parts[at])[start : start + length]
    return [found[one.offset][: one.stored] for one in extents]


def stored_frames(
    extents: Sequence[Extent], reads: Sequence[PackRead], parts: Iterable[Sequence[bytes]]
) -> list[bytes | memoryview]:
    """Return the stored bytes of extents, then of their bases, as stored in their packs; nothing is verified.

    Args:
        extents: the planned extents.
        reads: their plan.
        parts: results of `read_pack` for each read.
    """
    extents = _with_bases(extents)
    found: list[bytes | memoryview] = [extent.data or b"" for extent in extents]
    for read, part in zip(reads, parts, strict=True):
        for i, stored in zip(read.numbers, _frames(read, part, [extents[i] for i in read.numbers]), strict=True):
            found[i] = stored
    return found


def _truncated(backend: Backend, key: str, ranges: Sequence[tuple[int, int]]) -> CorruptionError | None:
    size = backend.size(key)
    end = max(offset + length for offset, length in ranges)
    if size >= end:
        return None
    text = (
        f"{key} is truncated: it has {size} bytes, but its manifest expects at least {end}; restore it from a copy of the store"
    )
    return CorruptionError(text, location=f"{key} at {size}")
