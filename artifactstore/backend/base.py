"""The contract of a backend: seven verbs over keys, of which ranges come in two ways. Nothing else of a place is ever used.

`artifactstore.testing.BackendContract` is this contract as a test suite; every backend and every wrapper passes it.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from artifactstore.backend.pool import Pool
from artifactstore.errors import InvalidInputError

__all__ = [
    "MAX_WRITE",
    "PART",
    "Backend",
    "Buffer",
    "Clock",
    "Stored",
    "check_key",
    "check_place",
    "check_prefix",
    "moment",
    "split_bucket",
]

Buffer = bytes | bytearray | memoryview
_KEY: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", re.ASCII)
_UNFIT: Final = re.compile(r"[\\?#*]")
_ACCESS_POINT: Final = re.compile(
    r"(arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:\d{12}:(?:outpost[/:][A-Za-z0-9-]+[/:])?accesspoint[/:][A-Za-z0-9.-]+)(?:/(.*))?",
    re.DOTALL,
)
_NEAR: Final = 4  # requests at a time of a place whose requests cost no round trip
PART: Final = 8 * 2**20  # bytes of a large object that one request brings
_AT_ONCE: Final = 16  # requests for parts
MAX_WRITE: Final = 64 * 2**20  # bytes: the most that `create` takes, and that `write` sends in one piece


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as a listing shows it.

    Attributes:
        key: its key.
        size: bytes.
        modified: when it was last written, by the store's own clock, or None where that is unknown.
    """

    key: str
    size: int
    modified: datetime | None


def moment(seconds: float) -> datetime | None:
    """Return a time of a file system as a datetime; None for one that none can hold: before year 1 or after 9999."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class Clock:
    """The clock of a storage service, as its replies show it; it costs no request."""

    __slots__ = ("_at", "_there")

    def __init__(self) -> None:
        self._there: datetime | str | None = None
        self._at = 0.0

    def __reduce__(self) -> tuple[type["Clock"], tuple[()]]:
        return Clock, ()  # seconds of another machine mean nothing here

    def note(self, there: datetime | str | None) -> None:
        """Note what a reply says: a time, or the header `Date`."""
        if there is not None:
            self._there, self._at = there, time.monotonic()

    def now(self) -> datetime | None:
        """Return the time there; None where no reply has said it."""
        if isinstance(self._there, str):
            try:
                self._there = parsedate_to_datetime(self._there)
            except ValueError:
                self._there = None
        there = self._there
        if not isinstance(there, datetime) or there.tzinfo is None:
            return None
        return there + timedelta(seconds=time.monotonic() - self._at)


class Backend(ABC):
    """A place for bytes under keys: `/`-separated segments of `[A-Za-z0-9._-]+`, none of them `.` or `..`.

    Every verb is safe to call from many threads and from many processes. Data that a caller hands in is
    not kept after the call returns; data that is handed out belongs to the caller. A missing key is a
    `NotFoundError` everywhere; every other failure of the place is a `BackendError` whose `transient` says
    whether trying again may help.

    Attributes:
        url: where the place is, without any credentials; fit for messages.
        exclusive: whether `create` can keep its promise here. Where it is False, `create` raises `UnsupportedError`.
        concurrency: how many requests at a time are worth making (round trips cost time; disks do not).
        read_only: whether nothing can ever be written here, by anybody: a zip file, a web server.
        listable: whether `list` can keep its promise here. Where it is False, `list` raises `UnsupportedError`, and what
            a listing would only have made quicker is found without one.
    """

    url: str
    exclusive: bool = True
    concurrency: int = 8
    read_only: bool = False
    listable: bool = True

    @property
    def far(self) -> bool:
        """Whether a request costs a round trip, so that a thread to save one is worth it."""
        return self.concurrency > _NEAR

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - for those that can look
        """Return the time by the storage's own clock; None where that is unknown.

        Args:
            fresh: look now, where that costs no request; else what the last replies said will do.
        """
        return None

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return all bytes of an object, as they were written in whole: never a part of them.

        Raises:
            NotFoundError: there is definitely no such key (never a denied permission or a time-out).
            BackendError: anything else.
        """

    def read_large(self, key: str) -> bytes:
        """Return all bytes of an object that most likely is large: in parts, several at a time, where requests travel.

        Raises:
            NotFoundError: as `read`.
            BackendError: as `read`.
        """
        size = self.size(key) if self.far else 0
        if size <= PART:
            return self.read(key)
        ranges = [(at, min(PART, size - at)) for at in range(0, size, PART)]
        with Pool(max(1, min(self.concurrency, _AT_ONCE)), "artifactstore-parts") as pool:
            return b"".join(pool.map(lambda one: self.read_ranges(key, [one])[0], ranges))

    @abstractmethod
    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; concurrently where that helps.

        A length of 0 gives `b""`. Offsets and lengths are in bytes and not negative.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends behind the object's end (permanent), or anything else.
        """

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Fill memory with the bytes of an object from each offset on: `read_ranges` for who has room for them already.

        Only a place that can do it without a copy does it otherwise than here.

        Args:
            key: of the object.
            wanted: (offset, memory that may be written to, as bytes); what is in it after an error is undefined.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends behind the object's end (permanent), or anything else.
        """
        ranges = [(offset, len(room)) for offset, room in wanted]
        for (_, room), data in zip(wanted, self.read_ranges(key, ranges), strict=True):
            room[:] = data

    @abstractmethod
    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there; all or nothing, durable when it returns.

        Writing the same bytes again is harmless: callers use it for keys that are their own.

        Args:
            key: where.
            data: bytes-like, or an iterable of buffers, each released before the next is asked for; of any size.

        Raises:
            BackendError: no space, no permission, no connection: nothing of it is visible.
        """

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Write `data` under `key` only if nothing is there: exactly one of all racing callers succeeds.

        Durable when it returns. A reply that was lost is not retried here: the caller reads the key back
        and decides whether the write is its own.

        Raises:
            AlreadyExistsError: `key` exists, whoever wrote it.
            UnsupportedError: this backend can't promise exclusiveness.
            BackendError: the outcome is unknown; `transient` says whether to try again.
        """

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`, in any order, complete, never from a cache.

        `prefix` is empty or ends with `/`. No such prefix yields nothing.

        Raises:
            UnsupportedError: this backend can't list.
            BackendError: the listing could not be completed.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object. A key that is missing is no error.

        Raises:
            BackendError: it may still be there.
        """

    @abstractmethod
    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """


def check_key(key: str) -> str:
    """Return `key` if it has the form that every backend can hold.

    Raises:
        InvalidInputError: empty, absolute, over 1,024 bytes, or with a segment that is empty, `.`, `..` or has other characters.
    """
    if len(key) > 1024 or not _KEY.fullmatch(key) or any(segment in {".", ".."} for segment in key.split("/")):
        raise InvalidInputError(f"no key: {key!r}; expected /-separated segments of letters, digits, '.', '_' and '-'")
    return key


def check_place(path: str) -> str:
    r"""Return a bucket's (or container's, or share's) own path, the one that all keys of a store are below.

    It may have what others' prefixes have: spaces, `=`, `+`, letters of any language.

    Raises:
        InvalidInputError: segments that are empty, `.` or `..`, control characters, `\`, `?`, `#` or `*`, or more than 700 bytes.
    """
    fine = path.isprintable() and _encodes(path) and not _UNFIT.search(path)
    if not fine or len(path.encode()) > 700 or any(segment in {"", ".", ".."} for segment in path.split("/")):
        raise InvalidInputError(f"{path!r} cannot hold a store: expected segments between slashes, without \\, ?, # and *")
    return path


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def split_bucket(path: str) -> tuple[str, str]:
    """Return the bucket, or the access point, and the prefix of what follows `s3://`."""
    match = _ACCESS_POINT.fullmatch(path)
    if match is not None:
        return match[1], match[2] or ""
    bucket, _, prefix = path.partition("/")
    return bucket, prefix


def check_prefix(prefix: str) -> str:
    """Return `prefix` if a listing may start there: empty, or a key followed by `/`.

    Raises:
        InvalidInputError: anything else.
    """
    if prefix:
        if not prefix.endswith("/"):
            raise InvalidInputError(f"no prefix: {prefix!r}; expected a key followed by '/', or nothing for everything")
        check_key(prefix[:-1])
    return prefix
