"""A copy of git's index, so that the user's own stays unchanged: its lines, and setting its entries."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from artifactstore.work.runs.capture.git_cli import Git

__all__ = ["Entry", "has_filters", "index_line", "listed", "own_index", "path_of", "set_lines"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of git's index."""

    mode: str
    digest: str
    path: str

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Parse a line of `git ls-files -s`."""
        about, _, path = raw.partition(b"\t")
        mode, digest, _ = about.decode().split(" ")
        return cls(mode, digest, os.fsdecode(path))


def own_index(git: Git, scratch: Path) -> dict[str, str]:
    """Copy the index, and set up a separate object folder for git."""
    index, _, objects = (git.line("rev-parse", "--git-path", "index", "--git-path", "objects") or "").partition("\n")
    if index and (git.folder / index).exists():
        # With its mtime: git uses it to detect files that may have changed in the same tick.
        shutil.copy2(git.folder / index, scratch / "index")
    (scratch / "objects").mkdir()
    env = {"GIT_INDEX_FILE": str(scratch / "index"), "GIT_OBJECT_DIRECTORY": str(scratch / "objects")}
    if objects:
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str((git.folder / objects).resolve())
    return env


def listed(git: Git, env: Mapping[str, str]) -> list[bytes]:
    """Return the lines of the index: a letter for git's treatment of the file, its mode, digest and path."""
    return [raw for raw in (git.run("ls-files", "-v", "-s", "-z", env=env) or b"").split(b"\0") if raw]


def path_of(raw: bytes) -> str:
    """Return the path in a line of the index."""
    return os.fsdecode(raw.partition(b"\t")[2])


def index_line(path: str, digest: str, mode: str = "100644") -> bytes:
    """Return a line for `set_lines`."""
    return f"{mode} {digest}\t".encode() + os.fsencode(path)


def set_lines(git: Git, lines: Sequence[bytes], env: Mapping[str, str]) -> None:
    """Set entries of the index; their objects need not exist."""
    if lines:
        git.run("update-index", "--add", "-z", "--index-info", given=b"\0".join(lines), env=env)


def has_filters(git: Git, paths: Iterable[str]) -> bool:
    """Return True if git may store files in another form than on disk."""
    if any(path.endswith(".gitattributes") for path in paths):
        return True
    config = git.line("config", "--get-regexp", r"^core\.(autocrlf|attributesfile)$") or ""
    return any(line.lower() != "core.autocrlf false" for line in config.splitlines())
