"""What differs inside of tables, tensors and JSON, beside plain computations."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import artifactstore
from artifactstore import CorruptionError, InvalidInputError, Store
from artifactstore.objects.compare.tables import StoredTable
from artifactstore.objects.compare.values import compare_values
from artifactstore.objects.tables.profile import Profiler
from tests.warm import command


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def frame(rows: int = 20_000, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    made = pd.DataFrame({"id": np.arange(rows), "x": random.standard_normal(rows), "k": random.integers(0, 5, rows)})
    made["s"] = random.choice(["red", "green", "blue"], rows)
    return made


# -- tables


def edited(table: pd.DataFrame) -> pd.DataFrame:
    """30 rows less, 50 more, 20 with another value."""
    new = frame(50, 7).assign(id=lambda one: one["id"] + 10**6)
    made = pd.concat([table.iloc[30:], new], ignore_index=True)
    made.loc[100:119, "s"] = "black"
    return made


def test_rows_are_counted_by_what_is_in_them_and_by_key(store: Store):
    table = frame()
    store.put(table, "t")
    store.put(edited(table), "t")
    found = store.diff("t:v1", "t:v2").tables["data.parquet"]
    assert (found.old_rows, found.new_rows) == (20_000, 20_020)
    assert (found.added, found.removed, found.changed, found.error) == (70, 50, None, 0)
    for key in ("id", ["id"], ["id", "k"]):
        found = store.diff("t:v1", "t:v2", key=key).tables["data.parquet"]
        assert (found.added, found.removed, found.changed, found.error) == (50, 30, 20, 0)
    with pytest.raises(InvalidInputError, match=r"key=\['k'\] does not identify"):
        _ = store.diff("t:v1", "t:v2", key="k").tables
    with pytest.raises(InvalidInputError, match="both tables need the column 'nope'"):
        _ = store.diff("t:v1", "t:v2", key="nope").tables
    back = store.diff("t:v2", "t:v1").tables["data.parquet"]
    assert (back.added, back.removed) == (50, 70)
    assert not store.diff("t:v1", "t:v1").tables


@pytest.mark.slow
def test_a_sample_is_as_near_as_it_says_and_exact_is_exact(store: Store):
    table = frame(400_000)
    store.put(table, "t")
    new = pd.concat([table.iloc[20_000:], frame(30_000, 5).assign(id=lambda one: one["id"] + 10**6)], ignore_index=True)
    store.put(new, "t")
    found = store.diff("t:v1", "t:v2").tables["data.parquet"]
    assert 0 < found.error < 2000
    assert abs(found.added - 30_000) <= 2 * found.error
    assert abs(found.removed - 20_000) <= 2 * found.error
    exact = store.diff("t:v1", "t:v2", exact=True).tables["data.parquet"]
    assert (exact.added, exact.removed, exact.error) == (30_000, 20_000, 0)


def test_equal_rows_count_as_often_as_they_come(store: Store):
    store.put(pa.table({"a": [1, 1, 1, 2]}), "t")
    store.put(pa.table({"a": [1, 1, 2, 2, 3]}), "t")
    found = store.diff("t:v1", "t:v2").tables["data.parquet"]
    assert (found.added, found.removed) == (2, 1)


def test_columns_that_come_go_and_change_their_type(store: Store):
    table = frame(1000)
    store.put(table, "t")
    store.put(table.drop(columns="k").assign(id=table["id"].astype("float64"), new="n"), "t")
    found = store.diff("t:v1", "t:v2").tables["data.parquet"]
    assert (found.new_columns, found.old_columns) == (("new",), ("k",))
    assert found.retyped == (("id", "int64", "double"),)
    assert (found.added, found.removed) == (0, 0), "what both have is equal"
    assert "+ column new\n- column k\n~ column id: int64 -> double" in str(found)


def test_shifts_are_told(store: Store):
    table = frame(50_000)
    other = table.assign(x=table["x"] + 1, k=np.where(table["k"] == 0, 4, table["k"]))
    other["s"] = np.where(np.arange(50_000) < 25_000, "red", other["s"])
    other.loc[:4999, "x"] = np.nan
    store.put(table, "t")
    store.put(other, "t")
    shifts = {one.column: one for one in store.diff("t:v1", "t:v2").tables["data.parquet"].shifts}
    # The distance of two normal distributions a deviation apart is 0.383; PSI and JS of these tenths were computed by hand.
    assert shifts["x"].ks is not None
    assert 0.383 <= shifts["x"].ks <= 0.43
    old = np.full(10, 0.1)
    edges = np.quantile(table["x"], np.arange(0.1, 1, 0.1))
    new = np.bincount(np.searchsorted(edges, other["x"].dropna()), minlength=10) / len(other["x"].dropna())
    assert shifts["x"].psi == pytest.approx(((new - old) * np.log(np.maximum(new, 1e-4) / old)).sum(), rel=0.1)
    middle = (old + new) / 2
    assert shifts["x"].js == pytest.approx((old * np.log2(old / middle) + new * np.log2(new / middle)).sum() / 2, rel=0.1)
    assert (shifts["x"].old_missing, shifts["x"].new_missing) == (0, 0.1)
    assert shifts["x"].new_mean == pytest.approx(other["x"].mean())
    assert shifts["id"].psi == 0
    a, b = (frame_["s"].value_counts(normalize=True) for frame_ in (table, other))
    assert shifts["s"].psi == pytest.approx(((b - a) * np.log(b / a)).sum(), rel=0.02)
    assert shifts["s"].ks is None
    text = str(store.diff("t:v1", "t:v2").tables["data.parquet"])
    assert "missing 0.0% -> 10.0%" in text
    assert "values of id" not in text


def test_files_of_parquet_and_tables_without_a_profile_are_read(store: Store, tmp_path: Path):
    table = frame()
    for number, one in enumerate((table, edited(table)), 1):
        (tmp_path / "d").mkdir(exist_ok=True)
        one.to_parquet(tmp_path / f"{number}.parquet")
        one.to_parquet(tmp_path / "d/t.parquet")
        store.put(tmp_path / "d", "folder")
        store.put(tmp_path / f"{number}.parquet", "file")
        store.put(one, "bare", profile=False)
    for a, b, path in (
        ("folder:v1", "folder:v2", "t.parquet"),
        ("file:v1", "file:v2", "2.parquet"),
        ("bare:v1", "bare:v2", "data.parquet"),
        ("folder:v1/t.parquet", "folder:v2/t.parquet", "t.parquet"),
        ("folder:v1/t.parquet", "bare:v2", "data.parquet"),
    ):
        found = store.diff(a, b).tables[path]
        assert (found.added, found.removed, found.error) == (70, 50, 0), (a, b)


def test_overlap_finds_what_was_trained_on(store: Store):
    train, test = frame(30_000), frame(5000, 3).assign(id=lambda one: one["id"] + 10**6)
    store.put(train, "train")
    store.put(pd.concat([test, train.iloc[:500]]), "test")
    found = store.diff("train", "test").overlap()
    assert (found.rows, found.error) == (500, 0)
    assert found.share_a == pytest.approx(500 / 30_000)
    assert found.share_b == pytest.approx(500 / 5500)
    store.put(pd.concat([test, train.iloc[:500]]).drop(columns="id"), "narrow")
    by_fewer = store.diff("train", "narrow").overlap()
    assert by_fewer.columns == ("x", "k", "s")
    assert by_fewer.rows == 500
    assert store.diff("train", "train").overlap().share_b == 1
    store.put(pa.table({"other": [1]}), "other")
    with pytest.raises(InvalidInputError, match="no common column"):
        store.diff("train", "other").overlap()
    store.put(b"x", "bytes")
    with pytest.raises(InvalidInputError, match="expected one Parquet file in bytes, got 0"):
        store.diff("train", "bytes").overlap()


@pytest.mark.slow
@pytest.mark.parametrize("leak", [0, 40, 4000])
def test_a_leak_into_many_rows_is_within_its_bound(store: Store, leak: int):
    train = frame(600_000)
    test = pd.concat([frame(200_000, 3).assign(id=lambda one: one["id"] + 10**6), train.iloc[:leak]], ignore_index=True)
    store.put(train, "train")
    store.put(test, "test")
    found = store.diff("train", "test").overlap()
    assert 0 < found.error < 0.005
    assert abs(found.share_b - leak / len(test)) <= 1.5 * found.error
    exact = store.diff("train", "test", exact=True).overlap()
    assert (exact.rows, exact.error) == (leak, 0)


def test_nothing_is_opened_where_the_profile_will_do(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.put(frame(), "t")
    store.put(edited(frame()), "t")
    opened: list[str] = []
    monkeypatch.setattr("artifactstore.objects.stored_folder.StoredFolder.open", lambda _, name: opened.append(name))
    found = store.diff("t:v1", "t:v2")
    assert found.tables["data.parquet"].added == 70
    assert found.overlap().rows == 19_950
    assert not opened


def test_a_table_without_a_profile_is_read_part_by_part(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.put(frame(200_000), "t", profile=False)
    store.put(edited(frame(200_000)), "t", profile=False)
    steps: list[str] = []

    def batches(self: StoredTable, columns: Any = None) -> Any:
        for batch in read(self, columns):
            steps.append("read")
            yield batch

    def look(self: Profiler, table: pa.Table) -> None:
        steps.append("looked at")
        add(self, table)

    read, add = StoredTable.batches, Profiler.add
    monkeypatch.setattr(StoredTable, "batches", batches)
    monkeypatch.setattr(Profiler, "add", look)
    assert store.diff("t:v1", "t:v2").tables["data.parquet"].new_rows == 200_020
    assert steps[::2] == ["read"] * (len(steps) // 2)
    assert steps[1::2] == ["looked at"] * (len(steps) // 2)
    assert len(steps) >= 12


def test_a_table_that_is_none_is_told(store: Store, tmp_path: Path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing PAR1")
    store.put(tmp_path / "t.parquet", "t")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing else PAR1")
    store.put(tmp_path / "t.parquet", "t")
    with pytest.raises(CorruptionError, match=r"t\.parquet"):
        _ = store.diff("t:v1", "t:v2").tables


# -- tensors


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    header, at = {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()))
    return path


@pytest.mark.slow
def test_tensors_tell_how_far_they_moved(store: Store, tmp_path: Path):
    random = np.random.default_rng(0)
    a = random.standard_normal(3_000_000).astype("f4")
    b = a + random.standard_normal(len(a)).astype("f4") * 1e-3
    half = (a[:1000].view(np.uint32) >> 16).astype("u2")
    more = half.copy()
    more[7] = 0x3F80  # 1.0
    same = ("I64", [2], bytes(16))
    path = tmp_path / "m.safetensors"
    eight = ("F8_E4M3", [4], b"abcd")
    old = {
        "w": ("F32", [3_000_000], a.tobytes()),
        "h": ("BF16", [1000], half.tobytes()),
        "same": same,
        "gone": same,
        "shape": same,
    }
    store.put(safetensors(path, {**old, "f8": eight, "zero": ("F32", [1], bytes(4))}), "m")
    new = {"w": ("F32", [3_000_000], b.tobytes()), "h": ("BF16", [1000], more.tobytes()), "same": same, "here": same}
    new |= {"shape": ("I64", [2, 1], bytes(16)), "f8": ("F8_E4M3", [4], b"abce")}
    store.put(safetensors(path, {**new, "zero": ("F32", [1], struct.pack("<f", 2))}), "m")
    found = {one.name: one for one in store.diff("m:v1", "m:v2").tensors["m.safetensors"]}
    assert {name: one.change for name, one in found.items()} == {
        "w": "changed", "h": "changed", "gone": "removed", "here": "added", "shape": "reshaped", "f8": "changed", "zero": "changed",
    }  # fmt: skip
    wide = b.astype("f8") - a.astype("f8")
    assert found["w"].relative == pytest.approx(np.linalg.norm(wide) / np.linalg.norm(a.astype("f8")), rel=1e-6)
    assert found["w"].largest == pytest.approx(np.abs(wide).max())
    assert found["h"].share == 0.001
    assert found["h"].largest == pytest.approx(abs(1 - (half[7:8].astype(np.uint32) << 16).view("f4")[0]))
    assert (found["f8"].relative, found["zero"].relative, found["zero"].largest) == (None, None, 2)
    assert (found["shape"].old, found["shape"].new) == ("I64 [2]", "I64 [2, 1]")


def test_arrays_do_as_well(store: Store):
    random = np.random.default_rng(0)
    a = random.standard_normal((100, 50))
    for old, new in ((a, a + 1), (a + 1j, a), (np.array([1, 2**62]), np.array([1, 5])), (np.array([True]), np.array([False]))):
        store.put(old, "a")
        made = store.put(new, "a")
        assert made.version is not None
        (one,) = store.diff(f"a:v{made.version - 1}", made.ref).tensors["data.npy"]
        if old.dtype != new.dtype:
            assert one.change == "reshaped"
            continue
        wide = np.complex128 if old.dtype.kind == "c" else np.float64
        apart = np.abs(new.astype(wide) - old.astype(wide))
        assert one.largest == apart.max()
        assert one.relative == pytest.approx(math.sqrt((apart**2).sum() / (np.abs(old.astype(wide)) ** 2).sum()))
    store.put({"a": a, "b": a}, "several")
    store.put({"a": a, "b": a * 2}, "several")
    assert list(store.diff("several:v1", "several:v2").tensors) == ["b.npy"]


@pytest.mark.parametrize("odd", [np.nan, np.inf, 1e308])
def test_what_has_no_norm_has_none(store: Store, odd: float):
    store.put(np.array([1.0, odd]), "a")
    store.put(np.array([2.0, -odd]), "a")
    (one,) = store.diff("a:v1", "a:v2").tensors["data.npy"]
    assert (one.change, one.relative) == ("changed", None)


def test_a_file_of_tensors_that_is_none_is_told(store: Store, tmp_path: Path):
    for raw in (b"12345678{}", b"\xff" * 100):
        (tmp_path / "m.safetensors").write_bytes(raw)
        store.put(tmp_path / "m.safetensors", "m")
    with pytest.raises(CorruptionError, match="safetensors"):
        _ = store.diff("m:v1", "m:v2").tensors


# -- JSON


def test_values_of_json_are_told_by_their_place(store: Store):
    store.put({"a": 1, "b": [1, 2, {"c": "x"}], "gone": None, "a/b~": 1, "same": {"deep": [1]}}, "j")
    store.put({"a": 1.0, "b": [1, 3, {"c": "y"}, 4], "here": {}, "a/b~": True, "same": {"deep": [1]}}, "j")
    found = [(one.path, one.change, one.old, one.new) for one in store.diff("j:v1", "j:v2").json["data.json"]]
    assert found == [
        ("/gone", "removed", None, None),
        ("/here", "added", None, {}),
        ("/a", "changed", 1, 1.0),
        ("/a~1b~0", "changed", 1, True),
        ("/b/3", "added", None, 4),
        ("/b/1", "changed", 2, 3),
        ("/b/2/c", "changed", "x", "y"),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(JSON, JSON)
def test_a_difference_is_found_just_where_there_is_one(old: Any, new: Any):
    found = list(compare_values(old, new))
    assert bool(found) == (json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True))
    assert not list(compare_values(old, old))
    for one in found:  # what it says lies at its place
        for value, said, there in ((old, one.old, one.change != "added"), (new, one.new, one.change != "removed")):
            here = value
            if there:
                for part in one.path.split("/")[1:]:
                    name = part.replace("~1", "/").replace("~0", "~")
                    here = here[int(name)] if isinstance(here, list) else here[name]
                assert here == said


def test_deep_json_needs_no_stack():
    old: Any = 1
    new: Any = 2
    for _ in range(5000):
        old, new = [old], [new]
    (one,) = compare_values(old, new)
    assert one.path == "/0" * 5000


# -- as it is told


def test_the_command_tells_what_is_inside(store: Store):
    store.put(frame(100), "t")
    store.put(edited(frame(150)).head(90), "t")
    store.put({"a": 1}, "j")
    store.put({"a": 2}, "j")
    store.put(np.arange(3), "a")
    store.put(np.arange(3) * 2, "a")

    def run(*arguments: str) -> str:
        done = command("diff", *arguments, "--store", store.url)
        assert (done.returncode, done.stderr) == (1, "")
        return done.stdout

    assert run("j:v1", "j:v2").splitlines()[0] == "~ data.json"
    assert run("j:v1", "j:v2", "--inside").splitlines()[:2] == ["data.json:", "  ~ /a: 1 -> 2"]
    assert "~ array: relative norm 1, largest 2, elements 0.667" in run("a:v1", "a:v2", "--inside")
    assert "changed" in run("t:v1", "t:v2", "--key", "id").splitlines()[1]
    told = json.loads(run("t:v1", "t:v2", "--key", "id", "--json"))
    assert told["tables"]["data.parquet"]["old_rows"] == 100
    assert json.loads(run("j:v1", "j:v2", "--inside", "--json"))["json"]["data.json"] == [
        {"path": "/a", "change": "changed", "old": 1, "new": 2}
    ]
    assert "json" not in json.loads(run("j:v1", "j:v2", "--json"))
