"""Categories that Parquet cannot store. It stores text categories as a dictionary, no others, and none without rows.

They are stored in the schema's metadata: an Arrow IPC stream of columns without rows, with the dictionaries, in base64.
"""

import base64
import struct
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.objects.tables.arrow_types import columns_by_type

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KEY", "check_categories", "decode_categories", "encode_categories", "with_categories", "with_types"]

KEY: Final = b"artifactstore.categories"


def with_categories(table: "pa.Table") -> "pa.Table":
    """Return a table whose schema records the categories of those columns that Parquet would drop."""
    import pyarrow as pa  # noqa: PLC0415

    names = [field.name for field in table.schema if pa.types.is_dictionary(field.type) and not _is_kept(field.type)]
    if not names or not table.num_rows:
        return table
    table = table.unify_dictionaries()
    columns = [table.column(name).chunk(0).slice(0, 0) for name in names]
    encoded = encode_categories(
        pa.RecordBatch.from_arrays(columns, schema=pa.schema([table.schema.field(name) for name in names]))
    )
    return table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: encoded})


def _is_kept(kind: "pa.DictionaryType") -> bool:
    import pyarrow as pa  # noqa: PLC0415

    value = kind.value_type
    return bool(
        pa.types.is_string(value)
        or pa.types.is_large_string(value)
        or pa.types.is_binary(value)
        or pa.types.is_large_binary(value)
    )


def check_categories(schema: "pa.Schema") -> None:
    """Reject categories that Parquet cannot store; for some, its writer would abort the process.

    Raises:
        InvalidInputError: with such a column.
    """
    import pyarrow as pa  # noqa: PLC0415

    def has_odd(kind: "pa.DataType") -> bool:
        inner = [kind.field(number).type for number in range(kind.num_fields)]
        if pa.types.is_dictionary(kind):
            value = kind.value_type
            tests = (pa.types.is_nested, pa.types.is_null, pa.types.is_string_view, pa.types.is_binary_view)
            return isinstance(value, pa.BaseExtensionType) or any(test(value) for test in tests)
        return any(map(has_odd, inner))

    for kind, (number, *_) in columns_by_type(schema):
        if has_odd(kind):
            text = f"the categories of column {schema.field(number).name!r} ({kind}) cannot be stored in Parquet"
            raise InvalidInputError(f"{text}: make them text (in pandas by .astype(str)), or pass format='pickle'")


def encode_categories(batch: "pa.RecordBatch") -> bytes:
    """Encode columns without rows as text."""
    import pyarrow as pa  # noqa: PLC0415

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema.remove_metadata()) as writer:
        writer.write_batch(batch.replace_schema_metadata(None))
    return base64.b64encode(sink.getvalue().to_pybytes())


def decode_categories(raw: bytes, where: str) -> "pa.RecordBatch":
    """Decode the output of `encode_categories`.

    Raises:
        CorruptionError: it cannot be decoded.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        data = pa.py_buffer(base64.b64decode(raw))
        for message in pa.ipc.MessageReader.open_stream(data):
            _reject_compressed(message)
        return pa.ipc.open_stream(data).read_next_batch()
    except (pa.ArrowException, ValueError, StopIteration, struct.error) as error:
        raise CorruptionError(f"{where} has categories that cannot be read: {error}", location=where) from error


def _reject_compressed(message: "pa.Message") -> None:
    """Reject an Arrow message with a compressed body, which is never written here: it could expand to any amount of memory.

    Arrow has no API for it, so the flatbuffer is parsed by hand (https://arrow.apache.org/docs/format/Columnar.html).

    Raises:
        ValueError: its body is compressed.
    """
    data = message.metadata.to_pybytes()

    def field(table: int, number: int) -> int:
        """Return the position of a field of a table; 0 if it is absent."""
        names = table - struct.unpack_from("<i", data, table)[0]
        at = 4 + 2 * number
        offset = struct.unpack_from("<H", data, names + at)[0] if at < struct.unpack_from("<H", data, names)[0] else 0
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return int(at + struct.unpack_from("<I", data, at)[0])

    if message.type not in {"record batch", "dictionary"}:
        return
    batch = follow(field(follow(0), 2))  # the message's header
    if message.type == "dictionary":
        batch = follow(field(batch, 1))
    if field(batch, 3):
        raise ValueError("they are compressed, and could expand to any amount of memory")


def with_types(table: "pa.Table", schema: bytes, where: str) -> "pa.Table":
    """Return a table with its original types, where Parquet cannot express them.

    Args:
        table: as it was read.
        schema: Arrow's schema, as stored beside Parquet's own, in base64; empty for none.
        where: location, for messages.

    Raises:
        CorruptionError: its categories cannot be read.
        ValueError: its values are not all among its categories.
    """
    import pyarrow as pa  # noqa: PLC0415

    if not schema:
        return table
    original, known = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema))), None
    for number, field in enumerate(table.schema):
        at = original.get_field_index(field.name)
        kind = original.field(at).type if at >= 0 else field.type
        renamed = pa.types.is_nested(kind) and str(kind) != str(field.type)  # Parquet renames the items of a list
        # A cast of lists of nulls aborts the process, or reads out of bounds (pyarrow 26.0).
        if kind == field.type and (not renamed or "null" in str(kind)):
            continue
        column = table.column(number)
        if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(field.type):
            raw = (table.schema.metadata or {}).get(KEY)
            known = decode_categories(raw, where) if known is None and raw is not None else known
            column_index = -1 if known is None else known.schema.get_field_index(field.name)
            column = _categorical(
                column, kind, known.column(column_index).dictionary if known is not None and column_index >= 0 else None
            )
            table = table.set_column(number, field.with_type(column.type), column)
        else:
            try:
                column = column.cast(kind)
            except pa.ArrowException:  # put rejects such a table
                continue
            table = table.set_column(number, field.with_type(kind), column)
    return table


def _categorical(column: "pa.ChunkedArray", kind: "pa.DictionaryType", categories: Any) -> "pa.ChunkedArray":
    """Return values as categories: the given ones, or else the values in order of appearance, which implies no ordering."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    column = column.cast(kind.value_type)
    given = categories is not None
    ordered = kind.ordered and (given or not len(column))
    categories = categories if given else column.unique().drop_null()
    codes = pc.index_in(column, value_set=categories)
    if given and codes.null_count != column.null_count:
        raise ValueError("a value is not in the categories")
    try:
        codes, index = codes.cast(kind.index_type), kind.index_type
    except pa.ArrowInvalid:
        index = codes.type  # a stream, whose batches had fewer categories each
    chunks = [pa.DictionaryArray.from_arrays(chunk, categories, ordered=ordered) for chunk in codes.chunks]
    return pa.chunked_array(chunks, pa.dictionary(index, kind.value_type, ordered))
