"""Retry policy: how long and how often a failing backend is retried."""

import time as clock
from collections.abc import Callable
from typing import Final

from artifactstore.backend.wrappers.retrying import retry_seconds
from artifactstore.errors import BackendError

__all__ = ["RetryPolicy"]

_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between retries while the backend fails


class RetryPolicy:
    """Retry limit for a failing backend; counts from the last success.

    Includes the time that a wrapper below has already waited.
    """

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        self._failures = 0
        self._since = clock.monotonic()

    def succeeded(self) -> None:
        """Reset the count."""
        self._failures = 0
        self._since = clock.monotonic()

    def again(self, error: BackendError) -> bool:
        """Wait and return True if a retry makes sense."""
        if not error.transient or clock.monotonic() >= self._since + retry_seconds():
            return False
        self._sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
        self._failures += 1
        return True
