"""Failures of backends: error classes and messages that all backends share."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = [
    "AmbiguousNotFoundError",
    "ExpiredError",
    "KeptError",
    "NotAppliedError",
    "RangesFailedError",
    "Request",
    "ThrottledError",
    "UnconfirmedWriteError",
    "UnreachableError",
    "check_ranges",
    "not_found_message",
    "range_beyond_end",
    "retry_after_seconds",
]


@dataclass(frozen=True, slots=True)
class Request:
    """Context of a failed request.

    Attributes:
        url: the backend's.
        bucket: its bucket or container; empty where it has none.
        action: the verb: "cannot <action> …".
        key: the object's key; for a listing its prefix, or empty.
        hide: blots secrets out of a server's message.
        filesystem: fsspec's, None before the first connection.
    """

    url: str
    bucket: str
    action: str
    key: str
    hide: Callable[[str], str] = str
    filesystem: Any = None

    def __str__(self) -> str:
        return f"cannot {self.action} {f'{self.key} in ' if self.key else ''}{self.url}"


class NotAppliedError(BackendError):
    """A transient failure after which certainly nothing was written: the same bytes may be sent again.

    To a handler it is a transient `BackendError`; only the code that retries `create` looks for this class.
    """

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message, transient=transient)


class UnreachableError(NotAppliedError):
    """No connection was established: refused, unknown host, no route."""


class UnconfirmedWriteError(BackendError):
    """The reply to a successful `create` does not match what was sent: the object must be checked.

    Attributes:
        md5: checksum that the server reports; an object with this checksum is this call's own, damaged in transit.
    """

    def __init__(self, message: str, *, md5: str | None = None) -> None:
        super().__init__(message, transient=True)
        self.md5 = md5


class ExpiredError(BackendError):
    """The credentials were rejected or have expired: nothing was done, and new ones may help."""


class KeptError(BackendError):
    """The storage keeps an object until its retention ends or its legal hold is lifted: it cannot be deleted before."""


class AmbiguousNotFoundError(BackendError):
    """A 404 that does not say what is missing: the key, the bucket, or the service itself."""


class ThrottledError(BackendError):
    """The service asks for fewer requests: a transient failure that all threads of a backend respect together.

    Attributes:
        retry_after: seconds to wait, None where the service named none.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, transient=True)
        self.retry_after = retry_after


class RangesFailedError(BackendError):
    """Some of many ranges failed, all transiently: only those need to be requested again.

    Attributes:
        found: the ranges that were read: index in the request → bytes.
        first: the failure of the first range that failed.
    """

    def __init__(self, found: Mapping[int, bytes], first: BackendError) -> None:
        super().__init__(str(first), transient=True)
        self.found = found
        self.first = first


def not_found_message(key: str, url: str) -> str:
    """Return the message of a `NotFoundError`."""
    return f"no {key} in {url}"


def retry_after_seconds(retry_after: object) -> float | None:
    """Return a Retry-After header as seconds (it holds a number of seconds or a date); None if absent or invalid."""
    text = str(retry_after or "").strip()
    if text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 5 ms, for servers only

    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()) if text else None
    except (TypeError, ValueError):
        return None


def check_ranges(ranges: Sequence[tuple[int, int]]) -> None:
    """Refuse negative offsets and lengths.

    Raises:
        InvalidInputError: a range has one.
    """
    for offset, length in ranges:
        if offset < 0 or length < 0:
            raise InvalidInputError(f"invalid range: offset {offset}, length {length}; neither may be negative")


def range_beyond_end(key: str, offset: int, length: int, size: int | None, url: str) -> BackendError:
    """Return the error for a range that ends beyond the object's end; `size` None where unknown."""
    known = "" if size is None else f" of {size:,} bytes"
    return BackendError(
        f"cannot read range {offset}+{length} of {key} in {url}: the object{known} ends before byte {offset + length:,}"
    )
