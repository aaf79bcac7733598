"""A real race for one key: threads, separate connections, and a second process, all creating one object.

The second process is a fresh interpreter that gets its instructions on standard input: its arguments and environment
show nothing, and no script of the caller's is run again (which `multiprocessing` would do).
"""

import json
import math
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from artifactstore.backend.base import Backend
from artifactstore.backend.errors import NotAppliedError
from artifactstore.backend.wrappers.retry_policy import Retries, RetryPolicy
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, NotFoundError

__all__ = ["Contender", "RacingProcess", "Round", "race", "serve"]

_LEAD: Final = 0.03  # seconds from the command to the start: the second process must have received it
_AGAIN: Final = RetryPolicy(first=0.02, tries=6, seconds=math.inf)  # after "two writers met, nothing was written"


@dataclass(frozen=True, slots=True)
class Contender:
    """A participant of a race.

    Attributes:
        token: the bytes it wrote.
        end: `won`, `lost` (the key existed), `unknown` (no clear reply), or the error's message.
    """

    token: str
    end: str


@dataclass(frozen=True, slots=True)
class Round:
    """One race for one key.

    Attributes:
        contenders: all participants.
        seen: the object's bytes afterwards; None where there was none.
    """

    contenders: tuple[Contender, ...]
    seen: str | None


class RacingProcess:
    """A second process that takes part in the race; `with` ends it.

    Args:
        url: the store location.
        options: its storage options; without JSON-compatible options there is no second process.
        single_writer: as the backend was opened.
        threads: number of its racing threads.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None, *, single_writer: bool, threads: int) -> None:
        self._spec = {"url": url, "options": dict(options or {}), "single_writer": single_writer, "threads": threads}
        self._process: subprocess.Popen[str] | None = None
        self.why_not = ""

    def __enter__(self) -> Self:
        try:
            spec = json.dumps(self._spec)
        except TypeError:
            self.why_not = "the storage options contain objects, which cannot be passed to another process"
            return self
        command = [sys.executable, "-c", "from artifactstore.maintenance.doctor.create_race import serve; serve()"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a fixed program
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError as error:
            self.why_not = f"no second process could be started ({error.strerror})"
            return self
        if self._ask(spec) != "ready":
            self.why_not = "the second process could not open the store location"
            self.__exit__()
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def running(self) -> bool:
        """Whether it takes part."""
        return self._process is not None

    def _send_line(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _receive_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _ask(self, line: str) -> str:
        try:
            self._send_line(line)
            return self._receive_line()
        except OSError:
            return ""

    def start(self, key: str, at: float) -> None:
        """Tell it to create `key` at a given time."""
        if self.running:
            with suppress(OSError):
                self._send_line(json.dumps({"key": key, "at": at}))

    def ends(self) -> list[Contender]:
        """Return its threads' results."""
        if not self.running:
            return []
        line = self._receive_line()
        if not line:
            self.why_not = "the second process ended during the race"
            self.__exit__()
            return []
        return [Contender(token, end) for token, end in json.loads(line)]


def race(
    connections: Sequence[Backend],
    key_of: Callable[[int], str],
    *,
    rounds: int,
    threads: int,
    rival: RacingProcess,
    until: float,
) -> list[Round]:
    """Race `rounds` times, each for a key of its own.

    Args:
        connections: backends of the same store location, shared out among the threads.
        key_of: names the key of a round.
        rounds: number of races.
        threads: number of racing threads in this process.
        rival: the second process.
        until: no round starts after this time of `time.monotonic`, except the first.
    """
    found: list[Round] = []
    with ThreadPoolExecutor(threads) as pool:
        for number in range(rounds):
            if found and time.monotonic() > until:
                break
            key, at = key_of(number), time.time() + _LEAD
            rival.start(key, at)
            ends = list(pool.map(lambda i, key=key, at=at: _create(connections[i % len(connections)], key, at), range(threads)))
            found.append(Round((*ends, *rival.ends()), _seen(connections[0], key)))
    return found


def _create(backend: Backend, key: str, at: float) -> Contender:
    token = secrets.token_hex(16)
    time.sleep(max(0.0, at - time.time()))
    retries = Retries(_AGAIN)
    while True:
        try:
            backend.create(key, token.encode())
        except AlreadyExistsError:
            return Contender(token, "lost")
        except NotAppliedError as error:
            if not retries.again(error):
                return Contender(token, str(error))
        except BackendError as error:
            return Contender(token, "unknown" if error.transient else str(error))
        except ArtifactStoreError as error:
            return Contender(token, str(error))
        else:
            return Contender(token, "won")


def _seen(backend: Backend, key: str) -> str | None:
    try:
        return backend.read(key).decode(errors="replace")
    except NotFoundError:
        return None


def serve() -> None:
    """Run the second process: read the configuration from the first line of standard input, then race for each key that follows."""
    from artifactstore.backend.connect import connect  # noqa: PLC0415 - only the second process connects here

    spec = json.loads(sys.stdin.readline())
    backend = _without_retries(connect(spec["url"], storage_options=spec["options"] or None, single_writer=spec["single_writer"]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with ThreadPoolExecutor(spec["threads"]) as pool:
        for line in sys.stdin:
            word = json.loads(line)
            ends = list(pool.map(lambda _, word=word: _create(backend, word["key"], word["at"]), range(spec["threads"])))
            sys.stdout.write(json.dumps([(one.token, one.end) for one in ends]) + "\n")
            sys.stdout.flush()


def _without_retries(backend: Backend) -> Backend:
    """Remove the retrying wrapper: an examination must see each failure."""
    from artifactstore.backend.wrappers.retrying import RetryingBackend  # noqa: PLC0415

    return backend.inner if isinstance(backend, RetryingBackend) else backend
