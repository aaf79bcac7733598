"""The output of `git status`: files that differ from the last commit, and untracked files."""

import os
import time
from collections.abc import Iterator
from typing import Final

from artifactstore.content.write.own_folders import own_folder_of
from artifactstore.work.runs.capture.git_cli import Git

__all__ = ["SECONDS", "changed_paths", "read_status"]

# Folders that Python and its tools create, ignored by git or not; and the markers of an environment.
_DERIVED: Final = frozenset({"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
_ENVIRONMENT: Final = "pyvenv.cfg"
SECONDS: Final = 15.0  # limit for untracked files
_KEYS: Final = (
    "store.json",
    "journal/",
    "manifests/",
    "packs/",
    "facts/",
    "segments/",
    "trees/",
    "stores/",
    "stat-",
    "places/",
    "locks/",
)


def read_status(git: Git, because: list[str]) -> bytes | None:
    """Return the status; without untracked files, if finding those takes too long."""
    words = ("status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--ignore-submodules=none")
    git.until = time.monotonic() + SECONDS
    found = git.run(*words, "--untracked-files=all")
    git.until = None
    if found is None and "took more than" in git.error:
        because.append(f"untracked files: to find them {git.error.replace('git status ', '')}")
        found = git.run(*words, "--untracked-files=no")
    return None if found is None else _without_own(str(git.folder), found)


def _without_own(root: str, status: bytes) -> bytes:
    """Remove untracked files of stores, caches and environments from a status: they are not code, and change with every run."""
    words = status.split(b"\0")
    untracked = [os.fsdecode(word[2:]) for word in words if word[:2] == b"? "]
    folders = {own for path in untracked if (own := own_folder_of(root, path)) is not None}
    inside = tuple(folders - {""}) + (_KEYS if "" in folders else ())
    inside += tuple(path.removesuffix(_ENVIRONMENT) for path in untracked if path.endswith(f"/{_ENVIRONMENT}"))
    gone = {path for path in untracked if path.startswith(inside) or not _DERIVED.isdisjoint(path.split("/")[:-1])}
    return b"\0".join(word for word in words if word[:2] != b"? " or os.fsdecode(word[2:]) not in gone) if gone else status


def changed_paths(status: bytes, *, untracked: bool = True, tracked: bool = True) -> Iterator[str]:
    """Yield the paths in a status."""
    words = iter(status.split(b"\0"))
    for word in words:
        fields = {b"1 ": 8, b"2 ": 9, b"u ": 10, b"? ": 1}.get(word[:2])
        if fields is not None and (untracked if fields == 1 else tracked):
            yield os.fsdecode(word.split(b" ", fields)[fields])
        if word[:2] == b"2 ":
            next(words, None)  # the previous path of a renamed file
