"""Fetching: chunk records become bytes, in few long reads, decoded and never longer than they say."""

from collections.abc import Iterable, Sequence
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.codec import decode
from artifactstore.content.manifest import Extent
from artifactstore.content.pack import pack_key
from artifactstore.errors import BackendError, CorruptionError, NotFoundError
from artifactstore.model.digest import hash_bytes

__all__ = ["MissingPackError", "fetch", "plan_ranges"]

GAP: Final = 128 * 1024  # bytes worth reading to save a request
LONGEST: Final = 16 * 2**20  # bytes of one range: several are read at a time


class MissingPackError(NotFoundError):
    """A pack is not there: cleaned up since the manifest was read, or lost. Who knows the journal decides which."""

    def __init__(self, pack: str) -> None:
        super().__init__(f"the pack {pack_key(pack)} is missing")
        self.pack = pack


def plan_ranges(extents: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join (offset, length) pairs into as few ranges as are worth it, sorted, none longer than it must be."""
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


def fetch(backend: Backend, extents: Sequence[Extent], *, algorithm: str | None = None) -> list[bytes | memoryview]:
    """Return the decoded chunks of extents, in order.

    Args:
        backend: where the packs lie.
        extents: what to fetch; the same bytes may be asked for twice.
        algorithm: verify each chunk against its digest by this; None where the caller verifies whole files.

    Raises:
        MissingPackError: a pack is not there.
        CorruptionError: a pack is too short, a frame is damaged, or a chunk does not match its digest.
        BackendError: reading failed.
    """
    wanted: dict[str, list[int]] = {}
    for i, extent in enumerate(extents):
        if extent.pack is not None:
            wanted.setdefault(extent.pack, []).append(i)
    chunks: list[bytes | memoryview] = [b""] * len(extents)
    for i, extent in enumerate(extents):
        if extent.pack is None:
            chunks[i] = decode(extent.codec, extent.data or b"", extent.size, "the manifest")
    for pack, numbers in wanted.items():
        for i, stored in zip(numbers, _read_pack(backend, pack, [extents[i] for i in numbers]), strict=True):
            where = f"{pack_key(pack)} at {extents[i].offset}"
            chunks[i] = decode(extents[i].codec, stored, extents[i].size, where)
    if algorithm is not None:
        for extent, chunk in zip(extents, chunks, strict=True):
            if hash_bytes(chunk, algorithm) != extent.digest:
                raise mismatch(extent, algorithm)
    return chunks


def mismatch(extent: Extent, algorithm: str) -> CorruptionError:
    """Make the error for a chunk whose bytes are not what they should be."""
    where = f"{pack_key(extent.pack)} at {extent.offset}" if extent.pack else "the manifest"
    return CorruptionError(
        f"{where}: {extent.stored} stored bytes do not give the chunk {algorithm}:{extent.digest.hex()}: "
        "the store is damaged there; restore that object from a copy of the store",
        digest=f"{algorithm}:{extent.digest.hex()}",
        location=where,
    )


def _read_pack(backend: Backend, pack: str, extents: Sequence[Extent]) -> list[memoryview]:
    key = pack_key(pack)
    ranges = plan_ranges((one.offset, one.stored) for one in extents)
    try:
        parts = backend.read_ranges(key, ranges)
    except NotFoundError as error:
        raise MissingPackError(pack) from error
    except BackendError as error:
        if not error.transient and (truncated := _truncated(backend, key, ranges)) is not None:
            raise truncated from error
        raise
    found: dict[int, memoryview] = {}
    at = 0
    for offset, length in sorted({(one.offset, one.stored) for one in extents}):
        while offset + length > ranges[at][0] + ranges[at][1]:
            at += 1
        start = offset - ranges[at][0]
        found[offset] = memoryview(parts[at])[start : start + length]
    return [found[one.offset][: one.stored] for one in extents]


def _truncated(backend: Backend, key: str, ranges: Sequence[tuple[int, int]]) -> CorruptionError | None:
    size = backend.size(key)
    end = max(offset + length for offset, length in ranges)
    if size >= end:
        return None
    text = (
        f"{key} is truncated: it has {size} bytes, and its manifest expects at least {end}; restore it from a copy of the store"
    )
    return CorruptionError(text, location=f"{key} at {size}")
