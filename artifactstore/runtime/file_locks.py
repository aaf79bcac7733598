"""Single-flight file locks: one process or thread does the work, the others on the machine wait for its result.

Waiting saves work and is never needed for safety: after the time-out, or where locks are unavailable, work proceeds.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import xxhash

try:
    import fcntl
except ImportError:  # Windows: an object may be fetched twice
    fcntl = None  # type: ignore[assignment]

__all__ = ["single_flight"]

_FILES: Final = 1024  # lock files, created once and never removed; two keys that share a file only wait needlessly
_FIRST: Final = 0.002  # seconds of the first pause between two tries
_LONGEST: Final = 0.05


@contextmanager
def single_flight(folder: Path, keys: Iterable[str], *, timeout: float) -> Iterator[bool]:
    """Hold the locks for some keys; gives whether it had to wait. When a process ends, for any reason, its locks are released.

    Args:
        folder: where the lock files are.
        keys: keys of the work, the same in all processes.
        timeout: seconds after which to proceed without the lock.
    """
    numbers = sorted({xxhash.xxh3_64_intdigest(key.encode()) % _FILES for key in keys})  # in a fixed order: no deadlock
    end = time.monotonic() + timeout
    with ExitStack() as held:
        waited = [held.enter_context(_lock(folder / f"{number:03x}", end)) for number in numbers if fcntl is not None]
        yield any(waited)


@contextmanager
def _lock(path: Path, end: float) -> Iterator[bool]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError:
        yield False
        return
    got = False
    started = time.monotonic()
    try:
        got = _wait(fd, end)
        yield time.monotonic() - started >= _FIRST
    finally:
        if got:
            # A child that was forked meanwhile shares the lock: closing our descriptor alone would leave it locked.
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _wait(fd: int, end: float) -> bool:
    """Lock by polling, so that Ctrl-C works; False where the lock is not available."""
    pause = _FIRST
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
        except OSError:
            return False  # a file system without locks
        else:
            return True
