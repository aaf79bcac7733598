"""Atomic files: complete under their names, or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError

__all__ = ["durable", "name_new", "refuse_existing", "replace_whole", "staged"]


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a hidden name next to the target; any file under that name is removed at the end.

    Raises:
        BackendError: it cannot be written.
    """
    part = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}.partial")
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


def refuse_existing(target: Path) -> None:
    """Refuse a target that exists.

    Raises:
        AlreadyExistsError: it exists.
    """
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} exists already: choose another name, or remove it first")


def name_new(part: Path, target: Path) -> None:
    """Give a finished file its name, never replacing a file that was created meanwhile.

    Raises:
        AlreadyExistsError: another file has the name.
    """
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise AlreadyExistsError(f"{target} was created by another process meanwhile: choose another name") from error
    except OSError:
        part.rename(target)


def replace_whole(path: Path, *parts: bytes, private: bool = False) -> None:
    """Replace a file that need not survive a crash: readers see the old or the new content, never a part.

    Args:
        path: the file.
        *parts: its bytes.
        private: make it readable by its owner only.

    Raises:
        OSError: the old file is unchanged.
    """
    part = path.with_name(f".{os.urandom(16).hex()}.partial")
    try:
        mode = 0o600 if private else 0o666
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), "wb") as file:
            file.writelines(parts)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
