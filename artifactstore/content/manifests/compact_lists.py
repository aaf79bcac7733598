"""Compact sequences of texts and digests, without an object per item: five million paths and digests must fit in memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, pairwise
from typing import Any, Final, overload

from artifactstore.runtime.loading import numpy, numpy_pays

__all__ = ["SIZE", "Digests", "OptionalDigests", "Texts", "shifted"]

SIZE: Final = 32  # bytes of a digest
_BATCH: Final = 4096  # items built at a time
_NONE: Final = bytes(SIZE)
_ANY: Final = "surrogatepass"  # invalid text is rejected, with its name, by a later check


class Digests(Sequence[bytes]):
    """Raw digests, concatenated.

    Args:
        found: initial digests.

    Attributes:
        data: the concatenated digests.
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
            low, high, step = at.indices(len(self))
            if step == 1:
                return _cut(bytes(self.data[low * SIZE : max(low, high) * SIZE]))
            return [bytes(self.data[i * SIZE : i * SIZE + SIZE]) for i in range(low, high, step)]
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
        return chain.from_iterable(map(_cut, self.batches()))

    def batches(self) -> Iterator[bytes]:
        """Yield concatenated digests, some thousands at a time."""
        return (bytes(self.data[at : at + _BATCH * SIZE]) for at in range(0, len(self.data), _BATCH * SIZE))

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
        """Append a digest.

        Raises:
            ValueError: it does not have 32 bytes.
        """
        if len(digest) != SIZE:
            raise _wrong(digest)
        self.data += digest

    def extend(self, found: Iterable[bytes]) -> None:
        """Append digests.

        Raises:
            ValueError: a digest does not have 32 bytes.
        """
        some = [*found]
        for digest in some:
            if len(digest) != SIZE:
                raise _wrong(digest)
        self.data += b"".join(some)


class OptionalDigests(Sequence[bytes | None]):
    """Digests of which some are unknown.

    Attributes:
        digests: the digests; any 32 bytes for an unknown one.
        known: 1 for each known digest.
    """

    __slots__ = ("digests", "known")

    def __init__(self, found: Iterable[bytes | None] = ()) -> None:
        self.digests = Digests()
        self.known = bytearray()
        for one in found:
            self.append(one)

    def append(self, digest: bytes | None) -> None:
        """Append a digest.

        Raises:
            ValueError: it does not have 32 bytes.
        """
        self.digests.append(_NONE if digest is None else digest)
        self.known.append(digest is not None)

    def __len__(self) -> int:
        return len(self.known)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes | None]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return self.digests[at] if self.known[at] else None

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, OptionalDigests) else other)

    __hash__ = None  # type: ignore[assignment] # as a list

    def __iter__(self) -> Iterator[bytes | None]:
        return (digest if known else None for digest, known in zip(self.digests, self.known, strict=True))


class Texts(Sequence[str]):
    """Texts as concatenated UTF-8.

    Args:
        found: initial texts.

    Attributes:
        data: the concatenated texts.
        ends: their end offsets in bytes, after a 0.
    """

    __slots__ = ("data", "ends")

    def __init__(self, found: Iterable[str] = ()) -> None:
        self.data = bytearray()
        self.ends = array("q", [0])
        self.extend(found)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            low, high, step = at.indices(len(self))
            if step == 1:
                return [*chain.from_iterable(self.batches(low, max(low, high)))]
            return [self[i] for i in range(low, high, step)]
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self.data[self.ends[at] : self.ends[at + 1]].decode("utf-8", _ANY)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.batches())

    def batches(self, low: int = 0, high: int | None = None) -> Iterator[list[str]]:
        """Yield the texts from `low` to `high`, some thousands at a time: in batches as large as those of `Digests.batches`."""
        stop = len(self) if high is None else high
        return (self._some(at, min(at + _BATCH, stop)) for at in range(low, stop, _BATCH))

    def _some(self, low: int, high: int) -> list[str]:
        some = bytes(self.data[self.ends[low] : self.ends[high]])
        here = self.relative(low, high)
        if not some.isascii():
            return [some[a:b].decode("utf-8", _ANY) for a, b in pairwise(here)]
        text = some.decode("ascii")
        return [text[a:b] for a, b in pairwise(here)]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return self.ends == other.ends and self.data == other.data
        return list(self) == other

    __hash__ = None  # type: ignore[assignment] # as a list

    def __repr__(self) -> str:
        return f"Texts({self[:3]}, {len(self)} in all)"

    def find(self, text: str) -> int | None:
        """Return the index of a text, or None; the texts must be sorted by their UTF-8."""
        data, ends, wanted = self.data, self.ends, text.encode("utf-8", _ANY)
        low, high = 0, len(ends) - 1
        while low < high:
            middle = (low + high) // 2
            found = data[ends[middle] : ends[middle + 1]]
            if found == wanted:
                return middle
            if found < wanted:
                low = middle + 1
            else:
                high = middle
        return None

    def append(self, text: str) -> None:
        """Append a text."""
        data = self.data
        data += text.encode("utf-8", _ANY)
        self.ends.append(len(data))

    def extend(self, found: Iterable[str]) -> None:
        """Append texts."""
        some = [text.encode("utf-8", _ANY) for text in found]
        self.ends.extend(islice(accumulate(map(len, some), initial=len(self.data)), 1, None))
        self.data += b"".join(some)

    def extend_raw(self, data: Any, ends: "array[int]") -> None:
        """Append texts given as concatenated UTF-8, as in an Arrow column.

        Args:
            data: the bytes.
            ends: begin of the first text in `data`, then the end of each.
        """
        shift = len(self.data) - ends[0]
        self.data += data[ends[0] : ends[-1]]
        self.ends.extend(shifted(ends[1:], shift))

    def relative(self, low: int, high: int) -> "array[int]":
        """Return the end offsets of the texts from `low` to `high`, relative to the begin of the first, after a 0."""
        return shifted(self.ends[low : high + 1], -self.ends[low])


def shifted(values: "array[int]", by: int) -> "array[int]":
    """Return numbers of 4 or 8 bytes, each increased by `by`."""
    if not numpy_pays(len(values)):
        return array("q", [one + by for one in values])
    made = array("q")
    made.frombytes(memoryview(numpy().frombuffer(values, values.typecode).astype("q") + by).cast("B"))
    return made


def _cut(some: bytes) -> list[bytes]:
    return [some[i : i + SIZE] for i in range(0, len(some), SIZE)]


def _wrong(digest: bytes) -> ValueError:
    return ValueError(f"a digest must have {SIZE} bytes, got {len(digest)}")
