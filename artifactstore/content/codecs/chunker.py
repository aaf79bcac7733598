"""Chunker: FastCDC (2020 variant, normalised), with parameters chosen from the content alone.

Equal bytes always have equal cut points, whatever their name, source or read sizes: the rule is a function of the
first bytes, its parameters are in `store.json`, and golden cut points pin the algorithm (pyfastcdc's tables).
Chunking never changes a digest; it only decides what can be deduplicated.
"""

import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.remarks import remark

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

__all__ = ["CHUNKERS", "HEAD", "Cutter", "Rule", "choose_rule", "read_header"]

# name → (minimum, average, maximum) bytes. Text is edited by rows: small chunks share what stayed (measured: docs/decisions/0003).
CHUNKERS: Final[Mapping[str, tuple[int, int, int]]] = {
    "rows": (8 * 1024, 32 * 1024, 128 * 1024),
    "bytes": (16 * 1024, 64 * 1024, 256 * 1024),
    "tensors": (64 * 1024, 256 * 1024, 1024 * 1024),
}
HEAD: Final = 4096  # bytes that the rule reads
_MAX_HEADER: Final = 16 * 2**20  # a safetensors header larger than this is cut as plain bytes

Rule = tuple[str, tuple[int, ...]]  # the chunker's name, and offsets at which a chunk must begin


def choose_rule(head: bytes | memoryview, size: int, read_at: Callable[[int, int], bytes]) -> Rule:
    """Choose the chunker parameters for some content.

    Args:
        head: its first `HEAD` bytes (all, if it is shorter).
        size: its length in bytes.
        read_at: reads (offset, length) of it; called only for a safetensors header.

    Returns:
        `tensors` with the tensors' offsets for safetensors, `rows` for content without NUL in its head, else `bytes`.
    """
    start = bytes(head[:HEAD])
    bounds = _tensor_bounds(start, size, read_at)
    if bounds:
        return "tensors", bounds
    return ("bytes" if b"\0" in start else "rows"), ()


def read_header(start: bytes, size: int, read_at: Callable[[int, int], bytes]) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file (8-byte little-endian header length, JSON header, data), and the offset of its data.

    Args:
        start: its first bytes, at least 10.
        size: its length in bytes.
        read_at: reads (offset, length) of it.

    Returns:
        An empty header and 0 for any other file.
    """
    if len(start) < 10 or start[8:9] != b"{":
        return {}, 0
    (length,) = struct.unpack("<Q", start[:8])
    if not 2 <= length <= _MAX_HEADER or 8 + length > size:
        return {}, 0
    try:
        header = json.loads(read_at(8, length))
    except (ValueError, RecursionError):
        return {}, 0
    return (header, 8 + length) if isinstance(header, dict) else ({}, 0)


def _tensor_bounds(start: bytes, size: int, read_at: Callable[[int, int], bytes]) -> tuple[int, ...]:
    """Return the offsets of the tensors in a safetensors file, or ()."""
    header, base = read_header(start, size, read_at)
    try:
        bounds = {base + int(offset) for name, one in header.items() if name != "__metadata__" for offset in one["data_offsets"]}
    except (ValueError, TypeError, KeyError):
        return ()
    return tuple(sorted(bound for bound in bounds | {base} if 0 < bound < size)) if bounds else ()


class Cutter:
    """Cuts one stream of bytes, window by window."""

    def __init__(
        self,
        chunker: tuple[int, int, int],
        bounds: tuple[int, ...] = (),
        cuts: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        """Start a stream.

        Args:
            chunker: minimum, average and maximum size of a chunk in bytes.
            bounds: offsets at which a chunk must begin, ascending.
            cuts: begin of a stretch between two bounds → the ends of its chunks, if predetermined.
        """
        self.average, self.maximum = chunker[1:]
        self._cuts = {begin: ends for begin, ends in (cuts or {}).items() if self._short(begin, ends)}
        self._cdc = _fastcdc(chunker)
        self._bounds = bounds

    def cuts_zeros_evenly(self) -> bool:
        """Return whether zeros are cut into chunks of the maximum size from any chunk boundary on, with no other influence."""
        if self._bounds or self._cuts:
            return False
        return self.cut(memoryview(bytes(2 * self.maximum)), 0, last=True) == [self.maximum, 2 * self.maximum]

    def _short(self, begin: int, ends: Sequence[int]) -> bool:
        """Return whether all predetermined chunks fit a window: they may come from a store with other parameters."""
        return all(end - start <= self.maximum for start, end in pairwise([begin, *ends]))

    def cut(self, window: memoryview, offset: int, *, last: bool) -> list[int]:
        """Return the ends of the chunks in a window, relative to it.

        Args:
            window: bytes that start at a chunk boundary.
            offset: offset of the window in the content.
            last: whether the content ends here; if not, the bytes after the last end are passed again with the next window.
        """
        ends: list[int] = []
        start, size = 0, len(window)
        at = bisect_right(self._bounds, offset)
        while start < size:
            bound = self._bounds[at] - offset if at < len(self._bounds) else None
            stop = size if bound is None or bound > size else bound
            final = last if bound is None or bound > size else True
            end = start
            if (decided := self._cuts.get(self._bounds[at - 1] if at else 0)) is not None:
                low, high = bisect_right(decided, offset + start), bisect_right(decided, offset + stop)
                ends += [one - offset for one in decided[low:high]]
                if not final:
                    break
                start, at = stop, at + 1
                continue
            for chunk in self._cdc.cut_buf(window[start:stop]):
                end += chunk.length
                ends.append(end)
            if not final:
                # The end of the buffer is not a cut point, unless it happens to be one: then it is found again.
                ends.pop()
                break
            start = stop
            at += 1
        return ends


@cache
def _fastcdc(chunker: tuple[int, int, int]) -> "FastCDC":
    import pyfastcdc  # noqa: PLC0415 - not needed for small content

    if pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.py"):
        text = "pyfastcdc has no compiled part for this platform: chunking is about a hundred times slower"
        remark(text, RuntimeWarning)
    low, mean, high = chunker
    try:
        return pyfastcdc.FastCDC(mean, min_size=low, max_size=high, normalized_chunking=1)
    except ValueError as error:
        raise InvalidInputError(f"the chunker {chunker} cannot be used: {error}") from error
