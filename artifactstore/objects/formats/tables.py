"""pandas, polars and pyarrow tables as Parquet, written so that files share bytes where tables share rows.

Page boundaries depend on content (content-defined chunking, https://arrow.apache.org/docs/python/parquet.html), so adding or
changing rows leaves most pages byte for byte the same. Version metadata of the libraries is dropped: equal frames give equal
files with the same pyarrow, whose version is in Parquet's `created_by`.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Buffer
from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError, UnsupportedError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.parquet.footer import read_footer
from artifactstore.objects.base import ReadFolder, WriteFolder, texts
from artifactstore.objects.tables.arrow_types import width
from artifactstore.objects.tables.categories import (
    KEY,
    check_categories,
    decode_categories,
    encode_categories,
    with_categories,
    with_types,
)
from artifactstore.objects.tables.pandas_frames import PANDAS, frame_of, reject_duplicates, table_of
from artifactstore.objects.tables.profile import Profiler, fingerprint
from artifactstore.objects.tables.round_trip import RoundTripCheck, check_types
from artifactstore.objects.tables.size_limits import check_rows, check_sizes
from artifactstore.runtime.threads import Pool

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Table"]

_FILE: Final = "data.parquet"
_TYPE: Final = b"artifactstore.type"  # in the schema's metadata: type of the table that was put
_EMPTY: Final = b"artifactstore.empty"  # likewise: all columns of a table without rows, for their categories
_VALUE: Final = "value"  # the column of a series without a name
_NAMED: Final = b"artifactstore.named"  # in the schema's metadata: the column name is the name of the series
_PAGES: Final = {"min_chunk_size": 32 * 1024, "max_chunk_size": 128 * 1024}  # bytes: about two of this store's chunks
_GROUP_ROWS: Final = 2**23  # max rows of a row group
_GROUP_BYTES: Final = 2**28  # max bytes of a row group, estimated from the schema: a writer's memory
_UNTHREADED_ROWS: Final = (
    65_536  # rows read without threads: Arrow threads alive at process exit may abort it (apache/arrow#34314)
)
_ASSUMED_WIDTH: Final = 32  # assumed bytes of a value without a fixed width
_KINDS: Final = {"pandas": "pandas.DataFrame", "polars": "polars.DataFrame", "arrow": "pyarrow.Table"}


class Table:
    """A table, stored as `data.parquet`: index, categories, nullable types and time zones round-trip."""

    name = "table"
    executes_code = False
    write_options = ("profile",)
    read_options = ("type", "columns")

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a table or a column of pandas, polars or pyarrow."""
        return _kind(obj) is not None

    def write(self, obj: Any, folder: WriteFolder, *, profile: bool | str = True) -> None:
        """Write it, one row group at a time: a reader of more than fits into memory is streamed.

        Args:
            obj: the table.
            folder: target folder.
            profile: False stores no profile and no row hashes; `full` computes from every row the statistics that are otherwise
                sampled, and so needs the table in memory.
        """
        import pyarrow as pa  # noqa: PLC0415

        if profile not in (True, False, "full"):
            raise InvalidInputError(f"profile= must be True, False or 'full', got {profile!r}")
        kind = _kind(obj)
        if kind is None:
            raise InvalidInputError(f"format='table' stores tables of pandas, polars or pyarrow, not a {type(obj).__name__}")
        try:
            schema, batches = _batches(obj, kind)
            first = next(batches, None)
            about = {**_steady(schema.metadata or {}), _TYPE: kind.encode()}
            if kind.endswith("Series") and obj.name == _VALUE:
                about[_NAMED] = b"1"
            if (first is None or not first.num_rows) and any(pa.types.is_dictionary(field.type) for field in schema):
                first = pa.RecordBatch.from_pylist([], schema) if first is None else first
                about[_EMPTY] = encode_categories(first.slice(0, 0))
            schema = schema.with_metadata(about)
            batches = batches if first is None else chain((first,), batches)
            if not profile:
                _write(folder, schema, batches, None)
                return
            mark = None
            if _is_held(obj, kind):
                held = [*batches]
                batches, mark = iter(held), fingerprint(schema, held, full=profile == "full")
            if mark is None or not folder.known(mark):
                _write(folder, schema, batches, Profiler(schema, full=profile == "full"))
            else:
                _write(folder, schema, batches, None)
                folder.late.append(lambda: _profile(folder, held, Profiler(schema, full=profile == "full")))
            folder.marks += [] if mark is None else [mark]
        except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError, OSError) as error:
            if isinstance(error, ArtifactStoreError) or (isinstance(error, OSError) and error.errno is not None):
                raise  # Parquet's own errors are an OSError without an errno
            text = f"the table cannot be stored: {str(error)[:500]}: give the column one type, store the table in parts, or pass format='pickle'"
            raise InvalidInputError(text) from error

    def read(self, folder: ReadFolder, *, type: str | None = None, columns: Any = None) -> Any:  # noqa: A002 - the option's name
        """Read the table.

        Args:
            folder: folder of the object.
            type: `pandas`, `polars` or `arrow`, to read it as another type than it was put as.
            columns: read only these.
        """
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        if type is not None and not (isinstance(type, str) and type in _KINDS):
            raise InvalidInputError(f"type= must be one of {', '.join(map(repr, _KINDS))}, got {type!r}")
        wanted = None if columns is None else texts(columns, "columns")

        def decode(source: Any, data: Buffer | None = None) -> "pa.Table":
            footer = read_footer(source)
            with pq.ParquetFile(source) as file:
                metadata = file.metadata.metadata or {}
                if _becomes(metadata, type).startswith("pandas"):
                    import pandas  # noqa: F401, ICN001, PLC0415 - registers its period and interval types with Arrow
                names = file.schema_arrow.names
                if missing := [name for name in wanted or () if name not in names]:
                    raise InvalidInputError(
                        f"no column {', '.join(map(repr, missing))}; available: {', '.join(map(repr, names[:20]))}"
                    )
                chosen = None if wanted is None else [*wanted, *_levels(metadata, type, set(names) - set(wanted))]
                check_sizes(file, footer, chosen, data)
                table = file.read(columns=chosen, use_threads=sum(group.size for group in footer.groups) > _UNTHREADED_ROWS)
                if table.num_columns:
                    check_rows(file, table.num_rows)
                table = table if chosen is None else table.select(chosen)  # "a" also reads "a.b"
                return with_types(table, metadata.get(b"ARROW:schema", b""), _FILE)

        try:
            if wanted is None:
                table = folder.used(_FILE, lambda buffer: decode(pa.BufferReader(pa.py_buffer(buffer)), buffer))
            else:
                table = decode(folder.open(_FILE))
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, InvalidInputError | MemoryError | UnsupportedError):
                raise
            raise CorruptionError(f"{_FILE} is not a readable Parquet file: {str(error)[:200]}", location=_FILE) from error
        try:
            return _made(table, type)
        except ArtifactStoreError:
            raise
        except Exception as error:
            if isinstance(error, ImportError | MemoryError):
                raise
            text = f"the table cannot be read as that type ({str(error)[:200]}): pass type='arrow', or columns= without those columns"
            raise UnsupportedError(text) from error


def _becomes(metadata: Mapping[bytes, bytes], wanted: str | None) -> str:
    """Return the type that a table is read as."""
    kind = metadata.get(_TYPE, b"pyarrow.Table").decode(errors="replace")
    return _KINDS[wanted] if wanted is not None and not kind.startswith(wanted) else kind


def _levels(metadata: Mapping[bytes, bytes], wanted: str | None, others: Collection[str]) -> list[str]:
    """Return the index columns of a frame: they are read whichever columns are selected."""
    if not _becomes(metadata, wanted).startswith("pandas"):
        return []
    pandas_metadata = json.loads(metadata.get(b"pandas", b"{}"))
    return [one for one in pandas_metadata.get("index_columns", []) if isinstance(one, str) and one in others]


def _kind(obj: Any) -> str | None:
    """Return an object's kind of table, by the names of its classes, without importing a library."""
    for one in type(obj).__mro__:
        top = one.__module__.partition(".")[0]
        if top == "pandas" and one.__name__ in {"DataFrame", "Series"}:
            return f"pandas.{one.__name__}"
        if top == "polars" and one.__name__ in {"DataFrame", "Series", "LazyFrame"}:
            return f"polars.{one.__name__}"
        if top == "pyarrow" and one.__name__ in {"Table", "RecordBatch", "RecordBatchReader", "Dataset"}:
            return "pyarrow.Table"
    return None


def _is_held(obj: Any, kind: str) -> bool:
    """Return whether a table is in memory, not a stream."""
    return kind != "pyarrow.Table" or hasattr(obj, "nbytes")


def _batches(obj: Any, kind: str) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    import pyarrow as pa  # noqa: PLC0415

    if kind == "polars.LazyFrame":
        raise InvalidInputError("a LazyFrame is a plan, not a table: put what .collect() gives")
    if kind.startswith("pandas"):
        obj = _of_pandas(obj, kind)
    elif kind.startswith("polars"):
        obj = _of_polars(obj, kind)
    if isinstance(obj, pa.RecordBatch):
        obj = pa.Table.from_batches([obj])
    if not isinstance(obj, pa.Table | pa.RecordBatchReader):
        obj = obj.scanner().to_reader()
    reject_duplicates(obj.schema.names)
    check_categories(obj.schema)
    check_types(obj.schema, stream=not isinstance(obj, pa.Table))
    obj = with_categories(obj) if isinstance(obj, pa.Table) else obj
    if isinstance(obj, pa.Table) and not obj.num_rows:
        columns = [one.chunk(0) if one.num_chunks else pa.nulls(0, one.type) for one in obj.columns]
        return obj.schema, iter([pa.RecordBatch.from_arrays(columns, schema=obj.schema)])
    return obj.schema, iter(obj.to_batches() if isinstance(obj, pa.Table) else obj)


def _of_pandas(obj: Any, kind: str) -> "pa.Table":
    if kind.endswith("Series"):
        if obj.name is not None and not isinstance(obj.name, str):
            raise InvalidInputError(f"the name of a series must be a str or None, got {obj.name!r}")
        obj = obj.to_frame(_VALUE if obj.name is None else obj.name)
    return table_of(obj)


def _of_polars(obj: Any, kind: str) -> "pa.Table":
    frame = obj.to_frame(obj.name or _VALUE) if kind.endswith("Series") else obj
    if opaque := [name for name, kind in frame.schema.items() if kind.base_type().__name__ == "Object"]:
        names = ", ".join(map(repr, opaque[:5]))
        raise InvalidInputError(
            f"Python objects in column {names} cannot be stored in a table: give it one type, or pass format='pickle'"
        )
    if frame.height and not frame.width:
        raise InvalidInputError(f"a table of {frame.height} rows without columns would be read back without rows: add a column")
    table = frame.to_arrow()
    back = _polars_of(table.slice(0, 0))
    for (name, old), (_, new) in zip(frame.schema.items(), back.schema.items(), strict=True):
        if old != new:
            raise InvalidInputError(
                f"column {name!r} of type {old} would be read back as {new}: cast it, or pass format='pickle'"
            )
    return table


def _polars_of(table: "pa.Table") -> Any:
    import polars as pl  # noqa: PLC0415 - if it is not installed, the caller passes type=

    frame = pl.from_arrow(table)
    return (
        frame.rename(dict(zip(frame.columns, table.column_names, strict=True))) if frame.columns != table.column_names else frame
    )


def _steady(metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Drop the versions of the libraries that made a table: they are not part of it."""
    if b"pandas" not in metadata:
        return metadata
    pandas_metadata = json.loads(metadata[b"pandas"])
    pandas_metadata["pandas_version"] = "0"
    pandas_metadata["creator"] = {"library": "pyarrow", "version": "0"}
    return {**metadata, b"pandas": json.dumps(pandas_metadata, sort_keys=True).encode()}


def _rows_of_group(schema: "pa.Schema") -> int:
    """Return the rows per row group: a function of the schema, so that it does not depend on the caller's batches."""
    row, rows = width(schema, _ASSUMED_WIDTH), _GROUP_ROWS
    while rows > 1024 and rows * row > _GROUP_BYTES:
        rows //= 2
    return rows


def _write(folder: WriteFolder, schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]", profiler: Profiler | None) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = _rows_of_group(schema)
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 1,
        "version": "2.6",
        # Dictionaries list values in order of appearance: with one more row at the front, every page would differ.
        "use_dictionary": [field.name for field in schema if pa.types.is_dictionary(field.type)] or False,
    }
    proof = RoundTripCheck(schema)
    with Pool(1, "artifactstore-profile") as beside, folder.open(_FILE) as file:
        with pq.ParquetWriter(file, schema, use_content_defined_chunking=_PAGES, **options) as writer:
            for group in _groups(batches, rows):
                proof.rehearse(group)
                looking = beside.submit(profiler.add, group) if profiler is not None else None
                writer.write_table(group.replace_schema_metadata(schema.metadata), row_group_size=rows)
                if looking is not None:
                    looking.result()
        proof.check(file, _FILE)
    if profiler is not None:
        _note(folder, profiler)


def _profile(folder: WriteFolder, batches: "list[pa.RecordBatch]", profiler: Profiler) -> None:
    """Profile a table that was written without a profile."""
    for group in _groups(iter(batches), _rows_of_group(batches[0].schema)):
        profiler.add(group)
    _note(folder, profiler)


def _note(folder: WriteFolder, profiler: Profiler) -> None:
    folder.note("profile", canonical_json(profiler.finish()))
    folder.note("rows", profiler.hashes.encode())


def _groups(batches: "Iterator[pa.RecordBatch]", rows: int) -> "Iterator[pa.Table]":
    """Yield tables of exactly `rows` rows, except for the last, however many rows the batches have."""
    import pyarrow as pa  # noqa: PLC0415

    held: list[Any] = []
    count = 0
    for batch in batches:
        if batch.num_rows and not batch.num_columns:
            raise InvalidInputError(
                f"a table of {batch.num_rows} rows without columns would be read back without rows: add a column"
            )
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            held, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield pa.Table.from_batches(held)


def _made(table: "pa.Table", wanted: str | None) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    metadata = dict(table.schema.metadata or {})
    kind = _becomes(metadata, wanted)
    metadata.pop(_TYPE, None)
    empty, named, _ = metadata.pop(_EMPTY, None), metadata.pop(_NAMED, None), metadata.pop(KEY, None)
    note = metadata.pop(PANDAS, None)
    table = table.replace_schema_metadata(metadata or None)
    if empty is not None and not table.num_rows:
        columns = pa.Table.from_batches([decode_categories(empty, _FILE)])
        table = columns.select(table.schema.names).replace_schema_metadata(table.schema.metadata)
    if kind.startswith("pandas"):
        frame = frame_of(table if note is None else table.replace_schema_metadata({**metadata, PANDAS: note}))
        if not kind.endswith("Series"):
            return frame
        column = frame.iloc[:, 0]
        column.name = None if column.name == _VALUE and named is None else column.name
        return column
    if kind.startswith("polars"):
        frame = _polars_of(table)
        if not kind.endswith("Series"):
            return frame
        column = frame.to_series(0)
        return column.rename("") if column.name == _VALUE and named is None else column
    if kind != "pyarrow.Table":
        raise UnsupportedError(f"this table was put as a {kind[:100]}, which this version does not know: pass type='arrow'")
    return table
