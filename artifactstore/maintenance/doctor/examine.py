"""Doctor: each backend operation and guarantee that a store needs, tried for real in a folder of its own.

Thin: writes are in `doctor_probes`, judgement in `doctor_judge`. Writes only below `.doctor-<random>/` and removes it again; reads
`store.json` and the journal, and never changes anything of a store.
"""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from artifactstore.backend.driver import ROLES
from artifactstore.catalog.fold.state import State
from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError, NotFoundError
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.doctor import judgements as judge
from artifactstore.maintenance.doctor.advice import is_denied
from artifactstore.maintenance.doctor.capabilities import credentials_in_use, retention
from artifactstore.maintenance.doctor.findings import CHECKS, Check, Diagnosis, Outcome, attempt
from artifactstore.maintenance.doctor.measurements import compare_clocks, latencies
from artifactstore.maintenance.doctor.probes import Probes, Target, with_retries
from artifactstore.model.facts import CONFIG_KEY, parse_config

__all__ = ["Target", "examine"]

_MISSING: Final = "never-written"


def examine(target: Target, *, role: str | None = None, quick: bool = False, large: bool = False) -> Diagnosis:
    """Try each operation and guarantee that a store needs, and report which hold.

    Args:
        target: the backend to examine.
        role: judge it for a `reader` (nothing is written), a `writer` or a `janitor`; None detects what this identity may do.
        quick: fewer races, short listings, 10 MB at most; otherwise up to 64 MiB.
        large: also write one object of more than 64 MiB (in parts, where the backend supports multipart uploads).

    Raises:
        InvalidInputError: an unknown role.
    """
    if role is not None and role not in ROLES:
        raise InvalidInputError(f"role= must be one of {', '.join(ROLES)}, got {role!r}")
    return _Examination(target, role, quick=quick, large=large).run()


@dataclass(slots=True)
class _Examination(Probes):
    new: bool = False  # whether the folder did not exist before

    def run(self) -> Diagnosis:
        self.new = not self._is_remote() and not Path(self.url).exists()
        config, reached = self._reach()
        if reached:
            self._reading(config)
            try:
                writable = self._write()
                if writable:
                    self.try_writing()
            finally:
                left = self._clean()
            self.note(judge.judge_unchanged(config, attempt(lambda: self.backend.read(CONFIG_KEY)), self.url))
        else:
            left = ()
        self._cache()
        for name in CHECKS:
            if name not in self.checks and name != "cleanup":
                self.note(judge.skipped(name, "", self._why_skipped(reached=reached)))
        checks = tuple(self.checks[name] for name in CHECKS if name in self.checks)
        return Diagnosis(self.url, self.role or self._found_role(), reached, checks, left)

    def _why_skipped(self, *, reached: bool) -> str:
        if not reached:
            return "the backend cannot be reached"
        if self.backend.read_only:
            return "this kind of backend is read-only"
        return "nothing is written for a reader" if self.role == "reader" else "this identity cannot write"

    def _found_role(self) -> str:
        if self.checks.get("write") is None or self.checks["write"].status != "ok":
            return "reader"
        return "janitor" if self.may_delete else "writer"

    # -- reading

    def _reach(self) -> tuple[bytes | None, bool]:
        read = with_retries(lambda: self.backend.read(CONFIG_KEY))
        listed = (
            read if not self.backend.listable else with_retries(lambda: [item.key for item in islice(self.backend.list(""), 1)])
        )
        check, reached = judge.judge_reach(read, listed, self.url)
        self.note(check)
        how = credentials_in_use(self.target.backend)
        tried = "look up the credentials that a request carries"
        self.note(
            Check("credentials", "ok", tried, how) if how else judge.skipped("credentials", tried, "unknown for this backend")
        )
        self.note(judge.judge_retention(retention(self.target.backend) if reached else None))
        return (bytes(read.value) if read.error is None else None), reached

    def _reading(self, config: bytes | None) -> None:
        self.note(self._store(config))
        missing = self.key(_MISSING)
        self.note(judge.judge_missing_key(with_retries(lambda: self.backend.read(missing)), self.url))
        tried = "list the store location"
        if not self.backend.listable:
            self.note(judge.skipped("list", tried, "a web server has no listings; entries are found by their numbers"))
        else:
            self._list(tried)
        if config is not None:
            budget = self.budget
            times = attempt(lambda: latencies(lambda _: self.backend.read(CONFIG_KEY), budget))
            if times.error is None:
                self.note(judge.judge_latency(times.value, ()))

    def _list(self, tried: str) -> None:
        listed = with_retries(lambda: [item.key for item in islice(self.backend.list(""), 1000)])
        self.note(judge.judge_listing("list", (), listed, self.url, tried=tried))

    def _store(self, config: bytes | None) -> Check:
        tried = "read the existing store: store.json and the whole journal"
        if config is None:
            read = attempt(lambda: self.backend.read(CONFIG_KEY))
            if isinstance(read.error, NotFoundError):
                return judge.skipped("store", tried, "there is no store yet: the first put creates one")
            return judge.failed("store", tried, read, self.url, "read")
        try:
            known = parse_config(config, f"{self.url}/{CONFIG_KEY}")
            journal = Journal(self.target.backend, known, State, None)
            head = journal.catch_up()
        except BackendError as error:
            return judge.failed("store", tried, Outcome(error=error), self.url, "read")
        except ArtifactStoreError as error:
            means = "the existing store is damaged, or was written by a newer version"
            return Check(
                "store", "fail", tried, str(error), means, "run `artifactstore verify` for details, or install a newer version"
            )
        figures = {"head": head, "format": known.format, "store": known.store, "digest": known.digest}
        return Check(
            "store", "ok", tried, f"format {known.format}, {known.digest}, {head} entries, the chain holds", figures=figures
        )

    # -- writing

    def _write(self) -> bool:
        if self.role == "reader" or self.backend.read_only:
            self.note(judge.skipped("write", "write a small object", self._why_skipped(reached=True)))
            return False
        data = secrets.token_bytes(1000)
        key = self.key("small", len(data))
        before = time.time()
        outcome = with_retries(lambda: self.backend.write(key, data))
        after = time.time()
        self.note(judge.judge_write(outcome, self.url, self.role))
        if outcome.error is not None:
            if not _may_have_landed(outcome.error):
                del self.written[key]
            return False
        tried = "read an object right after writing it, over another connection"
        self.note(judge.judge_same("read-after-write", tried, data, attempt(lambda: self.other().read(key)), self.url))
        modified = attempt(lambda: [item.modified for item in self.backend.list(f"{self.folder}/") if item.key == key])
        moment = modified.value[0] if modified.error is None and modified.value else None
        self.note(judge.judge_clock(None if moment is None else compare_clocks(before, after, moment.timestamp())))
        return True

    # -- the end

    def _clean(self) -> tuple[str, ...]:
        """Delete everything that was written, including listed objects below our folder: a write with a lost reply may have landed."""
        if not self.written:
            return ()
        listed = attempt(lambda: [item.key for item in self.backend.list(f"{self.folder}/")])
        keys = sorted({*self.written, *(listed.value or ())})
        outcomes: dict[str, Outcome] = {}
        if self.may_delete or "delete" not in self.checks:
            with ThreadPoolExecutor(self.backend.concurrency) as pool:
                outcomes = dict(
                    zip(keys, pool.map(lambda key: with_retries(lambda: self.backend.delete(key)), keys), strict=True)
                )
        left = tuple(key for key in keys if key not in outcomes or outcomes[key].error is not None)
        self._tidy()
        denied = not self.may_delete and all(is_denied(one.error) for one in outcomes.values())
        self.note(judge.judge_cleanup(left, sum(self.written.get(key, 0) for key in left), self.folder, denied=denied))
        return left

    def _is_remote(self) -> bool:
        return "://" in self.url

    def _tidy(self) -> None:
        """Remove the empty folders of a file system: a backend deletes objects only."""
        if self._is_remote():
            return
        folder = Path(self.url, self.folder)
        for one in (folder / "pages", folder, *((folder.parent,) if self.new else ())):
            with suppress(OSError):  # missing, or not empty: then not only ours
                one.rmdir()

    def _cache(self) -> None:
        tried, folder = "write to the folder of the local caches and read it back", self.target.cache
        if folder is None:
            self.note(judge.skipped("cache", tried, "there is no cache: it is disabled, or its folder is not writable"))
            return
        path = folder / f"{self.folder}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            path.unlink()
        except OSError as error:
            means, fix = (
                "everything works, but nothing is cached between processes",
                "set ARTIFACTSTORE_CACHE to a writable folder",
            )
            self.note(Check("cache", "warn", tried, f"{folder}: {error.strerror}", means, fix))
        else:
            self.note(Check("cache", "ok", tried, f"{folder} works"))


def _may_have_landed(error: ArtifactStoreError) -> bool:
    return isinstance(error, BackendError) and error.transient
