"""Retries: what networks need and disks do not."""

import hashlib
import os
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.backend.buffers import gather, is_buffer
from artifactstore.backend.errors import NotAppliedError, RangesFailedError, UnconfirmedWriteError, UnreachableError
from artifactstore.backend.remote.multipart import MultipartUploads, upload_multipart
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.rate_limit import AdaptiveLimiter
from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError, NotFoundError
from artifactstore.runtime.threads import cancellable_sleep, is_cancelled

__all__ = ["RetryingBackend", "retry_seconds"]

_T = TypeVar("_T")
_CONTACTED: Final[set[str]] = set()  # hosts and buckets that have replied to this process


def retry_seconds() -> float:
    """Return for how many seconds a failing request is retried: `$ARTIFACTSTORE_RETRY_SECONDS`, 300 by default.

    Raises:
        InvalidInputError: the variable is not a number.
    """
    text = os.environ.get("ARTIFACTSTORE_RETRY_SECONDS", "300")
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise InvalidInputError(f"ARTIFACTSTORE_RETRY_SECONDS must be a number of seconds, not {text!r}") from error


class RetryingBackend(Wrapper):
    """Retries after transient failures, with growing random pauses, until the time is up.

    A throttling service gets requests from one thread at a time until it recovers (`AdaptiveLimiter`).
    `create` is retried only if it is certain that nothing was written (S3's 409, a connection that was never established):
    after any other failure the caller must read the key before anything is sent again.

    Args:
        inner: the backend inside.
        seconds: time limit for the retries of one call; None = `retry_seconds()`, evaluated at the first failure.
        sleep: waits; replaceable in tests.
        clock: monotonic seconds.
    """

    FIRST: Final = 0.1  # seconds: the first pause; each pause is up to twice as long as the previous
    LONGEST: Final = 10.0
    CONTACT: Final = 6.0  # seconds of retries for a host that has never replied to this process
    PATIENCE: Final = 5.0  # seconds of failures before a warning

    def __init__(
        self,
        inner: Backend,
        *,
        seconds: float | None = None,
        sleep: Callable[[float], None] = cancellable_sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._seconds = seconds
        self._sleep = sleep
        self._clock = clock
        self._warned = False
        self._host = "/".join(inner.url.split("/", 3)[:3])
        self._limiter = AdaptiveLimiter(sleep, clock)

    def _limit(self, error: BackendError | None = None) -> float:
        """Return for how many seconds one call may be retried after this failure."""
        whole = retry_seconds() if self._seconds is None else self._seconds
        if not isinstance(error, UnreachableError):
            if error is not None:
                self._note_contact()
            return whole
        return whole if self._host in _CONTACTED else min(whole, self.CONTACT)

    def _note_contact(self) -> None:
        """Record that the host replies: from now on its silence is worth waiting for."""
        if self._host not in _CONTACTED:
            _CONTACTED.add(self._host)

    def retried(self, call: Callable[[], _T], again: type[BackendError] = BackendError) -> _T:
        """Run a call that raises `BackendError`s, with the retries of the verbs.

        Args:
            call: the call.
            again: the error class to retry after.
        """
        start, failures = self._clock(), 0
        while True:
            try:
                with self._limiter.permit(lambda: start + self._limit()):
                    found = call()
            except ArtifactStoreError as error:
                if not isinstance(error, again) or not error.transient:
                    if not isinstance(error, UnreachableError):
                        self._note_contact()  # a refusal is a reply
                    raise
                if not self._wait(start, failures, error):
                    raise self._final_error(error, start, failures)  # noqa: B904 - the same error, with its own cause
                self._warn(start, error)
            else:
                self._note_contact()
                return found
            failures += 1

    def _final_error(self, error: BackendError, start: float, failures: int) -> BackendError:
        """Add the number and duration of the tries to the last failure."""
        unheard = isinstance(error, UnreachableError) and self._host not in _CONTACTED
        if failures or unheard:
            times = f"{failures + 1} times" if failures else "once"
            why = "no reply has ever come from there" if unheard else "the limit is $ARTIFACTSTORE_RETRY_SECONDS"
            error.args = (f"{error} (tried {times} in {self._clock() - start:.0f} s; {why})",)
        return error

    def _warn(self, start: float, error: BackendError) -> None:
        """Warn once, when the silence becomes noticeable, what is being waited for."""
        if not self._warned and self._clock() - start > self.PATIENCE:
            self._warned = True
            text = f"{self.url} does not answer ({error}): retrying for up to {self._limit(error):.0f} s ($ARTIFACTSTORE_RETRY_SECONDS)"
            warnings.warn(text, UserWarning, stacklevel=2)

    def _wait(self, start: float, failures: int, error: BackendError) -> bool:
        """Wait before try `failures + 1`; False if that would exceed the time limit, or if this thread's work was cancelled."""
        longest = min(self.LONGEST, self.FIRST * 2 ** min(failures, 30))
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients that failed together
        if self._clock() + pause - start > self._limit(error):
            return False
        self._sleep(pause)
        return not is_cancelled()

    def read(self, key: str) -> bytes:
        """Read, with retries."""
        return self.retried(lambda: self.inner.read(key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Read ranges; failed ranges are requested again, the others are kept."""
        found: dict[int, bytes] = {}
        start, failures = self._clock(), 0
        while True:
            missing = [index for index in range(len(ranges)) if index not in found]
            asked = missing[: self._limiter.limit]  # a throttling service gets no more at once than its limit
            try:
                with self._limiter.permit(lambda: start + self._limit()):  # noqa: B023 - called before the next turn
                    data = self.inner.read_ranges(key, [ranges[index] for index in asked])
                found.update(zip(asked, data, strict=True))
                self._note_contact()
            except BackendError as error:
                if isinstance(error, RangesFailedError):
                    found.update((asked[position], data) for position, data in error.found.items())
                    if error.found:
                        start, failures = self._clock(), 0  # progress was made: restart the clock
                failure = error.first if isinstance(error, RangesFailedError) else error
                if not error.transient:
                    raise failure from error.__cause__
                if not self._wait(start, failures, failure):
                    raise self._final_error(failure, start, failures) from error.__cause__
                self._warn(start, error)
                failures += 1
            if len(found) == len(ranges):
                return [found[index] for index in range(len(ranges))]

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write, with retries: up to 64 MiB at once, larger objects in parts where the backend supports them.

        Without parts, a list is retried as a whole; more than 64 MiB from an iterator is tried once.
        """
        if is_buffer(data) or (isinstance(data, list | tuple) and not isinstance(self.inner, MultipartUploads)):
            self.retried(lambda: self.inner.write(key, data))
            return
        whole, cancellable_sleep = gather(data)
        if cancellable_sleep is None:
            self.retried(lambda: self.inner.write(key, whole))
        elif isinstance(self.inner, MultipartUploads):
            upload_multipart(self.inner, key, whole, cancellable_sleep, self.retried)
        else:
            self.inner.write(key, chain((whole,), cancellable_sleep))

    def create(self, key: str, data: bytes) -> None:
        """Create; retried only if certainly nothing was written.

        An object that was damaged in transit is repaired: the success reply, with the stored object's MD5, proves it is this call's own.
        """
        try:
            self.retried(lambda: self.inner.create(key, data), NotAppliedError)
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
        start, failures = self._clock(), 0
        while True:
            before = len(seen)
            try:
                with self._limiter.permit(lambda: start + self._limit(), counted=False):  # noqa: B023 - called before the next turn
                    for item in self.inner.list(prefix):
                        if item.key not in seen:
                            seen.add(item.key)
                            yield item
            except BackendError as error:
                if len(seen) > before:
                    start, failures = self._clock(), 0  # progress was made: restart the clock
                if not error.transient:
                    raise
                if not self._wait(start, failures, error):
                    raise self._final_error(error, start, failures)  # noqa: B904 - the same error, with its own cause
                self._warn(start, error)
                failures += 1
            else:
                self._note_contact()
                return

    def delete(self, key: str) -> None:
        """Delete, with retries."""
        self.retried(lambda: self.inner.delete(key))

    def size(self, key: str) -> int:
        """Return an object's size, with retries."""
        return self.retried(lambda: self.inner.size(key))
