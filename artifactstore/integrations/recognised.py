"""Which artifact a folder or file of this machine is, by its content."""

import os

from artifactstore.errors import NotFoundError
from artifactstore.store import Store

__all__ = ["recognised"]


def recognised(store: Store, path: str | os.PathLike[str]) -> str | None:
    """Return the reference of a version with exactly this content; None if the store has none.

    Raises:
        InvalidInputError: there is no such path.
    """
    try:
        found = store.status(path)
    except NotFoundError:
        return None
    return found[0].ref if len(found) == 1 and not found[0].diff else None
