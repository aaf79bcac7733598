"""Syncing two open stores: choose between copy, move and import, and check write access."""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifactstore.backend.exclusive_create_probe import probe
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.journal.heads import format_head
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.maintenance.sync.move import move as move_store
from artifactstore.maintenance.sync.move import release as release_copy
from artifactstore.maintenance.sync.object_copy import digest_at, is_empty
from artifactstore.maintenance.sync.replicate import replicate
from artifactstore.maintenance.sync.report import SyncReport
from artifactstore.work.session.session import Session
from artifactstore.work.sync.import_crate import import_crate, is_crate
from artifactstore.work.sync.import_store import ImportOptions, receive
from artifactstore.work.sync.new_store import empty_store

__all__ = ["import_from", "sync"]


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
        raise InvalidInputError("cannot sync a view of the past: open the store without at()")
    other = _other(session, target, storage_options)
    if other.backend.url == session.backend.url:
        return _release_here(other, release=release, move=move, dry_run=dry_run)
    _refuse_nesting(session, other)
    core = session.core()
    other.check_writable()
    there = _journal(other)
    if there is None and not is_empty(other.backend):
        raise InvalidInputError(f"{other.url} is not an artifactstore and is not empty: choose an empty or new location")
    if there is not None and not dry_run:
        probe(other.backend, there.config.raw)
    if there is None and options.get("names") is not None and not (move or release):
        return _into_new(session, other, options, dry_run=dry_run)
    if there is None or there.config.store == core.config.store:
        if options:
            raise InvalidInputError(
                f"{', '.join(f'{option}=' for option in options)} is for a target that is another store; {other.url} "
                + (
                    "becomes a copy of this one, which is complete"
                    if there is None
                    else "is a copy of this one, and copies are complete"
                )
            )
        return _replica(session, other, moving=move, releasing=release, dry_run=dry_run)
    if move or release:
        raise InvalidInputError(f"{other.url} is another store: a move needs an empty location, and only a copy can be released")
    return receive(session, other, options, dry_run=dry_run)


def import_from(
    session: Session, source: Any, *, dry_run: bool, storage_options: Mapping[str, Any] | None, importing: Mapping[str, Any]
) -> SyncReport:
    """Import a crate, a bundle or another store; see `Maintenance.import_from`."""
    options = _options(importing)
    if storage_options is None and is_crate(source):
        session.check_writable()
        return import_crate(session, source, options, dry_run=dry_run)
    if isinstance(source, str | os.PathLike) and os.path.isfile(source) and zipfile.is_zipfile(source):  # noqa: PTH113 - may be a URL
        source = f"zip://{os.fspath(source)}"
    other = _other(session, source, storage_options)
    other.core()  # a source that does not exist must not become a new store
    _refuse_nesting(session, other)
    return sync(other, _Opened(session), dry_run=dry_run, importing=options)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open store, as the target of a sync."""

    _session: Session


def _options(given: Mapping[str, Any]) -> ImportOptions:
    unknown = set(given) - set(ImportOptions.__annotations__)
    if unknown:
        known = ", ".join(sorted(ImportOptions.__annotations__))
        raise InvalidInputError(f"sync has no option {', '.join(sorted(unknown))}; for another store, expected {known}")
    reason = given.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > 10_000):
        raise InvalidInputError("reason must be a str of at most 10,000 characters")
    lineage = given.get("with_lineage", False)
    ImportFilter.checked(given.get("names"), given.get("on_conflict", "leave"), given.get("label"), "", lineage=lineage)
    usual = (("on_conflict", "leave"), ("with_lineage", False))
    checked: Any = {key: value for key, value in given.items() if value is not None and (key, value) not in usual}
    options: ImportOptions = checked
    return options


def _refuse_nesting(session: Session, other: Session) -> None:
    """Refuse a location inside the other: a store in a store's folder would be taken for a part of it."""
    source, target = (_location(one.backend.url) for one in (session, other))
    if source == target:
        raise InvalidInputError(f"{session.url} and {other.url} are the same location: pass two")
    for inner, outer in ((source, target), (target, source)):
        if inner.startswith(outer.rstrip("/") + "/"):
            what = "the target is inside the source" if inner == target else "the source is inside the target"
            raise InvalidInputError(f"{what} ({session.url} and {other.url}): choose a location outside")


def _location(url: str) -> str:
    return url if "://" in url else Path(url).resolve().as_posix()


def _into_new(session: Session, other: Session, options: ImportOptions, *, dry_run: bool) -> SyncReport:
    """Import a selection into an empty location, which becomes a separate store."""
    digest = session.core().config.digest
    if not dry_run:
        other.create(digest)
        return receive(session, other, options, dry_run=False)
    report = receive(session, empty_store(digest), options, dry_run=True)
    report.target = other.url
    return report


def _other(session: Session, target: Any, storage_options: Mapping[str, Any] | None) -> Session:
    opened = getattr(target, "_session", None)
    if isinstance(opened, Session):
        if storage_options is not None:
            raise InvalidInputError("storage_options belong to a URL: the target is an open store")
        return opened
    if not isinstance(target, str | os.PathLike):
        raise InvalidInputError(f"target must be a URL, a path or an open store, got {type(target).__name__}")
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
    with session.state() as state:
        return state.header["moved_to"] is not None


def _release_here(other: Session, *, release: bool, move: bool, dry_run: bool) -> SyncReport:
    """Release a copy whose source is lost; it is passed as its own source."""
    if move or not release:
        raise InvalidInputError(
            f"{other.url} is both the source and the target: pass two locations, or release=True for a copy whose source is lost"
        )
    other.check_writable()
    report = SyncReport("replica", other.url, other.url, dry_run=dry_run)
    journal = other.core().journal
    head = journal.catch_up()
    report.head = format_head(head, digest_at(journal, head))
    if not dry_run:
        report.released = release_copy(journal)
    return report
