"""Checkpoints: a job that was ended anywhere goes on from its newest state, and old states go by the rule that was asked for."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli.runner import run as cli
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


def steps(store: Store, name: str = "train/checkpoint") -> list[int]:
    return [one.metadata["step"] for one in store.versions(name) if not one.removed]


def test_a_restarted_job_goes_on_from_its_newest_state(store: Store) -> None:
    run = store.run("train", id="job-7", code=False).start(current=False)
    assert run.resume() is None
    for step in (10, 20, 30):
        run.checkpoint({"weights": [step]}, step=step)
    del run  # as if the job was killed: nothing is finished

    with store.run("train", id="job-7", code=False) as again:
        assert again.resume() == {"weights": [30]}
        again.checkpoint({"weights": [40]}, step=40)
        again.put({"weights": [40]}, "model", kind="model")
    assert steps(store) == [10, 20, 30, 40]
    assert [run.status for run in store.runs()] == ["finished"]
    upstream = {one.name for one in store.lineage("model").upstream()}
    assert "train/checkpoint" not in upstream, "what a run made itself is no input of it"


def test_another_run_of_the_same_name_does_not_take_them(store: Store) -> None:
    with store.run("train", id="first", code=False) as run:
        run.checkpoint({"a": 1}, step=1)
    with store.run("train", id="second", code=False) as run:
        assert run.resume() is None
        run.checkpoint({"a": 2}, step=1)
        assert run.resume() == {"a": 2}
    with store.run("train", id="third", code=False) as run:
        run.checkpoint({"b": 3}, step=3, name="elsewhere")
        assert run.resume() is None
        assert run.resume("elsewhere") == {"b": 3}


KEPT: dict[str, tuple[Any, list[int]]] = {
    "the newest": (2, [8, 9]),
    "every fourth": ({"every": 4}, [0, 4, 8, 9]),
    "the least loss": ({"last": 1, "min": "loss"}, [5, 9]),
    "the largest loss": ({"last": 1, "max": "loss"}, [0, 9]),
    "the three of the least loss": ({"min": "loss", "best": 3}, [4, 5, 6, 9]),
    "the three of the largest loss": ({"max": "loss", "best": 3}, [0, 1, 9]),
    "a metric that none has": ({"last": 2, "min": "other"}, [8, 9]),
    "all rules": ({"last": 2, "every": 6, "min": "loss"}, [0, 5, 6, 8, 9]),
    "more than there are": (100, [*range(10)]),
}


@pytest.mark.parametrize("rule", KEPT)
def test_what_the_rule_keeps_stays_and_the_rest_is_removed_with_the_reason(store: Store, rule: str) -> None:
    keep, expected = KEPT[rule]
    with store.run("train", code=False) as run:
        for step in range(10):
            run.checkpoint({"at": step}, step=step, keep=keep, metrics={"loss": float(abs(step - 5) * 10 + (step > 5))})
    assert steps(store) == expected
    removed = [one for one in store.log() if one.fact == "removed"]
    assert len(removed) == 10 - len(expected)
    assert all("checkpoint of step" in str(one.reason) for one in removed)


def test_a_rule_looks_at_its_own_run_only(store: Store) -> None:
    with store.run("train", code=False) as run:
        run.checkpoint({"first": 1}, step=1)
    with store.run("train", code=False) as run:
        for step in (2, 3):
            run.checkpoint({"second": step}, step=step, keep=1)
    assert steps(store) == [1, 3]


def test_what_an_alias_means_or_a_hold_keeps_stays(store: Store) -> None:
    with store.run("train", code=False) as run:
        run.checkpoint({"at": 0}, step=0, keep=1)
        store.alias(run.checkpoint({"at": 1}, step=1, keep=1).ref, "best")
        store.registry.hold(run.checkpoint({"at": 2}, step=2, keep=1).ref, "inspection")
        with pytest.warns(UserWarning, match="stays"):
            run.checkpoint({"at": 3}, step=3, keep=1)
        run.checkpoint({"at": 4}, step=4, keep=1)
    assert steps(store) == [1, 2, 4]
    assert len([one for one in store.log() if one.fact == "refused"]) == 1, "it is not tried again"


def test_the_same_state_again_is_one_version_with_the_later_step(store: Store) -> None:
    with store.run("train", code=False) as run:
        run.checkpoint({"a": 1}, step=1, keep=1)
        run.checkpoint({"a": 1}, step=2, keep=1)
        assert run.resume() == {"a": 1}
    assert steps(store) == [2]


def test_a_folder_comes_back_as_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "w.bin").write_bytes(b"123")
    with store.run("train", code=False) as run:
        run.checkpoint(tmp_path / "state", step=1)
        assert (run.resume() / "w.bin").read_bytes() == b"123"
        run.resume(to=tmp_path / "back")
    assert (tmp_path / "back" / "w.bin").read_bytes() == b"123"


@pytest.mark.parametrize(
    "keep",
    [
        0,
        -1,
        True,
        "last",
        {},
        {"newest": 1},
        {"last": 0},
        {"every": 1.5},
        {"max": ""},
        {"min": 3},
        [1],
        {"last": True},
        {"best": 2},
        {"min": "loss", "best": 0},
    ],
)
def test_a_rule_that_makes_no_sense_stores_nothing(store: Store, keep: Any) -> None:
    with store.run("train", code=False) as run:
        with pytest.raises(InvalidInputError, match="keep="):
            run.checkpoint({"a": 1}, step=1, keep=keep)
        assert run.resume() is None


def test_wrong_calls_say_what_to_do(store: Store) -> None:
    with pytest.raises(ConflictError, match="not started"):
        store.run("train").resume()
    with store.run("two words: odd", code=False) as run:
        with pytest.raises(InvalidInputError, match="pass name="):
            run.checkpoint({"a": 1}, step=1)
        with pytest.raises(InvalidInputError, match="whole number"):
            run.checkpoint({"a": 1}, step=1.5, name="x")  # type: ignore[arg-type]
        with store.batch(), pytest.raises(InvalidInputError, match="batch"):
            run.checkpoint({"a": 1}, step=1, name="x")
        assert run.checkpoint({"a": 1}, step=1, name="x").ref == "x:v1"


JOB = """
import sys, time, artifactstore
store = artifactstore.open(sys.argv[1], cache=None)
with store.run("train", id="job", code=False) as run:
    state = run.resume() or {"step": 0, "sum": 0, "pad": ""}
    print("from", state["step"], flush=True)
    for step in range(state["step"] + 1, int(sys.argv[2]) + 1):
        state = {"step": step, "sum": state["sum"] + step, "pad": str(step) * 50_000}
        run.checkpoint(state, step=step, keep=3)
        print("at", step, flush=True)
"""


@pytest.mark.parametrize("sign", ["TERM", "KILL"])
def test_a_job_that_is_ended_at_any_point_and_requeued_ends_with_the_whole_series(store: Store, sign: str) -> None:
    command = [sys.executable, "-c", JOB, store.url]
    ended = []
    for lines in (1, 3, 6):
        job = subprocess.Popen([*command, "100000"], stdout=subprocess.PIPE, text=True)
        assert job.stdout is not None
        for _ in range(lines):
            assert job.stdout.readline()
        time.sleep(0.01 * lines)
        job.send_signal(getattr(signal, f"SIG{sign}"))
        ended.append(job.wait())
        job.stdout.close()
    assert set(ended) == {-getattr(signal, f"SIG{sign}")}, "TERM ends it as TERM does"
    with store.run("train", id="job", code=False) as run:
        state = run.resume()
        assert state["sum"] == sum(range(state["step"] + 1))
    assert len(steps(store)) <= 4, "one more where it ended between a put and its rule"
    assert len(store.runs()) == 1
    assert store.verify(level="full").ok


def test_a_run_shows_its_checkpoints_apart_from_its_outputs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.run("train", id="job", code=False) as run:
        for step in range(3):
            run.checkpoint({"a": step}, step=step)
        run.put({"w": 1}, "model", kind="model")
    assert cli(["show", "job", "--store", store.url]) == 0
    shown = capsys.readouterr().out
    assert "train/checkpoint:v1" not in shown
    assert "3, the newest is train/checkpoint:v3" in shown
    assert cli(["show", "job", "--store", store.url, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [one["ref"] for one in record["outputs"]] == ["model:v1"]
    assert len(record["checkpoints"]) == 3
