"""Arrow columns built from raw buffers of Python values.

`pyarrow.array` is avoided: it imports pandas, if installed, to check whether a list is a series. That took 0.5 s of a
process's first put. None is a missing value (https://arrow.apache.org/docs/format/Columnar.html).
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

__all__ = [
    "all_equal",
    "bits",
    "digests",
    "memory",
    "numbers",
    "present",
    "raw_digests",
    "raw_texts",
    "strings",
    "texts",
    "truths",
]

Buffer = bytes | bytearray | memoryview

_DIGEST: Final = 32  # bytes
_DIGITS: Final = bytes.maketrans(b"\0\1", b"01")
_NUMBERS: Final = bytes.maketrans(b"01", b"\0\1")


def numbers(pa: Any, values: "array[int]", kind: Any) -> Any:
    """Make a column of numbers of a type; the array must have its width."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def bits(pa: Any, values: Sequence[object]) -> Any:
    """Make a column of booleans."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bitmap(pa, values)])


def digests(pa: Any, data: Buffer, present: Sequence[object] | None = None) -> Any:
    """Make a column of raw digests.

    Args:
        pa: pyarrow.
        data: all digests, concatenated, with any 32 bytes for a missing one.
        present: truthy for each digest that is present; None if all are.
    """
    count = len(data) // _DIGEST
    there = None if present is None or all(present) else _bitmap(pa, present)
    return pa.Array.from_buffers(pa.binary(_DIGEST), count, [there, pa.py_buffer(data)])


def strings(pa: Any, data: Buffer, ends: "array[int]") -> Any:
    """Make a column of strings from concatenated UTF-8; `ends` are their end offsets, after a 0."""
    return pa.Array.from_buffers(pa.string(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(data)])


def texts(pa: Any, values: Sequence[bytes | None], kind: Any) -> Any:
    """Make a column of strings, given as UTF-8, or of bytes."""
    data = b"".join(one for one in values if one is not None)
    ends = array("i", accumulate((0 if one is None else len(one) for one in values), initial=0))
    return pa.Array.from_buffers(kind, len(values), [_present(pa, values), pa.py_buffer(ends), pa.py_buffer(data)])


def memory(values: Any, code: str) -> memoryview:
    """Return the values of a column of numbers.

    Raises:
        ValueError: a value is missing.
    """
    width = array(code).itemsize
    if values.null_count:
        raise ValueError("a number is missing")
    raw = memoryview(values.buffers()[1] if len(values) else b"").cast("B")
    anything: Any = raw[values.offset * width : (values.offset + len(values)) * width]
    found: memoryview = anything.cast(code)  # the format letter is not a literal, which the stubs of `cast` require
    return found


def raw_digests(column: Any) -> memoryview:
    """Return the concatenated digests of a column; any bytes for a missing one."""
    if not len(column):
        return memoryview(b"")
    if column.type.byte_width != _DIGEST:
        raise ValueError(f"a digest must have {_DIGEST} bytes, got {column.type.byte_width}")
    return memoryview(column.buffers()[1]).cast("B")[column.offset * _DIGEST : (column.offset + len(column)) * _DIGEST]


def raw_texts(column: Any) -> tuple[Buffer, "array[int]"]:
    """Return the concatenated UTF-8 of a column's texts, and the begin of the first and the end of each.

    Raises:
        ValueError: a value is missing.
    """
    if column.null_count:
        raise ValueError("a text is missing")
    ends = array("i")
    if not len(column):
        return b"", array("i", [0])
    _, offsets, data = column.buffers()
    ends.frombytes(memoryview(offsets).cast("B")[column.offset * 4 : (column.offset + len(column) + 1) * 4])
    return (b"" if data is None else memoryview(data).cast("B")), ends


def all_equal(column: Any, text: bytes) -> bool:
    """Return whether all texts of a column equal `text`."""
    if column.null_count:
        return False
    data, ends = raw_texts(column)
    expected = array("i", range(ends[0], ends[0] + len(text) * len(column) + 1, len(text)))
    return ends == expected and data[ends[0] : ends[-1]] == text * len(column)


def present(column: Any) -> str:
    """Return for each value of a column whether it is present, as digits."""
    if not column.null_count:
        return "1" * len(column)
    bitmap = column.buffers()[0]
    return "0" * len(column) if bitmap is None else _digits(bitmap, column)


def truths(column: Any) -> bytes:
    """Return a column of booleans as bytes of 0 and 1.

    Raises:
        ValueError: a value is missing.
    """
    if column.null_count:
        raise ValueError("a boolean is missing")
    return _digits(column.buffers()[1], column).encode().translate(_NUMBERS) if len(column) else b""


def _digits(bitmap: Any, column: Any) -> str:
    end = column.offset + len(column)
    return f"{int.from_bytes(memoryview(bitmap)[: (end + 7) // 8], 'little'):0{end}b}"[::-1][column.offset : end]


def _present(pa: Any, values: Sequence[object]) -> Any:
    """Return the validity bitmap; None if no value is missing."""
    return _bitmap(pa, [one is not None for one in values]) if None in values else None


def _bitmap(pa: Any, values: Iterable[object]) -> Any:
    """Return a bitmap, least significant bit first; built from the digits of one number, without NumPy."""
    digits = bytes(map(bool, values)).translate(_DIGITS)
    return pa.py_buffer(int(b"0" + digits[::-1], 2).to_bytes((len(digits) + 7) // 8, "little"))
