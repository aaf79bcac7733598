"""The backend contract: seven verbs over keys, two variants of ranged reads, and deletion in bulk. Nothing else of a backend is ever used.

`artifactstore.testing.BackendContract` is this contract as a test suite; every backend and every wrapper passes it.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.runtime.records import dataclass
from artifactstore.runtime.threads import Pool

__all__ = [
    "MAX_WRITE",
    "PART",
    "Backend",
    "Buffer",
    "Clock",
    "Stored",
    "check_key",
    "check_location",
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
_NEAR: Final = 4  # concurrent requests to a backend without round trips
PART: Final = 8 * 2**20  # bytes of a large object read per request
_AT_ONCE: Final = 16  # concurrent requests for parts
MAX_WRITE: Final = 64 * 2**20  # bytes: the most that `create` accepts, and that `write` sends in one request


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of a listing.

    Attributes:
        key: its key.
        size: bytes.
        modified: last modification time by the storage's own clock, or None where unknown.
    """

    key: str
    size: int
    modified: datetime | None


def moment(seconds: float) -> datetime | None:
    """Return a file system's timestamp as a datetime; None where datetime cannot represent it: before year 1 or after 9999."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class Clock:
    """The clock of a storage service, as its replies show it; reading it costs no request."""

    __slots__ = ("_at", "_there")

    def __init__(self) -> None:
        self._there: datetime | str | None = None
        self._at = 0.0

    def __reduce__(self) -> tuple[type["Clock"], tuple[()]]:
        return Clock, ()  # monotonic seconds of another machine mean nothing here

    def note(self, there: datetime | str | None) -> None:
        """Record a reply's time, or its `Date` header."""
        if there is not None:
            self._there, self._at = there, time.monotonic()

    def now(self) -> datetime | None:
        """Return the service's current time; None before the first reply that carries it."""
        if isinstance(self._there, str):
            try:
                from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 5 ms, for servers only

                self._there = parsedate_to_datetime(self._there)
            except ValueError:
                self._there = None
        there = self._there
        if not isinstance(there, datetime) or there.tzinfo is None:
            return None
        return there + timedelta(seconds=time.monotonic() - self._at)


class Backend(ABC):
    """Storage for bytes under keys: `/`-separated segments of `[A-Za-z0-9._-]+`, none of them `.` or `..`.

    Every verb is safe to call from many threads and from many processes. Data that a caller passes in is
    not kept after the call returns; data that is returned belongs to the caller. A missing key is a
    `NotFoundError` everywhere; every other failure of the storage is a `BackendError` whose `transient` tells
    whether a retry may help. A malformed key or prefix is an `InvalidInputError`: each verb calls `check_key` or
    `check_prefix` first. A backend can be pickled, and used in a forked child.

    Attributes:
        url: location of the backend, without any credentials; safe for messages.
        exclusive: whether `create` can guarantee exclusiveness here. Where it is False, `create` raises `UnsupportedError`.
        concurrency: how many concurrent requests are worthwhile (round trips cost time; disks do not).
        read_only: whether nothing can ever be written here, by any client: a zip file, a web server.
        listable: whether `list` works here. Where it is False, `list` raises `UnsupportedError`, and
            callers that list only to be faster do without.
    """

    url: str
    exclusive: bool = True
    concurrency: int = 8
    read_only: bool = False
    listable: bool = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def is_remote(self) -> bool:
        """Whether a request costs a round trip, so that a thread to save one pays off."""
        return self.concurrency > _NEAR

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - for backends that can look
        """Return the time by the storage's own clock; None where unknown.

        Args:
            fresh: look now, where that costs no request; otherwise the time of the last replies will do.
        """
        return None

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return all bytes of an object, as they were written as a whole: never a part of them.

        Raises:
            NotFoundError: there is definitely no such key (never a denied permission or a time-out).
            BackendError: anything else.
        """

    def read_large(self, key: str) -> bytes:
        """Return all bytes of an object that is probably large: in parts, several at a time, if the backend is remote.

        Raises:
            NotFoundError: as `read`.
            BackendError: as `read`.
        """
        size = self.size(key) if self.is_remote else 0
        if size <= PART:
            return self.read(key)
        ranges = [(at, min(PART, size - at)) for at in range(0, size, PART)]
        with Pool(max(1, min(self.concurrency, _AT_ONCE)), "artifactstore-parts") as pool:
            return b"".join(pool.map(lambda one: self.read_ranges(key, [one])[0], ranges))

    @abstractmethod
    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; concurrently where that helps.

        A length of 0 gives `b""`. Offsets and lengths are in bytes.

        Raises:
            InvalidInputError: one of them is negative (`check_ranges`).
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end (permanent), or anything else.
        """

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Read an object's bytes into memory from each offset on: `read_ranges` into the caller's buffers.

        Overridden only by backends that can do it without a copy.

        Args:
            key: the object's key.
            wanted: (offset, writable memory, as bytes); its content is undefined after an error.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end (permanent), or anything else.
        """
        ranges = [(offset, len(room)) for offset, room in wanted]
        for (_, room), data in zip(wanted, self.read_ranges(key, ranges), strict=True):
            room[:] = data

    @abstractmethod
    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there; all or nothing, durable when it returns.

        Writing the same bytes again is harmless: callers use it for keys that are their own. An error that the caller's
        iterable raises passes through as it is, and nothing of the object is visible then.

        Args:
            key: the object's key.
            data: bytes-like, or an iterable of buffers, each released before the next is requested; of any size.

        Raises:
            InvalidInputError: neither bytes-like nor an iterable of buffers.
            BackendError: no space, no permission, no connection: nothing of it is visible.
        """

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Write `data` under `key` only if nothing is there: exactly one of all racing callers succeeds.

        Durable when it returns. A lost reply is not retried here: the caller reads the key back
        and decides whether the write is its own.

        Raises:
            AlreadyExistsError: `key` exists, whoever wrote it.
            InvalidInputError: more than `MAX_WRITE` bytes.
            UnsupportedError: this backend cannot guarantee exclusiveness.
            BackendError: the outcome is unknown; `transient` says whether to try again.
        """

    def obstacle(self, key: str) -> str:  # noqa: ARG002 - for backends that have folders
        """Return what is in the place of an object that reads as missing, as a clause for messages; "" if nothing is."""
        return ""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`, in any order, complete, never from a cache.

        `prefix` is empty or ends with `/`. No such prefix yields nothing.

        Raises:
            UnsupportedError: this backend cannot list.
            BackendError: the listing could not be completed.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object. A missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """

    def delete_many(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        """Remove objects, in bulk where the service can, else several at a time; missing keys are no errors.

        Returns:
            The objects that may still be there, each with its error.

        Raises:
            InvalidInputError: one of them is not a key; nothing was deleted.
        """
        for key in keys:
            check_key(key)

        def remove(key: str) -> ArtifactStoreError | None:
            try:
                self.delete(key)
            except ArtifactStoreError as error:
                return error
            return None

        if len(keys) < 2 or self.concurrency < 2:
            found = map(remove, keys)
            return {key: error for key, error in zip(keys, found, strict=True) if error is not None}
        with Pool(min(self.concurrency, len(keys)), "artifactstore-delete") as pool:
            return {key: error for key, error in zip(keys, pool.map(remove, keys), strict=True) if error is not None}

    @abstractmethod
    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """


def check_key(key: str) -> str:
    """Return `key` if its form is valid on every backend.

    Raises:
        InvalidInputError: empty, absolute, over 1,024 bytes, or with a segment that is empty, `.`, `..` or has other characters.
    """
    if len(key) > 1024 or not _KEY.fullmatch(key) or any(segment in {".", ".."} for segment in key.split("/")):
        raise InvalidInputError(f"not a key: {key!r}; expected /-separated segments of letters, digits, '.', '_' and '-'")
    return key


def check_location(path: str) -> str:
    r"""Return a path in a bucket (or container, or share), the prefix of all keys of a store.

    It may contain what other tools' prefixes contain: spaces, `=`, `+`, letters of any language.

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
    """Split what follows `s3://` into the bucket, or the access point, and the prefix."""
    match = _ACCESS_POINT.fullmatch(path)
    if match is not None:
        return match[1], match[2] or ""
    bucket, _, prefix = path.partition("/")
    return bucket, prefix


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is a valid listing prefix: empty, or a key followed by `/`.

    Raises:
        InvalidInputError: anything else.
    """
    if prefix:
        if not prefix.endswith("/"):
            raise InvalidInputError(f"not a prefix: {prefix!r}; expected a key followed by '/', or nothing for everything")
        check_key(prefix[:-1])
    return prefix
