"""Code in odd places and states: what git can't or won't show, what can't be stored, and programs that run elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from artifactstore import Store
from artifactstore.work.runs.capture.git_cli import Git
from artifactstore.work.runs.capture.git_tree_id import tree_id
from tests.work.repositories import git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

SCRIPT = """
import sys
sys.path.insert(0, "")
import helper
import artifactstore
store = artifactstore.open(sys.argv[1], cache=None)
with store.run("script") as run:
    run.put(helper.VALUE, "out")
"""


def stored(store: Store, run: str) -> tuple[Any, set[str]]:
    """The code of a run, and the paths that are stored of it."""
    code = store.lineage(run).code
    assert code is not None
    return code, {one.path for one in store.artifact(code.digest).files}


def test_names_and_links_that_cannot_be_stored_are_told_and_are_not_in_the_tree(store: Store, repository: Path, tmp_path: Path):
    odd = os.fsdecode(b"bad\xff.py")
    for name in (odd, "carriage\rreturn", "new.py"):
        (repository / name).write_text("x")
    (repository / "password").symlink_to("/etc/passwd")
    (repository / "tracked").symlink_to("../..")
    git(repository, "add", "tracked")
    with pytest.warns(UserWarning, match="not stored with the code"), store.run("train") as run:
        pass
    code, paths = stored(store, run.id)
    assert "new.py" in paths
    assert {path: why.split(":")[0] for path, why in code.about["skipped"]} == {
        "bad\\xff.py": "cannot be stored under its name",
        "carriage\rreturn": "cannot be stored under its name",
        "password": "looks like a secret",
        "tracked": "points outside the repository",
    }
    back = code.checkout(tmp_path / "back")
    assert tree_id(back) == code.tree, "git's id is of what is stored"
    assert "altered" not in code.about


def test_a_file_whose_filter_fails_is_stored_as_it_is_and_keeps_no_other_one_out(store: Store, repository: Path, tmp_path: Path):
    git(repository, "config", "filter.broken.clean", "false")
    git(repository, "config", "filter.broken.required", "true")
    (repository / ".gitattributes").write_text("*.bin filter=broken\n")
    (repository / "a.bin").write_text("a")
    (repository / "b.py").write_text("b")
    (repository / "b.py").chmod(0o755)
    with store.run("train") as run:
        pass
    code, paths = stored(store, run.id)
    assert {"a.bin", "b.py", ".gitattributes"} <= paths
    assert tree_id(code.checkout(tmp_path / "back")) == code.tree


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_changes_that_git_was_told_to_overlook_are_seen(store: Store, repository: Path, tmp_path: Path, flag: str):
    git(repository, "update-index", flag, "train.py")
    for number in (2, 3):
        (repository / "train.py").write_text(f"x = {number}\n")
        os.utime(repository / "train.py", (number, number))
        with store.run("train") as run:
            pass
        code, _ = stored(store, run.id)
        assert code.dirty
        assert (code.checkout(tmp_path / str(number)) / "train.py").read_text() == f"x = {number}\n"
    assert "train.py" not in git(repository, "status", "--porcelain"), "the user's own index still overlooks it"


def test_a_repository_that_git_cannot_read_is_told_and_is_not_called_clean(store: Store, repository: Path):
    (repository / ".git/index").write_bytes(b"garbage")
    with pytest.warns(UserWarning, match="not recorded as git has it: git cannot read"), store.run("train") as run:
        pass
    assert store.lineage(run.id).code is None or store.lineage(run.id).code.about["kind"] == "modules"  # type: ignore[union-attr]


def program(store: Store, script: Path, folder: Path, **more: str) -> tuple[Any, set[str], str]:
    """Run a program in some folder; returns its code, the paths that are stored of it, and what it said."""
    done = subprocess.run(
        [sys.executable, os.path.relpath(script, folder), store.url],
        cwd=folder, check=True, capture_output=True, text=True, timeout=60, env={**os.environ, **more},
    )  # fmt: skip
    return *stored(store, store.runs()[-1].id), done.stderr


@pytest.mark.slow
def test_a_program_that_runs_in_another_folder_brings_its_own_code(store: Store, repository: Path, tmp_path: Path):
    (repository / "helper.py").write_text("VALUE = b'1'\n")
    (repository / "src/main.py").write_text(SCRIPT.replace('""', 'sys.path[0] + "/.."'))
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    git(other, "init", "-q")
    (other / "unrelated.py").write_text("")
    for folder in (data, other):
        code, paths, _ = program(store, repository / "src/main.py", folder, GIT_CEILING_DIRECTORIES=str(tmp_path))
        assert code.commit == git(repository, "rev-parse", "HEAD")
        assert code.about["script"] == "src/main.py"
        assert {"helper.py", "src/main.py"} <= paths
        assert "unrelated.py" not in paths
    assert store.lineage("out").reproduce(tmp_path / "again", env=False).verdict == "bit-equal"


@pytest.mark.slow
def test_without_a_repository_a_program_in_another_folder_is_the_code(store: Store, tmp_path: Path):
    plain, data, other = (tmp_path / name for name in ("plain", "data", "other"))
    for folder in (plain, data, other):
        folder.mkdir()
    (plain / "helper.py").write_text("VALUE = b'1'\n")
    (plain / "main.py").write_text(SCRIPT)
    code, paths, _ = program(store, plain / "main.py", data, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert paths == {"helper.py", "main.py"}
    assert (code.about["kind"], code.about["script"]) == ("modules", "main.py")
    assert store.lineage("out").reproduce(tmp_path / "again", env=False).verdict == "bit-equal"
    git(other, "init", "-q")
    code, paths, _ = program(store, plain / "main.py", other, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert (code.about["kind"], paths, code.about["program"]) == ("git", set(), "main.py")
    assert code.about["modules"] == ["helper.py", "main.py"], "what lies outside of the repository is kept beside it"


@pytest.mark.slow
def test_without_a_repository_a_command_brings_its_script(store: Store, tmp_path: Path):
    plain = tmp_path / "plain"
    (plain / "scripts").mkdir(parents=True)
    (plain / "scripts/train.py").write_text("import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read() * 2)\n")
    (plain / "data.csv").write_text("1,2\n")
    store.put(plain / "data.csv", "raw")
    command = [
        sys.executable,
        "-m",
        "artifactstore",
        "run",
        "--store",
        store.url,
        "--in",
        "raw=in",
        "--out",
        "model=out.bin",
        "--",
    ]
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    called = [*command, sys.executable, "scripts/train.py", "in/data.csv", "out.bin"]
    subprocess.run(called, cwd=plain, check=True, env=env, timeout=60)
    _, paths = stored(store, store.runs()[-1].id)
    assert paths == {"scripts/train.py"}
    assert store.lineage("model").reproduce(tmp_path / "again", env=False).verdict == "bit-equal"


def test_a_merge_that_stopped_is_stored_as_it_lies_there(store: Store, repository: Path):
    git(repository, "checkout", "-q", "-b", "other")
    (repository / "train.py").write_text("theirs\n")
    git(repository, "commit", "-qam", "theirs")
    git(repository, "checkout", "-q", "main")
    (repository / "train.py").write_text("ours\n")
    git(repository, "commit", "-qam", "ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "-q", "other")
    with store.run("torn") as run:
        pass
    code, paths = stored(store, run.id)
    assert code.dirty
    assert "train.py" in paths
    back = code.checkout(repository.parent / "back")
    assert "<<<<<<<" in (back / "train.py").read_text()
    assert tree_id(back) == code.tree


@pytest.mark.parametrize(("changed", "most"), [((), 9), (("train.py", "new.py"), 12)])
def test_a_run_calls_git_a_few_times_whatever_there_is(
    store: Store,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: tuple[str, ...],
    most: int,
):
    for path in changed:
        (repository / path).write_text("changed\n")
    calls = []
    real = Git.run

    def counted(self: Git, *arguments: str, **options: Any) -> bytes | None:
        calls.append(arguments)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", counted)
    with store.run("first"):
        pass
    assert 0 < len(calls) <= most, calls


def test_what_git_lfs_left_in_place_of_a_file_is_counted(store: Store, repository: Path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
    (repository / "weights.bin").write_text(pointer.format("a" * 64, 5))
    (repository / "more.bin").write_text(pointer.format("b" * 64, 10**15))
    (repository / "about.md").write_text(pointer.format("c" * 64, 5) + "This is how a pointer looks. " * 40)
    git(repository, "add", "weights.bin")
    with store.run("lfs") as run:
        pass
    code, paths = stored(store, run.id)
    assert code.about["lfs_pointers"] == 2
    assert {"weights.bin", "more.bin", "about.md"} <= paths


def test_what_python_and_its_tools_make_is_no_code_where_git_was_not_told_to_overlook_it(store: Store, repository: Path):
    def code_of_run() -> Any:
        with store.run("train") as run:
            run.put(repr(store.head).encode(), "model")
        code = store.lineage("model").code
        assert code is not None
        return code

    clean = code_of_run()
    assert not clean.dirty
    derived = [
        "__pycache__/train.cpython-311.pyc", "src/__pycache__/a.pyc", "src/.ipynb_checkpoints/nb-checkpoint.ipynb", ".pytest_cache/v/x",
        ".mypy_cache/3.11/a.json", ".ruff_cache/0/a", "env/pyvenv.cfg", "env/lib/python3.11/site-packages/six.py", "a/b/.venv/pyvenv.cfg", "a/b/.venv/bin/x",
    ]  # fmt: skip
    for name in derived:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(name)
    again = code_of_run()
    assert (again.digest, again.tree, again.dirty) == (clean.digest, clean.tree, False)
    for name in ("environment/six.py", "pycache/x.py", "src/only.pyc"):  # a module may come without its source
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(name)
    last = code_of_run()
    assert last.dirty
    assert {one.path for one in store.artifact(last.digest).files} - {one.path for one in store.artifact(clean.digest).files} == {
        "environment/six.py", "pycache/x.py", "src/only.pyc",
    }  # fmt: skip
