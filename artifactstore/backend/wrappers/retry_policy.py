"""Retry policy: how often, for how long and with which pauses a failing call is tried again. Every loop that retries uses it."""

import os
import random
import time as clock
from collections.abc import Callable
from typing import Final, TypeVar

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = ["Retries", "RetryPolicy", "retried", "retry_seconds"]

_T = TypeVar("_T")
_LEAST: Final = 0.001  # seconds: less than this before the time limit is not worth a pause


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


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Pauses and limits of retries; each pause is twice as long as the previous.

    Attributes:
        first: seconds of the first pause.
        longest: seconds of the longest pause.
        spread: share of a pause that is random, which keeps clients apart that failed together.
        tries: how often a call is made at most; None = until the time is up.
        seconds: time limit, from the last success; None = `retry_seconds()`, evaluated at each failure.
    """

    first: float = 0.05
    longest: float = 5.0
    spread: float = 0.0
    tries: int | None = None
    seconds: float | None = None

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures before this one."""
        longest = min(self.longest, self.first * 2.0 ** min(failures, 30))
        return longest * random.uniform(1.0 - self.spread, 1.0) if self.spread else longest  # noqa: S311 - no secret


class Retries:
    """The failures of one call in a row, under a policy.

    The time limit includes the time that a wrapper below has already waited.

    Args:
        policy: pauses and limits.
        sleep: waits; replaceable in tests.
        now: monotonic seconds.
        limit: returns the time limit after a failure; None = the policy's.

    Attributes:
        failures: how many since the last success.
        since: the time of the last success, by `now`.
    """

    def __init__(
        self,
        policy: RetryPolicy | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
        now: Callable[[], float] | None = None,
        limit: Callable[[BackendError], float] | None = None,
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._sleep = sleep or clock.sleep
        self._now = now or clock.monotonic
        self._limit = limit or self._policy_limit
        self.succeeded()

    def _policy_limit(self, _error: BackendError) -> float:
        return retry_seconds() if self._policy.seconds is None else self._policy.seconds

    def succeeded(self) -> None:
        """Reset the count and the time."""
        self.failures = 0
        self.since = self._now()

    def again(self, error: BackendError) -> bool:
        """Wait, and return True, if another try makes sense: the failure is transient, and neither tries nor time are used up."""
        if not error.transient or (self._policy.tries is not None and self.failures + 1 >= self._policy.tries):
            return False
        left = self.since + self._limit(error) - self._now()
        if left < _LEAST:
            return False
        self._sleep(min(left, self._policy.pause(self.failures)))  # the last try is made when the time is up
        self.failures += 1
        return True


def retried(call: Callable[[], _T], policy: RetryPolicy | None = None, *, sleep: Callable[[float], None] | None = None) -> _T:
    """Make a call, again after transient failures.

    Args:
        call: may be made any number of times.
        policy: pauses and limits.
        sleep: waits; replaceable in tests.

    Raises:
        BackendError: the last failure.
    """
    retries = Retries(policy, sleep=sleep)
    while True:
        try:
            return call()
        except BackendError as error:
            if not retries.again(error):
                raise
