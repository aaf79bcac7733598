"""`artifactstore://`: what opens files by fsspec reads artifacts, by range, and changes none."""

import pickle
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

import artifactstore
from artifactstore.integrations.fsspec import ArtifactFileSystem
from artifactstore.store import Store

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    ArtifactFileSystem.clear_instance_cache()
    store = artifactstore.open(tmp_path / "store")
    (tmp_path / "set/deep").mkdir(parents=True)
    FRAME.to_parquet(tmp_path / "set/one.parquet")
    FRAME.to_csv(tmp_path / "set/deep/two.csv", index=False)
    store.put(tmp_path / "set", "sets/raw")
    store.put(FRAME, "sets/table")
    return store


@pytest.fixture
def files(store: Store) -> Any:
    del store
    return fsspec.filesystem("artifactstore")


def test_pandas_reads_by_url_the_default_store_and_a_named_one(store: Store):
    assert pd.read_parquet("artifactstore://sets/table:v1").equals(FRAME)
    assert pd.read_csv("artifactstore://sets/raw:latest/deep/two.csv").equals(FRAME)
    assert pd.read_parquet("artifactstore://sets/table", storage_options={"store": store.url}).equals(FRAME)


def test_pyarrow_polars_and_duckdb_read_through_it(files: Any):
    assert pq.read_table("sets/raw:v1/one.parquet", filesystem=files).to_pandas().equals(FRAME)
    opened = ds.dataset("sets/table:v1", filesystem=files)
    assert pl.scan_pyarrow_dataset(opened).filter(pl.col("a") > 1).collect().height == 2
    with files.open("sets/raw:v1/one.parquet") as file:
        assert pl.read_parquet(file).height == 3
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register_filesystem(files)
    assert connection.sql("select sum(a) from read_parquet('artifactstore://sets/raw:v1/one.parquet')").fetchall() == [(6,)]


def test_names_are_folders_and_artifacts_too(files: Any, store: Store):
    assert files.ls("", detail=False) == ["sets"]
    assert files.ls("sets", detail=False) == ["sets/raw", "sets/table"]
    assert files.ls("sets/raw:v1", detail=False) == ["sets/raw:v1/deep", "sets/raw:v1/one.parquet"]
    assert files.find("sets/raw:v1") == ["sets/raw:v1/deep/two.csv", "sets/raw:v1/one.parquet"]
    assert files.glob("sets/raw:v1/**/*.csv") == ["sets/raw:v1/deep/two.csv"]
    assert files.isdir("sets/raw:v1/deep")
    assert files.isfile("sets/table")
    assert not files.exists("sets/nothing")
    assert not files.exists("sets/raw:v1/nothing")
    digest = store.artifact("sets/raw").digest
    assert files.cat(f"{digest}/deep/two.csv") == files.cat("sets/raw:v1/deep/two.csv")
    assert files.checksum("sets/table").startswith("blake3:")


def test_ranges_are_those_of_python(files: Any):
    path, whole = "sets/raw:v1/deep/two.csv", FRAME.to_csv(index=False).encode()
    for start, end in ((None, None), (3, None), (None, 5), (2, 7), (-4, None), (-9, -2), (0, 0), (100, 200), (5, 2)):
        assert files.cat_file(path, start, end) == whole[start:end]


def test_nothing_can_be_changed(files: Any):
    for call in (
        lambda: files.open("sets/new", "wb"), lambda: files.rm("sets/table"), lambda: files.pipe_file("sets/x", b""),
        lambda: files.mkdir("a"), lambda: files.mv("sets/table", "sets/other"), lambda: files.touch("sets/table"),
    ):  # fmt: skip
        with pytest.raises(PermissionError):
            call()


def test_what_is_not_there_says_so(files: Any):
    with pytest.raises(FileNotFoundError, match="sets/nothing"):
        files.cat("sets/nothing")
    with pytest.raises(FileNotFoundError, match="not a file of"):
        files.open("sets/raw:v1/nothing")
    with pytest.raises(IsADirectoryError):
        files.open("sets/raw:v1/deep")
    with pytest.raises(FileNotFoundError):
        files.info("no reference?")


def test_it_can_be_pickled_for_other_processes(files: Any):
    again = pickle.loads(pickle.dumps(files))
    assert again.cat("sets/raw:v1/deep/two.csv") == files.cat("sets/raw:v1/deep/two.csv")


class Filled(ArtifactFileSystem):
    """fsspec's own tests write what they read: here into an artifact, put anew whenever they look."""

    protocol = "artifactstore-filled"
    cacheable = False

    def __init__(self, url: str, folder: Path) -> None:
        artifactstore.create(url)
        super().__init__(url)
        self._folder = folder

    def _again(self) -> None:
        self._store_to_write().put(self._folder, "base")

    def _store_to_write(self) -> Store:
        return artifactstore.open(self._store.url)

    def _disk(self, path: str) -> Path:
        return self._folder / str(self._strip_protocol(path)).removeprefix("base:latest").strip("/")

    def mkdir(self, path: str, **_: Any) -> None:
        self._disk(path).mkdir(parents=True, exist_ok=True)

    makedirs = mkdir

    def touch(self, path: str, **_: Any) -> None:
        self._disk(path).parent.mkdir(parents=True, exist_ok=True)
        self._disk(path).touch()
        self._again()

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self._disk(path).parent.mkdir(parents=True, exist_ok=True)
        self._disk(path).write_bytes(value)
        self._again()

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "w" not in mode:
            return super().open(path, mode, **options)
        self._disk(path).parent.mkdir(parents=True, exist_ok=True)
        file = self._disk(path).open(mode)
        close = file.close

        def closed() -> None:
            close()
            self._again()

        return _Closing(file, closed)

    def rm(self, *_: Any, **__: Any) -> None:
        return


class _Closing:
    def __init__(self, file: Any, closed: Any) -> None:
        self._file, self._closed = file, closed

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._closed()


class _Fixtures:
    @pytest.fixture
    def fs(self, tmp_path: Path) -> Any:
        (tmp_path / "written").mkdir()
        return Filled(str(tmp_path / "filled"), tmp_path / "written")

    @pytest.fixture
    def fs_path(self) -> str:
        return "base:latest"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda first, *parts: "/".join([first.rstrip("/"), *(part.strip("/") for part in parts)])


class TestGet(_Fixtures, AbstractFixtures, AbstractGetTests):  # type: ignore[misc]
    """fsspec's own suite for `get`."""
