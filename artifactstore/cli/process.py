"""The process of the command: its exit codes, its streams, and its end."""

import atexit
import codecs
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final, NoReturn

__all__ = ["EXIT_CODES", "has_person", "is_main_process", "leave", "ready_streams"]

EXIT_CODES: Final = {
    "ok": 0,
    "no": 1,
    "invalid_input": 2,
    "not_found": 3,
    "backend": 4,
    "outcome_unknown": 4,
    "corruption": 5,
    "format": 5,
    "refused": 6,
    "untrusted": 6,
    "unsupported": 6,
    "conflict": 7,
    "condemned_before_commit": 7,
    "already_exists": 7,
    "crash": 70,
    "interrupted": 130,
}


is_main_process = False  # whether this process runs the command and nothing else


def leave(code: int) -> NoReturn:
    """End this process, which runs the command and nothing else: run Python's exit handlers, skip the destructors of C++.

    Destructors of Arrow's thread pools abort the process now and then (2 of 750 runs of `ls`, after its output was
    complete): a command that has succeeded must not end as a crash.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # All is said and done: a Ctrl-C from now on, perhaps the second, ends this without a traceback of a client that closes.
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - which `os._exit` skips
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


# Signs of this program, and what stands for them in ASCII; all else is escaped.
_SIGNS: Final = {"├": "|", "└": "`", "│": "|", "─": "-", "…": "...", "·": "-", "→": "->"}


def _without_signs(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIGNS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lacking), error.end


def has_person() -> bool:
    """Return whether there is a person to ask: a terminal at both ends."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def ready_streams() -> None:
    """Make any name printable: escape what the terminal's encoding lacks, replace a closed stream by the null device."""
    codecs.register_error("artifactstore-signs", _without_signs)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the life of the process
        elif hasattr(stream, "reconfigure") and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="artifactstore-signs")
