"""Making it again: three chained runs in three processes, in a fork of the store that leaves the store as it is."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import AlreadyExistsError, InvalidInputError, NotFoundError, Store, UnsupportedError
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.overlay import OverlayBackend
from artifactstore.cli import main
from artifactstore.errors import BackendError, RefusedError
from artifactstore.work.reproduce import environment_build
from artifactstore.work.reproduce.environment_build import build, present
from tests.warm import command

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

PREPARE = """
import artifactstore
from helper import scaled
store = artifactstore.open({url})
with store.run("prepare", params={{"scale": 3}}):
    raw = store.get("raw:golden")
    store.put(scaled(raw, 3), "features")
"""
TRAIN = """
import sys, os, artifactstore
store = artifactstore.open({url})
with store.run("train", params={{"seed": 1}}) as run:
    features = store.get("features")
    store.put({{"weights": [sum(features), int(sys.argv[1])]}}, "model", kind="model", metrics={{"auc": 0.5}})
    run.put({{"noise": {noise}}}, "report", metrics={{"loss": 0.25}})
"""
EVALUATE = """
import artifactstore
store = artifactstore.open({url})
with store.run("evaluate") as run:
    model = store.get("model")
    run.measure("model", {{"f1": model["weights"][0] / 100}}, on="raw:golden")
    store.put({{"f1": model["weights"][0] / 100}}, "evaluation")
"""


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=folder, check=True, capture_output=True)


def call(*words: str, folder: Path) -> None:
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)


class Project:
    """A repository with a dirty tree, and a store that its three programs worked with."""

    def __init__(self, tmp_path: Path, noise: str = "0", url: str | None = None) -> None:
        self.store = artifactstore.create(tmp_path / "store", cache=None)
        self.top = tmp_path / "project"
        (self.top / "steps").mkdir(parents=True)
        given = repr(self.store.url if url is None else url)
        for name, text in {"prepare": PREPARE, "train": TRAIN, "evaluate": EVALUATE}.items():
            (self.top / f"steps/{name}.py").write_text(text.format(url=given, noise=noise))
        (self.top / "steps/helper.py").write_text("def scaled(rows, by):\n    return [0 for one in rows]\n")
        git(self.top, "init", "-q")
        git(self.top, "add", "-A")
        git(self.top, "commit", "-q", "-m", "first")
        (self.top / "steps/helper.py").write_text("def scaled(rows, by):\n    return [by * one for one in rows]\n")  # dirty
        self.store.put([1, 2, 3], "raw")
        self.store.alias("raw", "golden")

    def work(self) -> None:
        call("steps/prepare.py", folder=self.top)
        call(str(self.top / "steps/train.py"), "7", folder=self.top)
        call("evaluate.py", folder=self.top / "steps")


@pytest.mark.slow
def test_each_of_three_chained_runs_is_made_again_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = Project(tmp_path)
    store = project.store
    project.work()
    # Everything moves on, and the project is gone.
    store.put([9, 9], "raw")
    store.alias("raw:v2", "golden")
    store.put([0], "features")
    store.put({"weights": [0, 0]}, "model")
    shutil.rmtree(project.top)
    monkeypatch.chdir(tmp_path)
    before = store._session.core().journal.catch_up()
    files = {path: path.stat().st_mtime_ns for path in Path(store.url).rglob("*")}
    for ref in ("features:v1", "model:v1", "evaluation"):
        found = store.lineage(ref).reproduce(tmp_path / ref.replace(":", "-"), env=False)
        assert found.verdict == "bit-equal", str(found)
        assert found.ok
        assert found.diverged is None
        assert found.outputs
        assert found.outputs[0].made == found.outputs[0].recorded
        assert (found.folder / "code/steps/helper.py").read_text().endswith("by * one for one in rows]\n")
    assert store._session.core().journal.catch_up() == before
    assert {path: path.stat().st_mtime_ns for path in Path(store.url).rglob("*")} == files


@pytest.mark.slow
def test_a_run_by_its_id_and_what_differs_is_named(tmp_path: Path):
    project = Project(tmp_path, noise="os.getpid()")
    project.work()
    run = project.store.artifact("report").run
    assert run is not None
    found = project.store.lineage(run).reproduce(tmp_path / "again", env=False)
    assert [(one.label, one.verdict) for one in found.outputs] == [("model", "bit-equal"), ("report", "within tolerance")]
    assert (found.verdict, found.ok) == ("within tolerance", True)
    assert found.diverged is not None
    assert found.diverged.label == "report"
    assert found.diverged.metrics == {"loss": (0.25, 0.25)}
    assert "first difference: report" in str(found)


@pytest.mark.slow
def test_other_metrics_differ_and_a_program_that_fails_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = Project(tmp_path)
    project.work()
    (project.top / "noisy.py").write_text(
        TRAIN.format(url=repr(project.store.url), noise="os.getpid()")
        .replace('"auc": 0.5', '"auc": os.getpid()')
        .replace("sum(features)", "os.getpid()")
    )
    call("noisy.py", "1", folder=project.top)
    found = project.store.lineage("model").reproduce(tmp_path / "one", env=False)
    assert (found.verdict, found.diverged and found.diverged.label) == ("different", "model")
    for line, code in zip([line for line in str(found).splitlines() if "artifactstore " in line], (0, 1), strict=True):
        *fork, words = line.split("artifactstore ")
        more = dict(one.split("=", 1) for one in "".join(fork).split())
        done = command(*shlex.split(words), env={**os.environ, **more, "ARTIFACTSTORE_URL": project.store.url})
        assert done.returncode == code, done.stdout + done.stderr
    (project.top / "broken.py").write_text(
        f"import os, artifactstore\nstore = artifactstore.open({project.store.url!r})\n"
        "with store.run('broken'):\n    store.put(b'1', 'odd')\n    assert 'AGAIN' not in os.environ, 'too late'\n"
    )
    call("broken.py", folder=project.top)
    monkeypatch.setenv("AGAIN", "1")
    found = project.store.lineage("odd").reproduce(tmp_path / "two", env=False)
    assert (found.verdict, found.ok, found.returned) == ("failed", False, 1)
    assert "too late" in str(found)


@pytest.mark.slow
def test_a_program_that_names_its_store_by_a_relative_path_or_not_at_all_meets_the_fork(tmp_path: Path):
    for number, url in enumerate(("../store", None)):
        place = tmp_path / str(number)
        place.mkdir()
        project = Project(place, url=url or "")
        if url is None:
            for path in (project.top / "steps").glob("*.py"):
                path.write_text(path.read_text().replace("artifactstore.open('')", "artifactstore.open()"))
            (project.top / "pyproject.toml").write_text('[tool.artifactstore]\nurl = "../store"\n')
        call("steps/prepare.py", folder=project.top)
        found = project.store.lineage("features").reproduce(place / "again", env=False)
        assert found.verdict == "bit-equal", str(found)


@pytest.mark.slow
def test_versions_that_came_while_it_ran_are_not_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = Project(tmp_path)
    script = project.top / "slow.py"
    script.write_text(
        f"import artifactstore\nstore = artifactstore.open({project.store.url!r})\n"
        "with store.run('slow'):\n    b = store.get('late')\n    a = store.get('raw')\n    store.put([a, b], 'both')\n"
    )
    run = project.store.run("slow", code=True)
    monkeypatch.chdir(project.top)
    run.start()
    contents = project.store.get("raw")
    outside = artifactstore.open(project.store.url, cache=None)
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import artifactstore; s = artifactstore.open({outside.url!r}); s.put([8], 'raw'); s.put([5], 'late')",
        ],
        check=True,
        env={key: value for key, value in os.environ.items() if key != "ARTIFACTSTORE_RUN"},
    )
    project.store.put([contents, project.store.get("late")], "both")
    run.finish()
    command = [sys.executable, "slow.py"]
    found = project.store.lineage("both").reproduce(tmp_path / "again", env=False, command=command)
    assert found.verdict == "bit-equal", str(found)


def test_what_can_not_be_made_again_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = Project(tmp_path)
    store = project.store
    monkeypatch.chdir(project.top)
    with pytest.raises(NotFoundError, match="no run produced"):
        store.lineage("raw").reproduce(tmp_path / "x")
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--token", "abc"])
    with store.run("secret"):
        store.put(b"secret", "secret")
    with pytest.raises(InvalidInputError, match="had a secret"):
        store.lineage("secret").reproduce(tmp_path / "y", env=False)
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("")
    with pytest.raises(AlreadyExistsError, match="not empty"):
        store.lineage("secret").reproduce(full)
    with pytest.raises(AlreadyExistsError, match="is a file"):
        store.lineage("secret").reproduce(full / "x")
    with pytest.raises(InvalidInputError, match="cannot make"):
        store.lineage("secret").reproduce(full / "x/y", env=False)
    memory = artifactstore.open("memory://again", cache=None)
    with memory.run("r"):
        memory.put(b"1", "a")
    with pytest.raises(UnsupportedError, match="memory"):
        memory.lineage("a").reproduce(tmp_path / "z")


@pytest.mark.slow
def test_a_program_in_a_fork_changes_no_other_store(tmp_path: Path):
    project = Project(tmp_path)
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.put(b"1", "a")
    (project.top / "two.py").write_text(
        f"import os, artifactstore\nstore = artifactstore.open({project.store.url!r})\nother = artifactstore.open({other.url!r})\n"
        "with store.run('two'):\n    store.put(other.get('a'), 'copy')\n    other.put(str(os.getpid()).encode(), 'b')\n"
    )
    call("two.py", folder=project.top)
    assert len(other.names()) == 2
    head = other._session.core().journal.catch_up()
    found = project.store.lineage("copy").reproduce(tmp_path / "again", env=False)
    assert found.verdict == "failed"
    assert "changes nothing but its fork" in found.log.read_text()
    assert other._session.core().journal.catch_up() == head


def test_a_fork_ends_at_its_head_and_never_touches_its_origin():
    origin, own = MemoryBackend("memory://fork-origin"), MemoryBackend("memory://fork-own")
    for n in (1, 2, 3):
        origin.create(f"journal/000000000/{n:012d}.json", b"%d" % n)
    for key in (
        "store.json",
        f"segments/1-{1:012d}-{2:012d}-{'a' * 64}.parquet",
        f"segments/1-{1:012d}-{3:012d}-{'b' * 64}.parquet",
        "packs/aa/x.pack",
        "journal/inbox/1.json",
        "replica/000000000001-end.json",
    ):
        origin.write(key, b"x")
    fork = OverlayBackend(own, origin, 2)
    seen = {item.key for item in fork.list("")}
    assert seen == {
        "store.json",
        "packs/aa/x.pack",
        "journal/000000000/000000000001.json",
        "journal/000000000/000000000002.json",
        f"segments/1-{1:012d}-{2:012d}-{'a' * 64}.parquet",
    }
    for gone in ("journal/000000000/000000000003.json", "journal/inbox/1.json"):
        for verb in (fork.read, fork.size, lambda key: fork.read_ranges(key, [(0, 1)])):
            with pytest.raises(NotFoundError):
                verb(gone)
    fork.create("journal/000000000/000000000003.json", b"mine")
    assert fork.read("journal/000000000/000000000003.json") == b"mine"
    with pytest.raises(AlreadyExistsError):
        fork.create("journal/000000000/000000000002.json", b"mine")
    with pytest.raises(RefusedError, match=r"cannot delete .*: it belongs to"):
        fork.delete("packs/aa/x.pack")
    assert origin.read("journal/000000000/000000000003.json") == b"3"
    assert len([*origin.list("")]) == 9


@pytest.mark.slow
def test_an_environment_is_built_with_the_recorded_packages_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It takes long: Python gives a new environment a pip of its own, which installs."""
    recorded = {
        "python": {"version": sys.version.split()[0]},
        "packages": [
            {"name": "iniconfig", "version": "2.0.0"},
            {"name": "mine", "version": "1", "direct": {"local": True}},
            {"name": "pip", "version": "1"},
        ],
    }
    code = tmp_path / "code"
    (code / "src").mkdir(parents=True)
    (code / "src/mine.py").write_text("x = 5\n")
    try:
        built = build(recorded, tmp_path / "env", code)
    except BackendError as error:
        pytest.skip(f"packages can't be had here: {error}")
    shown = subprocess.run(
        [
            built.python,
            "-c",
            "import mine, importlib.metadata as m; print(mine.x, m.version('iniconfig'), m.version('artifactstore-ml'))",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert shown[:2] == ["5", "2.0.0"]
    assert shown[2] == artifactstore.__version__
    assert [note.split()[0] for note in built.notes] == ["mine"]
    assert build(recorded, tmp_path / "env", code) == built
    run_really = subprocess.run

    def with_a_copy(command: list[str], **options: Any) -> Any:
        if command[1:3] != ["-m", "venv"]:
            return run_really(command, **options)
        shutil.copytree(tmp_path / "env", command[-1], symlinks=True)  # an environment like the first is soon there
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", with_a_copy)
    with pytest.raises(BackendError, match="env=False"):
        build({"packages": [{"name": "iniconfig", "version": "0.0.999"}]}, tmp_path / "env2", None)
    notes = present({"python": {"version": "2.7"}, "packages": [{"name": "iniconfig", "version": "0"}]}).notes
    assert any("Python 2.7 was recorded" in note for note in notes)
    assert any("iniconfig 0 was recorded" in note for note in notes)


@pytest.mark.parametrize("name", ["artifactstore-ml", "artifactstore", "Artifactstore"])
def test_this_library_is_neither_fetched_nor_missed_by_any_of_its_names(name):
    recorded = {"packages": [{"name": name, "version": artifactstore.__version__}, {"name": "iniconfig", "version": "0"}]}
    assert list(environment_build._requirements(recorded, [])) == ["iniconfig==0"]
    assert [note for note in present(recorded).notes if name in note] == []


@pytest.mark.slow
def test_a_program_without_code_of_its_own_runs_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put(b"content", "a")
    words = ["run", "--in", "a=there", "--out", "b=copy", "--store", store.url, "--", "cp", "there/data", "copy"]
    call("-m", "artifactstore", *words, folder=tmp_path)
    found = store.lineage("b").reproduce(tmp_path / "again", env=False)
    assert found.verdict == "bit-equal", str(found)
    assert "no code was recorded" in str(found)


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project = Project(tmp_path)
    project.work()
    code = main(["reproduce", "model", str(tmp_path / "again"), "--no-env", "--store", project.store.url])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "bit-equal" in out
    assert main(["reproduce", "evaluation", str(tmp_path / "json"), "--no-env", "--json", "--store", project.store.url]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"][0]["verdict"] == "bit-equal"
    assert main(["reproduce", "model", str(tmp_path / "again"), "--no-env", "--store", project.store.url]) == 7
    store: Store = project.store
    assert len(store.runs()) == 3


@pytest.mark.slow
def test_a_store_far_away_is_forked_on_this_machine(s3_url: str, tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    store = artifactstore.create(s3_url, cache=None)
    store.put([1, 2, 3], "raw")
    (project / "work.py").write_text(
        f"import artifactstore\nstore = artifactstore.open({s3_url!r})\n"
        "with store.run('work'):\n    store.put([2 * one for one in store.get('raw')], 'doubled')\n"
    )
    call("work.py", folder=project)
    store.put([4], "raw")
    head = store._session.core().journal.catch_up()
    found = store.lineage("doubled").reproduce(tmp_path / "again", env=False)
    assert found.verdict == "bit-equal", str(found)
    assert store._session.core().journal.catch_up() == head
    made = [path for path in (tmp_path / "again/store").rglob("*") if path.is_file()]
    assert made, "what was put lies here"
    assert not any(path.parent.name == "packs" for path in made)
