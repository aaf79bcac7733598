"""Manifest checks shared by readers and writers: no manifest may be written that this version would reject."""

import re
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from artifactstore.content.codecs.codec import is_delta
from artifactstore.content.manifests.manifest import INLINE, Extent, Manifest
from artifactstore.errors import InvalidInputError
from artifactstore.model.digest import hash_bytes
from artifactstore.model.listing import check_link, check_links, check_path, check_paths
from artifactstore.model.path_clashes import check_tree
from artifactstore.runtime.loading import numpy, numpy_pays

__all__ = ["check", "check_base", "check_chunks", "check_files", "check_packs", "check_side"]

MAX_CHUNK: Final = 64 * 2**20  # bytes; no chunker makes larger chunks, and no reader should have to allocate one
_ROWS: Final = 65_536  # rows checked at a time
_DIGEST, _SIZES, _EMPTY = "the only chunk", "the chunks", "the digest"
_FAULTS: Final = {
    _DIGEST: "has another digest than the file",
    _SIZES: "do not add up to its size",
    _EMPTY: "must be that of an empty file, since there are no chunks",
}
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def check(manifest: Manifest) -> None:
    """Reject a manifest that `parquet.decode` would reject once written.

    Raises:
        InvalidInputError: with the fault.
    """
    try:
        _check_paths(manifest)
        check_files(manifest)
        check_packs(manifest.packs)
        check_chunks(manifest)
        for i, base in manifest.chunks.bases.items():
            check_base(manifest, i, base, manifest.packs.index(str(base.pack)))
        for extents in manifest.side.values():
            for extent in extents:
                check_side(extent)
                if extent.pack is not None:
                    manifest.packs.index(extent.pack)
    except ValueError as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"no reader would accept the manifest of this artifact: {error}; nothing was recorded") from error


def _check_paths(manifest: Manifest) -> None:
    m = manifest
    for batch in m.paths.batches():
        check_paths(batch)
    check_paths(m.folders)
    for path, target in m.links:
        check_path(path)
        check_link(path, target)
    check_links(m.links)
    check_tree(m.paths, m.folders, m.links)
    if any(a >= b for a, b in pairwise(m.paths)):
        raise ValueError("its paths are not sorted")
    if {len(m.sizes), len(m.digests), len(m.executable), len(m.first) - 1} != {len(m.paths)} or m.first[-1] != len(m.chunks):
        raise ValueError("its columns differ in length")


def check_files(manifest: Manifest, low: int = 0) -> None:
    """Reject files, from row `low` on, whose chunk records contradict the file's record.

    Raises:
        ValueError: with the first such file.
    """
    for start in range(low, len(manifest.paths), _ROWS):
        high = min(start + _ROWS, len(manifest.paths))
        many = numpy_pays(max(high - start, manifest.first[high] - manifest.first[start]))
        fault = _fault_among_many(manifest, start, high) if many else _fault_among_few(manifest, start, high)
        if fault is not None:
            row, what = fault
            raise ValueError(f"{what} of {manifest.paths[row]!r} {_FAULTS[what]}")


def _fault_among_few(manifest: Manifest, low: int, high: int) -> tuple[int, str] | None:
    m, sizes, digests = manifest, manifest.chunks.sizes, manifest.chunks.digests
    nothing = hash_bytes(b"", m.algorithm)
    for row, (begin, end) in enumerate(pairwise(m.first[low : high + 1]), low):
        if end - begin == 1 and digests[begin] != m.digests[row]:
            return row, _DIGEST
        if begin > end or sum(sizes[begin:end]) != m.sizes[row]:
            return row, _SIZES
        if begin == end and m.digests[row] != nothing:
            return row, _EMPTY
    return None


def _fault_among_many(manifest: Manifest, low: int, high: int) -> tuple[int, str] | None:
    """Check as `_fault_among_few` does, vectorised."""
    np, m, c = numpy(), manifest, manifest.chunks
    first = np.frombuffer(m.first, np.int64)[low : high + 1]
    counts = np.diff(first)
    if counts.min() < 0:
        return low + int(np.argmin(counts)), _SIZES
    single = np.flatnonzero(counts == 1)
    files, chunks = (np.frombuffer(one.data, np.uint64).reshape(-1, 4) for one in (m.digests, c.digests))
    other = single[(chunks[first[:-1][single]] != files[low:high][single]).any(axis=1)]
    if len(other):
        return low + int(other[0]), _DIGEST
    some, sums = np.flatnonzero(counts), np.zeros(high - low, np.int64)
    if len(some):
        sums[some] = np.add.reduceat(np.frombuffer(c.sizes, np.int64)[: first[-1]], first[:-1][some])
    wrong = np.flatnonzero(sums != np.frombuffer(m.sizes, np.int64)[low:high])
    if len(wrong):
        return low + int(wrong[0]), _SIZES
    empty, nothing = np.flatnonzero(counts == 0), np.frombuffer(hash_bytes(b"", m.algorithm), np.uint64)
    other = empty[(files[low:high][empty] != nothing).any(axis=1)]
    return (low + int(other[0]), _EMPTY) if len(other) else None


def check_packs(packs: Sequence[str]) -> None:
    """Reject a list of packs with an invalid id.

    Raises:
        ValueError: an id is invalid.
    """
    if not all(isinstance(pack, str) and _ID.fullmatch(pack) for pack in packs):
        raise ValueError("its list of packs has an invalid id")


def check_chunks(manifest: Manifest) -> None:
    """Reject impossible chunk records.

    Raises:
        ValueError: with the first kind of fault.
    """
    c = manifest.chunks
    if {*map(len, (c.packs, c.sizes, c.stored, c.offsets, c.codecs))} != {len(c.digests)}:
        raise ValueError("the columns of its chunks differ in length")
    if not len(c):
        return
    for what, column, low, high in (
        ("pack", c.packs, INLINE, len(manifest.packs) - 1),
        ("size", c.sizes, 0, MAX_CHUNK),
        ("stored size", c.stored, 0, MAX_CHUNK),
        ("offset", c.offsets, 0, 2**63 - 1),
    ):
        least, most = _span(column)
        if least < low or most > high:
            raise ValueError(f"the {what} of a chunk must be from {low} to {high}, got {least} to {most}")
    if c.packs.count(INLINE) != len(c.inline) or any(c.packs[i] != INLINE for i in c.inline):
        raise ValueError("a chunk has bytes both in the manifest and in a pack, or in neither")
    deltas = {codec for codec in {*c.codecs} if is_delta(codec)}
    if {i for i, codec in enumerate(c.codecs) if codec in deltas} != set(c.bases) if deltas else c.bases:
        raise ValueError("a chunk is a delta without a base, or has a base but is not a delta")


def _span(column: "array[int]") -> tuple[int, int]:
    """Return the minimum and maximum of some numbers."""
    if not numpy_pays(len(column)):
        return min(column), max(column)
    found = numpy().frombuffer(column, column.typecode)
    return int(found.min()), int(found.max())


def check_base(manifest: Manifest, i: int, base: Extent, pack: int) -> None:
    """Reject an impossible base of chunk `i`; `pack` is the index of its pack.

    Raises:
        ValueError: the base is impossible.
    """
    fits = base.size == manifest.chunks.sizes[i] and 0 <= base.stored <= MAX_CHUNK and base.offset >= 0 <= pack
    if not fits or base.digest is None or is_delta(base.codec) or not is_delta(manifest.chunks.codecs[i]):
        raise ValueError(f"chunk {i} has an impossible base")


def check_side(one: Extent) -> None:
    """Reject a chunk of side content without a position.

    Raises:
        ValueError: it has none, or is too large.
    """
    fits = 0 <= one.size <= MAX_CHUNK and 0 <= one.stored <= MAX_CHUNK and one.offset >= 0
    if not fits or (one.pack is None) == (one.data is None) or is_delta(one.codec):
        raise ValueError("a chunk of side content is in no pack and not in the manifest, or is too large")
