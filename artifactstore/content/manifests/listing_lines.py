"""The plain lines of a listing, built from columns without an object per file."""

from array import array
from collections.abc import Iterator
from typing import Any, Final

from artifactstore.content.manifests.compact_lists import SIZE, Digests, Texts
from artifactstore.model.listing import Buffer, plain_line
from artifactstore.runtime.loading import arrow

__all__ = ["plain_lines"]

_ARROW_MIN: Final = 250_000  # count of files from which on loading Arrow's functions pays
_ROWS: Final = 65_536  # lines that Arrow builds at a time
_DIGITS: Final = 2 * SIZE


def plain_lines(paths: Texts, digests: Digests) -> Iterator[Buffer]:
    """Yield the concatenated lines of files, in blocks.

    Args:
        paths: paths of the files.
        digests: their digests.

    Raises:
        ValueError: the counts differ.
    """
    if len(paths) != len(digests):
        raise ValueError(f"the counts must be equal, got {len(paths)} paths and {len(digests)} digests")
    escaped = b"\\" in paths.data or b"\n" in paths.data
    if len(paths) >= _ARROW_MIN and not escaped:
        for low in range(0, len(paths), _ROWS):
            yield _joined(paths, digests, low, min(low + _ROWS, len(paths)))
        return
    for raws, some in zip(digests.batches(), paths.batches(), strict=True):
        digits = raws.hex()
        hexes = [digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS)]
        made = (
            "".join(map(plain_line, hexes, some)) if escaped else "\n".join(map("  ".join, zip(hexes, some, strict=True))) + "\n"
        )
        yield made.encode()


def _joined(paths: Texts, digests: Digests, low: int, high: int) -> Buffer:
    pa, pc = arrow(), arrow("compute")  # only needed for many files
    kind, count = pa.large_binary(), high - low

    def column(ends: "array[int]", data: Buffer) -> Any:
        return pa.Array.from_buffers(kind, len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(data)])

    data = bytes(paths.data[paths.ends[low] : paths.ends[high]])
    digits = digests.data[low * SIZE : high * SIZE].hex().encode()
    hexes = column(array("q", range(0, len(digits) + 1, _DIGITS)), digits)
    # `pyarrow.scalar` would import pandas.
    between, after, nothing = (column(array("q", [0, len(one)]), one)[0] for one in (b"  ", b"\n", b""))
    made = pc.binary_join_element_wise(hexes, between, column(paths.relative(low, high), data), after, nothing)
    return memoryview(made.buffers()[2])[: len(digits) + 3 * count + len(data)]
