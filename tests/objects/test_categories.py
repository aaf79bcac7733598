"""Categories come back as they were, whatever they are; what Parquet can't hold is refused by name, and lies are damage."""

import base64
import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore import CorruptionError, InvalidInputError
from artifactstore.objects.formats import tables
from artifactstore.objects.formats.tables import Table
from artifactstore.objects.tables.categories import KEY, decode_categories, encode_categories
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder

DAYS = pd.to_datetime(["2020-01-02", "2019-01-01", "2021-05-05"])
KINDS: dict[str, Any] = {
    "int": [3, 1, 2],
    "uint8": np.array([9, 3, 1], "u1"),
    "float": [1.5, 0.5, -2.0],
    "bool": [True, False],
    "time": DAYS,
    "time with a zone": DAYS.tz_localize("Europe/Berlin"),
    "duration": pd.to_timedelta(["1s", "3s", "2s"]),
    "date": [dt.date(2020, 1, 1), dt.date(2019, 1, 1)],
    "bytes": [b"x", b"a"],
    "text": ["b", "a", "never"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_categories_of_pandas_come_back(store: Store, kind: str, ordered: bool):  # noqa: FBT001 - a parameter of the test
    column = pd.Categorical.from_codes([0, 1, -1, 1, 0], categories=KINDS[kind], ordered=ordered)
    frame = pd.DataFrame({"c": column, "n": range(5)})
    first = store.put(frame, "frame")
    pd.testing.assert_frame_equal(store.get("frame"), frame)
    pd.testing.assert_frame_equal(store.get("frame", columns=["c"]), frame[["c"]])
    assert not store.put(frame.copy(), "frame").new
    turned = frame.assign(c=column.reorder_categories([*column.categories[::-1]]))
    assert store.put(turned, "turned").digest != first.digest  # the order is a part of what they are
    pd.testing.assert_frame_equal(store.get("turned"), turned)
    empty = frame.iloc[:0]
    store.put(empty, "empty")
    pd.testing.assert_frame_equal(store.get("empty"), empty)
    assert store.get("frame", type="polars").height == 5
    assert store.get("frame", type="arrow").column("c").null_count == 1


def test_an_index_of_categories_comes_back(store: Store):
    frame = pd.DataFrame({"v": [1, 2]}, index=pd.CategoricalIndex([5, 3], categories=[3, 4, 5], name="ix"))
    store.put(frame, "frame")
    pd.testing.assert_frame_equal(store.get("frame"), frame)


def test_what_was_written_without_categories_comes_back_as_categories(tmp_path: Path):
    frame = pd.DataFrame({"c": pd.Categorical([3, 1, None], categories=[1, 2, 3])})
    table = pa.Table.from_pandas(frame)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"artifactstore.type": b"pandas.DataFrame"})
    pq.write_table(table, tmp_path / "old.parquet")
    back = Table().read(MemoryFolder({"data.parquet": (tmp_path / "old.parquet").read_bytes()}))
    assert back.c.dtype == pd.CategoricalDtype([3, 1])
    assert back.c.tolist()[:2] == [3, 1]


def test_categories_of_arrow_come_back_from_tables_and_their_types_from_streams(store: Store, monkeypatch: pytest.MonkeyPatch):
    parts = [pa.array([1, 2]).dictionary_encode(), pa.array([3, 1, None]).dictionary_encode()]
    table = pa.table({"d": pa.chunked_array(parts), "m": pa.array([Decimal("1.5")] * 5).dictionary_encode()})
    store.put(table, "table")
    assert store.get("table").schema.remove_metadata() == table.schema
    assert store.get("table").to_pylist() == table.to_pylist()
    store.put(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()), "stream")
    assert store.get("stream").schema.remove_metadata() == table.schema
    assert store.get("stream").to_pylist() == table.to_pylist()
    monkeypatch.setattr(tables, "_GROUP_ROWS", 100)
    narrow = pa.schema([("d", pa.dictionary(pa.int8(), pa.int64()))])
    many = [
        pa.record_batch([pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array([n, -n]))], schema=narrow)
        for n in range(1, 100)
    ]
    store.put(
        pa.RecordBatchReader.from_batches(narrow, many), "many", profile=False
    )  # more of them than numbers of one byte can count
    assert store.get("many").column("d").to_pylist() == [one for n in range(1, 100) for one in (n, -n)]


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["period", "interval", "struct"])
def test_categories_that_parquet_can_not_hold_are_refused_by_column(tmp_path: Path, odd: str):
    """In a process of its own: the writer would end it."""
    made = {
        "period": "pd.DataFrame({'odd one': pd.Categorical(pd.period_range('2020', '2022', freq='Y'))})",
        "interval": "pd.DataFrame({'odd one': pd.cut([1, 2, 3], 2)})",
        "struct": "pa.table({'odd one': pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([{'a': 1}]))})",
    }[odd]
    program = f"""
import artifactstore, pandas as pd, pyarrow as pa
store = artifactstore.create({str(tmp_path / "store")!r}, cache=None)
try:
    store.put({made}, "odd")
except artifactstore.InvalidInputError as error:
    print(error)
assert store.names() == []
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the categories of column 'odd one'" in done.stdout
    assert "format='pickle'" in done.stdout


@pytest.mark.parametrize("lie", ["no base64 §", "bm8gc3RyZWFt", "others"])
def test_categories_that_lie_are_damage(store: Store, tmp_path: Path, lie: str):
    frame = pd.DataFrame({"c": pd.Categorical([3, 1], categories=[1, 2, 3])})
    store.put(frame, "frame")
    raw = Path(store.get("frame", to=tmp_path / "files") / "data.parquet").read_bytes()
    table = pq.read_table(pa.BufferReader(raw))
    others = encode_categories(pa.record_batch({"c": pa.array([7]).dictionary_encode()}).slice(0, 0))
    false = {**table.schema.metadata, KEY: others if lie == "others" else lie.encode()}
    encoded = pa.table({"c": pa.array([3, 1]).dictionary_encode()}).replace_schema_metadata(false)
    pq.write_table(encoded, tmp_path / "false.parquet")
    with pytest.raises(CorruptionError, match=r"data\.parquet"):
        Table().read(MemoryFolder({"data.parquet": (tmp_path / "false.parquet").read_bytes()}))


def test_a_series_called_value_is_told_from_one_without_a_name(store: Store):
    digests = set()
    for name in ("value", None, "other"):
        series = pd.Series([1, 2], name=name)
        digests.add(store.put(series, "series").digest)
        pd.testing.assert_series_equal(store.get("series"), series)
        polar = pl.Series(name or "", [1, 2])
        digests.add(store.put(polar, "polar").digest)
        assert store.get("polar").name == (name or "")
    assert len(digests) == 6
    with pytest.raises(InvalidInputError):
        store.put(pd.Series([1], name=3), "series")


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("encoded", [False, True])
def test_categories_that_are_compressed_are_refused_before_they_take_memory(codec: str, encoded: bool):  # noqa: FBT001
    zeros = pa.array([b"\0" * 100_000_000], pa.binary())
    batch = pa.record_batch([zeros.dictionary_encode() if encoded else zeros], names=["x"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write(batch)
    raw = base64.b64encode(sink.getvalue())
    before, pool = pa.total_allocated_bytes(), pa.default_memory_pool().max_memory()
    with pytest.raises(CorruptionError, match="compressed"):
        decode_categories(raw, "data.parquet")
    assert pa.total_allocated_bytes() - before < 10_000_000
    assert pa.default_memory_pool().max_memory() == pool
    assert decode_categories(encode_categories(batch), "data.parquet").equals(batch)
