"""Bundling: a store, or a selection of its names, becomes one zip file; whole under its name, or not there at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from artifactstore.errors import AlreadyExistsError, BackendError, CorruptionError, InvalidInputError
from artifactstore.maintenance.bundle import GoneError, bundle_folder, bundle_whole
from artifactstore.maintenance.choosing import Wish
from artifactstore.maintenance.sync import SyncReport
from artifactstore.model.encoding import new_id
from artifactstore.work.place import local_path
from artifactstore.work.receiving import receive
from artifactstore.work.session import Session

__all__ = ["bundle"]

_TRIES: Final = 5  # times that clean-up may take something while it is written


def bundle(session: Session, path: Any, *, names: Any = None) -> SyncReport:
    """Write a bundle; see `Maintenance.bundle`."""
    if session.view is not None:
        raise InvalidInputError("a store as it was at some time can't be bundled: open it without at()")
    target = _target(session, path)
    Wish.checked(names, "leave", None, "")
    report = SyncReport("bundle", session.url, str(target))
    with _written(target) as part:
        if names is None:
            _whole(session, part, report)
        else:
            _selection(session, part, names, report)
    return report


def _target(session: Session, path: Any) -> Path:
    target = local_path(path, "the bundle's path")
    if "://" in os.fspath(path):
        raise InvalidInputError(f"{os.fspath(path)[:200]!r} is a URL: a bundle is written to a file on this machine")
    target = target.absolute()
    if not target.parent.is_dir():
        raise InvalidInputError(f"there is no folder {target.parent}: make it first")
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} is there already: choose another name, or remove it first")
    own = Path(session.url)
    if "://" not in session.url and own.resolve() in target.resolve().parents:
        raise InvalidInputError(f"{target} lies inside of the store: choose a place beside it")
    return target


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    """Give a hidden name beside the target; what is written there gets its name when the block ends well, or is removed."""
    part = target.with_name(f".{target.name[:100]}.{new_id()[:16]}.partial")
    try:
        yield part
        _put_in_place(part, target)
    except OSError as error:
        if isinstance(error, BackendError | AlreadyExistsError):
            raise
        raise BackendError(f"{target} can't be written: {error.strerror or error}; nothing was put in place") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _put_in_place(part: Path, target: Path) -> None:
    try:
        os.link(part, target)  # never over what somebody put there meanwhile
    except FileExistsError as error:
        raise AlreadyExistsError(f"{target} was made by someone else meanwhile: choose another name") from error
    except OSError:
        part.rename(target)


@contextmanager
def _durable(part: Path) -> Iterator[IO[bytes]]:
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _whole(session: Session, part: Path, report: SyncReport) -> None:
    journal = session.core().journal
    for left in reversed(range(_TRIES)):
        report.objects = report.bytes = report.entries = 0
        try:
            with _durable(part) as file:
                bundle_whole(journal, file, watch=session.watch, done=report)
        except GoneError as error:
            before = journal.head
            if journal.catch_up() > before and left:
                continue
            raise CorruptionError(
                f"{session.url} lacks {error}, and its journal says that it should be there: restore it from a copy of the store",
                location=str(error),
            ) from error
        else:
            return


def _selection(session: Session, part: Path, names: Any, report: SyncReport) -> None:
    """Import the selection into a small store beside the target, and pack that one."""
    stage = part.with_suffix(".store")
    try:
        other = Session(stage, cache=None)
        other.create(session.core().config.digest)
        made = receive(session, other, {"names": names}, dry_run=False)
        report.artifacts, report.versions, report.head = made.artifacts, made.versions, made.head
        with _durable(part) as file:
            bundle_folder(other.backend, file, done=report)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
