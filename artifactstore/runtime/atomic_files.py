"""Atomic files: complete under their names or absent; and checks of their location."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, InvalidInputError
from artifactstore.model.encoding import new_id
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import local_path

__all__ = ["durable", "name_new", "staged", "target_of"]


def target_of(session: Session, to: Any, *, what: str, said: str) -> Path:
    """Check and return the path of a file to write on this machine.

    Args:
        session: the store, which must not contain the path.
        to: the path as passed by the caller.
        what: the name of the argument in messages.
        said: the kind of the file, in the message about a URL.

    Raises:
        InvalidInputError: a URL, a path in the store itself, or in a folder that does not exist.
    """
    target = local_path(to, what)
    if "://" in os.fspath(to):
        raise InvalidInputError(f"{os.fspath(to)[:200]!r} is a URL: {said} is written to a file on this machine")
    target = target.absolute()
    if not target.parent.is_dir():
        raise InvalidInputError(f"the folder {target.parent} does not exist: make it first")
    if "://" not in session.url and Path(session.url).resolve() in (target.resolve(), *target.resolve().parents):
        raise InvalidInputError(
            f"{target} is inside the store: choose a path outside, as only the store's own files may be there"
        )
    return target


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a hidden name beside the target; any file under that name is removed at the end.

    Raises:
        BackendError: it cannot be written.
    """
    part = target.with_name(f".{target.name[:100]}.{new_id()[:16]}.partial")
    try:
        yield part
    except OSError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        raise BackendError(f"cannot write {target}: {error.strerror or error}; nothing was written") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def durable(part: Path) -> Iterator[IO[bytes]]:
    """Open a file that is synced to disk when the block ends."""
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def name_new(part: Path, target: Path) -> None:
    """Give a finished file its name, never replacing a file that was made meanwhile.

    Raises:
        AlreadyExistsError: another file has the name.
    """
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise AlreadyExistsError(f"{target} was made by another process meanwhile: choose another name") from error
    except OSError:
        part.rename(target)
