"""Byte grouping: bytes of numbers, each with those of its own significance (docs/reference/format.md, "Codecs").

Weights of a network differ in their lower bits at random and in their exponents hardly at all: apart, the one kind is
stored as it is and the other shrinks to a third. What shrinks is told by a sample's entropy; a plane of exponents has no
repetitions worth looking for, so zstd is told not to: three times as fast, and smaller, since short matches cost more
than they save.
"""

import math
import struct
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import zstandard

from artifactstore.errors import CorruptionError
from artifactstore.model.loading import numpy

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Grouper", "choose_width", "join", "scratch"]

_STRETCH: Final = 1024  # bytes: a sample is four of these
_GLANCE: Final = 256  # bytes of a plane whose kinds are counted: noise has 160, exponents some 20
_NOISE: Final = 7.8  # bits a byte: a plane with more is stored as it is
_FLOOR: Final = 0.16  # bits a byte that are reckoned at least
_TABLES: Final = 100  # bytes of a frame's tables, which weigh more in a sample than in a chunk
_GAIN: Final = 0.98  # of what the simpler way would store, as the sample tells
_local = threading.local()
_WIDE: Final = 8  # bytes of a number, from which on joining in strides is quicker
_PACKED: Final = 1 << 31  # in a plane's length: it is a zstd frame


def _sample(data: memoryview) -> bytes:
    """Return four stretches of a chunk, each from a multiple of four."""
    step = (len(data) - _STRETCH) // 3 // 4 * 4
    return b"".join(data[i * step : i * step + _STRETCH] for i in range(4))


def choose_width(data: memoryview, packer: zstandard.ZstdCompressor) -> tuple[int, list[bool], float]:
    """Return the width by which a chunk is worth grouping, 0 for none; for each plane whether it may shrink; and what is left.

    Args:
        data: a chunk of at least 4 KiB.
        packer: compresses as chunks are compressed alone.
    """
    sample = _sample(data)
    if sample.isascii() and b"\0" not in sample:
        return 0, [], 0.0
    np = numpy()
    best, share, packed = 0, min((len(packer.compress(sample)) - _TABLES) / len(sample), 1 - 1 / 64), list[bool]()
    numbers = np.frombuffer(sample, np.uint8).reshape(-1, 4)
    four = np.stack([np.bincount(numbers[:, i], minlength=256) for i in range(4)])
    bits = _entropies(np, np.concatenate([four[:2] + four[2:], four]))
    for width, planes in ((2, bits[:2]), (4, bits[2:])):
        found = sum(8.0 if one > _NOISE else max(one, _FLOOR) for one in planes) / width / 8
        if found < share * _GAIN:
            best, share, packed = width, found, [one <= _NOISE for one in planes]
    return best, packed, share


def _entropies(np: Any, counts: "np.ndarray[Any, Any]") -> list[float]:
    """Bits a byte of each row, by Shannon, with Miller's and Madow's correction for the few that were counted."""
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
        self._room: Any = None  # used again for each chunk: fresh memory costs as much as the work that is done in it

    def group(self, data: memoryview, width: int, packed: list[bool]) -> bytes:
        """Return the stored form: for each plane its length (u32, highest bit: a zstd frame), then the planes.

        Args:
            data: the chunk.
            width: 2, 4 or 8.
            packed: for each plane whether compressing is tried.
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
        for i, worth in enumerate(_turned(packed, planes)):
            plane = planes[i]
            small = self._zstd.compress(plane) if worth else plane
            if len(small) + (len(plane) >> 6) < len(plane):
                planes[i] = small
                lengths.append(len(small) | _PACKED)
            else:
                lengths.append(len(plane))
        return b"".join([struct.pack(f"<{width}I", *lengths), *planes])


def _turned(packed: list[bool], planes: Sequence[bytes | memoryview]) -> list[bool]:
    """Turn a choice so that it fits: a chunk may begin in the midst of a number, its neighbour otherwise than it."""
    if all(packed) or not any(packed):
        return packed
    kinds = [len(set(plane[:_GLANCE])) for plane in planes]
    turns = [packed[i:] + packed[:i] for i in range(len(packed))]
    return min(turns, key=lambda turn: sum(kind for kind, worth in zip(kinds, turn, strict=True) if worth))


def scratch(size: int, slot: int = 0) -> Any:
    """Return this thread's room of that many bytes, which its next use of that slot overwrites.

    Memory that is asked for anew comes page by page, which costs more than what is done in it.
    """
    held = getattr(_local, "rooms", None)
    if held is None:
        held = _local.rooms = {}
    room = held.get(slot)
    if room is None or len(room) < size:
        room = held[slot] = numpy().empty(size, "u1")
    return room[:size]


def join(stored: bytes | memoryview, width: int, made: Any, where: str, unpacker: zstandard.ZstdDecompressor) -> None:
    """Fill `made` with the chunk behind its grouped form.

    Args:
        stored: the grouped form.
        width: of a number, in bytes.
        made: as many bytes as the chunk has, an array of them.
        where: for messages.
        unpacker: of this thread.

    Raises:
        CorruptionError: it is damaged, or not of a chunk of this size; no more than its bytes are made.
    """
    np = numpy()
    view, size = memoryview(stored), len(made)
    head = struct.Struct(f"<{width}I")
    if len(view) < head.size:
        raise CorruptionError(f"{where} holds {len(view)} bytes, too few for a grouped chunk", location=where)
    lengths = head.unpack_from(view)
    if sum(length & ~_PACKED for length in lengths) != len(view) - head.size:
        raise CorruptionError(f"{where} holds planes that do not add up to their length", location=where)
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
                raise CorruptionError(f"{where} holds a plane of another size than {wanted} bytes", location=where)
            plane = memoryview(unpacker.decompress(plane, max_output_size=wanted))
        if len(plane) != wanted:
            raise CorruptionError(f"{where} holds a plane of {len(plane)} bytes for {wanted}", location=where)
        part = np.frombuffer(plane[: len(numbers)], np.uint8)
        if width == _WIDE:
            # Byte by byte in strides: twice as fast as eight passes over whole numbers. For four and two it is slower.
            made[i:whole:width] = part
        elif i:
            shifted[:] = part
            np.left_shift(shifted, 8 * i, out=shifted)
            np.bitwise_or(numbers, shifted, out=numbers)
        else:
            numbers[:] = part
        if wanted > len(numbers):
            made[whole + i] = plane[-1]
