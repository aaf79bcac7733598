"""The code of a run, whatever the state of its working tree: stored, checked against git's own id, and given back."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import artifactstore
from artifactstore import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError, Store
from artifactstore.work.runs.capture.environment import ci_claims, environment
from artifactstore.work.runs.capture.git import read_tree
from artifactstore.work.runs.capture.git_tree_id import tree_id
from artifactstore.work.secrets import looks_secret
from tests.work.repositories import git

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.filterwarnings("ignore:not stored with the code"),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def make_dirty(top: Path) -> None:
    (top / "train.py").write_text("x = 2\n")  # as long as before, and perhaps within the same tick of the clock
    (top / "src/gone.py").unlink()
    (top / "new.py").write_text("new = True\n")
    (top / "staged.py").write_text("staged")
    git(top, "add", "staged.py")
    (top / "noise.log").write_text("ignored")


def files(folder: Path) -> dict[str, tuple[str, bool]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] == ".git" or (path.is_dir() and not path.is_symlink()):
            continue
        content = str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = (content, not path.is_symlink() and bool(path.stat().st_mode & 0o100))
    return found


def test_a_dirty_tree_comes_back_byte_for_byte(store: Store, repository: Path, tmp_path: Path):
    make_dirty(repository)
    before = (git(repository, "status", "--porcelain"), git(repository, "ls-files", "-s"), git(repository, "count-objects"))
    with store.run("train") as run:
        run.put(b"model", "model")
    assert before == (
        git(repository, "status", "--porcelain"),
        git(repository, "ls-files", "-s"),
        git(repository, "count-objects"),
    )
    code = store.lineage("model").code
    assert code is not None
    assert (code.commit, code.dirty, code.about["branch"]) == (git(repository, "rev-parse", "HEAD"), True, "main")
    wanted = files(repository)
    del wanted["noise.log"]
    shutil.rmtree(repository / ".git")  # the forge is gone, too
    made = code.checkout(tmp_path / "back")
    assert files(made) == wanted
    git(made, "init", "-q")
    git(made, "add", "-A")
    assert git(made, "write-tree") == code.tree == tree_id_without_git(made)


def tree_id_without_git(folder: Path) -> str:
    shutil.rmtree(folder / ".git")
    return tree_id(folder)


def test_a_clean_tree_is_that_of_its_commit(store: Store, repository: Path):
    with store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    assert (code.dirty, code.tree) == (False, git(repository, "rev-parse", "HEAD^{tree}"))
    assert code.about["head_tree"] == code.tree
    with store.run("again") as again:
        again.put(b"x", "made")
    assert [one.ref for one in store.find(code=git(repository, "rev-parse", "--short=8", "HEAD"))] == ["made:v1"]


def test_a_change_within_the_tick_in_which_it_was_added_is_seen(repository: Path):
    git(repository, "config", "core.trustctime", "false")
    tick = (10**18, 10**18)
    os.utime(repository / "train.py", ns=tick)
    git(repository, "add", "train.py")
    os.utime(repository / ".git/index", ns=tick)
    (repository / "train.py").write_text("x = 7\n")  # as long as before, and by its time as old
    os.utime(repository / "train.py", ns=tick)
    found = read_tree(repository)
    assert found is not None
    git(repository, "commit", "-q", "-a", "-m", "second")
    assert found.about["tree"] == git(repository, "rev-parse", "HEAD^{tree}")
    assert b"x = 7" in git(repository, "cat-file", "blob", f"{found.about['tree']}:train.py").encode()


def test_each_change_is_seen_also_when_the_first_was(store: Store, repository: Path):
    digests = []
    for number in range(6):
        with store.run("train") as run:
            pass
        code = store.lineage(run.id).code
        assert code is not None
        digests.append(code.digest)
        if number % 2:
            (repository / "train.py").write_text(f"x = {number + 4}\n")
    assert digests[0] == digests[1]
    assert digests[2] == digests[3]
    assert len(set(digests)) == 3


def test_secrets_and_what_is_too_large_are_never_stored(store: Store, repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("artifactstore.work.runs.capture.git.CAP", 1000)
    (repository / ".env").write_text("PASSWORD=1")
    (repository / "tracked.pem").write_text("KEY")
    git(repository, "add", "-f", "tracked.pem")
    (repository / "large.bin").write_bytes(bytes(1001))
    with pytest.warns(UserWarning, match="not stored with the code"), store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    stored = {one.path for one in store.artifact(code.digest).files}
    assert not stored & {".env", "tracked.pem", "large.bin"}
    assert {path for path, _ in code.about["skipped"]} == {".env", "tracked.pem", "large.bin"}


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        "a/.env.local",
        "key.pem",
        "id_rsa",
        ".ssh/config",
        "x/credentials.json",
        "p.P12",
        ".envrc",
        "prod.env",
        "kaggle.json",
        ".databrickscfg",
        "k.ppk",
        "client_secret_1.json",
    ],
)
def test_what_looks_like_a_secret(name: str):
    assert looks_secret(name)


@pytest.mark.parametrize("name", [".env.example", "environment.py", "keys.py", "id_rsa.pub", "secret_santa.py", "a.key.txt"])
def test_what_does_not(name: str):
    assert not looks_secret(name)


def test_credentials_of_remotes_stay_out(store: Store, repository: Path):
    git(repository, "remote", "add", "origin", "https://user:token@example.org/x.git")
    git(repository, "remote", "add", "ssh", "git@example.org:x.git")
    git(repository, "remote", "add", "query", "https://example.org/x.git?access_token=token#token")
    git(repository, "remote", "add", "at", "https://user:to@token@example.org/x.git")
    with store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    plain = "https://example.org/x.git"
    assert code.about["remotes"] == {"origin": plain, "ssh": "git@example.org:x.git", "query": plain, "at": plain}
    journal = b"".join(path.read_bytes() for path in Path(store.url).rglob("*.json"))
    assert b"token" not in journal


def test_repositories_in_odd_states(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    (empty / "only.py").write_text("1")
    monkeypatch.chdir(empty)
    with store.run("no commits") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    assert (code.commit, code.dirty) == (None, True)
    assert [one.path for one in store.artifact(code.digest).files] == ["only.py"]
    git(empty, "add", "-A")
    git(empty, "commit", "-q", "-m", "first")
    git(empty, "checkout", "-q", "--detach")
    with store.run("detached") as run:
        pass
    detached = store.lineage(run.id).code
    assert detached is not None
    assert "branch" not in detached.about
    git(empty, "worktree", "add", "-q", str(tmp_path / "tree"))
    monkeypatch.chdir(tmp_path / "tree")
    assert read_tree(Path.cwd()) is not None
    git(empty, "clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    monkeypatch.chdir(tmp_path / "bare")
    assert read_tree(Path.cwd()) is None
    with store.run("bare"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_repository_of_somebody_else_that_git_refuses_is_told(store: Store, repository: Path, monkeypatch: pytest.MonkeyPatch):
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    for name in ("SUDO_UID", "GIT_TEST_ASSUME_DIFFERENT_OWNER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("HOME", str(repository.parent))
    with pytest.warns(UserWarning, match=r"does not trust the owner of .*safe\.directory"), store.run("train") as run:
        store.put(b"x", "x")
    code = store.lineage(run.id).code
    assert code is None or code.about["kind"] == "modules"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A repository with a submodule of its own."""
    deep, other = tmp_path / "deep", tmp_path / "other"
    for folder in (deep, other):
        folder.mkdir()
        git(folder, "init", "-q")
        (folder / "m.py").write_text(folder.name)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "first")
    git(other, "submodule", "--quiet", "add", str(deep), "vendor/deep")
    git(other, "commit", "-q", "-m", "with a module")
    return other


@pytest.mark.slow
def test_submodules_come_along_with_their_changes_and_are_checked(store: Store, repository: Path, library: Path, tmp_path: Path):
    git(repository, "submodule", "--quiet", "add", str(library), "lib/own")
    git(repository, "submodule", "--quiet", "update", "--init", "--recursive")
    git(repository, "submodule", "--quiet", "add", str(library), "lib-2")
    git(repository, "commit", "-q", "-m", "with modules")
    (repository / "lib/own/m.py").write_text("changed")
    (repository / "lib/own/vendor/deep/new.py").write_text("new")
    with store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    head, inner = git(library, "rev-parse", "HEAD"), git(tmp_path / "deep", "rev-parse", "HEAD")
    commits = {"lib/own": head, "lib/own/vendor/deep": inner, "lib-2": head, "lib-2/vendor/deep": inner}
    assert code.about["submodules"] == commits
    assert {*code.about["submodule_trees"]} == {"lib/own", "lib/own/vendor/deep", "lib-2"}
    assert not code.about.get("altered")
    back = code.checkout(tmp_path / "back")
    assert (back / "lib/own/m.py").read_text() == "changed"
    assert (back / "lib/own/vendor/deep/new.py").read_text() == "new"
    assert (back / "lib-2/m.py").read_text() == "other"
    code.about["submodule_trees"]["lib-2"] = "0" * 40
    with pytest.raises(CorruptionError, match="lib-2"):
        code.checkout(tmp_path / "worse")
    # A second change of what has changed already is seen.
    (repository / "lib/own/m.py").write_text("CHANGED")
    with store.run("train") as run:
        pass
    again = store.lineage(run.id).code
    assert again is not None
    assert (again.checkout(tmp_path / "again") / "lib/own/m.py").read_text() == "CHANGED"


def test_a_submodule_that_is_not_there_is_named_alone(store: Store, repository: Path, library: Path, tmp_path: Path):
    git(repository, "submodule", "--quiet", "add", str(library), "lib/own")
    git(repository, "commit", "-q", "-m", "with a module")
    git(tmp_path, "clone", "-q", str(repository), "clone")
    os.chdir(tmp_path / "clone")
    with store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    assert [*code.about["submodules"]] == ["lib/own"]
    assert "submodule_trees" not in code.about
    assert code.tree == git(repository, "rev-parse", "HEAD^{tree}")
    code.checkout(tmp_path / "back")


def test_the_history_goes_along_if_asked_for_and_makes_a_repository_again(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (repository / "train.py").write_text("x = 3\n")
    git(repository, "commit", "-q", "-am", "second")
    git(repository, "tag", "v1")
    make_dirty(repository)
    status = git(repository, "status", "--porcelain")
    with store.run("train", code="history") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    shutil.rmtree(repository)  # the forge is gone
    monkeypatch.chdir(tmp_path)
    back = code.checkout(tmp_path / "back", history=True)
    assert git(back, "log", "--format=%s").splitlines() == ["second", "first"]
    assert git(back, "describe", "--tags") == "v1"
    assert git(back, "rev-parse", "--abbrev-ref", "HEAD") == code.about["branch"]
    changed = ({line.split()[-1] for line in text.splitlines()} for text in (git(back, "status", "--porcelain"), status))
    assert next(changed) == {path for path in next(changed) if not looks_secret(path)}
    with pytest.raises(AlreadyExistsError, match="folder of its own"):
        code.checkout(back, history=True)


def test_the_history_is_stored_once_and_its_absence_is_told(store: Store, repository: Path, tmp_path: Path):
    ids = []
    for _ in range(2):
        with store.run("train", code="history") as run:
            store.put(b"x", "x")
        ids.append(run.id)
    first, second = (store.lineage(one).code for one in ids)
    assert first is not None
    assert second is not None
    assert first.history == second.history
    git(repository, "checkout", "-q", "--detach")
    (repository / "more.py").write_text("more")
    with store.run("train", code="history") as run:
        pass
    detached = store.lineage(run.id).code
    assert detached is not None
    back = detached.checkout(tmp_path / "detached", history=True)
    assert git(back, "rev-parse", "HEAD") == detached.commit
    with store.run("train") as run:
        pass
    other = store.lineage(run.id).code
    assert other is not None
    assert other.history == detached.history, "another run of this very code has stored it"
    git(repository, "add", "more.py")
    git(repository, "commit", "-q", "-m", "more")
    with store.run("train") as run:
        pass
    bare = store.lineage(run.id).code
    assert bare is not None
    assert bare.history is None
    with pytest.raises(NotFoundError, match="code='history'"):
        bare.checkout(tmp_path / "bare", history=True)
    with pytest.raises(InvalidInputError, match="'history'"):
        store.run("train", code="all")


def test_code_is_found_by_its_commit(store: Store, repository: Path):
    with store.run("train") as run:
        store.put(b"x", "x")
    commit = git(repository, "rev-parse", "HEAD")
    code = store.lineage(run.id).code
    assert code is not None
    assert store.lineage(commit[:10]).id == code.digest
    assert "x:v1" in [node.label for node in store.lineage(commit).downstream()]
    make_dirty(repository)
    with store.run("train"):
        pass
    assert store.lineage(commit).id == code.digest, "the one without changes"


def test_lock_files_go_into_the_environment_as_they_stand(repository: Path):
    (repository / "uv.lock").write_text("version = 1\n")
    (repository / "src/poetry.lock").write_text("deeper")
    assert environment(repository)["locks"] == {"uv.lock": "version = 1\n"}
    assert environment(repository / "src")["locks"] == {"poetry.lock": "deeper"}
    assert environment(repository / "src/deep")["locks"] == {"poetry.lock": "deeper"}
    (repository / "uv.lock").unlink()
    assert "locks" not in environment(repository)


def test_filters_of_git_are_respected(store: Store, repository: Path, tmp_path: Path):
    (repository / ".gitattributes").write_text("*.txt text eol=crlf\n")
    (repository / "lines.txt").write_bytes(b"a\r\nb\r\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "lines")
    with store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    assert code.about["altered"]
    assert code.tree == git(repository, "rev-parse", "HEAD^{tree}")
    assert (code.checkout(tmp_path / "back") / "lines.txt").read_bytes() == b"a\r\nb\r\n"


def test_a_checkout_that_is_not_what_was_recorded_is_told(store: Store, repository: Path, tmp_path: Path):
    with store.run("train") as run:
        pass
    code = store.lineage(run.id).code
    assert code is not None
    (tmp_path / "full").mkdir()
    (tmp_path / "full/train.py").write_text("mine")
    with pytest.raises(AlreadyExistsError):
        code.checkout(tmp_path / "full")
    code.tree = "0" * 40
    with pytest.raises(CorruptionError, match="expected the recorded tree"):
        code.checkout(tmp_path / "other")


def test_code_may_stay_out_and_git_may_be_missing(store: Store, repository: Path, monkeypatch: pytest.MonkeyPatch):
    with store.run("without", code=False) as run:
        pass
    assert store.lineage(run.id).code is None
    monkeypatch.setattr(shutil, "which", lambda *_: None)
    with store.run("no git") as run:
        pass


SCRIPT = """
import sys
sys.path.insert(0, "")
import helper
import artifactstore
store = artifactstore.open(sys.argv[1], cache=None)
with store.run("script") as run:
    run.put(helper.VALUE, "out")
"""


@pytest.mark.slow
def test_without_git_the_modules_of_the_folder_are_the_code(store: Store, tmp_path: Path):
    work = tmp_path / "plain"
    (work / "package").mkdir(parents=True)
    (work / "helper.py").write_text("from package import part\nVALUE = part.VALUE\n")
    (work / "package/__init__.py").write_text("")
    (work / "package/part.py").write_text("VALUE = b'1'\n")
    (work / "unused.py").write_text("")
    (work / "main.py").write_text(SCRIPT)
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path), "GITHUB_SHA": "a" * 40, "GITHUB_REF_NAME": "main"}
    subprocess.run([sys.executable, "main.py", store.url], cwd=work, check=True, env=env, timeout=60)
    code = store.lineage("out").code
    assert code is not None
    assert [one.path for one in store.artifact(code.digest).files] == [
        "helper.py",
        "main.py",
        "package/__init__.py",
        "package/part.py",
    ]
    assert (code.about["claimed_by"], code.commit) == ("github", "a" * 40)


def test_claims_of_each_ci_system():
    assert ci_claims({}) is None
    assert ci_claims({"CI_COMMIT_SHA": "1", "CI_PROJECT_PATH": "g/p"}) == {
        "claimed_by": "gitlab",
        "commit": "1",
        "repository": "g/p",
    }
    assert ci_claims({"BUILD_SOURCEVERSION": "2"}) == {"claimed_by": "azure", "commit": "2"}


def test_the_environment_is_recorded_once_and_never_whole(store: Store, repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONHASHSEED", "42")
    monkeypatch.setenv("MY_SECRET", "hunter2")
    for _ in range(2):
        with store.run("train"):
            pass
    first, second = (
        next(one for one in store.lineage(info.id).upstream().artifacts if one.kind == "environment") for info in store.runs()
    )
    assert first.id == second.id
    found = store.get(first.id)
    assert found["python"]["version"] == sys.version.split()[0]
    assert found["variables"] == {"PYTHONHASHSEED": "42"}
    packages = {one["name"].lower(): one["version"] for one in found["packages"]}
    assert packages["artifactstore-ml"] == artifactstore.__version__
    assert "hunter2" not in str(environment())


def test_packages_are_those_that_python_itself_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib.metadata import distributions

    from artifactstore.work.runs.capture.environment import _installed

    for name, text in {
        "odd-1.dist-info": "Metadata-Version: 2.1\nVersion: 1.0+local\nName: Odd_Name\n\nName: no\n",
        "broken.dist-info": "nothing here\n",
        "old.egg-info": "Metadata-Version: 1.0\nName: old\nVersion: 3\n",
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / ("PKG-INFO" if name.startswith("old") else "METADATA")).write_text(text)
    (tmp_path / "odd-1.dist-info/direct_url.json").write_text(
        '{"url": "https://u:p@host/odd.whl", "archive_info": {"hash": "x"}}'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    expected: dict[str, tuple[str, str]] = {}
    for one in distributions():
        if one.metadata["Name"]:
            expected.setdefault(one.metadata["Name"].lower(), (one.metadata["Name"], one.version))
    found = {row["name"].lower(): row for row in _installed()}
    assert {name: (row["name"], row["version"]) for name, row in found.items()} == expected
    assert found["odd_name"]["direct"] == {"url": "https://host/odd.whl", "archive_info": {"hash": "x"}}
    assert len(expected) > 20


def test_a_command_line_hides_secrets(store: Store, repository: Path):
    from artifactstore.work.runs.captured import shown

    assert shown(["p", "--api-token=x", "--password", "y", "--n=3"]) == [
        "p",
        "--api-token=[redacted]",
        "--password",
        "[redacted]",
        "--n=3",
    ]
    assert shown(["p", "--hf_token", "x", "apiKey=y", "-DSECRET_KEY=z"]) == [
        "p",
        "--hf_token",
        "[redacted]",
        "apiKey=[redacted]",
        "-DSECRET_KEY=[redacted]",
    ]
    assert shown(["postgresql://u:p@ss@host/db", "--db=s3://u:p@host"]) == [
        "postgresql://[redacted]@host/db",
        "--db=s3://[redacted]@host",
    ]


@pytest.mark.parametrize("word", ["--tokenizer", "--max-tokens", "--num_tokens=5", "abfss://box@account.dfs.core.windows.net/ml"])
def test_a_command_line_hides_no_more_than_secrets(word: str):
    from artifactstore.work.runs.captured import shown

    assert shown(["p", word, "gpt2"]) == ["p", word, "gpt2"]
