"""Progress on a terminal: bytes, bytes per second, time left. Shows nothing if stderr is not a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from artifactstore.work.session.session import Session

__all__ = ["shown"]

_LEAST: Final = 8 * 10**6  # bytes: less is done before a bar could be read


@contextmanager
def shown(session: Session) -> Iterator[None]:
    """Show the progress of puts and gets of an open store during the block."""
    if not sys.stderr.isatty():
        yield
        return
    bars: list[Any] = []

    def watch(what: str, total: int) -> Callable[[int], None]:
        if total < _LEAST and what != "verify":
            return lambda _more: None
        from rich.console import Console  # noqa: PLC0415 - only where a bar is shown
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

        columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
        # stdout is for the answer: rich must not capture it, and the bar is removed before anything is printed there.
        bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
        bar.start()
        bars.append(bar)
        task = bar.add_task(what, total=total or None)

        def advance(more: int) -> None:
            bar.advance(task, more)
            if bar.finished:
                bar.stop()

        return advance

    session.watch = watch
    try:
        yield
    finally:
        for bar in bars:
            bar.stop()
