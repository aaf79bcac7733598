"""Probes that write: each operation and guarantee that a store needs of a backend, tried for real in a folder of its own."""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from artifactstore.backend.base import MAX_WRITE, Backend
from artifactstore.backend.wrappers.retry_policy import RetryPolicy, retried
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError
from artifactstore.maintenance.doctor import judgements as judge
from artifactstore.maintenance.doctor.create_race import RacingProcess, race
from artifactstore.maintenance.doctor.findings import Check, Outcome, attempt
from artifactstore.maintenance.doctor.measurements import Budget, latencies, read_speed, write_speed

__all__ = ["Probes", "Target", "with_retries"]

_AGAIN: Final = RetryPolicy(first=0.2, tries=3, seconds=math.inf)
_PAGES: Final = 1050  # objects: more than a page of S3's listings


@dataclass(frozen=True, slots=True)
class Target:
    """The backend to examine.

    Attributes:
        backend: as the store uses it.
        again: opens another connection to the same backend.
        url: for a second process to open.
        options: storage options for that process; they reach it through a pipe and appear nowhere.
        single_writer: whether the caller promised that nothing else writes.
        cache: the folder of the local caches; None for none.
    """

    backend: Backend
    again: Callable[[], Backend]
    url: str
    options: Mapping[str, Any] | None = None
    single_writer: bool = False
    cache: Path | None = None


@dataclass(slots=True)
class Probes:
    """The state of one examination, and its writing probes."""

    target: Target
    role: str | None
    quick: bool
    large: bool
    folder: str = field(default_factory=lambda: f".doctor-{secrets.token_hex(8)}")
    checks: dict[str, Check] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)  # our own keys, and their sizes
    may_delete: bool = False

    @property
    def backend(self) -> Backend:
        """The backend, without retries."""
        return without_retries(self.target.backend)

    @property
    def url(self) -> str:
        """The backend's URL."""
        return self.target.backend.url

    def note(self, check: Check) -> None:
        """Record a check."""
        self.checks[check.name] = check

    def key(self, name: str, size: int = 0) -> str:
        """Return a key below our own folder; one with a size is written, and must be deleted again."""
        key = f"{self.folder}/{name}"
        if size:
            self.written[key] = size
        return key

    def other(self) -> Backend:
        """Return another connection to the same backend."""
        return without_retries(self.target.again())

    def try_writing(self) -> None:
        """Try everything that a store needs of a writable backend."""
        self._deleting()
        for part in (self._overwriting, self._ranging, self._creating, self._racing, self._listing, self._measuring, self._big):
            try:
                part()
            except ArtifactStoreError as error:  # a request outside any check: the backend failed in between
                name = _PARTS[part.__name__]
                self.note(judge.failed(name, "send a request", Outcome(error=error), self.url, "write"))

    def _deleting(self) -> None:
        key = self.key("deleted", 1)
        made = attempt(lambda: self.backend.write(key, b"x"))
        if made.error is not None:
            self.note(judge.failed("delete", "write the object to delete", made, self.url, "write"))
            return
        deleted = with_retries(lambda: self.backend.delete(key))
        after = attempt(lambda: self.backend.read(key))
        again = attempt(lambda: self.backend.delete(key))
        self.note(judge.judge_delete(deleted, after, again, self.url, self.role))
        self.may_delete = deleted.error is None
        if self.may_delete:
            del self.written[key]

    def _overwriting(self) -> None:
        key, tried = self.key("overwritten", 2000), "overwrite an object and read it at once, over another connection"
        other = self.other()
        for number in range(3):
            data = f"{number}".encode() * 2000
            self.backend.write(key, data)
            check = judge.judge_same("overwrite", tried, data, attempt(lambda: other.read(key)), self.url)
            self.note(check)
            if check.status != "ok":
                return

    def _ranging(self) -> None:
        data = secrets.token_bytes(100_000)
        key = self.key("ranges", len(data))
        self.backend.write(key, data)
        ranges = [(0, 10), (50_000, 1), (99_990, 10), (7, 0), (1000, 90_000)]
        inside = attempt(lambda: self.backend.read_ranges(key, ranges))
        behind = attempt(lambda: self.backend.read_ranges(key, [(99_990, 11)]))
        wanted = [data[offset : offset + length] for offset, length in ranges]
        self.note(judge.judge_ranges(wanted, inside, behind, self.url))
        self.note(judge.judge_size(len(data), attempt(lambda: self.backend.size(key)), self.url))

    def _creating(self) -> None:
        key = self.key("created", 100)
        first, second = b"1" * 100, b"2" * 100
        made = with_retries(lambda: self.backend.create(key, first))
        if isinstance(made.error, AlreadyExistsError):  # the key is ours: our own create, with its reply lost
            made = Outcome()
        if made.error is not None:
            refused, outcome = None, made
        else:
            outcome = with_retries(lambda: self.backend.create(key, second))
            refused = isinstance(outcome.error, AlreadyExistsError) or (None if outcome.error is not None else False)
        unchanged = made.error is None and self.backend.read(key) == first
        check = judge.judge_create_existing(
            outcome, self.url, refused=refused, unchanged=unchanged, single_writer=self.target.single_writer
        )
        self.note(check)

    def _racing(self) -> None:
        rounds = 4 if self.quick else 20
        connections = [self.backend, self.other(), self.other()]
        rival = RacingProcess(self.target.url, self.target.options, single_writer=self.target.single_writer, threads=4)
        if self.target.backend.url.startswith("memory:"):
            rival.why_not = "memory belongs to this process"
            found = race(connections, self._race_key, rounds=rounds, threads=8, rival=rival, until=time.monotonic() + 10)
            processes = 1
        else:
            with rival:
                processes = 1 + rival.running
                found = race(connections, self._race_key, rounds=rounds, threads=8, rival=rival, until=time.monotonic() + 10)
        self.note(judge.judge_race(found, processes, single_writer=self.target.single_writer))

    def _race_key(self, number: int) -> str:
        return self.key(f"race-{number}", 32)

    def _listing(self) -> None:
        many = _PAGES if self.may_delete and not self.quick and self.backend.is_remote else 30
        keys = [f"{self.folder}/pages/{number:04d}" for number in range(many)]
        until = time.monotonic() + 8

        def write(key: str) -> str | None:
            if time.monotonic() > until:
                return None
            self.backend.write(key, b"x")
            return key

        self.written |= dict.fromkeys(keys, 1)
        with ThreadPoolExecutor(self.backend.concurrency) as pool:
            made = [key for key in pool.map(write, keys) if key is not None]
        for key in {*keys} - {*made}:
            del self.written[key]
        found = attempt(lambda: [item.key for item in self.other().list(f"{self.folder}/pages/")])
        gone = [f"{self.folder}/deleted"] if self.may_delete else []
        self.note(judge.judge_listing("list-after-write", made, found, self.url, gone=gone))

    @property
    def budget(self) -> Budget:
        """Return how much the measurements may transfer."""
        connections = min(8, self.backend.concurrency)
        if self.quick or not self.may_delete:
            return Budget(1_000_000, min(4, connections), 8, 2)
        return Budget(min(3_500_000, 28_000_000 // connections), connections, 20, 4)

    def _measuring(self) -> None:
        budget = self.budget
        small = secrets.token_bytes(1000)
        writes = latencies(lambda number: self.backend.write(self.key(f"small-{number}", 1000), small), budget)
        reads = latencies(lambda number: self.backend.read(f"{self.folder}/small-{number % len(writes)}"), budget)
        self.note(judge.judge_latency(reads, writes))
        up = write_speed(self.backend, lambda number: self.key(f"speed-{number}", budget.piece), budget)
        self.note(judge.judge_speed("throughput-up", up))
        down = read_speed(self.backend, lambda number: f"{self.folder}/speed-{number}", budget, up.bytes // budget.piece)
        self.note(judge.judge_speed("throughput-down", down))

    def _big(self) -> None:
        tried = "write an object of more than 64 MiB, in parts where the backend supports them, and read its end"
        if not self.large:
            self.note(judge.skipped("large-object", tried, "only with --large: it transfers 66 MiB"))
            return
        piece = secrets.token_bytes(2**20)
        key = self.key("large", MAX_WRITE + 2 * len(piece))

        def pieces() -> Iterator[bytes]:
            for _ in range(self.written[key] // len(piece)):
                yield piece

        written = attempt(lambda: self.target.backend.write(key, pieces()))
        if written.error is not None:
            self.note(judge.failed("large-object", tried, written, self.url, "write"))
            return
        end = attempt(lambda: self.backend.read_ranges(key, [(self.written[key] - len(piece), len(piece))])[0])
        self.note(judge.judge_same("large-object", tried, piece, end, self.url))


_PARTS: Final = {
    "_overwriting": "overwrite",
    "_ranging": "ranges",
    "_creating": "create-existing",
    "_racing": "create-race",
    "_listing": "list-after-write",
    "_measuring": "latency",
    "_big": "large-object",
}


def without_retries(backend: Backend) -> Backend:
    """Remove the retrying wrapper: an examination must see each failure."""
    return backend.inner if isinstance(backend, RetryingBackend) else backend


def with_retries(call: Callable[[], Any]) -> Outcome:
    """Call, up to three times after transient failures: every such call may be repeated."""
    return attempt(lambda: retried(call, _AGAIN))
