"""Publication of a finished file: exclusively, by a hard link or a rename of the only writer, or in the place of another."""

import errno
import os
import threading
from contextlib import suppress
from typing import Final

from artifactstore.errors import AlreadyExistsError, BackendError, UnsupportedError
from artifactstore.runtime.local_files import count_links

__all__ = ["link_new", "replace"]

# Error codes of file systems without hard links: exFAT and FAT EPERM, blobfuse and other FUSE ENOSYS or ENOTSUP, some EMLINK.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


class _CreateLock:
    """One lock per process for `create` without links; a forked child gets a free one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def renew(self) -> None:
        self.lock = threading.Lock()


_TURN: Final = _CreateLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_TURN.renew)


def link_new(temporary: str, path: str, *, url: str, single_writer: bool) -> None:
    """Give the finished file its name unless that is taken: one atomic step of the kernel, so exactly one of many wins."""
    if os.name == "nt":
        try:
            os.rename(temporary, path)  # noqa: PTH104 - on Windows it refuses an existing target, as needed here
        except FileExistsError as error:
            raise _exists(path) from error
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        # NFS: the reply to a successful link may get lost; the repeated request then fails with EEXIST (open(2), O_EXCL).
        if count_links(temporary) == 2:
            return
        if error.errno == errno.EEXIST:
            raise _exists(path) from error
        if error.errno not in _NO_LINKS:
            raise
        if not single_writer:
            raise UnsupportedError(
                f"the file system of {url} has no hard links ({error.strerror}), so concurrent writers would overwrite each "
                "other: keep the store elsewhere, or pass single_writer=True if nothing else ever writes to it"
            ) from error
        _rename_as_only_writer(temporary, path)


def replace(temporary: str, path: str) -> None:
    """Give the finished file its name, in the place of what is there: a file, or an empty folder."""
    try:
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114
            raise
        with suppress(OSError):
            os.rmdir(path)  # noqa: PTH106
        os.replace(temporary, path)  # noqa: PTH105


def _rename_as_only_writer(temporary: str, path: str) -> None:
    # Not O_EXCL on the name itself: a crash would leave half an object under that name for ever.
    with _TURN.lock:
        if os.path.lexists(path):
            raise _exists(path)
        os.rename(temporary, path)  # noqa: PTH104


def _exists(path: str) -> Exception:
    if os.path.isdir(path):  # noqa: PTH112
        return BackendError(f"cannot write {path}: a folder is in the object's place: move it away, then try again")
    return AlreadyExistsError(f"{path} exists")
