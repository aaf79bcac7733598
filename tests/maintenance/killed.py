"""A sync, or another verb of maintenance, in a process of its own that is killed (SIGKILL) at the n-th change it makes.

Run as `python -m tests.maintenance.killed SOURCE VERB TARGET OPTIONS N WHEN`; exits with 0 where it came to its end first. WHEN: before
or after the change landed.
"""

import json
import os
import signal
import sys
import threading
from typing import Any

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.work.session import session as session_module
from tests.warm import Warm


class Deadly:
    """Counts the changes of all places of this process and ends it at the n-th."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self.after, self.lock = at, after, threading.Lock()

    def before_and_after(self, call: Any) -> Any:
        with self.lock:
            self.left -= 1
            mine = self.left == 0
        if mine and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return call()
        finally:
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)


class KillingBackend(Wrapper):
    def __init__(self, inner: Backend, deadly: Deadly) -> None:
        super().__init__(inner)
        self.deadly = deadly

    def create(self, key: str, data: bytes) -> None:
        self.deadly.before_and_after(lambda: self.inner.create(key, data))

    def write(self, key: str, data: Any) -> None:
        self.deadly.before_and_after(lambda: self.inner.write(key, data))

    def delete(self, key: str) -> None:
        self.deadly.before_and_after(lambda: self.inner.delete(key))


def sync_killed(source: str, target: str, at: int, *, after: bool, **options: Any) -> bool:
    """Run a sync, or with `repair` a repair from the target, that is killed at its `at`-th change; True if it was killed."""
    return _killed(source, "repair" if options.pop("repair", False) else "sync", target, at, after=after, **options)


def upkeep_killed(url: str, verb: str, at: int, *, after: bool, **options: Any) -> bool:
    """Run a verb of maintenance, such as `gc`, that is killed at its `at`-th change; True if it was killed."""
    return _killed(url, verb, "", at, after=after, **options)


def _killed(source: str, verb: str, target: str, at: int, *, after: bool, **options: Any) -> bool:
    command = ("-m", "tests.maintenance.killed", source, verb, target, json.dumps(options), str(at), str(int(after)))
    process = Warm(*command)
    assert process.wait() in {0, -signal.SIGKILL}, process.errors
    return process.returncode != 0


def main() -> None:
    source, verb, target, options, at, after = sys.argv[1:]
    deadly = Deadly(int(at), after=after == "1")
    real = connect
    vars(session_module)["connect"] = lambda *args, **kwargs: KillingBackend(real(*args, **kwargs), deadly)
    import artifactstore

    call = getattr(artifactstore.open(source, cache=None).maintenance, verb)
    call(*([target] if target else []), **json.loads(options))


if __name__ == "__main__":
    main()
