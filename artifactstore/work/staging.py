"""Files that are whole under their names or not there at all: where they may lie, and how they get there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, InvalidInputError
from artifactstore.model.encoding import new_id
from artifactstore.work.place import local_path
from artifactstore.work.session import Session

__all__ = ["durable", "name_new", "staged", "target_of"]


def target_of(session: Session, to: Any, *, what: str, said: str) -> Path:
    """Return where to write a file of this machine.

    Args:
        session: the store, in which nothing may be written.
        to: what the caller said.
        what: what that is called in messages.
        said: what is written there, in the message about a URL.

    Raises:
        InvalidInputError: a URL, a place in the store itself, or one whose folder is not there.
    """
    target = local_path(to, what)
    if "://" in os.fspath(to):
        raise InvalidInputError(f"{os.fspath(to)[:200]!r} is a URL: {said} is written to a file on this machine")
    target = target.absolute()
    if not target.parent.is_dir():
        raise InvalidInputError(f"there is no folder {target.parent}: make it first")
    if "://" not in session.url and Path(session.url).resolve() in (target.resolve(), *target.resolve().parents):
        raise InvalidInputError(
            f"{target} lies inside of the store: choose a place beside it, nothing else is written in the store itself"
        )
    return target


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a hidden name beside the target; what is left there at the end is removed.

    Raises:
        BackendError: it can't be written.
    """
    part = target.with_name(f".{target.name[:100]}.{new_id()[:16]}.partial")
    try:
        yield part
    except OSError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        raise BackendError(f"{target} can't be written: {error.strerror or error}; nothing was put in place") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def durable(part: Path) -> Iterator[IO[bytes]]:
    """Open a file that is on the disk when the block ends."""
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def name_new(part: Path, target: Path) -> None:
    """Give a finished file its name, never over what somebody put there meanwhile.

    Raises:
        AlreadyExistsError: somebody did.
    """
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise AlreadyExistsError(f"{target} was made by someone else meanwhile: choose another name") from error
    except OSError:
        part.rename(target)
