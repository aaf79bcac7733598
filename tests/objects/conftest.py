"""A store, and another process that reads from it: what this process has put it trusts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import artifactstore
from artifactstore.store import Store
from tests.warm import program


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "cache"))
    return artifactstore.open(tmp_path / "store")


@pytest.fixture
def free_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the memory that this process may still take, as `ulimit -v` would."""
    resource = pytest.importorskip("resource", reason="this system has no memory limit of processes")

    def limit(size: int) -> None:
        def getrlimit(_kind: int) -> tuple[int, int]:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            return used + size, used + size

        monkeypatch.setattr(resource, "getrlimit", getrlimit)

    return limit


@pytest.fixture
def elsewhere(store: Store, tmp_path: Path) -> Callable[[str], str]:
    """Run code in a process of its own, with `store`, `np` and `out` at hand; returns what it put into `out`, or its error."""

    def run(code: str) -> str:
        target = tmp_path / "out.json"
        begin = f"import json, sys, warnings, artifactstore, numpy as np\nstore = artifactstore.open({store.url!r})\nout = None\n"
        tries = "try:\n" + "".join(f"    {line}\n" for line in code.splitlines())
        end = (
            "except artifactstore.ArtifactStoreError as error:\n    out = type(error).__name__ + ': ' + str(error)\n"
            f"json.dump(out, open({str(target)!r}, 'w'))\n"
        )
        done = program("-c", begin + tries + end)
        assert done.returncode == 0, done.stderr
        return str(json.loads(target.read_text()))

    return run
