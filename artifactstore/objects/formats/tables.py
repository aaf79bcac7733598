"""Tables as Parquet: pandas, polars and pyarrow, in files that stay alike where their rows do.

Pages are cut where the content says so (content-defined chunking, https://arrow.apache.org/docs/python/parquet.html), so
rows that are added or changed leave most pages as they were, byte for byte. What a library notes of itself is left out:
the same frame gives the same file with the same pyarrow, whose version Parquet's `created_by` shows.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Buffer
from artifactstore.backend.pool import Pool
from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError, UnsupportedError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.footer import read_footer
from artifactstore.objects.base import ReadFolder, WriteFolder, texts
from artifactstore.objects.categories import KEY, check_categories, packed, unpacked, with_categories, with_types
from artifactstore.objects.claims import check_claims, check_rows
from artifactstore.objects.frames import PANDAS, frame_of, refuse_twins, table_of
from artifactstore.objects.kinds import width
from artifactstore.objects.profile import Profiler, mark_of
from artifactstore.objects.proof import Proof, check_types

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Table"]

_FILE: Final = "data.parquet"
_TYPE: Final = b"artifactstore.type"  # in the schema's metadata: what came in
_EMPTY: Final = b"artifactstore.empty"  # the same: of a table without rows all its columns, for their categories
_VALUE: Final = "value"  # the column of a series that has no name
_NAMED: Final = b"artifactstore.named"  # in the schema's metadata: that is the name of the series
_PAGES: Final = {"min_chunk_size": 32 * 1024, "max_chunk_size": 128 * 1024}  # bytes: some two of this store's chunks
_GROUP_ROWS: Final = 2**23  # rows of a row group at most
_GROUP_BYTES: Final = 2**28  # bytes of one at most, as the schema lets expect: what a writer holds in memory
_FEW: Final = (
    65_536  # rows that one thread reads: threads of Arrow that live at the end of a process may abort it (apache/arrow#34314)
)
_WIDE: Final = 32  # bytes that a value of no fixed width is reckoned at
_KINDS: Final = {"pandas": "pandas.DataFrame", "polars": "polars.DataFrame", "arrow": "pyarrow.Table"}


class Table:
    """A table, kept as `data.parquet`: index, categories, nullable types and time zones come back as they were."""

    name = "table"
    executes_code = False
    write_options = ("profile",)
    read_options = ("type", "columns")

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is a table or a column of pandas, polars or pyarrow."""
        return _kind(obj) is not None

    def write(self, obj: Any, folder: WriteFolder, *, profile: bool | str = True) -> None:
        """Write it, row group by row group: a reader of more than fits into memory streams through.

        Args:
            obj: the table.
            folder: where to.
            profile: False keeps no profile and no row hashes beside it, `full` looks at every row for what is else told of
                a sample, and so holds the table in memory.
        """
        import pyarrow as pa  # noqa: PLC0415

        if profile not in (True, False, "full"):
            raise InvalidInputError(f"profile={profile!r}: True, False or 'full'")
        kind = _kind(obj)
        if kind is None:
            raise InvalidInputError(f"format='table' keeps tables of pandas, polars or pyarrow, not a {type(obj).__name__}")
        try:
            schema, batches = _batches(obj, kind)
            first = next(batches, None)
            about = {**_steady(schema.metadata or {}), _TYPE: kind.encode()}
            if kind.endswith("Series") and obj.name == _VALUE:
                about[_NAMED] = b"1"
            if (first is None or not first.num_rows) and any(pa.types.is_dictionary(field.type) for field in schema):
                first = pa.RecordBatch.from_pylist([], schema) if first is None else first
                about[_EMPTY] = packed(first.slice(0, 0))
            schema = schema.with_metadata(about)
            batches = batches if first is None else chain((first,), batches)
            if not profile:
                _write(folder, schema, batches, None)
                return
            mark = None
            if _is_held(obj, kind):
                held = [*batches]
                batches, mark = iter(held), mark_of(schema, held, full=profile == "full")
            if mark is None or not folder.known(mark):
                _write(folder, schema, batches, Profiler(schema, full=profile == "full"))
            else:
                _write(folder, schema, batches, None)
                folder.late.append(lambda: _profile(folder, held, Profiler(schema, full=profile == "full")))
            folder.marks += [] if mark is None else [mark]
        except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError, OSError) as error:
            if isinstance(error, ArtifactStoreError) or (isinstance(error, OSError) and error.errno is not None):
                raise  # Parquet's own refusals are an OSError without a number
            text = f"the table can't be stored: {str(error)[:500]}: give the column one type, store the table in parts, or say format='pickle'"
            raise InvalidInputError(text) from error

    def read(self, folder: ReadFolder, *, type: str | None = None, columns: Any = None) -> Any:  # noqa: A002 - the option's name
        """Read it.

        Args:
            folder: of the object.
            type: `pandas`, `polars` or `arrow`, if it is to come as something else than it was put as.
            columns: only these are read.
        """
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        if type is not None and not (isinstance(type, str) and type in _KINDS):
            raise InvalidInputError(f"type={type!r}: one of {', '.join(map(repr, _KINDS))}")
        wanted = None if columns is None else texts(columns, "columns")

        def decode(source: Any, data: Buffer | None = None) -> "pa.Table":
            footer = read_footer(source)
            with pq.ParquetFile(source) as file:
                metadata = file.metadata.metadata or {}
                if _becomes(metadata, type).startswith("pandas"):
                    import pandas  # noqa: F401, ICN001, PLC0415 - Arrow knows its periods and intervals from then on
                names = file.schema_arrow.names
                if missing := [name for name in wanted or () if name not in names]:
                    raise InvalidInputError(
                        f"no column {', '.join(map(repr, missing))}; there are {', '.join(map(repr, names[:20]))}"
                    )
                chosen = None if wanted is None else [*wanted, *_levels(metadata, type, set(names) - set(wanted))]
                check_claims(file, footer, chosen, data)
                table = file.read(columns=chosen, use_threads=sum(group.size for group in footer.groups) > _FEW)
                if table.num_columns:
                    check_rows(file, table.num_rows)
                table = table if chosen is None else table.select(chosen)  # "a" is "a.b", too
                return with_types(table, metadata.get(b"ARROW:schema", b""), _FILE)

        try:
            if wanted is None:
                table = folder.used(_FILE, lambda buffer: decode(pa.BufferReader(pa.py_buffer(buffer)), buffer))
            else:
                table = decode(folder.open(_FILE))
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, InvalidInputError | MemoryError | UnsupportedError):
                raise
            raise CorruptionError(f"{_FILE} is no Parquet file that can be read: {str(error)[:200]}", location=_FILE) from error
        try:
            return _made(table, type)
        except ArtifactStoreError:
            raise
        except Exception as error:
            if isinstance(error, ImportError | MemoryError):
                raise
            text = f"the table can't become what was asked for ({str(error)[:200]}): say type='arrow', or columns= without those"
            raise UnsupportedError(text) from error


def _becomes(metadata: Mapping[bytes, bytes], wanted: str | None) -> str:
    """Return as what a table comes."""
    kind = metadata.get(_TYPE, b"pyarrow.Table").decode(errors="replace")
    return _KINDS[wanted] if wanted is not None and not kind.startswith(wanted) else kind


def _levels(metadata: Mapping[bytes, bytes], wanted: str | None, others: Collection[str]) -> list[str]:
    """Return the columns that are a frame's index: it comes along, whichever columns are asked for."""
    if not _becomes(metadata, wanted).startswith("pandas"):
        return []
    said = json.loads(metadata.get(b"pandas", b"{}"))
    return [one for one in said.get("index_columns", []) if isinstance(one, str) and one in others]


def _kind(obj: Any) -> str | None:
    """Return what an object is, by the names of its classes: no library is imported for it."""
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
    """Tell whether a table is in memory, and no stream."""
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
    refuse_twins(obj.schema.names)
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
            raise InvalidInputError(f"the series is called {obj.name!r}: a name is a str, or None")
        obj = obj.to_frame(_VALUE if obj.name is None else obj.name)
    return table_of(obj)


def _of_polars(obj: Any, kind: str) -> "pa.Table":
    frame = obj.to_frame(obj.name or _VALUE) if kind.endswith("Series") else obj
    if opaque := [name for name, kind in frame.schema.items() if kind.base_type().__name__ == "Object"]:
        names = ", ".join(map(repr, opaque[:5]))
        raise InvalidInputError(
            f"Python objects in column {names} have no place in a table: give it one type, or say format='pickle'"
        )
    if frame.height and not frame.width:
        raise InvalidInputError(f"a table of {frame.height} rows without columns would come back without rows: give it one")
    table = frame.to_arrow()
    back = _polars_of(table.slice(0, 0))
    for (name, old), (_, new) in zip(frame.schema.items(), back.schema.items(), strict=True):
        if old != new:
            raise InvalidInputError(f"column {name!r} of type {old} would come back as {new}: cast it, or say format='pickle'")
    return table


def _polars_of(table: "pa.Table") -> Any:
    import polars as pl  # noqa: PLC0415 - where it is not installed, the caller says type=

    frame = pl.from_arrow(table)
    return (
        frame.rename(dict(zip(frame.columns, table.column_names, strict=True))) if frame.columns != table.column_names else frame
    )


def _steady(metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Take out which versions of which libraries made a table: they are no part of it."""
    if b"pandas" not in metadata:
        return metadata
    said = json.loads(metadata[b"pandas"])
    said["pandas_version"] = "0"
    said["creator"] = {"library": "pyarrow", "version": "0"}
    return {**metadata, b"pandas": json.dumps(said, sort_keys=True).encode()}


def _rows_of_group(schema: "pa.Schema") -> int:
    """Return how many rows a row group has: a function of the schema, so that nobody's batches decide."""
    row, rows = width(schema, _WIDE), _GROUP_ROWS
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
        # A dictionary is in the order in which its values came: one row more at the front, and no page is as it was.
        "use_dictionary": [field.name for field in schema if pa.types.is_dictionary(field.type)] or False,
    }
    proof = Proof(schema)
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
    """Yield tables of so many rows each but for the last, however many the batches have."""
    import pyarrow as pa  # noqa: PLC0415

    held: list[Any] = []
    count = 0
    for batch in batches:
        if batch.num_rows and not batch.num_columns:
            raise InvalidInputError(f"a table of {batch.num_rows} rows without columns would come back without rows: give it one")
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
        columns = pa.Table.from_batches([unpacked(empty, _FILE)])
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
        raise UnsupportedError(f"this table was put as a {kind[:100]}, which this version does not know: say type='arrow'")
    return table
