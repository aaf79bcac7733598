"""Size limits: checks the sizes in a Parquet footer against each other and against free memory before anything is decoded.

A few bytes may encode a billion rows, or one long text repeated; and a footer may contradict the file's pages.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Buffer
from artifactstore.errors import UnsupportedError
from artifactstore.model.parquet.footer import AS_LONG, DICTIONARIES, encodings_of_pages
from artifactstore.model.parquet.parts import Footer, RowGroup
from artifactstore.objects.memory_limit import check_memory
from artifactstore.objects.tables.arrow_types import width

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["batches_of", "check_rows", "check_sizes"]

_MAX_ROWS: Final = 65_536  # max rows per batch
_BATCH_BYTES: Final = 2**26  # target bytes per batch, as estimated from the file
_BUFFER: Final = 2**16  # read buffer for a column's dictionary
_MAX_BATCH: Final = 2**28  # max bytes per batch, if each row had the longest text
_UNCHECKED: Final = 2**30  # bytes in memory below which no check is needed
_MAX_RATIO: Final = 100_000  # max ratio of a table's size in memory to its size in the file
_LEVELS: Final = 4  # bytes per value in a list, for repetition and definition levels


def check_sizes(file: "pq.ParquetFile", footer: Footer, wanted: Collection[str] | None, data: Buffer | None = None) -> None:
    """Reject a table that does not fit into memory, or whose row groups contradict each other.

    Args:
        file: the table.
        footer: its footer.
        wanted: the columns to read; None for all.
        data: the whole file, if it is in memory: the footer's text sizes are then checked against the pages.

    Raises:
        UnsupportedError: it may need more memory than is free, or expands far beyond its size in the file.
        ValueError: its row groups contradict each other.
    """
    import pyarrow as pa  # noqa: PLC0415

    schema, leaves = file.metadata.schema, file.metadata.num_columns
    fields = [field for field in file.schema_arrow if wanted is None or field.name in wanted]
    categories = {field.name for field in fields if pa.types.is_dictionary(field.type)}
    if sum(group.rows for group in footer.groups) != footer.rows or footer.rows != file.metadata.num_rows:
        raise ValueError(f"its footer declares {footer.rows:,} rows, its row groups another number")
    if any(len(group.parts) != leaves for group in footer.groups):
        raise ValueError(f"it has {leaves:,} columns, and some row groups have another number")
    size = footer.rows * width(pa.schema(fields), 4)  # an offset, or an index into a dictionary
    for number in range(leaves):
        leaf = schema.column(number)
        if _is_wanted(leaf.path, wanted):
            size += sum(_variable_size(group, number, leaf, kept=leaf.path in categories, data=data) for group in footer.groups)
    stored = sum(part.packed for group in footer.groups for part in group.parts)
    if size > max(_UNCHECKED, _MAX_RATIO * stored):  # this library's own files expand at most 3,500 times: all nulls
        text = f"the table would take {size / 1e9:,.1f} GB in memory, but has only {stored:,} bytes in the file"
        raise UnsupportedError(f"{text}: if that is intended, read it in parts with open_table, or get its files with to=")
    check_memory(size, "the table", "read it in parts with open_table, or pass columns=")


def _is_wanted(path: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or any(path == name or path.startswith(f"{name}.") for name in wanted)


def _variable_size(group: RowGroup, number: int, leaf: Any, *, kept: bool, data: Buffer | None) -> int:
    """Return a column chunk's bytes in memory beyond a fixed width per row: lists and texts."""
    part, repeated = group.parts[number], leaf.max_repetition_level > 0
    if part.values < group.rows or (part.values > group.rows and not repeated):
        raise ValueError(f"column {leaf.path[:100]!r} has {part.values:,} values for {group.rows:,} rows")
    more = part.values * (_LEVELS + 8) if repeated else 0
    if part.text and not kept:
        if data is not None and not part.encodings.issuperset(encodings_of_pages(memoryview(data), part)):
            raise ValueError(f"pages of {leaf.path[:100]!r} have another encoding than the footer declares")
        # This library writes plain texts. With encodings that repeat texts, each value may be as long as all of them together.
        more += part.size * (1 if AS_LONG.issuperset(part.encodings) else max(1, part.values))
    return more


def check_rows(file: "pq.ParquetFile", rows: int) -> None:
    """Reject a table whose row count differs from its footer's.

    Raises:
        ValueError: the counts differ.
    """
    if rows != file.metadata.num_rows:
        raise ValueError(f"its footer declares {file.metadata.num_rows:,} rows, but it has {rows:,}")


def batches_of(
    opened: Callable[..., "pq.ParquetFile"], footer: Footer, columns: Sequence[str] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yield all rows of a table in batches of about 64 MiB, however long its texts are.

    Args:
        opened: opens the table with the given pyarrow options.
        footer: its footer.
        columns: the columns to read; None for all.

    Raises:
        ValueError: its row groups contradict each other.
    """
    with opened() as table:
        for number, group in enumerate(footer.groups):
            rows = _rows_at_once(table, number, group, opened, columns)
            yield from table.iter_batches(rows, row_groups=[number], columns=None if columns is None else list(columns))


def _rows_at_once(
    table: "pq.ParquetFile",
    number: int,
    group: RowGroup,
    opened: Callable[..., "pq.ParquetFile"],
    columns: Sequence[str] | None,
) -> int:
    """Return how many rows of a row group to read at a time, from its size statistics or its byte count.

    Neither covers texts that are shared between rows: for those, assume that each row has the longest text.
    """
    row: int = max(width(table.schema_arrow, 4), group.size // max(1, group.rows), 1)
    longest = 1
    for at, part in enumerate(group.parts):
        if part.text and part.size * _MAX_ROWS > _MAX_BATCH and not AS_LONG.issuperset(part.encodings):
            path = table.metadata.schema.column(at).path
            if _is_wanted(path, columns):
                shared = DICTIONARIES.isdisjoint(part.encodings)  # prefix shared with the value before, by DELTA_BYTE_ARRAY
                longest = max(longest, part.size if shared else _longest(path, number, opened))
    return max(1, min(_MAX_ROWS, _BATCH_BYTES // row, _MAX_BATCH // longest))


def _longest(name: str, number: int, opened: Callable[..., "pq.ParquetFile"]) -> int:
    """Return the length in bytes of the longest text in a column chunk's dictionary."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    with opened(read_dictionary=[name], pre_buffer=False, buffer_size=_BUFFER) as file:
        first = next(file.iter_batches(1, row_groups=[number], columns=[name]), None)
    column = None if first is None else first.column(0)
    while column is not None and not pa.types.is_dictionary(column.type):  # it is nested in lists and structs
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        elif isinstance(column, pa.StructArray):
            column = column.field(0)
        else:
            column = getattr(column, "values", None)
    return 1 if column is None else int(pc.max(pc.binary_length(column.dictionary)).as_py() or 1)
