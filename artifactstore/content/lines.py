"""The plain lines of a listing from columns: a million of them without an object each."""

from array import array
from collections.abc import Iterator
from typing import Final

from artifactstore.content.compact import SIZE, Digests, Texts
from artifactstore.model.listing import Buffer, plain_line
from artifactstore.model.loading import LOADING

__all__ = ["plain_lines"]

_MANY: Final = 4096  # files, from which on loading Arrow's functions pays
_ROWS: Final = 65_536  # lines that are made together
_DIGITS: Final = 2 * SIZE


def plain_lines(paths: Texts, digests: Digests) -> Iterator[Buffer]:
    """Yield the lines of files, many in a row.

    Args:
        paths: of the files.
        digests: theirs.

    Raises:
        ValueError: there are more of one than of the other.
    """
    if len(paths) != len(digests):
        raise ValueError(f"{len(paths)} paths and {len(digests)} digests: as many of both are needed")
    if len(paths) < _MANY:
        yield "".join([plain_line(raw.hex(), path) for path, raw in zip(paths, digests, strict=True)]).encode()
        return
    for low in range(0, len(paths), _ROWS):
        yield _joined(paths, digests, low, min(low + _ROWS, len(paths)))


def _joined(paths: Texts, digests: Digests, low: int, high: int) -> Buffer:
    with LOADING:
        import pyarrow as pa  # noqa: PLC0415 - only for many
        import pyarrow.compute as pc  # noqa: PLC0415

    data = bytes(paths.data[paths.ends[low] : paths.ends[high]])
    if b"\\" in data or b"\n" in data:
        rows = zip(paths[low:high], digests[low:high], strict=True)
        return "".join([plain_line(raw.hex(), path) for path, raw in rows]).encode()
    kind, count = pa.large_binary(), high - low

    def column(ends: "array[int]", data: bytes) -> "pa.Array":
        return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(ends), pa.py_buffer(data)])

    digits = digests.data[low * SIZE : high * SIZE].hex().encode()
    hexes = column(array("q", range(0, len(digits) + 1, _DIGITS)), digits)
    between, after, nothing = (pa.scalar(one, kind) for one in (b"  ", b"\n", b""))
    made = pc.binary_join_element_wise(hexes, between, column(paths.relative(low, high), data), after, nothing)
    return memoryview(made.buffers()[2])[: len(digits) + 3 * count + len(data)]
