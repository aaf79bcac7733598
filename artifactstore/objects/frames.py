"""Frames and series of pandas as tables of Arrow, and back: every column and every level of the index with the dtype that it had.

pandas notes dtypes in the schema's metadata. Where these do not bring a dtype back (pyarrow restores an index by NumPy's types
alone, and some dtypes have no name that pandas reads), the dtype is noted beside them under `artifactstore.pandas`. A frame whose
types do not come back in spite of both is refused before anything is stored.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.objects.categories import check_categories
from artifactstore.objects.mixed import as_objects, check_objects, check_same, exact_nested, is_object, zone_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PANDAS", "frame_of", "refuse_twins", "table_of"]

PANDAS: Final = b"artifactstore.pandas"  # in the schema's metadata: dtypes that pandas's own metadata do not bring back
_INDEX: Final = "index"  # in it: "levels" for a MultiIndex of one level
_LABELS: Final = "labels"  # in it: the dtype of the labels of columns
_TYPES: Final = "types"  # in it: field → dtype
_WAYS: Final = "give the column one type, use zones of zoneinfo, or say format='pickle'"
_ROWS: Final = 2**14  # objects that are compared at a time
_EXACT: Final = 2**53  # up to here a float holds every whole number


def refuse_twins(names: Iterable[Any]) -> None:
    """Refuse columns of one name.

    Raises:
        InvalidInputError: names them.
    """
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InvalidInputError(f"several columns are called {', '.join(map(repr, twice[:5]))}: rename all but one")


def table_of(frame: Any) -> "pa.Table":
    """Return a frame of pandas as a table from which `frame_of` makes an equal one.

    Raises:
        InvalidInputError: a part of it would come back as something else; names the part.
    """
    import pyarrow as pa  # noqa: PLC0415

    refuse_twins(frame.columns)
    if odd := [name for name in frame.index.names if name is not None and not isinstance(name, str)]:
        raise InvalidInputError(f"the index is called {odd[0]!r}: a name is a str, or None")
    for name, dtype in frame.dtypes.items():
        if type(getattr(dtype, "categories", None)).__name__ == "IntervalIndex":  # Arrow's own word is "unhashable type"
            text = f"the categories of column {name!r} are intervals, which have no place in Parquet"
            raise InvalidInputError(f"{text}: make them text by .astype(str), or say format='pickle'")
    _check_levels(frame.index)
    left, frame = check_objects(frame), _with_json(frame)
    try:
        # Without any column there would be no rows: then the index is one, even if it only counts.
        table = pa.Table.from_pandas(frame, preserve_index=None if len(frame.columns) else True)
    except OverflowError as error:
        text = f"{_culprit(frame)}: whole numbers of more than 64 bits"
        raise InvalidInputError(f"{text}: make them text or floats, or say format='pickle'") from error
    except Exception as error:  # of time zones and arrays of other packages, too
        raise InvalidInputError(f"{_culprit(frame)}: {error!s:.300}: {_WAYS}") from error
    check_categories(table.schema)
    table = _noted(frame, table)
    levels = json.loads(table.schema.metadata[b"pandas"])["index_columns"]
    for number, column in left:
        kept = table.column(number if number >= 0 else table.column_names.index(levels[-1 - number]))
        if number < 0 and pa.types.is_nested(kept.type):
            text = f"level {-1 - number} of the index has {column[0]!r:.100}, which is no label when it comes back"
            raise InvalidInputError(f"{text}: use .reset_index(), or say format='pickle'")
        check_same(frame, number, column, _restored_objects(kept))
    return table


def _restored_objects(kept: "pa.ChunkedArray") -> Iterator[Any]:
    """Yield what comes back for a column of objects, some of it at a time."""
    for start in range(0, len(kept), _ROWS):
        block = kept.slice(start, _ROWS)
        yield from _restored(block.to_pandas(), block, {"numpy_type": "object"}, None)


def _culprit(frame: Any) -> str:
    """Return which column Arrow does not take."""
    import pyarrow as pa  # noqa: PLC0415

    for number in range(frame.shape[1]):
        try:
            pa.Table.from_pandas(frame.iloc[:, [number]], preserve_index=False)
        except Exception:  # noqa: BLE001 - as above
            return f"column {frame.columns[number]!r} can't be stored"
    return "the index can't be stored"


def _check_levels(index: Any) -> None:
    """Refuse a level of an index that has gaps and whole numbers which floats do not hold: pandas makes floats of them.

    Raises:
        InvalidInputError: names the level.
    """
    for number, level in enumerate(getattr(index, "levels", ())):
        whole = type(level.dtype).__module__.startswith("numpy") and level.dtype.kind in "iu" and len(level)
        if whole and (index.codes[number] < 0).any() and not -_EXACT <= level.min() <= level.max() <= _EXACT:
            text = f"level {number} of the index has gaps and whole numbers over 2**53, which would come back as floats"
            raise InvalidInputError(f"{text}: make the level Int64, use .reset_index(), or say format='pickle'")


def _with_json(frame: Any) -> Any:
    """Return a frame whose `attrs` are JSON: scalars of NumPy are Python's. pandas would leave out all of them for one that is not.

    Raises:
        InvalidInputError: names what is not.
    """
    if not frame.attrs:
        return frame
    plain = {}
    for key, value in frame.attrs.items():
        try:
            plain[key] = json.loads(json.dumps(value, default=_scalar))
            json.dumps({key: None})
        except (TypeError, ValueError, RecursionError) as error:
            text = f"attrs[{key!r}] is no JSON: {error!s:.200}"
            raise InvalidInputError(f"{text}: take it out of .attrs, or say format='pickle'") from error
    found = frame.copy(deep=False)
    found.attrs = plain
    return found


def _scalar(value: Any) -> Any:
    """Return a number or flag of NumPy as Python has it."""
    if type(value).__module__ == "numpy" and value.ndim == 0 and value.dtype.kind in "biuf":
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _noted(frame: Any, table: "pa.Table") -> "pa.Table":
    """Return the table with a note of those dtypes that would not come back without, each of them tried."""
    types = _unreadable(frame, table)
    note: dict[str, Any] = {_TYPES: types} if types else {}
    if frame.index.nlevels == 1 and type(frame.index).__name__ == "MultiIndex":
        note[_INDEX] = "levels"
    back = _tried(table := _with_note(table, note))
    more = {field: dtype_name(old) for field, old, new, _ in _parts(frame, back, table) if not same_dtype(old, new)}
    again: dict[str, Any] = {_TYPES: types | more} if more else {}
    if type(frame.columns.dtype).__name__ == "StringDtype" and not same_dtype(back.columns.dtype, frame.columns.dtype):
        again[_LABELS] = dtype_name(frame.columns.dtype)
    if again:
        back = _tried(table := _with_note(table, again))
    if not _same_labels(back.columns, frame.columns):
        raise InvalidInputError(f"columns called {frame.columns.tolist()[:5]!r} do not come back as they are: use strings")
    for _, old, new, what in _parts(frame, back, table):
        if not same_dtype(old, new):
            text = f"{what} of dtype {_shown(old)} would come back as {_shown(new)}"
            raise InvalidInputError(f"{text}: give it another type by .astype() or .dt.tz_convert(), or say format='pickle'")
    # A frame without columns has a column for an index that only counts.
    counted = not len(frame.columns) and type(frame.index).__name__ == "RangeIndex"
    if list(back.index.names) != list(frame.index.names) or (type(back.index) is not type(frame.index) and not counted):
        text = f"an index of {type(frame.index).__name__} called {list(frame.index.names)!r} would come back as another"
        raise InvalidInputError(f"{text}: use .reset_index(), or say format='pickle'")
    return table


def _unreadable(frame: Any, table: "pa.Table") -> dict[str, str]:
    """Return the fields whose dtype has a name that pandas does not read."""
    import pandas as pd  # noqa: PLC0415

    found = {}
    for field, dtype, *_ in _parts(frame, frame, table):
        if type(dtype).__name__ == "ArrowDtype":
            try:
                known = pd.api.types.pandas_dtype(str(dtype)) == dtype
            except (TypeError, NotImplementedError):
                known = False
            if not known:
                found[field] = "arrow"
    return found


def _tried(table: "pa.Table") -> Any:
    """Return what comes back, but for the rows.

    Raises:
        InvalidInputError: nothing can.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        return frame_of(table.slice(0, 0))
    except (pa.ArrowException, TypeError, ValueError, AttributeError, KeyError, NotImplementedError) as error:
        for field in table.column_names:
            try:
                frame_of(table.slice(0, 0).select([field]))
            except (pa.ArrowException, TypeError, ValueError, AttributeError, KeyError, NotImplementedError):
                raise InvalidInputError(f"column {field!r} would not come back: {error!s:.300}: {_WAYS}") from error
        raise InvalidInputError(f"the table would not come back: {error!s:.300}: {_WAYS}") from error


def _with_note(table: "pa.Table", note: Mapping[str, Any]) -> "pa.Table":
    if not note:
        return table
    metadata = dict(table.schema.metadata or {})
    said = {**json.loads(metadata.get(PANDAS, b"{}")), **note}
    return table.replace_schema_metadata({**metadata, PANDAS: json.dumps(said, sort_keys=True).encode()})


def _parts(frame: Any, back: Any, table: "pa.Table") -> Iterable[tuple[str, Any, Any, str]]:
    """Yield of each column and each stored level: its field, its dtype, that of the other frame, and what it is called."""
    said = json.loads(table.schema.metadata[b"pandas"])
    levels = said["index_columns"]
    fields = [name for name in table.column_names if name not in [one for one in levels if isinstance(one, str)]]
    for number, field in enumerate(fields):
        yield field, frame.dtypes.iloc[number], back.dtypes.iloc[number], f"column {frame.columns[number]!r}"
    if back.index.nlevels == frame.index.nlevels == len(levels):
        for number, one in enumerate(levels):
            if isinstance(one, str):
                old, new = frame.index.get_level_values(number), back.index.get_level_values(number)
                yield one, old.dtype, new.dtype, f"level {number} of the index"


def same_dtype(a: Any, b: Any) -> bool:
    """Tell whether two dtypes of pandas are one: categories with their dtype and order, zones by what they are."""
    kind = type(a).__name__
    if kind != type(b).__name__:
        return False
    if kind == "CategoricalDtype":
        return a.ordered == b.ordered and same_dtype(a.categories.dtype, b.categories.dtype)
    if kind == "DatetimeTZDtype":
        return bool(a.unit == b.unit) and zone_of(a.tz) == zone_of(b.tz)
    return bool(a == b) and getattr(a, "storage", None) == getattr(b, "storage", None)


def _same_labels(a: Any, b: Any) -> bool:
    return bool(a.equals(b)) and list(a.names) == list(b.names) and (a.dtype == b.dtype or not len(b))


def _shown(dtype: Any) -> str:
    return f"category of {dtype.categories.dtype}" if type(dtype).__name__ == "CategoricalDtype" else str(dtype)


def dtype_name(dtype: Any) -> str:
    """Return what `frame_of` makes a dtype of again."""
    kind = type(dtype).__name__
    if kind == "CategoricalDtype":
        return f"category[{dtype_name(dtype.categories.dtype)}]"
    if kind == "ArrowDtype":
        return "arrow"
    if kind == "StringDtype":
        return f"{'str' if isinstance(dtype.na_value, float) else 'string'}[{dtype.storage}]"
    if kind == "DatetimeTZDtype" and type(dtype.tz).__module__.startswith("dateutil"):
        return f"zone[dateutil/{str(getattr(dtype.tz, '_filename', '')).rpartition('zoneinfo/')[2]}]"
    return str(dtype)


def frame_of(table: "pa.Table") -> Any:
    """Return a table as a frame of pandas, by what is noted of its columns and its index.

    Whole numbers with gaps, of which nothing is noted, are floats as far as floats hold them, and else `Int64`.
    """
    metadata = table.schema.metadata or {}
    raw = metadata.get(b"pandas")
    said = json.loads(raw) if raw is not None else {"index_columns": [], "columns": [], "column_indexes": []}
    note = json.loads(metadata.get(PANDAS, b"{}"))
    known = {one["field_name"]: one for one in said["columns"]}
    fields = table.column_names
    types = note.get(_TYPES, {})
    columns = [{**one, "name": one["field_name"]} for one in said["columns"] if types.get(one["field_name"]) != "arrow"]
    flat = {**said, "index_columns": [], "column_indexes": [], "columns": columns}
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
    levels = [one for one in said["index_columns"] if not isinstance(one, str) or one in fields]
    places = {one: fields.index(one) for one in levels if isinstance(one, str)}
    index = [_level(one, frame, places, known) for one in levels]
    keep = [number for number in range(len(fields)) if number not in places.values()]
    labels = _labels([fields[number] for number in keep], said, note.get(_LABELS))
    frame = frame.iloc[:, keep] if places else frame
    frame.columns = labels
    if index:
        frame.index = _index(index, frame.index, many=note.get(_INDEX) == "levels")
    return frame


def _level(one: Any, frame: Any, places: Mapping[str, int], known: Mapping[str, Any]) -> Any:
    import pandas as pd  # noqa: PLC0415

    if isinstance(one, str):
        series = frame.iloc[:, places[one]]
        return pd.Index(series, dtype=series.dtype).rename(known[one]["name"])
    found = pd.RangeIndex(one["start"], one["stop"], one["step"], name=one["name"])
    return found if len(found) == len(frame) else pd.RangeIndex(len(frame), name=one["name"])


def _index(levels: list[Any], default: Any, *, many: bool) -> Any:
    import pandas as pd  # noqa: PLC0415

    if any(len(one) != len(default) for one in levels):
        return default
    return pd.MultiIndex.from_arrays(levels, names=[one.name for one in levels]) if len(levels) > 1 or many else levels[0]


def _labels(fields: list[str], said: Mapping[str, Any], dtype: str | None) -> Any:
    """Return the labels of columns, as pyarrow restores them."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    heads = said["column_indexes"]
    if not fields and len(heads) == 1 and heads[0]["pandas_type"] in {"int64", "integer"}:
        return pd.RangeIndex(0, name=heads[0]["name"])
    columns = [one for one in said["columns"] if one["field_name"] in fields]
    texts = len(heads) == 1 and heads[0]["numpy_type"] == "object" and heads[0]["pandas_type"] == "unicode"
    names = [one["name"] for one in columns]
    if texts and dtype is None and len(names) == len(fields) and all(isinstance(name, str) for name in names):
        at = {one["field_name"]: one["name"] for one in columns}
        return pd.Index([at[field] for field in fields], dtype=object, name=heads[0]["name"])
    # No types: what pyarrow can't make of a column is of no matter here.
    columns = [{**one, "numpy_type": "object", "pandas_type": "empty", "metadata": None} for one in columns]
    told = json.dumps({**said, "index_columns": [], "columns": columns}).encode()
    empty = pa.table([pa.array([], pa.null())] * len(fields), names=fields).replace_schema_metadata({b"pandas": told})
    labels = empty.to_pandas().columns
    if dtype is not None:
        return pd.Index(_of_dtype(pd.Series(labels), dtype)).rename(labels.name)
    return labels.astype(object) if texts and labels.nlevels == 1 else labels


def _is_plain(kind: "pa.DataType", known: Mapping[str, Any] | None) -> bool:
    """Tell whether a column of which no dtype is noted comes from pyarrow as it was put."""
    import pyarrow as pa  # noqa: PLC0415

    return (
        known is not None
        and known["numpy_type"] != "object"
        and not pa.types.is_dictionary(kind)
        and not pa.types.is_nested(kind)
    )


def _restored(series: Any, column: "pa.ChunkedArray", known: Mapping[str, Any] | None, noted: str | None) -> Any:
    """Return a column with the dtype that it had."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if noted == "arrow":
        return pd.Series(pd.arrays.ArrowExtensionArray(column), index=series.index, name=series.name)
    if pa.types.is_dictionary(kind) and hasattr(series, "cat"):
        return _categories(series, kind, noted)
    if noted is not None:
        return _of_dtype(series, noted)
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
    return all(one is None or -_EXACT <= one <= _EXACT for one in ends.values())


def _categories(series: Any, kind: "pa.DictionaryType", noted: str | None) -> Any:
    """Return a column of categories with their dtype, and their zone, which Arrow loses on the way to pandas."""
    import pandas as pd  # noqa: PLC0415

    categories = series.cat.categories
    zone = getattr(kind.value_type, "tz", None)
    if zone is not None and getattr(categories, "tz", None) is None:
        categories = categories.tz_localize("UTC").tz_convert(zone)
    if noted is not None and noted.startswith("category["):
        inner = noted[len("category[") : -1]
        if inner == "arrow":
            import pyarrow as pa  # noqa: PLC0415

            categories = pd.Index(pd.arrays.ArrowExtensionArray(pa.array(categories, kind.value_type)))
        else:
            categories = pd.Index(_of_dtype(pd.Series(categories), inner))
    if categories is series.cat.categories:
        return series
    return series.cat.rename_categories(categories)


def _of_dtype(series: Any, noted: str) -> Any:
    import pandas as pd  # noqa: PLC0415

    name, _, inner = noted.partition("[")
    if name == "zone":
        return series.dt.tz_convert(inner[:-1])
    if name in {"str", "string"}:
        return series.astype(pd.StringDtype(inner[:-1], **({"na_value": float("nan")} if name == "str" else {})))
    return series.astype(noted)
