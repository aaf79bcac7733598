"""Partial folders: a tree is written into a hidden folder first, on which its process holds a lock.

If that process died, the kernel has released the lock, and the next get into the same folder removes the remains. No put
stores a partial folder.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import new_id

if sys.platform != "win32":
    import fcntl

__all__ = ["is_partial", "lock", "partial_folder"]

_PARTIAL: Final = re.compile(r"\.(.+\.)?([0-9a-f]{16}|[0-9a-f]{32})\.partial", re.DOTALL)
_LOCKED: Final = re.compile(r"\.get\.[0-9a-f]{16}\.partial")  # names that are locked by their process while it lives
_LITTER: Final = 86_400.0  # seconds after which a partial folder without a lock is litter


def is_partial(name: str) -> bool:
    """Return whether a name is one that this library gives to incomplete files and folders."""
    return name.endswith(".partial") and _PARTIAL.fullmatch(name) is not None


@contextmanager
def partial_folder(*parents: Path) -> Iterator[Path]:
    """Create a partial folder in the first writable one of `parents`; its remains are removed at the end.

    Raises:
        InvalidInputError: none of them is writable.
    """
    for parent in parents:
        try:
            folder, fd = _make(parent)
        except OSError as error:
            if parent is parents[-1]:
                raise InvalidInputError(
                    f"{parent} cannot be written: {error.strerror or error}; choose another target"
                ) from error
            continue
        break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if fd is not None:
            os.close(fd)


def _make(parent: Path) -> tuple[Path, int | None]:
    parent.mkdir(parents=True, exist_ok=True)
    _clear(parent)
    while True:
        folder = parent / f".get.{new_id()[:16]}.partial"
        folder.mkdir()
        # Until it is locked, another get may take it for litter.
        with suppress(BlockingIOError, FileNotFoundError):
            fd = lock(folder)
            if folder.is_dir():
                return folder, fd
            if fd is not None:
                os.close(fd)


def _clear(parent: Path) -> None:
    """Remove what dead processes left in a folder."""
    with suppress(OSError):
        for name in os.listdir(parent):  # noqa: PTH208 - names alone: there may be very many
            if name.endswith(".partial") and (_LOCKED.fullmatch(name) or is_partial(name)):
                _clear_one(parent / name)


def _clear_one(folder: Path) -> None:
    with suppress(OSError):
        if folder.is_symlink() or not folder.is_dir():
            return
        fd = lock(folder, alone=True) if _LOCKED.fullmatch(folder.name) else None
        try:
            if fd is not None or time.time() - folder.stat().st_mtime > _LITTER:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            if fd is not None:
                os.close(fd)


def lock(path: Path, *, alone: bool = False) -> int | None:
    """Lock a file or folder for this process, until the returned file descriptor is closed.

    Args:
        path: the file or folder.
        alone: fail if another living process uses it.

    Returns:
        The file descriptor; None if the file system or the platform has no such locks.

    Raises:
        BlockingIOError: another process uses it, or is about to remove it.
        OSError: it cannot be opened.
    """
    if sys.platform == "win32":
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise
        return None  # NFS grants no exclusive lock on a file open for reading
    return fd
