"""`Store.maintenance`: what keeps a store in order. Each method calls one room of `artifactstore.maintenance`."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.work.place import DEFAULT, cache_folder, find_url
from artifactstore.work.session import Session

if TYPE_CHECKING:
    from artifactstore.maintenance.doctor import Place
    from artifactstore.maintenance.doctor_findings import Diagnosis

__all__ = ["Maintenance", "examine_url"]


class Maintenance:
    """The upkeep of one open store; made by `Store.maintenance`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def doctor(self, *, role: str | None = None, quick: bool = False, large: bool = False) -> "Diagnosis":
        """Try each verb and guarantee that a store needs at the place where it lies, in a folder of its own, and clean up.

        Args:
            role: judge it for a `reader` (nothing is written), a `writer` or a `janitor`; by default what the credentials
                allow, and a reader for a store opened with mode="r".
            quick: fewer races and smaller listings, 10 MB at most; otherwise up to 64 MiB go each way together.
            large: also write one object of more than 64 MiB.

        Returns:
            The checks, each with what was tried, what happened, what it means and the fix; `.ok` where all guarantees hold.

        Raises:
            InvalidInputError: no such role.
        """
        from artifactstore.maintenance.doctor import examine  # noqa: PLC0415 - a store that is only used need not load it

        session = self._session
        if role is None and not session.may_write:
            role = "reader"
        return examine(_place_of(session), role=role, quick=quick, large=large)


def _place_of(session: Session) -> "Place":
    from artifactstore.maintenance.doctor import Place  # noqa: PLC0415

    url, options, single_writer = session.given

    def again() -> Backend:
        return connect(url, storage_options=options, single_writer=single_writer)

    return Place(session.backend, again, url, options, single_writer, session.cache)


def examine_url(
    url: str | os.PathLike[str] | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    single_writer: bool = False,
    role: str | None = None,
    quick: bool = False,
    large: bool = False,
) -> "Diagnosis":
    """Examine a place where no store needs to be, or where one can't be opened.

    Raises:
        InvalidInputError: no URL that could mean a store, or no such role.
        UnsupportedError: a scheme whose library is not installed.
    """
    from artifactstore.maintenance.doctor import Place, examine  # noqa: PLC0415

    text, _ = find_url(url)

    def again() -> Backend:
        return connect(text, storage_options=storage_options, single_writer=single_writer)

    place = Place(again(), again, text, storage_options, single_writer, cache_folder(DEFAULT))
    return examine(place, role=role, quick=quick, large=large)
