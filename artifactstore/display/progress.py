"""Progress in words, for notebooks and logs: what is done of how much, how fast, and how long it will take.

A meter costs nothing until something long is under way: it shows nothing before its first interval has passed, and needs no thread.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from artifactstore.display.values import counted, duration, format_size

__all__ = ["LEAST", "MANY", "Meter", "in_log", "in_notebook", "is_long", "notebook"]

LEAST: Final = 8 * 10**6  # bytes, and files: less is done before anything could be read
MANY: Final = 2000
_SOON: Final = 1.0  # seconds before a notebook shows anything, and between its updates
_OFTEN: Final = 0.25
_LINES: Final = 60.0  # seconds between two lines of a log


def is_long(total: int, files: int = 0) -> bool:
    """Return whether an operation may take long enough to show it; a total of 0 is not known."""
    return total >= LEAST or files >= MANY


class Meter:
    """What is done of an operation; may be called from several threads.

    Args:
        what: the operation, in one word.
        total: bytes in all; 0 if that is not known.
        files: files in all; 0 if they are not counted.
        show: receives the meter, and whether everything is done.
        first: seconds before it is shown.
        every: seconds between two updates.
        clock: returns seconds.
    """

    def __init__(
        self,
        what: str,
        total: int,
        files: int,
        show: "Callable[[Meter, bool], None]",
        *,
        first: float,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.files = what, total, files
        self.done = self.files_done = 0
        self._show, self._every, self._clock = show, every, clock
        self._lock = threading.Lock()
        self._began = clock()
        self._next = self._began + first
        self._shown = False

    def __call__(self, size: int, files: int = 0) -> None:
        """Count what was done."""
        with self._lock:
            self.done += size
            self.files_done += files
            now = self._clock()
            ended = 0 < self.total <= self.done and (not self.files or self.files_done >= self.files)
            if now >= self._next or (ended and self._shown):
                self._next = float("inf") if ended else now + self._every
                self._shown = True
                self._show(self, ended)

    @property
    def text(self) -> str:
        """It in words: `get: 1.2 GB of 4.0 GB (30%), 3 of 12 files, 50.0 MB/s, 56 s left`."""
        passed = max(self._clock() - self._began, 1e-9)
        parts = [f"{self.what}: {format_size(self.done)}"]
        if self.total:
            parts[0] += f" of {format_size(self.total)} ({min(1.0, self.done / self.total):.0%})"
        if self.files:
            parts.append(f"{self.files_done:,} of {counted(self.files, 'files')}")
        parts.append(f"{format_size(round(self.done / passed))}/s")
        if 0 < self.done < self.total:
            parts.append(f"{duration((self.total - self.done) * passed / self.done)} left")
        return ", ".join(parts)

    @property
    def result(self) -> str:
        """The result in words: `get: 4.0 GB in 80 s`."""
        files = f" in {counted(self.files, 'files')}" if self.files else ""
        return f"{self.what}: {format_size(self.done)}{files}, {duration(self._clock() - self._began)}"


def in_log(
    what: str, total: int, files: int, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> Meter:
    """Return a meter that writes a line a minute."""
    return Meter(
        what,
        total,
        files,
        lambda meter, ended: write(meter.result if ended else meter.text),
        first=_LINES,
        every=_LINES,
        clock=clock,
    )


def notebook() -> Any:
    """Return the shell of a notebook's kernel; None anywhere else, in a terminal of IPython, too."""
    module = sys.modules.get("IPython")  # what is not loaded runs no kernel
    shell = module.get_ipython() if module is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


def in_notebook(what: str, total: int, files: int, *, clock: Callable[[], float] = time.monotonic) -> Meter:
    """Return a meter that shows a bar below the cell, which needs no widgets."""
    from importlib import import_module  # noqa: PLC0415 - only in notebooks

    from artifactstore.display.html_renderer import element  # noqa: PLC0415 - as above

    display: Any = import_module("IPython.display").display

    handles: list[Any] = []

    def show(meter: Meter, ended: bool) -> None:  # noqa: FBT001 - as meters call it
        text = meter.result if ended else meter.text
        bar = (
            ""
            if ended or not meter.total
            else element("progress", value=str(meter.done), max=str(meter.total), style="width:16em")
        )
        page = element("div", bar, " " if bar else "", text, style="font-size:90%;opacity:.8")
        data = {"text/plain": text, "text/html": str(page)}
        if handles:
            handles[0].update(data, raw=True)
        else:
            handles.append(display(data, raw=True, display_id=True))

    return Meter(what, total, files, show, first=_SOON, every=_OFTEN, clock=clock)
