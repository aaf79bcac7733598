"""Is this folder, wherever it came from, exactly that artifact?"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.cli import main
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.store import Store


@pytest.fixture
def got(store: Store, folder: Path, tmp_path: Path) -> Path:
    store.put(folder, "n", modes=True)
    return Path(store.get("n", tmp_path / "got"))


def _flip(path: Path) -> None:
    st = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))  # as a tool that keeps times


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


HARM: dict[str, tuple[Callable[[Path], Any], list[tuple[str, str]]]] = {
    "a flipped byte": (lambda top: _flip(top / "deep/er/b.bin"), [("deep/er/b.bin", "changed")]),
    "a shorter file": (lambda top: os.truncate(top / "a.txt", 3), [("a.txt", "changed")]),
    "a missing file": (lambda top: (top / "a.txt").unlink(), [("a.txt", "removed")]),
    "an empty file is missing": (lambda top: (top / "empty").unlink(), [("empty", "removed")]),
    "another file": (lambda top: (top / "deep/new").write_bytes(b"new"), [("deep/new", "added")]),
    "a hidden file": (
        lambda top: (top / ".get.0123456789abcdef.partial").write_bytes(b""),
        [(".get.0123456789abcdef.partial", "added")],
    ),
    "a store in it": (
        lambda top: artifactstore.create(top / "inner"),
        [("inner/.gitignore", "added"), ("inner/store.json", "added")],
    ),
    "another empty folder": (lambda top: (top / "deep/hollow").mkdir(), [("deep/hollow", "added")]),
    "an empty folder is gone": (
        lambda top: (top / "nothing/inside").rmdir(),
        [("nothing", "added"), ("nothing/inside", "removed")],
    ),
    "a moved file": (lambda top: (top / "a.txt").rename(top / "b.txt"), [("b.txt", "moved")]),
    "a link elsewhere": (lambda top: _link(top / "deep/link", "../a.txt"), [("deep/link", "changed")]),
    "a link for a file": (lambda top: _link(top / "a.txt", "empty"), [("a.txt", "changed")]),
    "a file for a link": (
        lambda top: Path(shutil.copy(top / "deep/er/b.bin", top / "copy")).replace(top / "deep/link"),
        [("deep/link", "changed")],
    ),
    "a link to a folder": (lambda top: (top / "more").symlink_to("deep"), [("more", "added")]),
    "a pipe": (lambda top: os.mkfifo(top / "pipe"), [("pipe", "added")]),
    "an executable bit": (lambda top: (top / "a.txt").chmod(0o755), [("a.txt", "changed")]),
    "a bit is gone": (lambda top: (top / "run.sh").chmod(0o644), [("run.sh", "changed")]),
}


@pytest.mark.parametrize("harm", HARM)
def test_whatever_differs_is_named(store: Store, got: Path, harm: str) -> None:
    assert not store.verify_folder(got, "n")
    act, expected = HARM[harm]
    act(got)
    found = store.verify_folder(got, "n")
    assert sorted((one.path, one.change) for one in found) == sorted(expected)


def test_a_folder_that_another_tool_brought_is_compared(store: Store, got: Path, tmp_path: Path) -> None:
    shutil.copytree(got, tmp_path / "copied", symlinks=True)
    assert not store.verify_folder(tmp_path / "copied", "n:v1")
    assert store.verify_folder(str(got / "deep"), "n:latest/deep").unchanged == 3
    (got / "a.txt").write_bytes(b"another")
    assert store.verify_folder(got, store.artifact("n"))
    assert not store.verify_folder(got / "deep", "n:latest/deep")


def test_the_command_says_what_differs_and_exits_with_5(store: Store, got: Path, capsys: Any) -> None:
    uri = store.artifact("n").uri
    assert main(["verify-folder", str(got), uri]) == 0
    assert "are equal" in capsys.readouterr().out
    assert main(["verify-folder", str(got), "n", "--store", store.url, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["digest"], answer["changes"]) == (True, store.artifact("n").digest, [])
    _flip(got / "a.txt")
    assert main(["verify-folder", str(got), uri]) == 5
    assert "a.txt" in capsys.readouterr().out
    assert main(["verify-folder", str(got), "n", "--store", store.url, "--json"]) == 5
    assert [one["path"] for one in json.loads(capsys.readouterr().out)["changes"]] == ["a.txt"]


def test_what_cannot_be_compared_is_one_clear_error(store: Store, got: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        store.verify_folder(got, "nothing")
    with pytest.raises(InvalidInputError, match="not a folder"):
        store.verify_folder(got / "a.txt", "n")
    with pytest.raises(InvalidInputError, match="not a folder"):
        store.verify_folder(got / "nowhere", "n")
    with pytest.raises(InvalidInputError, match="one file"):
        store.verify_folder(got, "n:latest/a.txt")
