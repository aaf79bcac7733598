"""Explanations of failed system calls: whether they are transient, and what to do about them."""

import errno
import os
from typing import Final

from artifactstore.errors import BackendError

__all__ = ["os_error"]

# Errors that may be gone a moment later: a server that restarts, a busy file, too many open files.
_TRANSIENT: Final = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EINTR", "EBUSY", "ESTALE", "ETIMEDOUT", "EMFILE", "ENFILE", "ENOMEM", "EHOSTDOWN", "ENETDOWN")
    if hasattr(errno, name)
)
_ADVICE: Final = {
    errno.ENOSPC: "free some space, then try again",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the quota is used up: free some space or ask for more",
    errno.EACCES: "check the permissions of this file and of its folders",
    errno.EPERM: "check the permissions of this file and of its folders",
    errno.EROFS: "it is mounted read-only: open the store with mode='r', or mount it writable",
    errno.EIO: "the disk or the network mount reports damage: check it before anything else",
    errno.ENAMETOOLONG: "the folder's path is too long here: use a shorter one",
    errno.EISDIR: "a folder is in the object's place: move it away, then try again",
    errno.ENOTDIR: "a file is in the place of a folder: move it away, then try again",
    errno.EMFILE: "this process has too many files open",
}


def os_error(error: OSError, path: str, action: str) -> BackendError:
    """Return the error for a failed system call; `action` completes "cannot …".

    The caller raises it `from` the cause.
    """
    code = error.errno or 0
    advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
    return BackendError(f"cannot {action} {path}: {os.strerror(code) if code else error}{advice}", transient=code in _TRANSIENT)
