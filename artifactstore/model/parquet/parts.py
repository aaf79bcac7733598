"""Parquet footers and page headers as values."""

from typing import NamedTuple

from artifactstore.runtime.records import dataclass

__all__ = ["ColumnChunk", "Footer", "Page", "RowGroup"]


class ColumnChunk(NamedTuple):  # a NamedTuple for speed: one per column of each file
    """A column in a row group.

    Attributes:
        text: whether its values are bytes of any length.
        encodings: numbers of the declared encodings.
        values: number of values, including nulls.
        size: bytes of its pages, uncompressed.
        packed: bytes of its pages, compressed.
        start: offset of the first page.
    """

    text: bool
    encodings: frozenset[int]
    values: int
    size: int
    packed: int
    start: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group.

    Attributes:
        rows: number of rows.
        size: bytes of its pages, uncompressed.
        parts: one for each column.
    """

    rows: int
    size: int
    parts: tuple[ColumnChunk, ...]


@dataclass(frozen=True, slots=True)
class Footer:
    """A parsed footer.

    Attributes:
        rows: of the table.
        groups: its row groups.
    """

    rows: int
    groups: tuple[RowGroup, ...]


class Page(NamedTuple):  # a NamedTuple for speed: one per column of each file
    """A page, as described by its header.

    Attributes:
        encoding: of its values; None for a dictionary or an index.
        values: number of values.
        size: its bytes, uncompressed.
    """

    encoding: int | None
    values: int
    size: int
