"""Rate limit for a throttling service: one limiter for all threads of a backend.

Each thread backing off alone is not enough: thirty-two of them still hammer a throttling server. So the first
refusal stops all of them, one retries after the pause, and each success doubles how many may ask at once.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from artifactstore.backend.errors import NotAppliedError, RangesFailedError, ThrottledError
from artifactstore.backend.wrappers.retry_policy import RetryPolicy
from artifactstore.errors import BackendError
from artifactstore.runtime.threads import cancellable_sleep, is_cancelled

__all__ = ["AdaptiveLimiter"]


class AdaptiveLimiter:
    """Permits for requests: unlimited until the service throttles, then few at a time.

    Args:
        sleep: waits; replaceable in tests.
        clock: monotonic seconds.
    """

    POLICY: Final = RetryPolicy(
        first=0.2, longest=10.0, spread=0.5
    )  # of pauses after throttling; the spread is for other processes
    FREE: Final = 64  # concurrent requests from which on there is no limit
    BUDGET: Final = 64  # failures without as many successes between, after which the service counts as throttling

    def __init__(self, sleep: Callable[[float], None] = cancellable_sleep, clock: Callable[[], float] = time.monotonic) -> None:
        self._sleep = sleep
        self._clock = clock
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._limit: int | None = None  # concurrent requests, None = no limit
        self._active = 0
        self._not_before = 0.0
        self._slowed = float("-inf")  # when the limit was last lowered
        self._complaints = 0
        self._last_error = ""
        self._budget = self.BUDGET

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._sleep, self._clock)

    @property
    def limit(self) -> int | None:
        """Return how many requests may be in flight at once; None while there is no limit."""
        return self._limit

    @contextmanager
    def permit(self, deadline: Callable[[], float], *, counted: bool = True) -> Iterator[None]:
        """Wait for a permit to send one request, and adapt to its outcome.

        Args:
            deadline: until when to wait, by the clock; called only if there is something to wait for.
            counted: whether it takes one of the permits; not for a listing, whose reader may want to send another request
                before it reads on.

        Raises:
            NotAppliedError: no permit in time; nothing was sent.
        """
        if self._pid != os.getpid():
            self._renew()  # a fork may have copied the lock while it was held
        sent = self._wait(deadline, counted=counted)
        try:
            yield
        except BackendError as error:
            failure = error.first if isinstance(error, RangesFailedError) else error
            if isinstance(failure, ThrottledError):
                self._last_error = str(failure)
                self._slow_down(sent, failure.retry_after)
            elif failure.transient and not isinstance(failure, NotAppliedError):
                self._last_error = str(failure)
                self._spend(sent)
            raise
        else:
            self._speed_up()
        finally:
            if counted:
                with self._lock:
                    self._active -= 1

    def _wait(self, deadline: Callable[[], float], *, counted: bool) -> float:
        while True:
            with self._lock:
                now = self._clock()
                pause = self._not_before - now
                free = not counted or self._limit is None or self._active < self._limit
                if pause <= 0 and free:
                    self._active += counted
                    return now
            # Threads that wait for a permit check again soon; the jitter keeps them apart.
            pause = max(pause, 0.0 if free else 0.05) * random.uniform(1.0, 1.2)  # noqa: S311 - spreads threads
            if now + pause > deadline() or is_cancelled():
                raise NotAppliedError(f"{self._last_error}; the service throttles, and no request could be sent in time")
            self._sleep(pause)

    def _slow_down(self, sent: float, retry_after: float | None) -> None:
        with self._lock:
            now = self._clock()
            if sent >= self._slowed:  # else it was sent before the last throttling and tells nothing new
                pause = self.POLICY.pause(self._complaints)
                self._complaints += 1
                self._slowed = now
                self._limit = 1
                self._not_before = max(self._not_before, now + pause)
            if retry_after is not None:
                self._not_before = max(self._not_before, now + retry_after)

    def _spend(self, sent: float) -> None:
        with self._lock:
            self._budget = max(0, self._budget - 1)
            empty = self._budget == 0
        if empty:
            self._slow_down(sent, None)

    def _speed_up(self) -> None:
        if self._limit is None and self._budget == self.BUDGET:
            return  # the common path takes no lock
        with self._lock:
            self._budget = min(self.BUDGET, self._budget + 1)
            if self._limit is not None:
                self._limit *= 2
                if self._limit >= self.FREE:
                    self._limit = None
                    self._complaints = 0
