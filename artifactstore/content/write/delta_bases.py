"""Delta bases: finds the chunk of an earlier version that a new chunk may be a delta of (docs/reference/format.md, "Codecs").

Only files with a known layout are considered: the tensors of a safetensors file, paired by name, dtype and shape, and a `.npy`
file with the same header. A sample decides whether deltas pay; if so, a tensor is cut at the same points as before.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.chunker import read_header
from artifactstore.content.codecs.codec import DELTAS, Encoder
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.pack import check_frame
from artifactstore.content.packs.reader import fetch
from artifactstore.content.packs.writer import EncodedChunk
from artifactstore.content.read.open_file import chunk_starts, read_ranges
from artifactstore.errors import ArtifactStoreError

__all__ = ["DeltaBase", "DeltaBases", "DeltaLine", "ReadAt"]

_MIN_FILE: Final = 64 * 1024  # min bytes of a file for deltas
MIN_CHUNK: Final = 4096  # min bytes of a chunk for deltas
_SAMPLES: Final = 8  # chunks sampled
_MAX_RATIO: Final = 0.9  # max size relative to the file without deltas
_NOISY_WIDTH: Final = 8  # bytes of numbers that are mostly noise, whose chunks are stored raw on local disk
_NOISY_MAX_RATIO: Final = 0.5  # max size relative to those raw chunks: a smaller saving is not worth the slower get
_NUMBER: Final = re.compile(rb"'descr': '[<|=]?[a-z](2|4|8)'")
_DTYPES: Final = {"BF16": 2, "F16": 2, "I16": 2, "U16": 2, "F32": 4, "I32": 4, "U32": 4, "F64": 8, "I64": 8, "U64": 8}

ReadAt = Callable[[int, int], bytes]
Layout = Mapping[Any, tuple[int, int, int]]  # key that parts are paired by → (begin, end, bytes of a number)


@dataclass(frozen=True, slots=True)
class DeltaBase:
    """The delta base of a chunk.

    Attributes:
        base: extent of a chunk of the same size.
        width: bytes of a number.
        lead: bytes of the chunk before its first complete number.
    """

    base: Extent
    width: int
    lead: int


@dataclass(frozen=True, slots=True)
class _PairedPart:
    """A stretch of a file that has a counterpart in an earlier version.

    Attributes:
        begin: its begin in the new file.
        end: its end in the new file.
        width: bytes of a number.
        ends: ends of its chunks, in the new file.
        first: index of the counterpart's first chunk.
    """

    begin: int
    end: int
    width: int
    ends: "array[int]"
    first: int


@dataclass(slots=True)
class DeltaLine:
    """The pairing of a file with an earlier version.

    Attributes:
        cuts: begin of a part → ends of its chunks.
        versions: versions since the last full one, without this one.
        stored: stored bytes of those versions.
    """

    manifest: Manifest
    parts: list[_PairedPart]
    versions: int = 1
    stored: int = 0
    cuts: Mapping[int, "array[int]"] = field(init=False)
    _begins: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.cuts = {part.begin: part.ends for part in self.parts}
        self._begins = [part.begin for part in self.parts]

    def count(self, manifest: Manifest, path: str) -> tuple[int, int]:
        """Return the number of versions including that in `manifest`, and their total stored bytes."""
        row = manifest.index(path)
        assert row is not None  # the path was stored
        return self.versions + 1, self.stored + sum(manifest.chunks.stored[manifest.first[row] : manifest.first[row + 1]])

    def refer(self, begin: int, end: int) -> DeltaBase | None:
        """Return the delta base for the chunk from `begin` to `end`, or None."""
        at = bisect_right(self._begins, begin) - 1
        if at < 0 or end - begin < MIN_CHUNK or end > self.parts[at].end:
            return None
        part = self.parts[at]
        number = bisect_right(part.ends, begin)
        extent = self.manifest.extent(part.first + number)
        base = extent.base or extent
        if part.ends[number] != end or base.size != end - begin or base.pack is None:
            return None  # it was cut differently, or is inline in the manifest
        return DeltaBase(base, part.width, -(begin - part.begin) % part.width)


class DeltaBases:
    """The earlier versions of the content being stored.

    Args:
        backend: backend of their packs.
        manifests: their manifests, the likeliest first.
        single: whether the content is one file, whose name may change between versions.
    """

    def __init__(self, backend: Backend, manifests: Sequence[Manifest], *, single: bool) -> None:
        self._backend = backend
        self._manifests = manifests
        self._single = single

    def line(self, path: str, size: int, read_at: ReadAt) -> DeltaLine | None:
        """Return the pairing of a file with an earlier version, if deltas pay.

        Args:
            path: path of the file.
            size: its length in bytes.
            read_at: reads (offset, length) of it.

        Raises:
            InvalidInputError: the file cannot be read.
        """
        if size < _MIN_FILE or not (layout := _layout(size, read_at)):
            return None
        for manifest in self._manifests:
            row = manifest.index(path)
            if row is None and self._single and len(manifest.paths) == 1:
                row = 0
            if row is None:
                continue
            try:
                parts = self._pair(layout, manifest, row)
                if parts:
                    return self._worth(DeltaLine(manifest, parts, *_since_full(manifest, row)), size, read_at)
            except ArtifactStoreError:
                continue  # unreadable chunks cannot be a base; a get of them will report it
        return None

    def read(self, extents: Sequence[Extent]) -> Sequence[bytes | memoryview | None]:
        """Return verified chunks of earlier versions; None for all if any is unreadable: no delta may depend on it."""
        try:
            return fetch(self._backend, extents, algorithm=self._manifests[0].algorithm)
        except ArtifactStoreError:
            return [None] * len(extents)

    def pieces(self, wanted: Sequence[tuple[bytes, memoryview, DeltaBase]], encoder: Encoder) -> dict[bytes, EncodedChunk]:
        """Encode chunks, given with their digests, as deltas; return those that take less than their bases."""
        made = {}
        bases = self.read([reference.base for _, _, reference in wanted])
        for (digest, chunk, reference), base in zip(wanted, bases, strict=True):
            if base is not None:
                stored = encoder.delta(chunk, memoryview(base), reference.width, reference.lead)
                if len(stored) < reference.base.stored:
                    made[digest] = EncodedChunk(
                        digest, len(chunk), DELTAS[reference.width], stored, reference.base, check_frame(stored)
                    )
        return made

    def _pair(self, layout: Layout, manifest: Manifest, row: int) -> list[_PairedPart]:
        first, starts = manifest.first[row], chunk_starts(manifest, row)

        def read_at(offset: int, size: int) -> bytes:
            return bytes(read_ranges(self._backend, manifest, row, [(offset, size)])[0])

        old = _layout(manifest.sizes[row], read_at)
        parts = []
        for key, (begin, end, width) in layout.items():
            there = old.get(key)
            if there is None or there[1] - there[0] != end - begin:
                continue
            low, high = bisect_right(starts, there[0]) - 1, bisect_right(starts, there[1]) - 1
            if starts[low] == there[0] and starts[high] == there[1]:
                shift = begin - there[0]
                ends = array("q", (start + shift for start in starts[low + 1 : high + 1]))
                parts.append(_PairedPart(begin, end, width, ends, first + low))
        return sorted(parts, key=lambda part: part.begin)

    def _worth(self, line: DeltaLine, size: int, read_at: ReadAt) -> DeltaLine | None:
        """Try a sample of chunks; store a full version again once a delta takes more than the versions' average."""
        tried = [
            (begin, end, reference)
            for part in line.parts
            for begin, end in zip([part.begin, *part.ends[:-1]], part.ends, strict=True)
            if (reference := line.refer(begin, end)) is not None
        ]
        count = min(_SAMPLES, len(tried))
        tried = [tried[i * len(tried) // count] for i in range(count)]
        bases = fetch(self._backend, [reference.base for _, _, reference in tried], algorithm=line.manifest.algorithm)
        encoder = Encoder()
        plain = delta = total = wide = wide_taken = 0
        for (begin, end, reference), base in zip(tried, bases, strict=True):
            data = memoryview(read_at(begin, end - begin))
            taken = len(encoder.delta(data, memoryview(base), reference.width, reference.lead))
            total += len(data)
            delta += taken
            plain += len(encoder.encode(data)[1])
            if reference.width == _NOISY_WIDTH:
                wide, wide_taken = wide + len(data), wide_taken + taken
        if wide and not self._backend.is_remote and wide_taken > _NOISY_MAX_RATIO * wide:
            others = [part for part in line.parts if part.width < _NOISY_WIDTH]
            return self._worth(DeltaLine(line.manifest, others, line.versions, line.stored), size, read_at) if others else None
        if not total:
            return None
        paired = sum(part.end - part.begin for part in line.parts)
        full = plain / total * size
        expected = delta / total * paired + plain / total * (size - paired)
        return line if expected < _MAX_RATIO * full and expected * line.versions < line.stored else None


def _since_full(manifest: Manifest, row: int) -> tuple[int, int]:
    """Return the number of versions of a file since its last full one, and their total stored bytes."""
    known = manifest.deltas.get(manifest.paths[row])
    if known is not None:
        return known
    chunks, numbers = manifest.chunks, range(manifest.first[row], manifest.first[row + 1])
    own = sum(chunks.stored[i] for i in numbers)
    bases = sum(chunks.bases[i].stored for i in numbers if i in chunks.bases)
    return (2, own + bases) if bases else (1, own)


def _layout(size: int, read_at: ReadAt) -> Layout:
    """Return the parts of a file of numbers; empty for other files."""
    start = read_at(0, min(size, 256))
    if start.startswith(b"\x93NUMPY\x01") and len(start) >= 10:
        head = start[: 10 + int.from_bytes(start[8:10], "little")]
        number = _NUMBER.search(head)
        return {head: (0, size, int(number[1]))} if number is not None and len(head) % 8 == 0 else {}
    header, base = read_header(start, size, read_at)
    found: dict[Any, tuple[int, int, int]] = {}
    for name, one in header.items():
        try:
            (begin, end), width = one["data_offsets"], _DTYPES.get(one["dtype"])
            if name != "__metadata__" and width is not None and 0 <= begin < end <= size - base:
                found[name, one["dtype"], tuple(one["shape"])] = (base + begin, base + end, width)
        except (KeyError, TypeError, ValueError):
            continue
    return found
