"""Every kind of value in every kind of table: what the matrix of round trips is made of, and how strictly it is compared."""

import datetime as dt
import enum
import math
import uuid
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa

BIG = 2**62 + 1
BERLIN, TOKYO = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
MOMENT = dt.datetime(2020, 6, 1, 9, 30, 0, 123456)  # noqa: DTZ001 - without a zone on purpose


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


def _numbers(kind: str) -> list[Any]:
    edges = np.iinfo(kind) if kind.lstrip("u").startswith("int") else np.finfo(kind)
    return [edges.min, edges.max, edges.max, 1]


def _moments(unit: str, zone: Any = None) -> Callable[[bool], Any]:
    def made(missing: bool) -> Any:  # noqa: FBT001
        values = np.array([0, 10**9 + 1, 7, "NaT" if missing else 5], f"M8[{unit}]")
        return pd.Series(values) if zone is None else pd.Series(values).dt.tz_localize("UTC").dt.tz_convert(zone)

    return made


def _numpy(kind: str) -> Callable[[bool], Any]:
    def made(missing: bool) -> Any:  # noqa: FBT001
        values = _numbers(kind)
        if kind.startswith("float"):
            values = [*values[:2], -0.0, math.nan if missing else math.inf]
        return pd.Series(np.array(values, kind))

    return made


def _array(values: list[Any], kind: Any) -> Callable[[bool], Any]:
    return lambda missing: pd.Series(pd.array([*values, None if missing else values[-1]], dtype=kind))


def _objects(*values: Any) -> Callable[[bool], Any]:
    def made(missing: bool) -> Any:  # noqa: FBT001
        held = np.empty(len(values) + 1, object)
        for number, value in enumerate([*values, None if missing else values[0]]):
            held[number] = value
        return pd.Series(held, dtype=object)

    return made


def _categories(values: Any, *, ordered: bool) -> Callable[[bool], Any]:
    def made(missing: bool) -> Any:  # noqa: FBT001
        codes = [0, 1, 0, -1 if missing else 1]
        return pd.Series(pd.Categorical.from_codes(codes, categories=values, ordered=ordered))

    return made


def pandas_columns() -> dict[str, Callable[[bool], Any]]:
    """Name → what makes a column of four rows (objects: of some), with a gap or without."""
    found: dict[str, Callable[[bool], Any]] = {"bool": lambda _: pd.Series([True, False, True, True])}
    whole = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    for kind in (*whole, "float16", "float32", "float64"):
        found[kind] = _numpy(kind)
    found["complex"] = lambda _: pd.Series([1j, 2, 3, 4])
    for unit in ("s", "ms", "us", "ns"):
        found[f"moments {unit}"] = _moments(unit)
        found[f"spans {unit}"] = lambda missing, unit=unit: pd.Series(
            np.array([0, -1, 10**9, "NaT" if missing else 5], f"m8[{unit}]")
        )  # type: ignore[misc]
        for zone in () if unit in {"ms", "us"} else ("UTC", "Europe/Berlin", dt.timezone(dt.timedelta(hours=5, minutes=30))):
            found[f"moments {unit} {zone}"] = _moments(unit, zone)
    if not pd.__version__.startswith("2."):  # which can't even show them
        found["moments of dateutil"] = _moments("ns", "dateutil/Europe/Berlin")
    found["moments far s"] = lambda _: pd.Series(np.array([2**62, 0, 0, 0], "M8[s]"))
    found["spans far s"] = lambda _: pd.Series(np.array([2**62, 0, 0, 0], "m8[s]"))
    for kind in whole:
        name = kind.replace("i", "I", 1).replace("uI", "UI")
        found[name] = _array(_numbers(kind)[:3], name)
        found[f"{kind}[pyarrow]"] = _array(_numbers(kind)[:3], f"{kind}[pyarrow]")
    for name in ("Float32", "Float64", "float[pyarrow]", "double[pyarrow]"):
        found[name] = _array([0.5, -0.0, 1e30], name)
    found["boolean"], found["bool[pyarrow]"] = _array([True, False], "boolean"), _array([True, False], "bool[pyarrow]")
    for name in ("string", "string[python]", "string[pyarrow]", "str"):
        found[f"texts {name}"] = _array(["a", "", "ü\0"], name)
    for kind in (
        pa.string(), pa.large_string(), pa.binary(), pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.timestamp("s"),
        pa.timestamp("ns", "Europe/Berlin"), pa.duration("ms"), pa.decimal128(12, 3), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]),
        pa.float16(), pa.null(), pa.map_(pa.string(), pa.int64()), pa.dictionary(pa.int32(), pa.string()), pa.string_view(),
    ):  # fmt: skip
        found[f"arrow {kind}"] = lambda missing, kind=kind: pd.Series(  # type: ignore[misc]
            pd.arrays.ArrowExtensionArray(pa.chunked_array([arrow_values(kind, missing=missing)]))
        )
    categories: dict[str, Any] = {
        "texts": ["b", "a", "never"], "whole": [3, 1, BIG], "floats": [1.5, -0.5], "flags": [True, False], "bytes": [b"x", b"a"],
        "moments": pd.to_datetime(["2020-01-02", "2019-01-01"]), "zoned": pd.to_datetime(["2020-01-02", "2019-01-01"]).tz_localize("Europe/Berlin"),
        "spans": pd.to_timedelta(["1s", "3s"]), "dates": [dt.date(2020, 1, 1), dt.date(2019, 1, 1)], "small": np.array([9, 3], "u1"),
        "Int64": pd.array([3, 1], "Int64"), "string": pd.array(["b", "a"], "string"), "objects": pd.Index(["b", "a"], dtype=object),
        "mixed": [1, "a"], "decimals": [Decimal("1.5"), Decimal("0.1")], "periods": pd.period_range("2020", periods=2, freq="M"),
        "intervals": pd.interval_range(0, 2), "tuples": pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
        "arrow": pd.array([3, 1], "int64[pyarrow]"), "seconds": pd.to_datetime(["2020-01-02", "2019-01-01"]).as_unit("s"),
    }  # fmt: skip
    for name, values in categories.items():
        for ordered in (False, True):
            found[f"categories {name}{' ordered' * ordered}"] = _categories(values, ordered=ordered)
    for freq in ("M", "D", "Y", "h"):
        found[f"periods {freq}"] = _array([pd.Period("2020-01-01", freq), pd.Period("1969-01-01", freq)], f"period[{freq}]")
    for closed in ("left", "both"):
        found[f"intervals {closed}"] = lambda missing, closed=closed: pd.Series(  # type: ignore[misc]
            pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2), (5, 6), None if missing else (0, 1)], closed=closed)
        )
    found["intervals of moments"] = lambda _: pd.Series(pd.interval_range(pd.Timestamp("2020"), periods=4))
    found["sparse"] = lambda missing: pd.Series(pd.arrays.SparseArray([0.0, 1.0, 0.0, math.nan if missing else 2.0]))
    found["sparse whole"] = lambda _: pd.Series(pd.arrays.SparseArray([0, 1, 0, 2]))
    objects: dict[str, tuple[Any, ...]] = {
        "texts": ("a", "", "b"), "surrogates": ("\ud800",), "bytes": (b"a", b"\0"), "bytearray": (bytearray(b"a"),), "whole": (1, BIG, -3), "unsigned": (2**64 - 1, 1),
        "huge": (2**70,), "flags": (True, False), "floats": (0.5, -0.0), "numbers": (1, 2.5), "flags and whole": (True, 2), "numpy": (np.int64(BIG), np.int64(2)),
        "numpy moments": (np.datetime64("2020-01-01T00:00:00.000000001"),), "numpy small": (np.float32(0.1), np.int8(3)), "decimals": (Decimal("1.50"), Decimal("2.25")), "decimals far": (Decimal("1e20"), Decimal("1e-20")),
        "decimal nan": (Decimal("NaN"), Decimal(1)), "dates": (dt.date(2020, 1, 1), dt.date(1, 1, 1)), "times": (dt.time(9, 30, 0, 5), dt.time(0)), "zoned times": (dt.time(9, tzinfo=dt.UTC),),
        "moments": (MOMENT, dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),  # noqa: DTZ001
        "stamps": (pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01 05:00:00.000001")), "nanoseconds": (pd.Timestamp(1),),
        "utc": (MOMENT.replace(tzinfo=dt.UTC), dt.datetime(2021, 1, 1, tzinfo=dt.UTC)), "berlin": (MOMENT.replace(tzinfo=BERLIN), dt.datetime(2021, 1, 1, tzinfo=BERLIN)),
        "mixed zones": (MOMENT.replace(tzinfo=BERLIN), MOMENT.replace(tzinfo=TOKYO)), "offsets": (MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))), MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))),
        "stamps of zones": (pd.Timestamp("2020-06-01 09:00", tz="Europe/Berlin"), pd.Timestamp("2020-06-01 09:00", tz="US/Eastern")),
        "half zoned": (MOMENT, MOMENT.replace(tzinfo=dt.UTC)), "spans": (dt.timedelta(1, 2, 3), dt.timedelta(-1)), "pandas spans": (pd.Timedelta("1s"), pd.Timedelta("2h")),
        "dates and moments": (dt.date(2020, 1, 1), MOMENT), "lists": ([1, 2], [3], []), "lists with gaps": ([BIG, None], [1]), "lists of texts": (["a", None], []), "lists of flags": ([True, None], [False]),
        "lists of floats": ([0.5, None], [1.0]), "lists of numbers": ([1, 2.5], [3]), "lists of moments": ([MOMENT], []), "lists of zoned": ([MOMENT.replace(tzinfo=BERLIN)], []), "lists of zones": ([MOMENT.replace(tzinfo=BERLIN), MOMENT.replace(tzinfo=TOKYO)],),
        "lists of lists": ([[BIG, None], []], [[1]]), "lists of dicts": ([{"a": BIG}, {"b": 1}], []), "lists of decimals": ([Decimal("1.5")],), "lists of dates": ([dt.date(2020, 1, 1)],), "lists of spans": ([dt.timedelta(1)],),
        "tuples": ((1, 2), (3,)), "arrays": (np.arange(3), np.arange(2)), "arrays small": (np.arange(3, dtype="i2"),), "arrays f4": (np.ones(2, "f4"), np.zeros(1, "f4")), "arrays 2d": (np.eye(2),), "lists mixed": ([1, "a"],),
        "dicts": ({"a": 1, "b": "x"}, {"a": 2, "b": None}), "ragged dicts": ({"id": BIG}, {"z": 1}), "dicts of lists": ({"a": [BIG, None]}, {"a": []}), "dicts of dicts": ({"a": {"b": BIG}}, {"a": {"c": None}}), "dict of moments": ({"a": MOMENT},),
        "dict of zoned": ({"a": MOMENT.replace(tzinfo=BERLIN)},), "empty dicts": ({},), "dicts of numbers": ({1: 2},), "sets": ({1, 2},), "frozensets": (frozenset([1]),), "uuids": (uuid.UUID(int=5),), "texts and whole": ("a", 1),
        "texts and bytes": ("a", b"b"), "enums": (Colour.RED,), "level": (Level.LOW, 2), "complex": (1j,), "none": (None, None), "classes": (int,), "things": (object(),), "periods": (pd.Period("2020", "M"),), "frames": (pd.DataFrame({"a": [1]}),),
        "intervals": (pd.Interval(0, 1),), "nans": (math.nan, "a"), "NaT": (pd.NaT, pd.Timestamp("2020-01-01")), "NA": (pd.NA, 5), "NaT among spans": (pd.NaT, pd.Timedelta(5, "s")), "dict of bytes keys": ({b"a": 1},), "numpy flags": (np.bool_(True), np.bool_(False)),  # noqa: FBT003
    }  # fmt: skip
    for name, members in objects.items():
        found[f"objects {name}"] = _objects(*members)
    return found


def arrow_values(kind: pa.DataType, *, missing: bool) -> pa.Array:
    """Return three values of a type of Arrow's, the last of them a gap if asked for."""
    base: dict[str, list[Any]] = {"bool": [True, False, True], "null": [None] * 3}
    if str(kind) in base:
        values: Any = base[str(kind)]
    elif pa.types.is_floating(kind):
        return pa.array(np.array([0.5, math.nan, -0.0], kind.to_pandas_dtype()), kind, mask=np.array([False, False, missing]))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        values = ["a", "", "ü\0"]
    elif pa.types.is_fixed_size_binary(kind):
        values = [bytes([one] * kind.byte_width) for one in (0, 1, 255)]
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        values = [b"a", b"", b"\0\xff"]
    elif pa.types.is_decimal(kind):
        values = [Decimal(0), Decimal(10), Decimal(-10)] if kind.scale <= 0 else [Decimal(0), Decimal("0.01"), Decimal("-0.5")]
    elif pa.types.is_struct(kind):
        values = [
            {field.name: arrow_values(field.type, missing=missing)[number].as_py() for field in kind} for number in range(3)
        ]
    elif pa.types.is_map(kind):
        values = [[("k", one.as_py()), ("", None)] for one in arrow_values(kind.item_type, missing=False)]
    elif pa.types.is_dictionary(kind):
        held = arrow_values(kind.value_type, missing=False)
        return pa.DictionaryArray.from_arrays(
            pa.array([1, 0, None if missing else 1], kind.index_type), held, ordered=kind.ordered
        )
    elif pa.types.is_fixed_size_list(kind):
        held = arrow_values(kind.value_type, missing=missing)
        values = [[one.as_py()] * kind.list_size for one in held]
    elif (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    ):
        held = arrow_values(kind.value_type, missing=missing)
        values = [held.to_pylist(), [], held.to_pylist()[:1]]
    elif pa.types.is_temporal(kind):
        wide = pa.int32() if kind.bit_width == 32 else pa.int64()
        top = 86_400_000 * 10 if pa.types.is_date64(kind) else 43_200
        return pa.array([0, top, None if missing else top], wide).view(kind)
    else:
        values = [np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max, 1]
    return pa.array([*values[:2], None if missing else values[2]], kind)


def arrow_types() -> list[pa.DataType]:
    """Return leaf types of Arrow's, and each of them in everything that holds others."""
    leaves = [
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"),
        pa.time64("us"), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("s", "+05:30"),
        pa.duration("s"), pa.duration("ns"), pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(20, 2), pa.decimal256(60, 2), pa.decimal128(5, -1),
    ]  # fmt: skip
    holders: list[Callable[[pa.DataType], pa.DataType]] = [
        lambda one: one, pa.list_, pa.large_list, lambda one: pa.list_(one, 2), pa.list_view, lambda one: pa.struct([("x", one), ("y", pa.int8())]),
        lambda one: pa.map_(pa.string(), one), lambda one: pa.dictionary(pa.int8(), one), lambda one: pa.dictionary(pa.int32(), one, ordered=True),
        lambda one: pa.list_(pa.dictionary(pa.int16(), one)), lambda one: pa.struct([("l", pa.list_(one))]), lambda one: pa.list_(one, 0),
    ]  # fmt: skip
    return [hold(leaf) for leaf in leaves for hold in holders]


def indices() -> dict[str, Callable[[int], Any]]:
    """Name → what makes an index of so many rows."""
    whole = pd.Index(range(5, 9))
    found: dict[str, Callable[[int], Any]] = {
        "default": pd.RangeIndex, "steps": lambda n: pd.RangeIndex(7, 7 - 2 * n, -2, name="r"), "whole": lambda n: whole[:n], "small": lambda n: whole[:n].astype("i2"),
        "named": lambda n: whole[:n].rename("key"), "empty name": lambda n: whole[:n].rename(""), "as a column": lambda n: whole[:n].rename("c"), "number": lambda n: whole[:n].rename(5),
        "texts": lambda n: pd.Index(list("abcd"))[:n], "objects": lambda n: pd.Index(list("abcd"), dtype=object)[:n], "floats": lambda n: pd.Index([0.5, math.nan, -1, 2])[:n],
        "flags": lambda n: pd.Index([True, False, True, True])[:n], "days": lambda n: pd.date_range("2020-01-01", periods=4)[:n], "hours": lambda n: pd.date_range("2020-03-29", periods=4, freq="h", tz="Europe/Berlin")[:n],
        "spans": lambda n: pd.timedelta_range("1s", periods=4)[:n], "periods": lambda n: pd.period_range("2020", periods=4, freq="M", name="p")[:n], "categories": lambda n: pd.CategoricalIndex(list("baba"), categories=list("bca"), ordered=True)[:n],
        "intervals": lambda n: pd.interval_range(0, 4)[:n], "Int64": lambda n: pd.Index(pd.array([BIG, None, 1, 2], "Int64"))[:n], "arrow": lambda n: pd.Index(pd.array([BIG, None, 1, 2], "int64[pyarrow]"))[:n],
        "string": lambda n: pd.Index(pd.array(["a", None, "b", "c"], "string"))[:n], "dates": lambda n: pd.Index([dt.date(2020, 1, one) for one in range(1, 5)])[:n], "twice": lambda n: pd.Index([1, 1, 1, 1])[:n],
        "levels": lambda n: pd.MultiIndex.from_arrays([list("aabb"), [1, 2, 1, 2]], names=["a", None])[:n], "levels with gaps": lambda n: pd.MultiIndex.from_arrays([pd.array([BIG, None, 1, 2], "Int64"), list("abcd")], names=["id", "k"])[:n],
        "one level": lambda n: pd.MultiIndex.from_arrays([[1, 2, 3, 4]], names=["a"])[:n], "levels of days": lambda n: pd.MultiIndex.from_product([pd.date_range("2020", periods=2, tz="UTC"), ["x", "y"]])[:n],
        "levels of categories": lambda n: pd.MultiIndex.from_arrays([pd.Categorical(list("abab"), categories=list("bac")), [1.5, math.nan, 1, 2]])[:n], "levels twice": lambda n: pd.MultiIndex.from_arrays([[1, 2, 3, 4], [5, 6, 7, 8]], names=["a", "a"])[:n],
        "levels called as a column": lambda n: pd.MultiIndex.from_arrays([[1, 2, 3, 4], [5, 6, 7, 8]], names=["c", "b"])[:n],
    }  # fmt: skip
    return found


def labels() -> dict[str, Any]:
    """Name → the labels of two columns."""
    return {
        "texts": ["a", "b"], "objects": pd.Index(["a", "b"], dtype=object), "empty": ["", "b"], "twins": ["a", "a"], "numbers": [0, 1], "numbers later": [3, 7], "floats": [0.5, 1.5], "dots": ["a", "a.b"],
        "mixed": ["a", 1], "none": [None, "a"], "tuples": pd.Index([("a", 1), ("b", 2)], tupleize_cols=False), "levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"]), "days": pd.date_range("2020", periods=2),
        "flags": [True, False], "named": pd.Index(["a", "b"], name="kind"), "categories": pd.CategoricalIndex(["a", "b"]), "string": pd.Index(["a", "b"], dtype="string"), "like ours": ["__index_level_0__", "value"],
        "numbers as texts": ["0", "1"], "bytes": [b"a", b"b"], "steps": pd.RangeIndex(0, 4, 2), "small": pd.Index(np.array([1, 2], "i1")), "periods": pd.period_range("2020", periods=2, freq="M"), "spans": pd.timedelta_range("1s", periods=2),
        "zoned": pd.date_range("2020", periods=2, tz="Europe/Berlin"), "numbered name": pd.Index(["a", "b"], name=3), "nan": [math.nan, "a"], "decimals": [Decimal("1.5"), Decimal(2)], "Int64": pd.Index(pd.array([1, 2], "Int64")),
        "levels of texts": pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]),
    }  # fmt: skip


def is_gap(value: Any) -> bool:
    """Tell whether a value of an object column is a gap: which one it was is documented as lost."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float | np.floating) and math.isnan(value))


def same_value(a: Any, b: Any) -> bool:
    """Tell whether a Python object came back as what it was: lists and tuples as arrays, dicts with the keys of all rows."""
    if is_gap(a) or is_gap(b):
        return is_gap(a) and is_gap(b)
    if isinstance(a, list | tuple | np.ndarray):
        if not isinstance(b, list | tuple | np.ndarray) or len(a) != len(b) or getattr(a, "ndim", 1) != 1:
            return False
        return all(same_value(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) <= set(b) and all(same_value(a.get(key), one) for key, one in b.items())
    if isinstance(a, bool | np.bool_) or isinstance(b, bool | np.bool_):
        return isinstance(a, bool | np.bool_) and isinstance(b, bool | np.bool_) and bool(a) is bool(b)
    if isinstance(a, int | float | np.number) and isinstance(b, int | float | np.number):
        exact = int(a) == int(b) if isinstance(a, int | np.integer) and isinstance(b, int | np.integer) else float(a) == float(b)
        whole = isinstance(b, int | np.integer) or not isinstance(a, int | np.integer) or abs(int(a)) <= 2**53
        return bool(exact) and whole and not isinstance(a, enum.Enum)
    if isinstance(a, np.datetime64 | np.timedelta64):
        a = pd.Timestamp(a) if isinstance(a, np.datetime64) else pd.Timedelta(a)
    if isinstance(b, np.datetime64 | np.timedelta64):
        b = pd.Timestamp(b) if isinstance(b, np.datetime64) else pd.Timedelta(b)
    if isinstance(a, dt.datetime):
        if not isinstance(b, dt.datetime) or (a.tzinfo is None) != (b.tzinfo is None):
            return False
        wall = a.replace(tzinfo=None) == b.replace(tzinfo=None) and getattr(a, "nanosecond", 0) == getattr(b, "nanosecond", 0)
        return wall and a.utcoffset() == b.utcoffset() and zone_of(a.tzinfo) == zone_of(b.tzinfo)
    if isinstance(a, dt.date | dt.time):
        return type(a) is type(b) and bool(a == b) and getattr(a, "tzinfo", None) == getattr(b, "tzinfo", None)
    if isinstance(a, dt.timedelta):
        return isinstance(b, dt.timedelta) and a == b and getattr(a, "nanoseconds", 0) == getattr(b, "nanoseconds", 0)
    if isinstance(a, bytes | bytearray):
        return isinstance(b, bytes | bytearray) and bytes(a) == bytes(b)
    return type(a) is type(b) and bool(a == b)


def zone_of(zone: Any) -> Any:
    """Return what a time zone is: the key of one that has one, an offset, or itself."""
    if zone is None:
        return None
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if key is None and str(type(zone)).find("dateutil") < 0:
        offset = zone.utcoffset(None)
        key = offset or "UTC"
    return key if key is not None else repr(zone)


def differs(a: Any, b: Any) -> str | None:
    """Say how two things differ, strictly; None where they do not."""
    if type(a) is not type(b):
        return f"{type(a).__name__} became {type(b).__name__}"
    if isinstance(a, pd.DataFrame):
        if a.shape != b.shape:
            return f"shape {a.shape} became {b.shape}"
        index = _labels_differ if not a.shape[1] else differs  # without columns, what counts is kept as numbers
        if said := _labels_differ(a.columns, b.columns) or index(a.index, b.index):
            return said
        return next(
            (f"column {n}: {said}" for n in range(a.shape[1]) if (said := _column_differs(a.iloc[:, n], b.iloc[:, n]))), None
        )
    if isinstance(a, pd.Series):
        name = None if type(a.name) is type(b.name) and a.name == b.name else f"name {a.name!r} became {b.name!r}"
        return name or differs(a.index, b.index) or _column_differs(a, b)
    if isinstance(a, pd.MultiIndex):
        if list(a.names) != list(b.names) or a.nlevels != b.nlevels or len(a) != len(b):
            return f"levels {a.names} became {b.names}"
        return next(
            (
                f"level {n}: {said}"
                for n in range(a.nlevels)
                if (said := _column_differs(a.get_level_values(n), b.get_level_values(n)))
            ),
            None,
        )
    if isinstance(a, pd.Index):
        name = None if type(a.name) is type(b.name) and a.name == b.name else f"name {a.name!r} became {b.name!r}"
        return name or _column_differs(a, b)
    raise TypeError(type(a))


def _labels_differ(a: Any, b: Any) -> str | None:
    """Compare labels: how those that only count are kept is documented as lost."""
    if pd.RangeIndex in (type(a), type(b)):
        a, b = (pd.Index(list(one), dtype="int64", name=one.name) if isinstance(one, pd.RangeIndex) else one for one in (a, b))
    return differs(a, b)


def _dtypes_differ(a: Any, b: Any) -> bool:
    if isinstance(a, pd.CategoricalDtype):
        return not isinstance(b, pd.CategoricalDtype) or a.ordered != b.ordered or differs(a.categories, b.categories) is not None
    if isinstance(a, pd.DatetimeTZDtype):
        return not isinstance(b, pd.DatetimeTZDtype) or a.unit != b.unit or zone_of(a.tz) != zone_of(b.tz)
    return a != b or str(a) != str(b) or getattr(a, "storage", None) != getattr(b, "storage", None)


def _column_differs(a: Any, b: Any) -> str | None:
    if _dtypes_differ(a.dtype, b.dtype):
        return f"dtype {a.dtype} became {b.dtype}"
    if len(a) != len(b):
        return f"length {len(a)} became {len(b)}"
    kind = getattr(a.dtype, "kind", "O")
    if isinstance(a.dtype, np.dtype) and kind in "fiubmM":
        x, y = np.asarray(a), np.asarray(b)
        fine = (x == y) | (np.isnan(x) & np.isnan(y)) if kind in "fmM" else x == y
        signs = kind != "f" or np.array_equal(np.signbit(x[x == 0]), np.signbit(y[y == 0]))
        return None if fine.all() and signs else f"{x.tolist()!r:.80} became {y.tolist()!r:.80}"
    if not all(same_value(x, y) for x, y in zip(list(a), list(b), strict=True)):
        return f"{list(a)!r:.90} became {list(b)!r:.90}"
    return None


def frames() -> Iterator[tuple[str, Any]]:
    """Yield every kind of column in every container, with every kind of index, and every kind of labels."""
    made = pandas_columns()
    for name, make in made.items():
        for missing in (False, True):
            for rows in (None, 0):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    column = make(missing).iloc[:rows]
                where = f"{name}{', a gap' * missing}{', no rows' * (rows == 0)}"
                yield f"column: {where}", pd.DataFrame({"n": range(len(column)), "c": column})
                if missing or rows is None:
                    yield f"series: {where}", column.rename("s")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        index = pd.Index(column, dtype=column.dtype)
                        levels = pd.MultiIndex.from_arrays([column, range(len(column))], names=["l", None])
                    except (TypeError, ValueError, NotImplementedError, AttributeError):
                        continue
                if missing and rows == 0:
                    continue
                yield f"index: {where}", pd.DataFrame({"n": range(len(column))}, index=index.rename("key"))
                yield f"level: {where}", pd.DataFrame({"n": range(len(column))}, index=levels)
    for name, make_index in indices().items():
        for kind in ("int64", "objects lists", "categories texts", "Int64"):
            for rows in (3, 0):
                column = made[kind](False).iloc[:rows]  # noqa: FBT003
                column.index = make_index(len(column))
                yield f"{kind} by {name}, {rows} rows", column.to_frame("c")
                if rows:
                    yield f"series {kind} by {name}", column.rename("c")
        yield f"no columns by {name}", pd.DataFrame(index=make_index(3))
    for name, heads in labels().items():
        for rows in (2, 0):
            frame = pd.DataFrame(np.arange(2 * rows).reshape(rows, 2))
            frame.columns = heads
            yield f"labels {name}, {rows} rows", frame
