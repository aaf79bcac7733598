"""Columns of Arrow from Python's values, made of their buffers.

Not by `pyarrow.array`: it imports pandas, where that is installed, to ask whether a list is a series. That was 0.5 s of a
process's first put. A value that is None is missing (https://arrow.apache.org/docs/format/Columnar.html).
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

__all__ = ["bits", "digests", "numbers", "texts"]

_DIGEST: Final = 32  # bytes
_DIGITS: Final = bytes.maketrans(b"\0\1", b"01")


def numbers(pa: Any, values: "array[int]", kind: Any) -> Any:
    """Make a column of numbers of that kind; the array must have its width."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def bits(pa: Any, values: Sequence[object]) -> Any:
    """Make a column of booleans."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bitmap(pa, values)])


def digests(pa: Any, values: Sequence[bytes | None]) -> Any:
    """Make a column of raw digests."""
    data = b"".join(bytes(_DIGEST) if one is None else one for one in values)
    return pa.Array.from_buffers(pa.binary(_DIGEST), len(values), [_present(pa, values), pa.py_buffer(data)])


def texts(pa: Any, values: Sequence[bytes | None], kind: Any) -> Any:
    """Make a column of strings, which are given as UTF-8, or of bytes."""
    data = b"".join(one for one in values if one is not None)
    ends = array("i", accumulate((0 if one is None else len(one) for one in values), initial=0))
    return pa.Array.from_buffers(kind, len(values), [_present(pa, values), pa.py_buffer(ends), pa.py_buffer(data)])


def _present(pa: Any, values: Sequence[object]) -> Any:
    """Return the bitmap of what is not missing; None where nothing is."""
    return _bitmap(pa, [one is not None for one in values]) if None in values else None


def _bitmap(pa: Any, values: Iterable[object]) -> Any:
    """Return bits, the first value's the lowest of the first byte; as digits of one number, which needs no numpy."""
    digits = bytes(map(bool, values)).translate(_DIGITS)
    return pa.py_buffer(int(b"0" + digits[::-1], 2).to_bytes((len(digits) + 7) // 8, "little"))
