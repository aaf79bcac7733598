"""Entry points: what other packages register for this library."""

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from artifactstore.errors import UnsupportedError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["load", "registered_for"]


def registered_for(group: str) -> "EntryPoints":
    """Return the entry points of a group, of all packages on Python's path: 3 ms the first time."""
    return _registered(group, tuple(sys.path))


@cache
def _registered(group: str, path: tuple[str, ...]) -> "EntryPoints":  # noqa: ARG001 - the answer depends on the path
    from importlib.metadata import entry_points  # noqa: PLC0415 - 10 ms, and most processes need none

    return entry_points(group=group)


def load(point: "EntryPoint", what: str, *, make: bool = False) -> Any:
    """Return the object that an entry point names.

    Args:
        point: of another package.
        what: the kind of plugin, for the message.
        make: whether it is a class, of which an instance is returned.

    Raises:
        UnsupportedError: it cannot be loaded.
    """
    try:
        found = point.load()
        return found() if make else found
    except Exception as error:
        raise UnsupportedError(f"the {what} {point.value} cannot be loaded: {error}; fix or remove its package") from error
