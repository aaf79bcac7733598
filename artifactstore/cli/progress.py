"""Progress of commands: a bar on a terminal, a line a minute in the logs of CI and of jobs; always on stderr."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from artifactstore.cli import printing
from artifactstore.work.session.session import Session

__all__ = ["shown"]


@contextmanager
def shown(session: Session) -> Iterator[None]:
    """Show the progress of an open store during the block."""
    if not sys.stderr.isatty() or os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        session.watch = _lines
        yield
        return
    bars: list[Any] = []

    def watch(what: str, total: int, files: int = 0) -> Callable[..., None]:
        from artifactstore.display.progress import is_long  # noqa: PLC0415 - only for what moves bytes

        if not is_long(total, files):
            return _nothing
        from rich.console import Console  # noqa: PLC0415 - only where a bar is shown
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

        columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
        # stdout is for the answer: rich must not capture it, and the bar is removed before anything is printed there.
        bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
        bar.start()
        bars.append(bar)
        task = bar.add_task(what, total=total or None)
        done = 0

        def advance(more: int, count: int = 0) -> None:
            nonlocal done
            done += count
            bar.update(task, advance=more, description=f"{what} {done:,}/{files:,} files" if files else what)
            if bar.finished:
                bar.stop()

        return advance

    session.watch = watch
    try:
        yield
    finally:
        for bar in bars:
            bar.stop()


def _nothing(_more: int, _files: int = 0) -> None:
    """Show nothing."""


def _lines(what: str, total: int, files: int = 0) -> Callable[..., None]:
    from artifactstore.display.progress import in_log, is_long  # noqa: PLC0415 - as above

    return in_log(what, total, files, printing.echo_error) if is_long(total, files) else _nothing
