"""Reads that go around the store are told as far as they can be seen, and never as all of them."""

import mmap
import os
import sqlite3
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.model.digest import Digest


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")


def around(store: Store) -> dict[str, Any]:
    info = store.runs()[-1]
    assert info.reads_seen == "partial"
    return {row["path"]: row for row in info.around}


def test_files_that_python_opens_are_told_with_size_and_digest(store: Store, tmp_path: Path):
    Path("data.csv").write_text("1,2\n")
    (tmp_path / "far.csv").write_text("far")
    os.chdir(tmp_path / "work")
    with store.run("r"):
        Path("data.csv").read_text()
        os.close(os.open(tmp_path / "far.csv", os.O_RDONLY))
        with Path("made.txt").open("w") as file:
            file.write("x")
        Path("made.txt").read_text()  # its own
        Path("gone.txt").touch()
        Path("gone.txt").unlink()
        store.put(Path("data.csv"), "kept")
    found = around(store)
    assert {path.rpartition("/")[2] for path in found} == {"data.csv", "far.csv"}
    assert found["data.csv"]["size"] == 4
    assert found["data.csv"]["digest"] == str(Digest.of(b"1,2\n", "blake3"))


def test_what_the_store_gave_or_the_library_opened_is_no_read_around_it(store: Store):
    store.put(b"bytes", "a")
    Path("source.bin").write_bytes(b"x" * 100)
    with store.run("r"):
        store.get("a", to="there")
        Path("there/data").read_bytes()
        store.put("source.bin", "b")
        assert store.get("b").read_bytes()
        import colorsys  # noqa: F401 - a module is no data
    assert around(store) == {}


def test_databases_and_programs_are_told_without_secrets(store: Store):
    with sqlite3.connect("some.db") as made:
        made.execute("create table t (x)")
    with store.run("r"):
        with sqlite3.connect("some.db") as database:
            database.execute("select * from t")
        sqlite3.connect(":memory:").close()
        subprocess.run([sys.executable, "-c", "pass", "--token", "abc"], check=True)
    assert [*around(store)] == ["some.db"]
    ((program, *rest),) = store.runs()[-1].programs
    assert program == sys.executable
    assert rest == ["-c", "pass", "--token", "[redacted]"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is mapped")
def test_files_that_are_mapped_at_the_end_are_found_however_they_were_opened(store: Store):
    pa = pytest.importorskip("pyarrow")
    Path("native.bin").write_bytes(b"x" * 5000)
    with store.run("r"):
        mapped = pa.memory_map("native.bin")
        mapped.read(10)
    assert "native.bin" in around(store)
    mapped.close()
    with Path("before.bin").open("wb+") as file:
        file.write(b"x" * 5000)
        file.flush()
        view = mmap.mmap(file.fileno(), 0)
        with store.run("s"):
            pass
        view.close()
    assert around(store) == {}, "what was open before the run began is not its"


def test_what_is_stored_with_the_code_is_marked(store: Store):
    subprocess.run(["git", "init", "-q"], check=True)
    Path("table.csv").write_text("a,b\n")
    with store.run("r"):
        Path("table.csv").read_text()
    assert around(store)["table.csv"] == {"path": "table.csv", "size": 4, "stored": True}


def test_outside_of_runs_nothing_is_kept_and_the_innermost_run_counts(store: Store):
    for name in ("outer", "inner", "outside"):
        Path(name).write_text(name)
    with store.run("outer"):
        Path("outer").read_text()
        with store.run("inner"):
            Path("inner").read_text()
    Path("outside").read_text()
    inner, outer = sorted(store.runs(), key=lambda one: one.name)
    assert [row["path"] for row in inner.around] == ["inner"]
    assert [row["path"] for row in outer.around] == ["outer"]


def test_of_many_files_the_first_are_told_and_the_rest_counted_and_secrets_have_no_digest(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("artifactstore.work.tracking.outside_reads._NOTED", 250)
    Path("many").mkdir()
    for n in range(300):
        Path(f"many/{n}").write_text(str(n))
    Path("server.pem").write_text("secret")
    with store.run("r"):
        Path("server.pem").read_text()
        for n in range(300):
            Path(f"many/{n}").read_text()
    info = store.runs()[-1]
    assert (len(info.around), info.around_more) == (200, 101)
    assert "digest" not in around(store)["server.pem"]
    assert "digest" in around(store)["many/0"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["python", "a part", "mapped", "in an inner run", "before an output"])
def test_a_folder_of_the_cache_that_was_got_before_the_run_is_an_input(store: Store, tmp_path: Path, way: str):
    (tmp_path / "d").mkdir()
    for name in ("x.csv", "y.csv"):
        (tmp_path / "d" / name).write_text("a,b\n" * 2000)
    store.put(tmp_path / "d", "data")
    other = artifactstore.create(tmp_path / "other", cache=tmp_path / "cache")
    other.put({"of": "another store"}, "elsewhere")
    folder = store.get("data:latest/x.csv").parent if way == "a part" else store.get("data")
    (tmp_path / "cache/trees/stray").write_text("none of ours")
    with (
        store.run("outer", code=False) as outer,
        store.run("inner", code=False) if way == "in an inner run" else nullcontext(outer) as run,
    ):
        if way == "mapped":
            pa = pytest.importorskip("pyarrow")
            mapped = pa.memory_map(str(folder / "x.csv"))
        else:
            (folder / "x.csv").read_text()
            (tmp_path / "cache/trees/stray").read_text()
        if way == "before an output":
            run.put({"rows": 1}, "model")
            assert [one.name for one in store.lineage("model").inputs if one.name] == ["data"]
    assert [one.name for one in store.lineage(run.id).inputs if one.name] == ["data"]
    if way == "mapped":
        mapped.close()
    if way == "in an inner run":
        assert [one.name for one in store.lineage(outer.id).inputs if one.name] == []
    with store.run("later", code=False) as later:
        pass
    assert not [one for one in store.lineage(later.id).inputs if one.name]
