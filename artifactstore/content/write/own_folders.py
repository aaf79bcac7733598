"""Recognises this library's own folders (stores and caches), which are not content of the project around them."""

import os
import re
from pathlib import Path
from typing import Final

from artifactstore.model.facts import CONFIG_KEY, is_config

__all__ = ["CONFIG_BYTES", "is_store", "own_folder_of"]

CONFIG_BYTES: Final = 2**20  # more than any store.json
_CACHED: Final = re.compile(  # a path inside a cache; group: up to the cache's folder
    r"(?P<folder>(?:.*?/)?)"
    r"(?:stat-(?:blake3|sha256)\.sqlite(?:-\w+)?$|trees/(?:blake3|sha256)-[0-9a-f]{64}(?:-[0-9a-f]{16})?/|stores/[0-9a-f]{32}/)",
    re.ASCII,
)


def is_store(disk: str) -> bool:
    """Return whether a local folder is an artifactstore."""
    config = f"{disk}/{CONFIG_KEY}"
    try:
        if not os.path.isfile(config) or os.path.getsize(config) > CONFIG_BYTES:  # noqa: PTH113, PTH202 - each folder of a scan
            return False
        return is_config(Path(config).read_bytes())
    except OSError:
        return False


def own_folder_of(root: str, path: str) -> str | None:
    """Return the folder of the store or cache that a file belongs to, from its path below `root`; None for other files.

    The result is a path below `root`, ending with `/`, or empty for `root` itself.
    """
    folder, slash, name = path.rpartition("/")
    if name == CONFIG_KEY:
        return f"{folder}{slash}" if is_store(f"{root}/{folder}") else None
    found = _CACHED.match(path)
    return None if found is None else found["folder"]
