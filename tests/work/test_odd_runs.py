"""Runs as they are really used: steps that wait, cells run twice, arguments that are no text, and what commands say of mistakes."""

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError, Store
from tests.warm import command

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, in no repository."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def edges(store: Store, run: str, fact: str) -> list[str]:
    """Names of what a run used or produced; its code and environment left out."""
    found = [one.fields for one in store.log(fact=fact) if one.fields["run"] == run]
    return [one["name"] for one in found if one.get("role") not in ("code", "environment")]


def test_a_cell_that_starts_a_run_again_goes_on_in_it(store: Store):
    store.put(b"x", "a")
    first = store.run("train", id="cell-1").start()
    second = store.run("train", id="cell-1").start()
    store.get("a")
    store.put(b"y", "b")
    second.finish()
    assert edges(store, "cell-1", "used") == ["a"]
    assert edges(store, "cell-1", "produced") == ["b"]
    first.finish()


def test_a_program_that_exits_well_has_finished(store: Store):
    for code, status in ((None, "finished"), (0, "finished"), (3, "failed"), ("no input", "failed")):
        with pytest.raises(SystemExit), store.run("script"):
            raise SystemExit(code)
        assert store.runs()[-1].status == status


def test_a_step_may_stand_without_brackets(store: Store):
    @store.step
    def double(n: int) -> int:
        """Twice."""
        store.put({"n": n}, "doubled")
        return 2 * n

    assert (double(4), double.__name__, double.__doc__) == (8, "double", "Twice.")
    (info,) = store.runs()
    assert (info.name.rpartition(".")[2], info.params) == ("double", {"n": 4})
    assert edges(store, info.id, "produced") == ["doubled"]
    for wrong in ("not a name!", "a/b:v1"):
        with pytest.raises(InvalidInputError):
            store.step(wrong)


def test_steps_that_wait_belong_to_the_right_run(store: Store):
    for i in range(3):
        store.put({"i": i}, f"in/{i}")

    @store.step("kept")
    async def work(i: int) -> int:
        await asyncio.sleep(0.01)
        store.get(f"in/{i}")
        await asyncio.sleep(0.01)
        store.put({"out": i}, f"out/{i}")
        return i

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(work(i) for i in range(3)))

    assert asyncio.run(all_of_them()) == [0, 1, 2]
    for info in store.runs():
        i = info.params["i"]
        assert edges(store, info.id, "used") == [f"in/{i}"]
        assert edges(store, info.id, "produced") == [f"out/{i}", "kept"]
        assert info.status == "finished"


def test_a_generator_can_be_no_step(store: Store):
    def one() -> Iterator[int]:
        yield 1

    async def other() -> AsyncIterator[int]:
        yield 1

    for function in (one, other):
        with pytest.raises(InvalidInputError, match="generator"):
            store.step()(function)


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("says nothing")


@pytest.mark.slow
def test_what_can_not_be_said_stops_no_run(store: Store, tmp_path: Path):
    name = os.fsdecode(b"\xff.txt")
    (tmp_path / name).write_text("x")
    run = store.run("odd", params={"a": Mute(), "b": name, "\ud800": ["\ud800"]}).start()
    (tmp_path / name).read_text()
    subprocess.run([sys.executable, "-c", "", name], check=True)
    run.finish(error=f"ValueError: bad {name}")
    (info,) = store.runs()
    assert info.id == run.id
    assert (info.status, info.error) == ("failed", "ValueError: bad \\xff.txt")
    assert info.params["a"]["repr"].startswith("<tests.")
    assert (info.params["b"], info.params["\\ud800"]) == ("\\xff.txt", ["\\ud800"])
    assert [row["path"].rpartition("/")[2] for row in info.around] == ["\\xff.txt"]
    assert info.programs[0][-1] == "\\xff.txt"
    env = {**os.environ, "ARTIFACTSTORE_URL": store.url}
    command = [sys.executable, "-m", "artifactstore", "run", "--", sys.executable, "-c", "", name]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert store.runs()[-1].params["command"][-1] == "\\xff.txt"


def test_steps_are_whole_numbers_and_others_are_left_out(store: Store):
    numpy = pytest.importorskip("numpy")
    with store.run("train") as run:
        for step in (numpy.int64(3), 4.0, numpy.float32(5.0)):
            run.log(loss=numpy.float32(0.5), step=step)  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="the step 1.5 is not recorded: expected a whole number"):
            run.log(loss=0.5, step=1.5)  # type: ignore[arg-type]
        for step in (True, "1", float("nan"), 2**70):
            run.log(loss=0.5, step=step)  # type: ignore[arg-type]
    assert [event.fields.get("step") for event in store.log(fact="measured")] == [3, 4, 5, *[None] * 5]


@pytest.mark.slow
def test_a_tree_that_goes_on_says_so(store: Store):
    store.put({"i": -1}, "step/0")
    for i in range(40):
        with store.run("job", code=False) as run:
            run.put({"i": i, "was": run.get(f"step/{i}")["i"]}, f"step/{i + 1}")
    view = store.lineage("step/40").upstream(kind="data")
    lines = str(view).splitlines()
    assert lines[-2].endswith("└─ step/10:v1 [data] … 20 below")
    assert lines[-1] == "… and 20 more, further away: `.artifacts` and `.runs` have all"
    assert len(view.artifacts) == 40
    near = store.lineage("step/5").upstream(kind="data")
    assert "…" not in str(near)
    assert repr(near) == str(near), "so that an interactive Python shows it, too"


def test_commands_tell_what_is_wrong_and_keep_secrets(store: Store):
    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        done = command(*arguments, env={**os.environ, "ARTIFACTSTORE_URL": store.url})
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    call("run", "--", sys.executable, "-c", "pass", "--token", "s3cr3t", "postgresql://u:s3cr3t@host/db")
    assert store.runs()[-1].params["command"][-3:] == ["--token", "[redacted]", "postgresql://[redacted]@host/db"]
    assert not any(b"s3cr3t" in path.read_bytes() for path in Path(store.url).rglob("*") if path.is_file())
    assert "no such option: --params" in call("run", "--params", "x=1", "--", "true", code=2)[1].lower()
    assert "no such option: --inn" in call("run", "--inn=raw", "true", code=2)[1].lower()
    store.put(b"raw", "raw")
    with store.run("train") as train:
        train.put(store.get("raw") + b"!", "model")
    assert "no run's id and no commit" in call("lineage", "nothing", code=3)[1]
    assert "no run's id and no commit" in call("why", train.id, "nothing", code=3)[1]
    assert call("find", "--run", train.id[:12])[0].split()[0] == "model:v1"
    assert "tainted" not in call("show", "raw")[0]
    call("taint", "raw", "wrong")
    assert "tainted" in call("show", "raw:v1")[0]
    assert '"tainted": true' in call("show", "raw:v1", "--json")[0]


def test_a_login_in_an_error_is_not_kept(store: Store):
    with pytest.raises(OSError, match="s3cr3t"), store.run("load"):
        raise OSError("no answer from postgresql://user:s3cr3t@host/db")
    assert store.runs()[-1].error == "OSError: no answer from postgresql://[redacted]@host/db"


def test_a_current_folder_that_is_gone_hinders_nothing_but_paths_relative_to_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = store.url
    (tmp_path / "gone").mkdir()
    (tmp_path / "data").write_text("x")
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    store = artifactstore.open(url, cache=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of code that is not found
        with store.run("train") as run:
            run.put(tmp_path / "data", "data")
            assert run.get("data", to=tmp_path / "there").is_dir()
    assert store.runs()[-1].status == "finished"
    for call in (
        lambda: artifactstore.open("store"), lambda: artifactstore.open("zip://store.zip"), lambda: artifactstore.create("store"),
        lambda: store.put("data"), lambda: store.get("data", to="there"), lambda: store.put(Path("data")), artifactstore.open,
    ):  # fmt: skip
        monkeypatch.delenv("ARTIFACTSTORE_URL", raising=False)
        with pytest.raises(InvalidInputError, match=r"current folder (is gone|no longer exists)"):
            call()
    monkeypatch.setenv("ARTIFACTSTORE_URL", "store")
    with pytest.raises(InvalidInputError, match="current folder no longer exists"):
        artifactstore.open()
