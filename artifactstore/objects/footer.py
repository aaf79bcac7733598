"""The end of a Parquet file, and the heads of its pages, as they are written: Arrow ends the process at some that are damaged.

Asked for a part of a column, pyarrow lets an error of C++ through that nothing can catch, for columns with a key of their own
as well as for counts that contradict each other. So what is asked before anything is decoded is read here.

Source: `parquet.thrift` and `Encryption.md` of apache/parquet-format 2.11; Thrift's compact protocol, `thrift-compact-protocol.md`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["DICTIONARIES", "Footer", "Group", "Part", "encodings_of_pages", "read_footer"]

DICTIONARIES: Final = frozenset({2, 8})  # the encodings by which a text stands for several: PLAIN_DICTIONARY, RLE_DICTIONARY
_MAGIC: Final = b"PAR1"
_BYTE_ARRAY: Final = 6
_DEPTH: Final = 64  # as Thrift's own reader
_BOOLEANS: Final = (1, 2)
_INT16: Final = 4
_INT32: Final = 5
_INT64: Final = 6
_BINARY: Final = 8
_LIST: Final = 9
_SET: Final = 10
_MAP: Final = 11
_STRUCT: Final = 12
_FIXED: Final = {3: 1, 7: 8, 13: 16}  # bytes of a byte, a double, a UUID
_ONES: Final = 2**64 - 1
_MARK: Final[Mapping[int, Any]] = {}  # a struct of which nothing is wanted but whether it is there

# The fields of each struct that are wanted; a list as [what is in it].
_PART: Final = {1: _INT32, 2: [_INT32], 5: _INT64, 6: _INT64, 7: _INT64, 9: _INT64, 11: _INT64}
_GROUP: Final = {1: [{3: _PART, 8: {2: _MARK}}], 2: _INT64, 3: _INT64}
_FOOTER: Final = {3: _INT64, 4: [_GROUP]}
_PAGE: Final = {3: _INT32, 5: {1: _INT32, 2: _INT32}, 8: {1: _INT32, 4: _INT32}}


@dataclass(frozen=True, slots=True)
class Part:
    """A column in a row group.

    Attributes:
        text: whether its values are bytes of any length.
        encodings: numbers of the encodings that it says to have.
        values: how many there are, with nulls.
        size: bytes of its pages, unpacked.
        packed: the same, as they lie in the file.
        start: where the first of them begins.
    """

    text: bool
    encodings: frozenset[int]
    values: int
    size: int
    packed: int
    start: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row group.

    Attributes:
        rows: how many.
        size: bytes of its pages, unpacked.
        parts: one for each column.
    """

    rows: int
    size: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Footer:
    """What the end of a file says.

    Attributes:
        rows: of the table.
        groups: its row groups.
    """

    rows: int
    groups: tuple[Group, ...]


def read_footer(file: Any) -> Footer:
    """Read the end of a Parquet file.

    Args:
        file: open for reading, can seek.

    Raises:
        ValueError: it is not the end of one, contradicts itself, or columns are encrypted.
    """
    size = file.seek(0, 2) or file.tell()
    file.seek(max(0, size - 8))
    tail = bytes(file.read(8))
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] == b"PARE":
        raise ValueError("it is encrypted")
    if tail[4:] != _MAGIC or length > size - 12:
        raise ValueError("it does not end as Parquet does")
    file.seek(size - 8 - length)
    said = _Compact(bytes(file.read(length))).struct(_FOOTER)
    return Footer(said.get(3, 0), tuple(_group(one) for one in said.get(4, ())))


def _group(said: Mapping[int, Any]) -> Group:
    parts = []
    for one in said.get(1, ()):
        if 2 in one.get(8, ()):
            raise ValueError("it has columns that are encrypted")
        part = one.get(3, {})
        data, dictionary = part.get(9, 0), part.get(11, 0)
        numbers = part.get(5, 0), part.get(6, 0), part.get(7, 0)
        if min(*numbers, data) < 0:
            raise ValueError("it has sizes below 0")
        start = dictionary if 0 < dictionary < data else data
        parts.append(Part(part.get(1) == _BYTE_ARRAY, frozenset(part.get(2, ())), *numbers, start))
    return Group(said.get(3, 0), said.get(2, 0), tuple(parts))


def encodings_of_pages(data: memoryview, part: Part) -> Iterator[int]:
    """Yield the encoding of each page of a column's part, as the page itself says.

    Args:
        data: the whole file.
        part: of it.

    Raises:
        ValueError: a page's head can't be read.
    """
    at, end = part.start, min(part.start + part.packed, len(data))
    values = 0
    while at < end and values < part.values:
        head = _Compact(data[at:end])
        said = head.struct(_PAGE)
        for kind in (5, 8):  # a page of data, in the first or the second version
            if kind in said:
                values += max(0, said[kind].get(1, 0))
                yield said[kind].get(2 if kind == 5 else 4, 0)
        at += head.at + max(0, said.get(3, 0))


class _Compact:
    """Reads Thrift's compact protocol: what is wanted of it, and over the rest.

    As C++ does: a field of another type than it should have is not there, of several with one number the last counts, and
    numbers lose what they have too much.

    Args:
        data: what is read.

    Attributes:
        at: how far it is read.
    """

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self.at = 0

    def struct(self, wanted: Mapping[int, Any]) -> dict[int, Any]:
        """Read a struct; returns the fields of it that are wanted.

        Raises:
            ValueError: it is cut off, or no struct.
        """
        try:
            return self._struct(wanted, 0)
        except IndexError:
            raise ValueError("it is cut off") from None

    def _struct(self, wanted: Mapping[int, Any], depth: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        data, number = self._data, 0
        while True:
            head = data[self.at]
            self.at += 1
            kind, step = head & 15, head >> 4
            if not kind:
                return found
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
                raise ValueError("it has a number that is too long")

    def _number(self, kind: int) -> int:
        value = self._unsigned()
        if kind != _INT64:
            value &= _ONES >> 32
        return value >> 1 ^ -(value & 1)

    def _count(self, inside: int) -> int:
        """Check how many items there are, of which each takes a byte at least."""
        if inside > len(self._data) - self.at:
            raise ValueError("it has a list that is longer than all of it")
        return inside

    def _list(self, want: Any, depth: int) -> list[Any]:
        head = self._data[self.at]
        self.at += 1
        count = self._count(head >> 4 if head < 0xF0 else self._unsigned())
        if want == _INT32:  # whatever it says that its items are
            return [self._number(_INT32) for _ in range(count)]
        if isinstance(want, Mapping):
            return [self._struct(want, _deeper(depth)) for _ in range(count)]
        for _ in range(count):
            self._skip(head & 15, depth, inside=True)
        return []

    def _skip(self, kind: int, depth: int, *, inside: bool = False) -> None:
        """Read over a value; a boolean has a byte of its own only inside of lists and maps."""
        if kind in (_INT16, _INT32, _INT64):
            self._unsigned()
        elif kind == _BINARY:
            length = self._unsigned()
            self.at += length
        elif kind == _STRUCT:
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
            raise ValueError("it has a value of no known type")

    def _skip_map(self, depth: int) -> None:
        if count := self._count(self._unsigned()):
            kinds = self._data[self.at]
            self.at += 1
            for _ in range(count):
                self._skip(kinds >> 4, depth, inside=True)
                self._skip(kinds & 15, depth, inside=True)


def _deeper(depth: int) -> int:
    if depth >= _DEPTH:
        raise ValueError("it is nested too deeply")
    return depth + 1
