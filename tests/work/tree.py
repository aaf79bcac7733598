"""Comparing folders."""

import os
from pathlib import Path


def tree(root: Path) -> dict[str, object]:
    """Return everything under a folder: path → bytes, link target or None for an empty folder."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = Path(folder, name)
            inner = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[inner] = str(path.readlink())
            elif path.is_file():
                found[inner] = path.read_bytes()
            elif not any(path.iterdir()):
                found[inner] = None
    return found
