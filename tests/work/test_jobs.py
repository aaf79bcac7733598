"""The job of a process: facts of the run. Ranks and requeued jobs are one run, in one environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import artifactstore
from artifactstore.cli.runner import run as cli
from artifactstore.store import Store
from artifactstore.work.runs.capture.job import job


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in list(os.environ):
        if job({name: "x"}):
            monkeypatch.delenv(name)
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


def environments(store: Store) -> set[str]:
    found = (one for run in store.runs() for one in store.lineage(run.id).upstream().artifacts)
    return {one.id for one in found if one.kind == "environment"}


@pytest.mark.parametrize(
    "name",
    [
        "SLURM_JOB_ID",
        "SLURM_RESTART_COUNT",
        "RUNAI_PROJECT",
        "RUNAI_ANYTHING",
        "POD_UUID",
        "JOB_NAME",
        "TRAINING_JOB_ARN",
        "RANK",
    ],
)
def test_a_variable_of_a_scheduler_is_a_fact_of_the_run_and_not_of_its_environment(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("1", "2"):
        monkeypatch.setenv(name, value)
        with store.run("train", code=False):
            pass
    assert [run.job for run in store.runs()] == [{name: "1"}, {name: "2"}]
    assert len(environments(store)) == 1


def test_a_requeued_job_joins_its_run_and_adds_what_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for restart in ("0", "1", "1", "2"):
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
        run = store.run("train", id="slurm-7", code=False).start(
            current=False
        )  # what is left unfinished stays no run of this process
        run.log(loss=1.0)
    run.finish()
    (info,) = store.runs()
    assert [one["SLURM_RESTART_COUNT"] for one in info.jobs] == ["0", "1", "2"], "one that says the same is not added"
    assert info.job == {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}
    assert store.verify().ok
    reopened = artifactstore.open(store.url, cache=None)
    assert reopened.runs()[0].jobs == info.jobs


RANK = """
import sys, artifactstore
store = artifactstore.open(sys.argv[1], cache=None)
run = store.run("train", id="job", code=False).start()
run.log(**{f"loss_{sys.argv[2]}": 0.5})
run._running().flush()
"""


def test_ranks_are_one_run_with_the_rank_as_a_fact(store: Store) -> None:
    store.put({"a": 1}, "a")
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, store.url, str(rank)], env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "3"}
        )
        for rank in range(3)
    ]
    assert [one.wait() for one in ranks] == [0, 0, 0]
    (info,) = store.runs()
    assert sorted(one["RANK"] for one in info.jobs) == ["0", "1", "2"]
    assert len(info.metrics) == 3


def test_no_other_variable_and_no_secret_is_recorded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAI_TOKEN", "hunter2hunter2hunter2")
    monkeypatch.setenv("SLURM_JOB_PARTITION_SECRET", "hunter3hunter3")
    monkeypatch.setenv("JOB_NAME", "a" * 5000)
    with store.run("train", code=False):
        pass
    text = json.dumps(store.runs()[0].job)
    assert "hunter" not in text
    assert len(store.runs()[0].job["JOB_NAME"]) == 500


def test_what_a_store_received_of_jobs_is_shown_there_too(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        run = store.run("train", id="job", code=False).start(
            current=False
        )  # what is left unfinished stays no run of this process
    run.finish()
    other = artifactstore.open(tmp_path / "other", cache=None)
    other.put({"x": 1}, "x")
    store.maintenance.sync(other)
    assert [one["RANK"] for one in other.runs("train")[0].jobs] == ["0", "1"]


def test_a_run_shows_its_job(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with store.run("train", id="job", code=False):
        pass
    assert cli(["show", "job", "--store", store.url]) == 0
    assert "SLURM_JOB_ID=7" in capsys.readouterr().out
    assert cli(["show", "job", "--store", store.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == [{"SLURM_JOB_ID": "7"}]
