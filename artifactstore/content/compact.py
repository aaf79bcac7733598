"""Sequences of texts and of digests that take no object each: five million paths and digests must fit into memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, Final, overload

__all__ = ["SIZE", "Digests", "Texts"]

SIZE: Final = 32  # bytes of a digest
_AT_ONCE: Final = 4096  # items that are made at a time
_ANY: Final = "surrogatepass"  # what is no text is for a check to refuse by name


class Digests(Sequence[bytes]):
    """Raw digests in a row.

    Args:
        found: what it begins with.

    Attributes:
        data: all of them, one behind the other.
    """

    __slots__ = ("data",)

    def __init__(self, found: Iterable[bytes] = ()) -> None:
        self.data = bytearray()
        self.extend(found)

    def __len__(self) -> int:
        return len(self.data) // SIZE

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [bytes(self.data[i * SIZE : i * SIZE + SIZE]) for i in range(*at.indices(len(self)))]
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(at)
        return bytes(self.data[at * SIZE : at * SIZE + SIZE])

    def __setitem__(self, at: int, digest: bytes) -> None:
        if len(digest) != SIZE:
            raise _wrong(digest)
        if not 0 <= at < len(self):
            raise IndexError(at)
        self.data[at * SIZE : at * SIZE + SIZE] = digest

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(map(self._some, range(0, len(self.data), _AT_ONCE * SIZE)))

    def _some(self, start: int) -> list[bytes]:
        some = bytes(self.data[start : start + _AT_ONCE * SIZE])
        return [some[i : i + SIZE] for i in range(0, len(some), SIZE)]

    def __contains__(self, digest: object) -> bool:
        if not isinstance(digest, bytes) or len(digest) != SIZE:
            return False
        at = self.data.find(digest)
        while at >= 0 and at % SIZE:
            at = self.data.find(digest, at + 1)
        return at >= 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Digests):
            return self.data == other.data
        return list(self) == other

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return f"Digests({[one.hex() for one in self[:3]]}, {len(self)} in all)"

    def append(self, digest: bytes) -> None:
        """Add one at the end.

        Raises:
            ValueError: it is not of 32 bytes.
        """
        if len(digest) != SIZE:
            raise _wrong(digest)
        self.data += digest

    def extend(self, found: Iterable[bytes]) -> None:
        """Add some at the end.

        Raises:
            ValueError: one is not of 32 bytes.
        """
        for digest in found:
            self.append(digest)


class Texts(Sequence[str]):
    """Texts in a row, as UTF-8.

    Args:
        found: what it begins with.

    Attributes:
        data: all of them, one behind the other.
        ends: where each ends, in bytes; a 0 before the first.
    """

    __slots__ = ("data", "ends")

    def __init__(self, found: Iterable[str] = ()) -> None:
        self.data = bytearray()
        self.ends = array("q", [0])
        for text in found:
            self.append(text)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self.data[self.ends[at] : self.ends[at + 1]].decode("utf-8", _ANY)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(map(self._some, range(0, len(self), _AT_ONCE)))

    def _some(self, low: int) -> list[str]:
        ends = self.ends[low : low + _AT_ONCE + 1]
        start = ends[0]
        some = bytes(self.data[start : ends[-1]])
        if not some.isascii():
            return [some[a - start : b - start].decode("utf-8", _ANY) for a, b in pairwise(ends)]
        text = some.decode("ascii")
        return [text[a - start : b - start] for a, b in pairwise(ends)]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return self.ends == other.ends and self.data == other.data
        return list(self) == other

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return f"Texts({self[:3]}, {len(self)} in all)"

    def append(self, text: str) -> None:
        """Add one at the end."""
        data = self.data
        data += text.encode("utf-8", _ANY)
        self.ends.append(len(data))


def _wrong(digest: bytes) -> ValueError:
    return ValueError(f"a digest must have {SIZE} bytes, found {len(digest)}")
