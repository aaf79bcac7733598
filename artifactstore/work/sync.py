"""Syncing two open stores: whether a copy, a move or an import is meant, and who may write where."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifactstore.backend.probe import probe
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.journal.heads import format_head
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.choosing import Wish
from artifactstore.maintenance.move import move as move_store
from artifactstore.maintenance.move import release as release_copy
from artifactstore.maintenance.replicate import replicate
from artifactstore.maintenance.sync import SyncReport
from artifactstore.maintenance.whole import digest_at, is_empty
from artifactstore.model.encoding import new_id
from artifactstore.work.receiving import ImportOptions, receive
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
    importing: ImportOptions | None = None,
) -> SyncReport:
    """Copy, move or import; see `Maintenance.sync`."""
    options = _options(importing or {})
    if session.view is not None:
        raise InvalidInputError("a store as it was at some time can't be synced: open it without at()")
    other = _other(session, target, storage_options)
    if other.backend.url == session.backend.url:
        return _release_here(other, release=release, move=move, dry_run=dry_run)
    _refuse_nesting(session, other)
    core = session.core()
    other.check_writable()
    there = _journal(other)
    if there is None and not is_empty(other.backend):
        raise InvalidInputError(f"{other.url} is no store and holds other things: choose an empty or a new place")
    if there is not None and not dry_run:
        probe(other.backend, there.config.raw)
    if there is None and options.get("names") is not None and not (move or release):
        return _into_new(session, other, options, dry_run=dry_run)
    if there is None or there.config.store == core.config.store:
        if options:
            raise InvalidInputError(
                f"{', '.join(f'{option}=' for option in options)} is for a target that is another store; {other.url} "
                + (
                    "becomes a copy of this one, which is whole"
                    if there is None
                    else "is a copy of this one, and copies are whole"
                )
            )
        return _replica(session, other, moving=move, releasing=release, dry_run=dry_run)
    if move or release:
        raise InvalidInputError(f"{other.url} is another store: a move goes into an empty place, and only a copy can be released")
    return receive(session, other, options, dry_run=dry_run)


def _options(given: Mapping[str, Any]) -> ImportOptions:
    unknown = set(given) - set(ImportOptions.__annotations__)
    if unknown:
        known = ", ".join(sorted(ImportOptions.__annotations__))
        raise InvalidInputError(f"sync has no option {', '.join(sorted(unknown))}; into another store it knows {known}")
    reason = given.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > 10_000):
        raise InvalidInputError("a reason is a str of at most 10,000 characters")
    Wish.checked(given.get("names"), given.get("on_conflict", "leave"), given.get("label"), "")
    checked: Any = {key: value for key, value in given.items() if value is not None and (key, value) != ("on_conflict", "leave")}
    options: ImportOptions = checked
    return options


def _refuse_nesting(session: Session, other: Session) -> None:
    """Refuse a place inside of another: a store in a store's folder would be taken for a part of it."""
    source, target = (_place(one.backend.url) for one in (session, other))
    if source == target:
        raise InvalidInputError(f"{session.url} and {other.url} are the same place: name two")
    for inner, outer in ((source, target), (target, source)):
        if inner.startswith(outer.rstrip("/") + "/"):
            what = "the target lies inside of the source" if inner == target else "the source lies inside of the target"
            raise InvalidInputError(f"{what} ({session.url} and {other.url}): choose a place beside it")


def _place(url: str) -> str:
    return url if "://" in url else Path(url).resolve().as_posix()


def _into_new(session: Session, other: Session, options: ImportOptions, *, dry_run: bool) -> SyncReport:
    """Bring a selection into an empty place, which becomes a store of its own."""
    digest = session.core().config.digest
    if not dry_run:
        other.create(digest)
        return receive(session, other, options, dry_run=False)
    empty = Session(f"memory://dry-run-{new_id()}", cache=None)
    empty.create(digest)
    report = receive(session, empty, options, dry_run=True)
    report.target = other.url
    return report


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
        move_store(source, session.core().appender, other.backend, lambda: _journal(other), watch=session.watch, done=report)
        return report
    replicate(source, other.backend, _journal(other), watch=session.watch, done=report, dry_run=dry_run)
    if releasing and not dry_run:
        copy = _journal(other)
        assert copy is not None  # it was copied a moment ago
        report.released = release_copy(copy)
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
    head = journal.catch_up()
    report.head = format_head(head, digest_at(journal, head))
    if not dry_run:
        report.released = release_copy(journal)
    return report
