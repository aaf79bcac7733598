"""pandas frames and series as Arrow tables, and back: every column and every level of the index keeps its dtype.

pandas records dtypes in the schema's metadata. Where these do not restore a dtype (pyarrow restores an index by NumPy types
alone, and some dtypes have no name that pandas parses), it is recorded beside them under `artifactstore.pandas`. A frame whose
types still do not round-trip is rejected before anything is stored.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.objects.tables.categories import check_categories
from artifactstore.objects.tables.object_columns import as_objects, check_objects, check_same, exact_nested, is_object
from artifactstore.objects.tables.pandas_dtypes import as_dtype, dtype_name, restore_categories, same_dtype

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PANDAS", "frame_of", "reject_duplicates", "table_of"]

PANDAS: Final = b"artifactstore.pandas"  # in the schema's metadata: dtypes that pandas's own metadata do not restore
_INDEX: Final = "index"  # in it: "levels" for a MultiIndex of one level
_LABELS: Final = "labels"  # in it: the dtype of the labels of columns
_TYPES: Final = "types"  # in it: field → dtype
_REMEDIES: Final = "give the column one type, use zones of zoneinfo, or pass format='pickle'"
_ROWS: Final = 2**14  # objects compared at a time
_EXACT_FLOAT: Final = 2**53  # up to here a float represents every integer exactly


def reject_duplicates(names: Iterable[Any]) -> None:
    """Reject duplicate column names.

    Raises:
        InvalidInputError: with the duplicates.
    """
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InvalidInputError(f"duplicate column names {', '.join(map(repr, twice[:5]))}: rename them")


def table_of(frame: Any) -> "pa.Table":
    """Return a pandas frame as a table from which `frame_of` restores an equal frame.

    Raises:
        InvalidInputError: with the part that would be read back as something else.
    """
    import pyarrow as pa  # noqa: PLC0415

    reject_duplicates(frame.columns)
    if odd := [name for name in frame.index.names if name is not None and not isinstance(name, str)]:
        raise InvalidInputError(f"the index name must be a str or None, got {odd[0]!r}")
    for name, dtype in frame.dtypes.items():
        if type(getattr(dtype, "categories", None)).__name__ == "IntervalIndex":  # Arrow's own error is "unhashable type"
            text = f"the categories of column {name!r} are intervals, which Parquet cannot store"
            raise InvalidInputError(f"{text}: make them text by .astype(str), or pass format='pickle'")
    _check_levels(frame.index)
    left, frame = check_objects(frame), _with_json(frame)
    try:
        # Without any column the rows would be lost: then the index is stored as one, even a RangeIndex.
        table = pa.Table.from_pandas(frame, preserve_index=None if len(frame.columns) else True)
    except OverflowError as error:
        text = f"{_unsupported_column(frame)}: integers of more than 64 bits"
        raise InvalidInputError(f"{text}: make them text or floats, or pass format='pickle'") from error
    except Exception as error:  # of time zones and arrays of other packages, too
        raise InvalidInputError(f"{_unsupported_column(frame)}: {error!s:.300}: {_REMEDIES}") from error
    check_categories(table.schema)
    table = _noted(frame, table)
    levels = json.loads(table.schema.metadata[b"pandas"])["index_columns"]
    for number, column in left:
        kept = table.column(number if number >= 0 else table.column_names.index(levels[-1 - number]))
        if number < 0 and pa.types.is_nested(kept.type):
            text = f"level {-1 - number} of the index has {column[0]!r:.100}, which cannot be a label when it is read back"
            raise InvalidInputError(f"{text}: use .reset_index(), or pass format='pickle'")
        check_same(frame, number, column, _restored_objects(kept))
    return table


def _restored_objects(kept: "pa.ChunkedArray") -> Iterator[Any]:
    """Yield the restored values of an object column, in blocks."""
    for start in range(0, len(kept), _ROWS):
        block = kept.slice(start, _ROWS)
        yield from _restored(block.to_pandas(), block, {"numpy_type": "object"}, None)


def _unsupported_column(frame: Any) -> str:
    """Return which column Arrow rejects."""
    import pyarrow as pa  # noqa: PLC0415

    for number in range(frame.shape[1]):
        try:
            pa.Table.from_pandas(frame.iloc[:, [number]], preserve_index=False)
        except Exception:  # noqa: BLE001 - as above
            return f"column {frame.columns[number]!r} cannot be stored"
    return "the index cannot be stored"


def _check_levels(index: Any) -> None:
    """Reject a level of an index with missing values and integers beyond a float's range: pandas would convert it to floats.

    Raises:
        InvalidInputError: with the level.
    """
    for number, level in enumerate(getattr(index, "levels", ())):
        whole = type(level.dtype).__module__.startswith("numpy") and level.dtype.kind in "iu" and len(level)
        if whole and (index.codes[number] < 0).any() and not -_EXACT_FLOAT <= level.min() <= level.max() <= _EXACT_FLOAT:
            text = f"level {number} of the index has missing values and integers over 2**53, which would be read back as floats"
            raise InvalidInputError(f"{text}: make the level Int64, use .reset_index(), or pass format='pickle'")


def _with_json(frame: Any) -> Any:
    """Return a frame with `attrs` as JSON: NumPy scalars become Python's. pandas would drop all `attrs` if one is not JSON.

    Raises:
        InvalidInputError: with the value that is not JSON.
    """
    if not frame.attrs:
        return frame
    plain = {}
    for key, value in frame.attrs.items():
        try:
            plain[key] = json.loads(json.dumps(value, default=_scalar))
            json.dumps({key: None})
        except (TypeError, ValueError, RecursionError) as error:
            text = f"attrs[{key!r}] is not JSON: {error!s:.200}"
            raise InvalidInputError(f"{text}: remove it from .attrs, or pass format='pickle'") from error
    found = frame.copy(deep=False)
    found.attrs = plain
    return found


def _scalar(value: Any) -> Any:
    """Return a NumPy number or bool as Python's."""
    if type(value).__module__ == "numpy" and value.ndim == 0 and value.dtype.kind in "biuf":
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _noted(frame: Any, table: "pa.Table") -> "pa.Table":
    """Return the table with a record of each dtype that would not be restored without; each is verified."""
    types = _unreadable(frame, table)
    note: dict[str, Any] = {_TYPES: types} if types else {}
    if frame.index.nlevels == 1 and type(frame.index).__name__ == "MultiIndex":
        note[_INDEX] = "levels"
    back = _restored_frame(table := _with_note(table, note))
    parts = list(_parts(frame, back, table))
    more = {field: dtype_name(old) for field, old, new, _ in parts if not same_dtype(old, new)}
    again: dict[str, Any] = {_TYPES: types | more} if more else {}
    if type(frame.columns.dtype).__name__ == "StringDtype" and not same_dtype(back.columns.dtype, frame.columns.dtype):
        again[_LABELS] = dtype_name(frame.columns.dtype)
    if again:
        back = _restored_frame(table := _with_note(table, again))
        parts = list(_parts(frame, back, table))
    if not _same_labels(back.columns, frame.columns):
        raise InvalidInputError(f"columns called {frame.columns.tolist()[:5]!r} would be read back as other names: use strings")
    for _, old, new, what in parts:
        if not same_dtype(old, new):
            text = f"{what} of dtype {_shown(old)} would be read back as {_shown(new)}"
            raise InvalidInputError(f"{text}: give it another type by .astype() or .dt.tz_convert(), or pass format='pickle'")
    # A frame without columns stores a RangeIndex as a column.
    counted = not len(frame.columns) and type(frame.index).__name__ == "RangeIndex"
    if list(back.index.names) != list(frame.index.names) or (type(back.index) is not type(frame.index) and not counted):
        text = (
            f"an index of type {type(frame.index).__name__} with names {list(frame.index.names)!r} would be read back as another"
        )
        raise InvalidInputError(f"{text}: use .reset_index(), or pass format='pickle'")
    return table


def _unreadable(frame: Any, table: "pa.Table") -> dict[str, str]:
    """Return the fields whose dtype has a name that pandas cannot parse."""
    import pandas as pd  # noqa: PLC0415

    found: dict[str, str] = {}
    levels = [frame.index.get_level_values(number).dtype for number in range(frame.index.nlevels)]
    if not any(type(dtype).__name__ == "ArrowDtype" for dtype in [*frame.dtypes, *levels]):
        return found
    for field, dtype, *_ in _parts(frame, frame, table):
        if type(dtype).__name__ == "ArrowDtype":
            try:
                known = pd.api.types.pandas_dtype(str(dtype)) == dtype
            except (TypeError, NotImplementedError):
                known = False
            if not known:
                found[field] = "arrow"
    return found


def _restored_frame(table: "pa.Table") -> Any:
    """Return the restored frame, without its rows.

    Raises:
        InvalidInputError: it cannot be restored.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        return frame_of(table.slice(0, 0))
    except (pa.ArrowException, TypeError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
        for field in table.column_names:
            try:
                frame_of(table.slice(0, 0).select([field]))
            except (pa.ArrowException, TypeError, ValueError, AttributeError, KeyError, NotImplementedError):
                raise InvalidInputError(f"column {field!r} cannot be read back: {error!s:.300}: {_REMEDIES}") from error
        raise InvalidInputError(f"the table cannot be read back: {error!s:.300}: {_REMEDIES}") from error


def _with_note(table: "pa.Table", note: Mapping[str, Any]) -> "pa.Table":
    if not note:
        return table
    metadata = dict(table.schema.metadata or {})
    record = {**json.loads(metadata.get(PANDAS, b"{}")), **note}
    return table.replace_schema_metadata({**metadata, PANDAS: json.dumps(record, sort_keys=True).encode()})


def _parts(frame: Any, back: Any, table: "pa.Table") -> Iterable[tuple[str, Any, Any, str]]:
    """Yield for each column and each stored level: field, dtype, dtype in the other frame, and a label for messages."""
    pandas_metadata = json.loads(table.schema.metadata[b"pandas"])
    levels = pandas_metadata["index_columns"]
    stored = {one for one in levels if isinstance(one, str)}
    fields = [name for name in table.column_names if name not in stored]
    for field, old, new, label in zip(fields, frame.dtypes, back.dtypes, frame.columns, strict=True):
        yield field, old, new, f"column {label!r}"
    if back.index.nlevels == frame.index.nlevels == len(levels):
        for number, one in enumerate(levels):
            if isinstance(one, str):
                old, new = frame.index.get_level_values(number), back.index.get_level_values(number)
                yield one, old.dtype, new.dtype, f"level {number} of the index"


def _same_labels(a: Any, b: Any) -> bool:
    return bool(a.equals(b)) and list(a.names) == list(b.names) and (a.dtype == b.dtype or not len(b))


def _shown(dtype: Any) -> str:
    return f"category of {dtype.categories.dtype}" if type(dtype).__name__ == "CategoricalDtype" else str(dtype)


def frame_of(table: "pa.Table") -> Any:
    """Return a table as a pandas frame, by the recorded columns and index.

    Integers with missing values and no recorded dtype become floats if floats represent them exactly, else `Int64`.
    """
    metadata = table.schema.metadata or {}
    raw = metadata.get(b"pandas")
    pandas_metadata = json.loads(raw) if raw is not None else {"index_columns": [], "columns": [], "column_indexes": []}
    note = json.loads(metadata.get(PANDAS, b"{}"))
    known = {one["field_name"]: one for one in pandas_metadata["columns"]}
    fields = table.column_names
    types = note.get(_TYPES, {})
    columns = [
        {**one, "name": one["field_name"]} for one in pandas_metadata["columns"] if types.get(one["field_name"]) != "arrow"
    ]
    flat = {**pandas_metadata, "index_columns": [], "column_indexes": [], "columns": columns}
    frame = table.replace_schema_metadata({b"pandas": json.dumps(flat).encode()}).to_pandas()
    for number, field in enumerate(fields):
        column = table.column(number)
        if types.get(field) is None and _is_plain(column.type, known.get(field)):
            continue
        series = frame.iloc[:, number]
        made = _restored(series, column, known.get(field), types.get(field))
        if made is not series:
            frame.isetitem(number, made)
    if raw is None:
        return frame
    levels = [one for one in pandas_metadata["index_columns"] if not isinstance(one, str) or one in fields]
    positions = {one: fields.index(one) for one in levels if isinstance(one, str)}
    index = [_level(one, frame, positions, known) for one in levels]
    levels_at = {*positions.values()}
    keep = [number for number in range(len(fields)) if number not in levels_at]
    labels = _labels([fields[number] for number in keep], pandas_metadata, note.get(_LABELS))
    frame = frame.iloc[:, keep] if positions else frame
    frame.columns = labels
    if index:
        frame.index = _index(index, frame.index, many=note.get(_INDEX) == "levels")
    return frame


def _level(one: Any, frame: Any, positions: Mapping[str, int], known: Mapping[str, Any]) -> Any:
    import pandas as pd  # noqa: PLC0415

    if isinstance(one, str):
        series = frame.iloc[:, positions[one]]
        return pd.Index(series, dtype=series.dtype).rename(known[one]["name"])
    found = pd.RangeIndex(one["start"], one["stop"], one["step"], name=one["name"])
    return found if len(found) == len(frame) else pd.RangeIndex(len(frame), name=one["name"])


def _index(levels: list[Any], default: Any, *, many: bool) -> Any:
    import pandas as pd  # noqa: PLC0415

    if any(len(one) != len(default) for one in levels):
        return default
    return pd.MultiIndex.from_arrays(levels, names=[one.name for one in levels]) if len(levels) > 1 or many else levels[0]


def _labels(fields: list[str], pandas_metadata: Mapping[str, Any], dtype: str | None) -> Any:
    """Return the labels of columns, as pyarrow restores them."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    heads = pandas_metadata["column_indexes"]
    if not fields and len(heads) == 1 and heads[0]["pandas_type"] in {"int64", "integer"}:
        return pd.RangeIndex(0, name=heads[0]["name"])
    known = {*fields}
    columns = [one for one in pandas_metadata["columns"] if one["field_name"] in known]
    texts = len(heads) == 1 and heads[0]["numpy_type"] == "object" and heads[0]["pandas_type"] == "unicode"
    names = [one["name"] for one in columns]
    if texts and dtype is None and len(names) == len(fields) and all(isinstance(name, str) for name in names):
        at = {one["field_name"]: one["name"] for one in columns}
        return pd.Index([at[field] for field in fields], dtype=object, name=heads[0]["name"])
    # No types: only labels are needed, whatever pyarrow makes of a column.
    columns = [{**one, "numpy_type": "object", "pandas_type": "empty", "metadata": None} for one in columns]
    encoded = json.dumps({**pandas_metadata, "index_columns": [], "columns": columns}).encode()
    empty = pa.table([pa.array([], pa.null())] * len(fields), names=fields).replace_schema_metadata({b"pandas": encoded})
    labels = empty.to_pandas().columns
    if dtype is not None:
        return pd.Index(as_dtype(pd.Series(labels), dtype)).rename(labels.name)
    return labels.astype(object) if texts and labels.nlevels == 1 else labels


def _is_plain(kind: "pa.DataType", known: Mapping[str, Any] | None) -> bool:
    """Return whether pyarrow restores a column without a recorded dtype unchanged."""
    import pyarrow as pa  # noqa: PLC0415

    return (
        known is not None
        and known["numpy_type"] != "object"
        and not pa.types.is_dictionary(kind)
        and not pa.types.is_nested(kind)
    )


def _restored(series: Any, column: "pa.ChunkedArray", known: Mapping[str, Any] | None, noted: str | None) -> Any:
    """Return a column with its original dtype."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if noted == "arrow":
        return pd.Series(pd.arrays.ArrowExtensionArray(column), index=series.index, name=series.name)
    if pa.types.is_dictionary(kind) and hasattr(series, "cat"):
        return restore_categories(series, kind, noted)
    if noted is not None:
        return as_dtype(series, noted)
    if known is not None and known["numpy_type"] == "object" and not pa.types.is_nested(kind):
        return as_objects(series, column)
    if pa.types.is_nested(kind) and is_object(series):
        return exact_nested(series, column)
    if known is None and pa.types.is_integer(kind) and kind.bit_width == 64 and column.null_count and not _fits_a_float(column):
        return pd.Series(
            column.to_pandas(types_mapper=lambda one: pd.Int64Dtype() if pa.types.is_signed_integer(one) else pd.UInt64Dtype())
        )
    return series


def _fits_a_float(column: "pa.ChunkedArray") -> bool:
    import pyarrow.compute as pc  # noqa: PLC0415

    ends = pc.min_max(column).as_py()
    return all(one is None or -_EXACT_FLOAT <= one <= _EXACT_FLOAT for one in ends.values())
