"""Jobs of one id: killed at each of their calls, two at a time, on nodes whose clocks differ; the series of checkpoints goes on."""

import datetime as dt
import itertools
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.base import Backend, Stored
from artifactstore.backend.connect import connect
from artifactstore.errors import ConflictError
from artifactstore.store import Store
from artifactstore.work.session import session as session_module
from tests.journal.test_times import clock, now
from tests.maintenance.killed import Deadly, KillingBackend

SERIES = "train/checkpoint"


class Killing(KillingBackend):
    """Counts everything that is asked of the backend."""

    def _counted(self, call: Any) -> Any:
        found: list[Any] = []
        self.deadly.before_and_after(lambda: found.append(call()))
        return found[0]

    def read(self, key: str) -> bytes:
        found: bytes = self._counted(lambda: self.inner.read(key))
        return found

    def read_large(self, key: str) -> bytes:
        found: bytes = self._counted(lambda: self.inner.read_large(key))
        return found

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        found: list[bytes] = self._counted(lambda: self.inner.read_ranges(key, ranges))
        return found

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        self._counted(lambda: self.inner.read_into(key, wanted))

    def size(self, key: str) -> int:
        found: int = self._counted(lambda: self.inner.size(key))
        return found

    def list(self, prefix: str) -> Iterator[Stored]:
        return iter(self._counted(lambda: [*self.inner.list(prefix)]))


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": bytes([step]).hex() * 40_000}


def job(url: str) -> None:
    """Do one step: go on from the newest state, and let the ones before the last two go."""
    run = artifactstore.open(url, cache=None).run("train", id="job", code=False).start(current=False, capture=False)
    before = run.resume()
    step = before["step"] + 1 if before else 1
    run.checkpoint(state(step), step=step, keep=2)


def steps(store: Store, *, removed: bool = False) -> list[int]:
    return [one.metadata["step"] for one in store.versions(SERIES) if removed or not one.removed]


def killed(url: str, at: int, *, after: bool) -> bool:
    """Do one step in a process that is killed at its `at`-th call; return whether it was."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        deadly = Deadly(at, after=after)

        def deadly_connect(*args: Any, **options: Any) -> Backend:
            return Killing(connect(*args, **options), deadly)

        vars(session_module)["connect"] = deadly_connect
        job(url)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize("after", [False, True])
def test_a_job_that_is_killed_at_any_call_goes_on_without_a_gap(tmp_path: Path, *, after: bool) -> None:
    begun = artifactstore.create(str(tmp_path / "begun"))
    for _ in range(2):
        job(begun.url)
    half = 0
    for at in itertools.count(1):
        url = str(tmp_path / f"{at}")
        shutil.copytree(begun.url, url)
        was_killed = killed(url, at, after=after)
        store = artifactstore.open(url, cache=None)
        done = len(steps(store, removed=True))
        assert done in {2, 3}, "the step is made, or it is not"
        half += was_killed and done == 3
        job(url)
        assert steps(store, removed=True) == [*range(1, done + 2)]
        assert steps(store) == [done, done + 1], "what a killed job did not remove, the next one does"
        assert store.get(SERIES) == state(done + 1)
        assert [one.id for one in store.runs()] == ["job"]
        assert store.verify(level="full").ok
        if not was_killed:
            break
    assert at > 15
    assert half > 1, "some were killed between the commit and the end"


@pytest.mark.parametrize("ahead", [dt.timedelta(minutes=5), -dt.timedelta(minutes=5), -dt.timedelta(days=400)])
def test_a_node_whose_clock_is_another_goes_on_in_the_order_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: dt.timedelta
) -> None:
    url = str(tmp_path / "store")
    for node in range(4):
        clock(monkeypatch, (lambda: now() + ahead) if node % 2 else now)
        monkeypatch.setenv("SLURM_NODELIST", f"node-{node}")
        run = artifactstore.open(url, cache=tmp_path / f"cache-{node}").run("train", id="job", code=False).start(current=False)
        before = run.resume()
        assert (before["step"] if before else 0) == 2 * node
        for step in (2 * node + 1, 2 * node + 2):
            run.checkpoint(state(step), step=step, keep=3)
    store = artifactstore.open(url, cache=None)
    assert steps(store, removed=True) == [*range(1, 9)]
    assert steps(store) == [6, 7, 8]
    times = [one.time for one in store.versions(SERIES)]
    assert times == sorted(times)
    assert [one["SLURM_NODELIST"] for one in store.runs()[-1].jobs] == [f"node-{node}" for node in range(4)]


def test_two_jobs_with_one_id_are_one_run_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = artifactstore.open(tmp_path / "store", cache=None)
    jobs = []
    for name in "12":
        monkeypatch.setenv("SLURM_JOB_ID", name)
        jobs.append(artifactstore.open(store.url, cache=None).run("train", id="job", code=False).start(current=False))
    for step in range(1, 4):
        for number, run in enumerate(jobs):
            run.checkpoint({**state(step), "by": number}, step=step)
    assert steps(store) == [1, 1, 2, 2, 3, 3]
    assert {run.resume()["by"] for run in jobs} == {1}, "both go on from the newest"
    jobs[0].finish()
    jobs[1].checkpoint({**state(4), "by": 1}, step=4, keep=2)
    jobs[1].finish(error="lost")
    (info,) = store.runs()
    assert info.status == "finished", "the first end counts"
    assert [one["SLURM_JOB_ID"] for one in info.jobs] == ["1", "2"]
    assert steps(store) == [3, 4]
    assert store.verify(level="full").ok


def test_a_run_that_failed_is_over_and_one_that_was_only_started_is_not(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store", cache=None)

    def fail(run: Any) -> None:
        run.checkpoint(state(1), step=1)
        raise RuntimeError("a rank was lost")

    with pytest.raises(RuntimeError), store.run("train", id="with", code=False) as run:
        fail(run)
    with pytest.raises(RuntimeError):
        fail(store.run("train", id="start", code=False).start(current=False))
    with pytest.raises(ConflictError, match="has failed"):
        store.run("train", id="with", code=False).start()
    again = store.run("train", id="start", code=False).start(current=False)
    assert again.resume() == state(1)
    again.finish()
