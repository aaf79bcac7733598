"""How a place says no: the words and classes that all backends share."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from artifactstore.errors import BackendError, InvalidInputError

__all__ = [
    "DoubtfulError",
    "NotLandedError",
    "RangesFailedError",
    "Request",
    "ThrottledError",
    "UnreachableError",
    "check_ranges",
    "no_such_key",
    "of_system",
    "past_the_end",
    "seconds_of",
]

# What may be gone a moment later: a server that restarts, a busy file, too many open files.
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
    errno.EISDIR: "a folder stands where the object should be",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EMFILE: "this process has too many files open",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What was tried; each service adds what its refusals are explained by.

    Attributes:
        url: the backend's.
        bucket: its bucket or container.
        action: completes "… can't be".
        key: which object, empty for a listing.
    """

    url: str
    bucket: str
    action: str
    key: str

    def __str__(self) -> str:
        return f"{self.key or 'the listing'} in {self.url} can't be {self.action}"


class NotLandedError(BackendError):
    """A transient failure after which it is certain that nothing was written: the same bytes may be sent again.

    To a handler it is a `BackendError` with `transient`; only what retries `create` looks for the class.
    """

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message, transient=transient)


class UnreachableError(NotLandedError):
    """No connection stood: refused, no such host, no way there."""


class DoubtfulError(BackendError):
    """The yes to a `create` did not fit to what was sent: the object has to be looked at.

    Attributes:
        md5: of what the place says that it wrote; if that lies there, it is this call's, damaged on its way.
    """

    def __init__(self, message: str, *, md5: str | None = None) -> None:
        super().__init__(message, transient=True)
        self.md5 = md5


class ThrottledError(BackendError):
    """The place asks for fewer requests: a transient failure that all threads of a backend heed together.

    Attributes:
        retry_after: for how many seconds it wants to be left alone, None where it didn't say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, transient=True)
        self.retry_after = retry_after


class RangesFailedError(BackendError):
    """Some of many ranges failed, all transiently: only those need to be asked for again.

    Attributes:
        found: what came: position in the question → bytes.
        first: the failure of the first that did not come.
    """

    def __init__(self, found: Mapping[int, bytes], first: BackendError) -> None:
        super().__init__(str(first), transient=True)
        self.found = found
        self.first = first


def no_such_key(key: str, url: str) -> str:
    """The text of a `NotFoundError`."""
    return f"no {key} in {url}"


def of_system(error: OSError, path: str, action: str) -> BackendError:
    """Make the error of a failed system call; `action` completes "… can't be".

    The caller raises it `from` the cause.
    """
    code = error.errno or 0
    advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
    return BackendError(f"{path} can't be {action}: {os.strerror(code) if code else error}{advice}", transient=code in _TRANSIENT)


def seconds_of(retry_after: object) -> float | None:
    """How long a server wants to be left alone, by its header Retry-After: a number of seconds or a date; None if it doesn't say."""
    text = str(retry_after or "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()) if text else None
    except (TypeError, ValueError):
        return None


def check_ranges(ranges: Sequence[tuple[int, int]]) -> None:
    """Refuse negative offsets and lengths.

    Raises:
        InvalidInputError: there is one.
    """
    for offset, length in ranges:
        if offset < 0 or length < 0:
            raise InvalidInputError(f"no range: offset {offset}, length {length}; neither can be negative")


def past_the_end(key: str, offset: int, length: int, size: int | None, url: str) -> BackendError:
    """Make the error of a range that ends behind the object's end; `size` None where it is unknown."""
    known = "" if size is None else f" of {size:,} bytes"
    return BackendError(f"{key}{known} in {url} ends before byte {offset + length:,}: range {offset}+{length} can't be read")
