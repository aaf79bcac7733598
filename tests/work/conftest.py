"""Stores to work with: one in a folder, and one on each backend."""

from pathlib import Path

import pytest

import artifactstore
from artifactstore.store import Store
from tests.work.repositories import git


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store")


@pytest.fixture(params=["local", "memory", "s3", "gcs", "sftp"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param in {"s3", "gcs", "sftp"}:
        return str(request.getfixturevalue(f"{request.param}_url"))
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}-{id(request)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that can be stored: deep, empty, executable, linked, with odd names."""
    root = tmp_path / "source"
    for path, data in {
        "a.txt": b"first\n" * 10,
        "empty": b"",
        "deep/er/b.bin": bytes(range(256)) * 900,
        "deep/ä ö ü.txt": "Grüße".encode(),
        "line\nfeed": b"x",
        "back\\slash": b"y",
        "run.sh": b"#!/bin/sh\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "run.sh").chmod(0o755)
    (root / "nothing/inside").mkdir(parents=True)
    (root / "deep/link").symlink_to("er/b.bin")
    return root


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    top = tmp_path / "repository"
    (top / "src/deep").mkdir(parents=True)
    git(top, "init", "-q")
    (top / "train.py").write_text("x = 1\n")
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "src/deep/ä b.py").write_text("")
    (top / "src/gone.py").write_text("gone")
    (top / "link").symlink_to("src/deep")
    (top / ".gitignore").write_text("*.log\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "first")
    monkeypatch.chdir(top)
    return top
