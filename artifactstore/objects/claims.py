"""What the end of a Parquet file says of its size, held against itself and against memory before anything is decoded.

A few bytes may stand for a billion rows, or for one long text again and again; and an end may lie about its parts.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Buffer
from artifactstore.errors import UnsupportedError
from artifactstore.model.footer import AS_LONG, DICTIONARIES, Footer, Group, encodings_of_pages
from artifactstore.objects.kinds import width
from artifactstore.objects.room import check_room

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["batches_of", "check_claims", "check_rows"]

_ROWS: Final = 65_536  # rows at a time at most
_BYTES: Final = 2**26  # bytes at a time, as a file lets expect
_BUFFER: Final = 2**16  # bytes of a column that are read at a time to see its dictionary
_MOST: Final = 2**28  # bytes at a time, if each row had the longest text
_AMPLE: Final = 2**30  # bytes in memory that nothing has to be said for
_SWOLLEN: Final = 100_000  # times the bytes of its pages that a table may take
_LEVELS: Final = 4  # bytes of a value in a list: how often it is repeated, and how much of it is there


def check_claims(file: "pq.ParquetFile", footer: Footer, wanted: Collection[str] | None, data: Buffer | None = None) -> None:
    """Refuse a table that would not fit into memory, or whose parts contradict each other.

    Args:
        file: the table.
        footer: its end.
        wanted: columns that are read; None for all.
        data: the whole file, if it is there: then what its end says of texts is held against its pages.

    Raises:
        UnsupportedError: it may take more memory than is free, or takes very much more than it has bytes.
        ValueError: its parts contradict each other.
    """
    import pyarrow as pa  # noqa: PLC0415

    schema, leaves = file.metadata.schema, file.metadata.num_columns
    fields = [field for field in file.schema_arrow if wanted is None or field.name in wanted]
    categories = {field.name for field in fields if pa.types.is_dictionary(field.type)}
    if sum(group.rows for group in footer.groups) != footer.rows or footer.rows != file.metadata.num_rows:
        raise ValueError(f"it says that it has {footer.rows:,} rows, and its parts say otherwise")
    if any(len(group.parts) != leaves for group in footer.groups):
        raise ValueError(f"it has {leaves:,} columns, and some of its parts have others")
    size = footer.rows * width(pa.schema(fields), 4)  # an offset, or a number in a dictionary
    for number in range(leaves):
        leaf = schema.column(number)
        if _is_wanted(leaf.path, wanted):
            size += sum(_more(group, number, leaf, kept=leaf.path in categories, data=data) for group in footer.groups)
    stored = sum(part.packed for group in footer.groups for part in group.parts)
    if size > max(_AMPLE, _SWOLLEN * stored):  # this library's own files have 3,500 times their bytes at most: nulls alone
        text = f"the table would take {size / 1e9:,.1f} GB in memory, and has {stored:,} bytes"
        raise UnsupportedError(f"{text}: if it is meant to be so, open_table reads it in parts, and its files come with to=")
    check_room(size, "the table", "open_table reads it in parts, columns= only some of it")


def _is_wanted(path: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or any(path == name or path.startswith(f"{name}.") for name in wanted)


def _more(group: Group, number: int, leaf: Any, *, kept: bool, data: Buffer | None) -> int:
    """Return the bytes of a column's part that its rows alone do not tell: what is in lists, and texts."""
    part, repeated = group.parts[number], leaf.max_repetition_level > 0
    if part.values < group.rows or (part.values > group.rows and not repeated):
        raise ValueError(f"of {group.rows:,} rows, {leaf.path[:100]!r} has {part.values:,} values")
    more = part.values * (_LEVELS + 8) if repeated else 0
    if part.text and not kept:
        if data is not None and not part.encodings.issuperset(encodings_of_pages(memoryview(data), part)):
            raise ValueError(f"pages of {leaf.path[:100]!r} are encoded otherwise than it says")
        # This library writes texts as they are. Where they may be repeated, each may be as long as all of them.
        more += part.size * (1 if AS_LONG.issuperset(part.encodings) else max(1, part.values))
    return more


def check_rows(file: "pq.ParquetFile", rows: int) -> None:
    """Refuse a table that has other rows than its end says.

    Raises:
        ValueError: so it is.
    """
    if rows != file.metadata.num_rows:
        raise ValueError(f"it says that it has {file.metadata.num_rows:,} rows, and has {rows:,}")


def batches_of(
    opened: Callable[..., "pq.ParquetFile"], footer: Footer, columns: Sequence[str] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yield all rows of a table, as many at a time as take some 64 MiB, however long its texts are.

    Args:
        opened: opens it, with the options of pyarrow that it is given.
        footer: its end.
        columns: those that are read; None for all.

    Raises:
        ValueError: its parts contradict each other.
    """
    with opened() as table:
        for number, group in enumerate(footer.groups):
            rows = _rows_at_once(table, number, group, opened, columns)
            yield from table.iter_batches(rows, row_groups=[number], columns=None if columns is None else list(columns))


def _rows_at_once(
    table: "pq.ParquetFile",
    number: int,
    group: Group,
    opened: Callable[..., "pq.ParquetFile"],
    columns: Sequence[str] | None,
) -> int:
    """Return how many rows of a row group are read at a time: its columns tell how long they are, or the bytes that it has.

    Neither tells it of texts that stand for several: then it is as if each row had the longest of them.
    """
    row: int = max(width(table.schema_arrow, 4), group.size // max(1, group.rows), 1)
    longest = 1
    for at, part in enumerate(group.parts):
        if part.text and part.size * _ROWS > _MOST and not AS_LONG.issuperset(part.encodings):
            path = table.metadata.schema.column(at).path
            if _is_wanted(path, columns):
                shared = DICTIONARIES.isdisjoint(part.encodings)  # with the one before, by DELTA_BYTE_ARRAY
                longest = max(longest, part.size if shared else _longest(path, number, opened))
    return max(1, min(_ROWS, _BYTES // row, _MOST // longest))


def _longest(name: str, number: int, opened: Callable[..., "pq.ParquetFile"]) -> int:
    """Return the bytes of the longest text in the dictionary of a column's part."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    with opened(read_dictionary=[name], pre_buffer=False, buffer_size=_BUFFER) as file:
        first = next(file.iter_batches(1, row_groups=[number], columns=[name]), None)
    column = None if first is None else first.column(0)
    while column is not None and not pa.types.is_dictionary(column.type):  # it lies in lists and records
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        elif isinstance(column, pa.StructArray):
            column = column.field(0)
        else:
            column = getattr(column, "values", None)
    return 1 if column is None else int(pc.max(pc.binary_length(column.dictionary)).as_py() or 1)
