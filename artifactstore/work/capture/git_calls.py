"""Calls of git, as a program: no prompts, no locks, and nothing that the user's shell says about another repository."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

__all__ = ["Git", "joined"]

_SECONDS: Final = 60  # that one call of git may take


class Git:
    """Calls of git in one folder.

    Attributes:
        folder: where.
        said: what the last call that failed had to say.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.said = ""
        self._program = program
        # Nothing that the user's shell says about another repository, no prompts, no locks for looking.
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self._env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return git for a folder; None where it is not installed."""
        program = shutil.which("git")
        return None if program is None else cls(folder, program)

    def run(self, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes | None:
        """Return what git prints, or None where it fails."""
        try:
            done = subprocess.run(  # noqa: S603 - git, by its full path, no shell
                [self._program, *arguments],
                cwd=self.folder,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                env={**self._env, **(env or {})},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self.said = str(error)
            return None
        if done.returncode:
            self.said = done.stderr.decode(errors="replace").strip()
            return None
        return done.stdout

    def at(self, folder: Path) -> Self:
        """Return git for another folder."""
        return type(self)(folder, self._program)

    def run_for(self, paths: Sequence[str], *arguments: str, env: Mapping[str, str]) -> bool:
        """Run git with paths, which mean themselves, however many they are; False where it fails."""
        if not paths:
            return True
        done = self.run(
            *arguments, "--pathspec-from-file=-", "--pathspec-file-nul",
            given=joined(paths), env={**env, "GIT_LITERAL_PATHSPECS": "1"},
        )  # fmt: skip
        return done is not None

    def line(self, *arguments: str) -> str | None:
        """Return the one line that git prints, or None."""
        out = self.run(*arguments)
        text = "" if out is None else out.decode(errors="replace").strip()
        return text or None


def joined(paths: Iterable[str]) -> bytes:
    """Return paths as git reads them with `-z`."""
    return b"\0".join(os.fsencode(path) for path in paths)
