"""MLflow itself, with artifact roots in a store: what its own repositories promise, and what only a store can.

Run where MLflow is installed: `.ci/run` has an environment of its own for it.
"""

import asyncio
import importlib
import io
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import CorruptionError, RefusedError
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from tests.integrations.tracking_server import OURS, served
from tests.work.tree import tree

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it waits for the network
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of itself while it is imported
    mlflow = pytest.importorskip("mlflow")
    pyfunc = importlib.import_module("mlflow.pyfunc")  # which `import mlflow` puts off
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

pytestmark = pytest.mark.filterwarnings("ignore")

RUN = "0123456789abcdef0123456789abcdef"
FILES: dict[str, object] = {
    "a.txt": b"a",
    "sub/b.bin": bytes(range(256)) * 2000,
    "sub/deep/c": b"",
    "sub_x": b"sibling",
    "odd [1] {ä} %41#?.txt": b"odd",
    "empty": None,
}


@pytest.fixture(params=["memory", "file"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"artifactstore+memory://{new_id()}" if request.param == "memory" else f"artifactstore+file://{tmp_path}/store"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        target = tmp_path / "source" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if data is None else target.write_bytes(data)  # type: ignore[arg-type]
    return tmp_path / "source"


def repository(root: str, tail: str = f"/7/{RUN}/artifacts") -> Any:
    return get_artifact_repository(root + tail)


def listed(repo: Any, path: str | None = None) -> list[tuple[str, bool, int | None]]:
    return [(one.path, one.is_dir, one.file_size) for one in repo.list_artifacts(path)]


# -- what MLflow's own repositories promise


def test_a_folder_is_logged_listed_and_downloaded(root: str, folder: Path, tmp_path: Path) -> None:
    repo = repository(root)
    assert repo.list_artifacts() == []
    assert tree(Path(repo.download_artifacts("", str(_made(tmp_path / "nothing"))))) == {}
    repo.log_artifacts(str(folder))
    repo.log_artifacts(str(folder), "nested/below")
    assert listed(repo) == [
        ("a.txt", False, 1),
        ("empty", True, None),
        ("nested", True, None),
        ("odd [1] {ä} %41#?.txt", False, 3),
        ("sub", True, None),
        ("sub_x", False, 7),
    ]
    assert listed(repo, "sub") == [("sub/b.bin", False, 512_000), ("sub/deep", True, None)]
    assert listed(repo, "sub/") == listed(repo, "sub")
    assert [listed(repo, one) for one in ("a.txt", "empty", "nowhere", "su")] == [[], [], [], []]
    assert tree(Path(repo.download_artifacts("nested/below"))) == FILES
    whole = Path(repo.download_artifacts("", str(_made(tmp_path / "whole"))))
    assert tree(whole) == FILES | {f"nested/below/{path}": data for path, data in FILES.items()}
    assert repo.download_artifacts("sub/deep", str(_made(tmp_path / "part"))) == str(tmp_path / "part/sub/deep")
    assert tree(tmp_path / "part") == {"sub/deep/c": b""}
    for path in ("a.txt", "odd [1] {ä} %41#?.txt", "nested/below/sub/b.bin"):
        assert (
            Path(repo.download_artifacts(path, str(_made(tmp_path / "one")))).read_bytes()
            == FILES[path.removeprefix("nested/below/")]
        )


def _made(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def test_a_file_is_replaced_and_the_old_one_stays_in_the_history(root: str, tmp_path: Path) -> None:
    repo = repository(root)
    file = tmp_path / "file.txt"
    for text in ("first", "second"):
        file.write_text(text)
        repo.log_artifact(str(file), "in")
    assert Path(repo.download_artifacts("in/file.txt")).read_text() == "second"
    store = artifactstore.open(root)
    name = f"mlflow/7/{RUN}"
    assert [store.get(f"{name}:v{k}/in/file.txt").read_text() for k in (1, 2)] == ["first", "second"]
    assert dict(store.artifact(name).metadata) == {"mlflow.run_id": RUN, "mlflow.experiment_id": "7"}


def test_a_download_replaces_what_is_there_and_names_what_is_not(root: str, folder: Path, tmp_path: Path) -> None:
    repo = repository(root)
    repo.log_artifacts(str(folder))
    target = _made(tmp_path / "target")
    (target / "a.txt").write_text("older")
    repo.download_artifacts("", str(target))
    assert (target / "a.txt").read_bytes() == b"a"
    for path in ("nowhere", "sub/nowhere", "a.txt/below"):
        with pytest.raises(MlflowException) as caught:
            repo.download_artifacts(path)
        assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    for there in (tmp_path / "missing", target / "a.txt"):
        with pytest.raises(MlflowException, match="destination path"):
            repo.download_artifacts("a.txt", str(there))


@pytest.mark.parametrize("path", ["..", "/", "//", ".", "../up", "a/../../b", "/absolute", "a//b", "./a"])
def test_a_path_never_leads_out(root: str, folder: Path, path: str) -> None:
    repo = repository(root)
    repo.log_artifacts(str(folder))
    for call in (
        lambda: repo.log_artifact(str(folder / "a.txt"), path),
        lambda: repo.log_artifacts(str(folder), path),
        lambda: repo._download_file(remote_file_path=path, local_path="x"),
        lambda: repo.download_artifacts(path),
        lambda: repo.delete_artifacts(path),
    ):
        with pytest.raises(MlflowException):
            call()


@pytest.mark.parametrize("inner", ["", "/in/this"])
def test_the_path_of_a_download_is_absolute(
    root: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    monkeypatch.chdir(tmp_path)
    repo = repository(root, f"/7/{RUN}/artifacts{inner}")
    repo.log_artifacts(str(folder))
    (folder / ".hidden").write_text("42")
    repo.log_artifact(str(folder / ".hidden"))
    for target in ("one", str(_made(tmp_path / "two")), None):
        if target == "one":
            _made(tmp_path / target)
        for path in (".hidden", "sub/b.bin", "sub", "odd [1] {ä} %41#?.txt"):
            found = repo.download_artifacts(path, target)
            assert found == os.path.abspath(found)  # noqa: PTH100 - as MLflow's own tests compare it
            assert target is None or found == str(tmp_path / target / path)
            assert Path(found).exists()


def test_traces_are_kept_and_named_where_there_are_none(root: str) -> None:
    from mlflow.exceptions import MlflowTraceDataCorrupted, MlflowTraceDataNotFound

    repo = repository(root, f"/7/traces/tr-{RUN}/artifacts")
    with pytest.raises(MlflowTraceDataNotFound):
        repo.download_trace_data()
    repo.upload_trace_data("invalid data")
    with pytest.raises(MlflowTraceDataCorrupted):
        repo.download_trace_data()
    repo.upload_trace_data('{"spans": [], "request": {"test": 1}}')
    assert repo.download_trace_data() == {"spans": [], "request": {"test": 1}}


def test_links_are_followed_as_mlflow_does(root: str, tmp_path: Path) -> None:
    source = _made(tmp_path / "source")
    (tmp_path / "outside").write_text("outside")
    (source / "link").symlink_to(tmp_path / "outside")
    repo = repository(root)
    repo.log_artifacts(str(source))
    assert Path(repo.download_artifacts("link")).read_text() == "outside"


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("a.txt", {"sub", "sub_x", "empty", "odd [1] {ä} %41#?.txt"}),
        ("sub", {"a.txt", "sub_x", "empty", "odd [1] {ä} %41#?.txt"}),
        ("odd [1] {ä} %41#?.txt", {"a.txt", "sub", "sub_x", "empty"}),
        ("nowhere", {"a.txt", "sub", "sub_x", "empty", "odd [1] {ä} %41#?.txt"}),
        (None, set()),
    ],
)
def test_what_is_deleted_is_gone_and_stays_in_the_history(root: str, folder: Path, path: str | None, left: set[str]) -> None:
    repo = repository(root)
    repo.log_artifacts(str(folder))
    repo.delete_artifacts(path)
    repo.delete_artifacts(path)
    assert {one.path for one in repo.list_artifacts()} == left
    store = artifactstore.open(root)
    event = store.log()[-1]
    if path == "nowhere":
        assert event.reason is None
    else:
        assert event.reason == "mlflow gc"
    if path is None:
        (version,) = store.versions(f"mlflow/7/{RUN}")
        assert version.removed
    repo.log_artifact(str(folder / "a.txt"))
    assert "a.txt" in {one.path for one in repo.list_artifacts()}


def test_what_is_held_is_not_deleted(root: str, folder: Path) -> None:
    repo = repository(root)
    repo.log_artifacts(str(folder))
    artifactstore.open(root).registry.hold(f"mlflow/7/{RUN}:v1", reason="inspection")
    with pytest.raises(RefusedError, match="held"):
        repo.delete_artifacts()
    assert len(repo.list_artifacts()) == 5


@pytest.mark.parametrize("size", [0, 10, 12_000_000])
def test_a_stream_is_logged_and_nothing_of_it_spooled(
    root: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = repository(root)
    data = os.urandom(size)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no such folder"))

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, size, 100_000):
            yield data[at : at + 100_000]

    repo.log_artifact_from_stream(io.BytesIO(data), "some/dir/s.bin", "in")
    asyncio.run(repo.log_artifact_from_async_stream(chunks(), "t.bin"))
    monkeypatch.undo()
    for path in ("in/s.bin", "t.bin"):
        assert Path(repo.download_artifacts(path)).read_bytes() == data
    assert repo.get_local_path("t.bin") is None


@pytest.mark.parametrize("how", ["stream", "async stream"])
def test_a_client_that_goes_away_in_the_middle_leaves_nothing(root: str, how: str) -> None:
    repo = repository(root)
    repo.log_artifact_from_stream(io.BytesIO(b"first"), "first.txt")

    class Broken(io.RawIOBase):
        at = 0

        def read(self, size: int = -1) -> bytes:
            self.at += size
            if self.at > 20_000_000:
                raise ConnectionResetError("gone")
            return os.urandom(size)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield os.urandom(1_000_000)
        raise ConnectionResetError("gone")

    async def log() -> None:
        await repo.log_artifact_from_async_stream(chunks(), "second.bin")

    with pytest.raises(ConnectionResetError, match="gone"):
        repo.log_artifact_from_stream(Broken(), "second.bin") if how == "stream" else asyncio.run(log())
    assert [one.path for one in repo.list_artifacts()] == ["first.txt"]


# -- which store, and which name


@pytest.mark.parametrize(
    ("tail", "name"),
    [
        (f"/7/{RUN}/artifacts", f"mlflow/7/{RUN}"),
        (f"/mlruns/7/{RUN}/artifacts", f"mlflow/7/{RUN}"),
        (f"/{RUN}/artifacts", f"mlflow/unknown/{RUN}"),
        (f"/7/models/m-{RUN}/artifacts", f"mlflow/models/m-{RUN}"),
        (f"/models/m-{RUN}/artifacts", f"mlflow/models/m-{RUN}"),
        (f"/7/traces/tr-{RUN}/artifacts", f"mlflow/traces/tr-{RUN}"),
        ("/anything/else", "mlflow/others"),
        ("", "mlflow/others"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_each_artifact_folder_is_one_name(root: str, folder: Path, tail: str, name: str, *, known: bool) -> None:
    if known:
        artifactstore.create(root)
    repo = repository(root, tail)
    repo.log_artifact(str(folder / "a.txt"), "in")
    here = root if known or "else" not in tail else f"{root}{tail}"
    here = f"{root}/mlruns" if not known and "mlruns" in tail else here
    store = artifactstore.open(here)
    assert [one.name for one in store.names()] == [name]
    assert store.artifact(name).kind == ("model" if "models" in tail else "data")
    assert Path(repository(root, tail).download_artifacts("in/a.txt")).read_bytes() == b"a"
    inner = repository(root, f"{tail}/in")
    assert listed(inner) == [("a.txt", False, 1)]
    assert tree(Path(inner.download_artifacts(""))) == {"a.txt": b"a"}


def test_a_repository_above_runs_shows_them(root: str, folder: Path) -> None:
    """A server's own repository: each path begins with the experiment and the run."""
    repo = repository(root, "")
    repo.log_artifact(str(folder / "a.txt"), f"7/{RUN}/artifacts/in")
    repo.log_artifact(str(folder / "a.txt"), f"7/models/m-{RUN}/artifacts")
    assert listed(repo, f"7/{RUN}/artifacts") == [(f"7/{RUN}/artifacts/in", True, None)]
    assert listed(repo, f"7/{RUN}/artifacts/in") == [(f"7/{RUN}/artifacts/in/a.txt", False, 1)]
    assert [one.path for one in repo.list_artifacts()] == ["7", "models"]
    assert [one.path for one in repo.list_artifacts("7")] == [f"7/{RUN}"]
    assert Path(repo.download_artifacts(f"7/{RUN}/artifacts")).name == "artifacts"
    assert tree(Path(repo.download_artifacts(f"7/{RUN}/artifacts"))) == {"in/a.txt": b"a"}
    repo.delete_artifacts(f"7/{RUN}/artifacts")
    assert repo.list_artifacts(f"7/{RUN}/artifacts") == []


def test_the_uri_of_an_artifact_is_read_only(tmp_path: Path, folder: Path) -> None:
    store = artifactstore.open(tmp_path / "a b")
    uri = store.put(folder, "churn/model").uri
    for one in (uri, uri.replace("///", "/"), f"{uri.partition('#')[0]}#churn/model:v1"):
        assert tree(Path(mlflow.artifacts.download_artifacts(one))) == FILES
        repo = get_artifact_repository(one)
        assert listed(repo, "sub") == [("sub/b.bin", False, 512_000), ("sub/deep", True, None)]
        assert Path(repo.download_artifacts("sub/b.bin")).read_bytes() == FILES["sub/b.bin"]
        for call in (lambda repo=repo: repo.log_artifact(str(folder / "a.txt")), lambda repo=repo: repo.delete_artifacts()):
            with pytest.raises(MlflowException, match=r"never changes|read only"):
                call()
    with pytest.raises(MlflowException, match="no store at"):
        get_artifact_repository(f"artifactstore+file://{tmp_path}/nowhere#x").list_artifacts()


@pytest.mark.parametrize(
    ("configured", "uri", "allowed"),
    [
        ("artifactstore+s3://b/ml", "artifactstore+s3://b/ml/7", True),
        ("artifactstore+s3://b/ml", "artifactstore+s3://b/ml", True),
        ("artifactstore+s3://b/ml", "artifactstore+s3://b/mlother", False),
        ("artifactstore+s3://b/ml", "artifactstore+s3://b/ml/../other", False),
        ("artifactstore+s3://b/ml", "artifactstore+s3://other/ml", False),
        ("artifactstore+s3://b/ml", "artifactstore+file:///etc", False),
        ("artifactstore+s3://b/ml", "artifactstore+s3://b/ml?endpoint=http://evil", False),
        ("artifactstore+file:///data/ml", "artifactstore+file:/data/ml/7", True),
        ("mlflow-artifacts:/", "artifactstore+s3://b/ml", False),
    ],
)
def test_a_server_uses_its_own_root_alone(monkeypatch: pytest.MonkeyPatch, configured: str, uri: str, *, allowed: bool) -> None:
    from artifactstore.integrations.mlflow.places import is_allowed

    assert is_allowed(uri)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", configured)
    assert is_allowed(uri) is allowed
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", configured)
    assert is_allowed(uri) is allowed
    if not allowed:
        with pytest.raises(MlflowException, match="this server may not use"):
            get_artifact_repository(uri)


# -- with MLflow's own calls


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.sqlite")
    yield f"sqlite:///{tmp_path}/mlflow.sqlite"
    mlflow.set_tracking_uri(before)


def _begun(store: Path) -> tuple[str, Store]:
    experiment = mlflow.create_experiment(f"e-{new_id()}", artifact_location=f"artifactstore+file://{store}")
    mlflow.set_experiment(experiment_id=experiment)
    return str(experiment), artifactstore.open(store)


class Doubling(pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """A model."""

    def predict(self, context: Any, model_input: list[int]) -> list[int]:
        """Return twice of each."""
        return [2 * one for one in model_input]


def test_a_run_its_model_and_the_registry_work_unchanged(tracking: str, folder: Path, tmp_path: Path) -> None:
    assert tracking
    experiment, store = _begun(tmp_path / "store")
    with mlflow.start_run() as run:
        mlflow.log_param("depth", 8)
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({"a": 1}, "d.json")
        mlflow.log_artifacts(str(folder), "data")
        made = pyfunc.log_model(name="model", python_model=Doubling(), pip_requirements=[])
    run_id = run.info.run_id
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/notes/a.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/d.json") == {"a": 1}
    assert tree(Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="data"))) == FILES
    assert pyfunc.load_model(made.model_uri).predict([1]) == [2]
    mlflow.register_model(made.model_uri, "reg")
    assert pyfunc.load_model("models:/reg/1").predict([3]) == [6]
    names = {one.name: one.versions for one in store.names()}
    assert names == {f"mlflow/{experiment}/{run_id}": 3, f"mlflow/models/{made.model_id}": 1}
    for name in names:
        found = store.artifact(name)
        assert found.run == f"mlflow-{run_id}"
        assert "environment" in {one.role for one in found.inputs}
    assert store.artifact(f"mlflow/models/{made.model_id}").metadata["mlflow.model_id"] == made.model_id
    assert store.find(metadata={"mlflow.run_id": run_id})[-1].name == f"mlflow/{experiment}/{run_id}"
    uri = store.artifact(f"mlflow/models/{made.model_id}").uri
    mlflow.register_model(uri, "by uri")
    assert pyfunc.load_model("models:/by uri/1").predict([4]) == [8]
    assert store.verify(level="full").ok


def test_the_page_shows_what_works(tracking: str, tmp_path: Path) -> None:
    assert tracking
    page = (Path(__file__).parents[2] / "docs/integrations/mlflow.md").read_text()
    (text,) = re.findall(r"```python\n(# not run here: tests/integrations/test_mlflow\.py.*?)```", page, re.DOTALL)
    exec(text.replace("/tmp/churn-store", f"{tmp_path}/churn"), {})  # what the page shows
    assert [one.versions for one in artifactstore.open(tmp_path / "churn").names()] == [2]


@pytest.mark.parametrize("code", ["0", ""])
def test_code_and_environment_are_captured_unless_they_shall_not(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    assert tracking
    monkeypatch.setenv("ARTIFACTSTORE_MLFLOW_CODE", code)
    _, store = _begun(tmp_path / "store")
    with mlflow.start_run():
        mlflow.log_text("hello", "a.txt")
    (name,) = store.names()
    assert bool(store.artifact(name.name).inputs) is (code == "")


def test_a_flipped_byte_is_never_downloaded(tracking: str, tmp_path: Path) -> None:
    assert tracking
    _begun(tmp_path / "store")
    source = _made(tmp_path / "source")
    (source / "large.bin").write_bytes(os.urandom(400_000))
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(source))
    for pack in (tmp_path / "store/packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[1000] ^= 1
            pack.chmod(0o644)
            pack.write_bytes(data)
    target = _made(tmp_path / "target")
    with pytest.raises(MlflowException):
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="large.bin", dst_path=str(target))
    with pytest.raises(CorruptionError):
        get_artifact_repository(run.info.artifact_uri).download_artifacts("", str(target))
    with pytest.raises(CorruptionError):
        get_artifact_repository(run.info.artifact_uri)._download_file("large.bin", str(target / "large.bin"))
    assert [one for one in target.rglob("*") if one.is_file()] == []


LOGGER = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run(run_id=sys.argv[2]):
    for k in range(3):
        mlflow.log_text(sys.argv[3], f"{sys.argv[3]}-{k}.txt")
"""


def test_what_processes_and_threads_log_into_one_run_all_lands(tracking: str, tmp_path: Path) -> None:
    experiment, store = _begun(tmp_path / "store")
    client = mlflow.MlflowClient()
    run_id = client.create_run(experiment).info.run_id
    several = [
        subprocess.Popen([sys.executable, "-c", LOGGER, tracking, run_id, f"p{n}"], env=os.environ | OURS) for n in range(2)
    ]
    repo = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    threads = [
        threading.Thread(target=lambda n=n: repo.log_artifact_from_stream(io.BytesIO(b"t"), f"t{n}.txt")) for n in range(13)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.wait(120) for one in several] == [0] * 2
    expected = {f"p{n}-{k}.txt" for n in range(2) for k in range(3)} | {f"t{n}.txt" for n in range(13)}
    assert {one.path for one in client.list_artifacts(run_id)} == expected
    assert store.verify(level="full").ok


CLIENT = """
import pathlib, sys, mlflow
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as registry
assert not [one for one in registry._registry if one.startswith("artifactstore")], "the client has no plugin"
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("e")
with mlflow.start_run() as run:
    mlflow.log_text("hello", "notes/a.txt")
    mlflow.log_artifacts(sys.argv[2], "data")
client = mlflow.MlflowClient()
assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["data", "notes"]
back = pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="data", dst_path=sys.argv[3]))
for path in pathlib.Path(sys.argv[2]).rglob("*"):
    if path.is_file():
        assert (back / path.relative_to(sys.argv[2])).read_bytes() == path.read_bytes()
assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/a.txt") == "hello"
"""


def test_a_client_without_this_library_logs_through_a_server(tmp_path: Path) -> None:
    source = _made(tmp_path / "source")
    (source / "large.bin").write_bytes(os.urandom(400_000))
    (source / "ä [1].txt").write_text("odd")
    with served(tmp_path, "--artifacts-destination", f"artifactstore+file://{tmp_path}/store") as (url, _):
        bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        client = [sys.executable, "-c", WITHOUT + CLIENT, url, str(source), str(_made(tmp_path / "back"))]
        done = subprocess.run(client, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:] + (tmp_path / "server.log").read_text()[-3000:]
    store = artifactstore.open(tmp_path / "store")
    (name,) = store.names()
    found = store.artifact(name.name)
    assert {one.path for one in found.files} == {"data/large.bin", "data/ä [1].txt", "notes/a.txt"}
    assert found.run == f"mlflow-{name.name.rpartition('/')[2]}"
    assert [one.role for one in found.inputs] == []  # the server's code says nothing of the run
    assert store.verify(level="full").ok


WITHOUT = """
import importlib.metadata
_real = importlib.metadata.entry_points
def _others(**asked):
    return [one for one in _real(**asked) if "artifactstore" not in one.value]
importlib.metadata.entry_points = _others
"""
