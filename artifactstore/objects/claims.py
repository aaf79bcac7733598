"""What the end of a Parquet file says of its size, held against itself and against memory before anything is decoded.

A few bytes may stand for a billion rows, or for one long text again and again; and an end may lie about its parts.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from artifactstore.objects.kinds import width
from artifactstore.objects.room import check_room

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["check_claims", "check_rows"]

_AS_LONG: Final = frozenset(
    {"PLAIN", "RLE", "BIT_PACKED", "DELTA_LENGTH_BYTE_ARRAY"}
)  # encodings by which no text stands for several
_LEVELS: Final = 4  # bytes of a value in a list: how often it is repeated, and how much of it is there


def check_claims(file: "pq.ParquetFile", wanted: Collection[str] | None) -> None:
    """Refuse a table that would not fit into memory, or whose parts contradict each other.

    Args:
        file: the table.
        wanted: columns that are read; None for all.

    Raises:
        UnsupportedError: it may take more memory than is free.
        ValueError: its parts contradict each other.
    """
    import pyarrow as pa  # noqa: PLC0415

    metadata, schema = file.metadata, file.schema_arrow
    fields = [field for field in schema if wanted is None or field.name in wanted]
    categories = {field.name for field in fields if pa.types.is_dictionary(field.type)}
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != metadata.num_rows:
        raise ValueError(f"it says that it has {metadata.num_rows:,} rows, and its parts say otherwise")
    size = metadata.num_rows * width(pa.schema(fields), 4)  # an offset, or a number in a dictionary
    for number in range(metadata.num_columns):
        leaf = metadata.schema.column(number)
        if wanted is None or any(leaf.path == name or leaf.path.startswith(f"{name}.") for name in wanted):
            repeated = leaf.max_repetition_level > 0
            size += sum(_more(group, number, repeated=repeated, kept=leaf.path in categories) for group in groups)
    check_room(size, "the table", "open_table reads it in parts, columns= only some of it")


def _more(group: Any, number: int, *, repeated: bool, kept: bool) -> int:
    """Return the bytes of a column's part that its rows alone do not tell: what is in lists, and texts."""
    part = group.column(number)
    values = part.num_values
    if values < group.num_rows or (values > group.num_rows and not repeated):
        raise ValueError(f"of {group.num_rows:,} rows, {part.path_in_schema[:100]!r} has {values:,} values")
    more = values * (_LEVELS + 8) if repeated else 0
    if part.physical_type == "BYTE_ARRAY" and not kept:
        # This library writes texts as they are. Where they may be repeated, each may be as long as all of them.
        more += part.total_uncompressed_size * (1 if _AS_LONG.issuperset(part.encodings) else max(1, values))
    return int(more)


def check_rows(file: "pq.ParquetFile", rows: int) -> None:
    """Refuse a table that has other rows than its end says.

    Raises:
        ValueError: so it is.
    """
    if rows != file.metadata.num_rows:
        raise ValueError(f"it says that it has {file.metadata.num_rows:,} rows, and has {rows:,}")
