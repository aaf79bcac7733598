"""A parser of Parquet footers and page headers: Arrow crashes the process on some damaged ones.

Asked for a part of a column, pyarrow lets a C++ error through that cannot be caught, for columns with an encryption key
as well as for contradictory counts. So everything that is checked before decoding is parsed here.

Source: `parquet.thrift` and `Encryption.md` of apache/parquet-format 2.11; Thrift's compact protocol, `thrift-compact-protocol.md`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from artifactstore.model.parquet.parts import ColumnChunk, Footer, Page, RowGroup

Buffer = bytes | bytearray | memoryview

__all__ = ["AS_LONG", "DICTIONARIES", "encodings_of_pages", "pages", "read_footer"]

DICTIONARIES: Final = frozenset({2, 8})  # encodings with repeated texts: PLAIN_DICTIONARY, RLE_DICTIONARY
AS_LONG: Final = frozenset({0, 3, 4, 6})  # PLAIN, RLE, BIT_PACKED, DELTA_LENGTH_BYTE_ARRAY: without repeated texts
_MAGIC: Final = b"PAR1"
_BYTE_ARRAY: Final = 6
_DEPTH: Final = 64  # like Thrift's own reader
_BOOLEANS: Final = (1, 2)
_INT16: Final = 4
_INT32: Final = 5
_INT64: Final = 6
_BINARY: Final = 8
_LIST: Final = 9
_SET: Final = 10
_MAP: Final = 11
_STRUCT: Final = 12
_SHORT: Final = frozenset({_INT16, _INT32, _INT64, _BINARY})
_FIXED: Final = {3: 1, 7: 8, 13: 16}  # bytes of a byte, a double, a UUID
_WORTH: Final = 256 * 1024
_ONES: Final = 2**64 - 1
_MARK: Final[Mapping[int, Any]] = {}  # a struct read for its presence only

# The wanted fields of each struct; a list as [its item type].
_PART: Final = {1: _INT32, 2: [_INT32], 5: _INT64, 6: _INT64, 7: _INT64, 9: _INT64, 11: _INT64}
_COLUMN: Final = {3: _PART, 8: {2: _MARK}}
_GROUP: Final = {1: [_COLUMN], 2: _INT64, 3: _INT64}
_FOOTER: Final = {3: _INT64, 4: [_GROUP]}
_PAGE: Final = {2: _INT32, 3: _INT32, 5: {1: _INT32, 2: _INT32}, 8: {1: _INT32, 4: _INT32}}


def _patterns() -> tuple["re.Pattern[bytes]", "re.Pattern[bytes]", "re.Pattern[bytes]"]:
    """Compile the patterns of the usual encoding: matching them is ten times as fast as parsing field by field.

    Each matches only what the parser below would parse to the same result, completely; everything else is left to the parser.

    Returns:
        A column of a row group (type, encodings, values, size, packed size, first page, dictionary), a page
        header (size, packed size; values and encoding of a data page, version 1), and a skipped struct.
    """

    def heads(*kinds: int) -> bytes:
        return b"[" + b"".join(b"\\x%02x" % (step << 4 | kind) for step in range(1, 16) for kind in kinds) + b"]"

    def several(kind: int, item: bytes, most: int) -> bytes:
        return b"(?>" + b"|".join(b"\\x%02x(?:%b){%d}" % (n << 4 | kind, item, n) for n in range(most, -1, -1)) + b")"

    number = rb"(?>[\x80-\xff]{0,9}[\x00-\x7f])"
    text = b"(?>" + b"|".join(b"\\x%02x.{%d}" % (n, n) for n in range(48)) + b")"
    fields = heads(_INT16, _INT32, _INT64) + number + b"|" + heads(*_BOOLEANS) + b"|" + heads(_BINARY) + text
    numbers = heads(_LIST) + b"(?>" + several(_INT32, number, 4) + b"|" + several(_INT64, number, 6) + b")"
    flat = b"(?>(?:" + fields + b")*+\\x00)"
    inner = b"(?>(?:" + fields + b"|" + numbers + b"|" + heads(_STRUCT) + flat + b")*+\\x00)"
    struct = b"(?>(?:" + fields + b"|" + numbers + b"|" + heads(_STRUCT) + inner + b")*+\\x00)"
    rest = b"(?:" + heads(_STRUCT) + struct + b"|" + heads(_LIST) + several(_STRUCT, flat, 4) + b")*+\\x00"
    part = (
        rb"(?>\x26" + number + rb")\x1c\x15(" + number + rb")\x19(" + several(_INT32, rb"[\x00-\x7f]", 4) + rb")\x19"
        + several(_BINARY, text, 6) + rb"\x15" + number + rb"\x16(" + number + rb")\x16(" + number + rb")\x16(" + number
        + rb")\x26(" + number + rb")(?>\x26(" + number + rb"))?+" + rest + b"(?:" + heads(_INT16, _INT32, _INT64) + number
        + rb")*+\x00"
    )  # fmt: skip
    head = rb"\x15[\x00-\x7f]\x15(" + number + rb")\x15(" + number + rb")\x2c\x15(" + number + rb")\x15(" + number + rb")"
    head += rb"\x15" + number + rb"\x15" + number + b"(?>" + heads(_STRUCT) + flat + rb")?+\x00\x00"
    return re.compile(part, re.DOTALL), re.compile(head, re.DOTALL), re.compile(struct, re.DOTALL)


class _Usual:
    """The patterns, compiled only once they pay off: compiling takes as long as parsing some hundred small files without them."""

    __slots__ = ("page", "part", "seen", "struct")

    def __init__(self) -> None:
        self.seen = 0  # bytes of footers
        self.part: re.Pattern[bytes] | None = None
        self.page: re.Pattern[bytes] | None = None
        self.struct: re.Pattern[bytes] | None = None

    def see(self, size: int) -> None:
        """Count a footer that is about to be parsed."""
        self.seen += size
        if self.seen > _WORTH and self.part is None:
            self.part, self.page, self.struct = _patterns()


_usual: Final = _Usual()


def read_footer(file: Any) -> Footer:
    """Parse the footer of a Parquet file.

    Args:
        file: open for reading, seekable.

    Raises:
        ValueError: it is not a footer, contradicts itself, or columns are encrypted.
    """
    size = file.seek(0, 2) or file.tell()
    file.seek(max(0, size - 8))
    tail = bytes(file.read(8))
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] == b"PARE":
        raise ValueError("it is encrypted")
    if tail[4:] != _MAGIC or length > size - 12:
        raise ValueError("it does not end like a Parquet file")
    file.seek(size - 8 - length)
    _usual.see(length)
    declared = _Compact(bytes(file.read(length))).struct(_FOOTER)
    return Footer(declared.get(3, 0), tuple(_group(one) for one in declared.get(4, ())))


def _group(declared: Mapping[int, Any]) -> RowGroup:
    parts = []
    for one in declared.get(1, ()):
        if isinstance(one, ColumnChunk):
            parts.append(one)
            continue
        if 2 in one.get(8, ()):
            raise ValueError("it has encrypted columns")
        part = one.get(3, {})
        data, dictionary = part.get(9, 0), part.get(11, 0)
        numbers = part.get(5, 0), part.get(6, 0), part.get(7, 0)
        if min(*numbers, data) < 0:
            raise ValueError("it has negative sizes")
        start = dictionary if 0 < dictionary < data else data
        parts.append(ColumnChunk(part.get(1) == _BYTE_ARRAY, frozenset(part.get(2, ())), *numbers, start))
    return RowGroup(declared.get(3, 0), declared.get(2, 0), tuple(parts))


def pages(data: Buffer, part: ColumnChunk) -> Iterator[Page]:
    """Yield a column chunk's pages.

    Args:
        data: the whole file.
        part: the column chunk.

    Raises:
        ValueError: a page header cannot be parsed.
    """
    at, end = part.start, min(part.start + part.packed, len(data))
    values = 0
    pattern, reader = _usual.page, _Compact(data)
    while at < end and values < part.values:
        if pattern is not None and (usual := pattern.match(data, at)):
            size, packed, count, encoding = (_signed(one, _INT32) for one in usual.groups())
            values += max(0, count)
            yield Page(encoding, max(0, count), max(0, size))
            at = usual.end() + max(0, packed)
            continue
        reader.at = at
        declared = reader.struct(_PAGE)
        size = max(0, declared.get(2, 0))
        for kind in (5, 8):  # a data page, version 1 or 2
            if kind in declared:
                count = max(0, declared[kind].get(1, 0))
                values += count
                yield Page(declared[kind].get(2 if kind == 5 else 4, 0), count, size)
                break
        else:
            yield Page(None, 0, size)
        at = reader.at + max(0, declared.get(3, 0))


def encodings_of_pages(data: Buffer, part: ColumnChunk) -> Iterator[int]:
    """Yield the encoding of each data page of a column chunk, from its page header.

    Raises:
        ValueError: a page header cannot be parsed.
    """
    return (page.encoding for page in pages(data, part) if page.encoding is not None)


class _Compact:
    """A parser of Thrift's compact protocol that skips unwanted fields.

    Like C++: a field of an unexpected type is ignored, of several with one number the last counts, and
    numbers are truncated to their width.

    Args:
        data: the bytes to parse.

    Attributes:
        at: the current offset.
    """

    __slots__ = ("_data", "at")

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self.at = 0

    def struct(self, wanted: Mapping[int, Any]) -> dict[int, Any]:
        """Parse a struct; return its wanted fields.

        Raises:
            ValueError: it is truncated, or not a struct.
        """
        try:
            return self._struct(wanted, 0)
        except IndexError:
            raise ValueError("it is truncated") from None

    def _struct(self, wanted: Mapping[int, Any], depth: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        data, number, at = self._data, 0, self.at
        while True:
            head = data[at]
            at += 1
            kind, step = head & 15, head >> 4
            if not kind:
                self.at = at
                return found
            if step and kind in _SHORT and data[at] < 128:  # nearly all fields: the fastest way to skip them
                number += step
                value = data[at]
                at += 1
                if kind == _BINARY:
                    at += value
                elif wanted.get(number) == kind:
                    found[number] = value >> 1 ^ -(value & 1)
                continue
            self.at = at
            number = number + step if step else self._number(_INT16)
            want = wanted.get(number)
            if kind == want:
                found[number] = self._number(kind)
            elif kind == _STRUCT and isinstance(want, Mapping):
                found[number] = self._struct(want, _deeper(depth))
            elif kind == _LIST and isinstance(want, list):
                found[number] = self._list(want[0], _deeper(depth))
            else:
                self._skip(kind, depth)
            at = self.at

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & _ONES
            shift += 7
            if shift > 63:
                raise ValueError("a number is too long")

    def _number(self, kind: int) -> int:
        value = self._unsigned()
        if kind != _INT64:
            value &= _ONES >> 32
        return value >> 1 ^ -(value & 1)

    def _count(self, inside: int) -> int:
        """Check the number of items, each of which takes at least a byte."""
        if inside > len(self._data) - self.at:
            raise ValueError("a list is longer than the footer")
        return inside

    def _list(self, want: Any, depth: int) -> list[Any]:
        head = self._data[self.at]
        self.at += 1
        count = self._count(head >> 4 if head < 0xF0 else self._unsigned())
        if want == _INT32:  # whatever the declared item type
            return [self._number(_INT32) for _ in range(count)]
        if isinstance(want, Mapping):
            return [(want is _COLUMN and self._usual()) or self._struct(want, _deeper(depth)) for _ in range(count)]
        for _ in range(count):
            self._skip(head & 15, depth, inside=True)
        return []

    def _usual(self) -> "ColumnChunk | None":
        """Parse a column of a row group if it has the usual encoding."""
        usual = None if _usual.part is None else _usual.part.match(self._data, self.at)
        if usual is None:
            return None
        kind, declared, *numbers, dictionary = usual.groups()
        values, size, packed, data = (_signed(one, _INT64) for one in numbers)
        start = 0 if dictionary is None else _signed(dictionary, _INT64)
        if min(values, size, packed, data) < 0:
            return None
        self.at = usual.end()
        # Each encoding is one byte, zigzag-encoded: an even number twice as high.
        encodings = frozenset([byte >> 1 ^ -(byte & 1) for byte in declared[1:]])
        return ColumnChunk(
            _signed(kind, _INT32) == _BYTE_ARRAY, encodings, values, size, packed, start if 0 < start < data else data
        )

    def _skip(self, kind: int, depth: int, *, inside: bool = False) -> None:
        """Skip a value; a boolean has a byte of its own only inside lists and maps."""
        if kind in (_INT16, _INT32, _INT64):
            self._unsigned()
        elif kind == _BINARY:
            length = self._unsigned()
            self.at += length
        elif kind == _STRUCT:
            if _usual.struct is not None and depth < _DEPTH - 4 and (usual := _usual.struct.match(self._data, self.at)):
                self.at = usual.end()
            else:
                self._struct(_MARK, _deeper(depth))
        elif kind in (_LIST, _SET):
            self._list(None, _deeper(depth))
        elif kind == _MAP:
            self._skip_map(_deeper(depth))
        elif kind in _BOOLEANS:
            self.at += inside
        elif kind in _FIXED:
            self.at += _FIXED[kind]
        else:
            raise ValueError("a value has an unknown type")

    def _skip_map(self, depth: int) -> None:
        if count := self._count(self._unsigned()):
            kinds = self._data[self.at]
            self.at += 1
            for _ in range(count):
                self._skip(kinds >> 4, depth, inside=True)
                self._skip(kinds & 15, depth, inside=True)


def _signed(raw: bytes, kind: int) -> int:
    """Parse a complete number, like `_number`."""
    value = raw[0]
    if value > 127:
        value &= 127
        for i in range(1, len(raw)):
            value |= (raw[i] & 127) << 7 * i
        value &= _ONES if kind == _INT64 else _ONES >> 32
    return value >> 1 ^ -(value & 1)


def _deeper(depth: int) -> int:
    if depth >= _DEPTH:
        raise ValueError("it is nested too deeply")
    return depth + 1
