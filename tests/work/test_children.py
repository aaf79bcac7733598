"""What child processes read is an input of the run of the moment, however they were started, however long they live, however they end."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.work.tracking import inherited_runs
from artifactstore.work.tracking.inherited_runs import Inbox, Posted, hand_over, leaves

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_children_read_for_the_run_of_the_moment_whatever_their_start_life_and_end(tmp_path: Path):
    """It takes long: children that are spawned do all of their imports, and there are 30 kinds of them."""
    program = [sys.executable, str(ROOT / "tests/work/children.py"), str(tmp_path)]
    done = subprocess.run(
        program, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["wanted"]) >= 30
    assert told["used"] == told["wanted"]
    assert told["environment"] is None


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return artifactstore.create(tmp_path / "store", cache=None)


def used(store: Store, run: str) -> list[str]:
    with store._session.state() as state:
        return [one["name"] for one in state.edges.get(run, ()) if one["fact"] == "used" and "name" in one]


CHILD = """
import artifactstore, os, sys
store = artifactstore.open(sys.argv[1], cache=None)
if len(sys.argv) < 4:
    store.get("a")
if len(sys.argv) > 2:
    store.put(b"by the child", sys.argv[2])
os._exit(0)
"""


def child(store: Store, run: str, *arguments: str) -> None:
    """Run a child that knows its run by the environment alone, as on another machine."""
    env = {**os.environ, "ARTIFACTSTORE_RUN": f"{store._session.core().config.store}/{run}"}
    subprocess.run([sys.executable, "-c", CHILD, store.url, *arguments], check=True, timeout=60, env=env)


@pytest.mark.slow
def test_a_child_that_knows_its_run_by_the_environment_alone_commits_what_it_reads_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    store.put(b"x", "a")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # the parent cannot publish anything
    with store.run("r", code=False) as run:
        child(store, run.id)
        assert used(store, run.id) == ["a"]
    child(store, run.id, "later")
    assert store.artifact("later").run is None
    child(store, run.id, "late", "put alone")  # its first look at the store is the put itself
    assert store.artifact("late").run is None, "a run that has ended gets no more edges"


def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of this user's boards, in a folder for temporary files of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"artifactstore-runs-{os.getuid()}"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process is found by /proc")
def test_what_another_user_may_write_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = boards(tmp_path, monkeypatch)
    base.mkdir(mode=0o700)
    parent = os.getppid()
    started = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    board = base / f"{parent}-{started}"
    board.mkdir()
    (board / "runs.json").write_text('[["s", "r", null, "inbox"]]')
    assert inherited_runs.of_parents("s") == [Posted("s", "r", None, "inbox")]
    for text in ("[[1]]", "{", "[]", '{"a": 1}', ""):
        (board / "runs.json").write_text(text)
        assert inherited_runs.of_parents("s") == []
    (board / "runs.json").write_text('[["s", "r", null, "inbox"]]')
    base.chmod(0o777)
    assert inherited_runs.of_parents("s") == []
    base.chmod(0o700)
    shutil.move(base, tmp_path / "other")
    base.symlink_to(tmp_path / "other")
    assert inherited_runs.of_parents("s") == []


def test_lines_that_are_no_facts_spoil_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = boards(tmp_path, monkeypatch)
    inbox = Inbox()
    good = {"fact": "used", "digest": "blake3:" + "0" * 64, "name": "a", "version": 1}
    with Path(inbox.path).open("ab") as file:
        file.write(b'{"fact": "used", "dig')  # its process was killed amid it
    assert hand_over(inbox.path, {**good, "run": "another", "more": 1})
    for bad in (
        {"fact": "used"},
        {"fact": "removed", "name": "a"},
        {"fact": "measured", "metrics": {"a": "x"}},
        7,
        {**good, "digest": "x"},
    ):
        assert hand_over(inbox.path, bad)  # type: ignore[arg-type]
    assert hand_over(inbox.path, {"fact": "measured", "metrics": {"a": 1}, "step": 2})
    with Path(inbox.path).open("ab") as file:
        file.write(b'{"fact": "us')
    assert inbox.take() == [good, {"fact": "measured", "metrics": {"a": 1.0}, "step": 2}]
    assert inbox.take() == []
    path = inbox.path
    inbox.close()
    assert hand_over(path, good) is None
    assert not base.exists()


def test_the_innermost_runs_are_those_that_no_other_is_inside_of():
    a, b, c = Posted("s", "a", None, ""), Posted("s", "b", "a", ""), Posted("s", "c", None, "")
    assert leaves([a, b]) == [b]
    assert leaves([a, b, c]) == [b, c]
    assert leaves([a, a]) == [a]
    assert leaves([]) == []
