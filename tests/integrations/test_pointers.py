"""Pointers: git keeps a small file, the store the content; no unsaved work is lost, and an edited pointer is refused."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli.runner import run as cli
from artifactstore.errors import AlreadyExistsError, CorruptionError, FormatError, InvalidInputError, NotFoundError
from artifactstore.integrations import pointers
from artifactstore.store import Store


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "data" / "raw" / "a.csv").write_text("x\n1\n")
    (folder / "data" / "raw" / "b.csv").write_text("x\n2\n")
    (folder / "model.bin").write_bytes(b"weights")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    return artifactstore.open(tmp_path / "store")


def test_a_folder_and_a_file_are_tracked_and_come_back_in_a_clone(store: Store, repository: Path, tmp_path: Path) -> None:
    assert cli(["track", "data/raw", "-m", "delivery"]) == 0
    assert cli(["track", "model.bin", "team/model", "--kind", "model"]) == 0
    assert (repository / "data" / ".gitignore").read_text() == "/raw\n"
    assert store.artifact("data/raw").reason == "delivery"
    assert store.artifact("team/model").kind == "model"
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "track"], check=True)
    kept = subprocess.run([*git, "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    assert kept == [".gitignore", "data/.gitignore", "data/raw.artifact", "model.bin.artifact"]
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(repository), str(clone)], check=True)
    assert [one.state for one in pointers.compare(store, [clone])] == ["missing", "missing"]
    brought = pointers.checkout(store, [clone])
    assert len(brought) == 2
    assert (clone / "data" / "raw" / "b.csv").read_text() == "x\n2\n"
    assert (clone / "model.bin").read_bytes() == b"weights"
    assert pointers.checkout(store, [clone]) == []
    assert sorted(one.name for one in clone.iterdir()) == [".git", ".gitignore", "data", "model.bin", "model.bin.artifact"]


def test_the_same_content_makes_the_same_bytes_and_is_not_written_again(store: Store, repository: Path) -> None:
    pointers.track(store, "model.bin")
    file = repository / "model.bin.artifact"
    before, raw = file.stat().st_mtime_ns, file.read_bytes()
    assert json.loads(raw) == {
        "artifactstore": 1,
        "digest": store.artifact("model.bin").digest,
        "name": "model.bin",
        "version": 1,
        "store": store.artifact("model.bin").uri.partition("#")[0],
        "files": 1,
        "bytes": 7,
    }
    pointers.track(store, "model.bin")
    assert (file.stat().st_mtime_ns, file.read_bytes()) == (before, raw)
    assert (repository / ".gitignore").read_text() == "/model.bin\n"


def test_status_says_what_differs_by_its_exit_code(store: Store, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pointers.track(store, "data/raw")
    pointers.track(store, "model.bin")
    assert cli(["track", "--status"]) == 0
    (repository / "data" / "raw" / "a.csv").write_text("x\n9\n")
    capsys.readouterr()
    assert cli(["track", "--status", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {one["path"]: (one["state"], one["changes"]) for one in rows} == {"data/raw": ("changed", 1), "model.bin": ("same", 0)}
    (repository / "model.bin").unlink()
    assert cli(["track", "--status", "model.bin"]) == 1
    assert cli(["track", "--status", "model.bin.artifact"]) == 1


def test_checkout_loses_no_unsaved_work(store: Store, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pointers.track(store, "data/raw")
    pointers.track(store, "model.bin")
    old = (repository / "data" / "raw.artifact").read_bytes()
    (repository / "data" / "raw" / "a.csv").write_text("x\n9\n")
    (repository / "data" / "raw" / "new.csv").write_text("x\n3\n")
    (repository / "model.bin").unlink()
    assert cli(["checkout"]) == 7
    assert "data/raw" in capsys.readouterr().err
    assert not (repository / "model.bin").exists(), "nothing was changed"
    with pytest.raises(AlreadyExistsError, match="track it"):
        pointers.checkout(store)
    pointers.track(store, "data/raw")  # now it is saved
    (repository / "data" / "raw.artifact").write_bytes(old)
    assert cli(["checkout"]) == 0
    assert sorted(one.name for one in (repository / "data" / "raw").iterdir()) == ["a.csv", "b.csv"]
    assert (repository / "model.bin").read_bytes() == b"weights"
    (repository / "model.bin").write_bytes(b"unsaved")
    assert cli(["checkout", "model.bin", "--overwrite"]) == 0
    assert (repository / "model.bin").read_bytes() == b"weights"


def test_put_and_get_take_pointer_files(store: Store, repository: Path, tmp_path: Path) -> None:
    assert cli(["put", "data/raw", "n", "--pointer", "n.artifact.json"]) == 0
    store.put({"newer": 1}, "n")
    assert cli(["get", "n.artifact.json", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "a.csv").read_text() == (repository / "data" / "raw" / "a.csv").read_text()


def test_the_store_of_a_pointer_is_opened_where_none_is_configured(
    store: Store, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["put", "data/raw", "n", "--pointer", "n.artifact.json"]) == 0
    monkeypatch.delenv("ARTIFACTSTORE_URL")
    assert cli(["get", "n.artifact.json", str(tmp_path / "out")]) == 0
    assert "the store that the pointer names" in capsys.readouterr().err
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "another"))
    artifactstore.open(tmp_path / "another").put({"x": 1}, "x")
    assert cli(["get", "n.artifact.json", str(tmp_path / "out2")]) == 3, "what is configured outweighs it"


DAMAGE: dict[str, tuple[Any, type[Exception]]] = {
    "empty": (b"", CorruptionError),
    "no JSON": (b"<<<<<<< HEAD\n", CorruptionError),
    "a list": (b"[]", CorruptionError),
    "another digest": (lambda raw: raw.replace(b"blake3:", b"md5:"), CorruptionError),
    "a digest cut short": (lambda raw: raw.replace(b'"digest":"blake3:', b'"digest":"blake3:00'), CorruptionError),
    "a further field": (lambda raw: raw.replace(b'"bytes"', b'"by":1,"bytes"'), CorruptionError),
    "a field less": (lambda raw: raw.replace(b'"files":1,', b""), CorruptionError),
    "a negative size": (lambda raw: raw.replace(b'"bytes":7', b'"bytes":-7'), CorruptionError),
    "a true size": (lambda raw: raw.replace(b'"bytes":7', b'"bytes":true'), CorruptionError),
    "pretty JSON": (lambda raw: json.dumps(json.loads(raw), indent=2).encode(), CorruptionError),
    "twice": (lambda raw: raw + raw, CorruptionError),
    "a newer form": (lambda raw: raw.replace(b'"artifactstore":1', b'"artifactstore":2'), FormatError),
    "too large": (lambda raw: raw.replace(b'"name":"', b'"name":"' + b"a" * 100_000), CorruptionError),
    "deep": (b"[" * 50_000, CorruptionError),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_an_edited_pointer_is_refused(store: Store, repository: Path, kind: str) -> None:
    pointers.track(store, "model.bin")
    file = repository / "model.bin.artifact"
    made, expected = DAMAGE[kind]
    file.write_bytes(made(file.read_bytes()) if callable(made) else made)
    for use in (pointers.read, lambda one: pointers.compare(store, [one]), lambda one: pointers.checkout(store, [one])):
        with pytest.raises(expected, match=r"model\.bin\.artifact"):
            use(file)
    assert (repository / "model.bin").read_bytes() == b"weights"


@pytest.mark.parametrize(("before", "after"), [(b'"files":1', b'"files":2'), (b'"bytes":7', b'"bytes":8')])
def test_a_pointer_whose_other_fields_were_edited_is_refused_once_the_artifact_is_known(
    store: Store, repository: Path, tmp_path: Path, before: bytes, after: bytes
) -> None:
    pointers.track(store, "model.bin")
    file = repository / "model.bin.artifact"
    file.write_bytes(file.read_bytes().replace(before, after))
    for use in (lambda one: pointers.compare(store, [one]), lambda one: pointers.checkout(store, [one], overwrite=True)):
        with pytest.raises(CorruptionError, match=r"the artifact has 1 and 7"):
            use(file)
    assert cli(["get", str(file), str(tmp_path / "out"), "--store", store.url]) == 5
    assert not (tmp_path / "out").exists()
    assert (repository / "model.bin").read_bytes() == b"weights"


def test_line_ends_of_windows_do_not_matter(store: Store, repository: Path) -> None:
    pointers.track(store, "model.bin")
    file = repository / "model.bin.artifact"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert pointers.read(file).name == "model.bin"


def test_wrong_calls_say_what_to_do(store: Store, repository: Path) -> None:
    subprocess.run(["git", "-C", str(repository), "add", "model.bin"], check=True)
    with pytest.raises(InvalidInputError, match="git rm"):
        pointers.track(store, "model.bin")
    with pytest.raises(InvalidInputError, match="no such path"):
        pointers.track(store, "nothing")
    with pytest.raises(NotFoundError, match="artifactstore track"):
        pointers.checkout(store, ["data"])
    pointers.track(store, "data/raw")
    with pytest.raises(InvalidInputError, match="pointer file"):
        pointers.track(store, "data/raw.artifact")
    assert cli(["track"]) == 2
    assert cli(["track", "--status", "-m", "x"]) == 2
    assert pointers.compare(store, ["data"])[0].state == "same"


def test_odd_names_are_ignored_by_git_literally(store: Store, repository: Path) -> None:
    for name in ("with space.bin", "#hash", "!bang", "star*", "[set]", "ünï"):
        (repository / name).write_bytes(name.encode())
        pointers.track(store, name, f"odd/{len(name)}")
    shown = subprocess.run(
        ["git", "-C", str(repository), "status", "--porcelain", "-z"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = sorted(one[3:] for one in shown if one)
    assert [one for one in found if not one.endswith((".artifact", ".gitignore"))] == ["data/", "model.bin"]
