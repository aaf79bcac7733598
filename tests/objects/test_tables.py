"""Tables of pandas, polars and pyarrow: equal after a round trip, alike in digest, little stored for little changed."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import artifactstore
from artifactstore import CorruptionError, InvalidInputError, NotFoundError, UnsupportedError
from artifactstore.objects.formats.tables import Table
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder

N = 600


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "i": np.arange(N),
            "f": np.random.default_rng(0).random(N),
            "s": [f"s{i % 7}" for i in range(N)],
            "c": pd.Categorical(
                [f"k{i % 5}" for i in range(N)], categories=[*(f"k{i}" for i in range(5)), "never"], ordered=True
            ),
            "n": pd.array([None if i % 3 else i for i in range(N)], "Int64"),
            "t": pd.date_range("2020-03-28", periods=N, freq="h", tz="Europe/Berlin"),
            "b": pd.array([True, None] * (N // 2), "boolean"),
            "d": pd.array(["a", None] * (N // 2), "string"),
            "x": [b"\0\1"] * N,
        }
    )


FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    "plain": frame,
    "index": lambda: frame().set_index("s"),
    "two-indices": lambda: frame().set_index(["i", "s"]),
    "steps": lambda: frame().iloc[::2],
    "no-rows": lambda: frame().head(0),
    "no-columns": lambda: pd.DataFrame(index=range(3)),
    "nothing": pd.DataFrame,
    "odd-index": lambda: pd.DataFrame({"a": [1]}, index=[5]),
    "numbered-columns": lambda: pd.DataFrame(np.eye(2)),
    "nested": lambda: pd.DataFrame({"a": [[1, 2], [], None], "b": [{"x": 1}, {"x": 2}, {"x": None}]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_of_pandas_comes_back_equal(store: Store, name: str):
    put = FRAMES[name]()
    digest = store.put(put, "t").digest
    back = store.get("t")
    if name == "nested":
        assert [list(one) if one is not None else None for one in back["a"]] == put["a"].tolist()
        return
    pd.testing.assert_frame_equal(back, put)
    assert store.put(back).digest == digest


@pytest.mark.parametrize("column", ["i", "f", "s", "c", "n", "t"])
def test_a_series_comes_back_equal_named_or_not(store: Store, column: str):
    for series in (frame()[column], frame()[column].rename(None), frame().set_index("i").iloc[:, 1]):
        store.put(series, "t")
        pd.testing.assert_series_equal(store.get("t"), series)


def test_polars_comes_back_equal(store: Store):
    put = pl.from_pandas(frame()).with_columns(pl.col("s").cast(pl.Categorical), l=pl.lit([1, 2]))
    store.put(put, "t")
    back = store.get("t")
    assert back.schema == put.schema
    assert back.equals(put)
    store.put(put["f"], "s")
    assert store.get("s").equals(put["f"])
    with pytest.raises(InvalidInputError, match="collect"):
        store.put(put.lazy(), "t")


def test_arrow_comes_back_equal_and_a_table_as_what_is_asked_for(store: Store):
    table = pa.table({"a": pa.array([1, None], pa.int32()), "b": ["x", None]}, metadata={"source": "here"})
    store.put(table, "t")
    assert store.get("t").equals(table, check_metadata=True)
    assert isinstance(store.get("t", type="pandas"), pd.DataFrame)
    assert isinstance(store.get("t", type="polars"), pl.DataFrame)
    assert store.get("t", columns="b").column_names == ["b"]
    with pytest.raises(InvalidInputError, match="no column 'z'"):
        store.get("t", columns=["z"])
    with pytest.raises(InvalidInputError, match="got 'spark'"):
        store.get("t", type="spark")


def test_the_digest_does_not_depend_on_batches_nor_on_the_kind_of_source(store: Store, tmp_path: Path):
    table = pa.Table.from_pandas(frame(), preserve_index=False)

    def reader(rows: int) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=rows))

    ds.write_dataset(table, tmp_path / "set", format="arrow")
    sources: list[Any] = [
        table,
        reader(7),
        reader(100),
        reader(N),
        table.to_batches()[0],
        ds.dataset(tmp_path / "set", format="arrow"),
    ]
    assert len({store.put(one).digest for one in sources}) == 1


def test_versions_of_libraries_leave_no_trace_but_pyarrows_own(store: Store, tmp_path: Path):
    import pyarrow.parquet as pq

    store.put(frame(), "t")
    store.get("t", tmp_path / "to")
    said = json.loads(pq.read_schema(tmp_path / "to/data.parquet").metadata[b"pandas"])
    assert said["pandas_version"] == "0"
    assert said["creator"] == {"library": "pyarrow", "version": "0"}
    assert pd.__version__.encode() not in (tmp_path / "to/data.parquet").read_bytes()


@pytest.mark.slow
def test_a_changed_percent_of_rows_stores_little(store: Store):
    rng, rows = np.random.default_rng(0), 1_000_000
    table = pd.DataFrame(
        {
            "id": np.arange(rows),
            "x": rng.random(rows),
            "k": rng.integers(0, 1000, rows),
            "s": rng.integers(0, 10**9, rows).astype(str),
        }
    )
    first = store.put(table, "t").uploaded
    edited = table.copy()
    edited.loc[500_000:509_999, "x"] = 0.5
    assert store.put(edited, "t").uploaded < 0.05 * first
    assert store.put(table.drop(index=range(1000, 11_000)).reset_index(drop=True), "t").uploaded < 0.08 * first


def batches(count: int) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield pa.record_batch({"x": rng.random(100_000), "y": rng.integers(0, 2**62, 100_000)})


@pytest.mark.slow
def test_a_reader_of_more_than_memory_streams_through(store: Store, tmp_path: Path):
    """It takes long: a table in parts shows only where it is larger than what the libraries themselves take."""
    code = f"""
import artifactstore, pyarrow as pa
from tests.objects.test_tables import batches
store = artifactstore.open({store.url!r})
first = next(batches(1))
store.put(pa.RecordBatchReader.from_batches(first.schema, batches(10)), "warm")
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
before = peak()
store.put(pa.RecordBatchReader.from_batches(first.schema, batches(400)), "large")
print(peak() - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 450  # MiB, for a table of 610 MiB
    assert store.open_table("large").count_rows() == 40_000_000


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "duplicate column names 'a'"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "duplicate column names 'a'"),
        (pd.DataFrame({"a": [1, "x", None]}), "column a with type object"),
        (pd.DataFrame({"a": [object()]}), "format='pickle'"),
        (pd.Series([1], name=3), "must be a str or None"),
    ],
)
def test_tables_that_can_not_be_kept_are_refused_by_column(store: Store, bad: Any, said: str):
    with pytest.raises(InvalidInputError, match=said):
        store.put(bad, "t")


def test_an_index_whose_name_is_no_text_is_refused(store: Store):
    for index in (pd.Index([1, 2], name=5), pd.MultiIndex.from_arrays([[1, 2], [3, 4]], names=["a", ("b",)])):
        with pytest.raises(InvalidInputError, match="the index name must be"):
            store.put(pd.DataFrame({"v": [1, 2]}, index=index), "bad")


def test_a_damaged_file_is_damaged(store: Store, tmp_path: Path):
    store.put(frame(), "t")
    store.get("t", tmp_path / "to")
    raw = (tmp_path / "to/data.parquet").read_bytes()
    for bad in (
        b"",
        b"PAR1",
        raw[:-1],
        raw[:100],
        raw[:-20] + b"\xff" * 12 + raw[-8:],
        b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\x7fPAR1",
    ):
        with pytest.raises(CorruptionError):
            Table().read(MemoryFolder({"data.parquet": bad}))


def test_one_column_of_an_opened_table_fetches_little(tmp_path: Path):
    from artifactstore.testing.backends import CountingBackend

    rng = np.random.default_rng(0)
    store = artifactstore.open(tmp_path / "store", cache=None)
    made = store.put(pd.DataFrame({name: rng.random(200_000) for name in "abcdefgh"}), "t")
    journal = store._session.core().journal
    counted = journal.cached_backend = CountingBackend(journal.cached_backend)
    opened = store.open_table("t")
    assert opened.schema.names == list("abcdefgh")
    assert opened.to_table(columns=["c"]).num_rows == 200_000
    assert counted.bytes_read < 0.35 * made.size
    assert opened.count_rows() == 200_000


def test_folders_of_files_are_tables_too_with_their_partitions(store: Store, tmp_path: Path):
    for year in (2023, 2024):
        (tmp_path / f"set/year={year}").mkdir(parents=True)
        pd.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / f"set/year={year}/part.parquet")
    (tmp_path / "set/README.txt").write_text("x")
    (tmp_path / "rows.csv").write_text("a,b\n1,x\n2,y\n")
    store.put(tmp_path / "set", "p")
    store.put(tmp_path / "rows.csv", "c")
    assert sorted(store.open_table("p").to_table()["year"].to_pylist()) == [2023, 2023, 2024, 2024]
    assert store.open_table("p:latest/year=2024").count_rows() == 2
    assert store.open_table("p:latest/year=2024/part.parquet").count_rows() == 2
    assert store.open_table("c").to_table().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    with pytest.raises(NotFoundError, match="no file 'year=1999'"):
        store.open_table("p:latest/year=1999")
    store.put(b"x", "b")
    with pytest.raises(InvalidInputError, match="is not a table"):
        store.open_table("b")


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.time32("s"), pa.date64(), pa.dictionary(pa.int8(), pa.large_string())],
    ids=str,
)
def test_types_that_parquet_has_no_word_for_come_back(store: Store, kind: pa.DataType):
    table = pa.table({"a": pa.array(["x", None] if pa.types.is_dictionary(kind) else [86_400_000, None], kind)})
    if pa.types.is_time32(kind):
        table = pa.table({"a": pa.array([5, None], kind)})
    store.put(table, "t")
    assert store.get("t").schema == table.schema
    assert store.get("t").equals(table)
    assert store.get("t", columns=["a"]).equals(table)


def test_pandas_dates_in_seconds_stay_in_seconds(store: Store):
    frame = pd.DataFrame({"t": np.array(["3020-01-01", "NaT"], "M8[s]")}, index=np.array(["1020-01-01", "1021-01-01"], "M8[s]"))
    store.put(frame, "t")
    pd.testing.assert_frame_equal(store.get("t"), frame)


@pytest.mark.parametrize("kind", [pa.decimal32(5, 2), pa.decimal64(12, 2)], ids=str)
def test_narrow_decimals_come_back_and_have_a_profile(store: Store, kind: pa.DataType):
    table = pa.table({"a": pa.array([Decimal("1.50"), Decimal("-2.25"), None], kind)})
    made = store.put(table, "t")
    assert store.get("t").equals(table)
    assert made.profile is not None
    assert made.profile["columns"]["a"]["min"] == "-2.25"


def test_python_objects_in_a_polars_frame_are_refused_by_name(store: Store):
    frame = pl.DataFrame({"fine": [1], "odd": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(InvalidInputError, match="column 'odd'"):
        store.put(frame, "t")


def test_what_another_kind_of_table_can_not_hold_is_said(store: Store):
    store.put(pa.table({"a": pa.array([1], pa.time64("ns")), "b": [1]}), "t")
    with pytest.raises(UnsupportedError, match="pass type='arrow'"):
        store.get("t", type="pandas")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"columns": 5}, "columns= must be"), ({"columns": [5]}, "a list of them"), ({"type": ["pandas"]}, "one of")],
)
def test_options_of_a_table_that_mean_nothing_are_refused(store: Store, options: dict[str, Any], said: str):
    store.put(pd.DataFrame({"a": [1]}), "t")
    with pytest.raises(InvalidInputError, match=said):
        store.get("t", **options)


def test_columns_of_objects_stay_objects(store: Store):
    values = {
        "texts": ["x", None, "z"], "whole": [1, None, 3], "flags": [True, None, False], "floats": [0.5, None, 1.5], "all": [1, 2, 3],
        "moments": [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-02"), pd.Timestamp("2026-01-03")], "none": [None] * 3,
    }  # fmt: skip
    columns = {name: pd.Series(one, dtype=object) for name, one in values.items()}
    put = pd.DataFrame(columns).set_index(pd.Index(["a", "b", "c"], dtype=object, name="key"))
    put = pd.DataFrame(
        {**{name: pd.Series(one, dtype=object, index=put.index) for name, one in values.items()}, "str": ["a", "b", None]}
    )
    put.columns = put.columns.astype(object)
    store.put(put, "t")
    pd.testing.assert_frame_equal(store.get("t"), put)
    pd.testing.assert_frame_equal(store.get("t", columns=["whole", "key"]), put[["whole"]])
    named = pd.Series(["x", None], dtype=object, name="s")
    store.put(named, "s")
    pd.testing.assert_series_equal(store.get("s"), named)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([b"a", "x"], "texts and bytes"), (["x", None, b"a"], "texts and bytes"), ([{1}, {2}], "sets"),
        ([dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "dates and moments"),
        ([pd.Timestamp("2026-01-01"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "with and without a time zone"),
        ([dt.time(1, tzinfo=dt.UTC)], "times of a time zone"), ([pd.Timestamp(1)], "nanoseconds"), ([pd.Timedelta(1)], "nanoseconds"),
        ([2**70], "more than 64 bits"), ([2**63, 1], "more than 64 bits"), ([1, "x"], "bad"),
    ],
)  # fmt: skip
def test_objects_that_would_come_back_as_others_are_refused_by_column(store: Store, values: list[Any], said: str):
    with pytest.raises(InvalidInputError, match=said) as told:
        store.put(pd.DataFrame({"good": range(len(values)), "bad": pd.Series(values, dtype=object)}), "t")
    assert "bad" in str(told.value)


def test_attrs_come_back_as_json_has_them_or_are_refused_by_name(store: Store):
    made = pd.DataFrame({"a": [1]})
    made.attrs = {
        "unit": "m",
        "count": np.int64(3),
        "share": np.float64(0.5),
        "flag": np.array([True])[0],
        "parts": {"n": [np.int8(1)]},
    }
    store.put(made, "t")
    assert store.get("t").attrs == {"unit": "m", "count": 3, "share": 0.5, "flag": True, "parts": {"n": [1]}}
    assert type(made.attrs["count"]) is np.int64  # what was put is as it was
    for odd in (np.ones(2), {1}, b"x", dt.date(2020, 1, 1), pd.DataFrame(), np.datetime64("2020", "ns"), np.complex128(1j)):
        made.attrs = {"unit": "m", "odd": odd}
        with pytest.raises(InvalidInputError, match=r"attrs\['odd'\]"):
            store.put(made, "t")


@pytest.mark.parametrize("whole", ["i1", "u4", "i8", "u8"])
def test_a_level_of_whole_numbers_with_gaps_comes_back_or_is_refused(store: Store, whole: str):
    for number in (5, 2**53, 2**53 + 1, np.iinfo(whole).max, np.iinfo(whole).min):
        if not np.iinfo(whole).min <= number <= np.iinfo(whole).max:
            continue
        index = pd.MultiIndex(levels=[["a", "b"], pd.Index([number], dtype=whole)], codes=[[0, 1], [0, -1]])
        made = pd.DataFrame({"x": [1, 2]}, index=index)
        if abs(int(number)) <= 2**53:
            store.put(made, "t")
            assert list(store.get("t").index.levels[1]) == [number]
        else:
            with pytest.raises(InvalidInputError, match=r"level 1 of the index has missing values"):
                store.put(made, "t")


@pytest.mark.parametrize(
    "made", [pa.table({"a": [1, 2]}).select([]), pl.DataFrame(height=2), pa.record_batch({"a": [1]}).select([])]
)
def test_rows_without_columns_are_refused(store: Store, made: Any):
    with pytest.raises(InvalidInputError, match="rows without columns"):
        store.put(made, "t")
