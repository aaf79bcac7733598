"""How a tool does the steps of a day: its processes, its environment, what it cannot do."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from daily_data import kept
from peer_tools import Took, ToolError, run

Doing = tuple[str, Callable[[], Took]]

__all__ = ["FRAME", "Doing", "Peer", "Way", "both", "printed"]

FRAME: Final = (
    "import numpy as np, pandas as pd; df = pd.DataFrame(np.random.default_rng().random((1000, 4)), columns=list('abcd'))\n"
)


@dataclass(frozen=True, slots=True)
class Way:
    """How a tool does a step.

    Attributes:
        tool: its name.
        how: in words of its users; why not, if it cannot.
        once: do it, and return the seconds; None if it cannot.
    """

    tool: str
    how: str
    once: Callable[[], Took] | None = None


def both(*parts: Took) -> Took:
    """Return what several commands took together."""
    return Took(sum(one.seconds for one in parts), sum(one.work for one in parts), max(one.peak for one in parts))


def printed(command: Sequence[str], cwd: Path, env: dict[str, str]) -> Took:
    """Run a program and return the seconds that its last line has: of the clock, then of processors.

    Raises:
        ToolError: it failed.
    """
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"{command[0]} returned {done.returncode}: {done.stderr[-2000:]}")
    seconds, work = done.stdout.split()[-2:]
    return Took(float(seconds), float(work), 0)


class Peer:
    """One tool, with the data that it needs in `folder` (kept) and a scratch folder."""

    name: ClassVar[str]
    package: ClassVar[str]
    cannot: ClassVar[dict[str, str]] = {}
    more: ClassVar[dict[str, str]] = {}  # of the environment, `{home}` in it

    def __init__(self, venv: Path, asked: argparse.Namespace) -> None:
        self.venv = venv
        self.asked = asked
        self.root = asked.folder / "daily" / self.name
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self.env = {key: os.environ[key] for key in ("LANG", "LC_ALL", "TMPDIR") if key in os.environ}
        self.env |= {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "HOME": str(self.root), "NO_COLOR": "1"}
        self.env |= {"GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "e@example.org"}
        self.env |= {"GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "e@example.org"}
        self.env |= {key: value.format(home=self.root) for key, value in self.more.items()}

    @classmethod
    def found(cls, venvs: Sequence[Path], asked: argparse.Namespace) -> "Peer | None":
        """Return the tool, from the first of the environments that has it."""
        venv = next((venv for venv in venvs if (venv / "bin" / cls.program()).exists()), None)
        return None if venv is None else cls(venv, asked)

    @classmethod
    def program(cls) -> str:
        """Return the name of its command."""
        return cls.name

    def version(self) -> str:
        """Return its version."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        done = subprocess.run([self.venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def way(self, step: str) -> Way:
        """Return how it does a step."""
        if step in self.cannot:
            return Way(self.name, self.cannot[step])
        how, once = getattr(self, step.replace(" ", "_"))()
        return Way(self.name, how, once)

    # -- its processes

    def command(self, *arguments: str, cwd: Path | None = None) -> Took:
        """Run its command."""
        return run([str(self.venv / "bin" / self.program()), *arguments], cwd=cwd or self.root, env=self.env)

    def python(self, code: str, *arguments: object, cwd: Path | None = None) -> Took:
        """Run Python in its environment."""
        return run([str(self.venv / "bin" / "python"), "-c", code, *map(str, arguments)], cwd=cwd or self.root, env=self.env)

    def inside(self, code: str, *arguments: object, cwd: Path | None = None) -> Took:
        """Run Python that prints its seconds itself."""
        return printed([str(self.venv / "bin" / "python"), "-c", code, *map(str, arguments)], cwd or self.root, self.env)

    def install(self) -> Doing:
        """Install the package into a clean environment, from wheels on this disk."""
        clean = self.root / "clean"
        wheels = kept(self.asked.folder / "wheels" / self.name, self._download)

        def once() -> Took:
            shutil.rmtree(clean, ignore_errors=True)
            made = run([sys.executable, "-m", "venv", str(clean)], cwd=self.root)
            pip = [str(clean / "bin" / "pip"), "--quiet", "install", "--no-index", "--find-links", str(wheels), self.package]
            return both(made, run(pip, cwd=self.root, env=self.env))

        return f"`pip install {self.package}`", once

    def _download(self, folder: Path) -> None:
        run([sys.executable, "-m", "pip", "--quiet", "wheel", self.package, "--wheel-dir", str(folder)], cwd=folder)
