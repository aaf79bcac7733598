"""Copies of a store that bytes may come from: URLs, bundles and open stores with the same store id."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.work.session.session import Session

__all__ = ["open_copies"]


def open_copies(given: Any, store: str | None, *, what: str, url: str, cache: Any) -> list[Session]:
    """Open copies.

    Args:
        given: a URL, a path, a bundle, an open store, or a list of these.
        store: the id that they must have; None if it is not known.
        what: the argument, for messages.
        url: of the store that they are copies of.
        cache: its cache folder.

    Raises:
        InvalidInputError: one is not such a thing, is another store, or is the store itself.
        NotFoundError: no store is there.
        BackendError: it cannot be reached.
    """
    found: list[Session] = []
    for one in _listed(given):
        session = _opened(one, what, cache)
        core = session.core()
        if store is not None and core.config.store != store:
            raise InvalidInputError(
                f"{what} {session.url} is another store ({core.config.store[:8]}, not {store[:8]}): only a copy of this one can be used"
            )
        if session.backend.url == url:
            raise InvalidInputError(f"{what} {session.url} is the store itself: pass a copy of it")
        found.append(session)
    return found


def _listed(given: Any) -> Iterator[Any]:
    if given is None:
        return
    if isinstance(given, str | os.PathLike) or hasattr(given, "_session") or not isinstance(given, Iterable):
        yield given
    else:
        yield from given


def _opened(one: Any, what: str, cache: Any) -> Session:
    opened = one if isinstance(one, Session) else getattr(one, "_session", None)
    if isinstance(opened, Session):
        return opened
    if not isinstance(one, str | os.PathLike):
        raise InvalidInputError(f"{what} must be a URL, a path or an open store, or a list of these, got {type(one).__name__}")
    if os.path.isfile(one) and zipfile.is_zipfile(one):  # noqa: PTH113 - may be a URL
        one = f"zip://{os.fspath(one)}"
    return Session(one, mode="r", cache=cache)
