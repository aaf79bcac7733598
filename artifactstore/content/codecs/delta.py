"""Delta codec: a chunk as the differences between its numbers and those of a base chunk (docs/reference/format.md, "Codecs").

A training step changes every weight a little: no chunk stays equal, but the differences are small numbers. They are
computed between bit patterns as integers, which for floats of one sign are ordered as the values are, and grouped by byte.
Measured on normally distributed weights after a step of normal noise, this stores less than XOR for both widths
(docs/decisions/0021).
"""

from typing import Any, Final

import zstandard

from artifactstore.content.codecs.byte_grouping import Grouper, join, scratch
from artifactstore.errors import CorruptionError
from artifactstore.runtime.loading import numpy

__all__ = ["apply_delta", "make_delta"]

_HEAD: Final = 1  # bytes before the grouped part: the count of bytes before the first complete number


def make_delta(data: memoryview, base: memoryview, width: int, lead: int, grouper: Grouper) -> bytes:
    """Return the stored form: `lead` (u8), the zig-zag differences grouped by `width`, and the bytes outside complete numbers.

    Args:
        data: the chunk.
        base: the base chunk, of the same length.
        width: bytes of a number: 2, 4 or 8.
        lead: bytes of the chunk before its first complete number.
        grouper: this thread's grouper.
    """
    np = numpy()
    end = lead + (len(data) - lead) // width * width
    kind = np.dtype(f"<u{width}")
    found, signs = (scratch(end - lead, slot).view(kind) for slot in (1, 2))
    np.subtract(np.frombuffer(data[lead:end], kind), np.frombuffer(base[lead:end], kind), out=found)
    np.right_shift(found.view(f"<i{width}"), 8 * width - 1, out=signs.view(f"<i{width}"))
    np.left_shift(found, 1, out=found)
    np.bitwise_xor(found, signs, out=found)
    grouped = grouper.group(memoryview(found.view(np.uint8)), width, [True] * width)
    return b"".join((bytes([lead]), grouped, data[:lead], data[end:]))


def apply_delta(
    stored: bytes | memoryview,
    base: bytes | memoryview,
    width: int,
    where: str,
    unpacker: zstandard.ZstdDecompressor,
) -> memoryview:
    """Decode a delta; the chunk is as long as its base.

    Raises:
        CorruptionError: it is damaged; at most a small multiple of the chunk's size is allocated.
    """
    view, old, size = memoryview(stored), memoryview(base), len(base)
    lead = view[0] if view else width
    end = lead + (size - lead) // width * width
    rest = size - (end - lead)
    if lead >= width or end < lead or len(view) < _HEAD + rest:
        raise CorruptionError(f"{where} does not have a valid delta to a chunk of {size} bytes", location=where)
    np: Any = numpy()
    kind = np.dtype(f"<u{width}")
    room = scratch(end - lead, 1)
    join(view[_HEAD : len(view) - rest], width, room, where, unpacker)
    steps = room.view(kind)
    made = np.empty(size, np.uint8)
    numbers = np.right_shift(steps, 1, out=made[lead:end].view(kind))
    np.bitwise_and(steps, 1, out=steps)
    np.negative(steps, out=steps)
    np.bitwise_xor(numbers, steps, out=numbers)
    np.add(numbers, np.frombuffer(old[lead:end], kind), out=numbers)
    tail = np.frombuffer(view[len(view) - rest :], np.uint8)
    made[:lead], made[end:] = tail[:lead], tail[lead:]
    return memoryview(made)
