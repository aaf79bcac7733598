"""The intake: what a server's threads hand over waits here, in bounded memory, until it becomes a segment.

Nothing that fails here reaches the server: what cannot be kept is counted, and the count is in the next segment's record.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import xxhash

from artifactstore.runtime.remarks import remark
from artifactstore.work.monitoring.serving.rows import Call, batch_size
from artifactstore.work.monitoring.serving.snapshot import RefusedValueError, snapshot

__all__ = ["Counts", "Intake", "Settings", "warn"]

_ROWS: Final = 100_000  # rows that make a segment
_BYTES: Final = 2**25  # bytes that do
_LARGEST: Final = 2**20  # bytes of one row
_EVERYTHING: Final = 2**64
_LARGE_BATCH: Final = 64  # rows that a dict may have
_REASONS: Final = 50  # different reasons that are counted apart


@dataclass(frozen=True, slots=True)
class Settings:
    """What a log was opened with.

    Attributes:
        model: {ref, digest, name, version} of the model.
        name: of the log.
        sample: share of the rows that are logged.
        columns: names of inputs that come as arrays.
        spool: folder of waiting segments, or None.
        memory: bytes of calls that wait, and without a folder of segments that do.
        flush: seconds after which waiting calls become a segment.
    """

    model: Mapping[str, Any]
    name: str
    sample: float
    columns: tuple[str, ...] | None
    spool: Path | None
    memory: int
    flush: float


@dataclass(slots=True)
class Counts:
    """What happened since the segment before.

    Attributes:
        calls: number of calls.
        not_sampled: rows that the sample left out.
        lost: reason → rows that could not be kept.
        refused: reason → rows that cannot be written down.
    """

    calls: int
    not_sampled: int
    lost: Counter[str]
    refused: Counter[str]

    def __bool__(self) -> bool:
        return bool(self.calls or self.lost or self.refused)


def warn(known: set[str], what: str, text: str) -> None:
    """Warn once of each matter; an error that a filter makes of it must not stop a server."""
    if what not in known and len(known) < _REASONS:
        known.add(what)
        with suppress(Exception):
            remark(text)


class Intake:
    """Calls that wait.

    Args:
        settings: of the log.
        stream: id of the stream, of which generated ids are made.

    Attributes:
        wake: set when a segment is due.
    """

    def __init__(self, settings: Settings, stream: str) -> None:
        self.wake = threading.Event()
        self._settings = settings
        self._stream = stream
        self._threshold = int(settings.sample * _EVERYTHING)
        self._lock = threading.Lock()
        self._queue: deque[Call] = deque()
        self._taken: deque[Call] = deque()  # of the thread that makes segments
        self._held = self._rows = self._next = 0
        self._counts = Counts(0, 0, Counter(), Counter())
        self._closed = False
        self._warned: set[str] = set()

    def take(self, inputs: Any, outputs: Any, labels: Any, key: Any, latency: Any) -> None:
        """Take a call; never raises for what it was given."""
        try:
            self._take(inputs, outputs, labels, key, latency)
        except RefusedValueError as error:
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - an object of the server's may raise anything, and must not stop it
            self._refuse(f"{type(error).__name__} of a value")

    def _take(self, inputs: Any, outputs: Any, labels: Any, key: Any, latency: Any) -> None:
        now = time.time_ns() // 1000
        several = isinstance(key, list | tuple)
        if self._threshold < _EVERYTHING and key is not None and not several and not self.is_sampled(str(key)):
            with self._lock:
                self._counts.calls += 1
                self._counts.not_sampled += 1
            return
        most = min(_LARGEST * _rows_at_most(inputs), self._settings.memory)
        parts, size = [], 64
        for part in (inputs, outputs, labels):
            copied, used = (None, 0) if part is None else snapshot(part, most)
            parts.append(copied)
            size += used
        found = batch_size(parts)
        rows = 1 if found is None else found
        if not rows:
            return
        if size > _LARGEST * rows + 64:
            raise RefusedValueError("too large")
        names = [str(one) for one in key] if several else None if key is None else str(key)
        if isinstance(names, list) and len(names) != rows:
            raise RefusedValueError("not as many ids as rows")
        took = None if latency is None else float(latency)
        with self._lock:
            self._counts.calls += 1
            if self._closed or self._held + size > self._settings.memory:
                reason = "closed" if self._closed else "memory full"
                self._counts.lost[reason] += rows
            else:
                reason = ""
                self._queue.append(
                    Call(self._next, now, names, (parts[0], parts[1], parts[2]), took, size, rows, found is not None)
                )
                self._next += rows
                self._held += size
                self._rows += rows
        if reason:
            text = f"rows are missing in the inference log ({reason}); their number is in its next segment"
            warn(self._warned, reason, text)
        elif self.is_due and not self.wake.is_set():
            self.wake.set()

    @property
    def is_due(self) -> bool:
        """Whether enough waits for a segment."""
        return self._rows >= _ROWS or self._held >= min(_BYTES, self._settings.memory // 2)

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return self._rows

    def is_sampled(self, key: str) -> bool:
        """Return whether the sample has an id: always the same answer."""
        return xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")) < self._threshold

    def _refuse(self, reason: str) -> None:
        with self._lock:
            self._counts.calls += 1
            known = self._counts.refused
            known[reason if reason in known or len(known) < _REASONS else "another reason"] += 1
        warn(self._warned, reason, f"a call is not in the inference log: {reason} (warned once)")

    def lose(self, reason: str, rows: int) -> None:
        """Count rows that are lost after they were taken."""
        with self._lock:
            self._counts.lost[reason] += rows

    def drain(self) -> tuple[list[Call], Counts]:
        """Remove and return the calls of a segment, and what happened since the last one."""
        calls, rows, size = [], 0, 0
        with self._lock:  # for an instant: the server waits for it
            if not self._taken:
                self._taken, self._queue = self._queue, deque()
            counts, self._counts = self._counts, Counts(0, 0, Counter(), Counter())
        while self._taken and rows < _ROWS:
            call = self._taken.popleft()
            calls.append(call)
            rows += call.rows
            size += call.size
        with self._lock:
            self._held -= size
            self._rows -= rows
        sampled = []
        for call in calls:
            one = self._chosen(call, counts)
            sampled += [] if one is None else [one]
        return sampled, counts

    def _chosen(self, call: Call, counts: Counts) -> Call | None:
        """Return a call with an id for each row, and with those rows alone that are sampled."""
        if isinstance(call.id, str) or isinstance(call.number, list):
            return call
        names = call.id or [f"{self._stream}-{call.number + at}" for at in range(call.rows)]
        chosen = [at for at, name in enumerate(names) if self._threshold >= _EVERYTHING or self.is_sampled(name)]
        counts.not_sampled += call.rows - len(chosen)
        if not chosen:
            return None
        numbers = [call.number + at for at in chosen]
        parts = call.parts if len(chosen) == call.rows else tuple(_selected(part, chosen) for part in call.parts)
        return Call(numbers, call.time, [names[at] for at in chosen], parts, call.latency, call.size, len(chosen), call.is_batch)

    def close(self) -> None:
        """Take no more calls."""
        with self._lock:
            self._closed = True
        self.wake.set()


def _rows_at_most(inputs: Any) -> int:
    """Return a number of rows that a batch does not exceed: each may have some bytes."""
    if isinstance(inputs, dict):
        return _LARGE_BATCH
    shape = getattr(inputs, "shape", None)
    if shape is not None:
        return max(1, int(shape[0])) if len(shape) == 2 else 1
    return max(1, len(inputs)) if isinstance(inputs, list) or hasattr(inputs, "num_rows") else 1


def _selected(part: Any, chosen: list[int]) -> Any:
    """Return some rows of a batch."""
    if part is None:
        return None
    if hasattr(part, "take") and hasattr(part, "num_rows"):
        return part.take(chosen)
    if hasattr(part, "iloc"):
        return part.iloc[chosen]
    if isinstance(part, dict):
        return {name: _selected(values, chosen) for name, values in part.items()}
    if isinstance(part, list):
        return [part[at] for at in chosen]
    return part[chosen]
