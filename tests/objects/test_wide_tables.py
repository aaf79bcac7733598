"""Tables of many columns: what is said of a column does not depend on its neighbours, with which it is handled."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import artifactstore
from artifactstore import Store
from artifactstore.objects.tables import column_stacks
from artifactstore.objects.tables.arrow_types import rounded
from artifactstore.objects.tables.number_profile import frequent_of, rounded_rows
from artifactstore.objects.tables.profile import Profiler, frequent
from artifactstore.objects.tables.row_hashes import hash_rows
from tests.objects.test_profile import ODD, profiled


def neighbours(rows: int = 40) -> pa.Table:
    """Return a table with several columns of each type, with gaps, and with nothing but gaps."""
    random = np.random.default_rng(1)
    columns: dict[str, Any] = {}
    for name in ODD.column_names:
        kind = ODD.column(name).type
        for i in range(4):
            chosen = pa.concat_arrays([ODD.column(name).chunk(0).slice(at, 1) for at in random.integers(0, 3, rows).tolist()])
            columns[f"{name}{i}"] = pa.nulls(rows, kind) if i == 3 and not isinstance(kind, pa.BaseExtensionType) else chosen
    columns |= {f"few{i}": pa.array(random.integers(-3, 60 * i, rows), mask=random.random(rows) < i / 4) for i in range(1, 5)}
    for i in range(5):
        numbers = random.standard_normal(rows)
        numbers[: i * 3] = [math.nan, math.inf, -math.inf][i % 3]
        columns[f"float{i}"] = pa.array(numbers, pa.float32() if i == 4 else pa.float64())
        columns[f"whole{i}"] = pa.array(random.integers(-(2**62), 2**62, rows), mask=random.random(rows) < i / 5)
        columns[f"level{i}"] = pa.array([0.1 + 0.2] * rows)
    return pa.table(columns)


@pytest.mark.parametrize("values", [1, 100, 65_536])
def test_what_is_said_of_a_column_does_not_depend_on_its_neighbours(values: int, monkeypatch: pytest.MonkeyPatch):
    table = neighbours()
    alone = {name: profiled(table.select([name]))["columns"][name] for name in table.column_names}
    monkeypatch.setattr(column_stacks, "_VALUES", values)
    found = profiled(table, at_once=17)
    assert list(found["columns"]) == table.column_names
    for name, column in found["columns"].items():
        for key in ("mean", "std"):  # the last digits of a sum depend on where it is cut
            if isinstance(column.get(key), float):
                column[key] = pytest.approx(column[key], rel=1e-10)
        assert column == alone[name], name


@pytest.mark.parametrize("values", [1, 100, 65_536])
def test_hashes_of_rows_do_not_depend_on_how_columns_are_stacked(values: int, monkeypatch: pytest.MonkeyPatch):
    table = neighbours()
    one_by_one = np.zeros(table.num_rows, np.uint64)
    for name in table.column_names:  # a row's hash is mixed from the sum over its columns: undo the mixing of each
        one_by_one += unmixed(hash_rows(table.select([name])))
    monkeypatch.setattr(column_stacks, "_VALUES", values)
    np.testing.assert_array_equal(unmixed(hash_rows(table)), one_by_one)
    np.testing.assert_array_equal(hash_rows(table, ["float1", "text0"]), hash_rows(table.select(["text0", "float1"])))


def unmixed(words: Any) -> Any:
    """Undo the mixing of docs/reference/format.md: each of its steps can be undone."""
    for factor in (0xC4CEB9FE1A85EC53, 0xFF51AFD7ED558CCD):
        words = words ^ words >> np.uint64(33)
        words = words * np.uint64(pow(factor, -1, 2**64))
    return words ^ words >> np.uint64(33)


def test_texts_are_stacked_only_while_they_are_short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(column_stacks, "_TEXTS", 10)
    table = pa.table({"a": ["long enough", "b"], "b": ["c", "d"], "n": [1, 2]})
    groups = column_stacks.groups_of(table.schema)
    found = [(place, len(values)) for _, place, values in column_stacks.stacks(table, groups)]
    assert found == [(slice(0, 1), 2), (slice(1, 2), 2), (slice(0, 1), 2)]


def test_many_numbers_are_rounded_as_one_is():
    random = np.random.default_rng(2)
    usual = random.standard_normal(2000) * 10.0 ** random.integers(-9, 30, 2000)
    short = np.round(random.standard_normal(2000) * 1000, 3)
    edges = np.array([0.0, -0.0, 1e-10, 9.9999999999995, 1e33, 1e-11, 5e-324, 1.7e308, -1e22, 123456789012.5])
    for one, many in zip(usual.tolist(), rounded_rows(usual), strict=True):
        assert many == pytest.approx(one, rel=6e-12)
        assert float(f"{many:.12g}") == many, "no more than twelve digits"
    assert rounded_rows(short) == [rounded(one) for one in short.tolist()]
    assert [repr(one) for one in rounded_rows(edges)[:4]] == ["0.0", "-0.0", "1e-10", repr(rounded(9.9999999999995))]
    assert rounded_rows(edges)[4:9] == [rounded(one) for one in edges[4:9].tolist()]
    assert rounded_rows(np.array([[math.nan, 1.0], [math.inf, -math.inf]])) == [[None, 1.0], [None, None]]


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return artifactstore.create(tmp_path_factory.mktemp("wide") / "store", cache=None)


def test_calls_grow_with_the_values_of_a_wide_table_and_not_with_its_columns(monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    add = Profiler.add

    def count(self: Profiler, table: pa.Table) -> None:
        calls.extend(len(values) for _, _, values in column_stacks.stacks(table, column_stacks.groups_of(table.schema)))
        add(self, table)

    monkeypatch.setattr(Profiler, "add", count)
    profiled(pa.table({f"c{i}": np.arange(20) + i for i in range(3000)}))
    assert calls == [60_000]


def test_a_wide_frame_comes_back(store: Store):
    frame = pd.DataFrame({f"c{i}": ([i, None, 2], ["a", "b", None], [True, False, True])[i % 3] for i in range(300)})
    made = store.put(frame, "wide")
    pd.testing.assert_frame_equal(store.get("wide"), frame)
    assert made.profile is not None
    assert made.profile["columns"].keys() == {*frame.columns}
    assert made.profile["columns"]["c3"]["nulls"] == 1


def test_the_profile_of_a_wide_table_has_fewer_values_of_each_column(store: Store):
    random = np.random.default_rng(3)
    columns = {f"c{i}": random.integers(0, 30, 200) for i in range(1001)}
    wide, narrow = profiled(pa.table(columns))["columns"], profiled(pa.table({"c0": columns["c0"]}))["columns"]
    assert wide["c0"]["quantiles"] == narrow["c0"]["quantiles"][::5]
    assert (len(wide["c0"]["top"]), len(narrow["c0"]["top"])) == (10, 30)
    assert wide["c0"]["histogram"] == narrow["c0"]["histogram"]
    old = store.put(pa.table(columns), "wide")
    columns["c0"] = columns["c0"] + 15
    new = store.put(pa.table(columns), "wide")
    shifts = {one.column: one for one in store.diff(old.ref, new.ref).tables["data.parquet"].shifts}
    assert (shifts["c0"].ks or 0) > 0.5
    assert (shifts["c0"].psi or 0) > 0.2
    assert shifts["c1"].psi == 0
    assert shifts["c1"].ks == pytest.approx(0.1), "what 21 quantiles leave open"


@pytest.mark.parametrize("most", [1, 3, 50])
def test_frequent_whole_numbers_are_those_that_arrow_counts(most: int):
    random = np.random.default_rng(4)
    numbers = random.integers(-4, 4, (6, 30)).astype(np.float64)
    numbers[1, :7], numbers[2] = math.nan, math.nan
    numbers[3] = np.arange(30)
    found = frequent_of(np.sort(numbers, axis=1), most)
    for row, one in zip(numbers, found, strict=True):
        values = [None if math.isnan(value) else int(value) for value in row]
        assert one == frequent(pa.array(values, pa.int64()), most)
