"""git's id of a folder, computed without git (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

__all__ = ["blob_id", "tree_id"]


def tree_id(folder: Path, modules: Mapping[str, str] | None = None) -> str:
    """Return the id that `git write-tree` gives for the files and links in a folder; empty folders don't count.

    Args:
        folder: the top; its `.git` does not count.
        modules: path → commit of submodules, of which git's tree has only the commit, whatever their files.
    """
    return (_tree(folder, modules or {}) or _object(b"tree", b"")).hex()


def _object(kind: bytes, data: bytes) -> bytes:
    return hashlib.sha1(kind + b" " + str(len(data)).encode() + b"\0" + data, usedforsecurity=False).digest()


def _tree(folder: Path, modules: Mapping[str, str]) -> bytes | None:
    entries: list[tuple[bytes, bytes]] = []
    inside: dict[str, dict[str, str]] = {}
    for path, commit in modules.items():
        first, slash, rest = path.partition("/")
        if slash:
            inside.setdefault(first, {})[rest] = commit
        else:
            name = os.fsencode(first)
            entries.append((name, b"160000 " + name + b"\0" + bytes.fromhex(commit)))
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        found = []  # if there are only submodules that were absent
    folders = {entry.name for entry in found if entry.is_dir(follow_symlinks=False)} | inside.keys()
    for one in folders - modules.keys() - {".git"}:
        inner = _tree(folder / one, inside.get(one, {}))
        if inner is not None:
            name = os.fsencode(one)
            entries.append((name + b"/", b"40000 " + name + b"\0" + inner))
    for entry in found:
        if entry.name in folders or entry.name in modules or entry.name == ".git":
            continue
        name = os.fsencode(entry.name)
        if entry.is_symlink():
            target = os.fsencode(os.readlink(entry.path))  # noqa: PTH115 - as it is written
            entries.append((name, b"120000 " + name + b"\0" + _object(b"blob", target)))
        else:
            mode = b"100755" if entry.stat().st_mode & stat.S_IXUSR else b"100644"
            entries.append((name, mode + b" " + name + b"\0" + blob_id(entry.path)))
    if not entries:
        return None
    return _object(b"tree", b"".join(line for _, line in sorted(entries)))


def blob_id(path: str) -> bytes:
    """Return git's id of a file's bytes."""
    size = os.stat(path).st_size  # noqa: PTH116 - a million of them
    hasher = hashlib.sha1(b"blob " + str(size).encode() + b"\0", usedforsecurity=False)
    with open(path, "rb") as file:  # noqa: PTH123
        while block := file.read(2**20):
            hasher.update(block)
    return hasher.digest()
