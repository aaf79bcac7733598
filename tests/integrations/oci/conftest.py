"""Registries to push to: one in memory that can be told to misbehave, and Debian's."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.store import Store
from tests.servers.docker_registry import docker_registry
from tests.servers.oci import MemoryRegistry, memory_registry


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test waits for a server that has failed for good, nor sees this machine's docker."""
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.5")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    with memory_registry() as found:
        yield found


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(params=["memory", "debian"])
def host(request: pytest.FixtureRequest) -> str:
    """A registry's host: the same must hold with each."""
    found: Any = request.getfixturevalue("registry" if request.param == "memory" else "debian")
    return found.host if isinstance(found, MemoryRegistry) else str(found)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=None)


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """A store that things are pulled into."""
    return artifactstore.open(tmp_path / "other", cache=None)


MODEL: dict[str, bytes] = {
    "model.safetensors": os.urandom(300_000),
    "config/settings.json": b"{}",
    "config/again.json": b"{}",
    "README.md": b"read me",
    "empty.bin": b"",
    "odd/näme with spaces.txt": b"odd",
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder
