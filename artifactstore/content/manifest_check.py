"""What readers demand of a manifest. Writers ask the same before they write one: none may exist that this version refuses."""

import re
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Final

from artifactstore.content.codec import is_delta
from artifactstore.content.manifest import INLINE, Extent, Manifest
from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_link, check_links, check_path, check_tree

__all__ = ["check", "check_base", "check_chunks", "check_packs", "check_side"]

MAX_CHUNK: Final = 64 * 2**20  # bytes; no chunker makes larger ones, and nobody should be made to hold one
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def check(manifest: Manifest) -> None:
    """Refuse a manifest that `manifest_file.decode` would refuse once it is written.

    Raises:
        InvalidInputError: names what is wrong with it.
    """
    try:
        _check_files(manifest)
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


def _check_files(manifest: Manifest) -> None:
    m, rows = manifest, len(manifest.paths)
    for path in chain(m.paths, m.folders):
        check_path(path)
    for path, target in m.links:
        check_path(path)
        check_link(path, target)
    check_links(m.links)
    check_tree(m.paths, m.folders, m.links)
    if any(a >= b for a, b in pairwise(m.paths)):
        raise ValueError("its paths are out of order")
    if {len(m.sizes), len(m.digests), len(m.executable), len(m.first) - 1} != {rows} or m.first[-1] != len(m.chunks):
        raise ValueError("its columns are not of the same length")
    if any(
        high - low == 1 and m.chunks.digests[low] != own for (low, high), own in zip(pairwise(m.first), m.digests, strict=True)
    ):
        raise ValueError("the only chunk of a file has another digest than the file")
    ends = array("q", accumulate(m.chunks.sizes, initial=0))
    if any(ends[high] - ends[low] != size for (low, high), size in zip(pairwise(m.first), m.sizes, strict=True)):
        raise ValueError("the chunks of a file do not add up to its size")


def check_packs(packs: Sequence[str]) -> None:
    """Refuse a list of packs of which one is no id.

    Raises:
        ValueError: it has one.
    """
    if not all(isinstance(pack, str) and _ID.fullmatch(pack) for pack in packs):
        raise ValueError("a pack in its list is no id")


def check_chunks(manifest: Manifest) -> None:
    """Refuse chunk records that say nothing possible.

    Raises:
        ValueError: names the first kind of fault.
    """
    c = manifest.chunks
    if {*map(len, (c.packs, c.sizes, c.stored, c.offsets, c.codecs))} != {len(c.digests)}:
        raise ValueError("the columns of its chunks are not of the same length")
    if not len(c):
        return
    # The least and the greatest say it of all, in a third of the time that a loop takes.
    for what, column, low, high in (
        ("pack", c.packs, INLINE, len(manifest.packs) - 1),
        ("size", c.sizes, 0, MAX_CHUNK),
        ("stored size", c.stored, 0, MAX_CHUNK),
        ("offset", c.offsets, 0, 2**63 - 1),
    ):
        if min(column) < low or max(column) > high:
            raise ValueError(f"the {what} of a chunk must be from {low} to {high}, found {min(column)} to {max(column)}")
    if c.packs.count(INLINE) != len(c.inline) or any(c.packs[i] != INLINE for i in c.inline):
        raise ValueError("a chunk has bytes both in the manifest and in a pack, or in neither")
    deltas = {codec for codec in {*c.codecs} if is_delta(codec)}
    if {i for i, codec in enumerate(c.codecs) if codec in deltas} != set(c.bases) if deltas else c.bases:
        raise ValueError("a chunk is a delta without a base, or has a base and is none")


def check_base(manifest: Manifest, i: int, base: Extent, pack: int) -> None:
    """Refuse what can't be the base of chunk `i`; `pack` is the number of its pack.

    Raises:
        ValueError: it can't.
    """
    fits = base.size == manifest.chunks.sizes[i] and 0 <= base.stored <= MAX_CHUNK and base.offset >= 0 <= pack
    if not fits or base.digest is None or is_delta(base.codec) or not is_delta(manifest.chunks.codecs[i]):
        raise ValueError(f"chunk {i} can't have the base that it names")


def check_side(one: Extent) -> None:
    """Refuse a chunk of side content that is nowhere.

    Raises:
        ValueError: it is.
    """
    fits = 0 <= one.size <= MAX_CHUNK and 0 <= one.stored <= MAX_CHUNK and one.offset >= 0
    if not fits or (one.pack is None) == (one.data is None) or is_delta(one.codec):
        raise ValueError("a chunk of side content is in no pack and not in the manifest, or is too large")
