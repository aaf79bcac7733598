"""Syncing two open stores: whether a copy or a move is meant, and who may write where."""

import os
from collections.abc import Mapping
from typing import Any

from artifactstore.backend.probe import probe
from artifactstore.errors import InvalidInputError, NotFoundError, UnsupportedError
from artifactstore.journal.journal import Journal
from artifactstore.maintenance import replicate as replicas
from artifactstore.maintenance.sync import SyncReport
from artifactstore.work.session import Session

__all__ = ["sync"]


def sync(
    session: Session,
    target: Any,
    *,
    move: bool = False,
    release: bool = False,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> SyncReport:
    """Copy or move; see `Maintenance.sync`."""
    if session.view is not None:
        raise InvalidInputError("a store as it was at some time can't be synced: open it without at()")
    other = _other(session, target, storage_options)
    if other.backend.url == session.backend.url:
        return _release_here(other, release=release, move=move, dry_run=dry_run)
    core = session.core()
    other.check_writable()
    there = _journal(other)
    if there is None and not replicas.is_empty(other.backend):
        raise InvalidInputError(f"{other.url} is no store and holds other things: choose an empty or a new place")
    if there is not None and not dry_run:
        probe(other.backend, there.config.raw)
    if there is None or there.config.store == core.config.store:
        return _replica(session, other, moving=move, releasing=release, dry_run=dry_run)
    if move or release:
        raise InvalidInputError(f"{other.url} is another store: a move goes into an empty place, and only a copy can be released")
    raise UnsupportedError(
        f"{other.url} is another store, and bringing one store's content into another comes in a later release: sync into an empty "
        "place or into a copy of this store; or get from the one and put into the other"
    )


def _other(session: Session, target: Any, storage_options: Mapping[str, Any] | None) -> Session:
    opened = getattr(target, "_session", None)
    if isinstance(opened, Session):
        if storage_options is not None:
            raise InvalidInputError("storage_options belong to a URL: the target is a store that is open already")
        return opened
    if not isinstance(target, str | os.PathLike):
        raise InvalidInputError(f"a target is a URL, a path or an open store, not a {type(target).__name__}")
    return Session(target, storage_options=storage_options, cache=session.cache)


def _journal(session: Session) -> Journal | None:
    try:
        return session.core().journal
    except NotFoundError:
        return None


def _replica(session: Session, other: Session, *, moving: bool, releasing: bool, dry_run: bool) -> SyncReport:
    report = SyncReport("move" if moving else "replica", session.url, other.url, dry_run=dry_run)
    source = (session.core_to_write() if moving and not dry_run and not _has_moved(session) else session.core()).journal
    if moving and not dry_run:
        replicas.move(source, session.core().appender, other.backend, lambda: _journal(other), watch=session.watch, done=report)
        return report
    replicas.replicate(source, other.backend, _journal(other), watch=session.watch, done=report, dry_run=dry_run)
    if releasing and not dry_run:
        copy = _journal(other)
        assert copy is not None  # it was copied a moment ago
        report.released = replicas.release(copy)
    return report


def _has_moved(session: Session) -> bool:
    with session.reading() as state:
        return state.marks["moved_to"] is not None


def _release_here(other: Session, *, release: bool, move: bool, dry_run: bool) -> SyncReport:
    """A copy whose source is lost is released by naming it as its own source."""
    if move or not release:
        raise InvalidInputError(
            f"{other.url} is both the source and the target: name two places, or release=True for a copy whose source is lost"
        )
    other.check_writable()
    report = SyncReport("replica", other.url, other.url, dry_run=dry_run)
    journal = other.core().journal
    report.head = journal.catch_up()
    if not dry_run:
        report.released = replicas.release(journal)
    return report
