"""Classification of Arrow types (number, moment, text, other), and conversion of their values to JSON."""

import math
from typing import TYPE_CHECKING, Any, Final

from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "as_json",
    "columns_by_type",
    "frictionless",
    "is_moment",
    "is_number",
    "is_text",
    "no_rows",
    "plain",
    "plain_type",
    "rounded",
    "seconds_of",
    "width",
]

_MAX_TEXT: Final = 200  # max characters of a text shown
_DIGITS: Final = 12  # significant digits of a float: the last ones depend on the processor
_UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def no_rows(schema: "pa.Schema") -> "pa.Table":
    """Return an empty table of a schema. Arrow's own `empty_table` fails for lists of extension types, and for some tensors."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def columns_by_type(schema: "pa.Schema") -> "list[tuple[pa.DataType, list[int]]]":
    """Return the types of a schema, each with the numbers of its columns: there may be ten thousand of these, and few types."""
    import pyarrow as pa  # noqa: PLC0415

    found: dict[Any, tuple[pa.DataType, list[int]]] = {}
    for number, kind in enumerate(schema.types):
        # Extension types may have no hash, or one that does not fit their equality.
        found.setdefault(number if isinstance(kind, pa.BaseExtensionType) else kind, (kind, []))[1].append(number)
    return [*found.values()]


def plain_type(kind: "pa.DataType") -> "pa.DataType":
    """Return the type of a column's values: the value type of categories, the storage type of an extension type."""
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        kind = pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):  # Arrow can neither count nor compare these
        kind = pa.decimal128(kind.precision, kind.scale)
    return kind


def plain(column: Any) -> "pa.Array":
    """Return a column as one array of its plain type."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if isinstance(column, pa.ChunkedArray):
        column = (
            column.chunk(0)
            if column.num_chunks == 1
            else pa.concat_arrays(column.chunks)
            if column.num_chunks
            else pa.nulls(0, column.type)
        )
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    elif pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    kind = plain_type(column.type)
    return column if column.type == kind else column.cast(kind)


def is_number(kind: "pa.DataType") -> bool:
    """Return whether values are integers or floats."""
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_moment(kind: "pa.DataType") -> bool:
    """Return whether values are dates, times or durations."""
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_temporal(kind) and not pa.types.is_interval(kind))


def is_text(kind: "pa.DataType") -> bool:
    """Return whether values are texts or bytes."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def frictionless(kind: "pa.DataType") -> str:
    """Return the type of a Frictionless Table Schema (https://datapackage.org/standard/table-schema/)."""
    import pyarrow as pa  # noqa: PLC0415

    kind, types = plain_type(kind), pa.types
    for name, tests in {
        "boolean": (types.is_boolean,),
        "integer": (types.is_integer,),
        "number": (types.is_floating, types.is_decimal),
        "date": (types.is_date,),
        "time": (types.is_time,),
        "datetime": (types.is_timestamp,),
        "duration": (types.is_duration,),
        "string": (is_text,),
        "array": (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view),
        "object": (types.is_struct, types.is_map),
    }.items():
        if any(test(kind) for test in tests):
            return name
    return "any"


def seconds_of(column: "pa.Array") -> tuple[Any, Any]:
    """Return dates, times or durations as whole seconds and remaining nanoseconds: int64 each, 0 for missing values."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    kind = column.type
    narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    bits = column.view(pa.int32() if narrow else pa.int64())
    parts = np.asarray(bits.fill_null(0) if bits.null_count else bits).astype(np.int64)
    if pa.types.is_date32(kind):
        return parts * 86_400, np.zeros(len(parts), np.int64)
    unit = 10**3 if pa.types.is_date64(kind) else _UNITS[kind.unit]
    seconds = parts // unit
    return seconds, (parts - seconds * unit) * (10**9 // unit)


def width(schema: "pa.Schema", other: int) -> int:
    """Return the bytes per row; count `other` bytes for each value without a fixed width."""
    found = 0
    for field in schema:
        try:
            found += max(1, field.type.bit_width // 8)
        except ValueError:
            found += other
    return found


def rounded(number: float) -> float | None:
    """Return a float rounded to twelve digits; None if it is not finite, which JSON cannot express."""
    return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else None


def as_json(value: Any) -> Any:
    """Return a value of Arrow or Python as JSON; long texts are truncated."""
    if value is None or type(value) in (int, bool):
        return value
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(value, pa.Scalar):
        if is_moment(value.type) and value.is_valid:
            return _moment(value)
        value = value.as_py()
    if isinstance(value, float):
        return rounded(value)
    if value is None or isinstance(value, bool | int):
        return value
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _moment(value: Any) -> str:
    import pyarrow as pa  # noqa: PLC0415

    try:
        return str(value.cast(pa.string()).as_py())
    except pa.ArrowException:  # a duration, or a zone unknown on this machine
        return f"{value.value} {getattr(value.type, 'unit', '')}".strip()
