"""System calls for a folder that must survive a crash: complete, synced writes; system errors become backend errors."""

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError
from artifactstore.runtime.os_errors import os_error

if sys.platform == "darwin":
    import fcntl

__all__ = [
    "IGNORED",
    "READ",
    "Step",
    "absolute",
    "count_links",
    "is_own",
    "make_folder",
    "may_write",
    "pread",
    "read_own",
    "remove_temporary",
    "share_file",
    "share_folder",
    "shared_bits",
    "sync",
    "sync_folder",
    "temporary",
    "write_all",
    "write_gitignore",
]

IGNORED: Final = ".gitignore"  # in a store: not an object; it keeps git from tracking the store's files

# Without O_NONBLOCK, opening a named pipe waits for a writer, for ever if there is none.
READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)

# A file system that cannot sync folders (some FUSE and SMB mounts) has nothing to sync there.
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})


class Step:
    """Context of one write's system calls: their errors become backend errors."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, ArtifactStoreError):
            raise os_error(error, self._path, "write") from error


def absolute(path: str | os.PathLike[str]) -> str:
    """Return an absolute path, `~` expanded.

    Raises:
        InvalidInputError: it is relative to a working directory that no longer exists.
    """
    try:
        return os.path.abspath(os.path.expanduser(os.fspath(path)))  # noqa: PTH100, PTH111 - pathlib drops what Windows needs
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{os.fspath(path)} cannot be resolved: the current folder no longer exists; change to another, or use an absolute path"
        ) from error


def make_folder(folder: str) -> bool:
    """Create one folder; False if it existed already, whoever created it."""
    try:
        os.mkdir(folder)  # noqa: PTH102
    except FileExistsError:
        if not os.path.isdir(folder):  # noqa: PTH112
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
        return False
    return True


def shared_bits(folder: str) -> int:
    """Return the group's permission bits of a shared folder (set-group-ID bit set, as by git's sharedRepository)."""
    mode = os.stat(folder).st_mode  # noqa: PTH116
    return mode & 0o070 if mode & stat.S_ISGID and os.name != "nt" else 0


def share_folder(folder: str, parent: str) -> None:
    """Give the group the same access to a new folder as to its parent, whatever this user's umask is."""
    bits = shared_bits(parent)
    mode = stat.S_IMODE(os.stat(folder).st_mode) if bits else 0  # noqa: PTH116
    if bits and mode | bits | stat.S_ISGID != mode:
        os.chmod(folder, mode | bits | stat.S_ISGID)  # noqa: PTH101


def share_file(fd: int, bits: int) -> None:
    """Give the group the same access to a new file as to its folder, whatever this user's umask is."""
    mode = stat.S_IMODE(os.fstat(fd).st_mode) if bits else 0
    if mode | (bits & 0o060) != mode:
        os.fchmod(fd, mode | (bits & 0o060))


def write_all(fd: int, pieces: Sequence[memoryview]) -> None:
    """Write until nothing is left: one call may write less than it was given."""
    done = os.writev(fd, pieces) if len(pieces) > 1 and hasattr(os, "writev") else 0
    for piece in pieces:
        rest, done = piece[done:], max(0, done - len(piece))
        while rest:
            rest = rest[os.write(fd, rest) :]


def sync(fd: int) -> None:
    """Flush a file's bytes to the disk."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # there, fsync leaves the bytes in the drive's cache
        except OSError:
            os.fsync(fd)
    else:
        os.fsync(fd)


def sync_folder(folder: str) -> None:
    """Flush a folder's entries to the disk."""
    if os.name == "nt":
        return  # folders cannot be opened; NTFS journals their entries itself
    fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def remove_temporary(temporary: str) -> None:
    """Remove a temporary file if it still exists."""
    try:
        os.unlink(temporary)  # noqa: PTH108
    except OSError:
        return  # published by a rename, or left for clean-up


@contextmanager
def temporary(what: str = "") -> Iterator[None]:
    """Explain the failure if the machine has no folder for temporary files, like a container with a read-only root.

    Args:
        what: what needs the file, and an alternative, for the message.

    Raises:
        BackendError: a temporary file cannot be created.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        text = f"{what + ': ' if what else ''}temporary files cannot be written ({error.strerror or error})"
        raise BackendError(f"{text}: set TMPDIR to a writable folder") from error


def is_own(st: os.stat_result) -> bool:
    """Whether only this user (or root) can have written what is in a file or folder.

    Group write permission is accepted if it is the user's own group: many systems give each user one, writable by default.
    """
    if not hasattr(os, "geteuid"):
        return True
    if st.st_uid not in {0, os.geteuid()} or st.st_mode & stat.S_IWOTH:
        return False
    return not st.st_mode & stat.S_IWGRP or _is_private(st.st_gid, st.st_uid)


@cache
def _is_private(group: int, user: int) -> bool:
    if group == user:
        return True
    import grp  # noqa: PLC0415 - not on Windows
    import pwd  # noqa: PLC0415

    try:
        found = grp.getgrgid(group)
        return found.gr_name == pwd.getpwuid(user).pw_name and not found.gr_mem
    except KeyError:
        return False


def may_write(folder: str | Path) -> bool:
    """Whether this process may create files in a folder, with its current user id."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def read_own(path: Path) -> bytes:
    """Read a cache file.

    Raises:
        OSError: it cannot be read, is not a regular file, or another user can write it.
    """
    fd = os.open(path, READ)
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or not is_own(st):
            raise PermissionError(errno.EPERM, "another user can write it", str(path))
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)


def count_links(temporary: str) -> int:
    """Return the number of a file's hard links, read anew (NFS may have cached them for an open file); 0 if unknown."""
    try:
        return os.stat(temporary).st_nlink  # noqa: PTH116
    except OSError:
        return 0


if hasattr(os, "pread"):
    pread = os.pread
else:

    def pread(fd: int, length: int, offset: int) -> bytes:
        """Read at an offset; moving the position is harmless, since the file is the caller's own."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)


def write_gitignore(folder: str) -> None:
    """Create a `.gitignore` that excludes the whole folder, unless there is one; a store works without it."""
    with suppress(OSError), open(f"{folder}/{IGNORED}", "x", encoding="ascii") as file:  # noqa: PTH123
        share_file(file.fileno(), shared_bits(folder))
        file.write("*\n")
