"""Registry of drivers by URL scheme: this library's, and those of other packages."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Final

from artifactstore.backend.driver import BackendDriver
from artifactstore.errors import UnsupportedError
from artifactstore.runtime.entry_points import load, registered_for

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
    if scheme in SCHEMES:
        return _load(SCHEMES[scheme])
    for point in registered_for(_GROUP):
        if point.name.lower() == scheme:
            driver = load(point, "backend")
            if not isinstance(driver, BackendDriver):
                raise UnsupportedError(f"the backend {point.value} must be an artifactstore.plugins.BackendDriver")
            return driver
    return None


def driver_of(url: str) -> BackendDriver | None:
    """Return the driver of a URL or a path."""
    scheme, separator, _ = url.partition("://")
    return driver_for(scheme.lower() if separator else "")


def registered() -> list[str]:
    """Return the schemes that other packages register."""
    return sorted(point.name.lower() for point in registered_for(_GROUP))


@cache
def _load(where: str) -> BackendDriver:
    module, _, name = where.partition(":")
    found: BackendDriver = getattr(import_module(f"artifactstore.backend.{module}"), name)
    return found
