"""Byte grouping: splits numbers into planes, one per byte of significance (docs/reference/format.md, "Codecs").

The lower bits of a network's weights are random, their exponents nearly constant: separated, the former are stored raw
and the latter shrink to a third. A sample's entropy decides which planes are compressed; a plane of exponents has no
repetitions worth finding, so zstd's match search is off: three times as fast, and smaller, since short matches cost more
than they save.
"""

import math
import struct
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import zstandard

from artifactstore.errors import CorruptionError
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Grouper", "choose_width", "join", "scratch"]

_SAMPLE_PART: Final = 1024  # bytes: a sample is four of these
_COUNTED: Final = 256  # bytes of a plane whose distinct values are counted: noise has 160, exponents about 20
_MAX_ENTROPY: Final = 7.8  # bits per byte: a plane with more is stored raw
_MIN_ENTROPY: Final = 0.16  # bits per byte assumed at least
_FRAME_TABLES: Final = 100  # bytes of a frame's tables, which weigh more in a sample than in a chunk
_MAX_RATIO: Final = 0.98  # max size relative to the simpler encoding, estimated from the sample
_local = threading.local()
_STRIDED_WIDTH: Final = 8  # bytes of a number from which on strided joining is faster
_PACKED: Final = 1 << 31  # flag in a plane's length: it is a zstd frame


def _sample(data: memoryview) -> bytes:
    """Return four stretches of a chunk, each at a multiple of four."""
    step = (len(data) - _SAMPLE_PART) // 3 // 4 * 4
    return b"".join(data[i * step : i * step + _SAMPLE_PART] for i in range(4))


def choose_width(data: memoryview, packer: zstandard.ZstdCompressor) -> tuple[int, list[bool], float]:
    """Return the best width to group a chunk by, 0 for none; per plane whether it may shrink; and the estimated ratio.

    Args:
        data: a chunk of at least 4 KiB.
        packer: the compressor for ungrouped chunks.
    """
    sample = _sample(data)
    if sample.isascii() and b"\0" not in sample:
        return 0, [], 0.0
    np = numpy()
    best, share, packed = 0, min((len(packer.compress(sample)) - _FRAME_TABLES) / len(sample), 1 - 1 / 64), list[bool]()
    numbers = np.frombuffer(sample, np.uint8).reshape(-1, 4)
    four = np.stack([np.bincount(numbers[:, i], minlength=256) for i in range(4)])
    bits = _entropies(np, np.concatenate([four[:2] + four[2:], four]))
    for width, planes in ((2, bits[:2]), (4, bits[2:])):
        found = sum(8.0 if one > _MAX_ENTROPY else max(one, _MIN_ENTROPY) for one in planes) / width / 8
        if found < share * _MAX_RATIO:
            best, share, packed = width, found, [one <= _MAX_ENTROPY for one in planes]
    return best, packed, share


def _entropies(np: Any, counts: "np.ndarray[Any, Any]") -> list[float]:
    """Bits per byte of each row, by Shannon, with the Miller-Madow correction for small samples."""
    totals = counts.sum(1)
    logs = np.log2(np.maximum(counts, 1))
    bits = np.log2(totals) - (counts * logs).sum(1) / totals + ((counts > 0).sum(1) - 1) / (2 * math.log(2) * totals)
    return [float(one) for one in bits]


class Grouper:
    """Groups the chunks of one thread."""

    def __init__(self) -> None:
        literals = zstandard.ZstdCompressionParameters.from_level(
            1, strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=6, write_content_size=1, write_checksum=0
        )
        self._zstd = zstandard.ZstdCompressor(compression_params=literals)
        self._room: Any = None  # reused for each chunk: page faults of fresh memory cost as much as the work

    def group(self, data: memoryview, width: int, packed: list[bool]) -> bytes:
        """Return the stored form: the length of each plane (u32, highest bit: a zstd frame), then the planes.

        Args:
            data: the chunk.
            width: 2, 4 or 8.
            packed: per plane whether to try compression.
        """
        np = numpy()
        count = len(data) // width
        numbers = np.frombuffer(data[: count * width], f"<u{width}")
        if self._room is None or len(self._room) < 2 * len(data) + width:
            self._room = np.empty(2 * len(data) + width, np.uint8)
        shifted = self._room[: count * width].view(numbers.dtype)
        rest, at = data[count * width :], count * width
        planes: list[bytes | memoryview] = []
        for i in range(width):
            room = self._room[at : at + count + (i < len(rest))]
            at += len(room)
            np.copyto(room[:count], np.right_shift(numbers, 8 * i, out=shifted) if i else numbers, casting="unsafe")
            if i < len(rest):
                room[count] = rest[i]
            planes.append(room.data)
        lengths = []
        for i, worth in enumerate(_rotated(packed, planes)):
            plane = planes[i]
            small = self._zstd.compress(plane) if worth else plane
            if len(small) + (len(plane) >> 6) < len(plane):
                planes[i] = small
                lengths.append(len(small) | _PACKED)
            else:
                lengths.append(len(plane))
        return b"".join([struct.pack(f"<{width}I", *lengths), *planes])


def _rotated(packed: list[bool], planes: Sequence[bytes | memoryview]) -> list[bool]:
    """Rotate a choice to fit: a chunk may begin in the middle of a number, at another byte than its neighbour."""
    if all(packed) or not any(packed):
        return packed
    kinds = [len(set(plane[:_COUNTED])) for plane in planes]
    turns = [packed[i:] + packed[:i] for i in range(len(packed))]
    return min(turns, key=lambda turn: sum(kind for kind, worth in zip(kinds, turn, strict=True) if worth))


def scratch(size: int, slot: int = 0) -> Any:
    """Return this thread's scratch memory of `size` bytes; the next call with the same slot overwrites it.

    Page faults of fresh memory cost more than the work done in it.
    """
    held = getattr(_local, "rooms", None)
    if held is None:
        held = _local.rooms = {}
    room = held.get(slot)
    if room is None or len(room) < size:
        room = held[slot] = numpy().empty(size, "u1")
    return room[:size]


def join(stored: bytes | memoryview, width: int, made: Any, where: str, unpacker: zstandard.ZstdDecompressor) -> None:
    """Decode a grouped chunk into `made`.

    Args:
        stored: the grouped form.
        width: bytes of a number.
        made: an array of as many bytes as the chunk.
        where: location, for messages.
        unpacker: this thread's decompressor.

    Raises:
        CorruptionError: it is damaged, or not of a chunk of this size; no more than its size is allocated.
    """
    np = numpy()
    view, size = memoryview(stored), len(made)
    head = struct.Struct(f"<{width}I")
    if len(view) < head.size:
        raise CorruptionError(f"{where} has {len(view)} bytes, too few for a grouped chunk", location=where)
    lengths = head.unpack_from(view)
    if sum(length & ~_PACKED for length in lengths) != len(view) - head.size:
        raise CorruptionError(f"{where} has planes that do not add up to its length", location=where)
    whole = size // width * width
    numbers = made[:whole].view(f"<u{width}")
    shifted = scratch(whole).view(numbers.dtype)
    at = head.size
    for i, length in enumerate(lengths):
        plane = view[at : at + (length & ~_PACKED)]
        at += len(plane)
        wanted = (size - i + width - 1) // width
        if length & _PACKED:
            if zstandard.get_frame_parameters(plane).content_size != wanted:
                raise CorruptionError(f"{where} has a plane whose size is not {wanted} bytes", location=where)
            plane = memoryview(unpacker.decompress(plane, max_output_size=wanted))
        if len(plane) != wanted:
            raise CorruptionError(f"{where} has a plane of {len(plane)} bytes for {wanted}", location=where)
        part = np.frombuffer(plane[: len(numbers)], np.uint8)
        if width == _STRIDED_WIDTH:
            # Byte by byte in strides: twice as fast as eight passes over complete numbers. For four and two bytes it is slower.
            made[i:whole:width] = part
        elif i:
            shifted[:] = part
            np.left_shift(shifted, 8 * i, out=shifted)
            np.bitwise_or(numbers, shifted, out=numbers)
        else:
            numbers[:] = part
        if wanted > len(numbers):
            made[whole + i] = plane[-1]
