"""Slurm itself requeues a job that stores checkpoints: TERM, then KILL, and the series goes on where it was."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import NotFoundError
from artifactstore.store import Store
from tests.servers.slurm import Slurm

pytestmark = pytest.mark.slow

JOB = """
import os, random, signal, sys, time
import artifactstore

url, enough, size, deaf = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "deaf"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
store = artifactstore.open(url, cache=None)
run = store.run("train", id=f"slurm-{os.environ['SLURM_JOB_ID']}", code=False).start()
state = run.resume() or {"step": 0, "seen": [], "weights": ""}
more = 3
while more:
    step = state["step"] + 1
    state = {"step": step, "seen": [*state["seen"], step], "weights": random.Random(step).randbytes(size).hex()}
    run.checkpoint(state, step=step, keep=5)
    time.sleep(0.05)
    more -= os.path.exists(enough)
run.finish()
"""


def steps(url: str) -> list[int]:
    try:
        return [one.metadata["step"] for one in artifactstore.open(url, cache=None).versions("train/checkpoint")]
    except NotFoundError:
        return []


def wait_for(url: str, more: int) -> None:
    before, end = len(steps(url)), time.monotonic() + 60
    while len(steps(url)) < before + more:
        assert time.monotonic() < end, "the job makes no progress"
        time.sleep(0.05)


@pytest.mark.parametrize(("size", "how"), [(1_000, "ends at TERM"), (4_000_000, "deaf")], ids=["term", "kill in a put"])
def test_a_requeued_job_goes_on_from_its_last_step(slurm: Slurm, tmp_path: Path, size: int, how: str) -> None:
    store: Store = artifactstore.open(tmp_path / "store", cache=None)
    enough, program = tmp_path / "enough", tmp_path / "job.py"
    program.write_text(JOB)
    job = slurm.submit(sys.executable, str(program), store.url, str(enough), str(size), how)
    for _ in range(2):
        wait_for(store.url, 3)
        slurm.command("scontrol", "requeue", job)
        slurm.wait(job, "PENDING")
        assert store.verify(level="full").ok
        slurm.wait(job, "RUNNING")
    wait_for(store.url, 1)
    enough.touch()
    slurm.wait(job, "COMPLETED")

    made = steps(store.url)
    assert made == [*range(1, len(made) + 1)], "no step is lost, none is made twice"
    (run,) = store.runs()
    assert (run.id, run.status) == (f"slurm-{job}", "finished")
    assert {one["SLURM_JOB_ID"] for one in run.jobs} == {job}
    restarts = [int(one.get("SLURM_RESTART_COUNT", "0")) for one in run.jobs]
    assert restarts == sorted({*restarts}), restarts
    assert len(restarts) >= 3
    state: Any = store.get("train/checkpoint")
    assert state["seen"] == made
    assert len([one for one in store.versions("train/checkpoint") if not one.removed]) == 5
    assert store.verify(level="full").ok, json.dumps([str(one) for one in store.verify(level="full").findings])
