"""Registry of drivers by URL scheme: this library's, and those of other packages."""

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Final

from artifactstore.backend.driver import BackendDriver
from artifactstore.errors import UnsupportedError

__all__ = ["SCHEMES", "driver_for", "driver_of", "registered"]

_GROUP: Final = "artifactstore.backends"  # entry points: the name is the scheme, the value a `BackendDriver`
SCHEMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("", "file", "local"), "local.driver:DRIVER"),  # "": a path
    "memory": "memory:DRIVER",
    "zip": "readonly.driver:ZIP",
    **dict.fromkeys(("s3", "s3a"), "s3.driver:DRIVER"),
    **dict.fromkeys(("abfss", "abfs", "az"), "azure.driver:DRIVER"),
    **dict.fromkeys(("gs", "gcs"), "gcs.driver:DRIVER"),
    **dict.fromkeys(("sftp", "ssh"), "sftp.driver:DRIVER"),
    **dict.fromkeys(("http", "https"), "readonly.driver:WEB"),
}


def driver_for(scheme: str) -> BackendDriver | None:
    """Return the driver of a scheme, "" for paths; None where no package has registered one.

    Raises:
        UnsupportedError: the driver of another package cannot be loaded.
    """
    return _load(SCHEMES[scheme]) if scheme in SCHEMES else _registered(tuple(sys.path)).get(scheme)


def driver_of(url: str) -> BackendDriver | None:
    """Return the driver of a URL or a path."""
    scheme, separator, _ = url.partition("://")
    return driver_for(scheme.lower() if separator else "")


def registered() -> list[str]:
    """Return the schemes that other packages register."""
    return sorted(_registered(tuple(sys.path)))


@cache
def _load(where: str) -> BackendDriver:
    module, _, name = where.partition(":")
    found: BackendDriver = getattr(import_module(f"artifactstore.backend.{module}"), name)
    return found


@cache
def _registered(path: tuple[str, ...]) -> dict[str, BackendDriver]:  # noqa: ARG001 - the answer depends on it
    from importlib.metadata import entry_points  # noqa: PLC0415 - 10 ms, and most stores need none

    found = {}
    for point in entry_points(group=_GROUP):
        try:
            found[point.name.lower()] = point.load()
        except Exception as error:
            raise UnsupportedError(
                f"the backend {point.value} cannot be loaded: {error}; repair or uninstall its package"
            ) from error
        if not isinstance(found[point.name.lower()], BackendDriver):
            raise UnsupportedError(f"the backend {point.value} must be an artifactstore.plugins.BackendDriver")
    return found
