"""Columns of every type against every other, with gaps, without rows, and with more values than memory is given."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from artifactstore import InvalidInputError
from artifactstore.objects.drift import comparison
from artifactstore.objects.drift.columns import carrier_of
from artifactstore.objects.drift.comparison import compare_tables
from artifactstore.objects.drift.samples import Categories
from artifactstore.objects.drift.tables import input_of
from artifactstore.objects.tables.profile import Profiler

DAY = dt.date(2026, 11, 1)
NOON = dt.datetime(2026, 11, 1, 12)  # noqa: DTZ001 - as Arrow has it
COLUMNS: dict[str, Any] = {
    "int": pa.array([1, 2, 3, 4]),
    "small": pa.array([1, 2, 3, 4], pa.int8()),
    "uint64": pa.array([1, 2, 3, 2**64 - 1], pa.uint64()),
    "float": pa.array([1.0, 2.5, float("nan"), float("inf")]),
    "half": pa.array(np.array([1, 2, 3], np.float16)),
    "decimal": pa.array([Decimal("1.10"), Decimal("2.20"), None]),
    "bool": pa.array([True, False, None]),
    "text": pa.array(["a", "b", None]),
    "category": pa.array(["a", "b", "a"]).dictionary_encode(),
    "numbered": pa.array([1, 2, 1]).dictionary_encode(),
    "bytes": pa.array([b"a", b"b"]),
    "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
    "date": pa.array([DAY, DAY]),
    "moment": pa.array([NOON, NOON], pa.timestamp("ns")),
    "instant": pa.array([NOON, NOON], pa.timestamp("us", "Europe/Berlin")),
    "utc": pa.array([NOON, NOON], pa.timestamp("s", "UTC")),
    "time": pa.array([dt.time(1), dt.time(2)]),
    "duration": pa.array([1, 2], pa.duration("ms")),
    "null": pa.nulls(3),
    "list": pa.array([[1], None, [2]]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "missing": pa.array([None, None], pa.float64()),
    "nan": pa.array([float("nan")] * 3),
    "constant": pa.array([7] * 5),
    "empty": pa.array([], pa.int64()),
}


def measured(reference: Any, current: Any, **options: Any) -> dict[str, Any]:
    return compare_tables(input_of(reference, "reference"), input_of(current, "current"), **options)


def column(reference: Any, current: Any) -> dict[str, Any]:
    found: dict[str, Any] = measured({"x": pa.array(reference)}, {"x": pa.array(current)})["columns"]["x"]
    return found


@pytest.mark.parametrize("old", COLUMNS)
def test_each_type_goes_with_each_other_or_is_said_not_to(old: str):
    for new, values in COLUMNS.items():
        found = measured(pa.table({"x": COLUMNS[old]}), pa.table({"x": values}))
        one = found["columns"]["x"]
        assert one["status"] in {"compared", "type changed"}, new
        if one["status"] == "type changed":
            assert found["changed_types"] == 1
            assert found["psi"] == {"max": None, "mean": None, "column": "x"}, "a broken column makes no rule hold"
            continue
        for measure in ("psi", "js", "ks", "missing", "out_of_range", "new_share"):
            assert one[measure] is None or np.isfinite(one[measure]), (new, measure)
        if old == new and len(COLUMNS[old]) and old not in {"null", "list", "struct"}:
            assert (one["psi"], one["js"], one["missing_change"]) == (0.0, 0.0, 0.0), new
            assert one["ks"] in {None, 0.0}, new
            assert one["new_categories"] in {None, 0}, new


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (pa.int64(), pa.int32(), "int"), (pa.int64(), pa.float64(), "float"), (pa.uint64(), pa.uint8(), "uint"),
        (pa.uint64(), pa.int64(), "float"), (pa.bool_(), pa.int64(), "int"), (pa.bool_(), pa.bool_(), "category"),
        (pa.decimal128(9, 2), pa.float64(), "float"), (pa.string(), pa.large_string(), "category"),
        (pa.dictionary(pa.int8(), pa.int64()), pa.int64(), "category"), (pa.string(), pa.int64(), None),
        (pa.timestamp("us"), pa.date32(), "moment"), (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("s", "UTC"), pa.timestamp("ns", "Asia/Tokyo"), "moment"), (pa.time32("s"), pa.date32(), None),
        (pa.null(), pa.string(), "category"), (pa.null(), pa.null(), "missing"), (pa.list_(pa.int8()), pa.list_(pa.int8()), "missing"),
        (pa.list_(pa.int8()), pa.string(), None), (pa.string_view(), pa.string(), "category"),
    ],
)  # fmt: skip
def test_types_that_mean_the_same_are_compared(old: Any, new: Any, expected: str | None):
    assert carrier_of(old, new) == expected


def test_a_constant_that_changed_is_seen():
    assert column([7] * 100, [3] * 100)["psi"] > 5
    assert column([7] * 100, [3] * 100)["ks"] == 1.0
    assert column([7] * 100, [7] * 50)["psi"] == 0.0
    assert column([0, 1] * 50, [0, 0, 0, 1] * 25)["psi"] == pytest.approx(0.25 * np.log(1.5) + 0.25 * np.log(2))


def test_missing_values_are_nulls_and_nans_and_a_bin_of_their_own():
    one = column([1.0, 2.0, 3.0, 4.0], [1.0, None, float("nan"), 4.0])
    assert one["missing"] == one["missing_change"] == 0.5
    assert one["psi"] > 1
    assert one["current"] == {"rows": 4, "missing": 2, "min": 1.0, "max": 4.0, "mean": 2.5}


def test_infinities_are_values_at_the_ends():
    one = column([1.0, 2.0, float("inf")] * 9, [float("-inf"), 2.0, float("inf")] * 9)
    assert one["ks"] == pytest.approx(1 / 3)
    assert one["current"]["infinite"] == 18
    assert one["current"]["min"] is None, "JSON has no infinity"
    assert one["out_of_range"] == pytest.approx(1 / 3)


def test_all_missing_on_one_side_meets_no_rule():
    found = measured({"x": [1.0, 2.0]}, {"x": pa.array([None, None], pa.float64())})
    assert found["missing"]["max"] == 1.0
    assert found["psi"]["max"] > 5
    assert found["ks"]["max"] is None
    assert found["ks"]["column"] == "x"
    assert measured({"x": pa.nulls(2), "y": [1, 2]}, {"x": pa.nulls(2), "y": [1, 2]})["ks"]["max"] == 0.0


@pytest.mark.parametrize("side", ["reference", "current", "both"])
def test_no_rows_meet_no_rule(side: str):
    full, none = (
        pa.table({"x": [1, 2], "y": ["a", "b"]}),
        pa.table({"x": pa.array([], pa.int64()), "y": pa.array([], pa.string())}),
    )
    found = measured(none if side != "current" else full, none if side != "reference" else full)
    assert [found[name]["max"] for name in ("psi", "ks", "js")] == [None, None, None]
    assert found["missing"]["max"] is None or side == "reference"


def test_new_categories_are_counted_and_named():
    one = column(list("aabb"), ["a", "b", "z", "ö", None])
    assert (one["new_categories"], one["new_share"], one["new"]) == (2, 0.5, ["z", "ö"])
    assert measured({"x": ["a"], "y": ["b"]}, {"x": ["q"], "y": ["r"]})["new_categories"] == 2


def test_columns_that_are_gone_new_or_of_another_type_are_counted():
    found = measured({"a": [1], "b": [1], "c": [1]}, {"b": ["x"], "c": [1], "d": [2]})
    assert (found["missing_columns"], found["changed_types"], found["new_columns"]) == (1, 1, 1)
    assert [found["columns"][name]["status"] for name in "abcd"] == ["missing", "type changed", "compared", "new"]
    assert measured({"a": [1], "b": [1]}, {"a": [1]}, columns=["a"])["missing_columns"] == 0
    with pytest.raises(InvalidInputError, match=r"no column 'amnt'; it has 'amount'"):
        measured({"amount": [1]}, {"amount": [1]}, columns=["amnt"])


def test_texts_of_huge_cardinality_take_bounded_memory():
    made = Categories(limit=1000)
    whole = Categories()
    rng = np.random.default_rng(0)
    for _ in range(40):
        hashes = np.unique(rng.integers(0, 2**63, 1500).astype(np.uint64))
        counts = np.ones(len(hashes), np.int64)
        hashes[0], counts[0] = 12345, 900
        for one in (made, whole):
            one.add(hashes, counts, str)
        assert made._held <= 2000 + 1500
    assert made.count == whole.count
    assert 40_000 < made.distinct() < 80_000
    kept = dict(zip(*(part.tolist() for part in made.finish()), strict=True))
    assert kept[12345] == 40 * 900, "what is frequent is counted exactly"


def test_identifiers_are_all_new_and_no_drift_of_their_frequencies():
    old, new = [f"id-{i}" for i in range(5000)], [f"id-{i}" for i in range(4000, 9000)]
    one = column(old, new)
    assert one["new_categories"] == 4000
    assert one["new_share"] == 0.8
    assert one["psi"] < 0.01
    assert one["current"]["distinct"] == 5000


def test_the_same_comes_out_however_rows_are_cut_into_batches(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    tables = [pa.table({"x": rng.normal(size=5000), "y": rng.choice(list("abc"), 5000)}) for _ in range(2)]
    whole = measured(*tables)
    pieces = [pa.Table.from_batches(table.to_batches(max_chunksize=77)) for table in tables]
    assert measured(*pieces) == whole
    monkeypatch.setattr(comparison, "_LEAST", 2**8)
    monkeypatch.setattr(comparison, "_MEMORY", 1)
    bounded = measured(*tables)
    assert bounded["approximate"]
    assert bounded["psi"]["max"] == pytest.approx(whole["psi"]["max"], abs=0.02)
    assert bounded["ks"]["max"] == pytest.approx(whole["ks"]["max"], abs=0.05)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "batch", "reader", "dict"])
def test_every_kind_of_table_gives_the_same(kind: str):
    frame = pd.DataFrame({"x": [1.5, 2.5, None], "y": ["a", "b", "b"]}, index=[5, 6, 7])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    made: Any = {
        "pandas": frame, "polars": pl.DataFrame({"x": [1.5, 2.5, None], "y": ["a", "b", "b"]}), "arrow": table,
        "batch": table.to_batches()[0], "reader": table.to_reader(), "dict": {"x": [1.5, 2.5, None], "y": ["a", "b", "b"]},
    }[kind]  # fmt: skip
    found = measured(table, made)
    assert {*found["columns"]} == {"x", "y"}
    assert found["psi"]["max"] == 0.0
    with pytest.raises(InvalidInputError, match="the reference must be a reference, a table"):
        input_of([1, 2], "reference")


def test_a_profile_stands_for_its_table():
    rng = np.random.default_rng(2)
    old = pa.table({"x": rng.normal(size=20_000), "n": rng.integers(0, 9, 20_000), "y": rng.choice(list("abc"), 20_000)})
    new = pa.table({"x": rng.normal(0.5, 1, 9000), "n": rng.integers(0, 9, 9000), "y": rng.choice(list("abz"), 9000)})
    profiler = Profiler(old.schema)
    profiler.add(old)
    exact, found = measured(old, new), measured(profiler.finish(), new)
    assert found["approximate"]
    assert not exact["approximate"]
    for name in ("x", "n", "y"):
        assert found["columns"][name]["psi"] == pytest.approx(exact["columns"][name]["psi"], rel=0.2, abs=0.02), name
    assert found["columns"]["x"]["ks"] == pytest.approx(exact["columns"]["x"]["ks"], abs=0.02)
    assert found["columns"]["y"]["new_categories"] == 1


def test_labels_are_judged_and_do_not_count_as_missing():
    old = {"x": [1, 2, 3, 4], "score": [0.1, 0.9, 0.2, 0.8], "churned": [0, 1, 0, 1]}
    found = measured(old, {"x": [1, 2], "score": [0.9, 0.1], "churned": [0, 1]}, labels={"churned": "score"})
    assert found["auc"] == {"reference": 1.0, "current": 0.0, "change": -1.0}
    assert found["labels"]["churned"]["rows"] == [4, 2]
    late = measured(old, {"x": [1, 2], "score": [0.9, 0.1]}, labels={"churned": "score"})
    assert late["missing_columns"] == 0
    assert late["auc"]["current"] is None
