"""Bounded reads of the store's own Parquet files, which any writer may have written: known columns only, within a memory limit."""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from artifactstore.model.parquet.footer import AS_LONG, pages, read_footer
from artifactstore.model.parquet.parts import Footer
from artifactstore.runtime.loading import arrow
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Bounded"]

_LEAST: Final = 128 * 2**20  # bytes of memory that any file may take
_TIMES: Final = 1024  # and this many per byte of the file: repeated paths, digests and entries compress some 200 times
_MOST: Final = 2**31  # at most this many,
_LARGE: Final = 16  # except for large files: a manifest of 30 million chunks has 1 GB, and takes three
_ROWS: Final = 65_536
_LEVELS: Final = 4  # bytes of a list value's repetition and definition levels
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}


class Bounded:
    """A Parquet file whose columns are measured before decoding: some kilobytes may expand to gigabytes.

    Args:
        raw: the file.

    Attributes:
        metadata: its key-value metadata.

    Raises:
        ValueError: it contradicts itself (or ArrowException, OSError where Arrow detects it).
    """

    def __init__(self, raw: bytes) -> None:
        pa, pq = arrow(), arrow("parquet")
        self._raw = raw
        self._most = min(_LEAST + _TIMES * len(raw), max(_MOST, _LARGE * len(raw)))
        self._footer: Footer = read_footer(io.BytesIO(raw))
        self._file = pq.ParquetFile(pa.BufferReader(raw))
        described = self._file.metadata
        rows, leaves = self._footer.rows, described.num_columns
        if sum(group.rows for group in self._footer.groups) != rows or rows != described.num_rows:
            raise ValueError(f"it claims {rows:,} rows, but its row groups have a different number")
        if any(len(group.parts) != leaves for group in self._footer.groups):
            raise ValueError(f"it has {leaves:,} columns, but some of its row groups have a different number")
        self._leaves = [described.schema.column(number) for number in range(leaves)]
        self.metadata: dict[bytes, bytes] = described.metadata or {}

    def read(self, wanted: Callable[[str], bool], *, use_threads: bool = False) -> "pa.Table":
        """Read the wanted leaf columns, by their paths; the others are never decoded.

        Raises:
            ValueError: they contradict the footer, or exceed the memory limit for a file of this size.
        """
        (table,) = self._tables(wanted, use_threads=use_threads, whole=True)
        return table

    def groups(self, wanted: Callable[[str], bool], *, use_threads: bool = False) -> "Iterator[pa.Table]":
        """Read like `read`, one row group at a time where that takes less memory.

        Raises:
            ValueError: as `read`.
        """
        return self._tables(wanted, use_threads=use_threads, whole=len(self._footer.groups) < 2)

    def _tables(self, wanted: Callable[[str], bool], *, use_threads: bool, whole: bool) -> "Iterator[pa.Table]":
        total, plain, shared = 0, list[str](), dict[str, int]()
        for number, leaf in enumerate(self._leaves):
            path = leaf.path
            if wanted(path):
                one = self._count(number, leaf)
                total += one.size
                if leaf.max_repetition_level == 0 and one.repeated > self._most // 8:
                    shared[path] = one.longest
                else:
                    total += one.repeated
                    plain.append(path)
        self._check(total)
        rows = held = 0
        groups: list[tuple[int | None, int]] = [(at, group.rows) for at, group in enumerate(self._footer.groups)]
        for at, expected in [(None, self._footer.rows)] if whole else groups:
            table: pa.Table | None = None
            if plain and at is None:
                table = self._file.read(columns=plain, use_threads=use_threads)
            elif plain and at is not None:
                table = self._file.read_row_group(at, columns=plain, use_threads=use_threads)
            for path, longest in shared.items():
                column = self._in_batches(path, longest, at, held)
                held += column.nbytes
                table = column if table is None else table.append_column(column.schema.field(0), column.column(0))
            if table is not None:
                if table.num_rows != expected:
                    raise ValueError(f"it claims {expected:,} rows, but has {table.num_rows:,}")
                rows += table.num_rows
                yield table
        if rows != self._footer.rows or not self._leaves:
            raise ValueError(f"it claims {self._footer.rows:,} rows, but has a different number")

    def _count(self, number: int, leaf: Any) -> "_ColumnSize":
        """Measure a column's memory before decoding, from the footer and its page headers."""
        repeated, text = leaf.max_repetition_level > 0, leaf.physical_type == "BYTE_ARRAY"
        width = _WIDTHS.get(leaf.physical_type) or max(1, leaf.length)
        if repeated:
            width += _LEVELS
        size = longest = worst = 0
        for group in self._footer.groups:
            part = group.parts[number]
            if part.values < group.rows or (part.values > group.rows and not repeated) or min(group.rows, part.start) < 0:
                raise ValueError(f"column {leaf.path[:100]!r} has {part.values:,} values for {group.rows:,} rows")
            size += part.values * width
            most = 0
            for page in pages(self._raw, part):
                size += page.size
                # Every value of a dictionary may be the longest; other values may share a prefix in their page.
                if text and page.encoding not in AS_LONG:
                    most = max(most, page.size)
            worst += part.values * most
            longest = max(longest, most)
        return _ColumnSize(size, longest, worst)

    def _in_batches(self, path: str, longest: int, group: int | None, held: int) -> "pa.Table":
        """Read a column of one row group, or of all, a few rows at a time; `held` bytes of it were read already."""
        pa = arrow()
        rows = max(1, min(_ROWS, self._most // 8 // longest))
        groups = None if group is None else [group]
        batches, total = [], held
        for batch in self._file.iter_batches(rows, row_groups=groups, columns=[path], use_threads=False):
            total += batch.nbytes
            self._check(2 * total)  # in parts, and then in one
            batches.append(batch)
        return pa.Table.from_batches(batches)

    def _check(self, size: int) -> None:
        if size > self._most:
            raise ValueError(
                f"it would take {size:,} bytes of memory; the limit for a file of {len(self._raw):,} bytes is {self._most:,}"
            )


@dataclass(frozen=True, slots=True)
class _ColumnSize:
    """Memory estimate of a column.

    Attributes:
        size: bytes of its values, without repeated texts, and of its pages, uncompressed.
        longest: maximum bytes of a text that may occur several times.
        repeated: bytes of all of them, if each were the longest.
    """

    size: int
    longest: int
    repeated: int
