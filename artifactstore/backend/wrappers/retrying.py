"""Retries: what networks need and disks do not."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.backend.buffers import gather, is_buffer
from artifactstore.backend.errors import NotAppliedError, RangesFailedError, UnconfirmedWriteError, UnreachableError
from artifactstore.backend.remote.multipart import MultipartUploads, upload_multipart
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.rate_limit import AdaptiveLimiter
from artifactstore.backend.wrappers.retry_policy import Retries, RetryPolicy, retry_seconds
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError
from artifactstore.runtime.remarks import remark
from artifactstore.runtime.threads import cancellable_sleep, is_cancelled

__all__ = ["Retrier", "RetryingBackend"]

_T = TypeVar("_T")
_CONTACTED: Final[set[str]] = set()  # hosts and buckets that have replied to this process
_POLICY: Final = RetryPolicy(first=0.1, longest=10.0, spread=0.5)


class Retrier:
    """Retries of requests to one service, after transient failures, with growing random pauses, until the time is up.

    A throttling service gets requests from one thread at a time until it recovers (`AdaptiveLimiter`).

    Args:
        url: of the backend.
        seconds: time limit for the retries of one call; None = `retry_seconds()`, evaluated at the first failure.
        sleep: waits; replaceable in tests.
        clock: monotonic seconds.

    Attributes:
        limiter: permits for requests.
        warned: whether the user has been warned of the wait.
    """

    CONTACT = 6.0  # seconds of retries for a host that has never replied to this process
    PATIENCE: Final = 5.0  # seconds of failures before a warning

    def __init__(
        self,
        url: str,
        *,
        seconds: float | None = None,
        sleep: Callable[[float], None] = cancellable_sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._sleep = sleep
        self._clock = clock
        self._host = "/".join(url.split("/", 3)[:3])
        self.limiter = AdaptiveLimiter(sleep, clock)
        self.warned = False

    def _limit(self, error: BackendError | None = None) -> float:
        """Return for how many seconds one call may be retried after this failure."""
        whole = retry_seconds() if self._seconds is None else self._seconds
        if not isinstance(error, UnreachableError):
            if error is not None:
                self.note_contact()
            return whole
        return whole if self._host in _CONTACTED else min(whole, self.CONTACT)

    def note_contact(self) -> None:
        """Record that the host replies: from now on its silence is worth waiting for."""
        if self._host not in _CONTACTED:
            _CONTACTED.add(self._host)

    def begin(self) -> Retries:
        """Return the count of a new call."""
        return Retries(_POLICY, sleep=self._sleep, now=self._clock, limit=self._limit)

    def deadline(self, retries: Retries) -> float:
        """Return until when a request of the call may be sent, by the clock."""
        return retries.since + self._limit()

    def again(self, retries: Retries, error: BackendError) -> bool:
        """Wait, and return True, if another try makes sense; else the error shows how often and for how long it was tried.

        It does not if the failure is permanent, if the time is up, or if this thread's work was cancelled.
        """
        if not error.transient:
            return False
        if retries.again(error) and not is_cancelled():
            self._warn(retries, error)
            return True
        unheard = isinstance(error, UnreachableError) and self._host not in _CONTACTED
        if retries.failures or unheard:
            times = f"{retries.failures + 1} times" if retries.failures else "once"
            why = "no reply has ever come from there" if unheard else "the limit is $ARTIFACTSTORE_RETRY_SECONDS"
            error.args = (f"{error} (tried {times} in {self._clock() - retries.since:.0f} s; {why})",)
        return False

    def _warn(self, retries: Retries, error: BackendError) -> None:
        """Warn once, when the silence becomes noticeable, what is being waited for."""
        if not self.warned and self._clock() - retries.since > self.PATIENCE:
            self.warned = True
            text = f"{self._url} does not answer ({error}): retrying for up to {self._limit(error):.0f} s ($ARTIFACTSTORE_RETRY_SECONDS)"
            remark(text)

    def retried(self, call: Callable[[], _T], again: type[BackendError] = BackendError) -> _T:
        """Run a call that raises `BackendError`s, with retries.

        Args:
            call: the call.
            again: the error class to retry after.
        """
        retries = self.begin()
        while True:
            try:
                with self.limiter.permit(partial(self.deadline, retries)):
                    found = call()
            except ArtifactStoreError as error:
                if not isinstance(error, again) or not error.transient:
                    if not isinstance(error, UnreachableError):
                        self.note_contact()  # a refusal is a reply
                    raise
                if not self.again(retries, error):
                    raise
            else:
                self.note_contact()
                return found


class RetryingBackend(Wrapper):
    """Retries after transient failures (`Retrier`).

    `create` is retried only if it is certain that nothing was written (S3's 409, a connection that was never established):
    after any other failure the caller must read the key before anything is sent again.

    Args:
        inner: the backend inside.
        seconds: time limit for the retries of one call; None = `retry_seconds()`, evaluated at the first failure.
        sleep: waits; replaceable in tests.
        clock: monotonic seconds.

    Attributes:
        retrier: the retries, shared by all threads.
    """

    def __init__(
        self,
        inner: Backend,
        *,
        seconds: float | None = None,
        sleep: Callable[[float], None] = cancellable_sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self.retrier = Retrier(inner.url, seconds=seconds, sleep=sleep, clock=clock)

    def read(self, key: str) -> bytes:
        """Read, with retries."""
        return self.retrier.retried(partial(self.inner.read, key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Read ranges; failed ranges are requested again, the others are kept."""
        found: dict[int, bytes] = {}
        retrier, retries = self.retrier, self.retrier.begin()
        while True:
            missing = [index for index in range(len(ranges)) if index not in found]
            asked = missing[: retrier.limiter.limit]  # a throttling service gets no more at once than its limit
            try:
                with retrier.limiter.permit(partial(retrier.deadline, retries)):
                    data = self.inner.read_ranges(key, [ranges[index] for index in asked])
                found.update(zip(asked, data, strict=True))
                retrier.note_contact()
            except BackendError as error:
                if isinstance(error, RangesFailedError):
                    found.update((asked[position], data) for position, data in error.found.items())
                    if error.found:
                        retries.succeeded()  # progress was made: restart the clock
                failure = error.first if isinstance(error, RangesFailedError) else error
                if not retrier.again(retries, failure):
                    raise failure from error.__cause__
            if len(found) == len(ranges):
                return [found[index] for index in range(len(ranges))]

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write, with retries: up to 64 MiB at once, larger objects in parts where the backend supports them.

        Without parts, a list is retried as a whole; more than 64 MiB from an iterator is tried once.
        """
        if is_buffer(data) or (isinstance(data, list | tuple) and not isinstance(self.inner, MultipartUploads)):
            self.retrier.retried(lambda: self.inner.write(key, data))
            return
        whole, rest = gather(data)
        if rest is None:
            self.retrier.retried(lambda: self.inner.write(key, whole))
        elif isinstance(self.inner, MultipartUploads):
            upload_multipart(self.inner, key, whole, rest, self.retrier.retried)
        else:
            self.inner.write(key, chain((whole,), rest))

    def create(self, key: str, data: bytes) -> None:
        """Create; retried only if certainly nothing was written.

        An object that was damaged in transit is repaired: the success reply, with the stored object's MD5, proves it is this call's own.
        """
        try:
            self.retrier.retried(lambda: self.inner.create(key, data), NotAppliedError)
        except UnconfirmedWriteError as error:
            try:
                found = self.read(key)
            except NotFoundError:
                raise error from None
            if found == data:
                return
            if error.md5 is None or hashlib.md5(found, usedforsecurity=False).hexdigest() != error.md5:
                raise
            self.write(key, data)

    def list(self, prefix: str) -> Iterator[Stored]:
        """List; after a failure start again, skipping what was already yielded."""
        seen: set[str] = set()
        retrier, retries = self.retrier, self.retrier.begin()
        while True:
            before = len(seen)
            try:
                with retrier.limiter.permit(partial(retrier.deadline, retries), counted=False):
                    for item in self.inner.list(prefix):
                        if item.key not in seen:
                            seen.add(item.key)
                            yield item
            except BackendError as error:
                if len(seen) > before:
                    retries.succeeded()  # progress was made: restart the clock
                if not retrier.again(retries, error):
                    raise
            else:
                retrier.note_contact()
                return

    def delete(self, key: str) -> None:
        """Delete, with retries."""
        self.retrier.retried(partial(self.inner.delete, key))

    def delete_many(self, keys: Sequence[str]) -> "dict[str, ArtifactStoreError]":
        """Delete in bulk; objects whose deletion failed transiently are requested again."""
        retrier, retries = self.retrier, self.retrier.begin()
        failed: dict[str, ArtifactStoreError] = {}
        left = keys
        while True:
            found: dict[str, ArtifactStoreError] = {}
            try:
                with retrier.limiter.permit(partial(retrier.deadline, retries)):
                    found = self.inner.delete_many(left)
                    again = {key: error for key, error in found.items() if isinstance(error, BackendError) and error.transient}
                    failed |= {key: error for key, error in found.items() if key not in again}
                    if again:
                        raise next(iter(again.values()))
                retrier.note_contact()
            except BackendError as error:
                if found and len(found) < len(left):
                    retries.succeeded()  # progress was made: restart the clock
                if not retrier.again(retries, error):
                    return failed | (again if found else dict.fromkeys(left, error))
                left = list(again) if found else left
            else:
                return failed

    def size(self, key: str) -> int:
        """Return an object's size, with retries."""
        return self.retrier.retried(partial(self.inner.size, key))
