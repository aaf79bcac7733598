"""A program of another environment, with this checkout and the packages of the tests on its path."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run_beside"]


def run_beside(command: Sequence[str], work: Path) -> str:
    """Run a command in a folder; return what it printed. It must end with 0."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, map(str, sys.path))])}
    done = subprocess.run([*command], env=environment, capture_output=True, text=True, timeout=150, check=False, cwd=work)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
