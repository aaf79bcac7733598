"""`Store.maintenance`: what keeps a store in order. Each method calls one room of `artifactstore.maintenance`."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.journal.heads import format_head
from artifactstore.work.place import DEFAULT, cache_folder, find_url
from artifactstore.work.session import Session

if TYPE_CHECKING:
    from artifactstore.maintenance.doctor import Place
    from artifactstore.maintenance.doctor_findings import Diagnosis
    from artifactstore.maintenance.snapshot import Published
    from artifactstore.maintenance.sync import SyncReport
    from artifactstore.work.receiving import ImportOptions

__all__ = ["Maintenance", "examine_url"]


class Maintenance:
    """The upkeep of one open store; made by `Store.maintenance`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sync(
        self,
        target: str | os.PathLike[str] | Any,
        *,
        move: bool = False,
        release: bool = False,
        dry_run: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        **importing: "Unpack[ImportOptions]",
    ) -> "SyncReport":
        """Bring this store to another place. Run again, it copies what is new, and goes on where it was killed.

        An empty target, or a copy of this store, becomes a *replica*: the same store, byte for byte, readable, and written
        to by sync alone. Another store *imports*: content that it lacks moves, and names come with their versions, aliases
        and marks, by their own actors at their own times. What a store has said itself stands above what it is told: a name
        whose versions differ in both is left out, or comes as `<name>.from-<label>`.

        Args:
            target: a URL, a path, or an open store.
            move: then close this place for writing and open the other; reading here goes on. Into an empty place only.
            release: then make the copy writable, although this place stays writable too: from then on the two diverge.
                A copy whose source is lost is released by naming it as its own target.
            dry_run: write nothing; the report says what would be copied.
            storage_options: of the target, where it is a URL.
            **importing: for a target that is another store, see `ImportOptions`: names, on_conflict, label, reason. With
                names=, an empty place becomes a new store that holds these.

        Returns:
            What was copied, whether the target was released and the store moved; what an import left out, and why.

        Raises:
            ConflictError: two places of this store have different histories; names the first entry that differs.
            RefusedError: the source is unfinished or has moved; the target has moved or can't be written to.
            InvalidInputError: the target holds other things, is the source itself or lies inside of it.
            NotFoundError: no store here, or no name that one of `names` means.
            UnsupportedError: the target is another store with another digest algorithm.
            CorruptionError: the source is damaged; what is whole was copied.
            BackendError: a place failed; run it again.
        """
        from artifactstore.work.sync import sync  # noqa: PLC0415 - opening a store must not load what few need

        return sync(
            self._session,
            target,
            move=move,
            release=release,
            dry_run=dry_run,
            storage_options=storage_options,
            importing=importing,
        )

    def bundle(self, path: str | os.PathLike[str], *, names: Sequence[str] | None = None) -> "SyncReport":
        """Write this store, or a selection of it, as one zip file: to be carried where no network goes.

        `artifactstore.open("zip://PATH")` reads it where it lies, and `sync` copies or imports it from there. A whole store
        is a copy: the same entries, byte for byte, and the same store at the same entry gives the same file. A selection is a
        small store of its own whose history was received from this one.

        Args:
            path: the file; it must not exist. It appears when it is whole: an interrupted bundle leaves nothing behind.
            names: names or patterns (`churn/*`); everything by default.

        Returns:
            How much is in it.

        Raises:
            AlreadyExistsError: there is such a file.
            InvalidInputError: a path that can't be written, or inside of the store.
            NotFoundError: no store here, or no name that one of `names` means.
            CorruptionError: the store is damaged.
            RefusedError: this is an unfinished copy.
            BackendError: reading or writing failed.
        """
        from artifactstore.work.bundling import bundle  # noqa: PLC0415 - as in sync

        return bundle(self._session, path, names=names)

    def accept_head(self) -> str:
        """Take the present end of the journal for right on this machine, whose cache knew a longer one or another; returns it.

        Until then this machine warns at each opening and writes nothing there. Look first for what happened: whoever deleted
        the last entries wants exactly this call.
        """
        journal = self._session.core().journal
        journal.catch_up()
        journal.known.accept(journal.head, journal.digest)
        return format_head(journal.head, journal.digest)

    def snapshot(self) -> "Published":
        """Write down what the journal adds up to, so that whoever opens this store for the first time need not read all of it.

        Worth it from some tens of thousands of entries on: without one, the first process on a machine reads and folds every
        entry (80 µs each, some 80 s for a million); with one, what came after it. A `snapshot` fact in the journal vouches
        for the digest of its bytes, `verify` compares it with the journal. It is only derived: it may be deleted.

        Returns:
            The entry up to which it goes, its digest and size, and whether it was written now.

        Raises:
            NotFoundError: no store here.
            RefusedError: the store can't be written.
            BackendError: the place failed; run it again.
        """
        from artifactstore.maintenance.snapshot import publish  # noqa: PLC0415 - as in sync

        self._session.check_writable()
        self._session.core()
        core = self._session.core_to_write()
        return publish(core.journal, core.appender)

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
