"""Columns of Python objects in frames of pandas: those that Arrow would change unasked are refused, the others stay objects."""

import json
from datetime import date, datetime, time
from typing import Any, Final

from artifactstore.errors import InvalidInputError

__all__ = ["check_objects", "is_object", "with_objects"]

_ONE_KIND: Final = frozenset(
    {"string", "empty", "boolean", "integer", "floating", "mixed-integer-float", "bytes", "complex", "decimal"}
)


def check_objects(frame: Any) -> None:
    """Refuse objects that would come back as other ones, without a word from Arrow.

    Raises:
        InvalidInputError: names the column, and what is in it.
    """
    import pandas as pd  # noqa: PLC0415 - loaded already, where there is a frame

    columns = {f"column {name!r}": frame[name] for name in frame.columns}
    levels = {f"level {number} of the index": frame.index.get_level_values(number) for number in range(frame.index.nlevels)}
    for what, column in (columns | levels).items():
        if not is_object(column) or pd.api.types.infer_dtype(column, skipna=True) in _ONE_KIND:
            continue
        odd = _odd([one for one in column if one is not pd.NaT])
        if odd is not None:
            raise InvalidInputError(f"{what} has {odd}: give it one type, or say format='pickle'")


def is_object(column: Any) -> bool:
    """Tell whether a column or an index holds Python's objects."""
    return str(column.dtype) == "object"


def _odd(values: list[Any]) -> str | None:
    kinds = {type(value) for value in values}
    moments = [value for value in values if isinstance(value, datetime)]
    found = {
        "texts and bytes": any(issubclass(kind, str) for kind in kinds)
        and any(issubclass(kind, bytes | bytearray) for kind in kinds),
        "dates and moments": date in kinds and bool(moments),
        "moments with and without a time zone": len({value.tzinfo is None for value in moments}) > 1,
        "times of a time zone": any(isinstance(value, time) and value.tzinfo is not None for value in values),
        "nanoseconds, which objects lose (.astype('datetime64[ns]') and 'timedelta64[ns]' keep them)": any(
            getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in values
        ),
        "sets, which come back as lists": any(issubclass(kind, set | frozenset) for kind in kinds),
    }
    return next((name for name, true in found.items() if true), None)


def with_objects(frame: Any, table: Any) -> Any:
    """Return a frame whose columns of objects are such again: pandas makes texts and numbers of them.

    Args:
        frame: made of the table.
        table: as it was read, with what pandas has said of it.
    """
    raw = (table.schema.metadata or {}).get(b"pandas")
    if raw is None:
        return frame
    said = json.loads(raw)
    objects = {one["field_name"] for one in said["columns"] if one["numpy_type"] == "object"}
    index = [one for one in said["index_columns"] if isinstance(one, str) and one in table.column_names]
    names = [name for name in table.column_names if name not in index]
    if len(names) == frame.shape[1]:
        for number, name in enumerate(names):
            if name in objects and not is_object(frame.iloc[:, number]):
                frame.isetitem(number, _as_objects(frame.iloc[:, number], table.column(name)))
    if len(index) == frame.index.nlevels == 1 and index[0] in objects:
        frame.index = frame.index.astype(object)
    heads = said["column_indexes"]
    if len(heads) == frame.columns.nlevels == 1 and heads[0]["numpy_type"] == "object" and heads[0]["pandas_type"] == "unicode":
        frame.columns = frame.columns.astype(object)
    return frame


def _as_objects(column: Any, kept: Any) -> Any:
    import pandas as pd  # noqa: PLC0415

    if getattr(column.dtype, "kind", "O") in "mM":
        return column.astype(object)
    values = kept.to_pylist() if column.dtype.kind in "iufb" else kept.to_numpy(zero_copy_only=False)
    return pd.Series(values, index=column.index, dtype=object, name=column.name)
