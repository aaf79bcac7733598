"""The examination of a place: each verb and guarantee that a store needs, tried for real in a folder of its own.

Thin: probes here, judgement in `doctor_judge`. Writes only below `.doctor-<random>/` and removes it again; reads
`store.json` and the journal, and never changes anything of a store.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from artifactstore.backend.base import MAX_WRITE, Backend
from artifactstore.backend.inquiry import credentials_in_use, retention
from artifactstore.backend.retrying import RetryingBackend
from artifactstore.catalog.state import State
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, InvalidInputError, NotFoundError
from artifactstore.journal.journal import Journal
from artifactstore.maintenance import doctor_judge as judge
from artifactstore.maintenance.doctor_advice import is_denied
from artifactstore.maintenance.doctor_findings import CHECKS, ROLES, Check, Diagnosis, Outcome, attempt
from artifactstore.maintenance.doctor_race import Rival, race
from artifactstore.maintenance.doctor_speed import Budget, latencies, read_speed, tell_clock, write_speed
from artifactstore.model.facts import CONFIG_KEY, parse_config

__all__ = ["Place", "examine"]

_MISSING: Final = "never-written"
_PAGES: Final = 1050  # objects: more than a page of S3's listings
_NETWORK: Final = 4  # backends with more connections are behind a network


@dataclass(frozen=True, slots=True)
class Place:
    """What is examined.

    Attributes:
        backend: as the store uses it.
        again: makes another connection to the same place.
        url: as a second process is to open it.
        options: storage options, for that process; they reach it through a pipe and appear nowhere.
        single_writer: whether the caller promised that nobody else writes.
        cache: the folder of the local caches; None for none.
    """

    backend: Backend
    again: Callable[[], Backend]
    url: str
    options: Mapping[str, Any] | None = None
    single_writer: bool = False
    cache: Path | None = None


def examine(place: Place, *, role: str | None = None, quick: bool = False, large: bool = False) -> Diagnosis:
    """Try each verb and guarantee that a store needs, and say what holds.

    Args:
        place: what is examined.
        role: judge it for a `reader` (nothing is written), a `writer` or a `janitor`; None finds out what this identity may do.
        quick: fewer races, small listings, 10 MB at most; otherwise up to 64 MiB.
        large: also write one object of more than 64 MiB (in parts, where the place knows parts).

    Raises:
        InvalidInputError: no such role.
    """
    if role is not None and role not in ROLES:
        raise InvalidInputError(f"role={role!r}: known are {', '.join(ROLES)}")
    return _Examination(place, role, quick=quick, large=large).run()


@dataclass(slots=True)
class _Examination:
    place: Place
    role: str | None
    quick: bool
    large: bool
    folder: str = field(default_factory=lambda: f".doctor-{secrets.token_hex(8)}")
    checks: dict[str, Check] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)  # keys that are ours, and their sizes
    new: bool = False  # whether the place is a folder that did not exist before
    may_delete: bool = False

    @property
    def backend(self) -> Backend:
        return _bare(self.place.backend)

    @property
    def url(self) -> str:
        return self.place.backend.url

    def run(self) -> Diagnosis:
        self.new = not self._is_remote() and not Path(self.url).exists()
        config, reached = self._reach()
        if reached:
            self._reading(config)
            try:
                writable = self._write()
                if writable:
                    self._writing()
            finally:
                left = self._clean()
            self._note(judge.judge_unchanged(config, attempt(lambda: self.backend.read(CONFIG_KEY)), self.url))
        else:
            left = ()
        self._cache()
        for name in CHECKS:
            if name not in self.checks and name != "cleanup":
                self._note(judge.skipped(name, "", self._why_skipped(reached=reached)))
        checks = tuple(self.checks[name] for name in CHECKS if name in self.checks)
        return Diagnosis(self.url, self.role or self._found_role(), reached, checks, left)

    def _note(self, check: Check) -> None:
        self.checks[check.name] = check

    def _key(self, name: str, size: int = 0) -> str:
        key = f"{self.folder}/{name}"
        if size:
            self.written[key] = size
        return key

    def _why_skipped(self, *, reached: bool) -> str:
        if not reached:
            return "the place can't be reached"
        if self.backend.read_only:
            return "this kind of place can only be read"
        return "nothing is written for a reader" if self.role == "reader" else "nothing can be written"

    def _found_role(self) -> str:
        if self.checks.get("write") is None or self.checks["write"].status != "ok":
            return "reader"
        return "janitor" if self.may_delete else "writer"

    # -- reading

    def _reach(self) -> tuple[bytes | None, bool]:
        read = _patient(lambda: self.backend.read(CONFIG_KEY))
        listed = read if not self.backend.listable else _patient(lambda: [item.key for item in islice(self.backend.list(""), 1)])
        check, reached = judge.judge_reach(read, listed, self.url)
        self._note(check)
        how = credentials_in_use(self.place.backend)
        tried = "see which credentials a request carries"
        self._note(
            Check("credentials", "ok", tried, how) if how else judge.skipped("credentials", tried, "none are known of here")
        )
        self._note(judge.judge_retention(retention(self.place.backend) if reached else None))
        return (bytes(read.value) if read.error is None else None), reached

    def _reading(self, config: bytes | None) -> None:
        self._note(self._store(config))
        missing = self._key(_MISSING)
        self._note(judge.judge_missing_key(_patient(lambda: self.backend.read(missing)), self.url))
        tried = "list the place"
        if not self.backend.listable:
            self._note(judge.skipped("list", tried, "a web server tells nobody what it has; entries are found by their numbers"))
        else:
            self._list(tried)
        if config is not None:
            budget = self._budget
            times = attempt(lambda: latencies(lambda _: self.backend.read(CONFIG_KEY), budget))
            if times.error is None:
                self._note(judge.judge_latency(times.value, ()))

    def _list(self, tried: str) -> None:
        listed = _patient(lambda: [item.key for item in islice(self.backend.list(""), 1000)])
        self._note(judge.judge_listing("list", (), listed, self.url, tried=tried))

    def _store(self, config: bytes | None) -> Check:
        tried = "read the store that lies there: store.json and the whole journal"
        if config is None:
            read = attempt(lambda: self.backend.read(CONFIG_KEY))
            if isinstance(read.error, NotFoundError):
                return judge.skipped("store", tried, "there is no store yet: the first put creates one")
            return judge.failed("store", tried, read, self.url, "read")
        try:
            known = parse_config(config, f"{self.url}/{CONFIG_KEY}")
            journal = Journal(self.place.backend, known, State, None)
            head = journal.catch_up()
        except BackendError as error:
            return judge.failed("store", tried, Outcome(error=error), self.url, "read")
        except ArtifactStoreError as error:
            means = "what lies there is damaged, or was written by a newer version"
            return Check(
                "store", "fail", tried, str(error), means, "`artifactstore verify` says more; or install a newer version"
            )
        figures = {"head": head, "format": known.format, "store": known.store, "digest": known.digest}
        return Check(
            "store", "ok", tried, f"format {known.format}, {known.digest}, {head} entries, the chain holds", figures=figures
        )

    # -- writing

    def _write(self) -> bool:
        if self.role == "reader" or self.backend.read_only:
            self._note(judge.skipped("write", "write a small object", self._why_skipped(reached=True)))
            return False
        data = secrets.token_bytes(1000)
        key = self._key("small", len(data))
        before = time.time()
        outcome = _patient(lambda: self.backend.write(key, data))
        after = time.time()
        self._note(judge.judge_write(outcome, self.url, self.role))
        if outcome.error is not None:
            if not _may_have_landed(outcome.error):
                del self.written[key]
            return False
        tried = "read an object right after writing it, over another connection"
        self._note(judge.judge_same("read-after-write", tried, data, attempt(lambda: self._other().read(key)), self.url))
        modified = attempt(lambda: [item.modified for item in self.backend.list(f"{self.folder}/") if item.key == key])
        moment = modified.value[0] if modified.error is None and modified.value else None
        self._note(judge.judge_clock(None if moment is None else tell_clock(before, after, moment.timestamp())))
        return True

    def _other(self) -> Backend:
        return _bare(self.place.again())

    def _writing(self) -> None:
        self._deleting()
        for part in (self._overwriting, self._ranging, self._creating, self._racing, self._listing, self._measuring, self._big):
            try:
                part()
            except ArtifactStoreError as error:  # a request that no check is about: the place failed in between
                name = _PARTS[part.__name__]
                self._note(judge.failed(name, "ask the place", Outcome(error=error), self.url, "write"))

    def _deleting(self) -> None:
        key = self._key("deleted", 1)
        made = attempt(lambda: self.backend.write(key, b"x"))
        if made.error is not None:
            self._note(judge.failed("delete", "write what is to be deleted", made, self.url, "write"))
            return
        deleted = _patient(lambda: self.backend.delete(key))
        after = attempt(lambda: self.backend.read(key))
        again = attempt(lambda: self.backend.delete(key))
        self._note(judge.judge_delete(deleted, after, again, self.url, self.role))
        self.may_delete = deleted.error is None
        if self.may_delete:
            del self.written[key]

    def _overwriting(self) -> None:
        key, tried = self._key("overwritten", 2000), "overwrite an object and read it at once, over another connection"
        other = self._other()
        for number in range(3):
            data = f"{number}".encode() * 2000
            self.backend.write(key, data)
            check = judge.judge_same("overwrite", tried, data, attempt(lambda: other.read(key)), self.url)
            self._note(check)
            if check.status != "ok":
                return

    def _ranging(self) -> None:
        data = secrets.token_bytes(100_000)
        key = self._key("ranges", len(data))
        self.backend.write(key, data)
        ranges = [(0, 10), (50_000, 1), (99_990, 10), (7, 0), (1000, 90_000)]
        inside = attempt(lambda: self.backend.read_ranges(key, ranges))
        behind = attempt(lambda: self.backend.read_ranges(key, [(99_990, 11)]))
        wanted = [data[offset : offset + length] for offset, length in ranges]
        self._note(judge.judge_ranges(wanted, inside, behind, self.url))
        self._note(judge.judge_size(len(data), attempt(lambda: self.backend.size(key)), self.url))

    def _creating(self) -> None:
        key = self._key("created", 100)
        first, second = b"1" * 100, b"2" * 100
        made = _patient(lambda: self.backend.create(key, first))
        if isinstance(made.error, AlreadyExistsError):  # the key is ours alone: an own create whose reply was lost
            made = Outcome()
        if made.error is not None:
            refused, outcome = None, made
        else:
            outcome = _patient(lambda: self.backend.create(key, second))
            refused = isinstance(outcome.error, AlreadyExistsError) or (None if outcome.error is not None else False)
        unchanged = made.error is None and self.backend.read(key) == first
        check = judge.judge_create_existing(
            outcome, self.url, refused=refused, unchanged=unchanged, single_writer=self.place.single_writer
        )
        self._note(check)

    def _racing(self) -> None:
        rounds = 4 if self.quick else 20
        connections = [self.backend, self._other(), self._other()]
        rival = Rival(self.place.url, self.place.options, single_writer=self.place.single_writer, threads=4)
        if self.place.backend.url.startswith("memory:"):
            rival.why_not = "memory belongs to this process"
            found = race(connections, self._race_key, rounds=rounds, threads=8, rival=rival, until=time.monotonic() + 10)
            processes = 1
        else:
            with rival:
                processes = 1 + rival.running
                found = race(connections, self._race_key, rounds=rounds, threads=8, rival=rival, until=time.monotonic() + 10)
        self._note(judge.judge_race(found, processes, single_writer=self.place.single_writer))

    def _race_key(self, number: int) -> str:
        return self._key(f"race-{number}", 32)

    def _listing(self) -> None:
        many = _PAGES if self.may_delete and not self.quick and self.backend.concurrency > _NETWORK else 30
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
        found = attempt(lambda: [item.key for item in self._other().list(f"{self.folder}/pages/")])
        gone = [f"{self.folder}/deleted"] if self.may_delete else []
        self._note(judge.judge_listing("list-after-write", made, found, self.url, gone=gone))

    @property
    def _budget(self) -> Budget:
        connections = min(8, self.backend.concurrency)
        if self.quick or not self.may_delete:
            return Budget(1_000_000, min(4, connections), 8, 2)
        return Budget(min(3_500_000, 28_000_000 // connections), connections, 20, 4)

    def _measuring(self) -> None:
        budget = self._budget
        small = secrets.token_bytes(1000)
        writes = latencies(lambda number: self.backend.write(self._key(f"small-{number}", 1000), small), budget)
        reads = latencies(lambda number: self.backend.read(f"{self.folder}/small-{number % len(writes)}"), budget)
        self._note(judge.judge_latency(reads, writes))
        up = write_speed(self.backend, lambda number: self._key(f"speed-{number}", budget.piece), budget)
        self._note(judge.judge_speed("throughput-up", up))
        down = read_speed(self.backend, lambda number: f"{self.folder}/speed-{number}", budget, up.bytes // budget.piece)
        self._note(judge.judge_speed("throughput-down", down))

    def _big(self) -> None:
        tried = "write an object of more than 64 MiB, in parts where the place knows parts, and read its end"
        if not self.large:
            self._note(judge.skipped("large-object", tried, "only asked for with --large: it moves 66 MiB"))
            return
        piece = secrets.token_bytes(2**20)
        key = self._key("large", MAX_WRITE + 2 * len(piece))

        def pieces() -> Iterator[bytes]:
            for _ in range(self.written[key] // len(piece)):
                yield piece

        written = attempt(lambda: self.place.backend.write(key, pieces()))
        if written.error is not None:
            self._note(judge.failed("large-object", tried, written, self.url, "write"))
            return
        end = attempt(lambda: self.backend.read_ranges(key, [(self.written[key] - len(piece), len(piece))])[0])
        self._note(judge.judge_same("large-object", tried, piece, end, self.url))

    # -- the end

    def _clean(self) -> tuple[str, ...]:
        """Delete all that was written; what is listed below our folder counts, too: a lost reply may have landed."""
        if not self.written:
            return ()
        listed = attempt(lambda: [item.key for item in self.backend.list(f"{self.folder}/")])
        keys = sorted({*self.written, *(listed.value or ())})
        outcomes: dict[str, Outcome] = {}
        if self.may_delete or "delete" not in self.checks:
            with ThreadPoolExecutor(self.backend.concurrency) as pool:
                outcomes = dict(zip(keys, pool.map(lambda key: _patient(lambda: self.backend.delete(key)), keys), strict=True))
        left = tuple(key for key in keys if key not in outcomes or outcomes[key].error is not None)
        self._tidy()
        denied = not self.may_delete and all(is_denied(one.error) for one in outcomes.values())
        self._note(judge.judge_left(left, sum(self.written.get(key, 0) for key in left), self.folder, denied=denied))
        return left

    def _is_remote(self) -> bool:
        return "://" in self.url

    def _tidy(self) -> None:
        """Remove the empty folders of a place that has folders: a backend deletes objects only."""
        if self._is_remote():
            return
        folder = Path(self.url, self.folder)
        for one in (folder / "pages", folder, *((folder.parent,) if self.new else ())):
            with suppress(OSError):  # not there, or not empty: then it is not ours alone
                one.rmdir()

    def _cache(self) -> None:
        tried, folder = "write to the folder of the local caches and read it back", self.place.cache
        if folder is None:
            self._note(judge.skipped("cache", tried, "there is no cache: none was asked for, or its folder can't be written"))
            return
        path = folder / f"{self.folder}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            path.unlink()
        except OSError as error:
            means, fix = "everything works, but nothing is kept between processes", "set ARTIFACTSTORE_CACHE to a folder of yours"
            self._note(Check("cache", "warn", tried, f"{folder}: {error.strerror}", means, fix))
        else:
            self._note(Check("cache", "ok", tried, f"{folder} can be used"))


_PARTS: Final = {
    "_overwriting": "overwrite",
    "_ranging": "ranges",
    "_creating": "create-existing",
    "_racing": "create-race",
    "_listing": "list-after-write",
    "_measuring": "latency",
    "_big": "large-object",
}


def _bare(backend: Backend) -> Backend:
    """Take off the wrapper that tries again for minutes: an examination wants to see each failure."""
    return backend.inner if isinstance(backend, RetryingBackend) else backend


def _patient(call: Callable[[], Any]) -> Outcome:
    """Call, three times where the failure may pass: all callers may send the same again."""
    for pause in (0.1, 0.5):
        outcome = attempt(call)
        if not isinstance(outcome.error, BackendError) or not outcome.error.transient:
            return outcome
        time.sleep(pause)
    return attempt(call)


def _may_have_landed(error: ArtifactStoreError) -> bool:
    return isinstance(error, BackendError) and error.transient
