"""git's id of a folder, computed without git (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""

import hashlib
import os
import stat
from pathlib import Path

__all__ = ["blob_id", "tree_id"]


def tree_id(folder: Path) -> str:
    """Return the id that `git write-tree` gives for the files and links in a folder, as they are; empty folders don't count."""
    return (_tree(folder) or _object(b"tree", b"")).hex()


def _object(kind: bytes, data: bytes) -> bytes:
    return hashlib.sha1(kind + b" " + str(len(data)).encode() + b"\0" + data, usedforsecurity=False).digest()


def _tree(folder: Path) -> bytes | None:
    entries: list[tuple[bytes, bytes]] = []
    with os.scandir(folder) as found:
        for entry in found:
            name = os.fsencode(entry.name)
            if entry.is_symlink():
                target = os.fsencode(os.readlink(entry.path))  # noqa: PTH115 - as it is written
                entries.append((name, b"120000 " + name + b"\0" + _object(b"blob", target)))
            elif entry.is_dir():
                inner = _tree(Path(entry.path))
                if inner is not None:
                    entries.append((name + b"/", b"40000 " + name + b"\0" + inner))
            else:
                mode = b"100755" if entry.stat().st_mode & stat.S_IXUSR else b"100644"
                entries.append((name, mode + b" " + name + b"\0" + blob_id(entry.path)))
    if not entries:
        return None
    return _object(b"tree", b"".join(line for _, line in sorted(entries)))


def blob_id(path: str) -> bytes:
    """Return git's id of a file's bytes as they are."""
    size = os.stat(path).st_size  # noqa: PTH116 - a million of them
    hasher = hashlib.sha1(b"blob " + str(size).encode() + b"\0", usedforsecurity=False)
    with open(path, "rb") as file:  # noqa: PTH123
        while block := file.read(2**20):
            hasher.update(block)
    return hasher.digest()
