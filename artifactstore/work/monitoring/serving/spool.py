"""The spool: encoded segments that wait for the store, in memory or in a folder; bounded, oldest first.

In a folder they outlive the process: the next log that is opened with the same folder stores what a killed one has left.
"""

import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import CorruptionError, FormatError
from artifactstore.runtime.atomic_files import durable
from artifactstore.work.monitoring.serving.segment import FILE, Segment, read_record

try:
    import fcntl
except ImportError:  # Windows: segments of a killed process stay until a log of the same stream is opened
    fcntl = None  # type: ignore[assignment]

__all__ = ["Spool", "left_behind"]

_OWNER: Final = "owner"  # locked by the process that writes the stream
_PARTIAL: Final = ".partial"


class Spool:
    """Segments that wait.

    Args:
        folder: where they are kept; None: in memory.
        most: bytes that it holds.
        stream: the stream.
    """

    def __init__(self, folder: Path | None, most: int, stream: str) -> None:
        self._folder = None if folder is None else folder / stream
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Segment, int]] = deque()
        self._held = 0
        self._owner: int | None = None

    def begin(self) -> None:
        """Create the folder, and lock it.

        Raises:
            OSError: it cannot be written.
        """
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner = os.open(self._folder / _OWNER, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def has_room(self) -> bool:
        """Return whether another segment may come."""
        return self._held < self._most

    def add(self, segment: Segment) -> None:
        """Add a segment; durable when it returns, if there is a folder.

        Raises:
            OSError: the folder is full, or cannot be written.
        """
        size = len(segment.data)
        if self._folder is not None:
            place = self._folder / f"{segment.record['number']:08d}"
            place.mkdir(exist_ok=True, mode=0o700)
            part = place / (FILE + _PARTIAL)
            with durable(part) as file:
                file.write(segment.data)
            part.replace(place / FILE)
            segment = Segment(segment.record, b"", segment.digest)
        with self._lock:
            self._waiting.append((segment, size))
            self._held += size

    def first(self) -> Segment | None:
        """Return the oldest segment, which stays."""
        with self._lock:
            return self._waiting[0][0] if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def rows(self) -> int:
        """Rows that wait."""
        with self._lock:
            return sum(int(segment.record["rows"]) for segment, _ in self._waiting)

    @contextmanager
    def file(self, segment: Segment) -> Iterator[Path]:
        """Yield the file of a segment."""
        if self._folder is not None:
            yield self._folder / f"{segment.record['number']:08d}" / FILE
            return
        with tempfile.TemporaryDirectory(prefix="artifactstore-serving-") as folder:
            path = Path(folder) / FILE
            path.write_bytes(segment.data)
            yield path

    def drop(self) -> None:
        """Remove the oldest segment, which is stored."""
        with self._lock:
            segment, size = self._waiting.popleft()
            self._held -= size
        if self._folder is not None:
            shutil.rmtree(self._folder / f"{segment.record['number']:08d}", ignore_errors=True)

    def end(self) -> None:
        """Unlock the folder; it is removed if it is empty."""
        if self._folder is not None and not self._waiting:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.forget()

    def forget(self) -> None:
        """Close the lock's descriptor, as in a forked child: the lock stays with the parent."""
        if self._owner is not None:
            with suppress(OSError):
                os.close(self._owner)
            self._owner = None


@contextmanager
def left_behind(folder: Path, own: str) -> Iterator[Iterator[tuple[Path, dict[str, Any]]]]:
    """Yield the segments that killed processes left in a folder, each with its record; no other process gets the same ones."""
    locks: list[int] = []

    def found() -> Iterator[tuple[Path, dict[str, Any]]]:
        for stream in sorted(folder.iterdir() if folder.is_dir() else ()):
            if stream.name == own or not stream.is_dir() or fcntl is None:
                continue
            try:
                owner = os.open(stream / _OWNER, os.O_RDWR)
            except OSError:
                continue
            locks.append(owner)
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # its process lives
            for path in sorted(stream.glob(f"*/{FILE}")):
                with suppress(CorruptionError, FormatError):
                    yield path, read_record(path, str(path))
            if not any(stream.glob(f"*/{FILE}")):
                shutil.rmtree(stream, ignore_errors=True)

    try:
        yield found()
    finally:
        for owner in locks:
            os.close(owner)
