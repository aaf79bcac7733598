"""Object columns of pandas: rejects objects that Arrow would silently convert, and restores the rest as objects."""

import enum
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["as_objects", "check_objects", "check_same", "exact_nested", "is_object", "zone_key"]

_ONE_KIND: Final = frozenset(
    {"string", "empty", "boolean", "integer", "floating", "mixed-integer-float", "bytes", "complex", "decimal"}
)
_ROUND_TRIPPING: Final = frozenset(
    {str, bytes, bool, int, float, date}
)  # a column of one of these types alone round-trips unchanged


def is_object(column: Any) -> bool:
    """Return whether a column or an index contains Python objects."""
    return str(column.dtype) == "object"


def zone_key(zone: Any) -> Any:
    """Return a key that is equal for equal time zones: the key in the tz database, or an offset."""
    if zone is None:
        return None
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if isinstance(key, str):
        return key
    offset = zone.utcoffset(None)
    if offset is None:
        return repr(zone)
    return offset or "UTC"


def check_objects(frame: Any) -> list[tuple[int, Any]]:
    """Reject objects that Arrow would silently restore as other objects.

    Returns:
        The columns that only `check_same` can decide: position (-1 - n for level n of the index) and column.

    Raises:
        InvalidInputError: with the column and its mix of types.
    """
    import pandas as pd  # noqa: PLC0415 - loaded already, if there is a frame

    left = []
    for number, column in _objects(frame):
        inferred = pd.api.types.infer_dtype(column, skipna=True)
        if inferred == "string" or _is_plain(set(map(type, column.to_numpy()))):  # the first is ten times as fast
            continue
        left.append((number, column))
        if inferred not in _ONE_KIND:
            odd = _mixed_types([one for one in column if one is not pd.NaT])
            if odd is not None:
                raise InvalidInputError(f"{_label(frame, number)} has {odd}: give it one type, or pass format='pickle'")
    return left


def _objects(frame: Any) -> Iterator[tuple[int, Any]]:
    for number, dtype in enumerate(frame.dtypes):
        if str(dtype.kind) == "O" and str(dtype) == "object":  # the text of a dtype takes long to make
            yield number, frame.iloc[:, number]
    for number in range(frame.index.nlevels):
        if is_object(column := frame.index.get_level_values(number)):
            yield -1 - number, column


def _label(frame: Any, number: int) -> str:
    return f"column {frame.columns[number]!r}" if number >= 0 else f"level {-1 - number} of the index"


def _is_plain(kinds: set[type]) -> bool:
    """Return whether objects of these types round-trip unchanged: Arrow rejects a mix of them."""
    kinds = {kind for kind in kinds if kind.__name__ not in {"NoneType", "NAType", "NaTType"}}
    return kinds <= _ROUND_TRIPPING and len(kinds - {float}) <= 1 and not kinds >= {int, float}


def _mixed_types(values: list[Any]) -> str | None:
    kinds = {type(value) for value in values}
    moments = [value for value in values if isinstance(value, datetime)]
    zones = {zone_key(value.tzinfo) for value in moments}
    found = {
        "texts and bytes": any(issubclass(kind, str) for kind in kinds)
        and any(issubclass(kind, bytes | bytearray) for kind in kinds),
        "dates and moments": date in kinds and bool(moments),
        "moments with and without a time zone": None in zones and len(zones) > 1,
        f"moments of several time zones ({', '.join(sorted(map(str, zones - {None})))[:200]})": len(zones) > 1,
        "times of a time zone": any(isinstance(value, time) and value.tzinfo is not None for value in values),
        "nanoseconds, which objects lose (.astype('datetime64[ns]') and 'timedelta64[ns]' keep them)": any(
            getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in values
        ),
        "sets, which come back as lists": any(issubclass(kind, set | frozenset) for kind in kinds),
    }
    return next((name for name, true in found.items() if true), None)


def check_same(frame: Any, number: int, column: Any, restored: Iterator[Any]) -> None:
    """Reject an object column if any of its values would be restored as another value.

    Args:
        frame: the frame of the column.
        number: its position, as `check_objects` returns it.
        column: its values.
        restored: the restored values, in the same order.

    Raises:
        InvalidInputError: with the column, the value, and its restored value.
    """
    for old, new in zip(column, restored, strict=True):
        if not _is_same(old, new):
            text = f"{_label(frame, number)} has {old!r:.100}, which would be read back as {new!r:.100}"
            raise InvalidInputError(f"{text}: give it one type, or pass format='pickle'")


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _is_same(old: Any, new: Any) -> bool:
    """Compare by the documented rules: lists and tuples are arrays, dicts have the keys of all rows, all missing values are equal."""
    np = numpy()
    if _is_missing(old) or _is_missing(new):
        return _is_missing(old) and _is_missing(new)
    if isinstance(old, np.generic) and not isinstance(old, np.datetime64 | np.timedelta64):
        old = old.item()
    if isinstance(new, np.generic) and not isinstance(new, np.datetime64 | np.timedelta64):
        new = new.item()
    if isinstance(old, list | tuple | np.ndarray):
        if not isinstance(new, list | tuple | np.ndarray) or len(old) != len(new):
            return False
        if isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.dtype == new.dtype and old.dtype.kind in "iub":
            return bool(np.array_equal(old, new))
        return all(map(_is_same, old, new))
    if isinstance(old, dict):
        return isinstance(new, dict) and old.keys() <= new.keys() and all(_is_same(old.get(key), one) for key, one in new.items())
    if isinstance(old, np.datetime64 | np.timedelta64) or isinstance(new, np.datetime64 | np.timedelta64):
        return _moment(old) == _moment(new) and not getattr(_moment(old), "tzinfo", None)
    if isinstance(old, datetime):
        return isinstance(new, datetime) and _wall(old) == _wall(new)
    if isinstance(old, bool | date | time | Decimal):
        return type(old) is type(new) and bool(old == new)
    if isinstance(old, int | float | str | bytes | bytearray | timedelta) and not isinstance(old, enum.Enum):
        return bool(old == new) and not isinstance(new, bool) and getattr(old, "nanoseconds", 0) == getattr(new, "nanoseconds", 0)
    return type(old) is type(new) and bool(old == new)


def _wall(moment: datetime) -> tuple[Any, ...]:
    return moment.replace(tzinfo=None), getattr(moment, "nanosecond", 0), moment.utcoffset(), zone_key(moment.tzinfo)


def _moment(value: Any) -> Any:
    """Return a NumPy datetime or timedelta as pandas represents it."""
    import pandas as pd  # noqa: PLC0415

    return (
        pd.Timedelta(value)
        if getattr(value, "dtype", None) is not None and value.dtype.kind == "m"
        else (pd.Timestamp(value) if isinstance(value, datetime | date) or hasattr(value, "dtype") else value)
    )


def as_objects(column: Any, kept: "pa.ChunkedArray") -> Any:
    """Return a column as objects again, where pandas has made texts and numbers of them.

    Args:
        column: as pandas returned it.
        kept: as it was read.
    """
    import pandas as pd  # noqa: PLC0415

    if is_object(column):
        return column
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mM":
        return column.astype(object)
    values = kept.to_pylist() if kind in "iufb" else kept.to_numpy(zero_copy_only=False)
    return pd.Series(values, index=column.index, dtype=object, name=column.name)


def exact_nested(column: Any, kept: "pa.ChunkedArray") -> Any:
    """Return a column of lists, structs or maps with exact integers and timestamps.

    pandas converts integers to floats if values are missing, and drops time zones.

    Args:
        column: as pandas returned it.
        kept: as it was read.
    """
    import pandas as pd  # noqa: PLC0415

    if all(_is_exact(chunk) for chunk in kept.chunks):
        return column
    np = numpy()
    values = np.empty(len(kept), object)
    for number, value in enumerate(kept.to_pylist()):
        values[number] = _as_arrays(value, kept.type)
    return pd.Series(values, index=column.index, dtype=object, name=column.name)


def _is_exact(array: "pa.Array") -> bool:
    """Return whether pandas preserves the values in lists and structs."""
    import pyarrow as pa  # noqa: PLC0415

    kind = array.type
    if pa.types.is_struct(kind):
        return all(
            _is_exact(array.field(number)) and not (_is_whole(child := array.field(number)) and child.null_count)
            for number in range(kind.num_fields)
        )
    if pa.types.is_map(kind):
        return all(_is_exact(one) and not (_is_whole(one) and one.null_count) for one in (array.keys, array.items))
    if pa.types.is_nested(kind):
        child = array.flatten()
        return _is_exact(child) and not (_is_whole(child) and child.null_count)
    return getattr(kind, "tz", None) is None


def _is_whole(array: "pa.Array") -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_integer(array.type))


def _as_arrays(value: Any, kind: "pa.DataType") -> Any:
    """Return a value with its lists as arrays."""
    import pyarrow as pa  # noqa: PLC0415

    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _as_arrays(value[field.name], field.type) for field in kind}
    if pa.types.is_map(kind):
        return [(key, _as_arrays(one, kind.item_type)) for key, one in value]
    if not pa.types.is_nested(kind):
        return value
    np, inner = numpy(), kind.value_type
    if (pa.types.is_integer(inner) or pa.types.is_floating(inner)) and None not in value:
        return np.array(value, inner.to_pandas_dtype())
    made = np.empty(len(value), object)
    for number, one in enumerate(value):
        made[number] = _as_arrays(one, inner)
    return made
