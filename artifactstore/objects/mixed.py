"""Columns of Python objects in frames of pandas: what Arrow would change unasked is refused, the others stay objects."""

import enum
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["as_objects", "check_objects", "check_same", "exact_nested", "is_object", "zone_of"]

_ONE_KIND: Final = frozenset(
    {"string", "empty", "boolean", "integer", "floating", "mixed-integer-float", "bytes", "complex", "decimal"}
)
_SAME: Final = frozenset({str, bytes, bool, int, float, date})  # objects of one of these alone come back as they were


def is_object(column: Any) -> bool:
    """Tell whether a column or an index holds Python's objects."""
    return str(column.dtype) == "object"


def zone_of(zone: Any) -> Any:
    """Return what two time zones have in common if they are one: the key in the tz database, or an offset."""
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
    """Refuse objects that would come back as other ones, without a word from Arrow.

    Returns:
        Where those columns (-1 - n for a level of the index) are of which only `check_same` knows whether they come back, and they.

    Raises:
        InvalidInputError: names the column, and what is in it.
    """
    import pandas as pd  # noqa: PLC0415 - loaded already, where there is a frame

    left = []
    for number, column in _objects(frame):
        inferred = pd.api.types.infer_dtype(column, skipna=True)
        if inferred == "string" or _is_plain(set(map(type, column.to_numpy()))):  # the first is ten times as fast
            continue
        left.append((number, column))
        if inferred not in _ONE_KIND:
            odd = _odd([one for one in column if one is not pd.NaT])
            if odd is not None:
                raise InvalidInputError(f"{_called(frame, number)} has {odd}: give it one type, or say format='pickle'")
    return left


def _objects(frame: Any) -> Iterator[tuple[int, Any]]:
    for number in range(frame.shape[1]):
        if is_object(column := frame.iloc[:, number]):
            yield number, column
    for number in range(frame.index.nlevels):
        if is_object(column := frame.index.get_level_values(number)):
            yield -1 - number, column


def _called(frame: Any, number: int) -> str:
    return f"column {frame.columns[number]!r}" if number >= 0 else f"level {-1 - number} of the index"


def _is_plain(kinds: set[type]) -> bool:
    """Tell whether objects of these types alone come back as they were: Arrow refuses to mix them."""
    kinds = {kind for kind in kinds if kind.__name__ not in {"NoneType", "NAType", "NaTType"}}
    return kinds <= _SAME and len(kinds - {float}) <= 1 and not kinds >= {int, float}


def _odd(values: list[Any]) -> str | None:
    kinds = {type(value) for value in values}
    moments = [value for value in values if isinstance(value, datetime)]
    zones = {zone_of(value.tzinfo) for value in moments}
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
    """Refuse a column of objects of which one is not what comes back for it.

    Args:
        frame: of which it is.
        number: where, as `check_objects` has it.
        column: its values.
        restored: what comes back, in the same order.

    Raises:
        InvalidInputError: names the column, the object, and what would come back.
    """
    for old, new in zip(column, restored, strict=True):
        if not _is_same(old, new):
            text = f"{_called(frame, number)} has {old!r:.100}, which would come back as {new!r:.100}"
            raise InvalidInputError(f"{text}: give it one type, or say format='pickle'")


def _is_gap(value: Any) -> bool:
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _is_same(old: Any, new: Any) -> bool:
    """Compare as the documents have it: lists and tuples are arrays, dicts have the keys of all rows, a gap is a gap."""
    np = numpy()
    if _is_gap(old) or _is_gap(new):
        return _is_gap(old) and _is_gap(new)
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
    return moment.replace(tzinfo=None), getattr(moment, "nanosecond", 0), moment.utcoffset(), zone_of(moment.tzinfo)


def _moment(value: Any) -> Any:
    """Return a moment or a span of NumPy as pandas has it."""
    import pandas as pd  # noqa: PLC0415

    return (
        pd.Timedelta(value)
        if getattr(value, "dtype", None) is not None and value.dtype.kind == "m"
        else (pd.Timestamp(value) if isinstance(value, datetime | date) or hasattr(value, "dtype") else value)
    )


def as_objects(column: Any, kept: "pa.ChunkedArray") -> Any:
    """Return a column as objects again: pandas makes texts and numbers of them.

    Args:
        column: as pandas has it.
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
    """Return a column of lists, records or maps whose whole numbers and moments are as they were.

    pandas makes floats of whole numbers with a gap among them, and loses zones.

    Args:
        column: as pandas has it.
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
    """Tell whether pandas keeps what is in lists and records."""
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
    """Return a value with arrays for its lists."""
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
