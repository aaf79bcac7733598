"""What is put as a model carries SHA-256 digests of its files, which the standards and `sha256sum` ask for."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import artifactstore
from artifactstore import Store
from tests.warm import command


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "model"
    (top / "deep").mkdir(parents=True)
    (top / "weights.bin").write_bytes(np.random.default_rng(0).bytes(9_000_000))
    (top / "config.json").write_text("{}")
    (top / "empty").write_bytes(b"")
    (top / "deep/line\nfeed").write_bytes(b"x")
    return top


def check(lines: str | None, folder: Path) -> None:
    assert lines is not None
    done = subprocess.run(
        ["sha256sum", "--check", "--strict"], input=lines.encode(), cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert lines.count("  ") == sum(path.is_file() for path in folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_checks_a_model(store: Store, folder: Path, tmp_path: Path):
    made = store.put(folder, "m", kind="model")
    check(made.sha256, folder)
    assert store.put(folder, "m", kind="model").version == 1
    (folder / "config.json").write_text('{"a": 1}')
    check(store.put(folder, "m", kind="model").sha256, folder)  # most of it is known and was not read for its own digest
    other = artifactstore.create(tmp_path / "other", cache=None)
    store.maintenance.sync(other.url)
    check(other.artifact("m").sha256, folder)
    check(command("show", "m", "--sha256", "--store", store.url).stdout, folder)


@pytest.mark.slow
def test_objects_have_them_and_data_have_none(store: Store, folder: Path):
    raw = b"weights" * 1_000_000
    made = store.put(raw, "o", kind="model")
    assert made.sha256 == f"{hashlib.sha256(raw).hexdigest()}  data\n"
    small = store.put(b"x", "s", kind="model")
    assert small.sha256 == f"{hashlib.sha256(b'x').hexdigest()}  data\n"
    assert store.put(folder, "d").sha256 is None
    done = command("show", "d", "--sha256", "--store", store.url)
    assert done.returncode == 2
    assert "--kind model" in done.stderr


def test_a_store_of_sha256_has_them_anyway(tmp_path: Path, folder: Path):
    store = artifactstore.create(tmp_path / "other", digest="sha256", cache=None)
    made = store.put(folder, "m", kind="model")
    assert made.sha256 == made.listing


def test_a_file_that_was_known_is_read_for_it(store: Store, folder: Path):
    os.utime(folder / "weights.bin", ns=(10**18, 10**18))
    store.put(folder, "d")
    (folder / "config.json").write_text("changed")
    made = store.put(folder, "m", kind="model")
    assert made.sha256 is not None
    assert hashlib.sha256((folder / "weights.bin").read_bytes()).hexdigest() in made.sha256
    assert made.uploaded < 50_000


@pytest.mark.parametrize("before", [None, "data", "model"])
def test_files_and_folders_of_any_kind_keep_them_on_request(store: Store, folder: Path, before: str | None):
    """Also where the content is stored without them already, and whatever was read before."""
    first = store.put(folder, "d", kind=before) if before is not None else None
    made = store.put(folder, "d", sha256=True)
    check(made.sha256, folder)
    assert made.kind == (before or "data")
    assert made.version == 1
    assert first is None or made.digest == first.digest
    assert first is None or made.uploaded < 20_000  # the content itself is there
    head = store.head
    again = store.put(folder, "d", sha256=True)
    assert (again.new, store.head) == (False, head)
    (folder / "config.json").write_text("[1]")
    assert store.put(folder, "d").sha256 is None  # asked for anew each time
    single = store.put(folder / "weights.bin", "one", sha256=True)
    check(single.sha256, store.get("one", to=folder.parent / "got"))
    assert store.verify(level="full").ok


def test_objects_keep_them_on_request(store: Store):
    frame = np.arange(1000)
    assert store.put(frame, "o").sha256 is None
    made = store.put(frame, "o", sha256=True)
    assert made.sha256 is not None
    assert made.sha256.count("\n") == made.count
    value = store.put({"a": 1}, "v", sha256=True)
    assert value.sha256 is not None
    with store.batch():
        store.put({"a": 2}, "w")
        store.put({"a": 2}, "w", sha256=True)
    assert store.artifact("w").sha256 is not None
    assert store.verify(level="full").ok
    for wrong in (1, "yes", None):
        with pytest.raises(artifactstore.InvalidInputError, match="sha256="):
            store.put(frame, "o", sha256=wrong)  # type: ignore[arg-type]
    with pytest.raises(artifactstore.InvalidInputError, match="sha256 cannot be used"):
        store.put(made, "copy", sha256=True)


@pytest.mark.slow
def test_the_command_line_keeps_them_on_request(store: Store, folder: Path):
    assert command("put", str(folder), "d", "--sha256", "--store", store.url).returncode == 0
    check(command("show", "d", "--sha256", "--store", store.url).stdout, folder)


def test_a_folder_without_files_has_none_to_keep_and_is_not_stored_again(store: Store, tmp_path: Path):
    (tmp_path / "nothing" / "inside").mkdir(parents=True)
    for _ in range(2):
        made = store.put(tmp_path / "nothing", "n", sha256=True, allow_empty=True)
    assert not made.new
    assert len([event for event in store.log() if event.fact == "stored"]) == 1
