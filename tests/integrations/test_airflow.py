"""Airflow's task SDK: the recipe of its page, with real operators, its paths, and its OpenLineage provider.

Run where Airflow is installed: `.ci/run` has an environment of its own for it. Operators are executed without a scheduler: its
database would take longer than everything else.
"""

import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import artifactstore
from artifactstore.catalog.runs.parent import PARENT, ROOT, ParentRun
from artifactstore.store import Store
from tests.integrations.pages import run_page

os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sdk = pytest.importorskip("airflow.sdk")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all: Airflow and fsspec keep the file systems that a process has opened."""
    return tmp_path_factory.mktemp("airflow") / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(place))
    monkeypatch.chdir(tmp_path)
    return artifactstore.open(place)


def test_the_recipe_of_its_page_runs(store: Store) -> None:
    names = run_page("airflow")
    pipeline: Any = names["pipeline"]
    assert {task.task_id: sorted(task.upstream_task_ids) for task in pipeline.tasks} == {
        "prepare": [],
        "train": ["prepare"],
        "publish": ["train"],
    }
    result: Any = None
    for task in pipeline.topological_sort():
        if task.task_id != "prepare":
            task.op_args, task.op_kwargs = [result], {}
        result = task.execute({})
    assert result == len('{"weights":[2]}')
    runs = {run.name.rpartition(".")[2]: run for run in store.runs()}
    assert runs["train"].params == {"settings": "churn/settings:v1"}
    assert store.artifact("churn/model").run == runs["train"].id
    assert [one.ref for one in store.artifact("churn/model").inputs if one.role is None] == ["churn/settings:v1"]


def test_paths_read_artifacts(store: Store, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "raw/b.csv").write_text("x,y\n")
    store.put(tmp_path / "raw", "churn/raw", aliases=["production"])
    for ref in ("churn/raw:v1", "churn/raw:production", "churn/raw:latest"):
        path = sdk.ObjectStoragePath(f"artifactstore://{ref}/a.csv")
        assert path.read_text() == "x,y\n1,2\n"
        assert path.exists()
    assert sorted(one.name for one in sdk.ObjectStoragePath("artifactstore://churn/raw:v1").iterdir()) == ["a.csv", "b.csv"]
    with pytest.raises(FileNotFoundError):
        sdk.ObjectStoragePath("artifactstore://churn/raw:v1/c.csv").read_text()
    with pytest.raises((PermissionError, NotImplementedError)):
        sdk.ObjectStoragePath("artifactstore://churn/raw:v1/a.csv").write_text("other")


def test_the_macros_of_its_provider_make_the_parent_of_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    macros = pytest.importorskip("airflow.providers.openlineage.plugins.macros")
    now = datetime(2026, 12, 1, tzinfo=UTC)
    dag_run = SimpleNamespace(dag_id="churn", run_id="manual", conf={}, logical_date=now, run_after=now, clear_number=0)
    ti: Any = SimpleNamespace(
        dag_id="churn",
        task_id="train",
        try_number=1,
        map_index=-1,
        logical_date=now,
        dag_run=dag_run,
        task=SimpleNamespace(dag=None),
        get_template_context=lambda: {"dag_run": dag_run},
    )
    parent, root = macros.lineage_parent_id(ti), macros.lineage_root_parent_id(ti)
    monkeypatch.setenv(PARENT, parent)
    monkeypatch.setenv(ROOT, root)
    with store.run("scheduled", code=False):
        pass
    found = store.runs("scheduled")[0].scheduled_by
    assert found is not None
    assert (str(found), str(found.root)) == (parent, root)
    assert (found.namespace, found.job) == ("default", "churn.train")
    assert isinstance(found.root, ParentRun)
    assert found.root.job == "churn"
    assert sys.modules["airflow"]
