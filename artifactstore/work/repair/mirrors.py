"""Opening a store with mirrors: copies that damaged and missing objects are read from."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from artifactstore.errors import BackendError, InvalidInputError, NotFoundError
from artifactstore.runtime.remarks import remark
from artifactstore.work.repair.copies import open_copies
from artifactstore.work.session.mirrored import Mirrors
from artifactstore.work.session.session import Session

__all__ = ["open_with_mirrors"]


def open_with_mirrors(url: str | os.PathLike[str] | None, mirrors: Any, options: Mapping[str, Any]) -> Session:
    """Open a store; each mirror is asked for its `store.json`, and left out with a warning if it cannot be reached.

    Raises:
        InvalidInputError: a mirror is not a copy of the store, or `mirrors` is not a list of URLs and stores.
        NotFoundError: no store at a mirror.
    """
    if isinstance(mirrors, str | bytes | os.PathLike) or not isinstance(mirrors, Iterable):
        raise InvalidInputError(f"mirrors= must be a list of URLs or open stores, got {type(mirrors).__name__}")
    found: list[Session] = []
    for one in mirrors:
        try:
            found += open_copies([one], None, what="the mirror", url="", cache=options["cache"])
        except BackendError as error:
            if isinstance(error, NotFoundError) or not error.transient:
                raise
            remark(f"a mirror cannot be reached and is left out: {error}")
    session = Session(url, **options, mirrors=Mirrors(found) if found else None)
    own = session.known_store
    for one in found:
        theirs = one.core().config.store
        if one.backend.url == session.backend.url:
            raise InvalidInputError(f"the mirror {one.url} is the store itself: pass a copy of it")
        if own is not None and theirs != own:
            raise InvalidInputError(
                f"the mirror {one.url} is another store ({theirs[:8]}, not {own[:8]}): pass a copy of this one"
            )
    return session
