"""The run of a scheduler that a run is a child of: recorded where it is well formed, shown, exported as OpenLineage's parent."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.catalog.runs.parent import PARENT, ROOT, ParentRun
from artifactstore.cli.runner import run as cli
from artifactstore.store import Store
from artifactstore.work.runs.capture import parent_run

TASK = "0198f3a0-8b1c-7d2e-9f40-1a2b3c4d5e6f"
DAG = "0198f3a0-8b1c-7000-8000-000000000001"
OTHER = "0198f3a0-8b1c-7000-8000-000000000002"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(parent_run, "_warned", set())
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


def recorded(store: Store) -> list[ParentRun | None]:
    return [run.scheduled_by for run in store.runs()]


def parents(store: Store) -> dict[str, Any]:
    """Return the parent facet of each run, by its name."""
    found = {}
    for run in store.runs():
        start, end = store.lineage(run.id).export("openlineage")
        assert start["run"] == end["run"], "the end says the same as the start"
        facet = start["run"]["facets"].get("parent")
        found[run.name] = facet and [
            (one["job"]["namespace"], one["job"]["name"], one["run"]["runId"]) for one in (facet, facet["root"])
        ]
    return found


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"airflow/churn.train/{TASK}", ("airflow", "churn.train", TASK)),
        (f" airflow/churn.train/{TASK.upper()}\n", ("airflow", "churn.train", TASK)),
        (f"größe x/churn train ö/{TASK}", ("größe x", "churn train ö", TASK)),
        (f"https://airflow.example:8080/prod/eu/churn.train/{TASK}", ("https://airflow.example:8080/prod/eu", "churn.train", TASK)),
        *[
            (text, None)
            for text in (
                "", "/", "//", TASK, f"churn.train/{TASK}", f"airflow//{TASK}", f"/churn.train/{TASK}", f"a/b/c/{TASK}",
                f" /churn/{TASK}", f"https:///{TASK}", f"https://churn/{TASK}",
                "airflow/churn.train/", "airflow/churn.train/7", f"airflow/churn.train/{TASK}0", f"airflow/churn.train/{{{TASK}}}",
                f"airflow/churn.train/urn:uuid:{TASK}", f"airflow/churn.train/{TASK.replace('-', '')}",
                f"airflow/churn\x1b[31m/{TASK}", f"airflow/churn\n/{TASK}", f"airflow/{'x' * 1000}/{TASK}",
                f"airflow/churn.train/{TASK[:-1]}٣",
            )
        ],
    ],
)  # fmt: skip
def test_a_parent_is_namespace_job_and_uuid_and_nothing_else(text: str, parts: tuple[str, str, str] | None) -> None:
    found = ParentRun.parse(text)
    assert (None if found is None else (found.namespace, found.job, found.run)) == parts
    assert found is None or ParentRun.parse(str(found)) == found


def test_a_run_records_the_run_that_a_scheduler_passes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    monkeypatch.setenv(ROOT, f"airflow/churn/{DAG}")
    with store.run("train", code=False):
        pass
    (found,) = recorded(artifactstore.open(store.url, cache=None))
    assert found == ParentRun("airflow", "churn.train", TASK, ParentRun("airflow", "churn", DAG))
    assert parents(store) == {"train": [("airflow", "churn.train", TASK), ("airflow", "churn", DAG)]}


def test_a_parent_without_a_root_is_the_root(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    with store.run("train", code=False):
        pass
    assert parents(store) == {"train": [("airflow", "churn.train", TASK)] * 2}


def test_a_root_without_a_parent_is_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT, f"airflow/churn/{DAG}")
    with store.run("train", code=False):
        pass
    assert store.runs()[0].jobs == ()
    assert parents(store) == {"train": None}


@pytest.mark.parametrize("name", [PARENT, ROOT])
def test_a_broken_value_gives_one_warning_and_no_fact(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    monkeypatch.setenv(name, "airflow/churn/scheduled__2026-11-30")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with store.run("train", code=False):
                pass
    (warning,) = caught
    assert f"{name} is 'airflow/churn/scheduled__2026-11-30', expected namespace/job/run-uuid" in str(warning.message)
    assert warning.filename == __file__
    assert recorded(store) == [None if name == PARENT else ParentRun("airflow", "churn.train", TASK)] * 3
    assert name not in store.runs()[0].job


def test_an_empty_value_is_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, "")
    monkeypatch.setenv(ROOT, " ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with store.run("train", code=False):
            pass
    assert store.runs()[0].jobs == ()


def test_inside_of_an_own_run_that_run_is_the_parent_and_the_schedulers_root_the_root(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    monkeypatch.setenv(ROOT, f"airflow/churn/{DAG}")
    with store.run("outer", code=False), store.run("inner", code=False):
        pass
    found = parents(store)
    assert found["outer"][0] == ("airflow", "churn.train", TASK)
    assert found["inner"][0][1] == "outer"
    assert found["inner"][1] == found["outer"][1] == ("airflow", "churn", DAG)


def test_a_scheduler_that_an_own_run_has_started_is_nearer_than_that_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    with store.run("outer", code=False):
        monkeypatch.setenv(PARENT, f"spark/app/{OTHER}")
        with store.run("inner", code=False), store.run("innermost", code=False):
            pass
    found = parents(store)
    assert found["inner"] == [("spark", "app", OTHER)] * 2
    assert found["innermost"][0][1] == "inner"
    assert found["innermost"][1] == ("spark", "app", OTHER)


def test_the_newest_try_of_a_job_is_the_parent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, uuid in enumerate((TASK, OTHER)):
        monkeypatch.setenv(PARENT, f"airflow/churn.train/{uuid}")
        run = store.run("train", id="nightly", code=False).start(current=False)
        run.log(tries=number)
    run.finish()
    assert [one[PARENT] for one in store.runs()[0].jobs] == [f"airflow/churn.train/{uuid}" for uuid in (TASK, OTHER)]
    assert recorded(store) == [ParentRun("airflow", "churn.train", OTHER)]
    assert parents(store)["train"][0] == ("airflow", "churn.train", OTHER)


def test_show_has_the_scheduler_apart_from_other_variables(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    monkeypatch.setenv(ROOT, f"airflow/churn/{DAG}")
    with store.run("train", id="one", code=False):
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        with store.run("evaluate", id="two", code=False):
            pass
    assert cli(["show", "one", "--store", store.url]) == 0
    text = capsys.readouterr().out
    assert f"scheduler airflow/churn.train/{TASK}\n" in text
    assert f"under airflow/churn/{DAG}\n" in text
    assert "\njob" not in text
    assert cli(["show", "two", "--store", store.url]) == 0
    assert "SLURM_JOB_ID=7\n" in capsys.readouterr().out
    assert cli(["show", "one", "--store", store.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == [{PARENT: f"airflow/churn.train/{TASK}", ROOT: f"airflow/churn/{DAG}"}]


def test_a_command_of_a_scheduler_records_it(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "made.txt"
    program = [sys.executable, "-c", f"open({str(made)!r}, 'w').write('x')"]
    own = {PARENT: f"airflow/churn.train/{TASK}", "ARTIFACTSTORE_URL": store.url}
    command = [sys.executable, "-m", "artifactstore", "run", "--out", f"made={made}", "--", *program]
    done = subprocess.run(command, env={**os.environ, **own}, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert recorded(store) == [ParentRun("airflow", "churn.train", TASK)]


def test_what_a_store_received_has_its_parent_too(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, f"airflow/churn.train/{TASK}")
    with store.run("train", code=False):
        pass
    other = artifactstore.open(tmp_path / "other", cache=None)
    other.put({"x": 1}, "x")
    store.maintenance.sync(other)
    assert other.runs("train")[0].scheduled_by == ParentRun("airflow", "churn.train", TASK)


def test_no_password_of_a_namespace_is_recorded_or_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, f"https://user:hunter2hunter2@airflow.example/churn.train/{TASK}")
    monkeypatch.setenv(ROOT, "https://user:hunter3hunter3@airflow.example/churn/7")
    with pytest.warns(UserWarning, match=ROOT) as caught, store.run("train", code=False):
        pass
    assert "hunter3" not in str(caught[0].message)
    assert "hunter2" not in json.dumps(store.runs()[0].job)


def test_the_active_spark_session_is_asked_where_no_variable_is_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by hand where Spark is installed (3.5): it would be the largest environment of all."""
    sql = pytest.importorskip("pyspark.sql", reason="Spark is not installed")
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    for prefix, job, uuid in (("parent", "churn.train", TASK), ("rootParent", "churn", DAG)):
        for part, value in {"JobNamespace": "airflow", "JobName": job, "RunId": uuid}.items():
            builder = builder.config(f"spark.openlineage.{prefix}{part}", value)
    session = builder.getOrCreate()
    with store.run("in Spark", code=False):
        pass
    monkeypatch.setenv(PARENT, f"airflow/other/{OTHER}")
    with store.run("with a variable", code=False):
        pass
    monkeypatch.delenv(PARENT)
    session.stop()
    with store.run("after Spark", code=False):
        pass
    root = ParentRun("airflow", "churn", DAG)
    assert recorded(store) == [ParentRun("airflow", "churn.train", TASK, root), ParentRun("airflow", "other", OTHER), None]
