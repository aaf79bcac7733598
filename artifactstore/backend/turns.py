"""Turns: of many processes and threads on one machine that want the same, one does the work and the others wait.

Waiting saves work and is never needed for safety: whoever waits too long, or can't lock here, goes ahead.
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
except ImportError:  # Windows: the same may be fetched twice
    fcntl = None  # type: ignore[assignment]

__all__ = ["turn"]

_FILES: Final = 1024  # lock files, made once and never removed; two wishes that share one only wait in vain
_FIRST: Final = 0.002  # seconds of the first pause between two looks
_LONGEST: Final = 0.05


@contextmanager
def turn(folder: Path, wishes: Iterable[str], *, patience: float) -> Iterator[None]:
    """Hold the turn for some wishes; a process that ends, however it ends, gives its turns back.

    Args:
        folder: where the lock files lie.
        wishes: what is to be done, in words that all processes use.
        patience: seconds after which to go ahead all the same.
    """
    numbers = sorted(
        {xxhash.xxh3_64_intdigest(wish.encode()) % _FILES for wish in wishes}
    )  # in one order: nobody waits in a circle
    end = time.monotonic() + patience
    with ExitStack() as held:
        for number in numbers if fcntl is not None else ():
            held.enter_context(_lock(folder / f"{number:03x}", end))
        yield


@contextmanager
def _lock(path: Path, end: float) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError:
        yield
        return
    got = False
    try:
        got = _wait(fd, end)
        yield
    finally:
        if got:
            # A child that was forked meanwhile shares the lock: closing our side alone would leave it locked.
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _wait(fd: int, end: float) -> bool:
    """Lock, looking now and then, so that Ctrl-C is heard; False where it is not to be had."""
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
            return False  # a file system that knows no locks
        else:
            return True
