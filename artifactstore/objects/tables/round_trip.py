"""Round-trip proof for tables: types that Parquet stores bit for bit are trusted, all others are written, read and compared.

With content-defined chunking, an error inside Arrow's writer aborts the whole process; without it, the same errors are
exceptions (measured with pyarrow 26.0; `tests/objects/test_arrow_faults.py` reports when that is fixed). So columns of the
other types are first written to a discarded buffer.
"""

from typing import IO, TYPE_CHECKING, Any, Final

import xxhash

from artifactstore.errors import InvalidInputError
from artifactstore.objects.tables.arrow_types import columns_by_type, no_rows
from artifactstore.objects.tables.categories import with_types

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RoundTripCheck", "check_types"]

_ROWS: Final = 2**14  # values compared at a time


def is_exact(kind: "pa.DataType", *, nested: bool = False) -> bool:
    """Return whether Parquet stores the values of an Arrow type exactly, and the stored Arrow schema its type."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if types.is_dictionary(kind):
        return not nested and is_exact(kind.value_type, nested=True)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return is_exact(kind.value_type, nested=True)
    if types.is_struct(kind) or types.is_map(kind):
        return all(is_exact(kind.field(number).type, nested=True) for number in range(kind.num_fields))
    if types.is_timestamp(kind) or types.is_time32(kind):
        return bool(kind.unit != "s")
    tests = (
        types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_string, types.is_large_string, types.is_binary,
        types.is_large_binary, types.is_fixed_size_binary, types.is_date32, types.is_time64, types.is_duration, types.is_decimal,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def check_types(schema: "pa.Schema", *, stream: bool) -> None:
    """Reject columns whose types do not round-trip; some would abort the process in Arrow's writer or reader.

    Args:
        schema: of the table.
        stream: whether the table is a stream, whose categories are known only at its end.

    Raises:
        InvalidInputError: with the column.
    """
    import pyarrow as pa  # noqa: PLC0415

    def empty(kind: "pa.DataType") -> bool:
        inner = [kind.field(number).type for number in range(kind.num_fields)]
        return (pa.types.is_fixed_size_list(kind) and not kind.list_size) or any(map(empty, inner))

    for kind, (number, *_) in columns_by_type(schema):
        field = schema.field(number)
        if empty(kind):
            raise InvalidInputError(f"column {field.name!r} has lists of fixed length 0, which cannot be read back: drop it")
        if stream and pa.types.is_dictionary(field.type) and field.type.ordered and not _is_text(field.type.value_type):
            text = f"column {field.name!r} has ordered categories, whose order is known only at the end of a stream"
            raise InvalidInputError(f"{text}: put a table (.read_all()), or cast the column to its values")


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary))


class RoundTripCheck:
    """Compares what is read back with what was written, for the types that `is_exact` does not cover.

    Args:
        schema: of the table.
    """

    def __init__(self, schema: "pa.Schema") -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._schema = schema
        kinds = columns_by_type(schema)
        odd = sorted(number for kind, numbers in kinds if not is_exact(kind) for number in numbers)
        self._odd = {schema.field(number).name: xxhash.xxh3_64() for number in odd}
        self._ordered: dict[str, Any] = {
            schema.field(number).name: None
            for kind, numbers in kinds
            if pa.types.is_dictionary(kind) and kind.ordered
            for number in numbers
        }
        self._typed = bool(self._odd) or any(not is_exact(kind, nested=True) for kind, _ in kinds)

    def rehearse(self, group: "pa.Table", **options: Any) -> None:
        """Write columns that may fail to a discarded buffer, and record their values.

        Args:
            group: rows that are about to be written.
            options: options of the writer.

        Raises:
            InvalidInputError: with the column that cannot be written.
        """
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        for name in self._ordered:
            for chunk in group.column(name).chunks:
                first = self._ordered[name]
                same = first is None or chunk.dictionary.equals(first)
                if not same and repr(chunk.dictionary.to_pylist()) != repr(first.to_pylist()):  # NaN is not NaN
                    text = f"column {name!r} has ordered categories that differ between its parts"
                    raise InvalidInputError(f"{text}: give all parts the same, or cast the column to its values")
                self._ordered[name] = chunk.dictionary
        for name, mark in self._odd.items():
            column = group.select([name])
            try:
                with pq.ParquetWriter(pa.MockOutputStream(), column.schema, **options) as writer:
                    writer.write_table(column)
            except (pa.ArrowException, OSError, TypeError, ValueError) as error:
                raise InvalidInputError(f"column {name!r} cannot be stored as Parquet: {str(error)[:300]}") from error
            _hash_values(mark, column.column(0))

    def check(self, file: IO[bytes], where: str) -> None:
        """Read back the written columns that need proof, and compare.

        Args:
            file: the written file.
            where: location, for messages.

        Raises:
            InvalidInputError: with the column that would be read back differently.
        """
        import pyarrow.parquet as pq  # noqa: PLC0415

        if not self._typed:
            return
        file.seek(0)
        with pq.ParquetFile(file) as written:
            arrow_schema = (written.metadata.metadata or {}).get(b"ARROW:schema", b"")
            back = with_types(no_rows(written.schema_arrow), arrow_schema, where)
            for field, found in zip(self._schema, back.schema, strict=True):
                _check_type(field, found.type)
            for name, mark in self._odd.items():
                field, again = self._schema.field(name), xxhash.xxh3_64()
                for number in range(written.num_row_groups):
                    column = with_types(
                        written.read_row_group(number, columns=[name]).select([name]), arrow_schema, where
                    ).column(0)
                    _check_type(field, column.type)  # some casts work only without rows
                    _hash_values(again, column)
                if again.digest() != mark.digest():
                    text = f"column {name!r} of type {field.type} would be read back with other values"
                    raise InvalidInputError(f"{text}: cast it to another type, or pass format='pickle'")


def _check_type(field: "pa.Field", found: "pa.DataType") -> None:
    if field.type != found:
        text = f"column {field.name!r} of type {field.type} would be read back as {found}"
        raise InvalidInputError(f"{text}: cast it, or pass format='pickle'")


def _hash_values(mark: Any, column: "pa.ChunkedArray") -> None:
    """Add the values of a column to a hash, as Python writes them: floats keep all their digits.

    Extension types are hashed by their storage: not all of them convert to Python values (a tensor in another order).
    """
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    for start in range(0, len(column), _ROWS):
        part = column.slice(start, _ROWS)
        try:
            counted = _numeric(part.type)
            values = (part.cast(counted) if counted != part.type else part).to_pylist()
        except pa.ArrowException:
            values = part.to_pylist()
        for value in values:
            mark.update(repr(value).encode(errors="surrogatepass"))


def _numeric(kind: "pa.DataType") -> "pa.DataType":
    """Return a type with numbers in place of timestamps: Python has none before the year 1, and none after 9999."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return pa.int32() if kind.bit_width == 32 else pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(_numeric(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_numeric(field.type)) for field in kind])
    return kind
