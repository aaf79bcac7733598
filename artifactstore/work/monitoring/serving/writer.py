"""The writer of a stream: one thread makes segments of waiting calls, another one stores them, however long the store is away."""

import shutil
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, ConflictError, NotFoundError
from artifactstore.model.encoding import format_time
from artifactstore.runtime.threads import until
from artifactstore.work.monitoring.serving.intake import Counts, Intake, Settings, warn
from artifactstore.work.monitoring.serving.rows import Rows
from artifactstore.work.monitoring.serving.segment import FORMAT, Segment, encode, metadata_of
from artifactstore.work.monitoring.serving.spool import Spool, left_behind
from artifactstore.work.put.put import put
from artifactstore.work.runs.run import Run
from artifactstore.work.session.session import Session

__all__ = ["KIND", "Writer"]

KIND: Final = "serving"  # of the versions, and the name of their runs
_PAUSE: Final = 1.0  # seconds after a failed put, doubled each time
_LAST: Final = 1.0  # seconds that threads have to end when there is no more time
_LONGEST: Final = 60.0
_FOLDER: Final = 16  # times the memory: what a folder may hold
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Writer:
    """Makes and stores the segments of a stream.

    Args:
        session: the store.
        settings: of the log.
        intake: what waits.
        stream: id of the stream, and of its run.
        parent: the stream of the process that this one was forked from.

    Attributes:
        totals: rows that are stored, lost, refused and not sampled so far.
    """

    def __init__(self, session: Session, settings: Settings, intake: Intake, stream: str, parent: str | None) -> None:
        self.totals: Counter[str] = Counter()
        self._session = session
        self._settings = settings
        self._intake = intake
        self._stream = stream
        self._parent = parent
        most = settings.memory if settings.spool is None else _FOLDER * settings.memory
        self._spool = Spool(settings.spool, most, stream)
        self._number = 0
        self._previous: str | None = None
        self._run: Run | None = None
        self._adopted = settings.spool is None
        self._asked = self._made = 0  # flushes
        self._closing = self._sealed = False
        self._over, self._ready = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._threads: tuple[threading.Thread, ...] = ()
        self._warned: set[str] = set()

    # -- from the server's threads

    @property
    def is_running(self) -> bool:
        """Whether its threads were started."""
        return bool(self._threads)

    def start(self) -> None:
        """Start the threads."""
        self._threads = tuple(
            threading.Thread(target=work, name=f"artifactstore-{name}", daemon=True)
            for name, work in (("serving", self._make), ("shipping", self._ship))
        )
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter ends
            warn(self._warned, "threads", f"the inference log cannot start its threads ({error}): calls wait in memory")

    def flush(self, timeout: float) -> bool:
        """Store what waits; return whether all of it is stored."""
        end = time.monotonic() + timeout
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._intake.wake.set()
            while (self._made < mine or self._intake.waiting or len(self._spool)) and not self._over.is_set():
                if not self._changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    return False
        return not self._intake.waiting and not len(self._spool)

    def close(self, timeout: float) -> int:
        """Store what waits and end the threads; return the number of rows that are not stored."""
        end = time.monotonic() + timeout
        self._closing = True
        self._intake.close()
        for thread in self._threads:
            with suppress(RuntimeError):  # it was never started
                thread.join(max(0.1, end - time.monotonic()))
        self._over.set()
        self._ready.set()
        for thread in self._threads:
            with suppress(RuntimeError):
                thread.join(_LAST)  # a request that is under way
        left = self._intake.waiting + self._spool.rows
        self._spool.end()
        return left

    def forget(self) -> None:
        """Let go of what a forked child must not use."""
        self._spool.forget()

    # -- segments

    def _make(self) -> None:
        try:
            self._spool.begin()
        except OSError as error:
            warn(self._warned, "spool", f"the spool of the inference log cannot be used ({error})")
        due = time.monotonic() + self._settings.flush
        while not self._sealed:
            self._intake.wake.wait(max(0.0, due - time.monotonic()))
            self._intake.wake.clear()
            closing, asked = self._closing, self._asked
            late = time.monotonic() >= due
            if closing or asked > self._made or late or self._intake.is_due:
                try:
                    self._seal(closing=closing)
                except Exception as error:  # noqa: BLE001 - the thread must live
                    warn(self._warned, "segment", f"a segment of the inference log is lost: {type(error).__name__}: {error}")
            if late:
                due = time.monotonic() + self._settings.flush
            with self._changed:
                self._made, self._sealed = (asked if not self._intake.waiting else self._made), closing
                self._changed.notify_all()
            self._ready.set()

    def _seal(self, *, closing: bool) -> None:
        """Turn waiting calls into segments, as far as the spool has room."""
        while self._spool.has_room() or closing:
            calls, counts = self._intake.drain()
            last = closing and not self._intake.waiting
            if not calls and not counts and not (last and self._number):
                return
            rows = Rows(self._settings.columns)
            for at, call in enumerate(calls):
                try:
                    rows.add(call)
                except Exception as error:  # noqa: BLE001 - a row that cannot be written must not take the others with it
                    counts.refused[f"{type(error).__name__} in a row"] += call.rows
                if rows.is_full and at + 1 < len(calls):
                    self._keep(rows, counts, closed=False)
                    rows, counts = Rows(self._settings.columns), Counts(0, 0, Counter(), Counter())
            self._keep(rows, counts, closed=last)
            if not self._intake.waiting:
                return

    def _keep(self, rows: Rows, counts: Counts, *, closed: bool) -> None:
        try:
            self._add(rows.finish(), rows.roles, counts, closed=closed)
        except Exception as error:
            self._intake.lose(f"{type(error).__name__} of a segment", rows.count + sum(counts.lost.values()))
            raise

    def _add(self, table: Any, roles: dict[str, str], counts: Counts, *, closed: bool) -> None:
        times = table.column("_time").cast("int64").to_pylist() or [time.time_ns() // 1000]
        record = {
            "format": FORMAT,
            "stream": self._stream,
            "parent": self._parent,
            "number": self._number,
            "previous": self._previous,
            "log": self._settings.name,
            "model": dict(self._settings.model),
            "start": _text(min(times)),
            "end": _text(max(times)),
            "rows": table.num_rows,
            "sample": self._settings.sample,
            "columns": dict(roles),
            "calls": counts.calls,
            "not_sampled": counts.not_sampled,
            "lost": dict(counts.lost),
            "refused": dict(counts.refused),
            "closed": closed,
        }
        segment = encode(table, record, self._session.core().config.digest)
        self._spool.add(segment)
        self._number, self._previous = self._number + 1, segment.digest
        self.totals["lost"] += sum(counts.lost.values())
        self.totals["refused"] += sum(counts.refused.values())
        self.totals["not_sampled"] += counts.not_sampled
        self._ready.set()

    # -- the store

    def _ship(self) -> None:
        pause = _PAUSE
        with until(self._over):
            while not self._over.is_set():
                try:
                    self._store_all()
                    if self._sealed and not len(self._spool):
                        self._finish()
                        return
                except Exception as error:  # noqa: BLE001 - whatever a backend raises: segments wait, and the server serves
                    text = f"the inference log cannot be stored now, and waits: {type(error).__name__}: {error}"
                    warn(self._warned, "store", text)
                    if self._over.wait(pause):
                        return
                    pause = min(2 * pause, _LONGEST)
                    continue
                pause = _PAUSE
                self._ready.wait()
                self._ready.clear()

    def _store_all(self) -> None:
        if not self._adopted and self._settings.spool is not None:
            self._adopt(self._settings.spool)
            self._adopted = True
        while (segment := self._spool.first()) is not None and not self._over.is_set():
            self._store(segment)
            self._spool.drop()
            if self._intake.waiting and (self._intake.is_due or self._asked > self._made):
                self._intake.wake.set()  # there is room again
            with self._changed:
                self._changed.notify_all()

    def _store(self, segment: Segment) -> None:
        if self._run is None:
            self._run = self._started(self._stream, str(self._settings.model["digest"]))
        with self._spool.file(segment) as path:
            self._put(self._run, path, self._settings.name, metadata_of(segment.record))
        self.totals["stored"] += int(segment.record["rows"])

    def _put(self, run: Run | None, path: Path, name: str, metadata: dict[str, Any]) -> None:
        if run is None:
            put(self._session, path, name, kind=KIND, metadata=metadata)
        else:
            run.put(path, name, kind=KIND, role="segment", metadata=metadata)

    def _started(self, stream: str, model: str) -> Run | None:
        """Return the run of a stream; None if it has finished, as one whose last segments come late."""
        run = Run(self._session, KIND, params={"sample": self._settings.sample}, id=stream, code=False)
        try:
            run.start(current=False, capture=False)
        except ConflictError:
            return None
        with suppress(NotFoundError):  # it was removed meanwhile
            run.use(model, role="model")
        return run

    def _adopt(self, folder: Path) -> None:
        """Store what killed processes have left in the folder."""
        runs: dict[str, Run | None] = {}
        with left_behind(folder, self._stream) as found:
            for path, record in found:
                stream = str(record["stream"])
                if stream not in runs:
                    runs[stream] = self._started(stream, str(record["model"]["digest"]))
                self._put(runs[stream], path, str(record["log"]), metadata_of(record))
                shutil.rmtree(path.parent, ignore_errors=True)
        for run in runs.values():
            if run is not None:
                run.finish(error="its process ended before it had closed its log; another one stored the rest")

    def _finish(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            with suppress(ArtifactStoreError):  # its segments are stored; a run without an end is only a remark
                run.finish()


def _text(microseconds: int) -> str:
    return format_time(_EPOCH + timedelta(microseconds=microseconds))
