"""Calls of the git program: no prompts, no locks, and no environment variables about another repository."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from artifactstore.work.secrets import without_credentials

__all__ = ["Git", "about_commit", "joined"]

_SECONDS: Final = 60  # limit of one git call
_REMOTE: Final = re.compile(r"(\S+)\t(.*) \((?:fetch|push)\)(?: \[[^]]*\])?")  # a partial clone appends its filter


class Git:
    """Calls of git in one folder.

    Attributes:
        folder: the folder.
        error: the error output of the last failed call.
        until: the time (of `time.monotonic`) at which any call is stopped, or None.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.error = ""
        self.until: float | None = None
        self._program = program
        # No variables of the user's shell about another repository, no prompts, no locks for reads.
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self._env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        # No fetches: a partial clone lacks what it was asked to lack. Old versions know only the second variable.
        self._env |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return git for a folder; None if it is not installed."""
        program = shutil.which("git")
        return None if program is None else cls(folder, program)

    def run(self, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes | None:
        """Return the output of git, or None if it fails."""
        limit = _SECONDS if self.until is None else min(_SECONDS, max(0.0, self.until - time.monotonic()))
        try:
            child = subprocess.Popen(  # noqa: S603 - git, by its full path, no shell
                [self._program, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self._env, **(env or {})},
                start_new_session=True,  # its filters are killed with it
            )
        except OSError as error:
            self.error = str(error)
            return None
        with child:
            try:
                out, err = child.communicate(given, timeout=limit)
            except BaseException as error:
                _kill(child)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                self.error = f"git {arguments[0]} took more than {limit:.0f} seconds"
                return None
        if child.returncode:
            self.error = err.decode(errors="replace").strip()
            return None
        return out

    def at(self, folder: Path) -> Self:
        """Return git for another folder."""
        other = type(self)(folder, self._program)
        other.until = self.until
        return other

    def run_for(self, paths: Sequence[str], *arguments: str, env: Mapping[str, str]) -> bool:
        """Run git with any number of literal paths; return False if it fails."""
        if not paths:
            return True
        done = self.run(
            *arguments, "--pathspec-from-file=-", "--pathspec-file-nul",
            given=joined(paths), env={**env, "GIT_LITERAL_PATHSPECS": "1"},
        )  # fmt: skip
        return done is not None

    def line(self, *arguments: str) -> str | None:
        """Return a single line of output, or None."""
        out = self.run(*arguments)
        text = "" if out is None else out.decode(errors="replace").strip()
        return text or None


def joined(paths: Iterable[str]) -> bytes:
    """Join paths for git's `-z`."""
    return b"\0".join(os.fsencode(path) for path in paths)


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """Kill git with all its child processes, which would keep its output open."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def about_commit(git: Git, status: bytes, *, dirty: bool) -> dict[str, Any]:
    """Return the record of the commit of a working tree; `status` is the output of `git status`."""
    heads = dict(word[2:].split(b" ", 1) for word in status.split(b"\0") if word.startswith(b"# branch."))
    commit, branch = (os.fsdecode(heads.get(key, b"")) for key in (b"branch.oid", b"branch.head"))
    commit = "" if commit == "(initial)" else commit
    remotes: dict[str, str] = {}
    for line in (git.line("remote", "-v") or "").splitlines():
        if (match := _REMOTE.fullmatch(line)) is not None:
            remotes.setdefault(match[1], without_credentials(match[2]))
    about = (
        (git.line("show", "-s", "--no-show-signature", "--format=%T%x00%an <%ae>%x00%cn <%ce>", commit) or "") if commit else ""
    )
    head_tree, author, committer = about.split("\0") if about.count("\0") == 2 else ("", "", "")
    found = {
        "commit": commit or None,
        "author": author or None,
        "committer": committer or None,
        "head_tree": head_tree or None,
        "branch": None if branch == "(detached)" else branch or None,
        "describe": git.line("describe", "--always", "--tags", "--long") if commit else None,
        "remotes": remotes or None,
        "dirty": dirty,
    }
    return {key: value for key, value in found.items() if value is not None}
