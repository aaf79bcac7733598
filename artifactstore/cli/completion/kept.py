"""The commands and their options as the cache keeps them: loading them from the program itself takes half a second."""

import json
import os
from pathlib import Path
from typing import Any, Final

from artifactstore.model.version import VERSION
from artifactstore.runtime.local_files import read_own

__all__ = ["FILE", "fingerprint", "kept_commands"]

FILE: Final = "commands.json"
_CLI: Final = Path(__file__).parents[1]


def fingerprint() -> str:
    """Return what changes whenever a command may have changed: the version, and the newest module of the command line."""
    newest = 0
    folders = [_CLI, *(Path(one.path) for one in os.scandir(_CLI) if one.is_dir() and one.name != "__pycache__")]
    for folder in folders:
        with os.scandir(folder) as listing:
            newest = max([newest, *(one.stat().st_mtime_ns for one in listing if one.name.endswith(".py"))])
    return f"{VERSION} {newest} {_CLI}"


def kept_commands(cache: Path | None) -> dict[str, Any] | None:
    """Return the commands that the cache has for this program, or None."""
    if cache is None:
        return None
    try:
        kept = json.loads(read_own(cache / FILE))
        found: dict[str, Any] = kept["commands"]
        return found if kept["of"] == fingerprint() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
