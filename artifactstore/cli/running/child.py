"""A program in the foreground: its exit code, its signals, and the metrics that it prints."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from artifactstore.errors import InvalidInputError

__all__ = ["PrintedMetrics", "call"]

_PASSED_ON: Final = ("SIGTERM", "SIGHUP")  # a scheduler sends them to this process alone; Ctrl-C reaches the program by itself
_LONGEST: Final = 64 * 1024  # bytes of a line in which a metric is searched
_AFTER: Final = 2.0  # seconds for the output of programs that outlive the one that started them
_COLOURS: Final = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
_NUMBER: Final = rb"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|NaN|inf|Infinity)(?![\w.%])"


class PrintedMetrics:
    """The last value of each metric that a program prints as `auc=0.91`, `auc: 0.91` or `"auc": 0.91`.

    Args:
        names: the metrics.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.values: dict[str, float] = {}
        self._line = b""
        self._patterns = {
            name: re.compile(rb"(?<![\w./-])[\"']?" + re.escape(name.encode()) + rb"[\"']?\s*[=:]\s*(" + _NUMBER + rb")")
            for name in self.names
        }

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the output."""
        *lines, self._line = re.split(rb"[\r\n]", self._line + block)
        for line in lines:
            self._search(line)
        self._line = self._line[-_LONGEST:]

    def end(self) -> None:
        """Take what follows the last end of a line."""
        self._search(self._line)
        self._line = b""

    def _search(self, line: bytes) -> None:
        line = _COLOURS.sub(b"", line[-_LONGEST:])
        for name, pattern in self._patterns.items():
            for match in pattern.finditer(line):
                self.values[name] = float(match[1])


def call(
    command: Sequence[str],
    metrics: PrintedMetrics | None = None,
    *,
    to_stderr: bool = False,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a program in the foreground and return its exit code, 128 and the signal's number if one ended it.

    Args:
        command: the program and its arguments.
        metrics: takes what the program writes to stdout, which passes through unchanged; None: stdout is not looked at.
        to_stderr: the program's stdout goes to stderr, since stdout is for an answer in JSON.
        environment: variables that it gets in addition to those of this process.

    Raises:
        InvalidInputError: the program cannot be run.
    """
    # A program of Python that writes to a pipe would keep its lines until its end.
    more: dict[str, Any] = {"stdout": 2} if to_stderr else {}
    unbuffered = {} if metrics is None else {"PYTHONUNBUFFERED": "1"}
    if metrics is not None:
        more["stdout"] = subprocess.PIPE
    if unbuffered or environment:
        more["env"] = {**unbuffered, **os.environ, **(environment or {})}
    target = sys.stderr if to_stderr else sys.stdout
    with _signals() as pass_on_to:
        try:
            child = subprocess.Popen(command, **more)  # noqa: S603 - what the user asked for
        except OSError as error:
            raise InvalidInputError(f"cannot run {command[0]}: {error.strerror or error}") from error
        pass_on_to(child)
        reader = threading.Thread(target=_pass_through, args=(child.stdout, metrics, target), daemon=True)
        if metrics is not None:
            target.flush()
            reader.start()
        code = child.wait()
    if metrics is not None:
        reader.join(_AFTER)
        metrics.end()
    return 128 + -code if code < 0 else code


def _pass_through(source: Any, metrics: PrintedMetrics, target: Any) -> None:
    buffer = getattr(target, "buffer", None)  # a stream of text that a program has put there has none
    with source:
        while block := source.read1(2**16):
            metrics.feed(block)
            try:
                if buffer is None:
                    target.write(block.decode(errors="replace"))
                else:
                    buffer.write(block)
                target.flush()
            except OSError:
                return  # who reads this command's output has enough: the program meets a closed pipe, as it would without us


@contextlib.contextmanager
def _signals() -> "Iterator[Callable[[subprocess.Popen[bytes]], None]]":
    """Pass signals that would end this process on to a program: its end is then recorded. Yields what takes the program.

    Ctrl-C reaches the program by itself, and does nothing here: an exception at the moment in which the program ends would
    lose its exit code (`Popen.wait` then returns 0).
    """
    programs: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if number == signal.SIGINT:
            return
        for one in programs:
            one.send_signal(number)
        if not programs:
            early.append(number)

    def take(program: "subprocess.Popen[bytes]") -> None:
        programs.append(program)
        for number in early:
            program.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield take
        return
    numbers = [signal.SIGINT, *(getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name))]
    before = {
        one: signal.getsignal(one) for one in numbers if signal.getsignal(one) not in {signal.SIG_IGN, None}
    }  # nohup ignores it
    for one in before:
        signal.signal(one, handle)
    try:
        yield take
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
