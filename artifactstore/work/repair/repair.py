"""Repair of an open store, and of a location whose `store.json` cannot be read."""

import os
from collections.abc import Mapping, Sequence
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
    if not dry_run or session.view is not None:
        session.check_writable()
    core = session.core()
    copies = [
        *open_copies(source, core.config.store, what="source", url=session.backend.url, cache=session.cache),
        *session.mirrors,
    ]
    own = _files(files, core.config.digest)
    if not dry_run:
        _refuse_copy(session, damaged_marks=True)
    known = core.journal.known.noted()
    sources = [KnownConfig(core.config.raw), SegmentHistory(session.backend), *(CopyHistory(one.backend) for one in copies)]
    mended = mend_history(session.backend, sources, anchors=dict([known]) if known is not None else {}, dry_run=dry_run)

    def journal() -> tuple[Journal, Appender]:
        if dry_run:
            core.journal.catch_up()
        else:
            _refuse_copy(session, damaged_marks=False)
            session.core_to_write()
            core.journal.catch_up(confirm=True)
        return core.journal, core.appender

    return repair_store(mended, journal, [_copy(one) for one in copies], own, dry_run=dry_run)


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
        As `Maintenance.repair`; and FormatError or CorruptionError, if `store.json` cannot be read and no source was passed.
    """
    try:
        session = Session(url, storage_options=storage_options)
        session.core()
    except (FormatError, CorruptionError) as error:
        where = find_url(url)
        options = {**where.options, **(storage_options or {})} or None
        copies = open_copies(source, None, what="source", url=where.url, cache=cache_folder(DEFAULT))
        if not copies:
            raise
        mended = _mend_config(connect(where.url, storage_options=options), copies, error, dry_run=dry_run)
        if mended.lost or dry_run:
            return Repaired.of(mended.restored, mended.lost, dry_run=dry_run)
        done = repair(Session(url, storage_options=storage_options), source, files=files)
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
