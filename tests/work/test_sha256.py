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
