"""The code of a run is that which ran: as it was when the run began, wherever the program is and however it was started."""

import importlib
import os
import shutil
import subprocess
import sys
import time
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.content.write.own_folders import is_store, own_folder_of
from artifactstore.work.reproduce.code import Code
from artifactstore.work.runs.capture import git as capture_git
from artifactstore.work.runs.capture.git import read_tree
from artifactstore.work.runs.capture.git_cli import Git
from artifactstore.work.runs.capture.git_tree_id import tree_id
from artifactstore.work.runs.capture.program import running
from tests.work.repositories import git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def code_of(store: Store, run: str) -> Code:
    code = store.lineage(run).code
    assert code is not None
    return code


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder, without what git ignores here and git itself."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and ".git" not in name.split("/") and not name.endswith((".log", ".pyc")):
            found[name] = path.read_bytes()
    return found


# -- as it was when the run began


def prepare(repository: Path, state: str) -> str:
    """Bring a file into a state; returns its path."""
    if state == "clean":
        return "train.py"
    if state == "changed":
        (repository / "train.py").write_text("x = 2\n")
        return "train.py"
    if state == "staged":
        (repository / "staged.py").write_text("s = 1\n")
        git(repository, "add", "staged.py")
        return "staged.py"
    if state == "overlooked":
        git(repository, "update-index", "--assume-unchanged", "train.py")
        (repository / "train.py").write_text("x = 5\n")
        return "train.py"
    if state == "with filters":
        (repository / ".gitattributes").write_text("*.txt text eol=crlf\n")
        (repository / "lines.txt").write_bytes(b"a\r\nb\r\n")
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "lines")
        return "lines.txt"
    (repository / "new.py").write_text("n = 1\n")
    return "new.py"


EDITS: dict[str, Callable[[Path], Any]] = {
    "edited": lambda path: path.write_text("edited while the run went on\n"),
    "edited to the same length": lambda path: path.write_bytes(path.read_bytes().replace(b"=", b"+")[::-1]),
    "deleted": lambda path: path.unlink(),
    "a link now": lambda path: path.rename(path.with_name("moved")).parent.joinpath(path.name).symlink_to("moved"),
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("state", ["clean", "changed", "staged", "overlooked", "untracked", "with filters"])
def test_what_changes_while_a_run_goes_on_is_stored_as_it_was(
    store: Store, repository: Path, tmp_path: Path, state: str, edit: str
):
    path = repository / prepare(repository, state)
    before = contents(repository)
    with store.run("train") as run:
        EDITS[edit](path)
        run.put(b"model", "model")
    code = code_of(store, run.id)
    assert code.complete is True
    back = code.checkout(tmp_path / "back")
    assert contents(back) == before
    assert state == "with filters" or tree_id(back) == code.tree
    if edit == "deleted":
        return
    with store.run("again") as again:
        pass
    assert code_of(store, again.id).digest != code.digest, "the next run is of what is there then"


def test_another_branch_that_is_checked_out_meanwhile_changes_nothing(store: Store, repository: Path, tmp_path: Path):
    git(repository, "checkout", "-qb", "other")
    for n in range(30):
        (repository / f"m{n}.py").write_text(f"other {n}\n")
    (repository / "train.py").write_text("other\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "other")
    before = contents(repository)
    old = time.time() - 100
    for path in repository.rglob("*.py"):
        os.utime(path, (old, old))
    with store.run("train") as run:
        git(repository, "checkout", "-q", "main")
    code = code_of(store, run.id)
    assert code.about["branch"] == "other"
    assert contents(code.checkout(tmp_path / "back")) == before


def test_a_submodule_that_changes_meanwhile_is_stored_as_it_was(store: Store, repository: Path, tmp_path: Path):
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "m.py").write_text("m = 1\n")
    git(library, "add", "-A")
    git(library, "commit", "-qm", "first")
    git(repository, "submodule", "--quiet", "add", str(library), "lib/own")
    git(repository, "commit", "-qm", "with a module")
    (repository / "lib/own/new.py").write_text("n = 1\n")
    before = contents(repository)
    with store.run("train") as run:
        (repository / "lib/own/m.py").write_text("m = 2\n")
        (repository / "lib/own/new.py").unlink()
    assert contents(code_of(store, run.id).checkout(tmp_path / "back")) == before


def test_what_is_too_large_to_be_kept_and_changes_is_not_stored_and_that_is_said(store: Store, repository: Path, tmp_path: Path):
    (repository / "large.txt").write_bytes(bytes(2**20 + 1))  # more is not kept in memory
    (repository / "stays.txt").write_bytes(bytes(2**20 + 1))
    with store.run("train") as run:
        (repository / "large.txt").write_text("new")
        with pytest.warns(UserWarning, match=r"large\.txt \(has changed since"):
            run.put(b"model", "model")
    code = code_of(store, run.id)
    assert code.complete is False
    assert "large.txt" in str(code.because)
    assert "not complete: not stored: large.txt" in repr(code)
    back = contents(code.checkout(tmp_path / "back"))
    assert ("stays.txt" in back, "large.txt" in back) == (True, False)


# -- what takes long keeps nothing else out


@pytest.mark.filterwarnings("ignore:not stored with the code")
def test_untracked_files_that_take_too_long_keep_no_code_out(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (repository / "model.py").write_text("m = 1\n")
    for n in range(50):
        (repository / f"{n}.txt").write_text("data")
    monkeypatch.setattr(capture_git, "SECONDS", 0.0)
    monkeypatch.setattr(capture_git, "read_status", lambda git, _because: git.run(*STATUS))
    with pytest.warns(UserWarning, match="50 untracked files were not read: the 0 seconds"), store.run("train") as run:
        pass
    code = code_of(store, run.id)
    back = code.checkout(tmp_path / "back")
    assert {"model.py", "train.py"} <= contents(back).keys()
    assert tree_id(back) == code.tree
    assert code.complete is False
    assert "50 untracked files were not read" in str(code.because)


@pytest.mark.slow
def test_a_filter_that_takes_too_long_keeps_no_file_out(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git(repository, "config", "filter.slow.clean", "sleep 30")
    (repository / ".gitattributes").write_text("*.slow filter=slow\n")
    for name in ("data.slow", "model.py"):
        (repository / name).write_text("1\n")
    real = Git.run_for

    def soon(self: Git, *arguments: Any, **options: Any) -> bool:
        if "add" in arguments:
            self.until = time.monotonic() + 0.2
        return real(self, *arguments, **options)

    monkeypatch.setattr(Git, "run_for", soon)
    with store.run("train") as run:
        pass
    code = code_of(store, run.id)
    back = code.checkout(tmp_path / "back")
    assert contents(back) == contents(repository)
    assert (tree_id(back), code.complete) == (code.tree, True)


STATUS = ("status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--untracked-files=all")


def test_a_status_that_takes_too_long_leaves_out_untracked_files_alone(
    store: Store, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    (repository / "new.py").write_text("")
    (repository / "train.py").write_text("x = 3\n")
    real = Git.run

    def slow(self: Git, *arguments: str, **options: Any) -> bytes | None:
        if "--untracked-files=all" in arguments:
            self.error = "git status took more than 15 seconds"
            return None
        return real(self, *arguments, **options)

    monkeypatch.setattr(Git, "run", slow)
    with (
        pytest.warns(UserWarning, match="not complete: untracked files: to find them took more than 15 seconds"),
        store.run("r") as run,
    ):
        pass
    stored = {one.path for one in store.artifact(code_of(store, run.id).digest).files}
    assert ("train.py" in stored, "new.py" in stored) == (True, False)


# -- partial clones


def test_a_partial_clone_is_told_as_it_is_and_nothing_is_fetched(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git(repository, "config", "uploadpack.allowFilter", "true")
    (repository / "train.py").write_text("x = 9\n")
    git(repository, "commit", "-qam", "second")
    url = f"file://{repository}"
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", url, "clone")
    clone = tmp_path / "clone"
    git(clone, "sparse-checkout", "set", "--no-cone", "/*", "!/src/")
    git(clone, "checkout", "-q", "main")
    objects = git(clone, "count-objects", "-v")
    (clone / "train.py").write_text("x = 10\n")
    monkeypatch.chdir(clone)
    with pytest.warns(UserWarning, match="is gone"), store.run("train") as run:
        pass
    assert git(clone, "count-objects", "-v") == objects, "what the clone lacks was not brought"
    code = code_of(store, run.id)
    assert code.about["remotes"] == {"origin": url}
    assert {one.path for one in store.artifact(code.digest).files} >= {"train.py", "run.sh"}


# -- wherever it is, however it was started

BODY = """
import sys
sys.path[:0] = {path!r}
import helper, artifactstore
store = artifactstore.open({url!r}, cache=None)
with store.run("program"):
    store.put({{"value": helper.VALUE}}, "out")
"""


@pytest.fixture
def layout(store: Store, tmp_path: Path) -> Path:
    """A project in a repository, with a script, a package, an ignored script and an archive; a library beside it."""
    top = tmp_path / "above/project"
    (top / "package").mkdir(parents=True)
    (tmp_path / "library").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for folder in (top, tmp_path / "library"):
        (folder / "helper.py").write_text("VALUE = 3\n")
    inside, outside = (BODY.format(path=[str(one)], url=store.url) for one in (top, tmp_path / "library"))
    (top / "package/__init__.py").write_text("")
    (top / "package/__main__.py").write_text(inside)
    (top / "train.py").write_text(inside)
    (top / "outside.py").write_text(outside)
    (top / ".gitignore").write_text("scratch/\n*.pyz\n__pycache__/\n")
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "first")
    (top / "scratch").mkdir()
    (top / "scratch/ignored.py").write_text(inside)
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__main__.py").write_text(inside)
    zipapp.create_archive(tmp_path / "app", top / "app.pyz")
    (tmp_path / "free.py").write_text(inside)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/console").write_text(f"import sys; sys.path.insert(0, {str(top)!r})\nimport package.__main__\n")
    return tmp_path


P = "above/project"
WAYS: dict[str, tuple[str, list[str], set[str], set[str]]] = {
    # folder, arguments; what is in the tree, and what is beside it
    "a script": (P, ["train.py"], {"train.py", "helper.py"}, set()),
    "a script, from above": ("above", ["project/train.py"], {"train.py", "helper.py"}, set()),
    "a script, from elsewhere": ("elsewhere", ["../above/project/train.py"], {"train.py", "helper.py"}, set()),
    "a script, from the root": ("/", ["{top}/above/project/train.py"], {"train.py", "helper.py"}, set()),
    "a package": (P, ["-m", "package"], {"package/__main__.py", "helper.py"}, set()),
    "an ignored script": (P, ["scratch/ignored.py"], {"scratch/ignored.py", "helper.py"}, set()),
    "a module of elsewhere": (P, ["outside.py"], {"outside.py"}, {"helper.py"}),
    "an archive": (P, ["app.pyz"], {"app.pyz", "helper.py"}, set()),
    "text in the command": (P, ["-c", "import package.__main__"], {"package/__main__.py", "helper.py"}, set()),
    "text in the command, elsewhere": (
        "elsewhere",
        ["-c", "import sys; sys.path.append('../above/project'); import package.__main__"],
        {"package/__main__.py", "helper.py"},
        set(),
    ),
    "a script in no repository": (P, ["../../free.py"], {"train.py", "helper.py"}, {"free.py"}),
    "a script without suffix": ("elsewhere", ["../bin/console"], {"package/__main__.py", "helper.py"}, {"console"}),
    "standard input": (P, ["-"], {"helper.py"}, set()),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_program_is_found_wherever_it_is_and_however_it_was_started(store: Store, layout: Path, tmp_path: Path, way: str):
    folder, arguments, inside, outside = WAYS[way]
    done = subprocess.run(
        [sys.executable, *(word.format(top=tmp_path) for word in arguments)],
        cwd=tmp_path / folder, capture_output=True, text=True, timeout=60, check=True,
        input=(tmp_path / "above/project/train.py").read_text() if arguments == ["-"] else "",
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)},
    )  # fmt: skip
    code = code_of(store, store.runs()[-1].id)
    assert code.commit == git(tmp_path / P, "rev-parse", "HEAD")
    assert inside <= {one.path for one in store.artifact(code.digest).files}
    assert ({one.path for one in store.artifact(code.modules).files} if code.modules else set()) == outside
    assert code.about.get("modules", []) == sorted(outside)
    assert tree_id(code.checkout(tmp_path / "back")) == code.tree
    assert code.dirty == ("ignored" in way or "archive" in way)
    if way == "standard input":
        assert code.because == ("the program was read from standard input",)
        assert "not complete: the program was read from standard input" in done.stderr
    else:
        assert (code.complete, code.because) == (True, ())
        assert "not complete" not in done.stderr
        if way in {"a module of elsewhere", "a script in no repository", "an ignored script"}:
            shutil.rmtree(tmp_path / "library")
            assert store.lineage("out").reproduce(tmp_path / "again", env=False).verdict == "bit-equal"


def test_what_was_imported_and_cannot_be_stored_is_named(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library = tmp_path / "library"
    library.mkdir()
    (library / "large_one.py").write_text("x = 1\n#" + "." * 2**23)
    (library / "fine_one.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(library))
    for name in ("large_one", "fine_one"):
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    with pytest.warns(UserWarning, match=r"not complete: .*large_one\.py has 8[,.0-9]* "), store.run("train") as run:
        pass
    code = code_of(store, run.id)
    assert (code.complete, code.modules is not None) == (False, True)
    assert store.find(name="nothing") == []  # the fold takes it


@pytest.mark.slow
def test_a_script_that_was_edited_before_the_run_began_is_told(store: Store, layout: Path, tmp_path: Path):
    script = layout / P / "train.py"
    script.write_text("import time, pathlib\ntime.sleep(0.3)\npathlib.Path(__file__).touch()\n" + script.read_text())
    subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60, check=True)
    code = code_of(store, store.runs()[-1].id)
    assert code.complete is False or not sys.platform.startswith("linux")
    assert "changed after the program had started" in str(code.because) or not sys.platform.startswith("linux")


def test_modules_that_load_themselves_when_looked_at_are_left_asleep(monkeypatch: pytest.MonkeyPatch):
    class Asleep:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"{name} was looked at")

    monkeypatch.setitem(sys.modules, "asleep", Asleep())
    monkeypatch.setitem(sys.modules, "nothing", None)
    running()


def test_a_tree_that_was_read_before_is_read_again_for_a_module_imported_since(repository: Path, monkeypatch: pytest.MonkeyPatch):
    old = time.time() - 100
    (repository / "noise.log").write_text("")
    for path in (*repository.rglob("*"), repository / ".git/config"):
        os.utime(path, (old, old), follow_symlinks=False)
    first = read_tree(repository, [], {})
    again = read_tree(repository, [], {})
    assert first is again
    (repository / "late.log").write_text("x = 1\n")
    from artifactstore.work.runs.capture.program import Part

    part = Part(str(repository / "late.log"), "late.log", b"x = 1\n")
    later = read_tree(repository, [], {part.path: part})
    assert later is not None
    assert later.forced == ["late.log"]
    assert later.about["dirty"]


# -- this library's own folders


def test_a_store_and_a_cache_inside_of_a_repository_are_no_code(repository: Path):
    store = artifactstore.create(repository / "data/store", cache=repository / ".cache")
    artifactstore.create(repository / "other", digest="sha256", cache=None)
    for hidden in repository.glob("*/**/.gitignore"):
        hidden.unlink()  # as in stores that were made before they had one
    (repository / "big.bin").write_bytes(os.urandom(100_000))
    (repository / "data/store.json").write_text('{"store": "a shop"}')
    digests, sizes = set(), []
    for n in range(3):
        store.put(repository / "big.bin", "big")
        store.get("big")
        with store.run("train") as run:
            run.put({"n": n}, "model")
        code = code_of(store, run.id)
        digests.add(code.digest)
        sizes.append(sum(one.stat().st_size for one in (repository / "data/store/packs").rglob("*.pack")))
    paths = {one.path for one in store.artifact(code.digest).files}
    assert len(digests) == 1
    assert not [path for path in paths if path.startswith(("data/store/", "other/", ".cache/"))]
    assert {"train.py", "big.bin", "data/store.json"} <= paths, "what only looks like one is code"
    assert sizes[0] == sizes[2], "neither the store nor code that is there is stored again"
    (repository / "big.bin").unlink()
    (repository / "data/store.json").unlink()
    with store.run("clean") as run:
        pass
    assert not code_of(store, run.id).dirty


def test_folders_of_this_librarys_own_are_told_by_what_is_in_them(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    (tmp_path / "plain").mkdir()
    for text in ("[]", "{}", "{", '{"store": 5}', '{"store": "' + "a" * 32 + '"}'):
        (tmp_path / "plain/store.json").write_text(text)
        assert not is_store(str(tmp_path / "plain"))
    assert is_store(store.url)
    assert own_folder_of(str(tmp_path), "store/store.json") == "store/"
    assert own_folder_of(str(tmp_path / "store"), "store.json") == ""
    assert own_folder_of(str(tmp_path), "plain/store.json") is None
    assert own_folder_of(str(tmp_path), f"a/trees/blake3-{'0' * 64}/data") == "a/"
    assert own_folder_of(str(tmp_path), "a/trees/elm/data") is None
