"""The profile and the row hashes of a table: right beside a plain computation, whatever the batches, kept outside the identity."""

import json
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import artifactstore
from artifactstore import CorruptionError, InvalidInputError, Store
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.tables.profile import OtherColumns, Profiler, fingerprint
from artifactstore.objects.tables.row_hashes import RowHashes, hash_rows
from tests.warm import command


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def frame(rows: int = 250_000) -> pd.DataFrame:
    random = np.random.default_rng(0)
    made = pd.DataFrame({"id": np.arange(rows), "x": random.standard_normal(rows) * 5 + 3, "k": random.integers(0, 40, rows)})
    made["s"] = random.choice(["red", "green", "blue"], rows, p=[0.5, 0.3, 0.2])
    made["t"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(random.integers(0, 10**6, rows), "s")
    made.loc[::10, "x"] = np.nan
    return made


def profiled(table: pa.Table, *, full: bool = False, at_once: int = 10**9) -> dict[str, Any]:
    profiler = Profiler(table.schema, full=full)
    for start in range(0, table.num_rows, at_once):
        profiler.add(table.slice(start, at_once))
    return profiler.finish()


def test_what_is_told_of_all_rows_is_exact(store: Store):
    table = frame()
    found = store.put(table, "t").profile
    assert found is not None
    assert (found["format"], found["rows"], found["every"]) == (1, 250_000, 4)
    types = {field["name"]: field["type"] for field in found["schema"]["fields"]}
    assert types == {"id": "integer", "x": "number", "k": "integer", "s": "string", "t": "datetime"}
    columns = found["columns"]
    for name in ("id", "x", "k"):
        for key, plain in (("min", table[name].min()), ("max", table[name].max()), ("mean", table[name].mean())):
            assert columns[name][key] == pytest.approx(plain, rel=1e-11), (name, key)
        assert columns[name]["std"] == pytest.approx(table[name].std(), rel=1e-9)
    assert columns["x"]["nulls"] == 25_000
    assert columns["t"]["min"].startswith(str(table["t"].min())[:19])
    assert (columns["s"]["min"], columns["s"]["max"]) == ("blue", "red")


@pytest.mark.slow
def test_what_is_told_of_a_sample_is_near_and_in_full_exact(store: Store):
    table = frame()
    sampled = store.put(table, "t").profile
    full = store.put(frame(249_999), "full", profile="full").profile
    assert sampled is not None
    assert full is not None
    assert full["every"] == 1
    assert full["columns"]["id"]["distinct"] == 249_999
    assert sampled["columns"]["id"]["distinct"] == 62_500
    assert sum(full["columns"]["x"]["histogram"]["counts"]) == len(frame(249_999)["x"].dropna())
    for found in (sampled, full):
        assert found["columns"]["x"]["quantiles"][50] == pytest.approx(3, abs=0.1)
        assert [value for value, _ in found["columns"]["s"]["top"]] == ["red", "green", "blue"]
        assert found["columns"]["k"]["distinct"] == 40
        assert len(found["columns"]["x"]["quantiles"]) == 101
    assert sampled["columns"]["id"]["quantiles"][::50] == [0, 124_996, 249_996]


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 999, 65_536, 100_001])
def test_batches_play_no_part(at_once: int):
    table = pa.Table.from_pandas(frame(3000 if at_once == 1 else 230_000))
    one, other = profiled(table), profiled(table, at_once=at_once)
    for found in (one, other):  # the last digits of a sum depend on where it is cut
        for column in found["columns"].values():
            for key in ("mean", "std"):
                if key in column:
                    column[key] = pytest.approx(column[key], rel=1e-10)
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [7, 999, 5000])
def test_a_sample_of_long_texts_is_bounded_by_its_bytes_whatever_the_batches(at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("artifactstore.objects.tables.profile._SAMPLE_BYTES", 2**20)
    table = pa.table({"n": range(5000), "s": [f"{i:01000}" for i in range(5000)]})
    profiler, held = Profiler(table.schema), 0
    for start in range(0, 5000, at_once):
        profiler.add(table.slice(start, at_once))
        held = max(held, sum(part.nbytes for part in profiler._sample))
    found = profiler.finish()
    assert held <= 2**20
    assert (found["rows"], found["every"]) == (5000, 8)
    assert found["columns"]["n"]["quantiles"][::50] == [0, 2496, 4992]
    assert found["columns"]["s"]["distinct"] == 625
    full = profiled(table, full=True)
    assert (full["every"], full["columns"]["s"]["distinct"]) == (1, 5000)


def test_a_row_of_its_own_that_is_longer_than_a_sample_may_be_is_the_sample(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("artifactstore.objects.tables.profile._SAMPLE_BYTES", 10)
    found = profiled(pa.table({"s": ["long enough", "and another"]}))
    assert (found["every"], found["columns"]["s"]["distinct"]) == (2, 1)
    many = pa.table({"s": pa.array(["a word", "a phrase"] * 2000).dictionary_encode()})
    assert profiled(many)["every"] == 1, "what categories stand for can't be thinned"


def test_extremes_of_many_parts_are_those_of_all():
    profiler = Profiler(pa.schema([("s", pa.string()), ("d", pa.date32())]))
    days = [date(2000, 1, 1) + timedelta(days=i * 37 % 500) for i in range(500)]
    for i, day in enumerate(days):
        profiler.add(pa.table({"s": [f"{i * 37 % 500:03}"], "d": [day]}))
        (texts, *_) = profiler._columns
        assert isinstance(texts, OtherColumns)
        assert len(texts._extremes[0]) <= 64
    columns = profiler.finish()["columns"]
    assert (columns["s"]["min"], columns["s"]["max"]) == ("000", "499")
    assert (columns["d"]["min"], columns["d"]["max"]) == (str(min(days)), str(max(days)))


@pytest.mark.slow
def test_a_reader_of_unknown_length_has_the_profile_of_the_table(store: Store):
    table = pa.Table.from_pandas(frame())
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7001))
    a, b = store.put(reader, "a"), store.put(table, "b", profile=False)
    assert a.digest == b.digest
    assert a.profile == b.profile, "the content was there, and so was its profile"
    assert a.profile is not None
    assert canonical_json(a.profile) == canonical_json(store.put(frame(), "c").profile)


ODD = pa.table(
    {
        "bool": pa.array([True, None, False]),
        "u64": pa.array([2**64 - 1, None, 0], pa.uint64()),
        "i64": pa.array([-(2**63), 2**63 - 1, None]),
        "f16": pa.array([1, None, 2], pa.float16()),
        "nan": pa.array([float("nan"), float("inf"), -1.5]),
        "huge": pa.array([1e308, -1e308, 1e308]),
        "null": pa.nulls(3),
        "text": pa.array(["x" * 500, None, "ß\n"]),
        "view": pa.array(["a", None, "b"], pa.string_view()),
        "bytes": pa.array([b"\xff\x00", None, b""]),
        "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "cats": pa.array(["a", None, "b"]).dictionary_encode(),
        "list": pa.array([[1], None, []]),
        "struct": pa.array([{"a": 1}, None, {"a": None}]),
        "date": pa.array([date(2026, 1, 1), None, date(1, 1, 1)]),
        "time": pa.array([time(1, 2, 3), None, time(0)]),
        "ns": pa.array([1, None, 2**62], pa.timestamp("ns", "Europe/Berlin")),
        "took": pa.array([timedelta(seconds=1), None, timedelta(days=-1)]),
        "money": pa.array([Decimal("1.50"), None, Decimal("-2.00")]),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
        "uuid": pa.array([b"1" * 16, None, b"2" * 16], pa.uuid()),
    }
)


def test_every_type_has_a_profile_that_json_can_say():
    found = profiled(ODD)
    canonical_json(found)
    columns = found["columns"]
    assert {name: column["nulls"] for name, column in columns.items() if column["nulls"] != 1} == {
        "huge": 0,
        "null": 3,
        "runs": 0,
    }
    assert (columns["u64"]["max"], columns["i64"]["min"]) == (2**64 - 1, -(2**63))
    assert (columns["nan"]["infinite"], columns["nan"]["min"]) == (1, -1.5)
    assert columns["huge"]["mean"] == pytest.approx(1e308 / 3)
    assert columns["huge"]["std"] is None  # more than a float can say
    assert len(columns["text"]["max"]) <= 200
    assert (columns["date"]["min"], columns["money"]["max"]) == ("0001-01-01", "1.50")
    assert columns["u64"]["mean"] == pytest.approx(2**63)
    assert profiled(ODD.slice(0, 0))["rows"] == 0


@pytest.mark.parametrize(
    "empty", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=range(5))], ids=["", "rows", "columns"]
)
def test_tables_of_nothing_have_one(store: Store, empty: pd.DataFrame):
    found = store.put(empty, "t").profile
    assert found is not None
    assert found["rows"] == len(empty)


def test_profile_is_no_part_of_the_identity(store: Store, tmp_path: Path):
    table = frame(2000)
    with_one = store.put(table, "t")
    other = artifactstore.create(tmp_path / "other", cache=None)
    without = other.put(table, "t", profile=False)
    assert with_one.digest == without.digest
    assert without.profile is None
    assert store.put(b"x", "b").profile is None
    with pytest.raises(InvalidInputError, match="got 'half'"):
        store.put(table, "t", profile="half")
    with pytest.raises(InvalidInputError, match="no option profile"):
        store.put({"a": 1}, "t", profile=True)
    pd.testing.assert_frame_equal(store.get("t"), table)


def test_side_content_travels_and_is_looked_after(store: Store, tmp_path: Path):
    made = store.put(frame(70_000), "t")
    assert made.profile is not None
    other = artifactstore.create(tmp_path / "other", cache=None)
    store.maintenance.sync(other.url)
    assert other.artifact("t").profile == made.profile
    assert other.verify(level="full").findings == []
    session = store._session
    manifest = session.with_manifest(made.digest, lambda found: found)
    (extent, *_) = manifest.side["rows"]
    (pack,) = (path for path in Path(store.url).rglob("*.pack") if path.stem == extent.pack)
    raw = bytearray(pack.read_bytes())
    raw[extent.offset + extent.stored // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    assert any("side content rows of" in one.what for one in store.verify(level="full").findings)
    assert any("checksum" in one.what for one in store.verify(level="frames").findings)
    pack.write_bytes(raw[: extent.offset + 10])
    assert any("truncated" in one.what for one in store.verify().findings)
    pack.unlink()
    assert any("missing" in one.what for one in store.verify().findings)


def test_a_small_profile_rides_in_the_manifest(store: Store):
    made = store.put(frame(100), "t")
    assert made.profile is not None
    assert not list(Path(store.url).rglob("*.pack"))


def test_a_damaged_profile_is_told(store: Store, monkeypatch: pytest.MonkeyPatch):
    made = store.put(frame(100), "t")
    monkeypatch.setattr("artifactstore.work.get.artifact.read_side", lambda *_: b"{")
    with pytest.raises(CorruptionError, match="profile of t:v1"):
        _ = made.profile
    with pytest.raises(CorruptionError, match="imports of t:v1"):
        _ = made.imports


# -- row hashes


def test_hashes_tell_equal_rows_however_they_are_kept():
    table = ODD
    want = hash_rows(table)
    assert len(set(want.tolist())) == 3
    order = table.select(table.column_names[::-1])
    np.testing.assert_array_equal(hash_rows(order), want)
    np.testing.assert_array_equal(hash_rows(table.slice(1)), want[1:])
    np.testing.assert_array_equal(hash_rows(pa.concat_tables([table, table])), np.concatenate([want, want]))
    sink = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["runs"]), sink)
    np.testing.assert_array_equal(
        hash_rows(pq.read_table(pa.BufferReader(sink.getvalue()))), hash_rows(table.drop_columns(["runs"]))
    )


SAME = [
    (pa.array([1, 2, 3], pa.int8()), pa.array([1, 2, 3], pa.uint64())),
    (pa.array([1, 2, 3]), pa.array([1.0, 2.0, 3.0], pa.float32())),
    (pa.array([0.0, None]), pa.array([-0.0, float("nan")])),
    (pa.array(["a", "bc"]), pa.array(["a", "bc"], pa.large_string())),
    (pa.array(["a", "bc"]), pa.array(["a", "bc"]).dictionary_encode()),
    (pa.array([10**9], pa.timestamp("s")), pa.array([10**18], pa.timestamp("ns"))),
    (pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")), pa.array([date(2026, 1, 1)])),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=[str(pair[1].type) for pair in SAME])
def test_values_count_and_not_their_types(one: pa.Array, other: pa.Array):
    np.testing.assert_array_equal(hash_rows(pa.table({"c": one})), hash_rows(pa.table({"c": other})))


VALUES = st.one_of(st.none(), st.text(max_size=40))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30))
def test_rows_have_one_hash_just_where_they_are_equal(rows: list[tuple[str | None, str | None]]):
    table = pa.table({"a": pa.array([a for a, _ in rows], pa.string()), "b": pa.array([b for _, b in rows], pa.string())})
    hashes = hash_rows(table).tolist()
    assert len(set(hashes)) == len(set(rows))
    for row, found in zip(rows, hashes, strict=True):
        assert found == hashes[rows.index(row)]


def mix(word: int) -> int:
    """The specification in docs/reference/format.md, word for word."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ word >> 33) * factor % 2**64
    return word ^ word >> 33


def test_hashes_are_as_specified():
    table = pa.table(
        {"n": [1, -2, None], "x": [0.5, None, 1.0], "s": ["", "twelve bytes", "y" * 33], "d": [date(2026, 1, 1)] * 3}
    )
    missing, day = 0x9E3779B97F4A7C15, 20_454 * 86_400
    n, x, s, d = (xxhash.xxh3_64_intdigest(name.encode()) for name in "nxsd")
    text = mix(mix(12 ^ missing) ^ int.from_bytes(b"twelve b", "little"))
    text = mix(text ^ int.from_bytes(b"ytes", "little"))
    half = struct.unpack("<Q", struct.pack("<d", 0.5))[0]
    dates = mix(mix(day ^ d) ^ 0)
    want = [
        mix(1 ^ n) + mix(half ^ x) + mix(mix(0 ^ missing) ^ s) + dates,
        mix((-2) % 2**64 ^ n) + mix(missing ^ x) + mix(text ^ s) + dates,
        mix(missing ^ n) + mix(1 ^ x) + mix(xxhash.xxh3_64_intdigest(b"y" * 33) ^ s) + dates,
    ]
    assert hash_rows(table).tolist() == [mix(one % 2**64) for one in want]


def test_many_rows_leave_a_fair_sample():
    collected = RowHashes()
    for start in range(0, 1_000_000, 50_000):
        collected.add(hash_rows(pa.table({"n": range(start, start + 50_000)})))
    kept = collected.finish()
    assert collected.bits == 4
    assert len(kept) == pytest.approx(1_000_000 / 16, rel=0.03)
    assert (np.diff(kept) > 0).all()
    assert not (kept & np.uint64(15)).any()
    file = pq.ParquetFile(pa.BufferReader(collected.encode()))
    assert json.loads(file.metadata.metadata[b"artifactstore"]) == {"format": 1, "rows": 1_000_000, "bits": 4}
    np.testing.assert_array_equal(file.read().column("hash").to_numpy(), kept)


def test_show_tells_of_columns(store: Store):
    store.put(frame(1000), "t")

    def run(*more: str) -> str:
        done = command("show", "t", "--store", store.url, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lines = run().splitlines()
    assert "rows      1,000" in lines
    assert any(line.split()[:3] == ["x", "number", "100"] for line in lines)
    assert json.loads(run("--json"))["profile"]["rows"] == 1000


def test_the_card_of_a_table_shows_its_columns(store: Store):
    html = store.put(frame(1000).rename(columns={"x": "<b>x</b>"}), "t")._repr_html_()
    assert "1,000 rows, 5 columns" in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "<b>x" not in html


@pytest.mark.parametrize("values", [pa.array([2**64 - 1], pa.uint64()), pa.array([2**62, 2**62 + 1]), pa.array([1e300])])
def test_large_numbers_close_together_have_a_profile(store: Store, values: pa.Array):
    made = store.put(pa.table({"a": values}), "t")
    assert made.profile is not None
    assert made.profile["columns"]["a"]["distinct"] == len(values)


SHAPES = {
    "pandas": lambda table: table.to_pandas(),
    "polars": pl.from_arrow,
    "pyarrow": lambda table: table,
    "a batch": lambda table: table.to_batches()[0],
    "members": lambda table: {"a": table, "b": {"c": 1}},
}


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that were profiled."""
    rows: list[int] = []
    add = Profiler.add

    def look(self: Profiler, table: pa.Table) -> None:
        rows.append(table.num_rows)
        add(self, table)

    monkeypatch.setattr(Profiler, "add", look)
    return rows


@pytest.mark.parametrize("shape", SHAPES)
def test_an_unchanged_table_is_not_profiled_again(shape: str, looked_at: list[int], tmp_path: Path):
    table = pa.table({"n": range(1000), "t": [f"row {number}" for number in range(1000)]})
    made = SHAPES[shape]

    def opened() -> Store:
        return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")

    first = opened().put(made(table), "t")  # which makes the store
    assert sum(looked_at) == 1000
    looked_at.clear()
    store = opened()
    assert store.put(made(table), "t").digest == first.digest
    assert opened().put(made(table), "t").digest == first.digest
    assert not looked_at, "not by the same store, and not by the next process"
    other = table.set_column(0, "n", pa.array(range(1, 1001)))
    assert store.put(made(other), "t").digest != first.digest
    assert sum(looked_at) == 1000
    store.put(made(table), "another")
    assert sum(looked_at) == 2000, "what a name has had is known, and not all that any name has"


def test_what_only_seems_unchanged_is_profiled_when_it_proves_to_be_new(
    looked_at: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("artifactstore.objects.formats.tables.fingerprint", lambda *_, **__: "the same for all")
    store = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    store.put(frame(1000), "t")
    made = store.put(frame(2000), "t")
    assert made.profile == store.put(frame(2000), "fresh").profile
    assert looked_at == [1000, 2000, 2000]


def test_another_depth_is_profiled_again(looked_at: list[int], tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    store.put(frame(1000), "t")
    store.put(frame(1000), "t", profile="full")
    assert looked_at == [1000, 1000]


def test_a_stream_and_a_small_part_of_large_buffers_have_no_mark():
    table = pa.table({"n": range(10**6)})
    assert fingerprint(table.schema, table.to_batches(), full=False) is not None
    assert fingerprint(table.schema, table.slice(10, 5).to_batches(), full=False) is None
    for column in (
        pa.array([1, 2]),
        pa.array([1, None]),
        pa.array(["a", "b"]),
        pa.array(["a", "c"]),
        pa.array(["a", "c"]).dictionary_encode(),
    ):
        others = [
            fingerprint(table.schema, [pa.record_batch([other], ["n"])], full=False) for other in (column, column.take([1, 0]))
        ]
        assert None not in others
        assert others[0] != others[1]
    parts = [table.slice(0, 700_000).to_batches(), table.slice(1, 700_000).to_batches()]
    assert len({fingerprint(table.schema, part, full=full) for part in parts for full in (True, False)}) == 4
