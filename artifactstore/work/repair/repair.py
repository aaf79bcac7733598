"""Repair of an open store, and of a location whose `store.json` cannot be read."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from artifactstore.backend.connect import connect
from artifactstore.catalog.rows import Rows
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, FormatError, InvalidInputError, RefusedError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import read_replica_status
from artifactstore.maintenance.repair.chunks import Copy, Files
from artifactstore.maintenance.repair.history import Mended, mend_history
from artifactstore.maintenance.repair.history_sources import CopyHistory, HistorySource, KnownConfig, SegmentHistory
from artifactstore.maintenance.repair.repair import repair as repair_store
from artifactstore.maintenance.repair.report import Repaired, Restored
from artifactstore.model.facts import CONFIG_KEY
from artifactstore.work.repair.copies import open_copies
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import DEFAULT, cache_folder, find_url

__all__ = ["repair", "repair_url"]


def repair(session: Session, source: Any = None, *, files: Any = None, dry_run: bool = False) -> Repaired:
    """Repair an open store; see `Maintenance.repair`."""
    if not isinstance(dry_run, bool):
        raise InvalidInputError(f"dry_run= must be True or False, got {dry_run!r}")
    if session.mirrors is not None:
        return _with_mirrors(session, source, files, dry_run=dry_run)
    if not dry_run or session.view is not None:
        session.check_writable()
    core = session.core()
    copies = open_copies(source, core.config.store, what="source", url=session.backend.url, cache=session.cache)
    own = _files(files, core.config.digest)
    if not dry_run:
        _refuse_copy(session, damaged_marks=True)
    known = core.journal.known.noted()
    sources = [KnownConfig(core.config.raw), SegmentHistory(session.backend), *(CopyHistory(one.backend) for one in copies)]
    mended = mend_history(session.backend, sources, anchors=dict([known]) if known is not None else {}, dry_run=dry_run)
    right = mended.bytes.get(CONFIG_KEY, core.config.raw)
    if right != core.config.raw and not dry_run:  # it was opened with a damaged one that can be parsed
        url, options, single_writer = session.connection_args
        session = Session(url, storage_options=options, single_writer=single_writer, cache=session.cache)
        core = session.core()

    def journal() -> tuple[Journal, Appender]:
        if dry_run:
            core.journal.catch_up()
        else:
            _refuse_copy(session, damaged_marks=False)
            session.core_to_write()
            core.journal.catch_up(confirm=True)
        return core.journal, core.appender

    return repair_store(mended, journal, [_copy(one) for one in copies], own, dry_run=dry_run)


def _with_mirrors(session: Session, source: Any, files: Any, *, dry_run: bool) -> Repaired:
    """Repair a store that was opened with mirrors, as it is without them."""
    mirrors = session.mirrors
    assert mirrors is not None  # called only then
    if not dry_run or session.view is not None:
        with suppress(CorruptionError):  # that its history is damaged keeps others from writing
            session.check_writable()
    url, options, single_writer = session.connection_args
    core = session.core()
    copies = [
        *open_copies(source, core.config.store, what="source", url=session.backend.url, cache=session.cache),
        *mirrors.sessions,
    ]
    given: dict[str, Any] = {"storage_options": options, "single_writer": single_writer, "cache": session.cache}
    done = _repair_url(url, copies, files, dry_run=dry_run, options=given)
    if not dry_run:
        mirrors.repaired(core.journal)
    return done


def repair_url(
    url: str | os.PathLike[str] | None = None,
    source: Any = None,
    *,
    files: Any = None,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Repaired:
    """Repair the store at a location, also where `store.json` is missing or cannot be read.

    A copy gives `store.json` back if the journal continues it: then it is the same store.

    Raises:
        As `Maintenance.repair`; and FormatError, CorruptionError or BackendError, if `store.json` cannot be read and no source was passed.
    """
    return _repair_url(url, source, files, dry_run=dry_run, options={"storage_options": storage_options})


def _repair_url(url: Any, source: Any, files: Any, *, dry_run: bool, options: Mapping[str, Any]) -> Repaired:
    try:
        session = Session(url, **options)
        session.core()
        session.backend.read(CONFIG_KEY)  # this machine may know the store, and others cannot open it
    except (FormatError, CorruptionError, BackendError) as error:
        if isinstance(error, BackendError) and error.transient:
            raise
        where = find_url(url)
        about = {**where.options, **(options.get("storage_options") or {})} or None
        copies = _as_copies(source, where.url)
        if not copies:
            raise
        backend = connect(where.url, storage_options=about, single_writer=bool(options.get("single_writer")))
        mended = _mend_config(backend, copies, error, dry_run=dry_run)
        if mended.lost or dry_run:
            return Repaired.of(mended.restored, mended.lost, dry_run=dry_run)
        done = repair(Session(url, **options), copies, files=files)
        rows = dict.fromkeys([*mended.restored, *done.restored])
        done.restored = Rows(Restored, list(rows))
        return done
    return repair(session, source, files=files, dry_run=dry_run)


def _mend_config(backend: Any, copies: Sequence[Session], error: ArtifactStoreError, *, dry_run: bool) -> Mended:
    if backend.read_only and not dry_run:
        raise RefusedError(f"{backend.url} is read-only: repair a copy of it that can be written")
    sources: list[HistorySource] = [SegmentHistory(backend), *(CopyHistory(one.backend) for one in copies)]
    found = mend_history(backend, sources, dry_run=True)
    if any(one.key == CONFIG_KEY for one in found.lost):
        raise InvalidInputError(
            f"the {CONFIG_KEY} of {', '.join(one.url for one in copies)} is not what the journal of {backend.url} begins with: "
            "it is another store"
        ) from error
    return found if dry_run else mend_history(backend, sources)


def _as_copies(source: Any, url: str) -> list[Session]:
    return open_copies(source, None, what="source", url=url, cache=cache_folder(DEFAULT))


def _files(files: Any, algorithm: str) -> Files | None:
    if files is None:
        return None
    some = [files] if isinstance(files, str | os.PathLike) else files
    if not isinstance(some, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in some):
        raise InvalidInputError("files= must be a folder or a file, or a list of these")
    return Files(some, algorithm) if some else None


def _refuse_copy(session: Session, *, damaged_marks: bool) -> None:
    """Refuse to write to a copy that was not released.

    Args:
        session: the store.
        damaged_marks: whether its marks may be damaged: they are mended first.

    Raises:
        RefusedError: it is such a copy.
    """
    try:
        status = read_replica_status(session.backend, session.core().config.store)
    except CorruptionError:
        if damaged_marks:
            return
        raise
    if not status.writable:
        raise RefusedError(
            f"{session.url} is a copy of a store, and only sync writes to it: sync it again from its source, or make another copy"
        )


def _copy(session: Session) -> Copy:
    journal: Journal | None = session.core().journal
    try:
        assert journal is not None  # just read
        journal.catch_up()
    except ArtifactStoreError as error:
        if isinstance(error, BackendError) and error.transient:
            raise
        journal = None
    return Copy(session.backend, journal)
