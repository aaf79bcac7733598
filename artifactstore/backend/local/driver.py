"""Local folders: a path, `file:///folder`, `local://folder`."""

import os
import re
from typing import Any, Final
from urllib.parse import unquote

from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, refuse_options
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.local.policies import PERMISSIONS, policy
from artifactstore.errors import InvalidInputError

__all__ = ["DRIVER", "file_path"]


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    refuse_options(options, "a folder")
    return LocalBackend(file_path(scheme, rest) if scheme else rest, single_writer=single_writer)


def file_path(scheme: str, rest: str) -> str:
    """Return the local path of a `file://` or `local://` URL.

    Raises:
        InvalidInputError: it names a host, or the path is not absolute.
    """
    if scheme == "local":
        return rest
    host, slash, path = rest.partition("/")
    if host not in {"", "localhost"} or not slash:
        raise InvalidInputError(
            f"file://{rest} must not name a host, and its path must be absolute; expected file:///folder, as pathlib's as_uri() gives"
        )
    path = unquote(path)
    return path if re.match(r"[A-Za-z]:[\\/]", path) and os.name == "nt" else f"/{path}"


DRIVER: Final = BackendDriver("folder", _connect, network=False, permissions=PERMISSIONS, policy=policy)
