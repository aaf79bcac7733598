"""What MLflow recorded comes into a store: from a database, a folder and a server, at its own times, and once.

Run where MLflow is installed: `.ci/run` has an environment of its own for it.
"""

import importlib
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import BackendError, FormatError, InvalidInputError, NotFoundError, UnsupportedError
from artifactstore.integrations.mlflow import import_from
from artifactstore.store import Store
from tests.integrations.tracking_server import served, stop
from tests.work.tree import tree

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it waits for the network
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of itself while it is imported
    mlflow = pytest.importorskip("mlflow")
    entities = importlib.import_module("mlflow.entities")

pytestmark = pytest.mark.filterwarnings("ignore")

THEN = 1_700_000_000_000  # milliseconds
TIME = datetime.fromtimestamp(THEN / 1000, UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow's, which takes seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.sqlite"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(params=["database", "folder"])
def uri(request: pytest.FixtureRequest, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "database":
        shutil.copyfile(empty, tmp_path / "mlflow.sqlite")
        yield f"sqlite:///{tmp_path}/mlflow.sqlite"
    else:
        (tmp_path / "mlruns").mkdir()
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        yield (tmp_path / "mlruns").as_uri()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


class Made:
    """What a test logs into MLflow."""

    def __init__(self, uri: str, folder: Path, location: str | None = None) -> None:
        self.client = mlflow.MlflowClient(uri, uri)
        self.folder = folder
        self.experiment = self.client.create_experiment("churn", artifact_location=location or (folder / "artifacts").as_uri())

    def run(self, name: str = "train", *, end: str | None = "FINISHED", parent: str | None = None, **params: str) -> str:
        """Log a run with five losses."""
        tags = {"team": "ä/1", "mlflow.user": "jane"} | ({"mlflow.parentRunId": parent} if parent else {})
        run: str = self.client.create_run(self.experiment, start_time=THEN, run_name=name, tags=tags).info.run_id
        losses = [entities.Metric("loss", 1 / (step + 1), THEN + step, step) for step in range(5)]
        odd = [entities.Metric("odd", value, THEN, 0) for value in (1.0, math.nan)]
        self.client.log_batch(run, [*losses, *odd], [entities.Param(*one) for one in params.items()])
        if end is not None:
            self.client.set_terminated(run, end, THEN + 60_000)
        return run

    def model(self, text: str) -> Path:
        """Write a model."""
        folder = self.folder / "a model" / text
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "weights").write_text(text)
        return folder

    def logged(self, run: str, text: str, path: str = "model") -> str:
        """Log a model as MLflow 2 does; return its URI."""
        self.client.log_artifacts(run, str(self.model(text)), path)
        return f"runs:/{run}/{path}"

    def register(self, name: str, source: str, run: str | None = None, **more: Any) -> Any:
        """Register a version."""
        if not any(one.name == name for one in self.client.search_registered_models()):
            self.client.create_registered_model(name)
        return self.client.create_model_version(name, source, run, **more)


def contents(folder: Path) -> dict[str, object]:
    return tree(folder)


def test_runs_models_versions_and_aliases_come_at_their_own_times_and_once(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run = made.run(depth="8", long="x" * 6000)
    child = made.run("child", parent=run, end="KILLED")
    made.client.log_text(run, "notes", "notes/a.txt")
    first = made.register("churn", made.logged(run, "one"), run, description="the first", tags={"stage": "raw"})
    made.register("churn", made.logged(child, "two"), child)
    made.client.set_registered_model_alias("churn", "champion", first.version)
    before = contents(tmp_path / "mlruns") if "mlruns" in uri else (tmp_path / "mlflow.sqlite").read_bytes()

    artifactstore.create(store.url)
    planned = import_from(store, uri, name="ml", dry_run=True)
    assert len(store.log()) == 0
    report = import_from(store, uri, name="ml", reason="migration")
    assert (report.names, report.runs) == (3, 2)
    assert (planned.names, planned.versions, planned.runs) == (report.names, report.versions, report.runs)
    assert (report.missing, report.changed, report.skipped) == ([], [], [])
    runs = {one.id: one for one in store.runs()}
    assert set(runs) == {f"mlflow-{run}", f"mlflow-{child}"}
    one = runs[f"mlflow-{run}"]
    assert (one.name, one.status, one.actor, one.started, one.finished) == (
        "train",
        "finished",
        "jane",
        TIME,
        datetime.fromtimestamp(THEN / 1000 + 60, UTC),
    )
    assert (one.params["depth"], len(one.params["long"]), one.params["mlflow.experiment"]) == ("8", 6000, "churn")
    assert one.params["mlflow.tags"]["team"] == "ä/1"
    assert one.metrics["loss"] == 0.2
    assert [(point.step, point.value) for point in one.history("loss")] == [(step, 1 / (step + 1)) for step in range(5)]
    assert [point.time for point in one.history("loss")] == [
        datetime.fromtimestamp((THEN + step) / 1000, UTC) for step in range(5)
    ]
    other = runs[f"mlflow-{child}"]
    assert (other.status, other.params["mlflow.status"], other.parent) == ("failed", "KILLED", f"mlflow-{run}")

    assert [version.version for version in store.versions("ml/churn")] == [1, 2]
    champion = store.artifact("ml/churn:champion")
    assert (champion.version, champion.kind, champion.metadata["mlflow.version"]) == (1, "model", "1")
    assert champion.metadata["description"] == "the first"
    assert champion.metadata["tags"] == {"stage": "raw"}
    assert champion.run == f"mlflow-{run}"
    assert store.find(metadata={"mlflow.version": "2"})[-1].ref == "ml/churn:v2"
    assert (Path(store.get("ml/churn:v2")) / "weights").read_text() == "two"
    assert {one.path for one in store.artifact(f"ml/.runs/{made.experiment}/{run}").files} == {
        "model/MLmodel",
        "model/weights",
        "notes/a.txt",
    }
    assert store.verify(level="full").ok
    assert before == (contents(tmp_path / "mlruns") if "mlruns" in uri else (tmp_path / "mlflow.sqlite").read_bytes())


def test_a_second_import_writes_nothing_and_a_third_what_is_new(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run, child = made.run(), made.run("child")
    first = made.register("churn", made.logged(run, "one"), run)
    made.register("churn", made.logged(child, "two"), child)
    made.client.set_registered_model_alias("churn", "champion", first.version)
    import_from(store, uri, name="ml")
    digest = store.artifact("ml/churn:champion").digest
    entries = len(store.log())
    again = import_from(store, uri, name="ml")
    assert (again.names, again.versions, again.runs, again.new) == (3, 0, 0, 0)
    assert len(store.log()) == entries
    third = made.register("churn", made.logged(made.run("later"), "three"))
    made.client.set_registered_model_alias("churn", "champion", third.version)
    more = import_from(store, uri, name="ml")
    assert (more.runs, more.new) == (1, 2)  # the model of the run and the version are one artifact
    assert [version.version for version in store.versions("ml/churn")] == [1, 2, 3]
    assert store.artifact("ml/churn:champion").version == 3
    made.client.delete_registered_model("churn")
    made.client.delete_run(run)
    last = import_from(store, uri, name="ml")
    assert (last.versions, last.runs, last.skipped) == (0, 0, ["experiment churn: 1 of its runs were deleted in MLflow"])
    assert store.artifact("ml/churn:v1").digest == digest


def test_a_version_that_was_registered_later_is_made_by_its_run(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run = made.run()
    model = made.logged(run, "one", "deep/er model")
    import_from(store, uri, name="ml")
    made.register("churn", model, run)
    report = import_from(store, uri, name="ml")
    assert (report.versions, report.runs, report.new) == (1, 0, 0)
    assert store.artifact("ml/churn").run == f"mlflow-{run}"


@pytest.mark.parametrize("name", ["ä model", "a b", "a_b", "..", ".runs", "%2F", "x" * 250, "a\\b", "🙂", "-"])
def test_any_name_of_a_model_becomes_a_name(empty: Path, store: Store, tmp_path: Path, name: str) -> None:
    shutil.copyfile(empty, tmp_path / "mlflow.sqlite")
    uri = f"sqlite:///{tmp_path}/mlflow.sqlite"
    made = Made(uri, tmp_path)
    run = made.run()
    source = made.logged(run, "one")
    made.register("plain", source, run)
    with closing(sqlite3.connect(tmp_path / "mlflow.sqlite")) as database, database:  # older versions took any name
        database.execute("pragma foreign_keys = off")
        for table in ("registered_models", "model_versions"):
            database.execute(f"update {table} set name = ?", [name])
    report = import_from(store, uri, name="ml")
    assert report.missing == []
    (found,) = [one.name for one in store.names("ml/") if not one.name.startswith(("ml/.runs/", "ml/.models/"))]
    assert (found == f"ml/{name}") is (name in {"a_b", "-"})
    assert store.artifact(found).metadata["mlflow.model"] == name
    entries = len(store.log())
    import_from(store, uri, name="ml")
    assert len(store.log()) == entries


def test_names_that_are_alike_stay_apart() -> None:
    from artifactstore.integrations.mlflow.records import name_of
    from artifactstore.model.reference import check_name

    names = [
        "a b",
        "a_b",
        "a/b",
        "a//b",
        "/a/b",
        "a/b/",
        "../a",
        ".a",
        "a",
        "A",
        "",
        "/",
        "..",
        "x" * 200,
        "x" * 201,
        "ä",
        "\ud800",
    ]
    found = [name_of(one) for one in names]
    assert len(set(found)) == len(names)
    for one in found:
        check_name(f"ml/{one}")


def test_logged_models_come_with_what_made_them(empty: Path, store: Store, tmp_path: Path) -> None:
    shutil.copyfile(empty, tmp_path / "mlflow.sqlite")
    uri = f"sqlite:///{tmp_path}/mlflow.sqlite"
    mlflow.set_tracking_uri(uri)  # MLflow asks it for a model's source, whatever its client was opened with
    made = Made(uri, tmp_path)
    run = made.run()

    def logged(text: str, status: str) -> Any:
        one = made.client.create_logged_model(made.experiment, name="net", source_run_id=run, params={"k": "3"}, tags={"t": "1"})
        made.client.log_model_artifacts(one.model_id, str(made.model(text)))
        return made.client.finalize_logged_model(one.model_id, status)

    ready, failed = logged("one", "READY"), logged("two", "FAILED")
    gone = logged("three", "READY")
    shutil.rmtree(tmp_path / "artifacts/models" / gone.model_id)
    version = made.register("churn", f"models:/{ready.model_id}", run, model_id=ready.model_id)
    made.register("copied", f"models:/churn/{version.version}")
    report = import_from(store, uri, name="ml")
    assert report.missing == [f"models:/{gone.model_id}"]
    assert report.skipped == [f"models:/{failed.model_id}: its status is FAILED"]
    found = store.artifact(f"ml/.models/{ready.model_id}")
    assert (found.kind, found.run, found.metadata["mlflow.params"]) == ("model", f"mlflow-{run}", {"k": "3"})
    assert store.artifact("ml/churn").digest == store.artifact("ml/copied").digest == found.digest
    assert store.artifact("ml/churn").run == f"mlflow-{run}"


def test_what_is_gone_is_missing_and_comes_when_it_is_back(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run = made.run()
    made.register("churn", made.logged(run, "one"), run)
    moved = tmp_path / "artifacts" / run
    moved.rename(tmp_path / "elsewhere")
    report = import_from(store, uri, name="ml")
    assert (report.missing, report.versions, report.runs) == (["models:/churn/1"], 0, 1)
    (tmp_path / "elsewhere").rename(moved)
    report = import_from(store, uri, name="ml")
    assert (report.missing, store.artifact("ml/churn").version) == ([], 1)


def test_a_run_that_goes_on_gets_its_end_with_a_later_import(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run = made.run(end=None)
    made.client.log_text(run, "early", "a.txt")
    import_from(store, uri, name="ml")
    assert store.runs()[0].finished is None
    entries = len(store.log())
    import_from(store, uri, name="ml")
    assert len(store.log()) == entries
    made.client.log_text(run, "late", "b.txt")
    made.client.set_terminated(run, "FAILED", THEN + 60_000)
    report = import_from(store, uri, name="ml")
    assert (report.versions, report.runs) == (1, 1)
    assert store.runs()[0].status == "failed"
    assert {one.path for one in store.artifact(f"ml/.runs/{made.experiment}/{run}").files} == {"a.txt", "b.txt"}
    assert store.artifact(f"ml/.runs/{made.experiment}/{run}").run == f"mlflow-{run}"


def test_what_is_in_this_store_already_is_named_and_not_copied(uri: str, tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    made = Made(uri, tmp_path, f"artifactstore+file://{tmp_path}/store")
    data = store.put(made.model("data"), "raw")
    run = made.run(end=None)
    source = {"uri": data.uri}
    tags = [entities.InputTag("mlflow.data.context", "training")]
    given = entities.DatasetInput(entities.Dataset("raw", "1234", "http", json.dumps(source)), tags)
    made.client.log_inputs(run, [given])
    model = made.logged(run, "one")
    made.client.set_terminated(run, "FINISHED", THEN + 60_000)
    made.register("churn", f"{made.client.get_run(run).info.artifact_uri}/model", run)
    made.register("by uri", data.uri)
    before = {path for path in (tmp_path / "store/packs").rglob("*") if path.is_file()}
    report = import_from(store, uri, name="ml")
    assert (report.runs, report.missing) == (1, []), model
    assert {path for path in (tmp_path / "store/packs").rglob("*") if path.is_file()} == before
    assert [one.name for one in store.names("ml/") if "/." in one.name] == []
    (found,) = store.runs("mlflow")
    assert (found.id, found.status, found.metrics["loss"]) == (f"mlflow-{run}", "finished", 0.2)
    assert [point.value for point in found.history("loss")] == [1 / (step + 1) for step in range(5)]
    assert (Path(store.get("ml/churn")) / "weights").read_text() == "one"
    entries = len(store.log())
    again = import_from(store, uri, name="ml")
    assert (again.versions, again.runs, len(store.log())) == (0, 0, entries)


def test_a_version_comes_without_its_run_if_that_was_deleted(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run = made.run()
    made.register("churn", f"{made.client.get_run(run).info.artifact_uri}/model", run)
    made.logged(run, "one")
    made.client.delete_run(run)
    report = import_from(store, uri, name="ml")
    assert (report.versions, report.runs, report.missing) == (1, 0, [])
    assert store.artifact("ml/churn").metadata["mlflow.run_id"] == run
    made.client.restore_run(run)
    assert import_from(store, uri, name="ml").runs == 1
    assert store.artifact("ml/churn").run == f"mlflow-{run}"


def test_an_older_database_is_read_and_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    from alembic import command
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base as Initial

    path = tmp_path / "old.sqlite"
    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{path}")
    Initial.metadata.create_all(engine)
    config = utils._get_alembic_config(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "cc1f77228345")  # MLflow 1.13
    engine.dispose()
    run = "0" * 31 + "1"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "insert into experiments (name, artifact_location, lifecycle_stage) values ('e', ?, 'active')", [str(tmp_path)]
        )
        database.execute(
            "insert into runs (run_uuid, user_id, name, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id) "
            "values (?, 'jane', 'old', 'FINISHED', ?, ?, 'active', ?, 1)",
            [run, THEN, THEN, f"{tmp_path}/{run}/artifacts"],
        )
        database.execute("insert into params values ('depth', '8', ?)", [run])
    before = path.read_bytes()
    report = import_from(store, f"sqlite:///{path}", name="ml")
    assert (report.runs, store.runs()[0].params["depth"], store.runs()[0].started) == (1, "8", TIME)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("file:///srv/0/{run}/artifacts/model", True),
        ("/srv/0/models/m-{run}/artifacts", True),
        ("file:///home/me/.ssh", False),
        ("/etc", False),
        ("file:///srv/0/{run}/artifacts/../../../../etc", False),
        (".", False),
        ("", False),
    ],
)
def test_a_server_can_not_name_any_file_of_this_machine(uri: str, *, allowed: bool) -> None:
    from artifactstore.integrations.mlflow.source import Source

    uri = uri.format(run="0" * 32)
    server, database = Source("http://127.0.0.1:9", "s"), Source("sqlite://", "d")
    if allowed:
        assert server.local(uri) == database.local(uri) is not None
        return
    with pytest.raises(NotFoundError):
        server.local(uri)
    if uri:
        assert database.local(uri) is not None


def test_only_chosen_experiments_come(uri: str, store: Store, tmp_path: Path) -> None:
    made = Made(uri, tmp_path)
    run = made.run()
    made.register("churn", made.logged(run, "one"), run)
    made.experiment = made.client.create_experiment("other", artifact_location=(tmp_path / "artifacts").as_uri())
    other = made.run("other")
    made.register("others", made.logged(other, "two"), other)
    import_from(store, uri, name="ml", experiment=["other"])
    assert [one.id for one in store.runs()] == [f"mlflow-{other}"]
    assert [one.name for one in store.names("ml/") if "/." not in one.name] == ["ml/others"]
    with pytest.raises(NotFoundError, match="no experiment 'nowhere'"):
        import_from(store, uri, name="ml", experiment=["nowhere"])


def test_a_folder_that_moved_has_its_artifacts(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "mlruns").mkdir()
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    run = client.create_run(client.create_experiment("e")).info.run_id
    client.log_text(run, "text", "a.txt")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    (tmp_path / "mlruns").rename(tmp_path / "kept")
    report = import_from(store, tmp_path / "kept", name="ml")
    assert (report.versions, report.runs) == (1, 1)
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("sqlite:///{tmp}/nowhere.db", NotFoundError),
        ("{tmp}/nowhere", NotFoundError),
        ("{tmp}/empty", NotFoundError),
        ("sqlite:///{tmp}/text", FormatError),
        ("sqlite:///{tmp}/other.db", FormatError),
        ("sqlite:///{tmp}/newer.db", FormatError),
        ("http://user:secret@127.0.0.1:9", BackendError),
        ("postgresql://user:secret@127.0.0.1:9/mlflow", UnsupportedError),  # its driver is not installed
        ("databricks", NotFoundError),
        ("ftp://host/x", InvalidInputError),
    ],
)
def test_what_is_no_source_is_named(store: Store, empty: Path, tmp_path: Path, source: str, kind: type[Exception]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no database at all, however long it is " * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database, database:
        database.execute("create table runs (x)")
    shutil.copyfile(empty, tmp_path / "newer.db")
    with closing(sqlite3.connect(tmp_path / "newer.db")) as database, database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    with pytest.raises(kind) as caught:
        import_from(store, source.format(tmp=tmp_path), name="ml")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "nowhere.db").exists()
    if "newer" in source:
        assert "newer MLflow" in str(caught.value)


def test_a_server_is_imported_and_one_that_stops_in_the_middle_leaves_what_is_complete(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr("artifactstore.integrations.mlflow.importing._PAGE", 2)
    with served(tmp_path) as (url, server):
        made = Made(url, tmp_path, "mlflow-artifacts:/0")
        runs = [made.run(f"run {number}") for number in range(5)]
        made.register("churn", made.logged(runs[0], "one"), runs[0])
        whole = artifactstore.open(tmp_path / "whole")
        report = import_from(whole, url, name="ml")
        assert (report.names, report.versions, report.runs, report.missing) == (2, 3, 5, [])
        assert whole.artifact("ml/churn").run == f"mlflow-{runs[0]}"
        assert import_from(whole, url, name="ml").versions == 0
        seen: list[str] = []
        real = mlflow.MlflowClient.get_metric_history

        def stopping(self: Any, run: str, key: str) -> Any:
            seen.append(run)
            if len(set(seen)) == 3:
                stop(server, 9)
            return real(self, run, key)

        monkeypatch.setattr(mlflow.MlflowClient, "get_metric_history", stopping)
        with pytest.raises(BackendError, match="run the import again"):
            import_from(store, url, name="ml")
        monkeypatch.undo()
    assert store.verify(level="full").ok
    with served(tmp_path) as (url, _):
        report = import_from(store, url, name="ml")
    assert report.versions < 3
    assert len(store.runs()) == 5
    assert {one.digest for name in store.names() for one in store.versions(name.name)} == {
        one.digest for name in whole.names() for one in whole.versions(name.name)
    }


def test_the_command_imports_and_answers_as_json(empty: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty, tmp_path / "mlflow.sqlite")
    uri = f"sqlite:///{tmp_path}/mlflow.sqlite"
    made = Made(uri, tmp_path)
    made.run()
    command = [sys.executable, "-m", "artifactstore", "import", "mlflow", uri, "--name", "ml", "--json", "--store"]
    done = subprocess.run([*command, str(tmp_path / "s")], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer == {"names": 0, "versions": 0, "runs": 1, "new": 0, "missing": [], "changed": [], "skipped": []}
    done = subprocess.run(
        [*command[:5], f"{uri}-nowhere", *command[6:], str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr


def test_many_versions_of_one_model_and_their_stages_come_in_order(empty: Path, store: Store, tmp_path: Path) -> None:
    shutil.copyfile(empty, tmp_path / "mlflow.sqlite")
    uri = f"sqlite:///{tmp_path}/mlflow.sqlite"
    made = Made(uri, tmp_path)
    run = made.run()
    for number in range(12):
        made.register("m", made.logged(run, f"v{number}", f"model{number}"), run)
    made.client.transition_model_version_stage("m", "4", "Production")
    made.client.set_model_version_tag("m", "5", "k", "v")  # which is the last that changed
    with closing(sqlite3.connect(tmp_path / "mlflow.sqlite")) as database, database:
        database.execute("update model_versions set status = 'PENDING_REGISTRATION' where version = 2")
    report = import_from(store, uri, name="ml")
    assert report.skipped == ["models:/m/2: its status is PENDING_REGISTRATION"]
    numbers = [one.metadata["mlflow.version"] for one in store.versions("ml/m")]
    assert numbers == [str(number) for number in range(1, 13) if number != 2]
    assert store.artifact("ml/m:production").metadata["mlflow.version"] == "4"


def test_the_page_shows_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/integrations/mlflow.md").read_text()
    (text,) = re.findall(r"```python\n(# not run here: tests/integrations/test_mlflow_import.*?)```", page, re.DOTALL)
    exec(text.replace("/tmp/", f"{tmp_path}/"), {})  # what the page shows
