"""Bundles: a store, or a selection of its names, written into one zip file; complete under its name, or absent."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

from artifactstore.backend.readonly.zip import ZipBackend
from artifactstore.errors import AlreadyExistsError, CorruptionError, InvalidInputError
from artifactstore.journal.chain import key_number
from artifactstore.maintenance.sync.bundle import GoneError, bundle_folder, bundle_whole
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.maintenance.sync.report import SyncReport
from artifactstore.runtime.atomic_files import durable, name_new, staged
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import target_of
from artifactstore.work.sync.import_store import ImportOptions, receive

__all__ = ["bundle"]

_TRIES: Final = 5  # attempts, as clean-up may remove objects meanwhile


def bundle(session: Session, path: Any, *, names: Any = None, with_lineage: Any = False) -> SyncReport:
    """Write a bundle; see `Maintenance.bundle`."""
    if session.view is not None:
        raise InvalidInputError("cannot bundle a view of the past: open the store without at()")
    target = _target(session, path)
    ImportFilter.checked(names, "leave", None, "", lineage=with_lineage)
    report = SyncReport("bundle", session.url, str(target))
    with staged(target) as part:
        if names is None:
            _whole(session, part, report)
        else:
            _selection(session, part, {"names": names, "with_lineage": with_lineage}, report)
        _check(part, report)
        name_new(part, target)
    return report


def _check(part: Path, report: SyncReport) -> None:
    """Open a bundle as its readers will, before it gets its name.

    Raises:
        CorruptionError: readers would reject it.
    """
    backend = ZipBackend(part)
    journal = Session(backend.url, mode="r", cache=None).core().journal
    entries = sum(key_number(item.key) is not None for item in backend.list("journal/"))
    if not journal.catch_up() == entries == report.entries:
        raise CorruptionError(
            f"expected {report.entries} entries in the bundle, got {entries}: make it again", location=str(part)
        )


def _target(session: Session, path: Any) -> Path:
    target = target_of(session.url, path, what="the bundle's path", kind="a bundle")
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} exists already: choose another name, or remove it first")
    return target


def _whole(session: Session, part: Path, report: SyncReport) -> None:
    journal = session.core().journal
    for left in reversed(range(_TRIES)):
        report.objects = report.bytes = report.entries = 0
        try:
            with durable(part) as file:
                bundle_whole(journal, file, watch=session.watch, done=report)
        except GoneError as error:
            before = journal.head
            if journal.catch_up() > before and left:
                continue
            raise CorruptionError(
                f"{error} is missing in {session.url}, but the journal names it: restore it from a copy of the store",
                location=str(error),
            ) from error
        else:
            return


def _selection(session: Session, part: Path, options: ImportOptions, report: SyncReport) -> None:
    """Import the selection into a small store beside the target, and pack that store."""
    stage = part.with_suffix(".store")
    try:
        other = Session(stage, cache=None)
        other.create(session.core().config.digest)
        made = receive(session, other, options, dry_run=False)
        report.artifacts, report.versions, report.head = made.artifacts, made.versions, made.head
        report.left_out, report.lacking = made.left_out, made.lacking
        with durable(part) as file:
            bundle_folder(other.backend, file, done=report)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
