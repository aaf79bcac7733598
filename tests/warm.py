"""Processes that begin where their imports are done, each forked from one that has done nothing else.

They are killed, counted and raced like any others; but a second of processor time for s3fs and botocore is spent once.
"""

import atexit
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from tests.servers.botocore_models import read_once
from tests.unsynced import unsync

__all__ = ["Warm", "command", "program"]

_ROOT: Final = Path(__file__).parents[1]
_MODULES: Final = (
    "artifactstore.cli",
    "s3fs",
    "pyarrow.parquet",
    "artifactstore.work.sync.sync",
    "artifactstore.backend.s3.backend",
)
_FOR: Final = {"abfs://": "adlfs", "gs://": "gcsfs", "sftp://": "paramiko"}  # loaded when a command first has such an argument


class Warm:
    """A process; with what a program's command line says behind the name of Python.

    Args:
        command: `-m`, a module and its arguments; `-c`, a program and its arguments; or a program's path and its arguments.
        env: its environment; this process's own if left out.
        cwd: its folder; this process's own if left out.
    """

    def __init__(self, *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        os.mkfifo(self._folder / "0")
        for name in "12":  # they are looked at from now on
            (self._folder / name).touch()
        job = {
            "command": command,
            "folder": str(self._folder),
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
        }
        self.pid: int = _ask(job)
        self.returncode: int | None = None
        self._input = (self._folder / "0").open("w")  # waits until it is there

    def say(self, text: str) -> None:
        """Write to its standard input."""
        self._input.write(text)
        self._input.flush()

    @property
    def output(self) -> str:
        """What it has written to its standard output."""
        return (self._folder / "1").read_text()

    @property
    def errors(self) -> str:
        """What it has written to its standard error."""
        return (self._folder / "2").read_text()

    def until(self, text: str, timeout: float = 120) -> None:
        """Wait until its output is `text`."""
        end = time.monotonic() + timeout
        while self.output != text:
            assert self.poll() is None, self.errors
            assert time.monotonic() < end, "it says nothing"
            time.sleep(0.005)

    def poll(self) -> int | None:
        """Return how it ended, as `subprocess` tells it; None while it runs."""
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Wait until it has ended; returns how."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"it does not end: {self.errors}")
            time.sleep(0.005)
        self._input.close()
        return code

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def program(*words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; returns what `subprocess.run` would."""
    process = Warm(*words, env=env, cwd=cwd)
    return subprocess.CompletedProcess(words, process.wait(), process.output, process.errors)


def command(*words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command `artifactstore` to its end."""
    return program("-m", "artifactstore", *words, env=env, cwd=cwd)


@cache
def _server() -> "subprocess.Popen[str]":
    made = subprocess.Popen(
        [sys.executable, "-m", "tests.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    )
    assert made.stdin is not None
    assert made.stdout is not None
    atexit.register(made.stdout.close)
    atexit.register(made.wait)
    atexit.register(made.stdin.close)  # the last that is registered comes first
    return made


def _ask(job: dict[str, Any]) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


def _become(job: dict[str, Any]) -> NoReturn:
    """Run a program in this process, and end it."""
    code = 1
    try:
        os.setsid()
        for number, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
            os.dup2(os.open(f"{job['folder']}/{number}", mode), number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        how, *rest = job["command"]
        sys.orig_argv = [sys.executable, *job["command"]]
        if how == "-m":
            sys.argv = [how, *rest[1:]]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif how == "-c":
            sys.argv = [how, *rest[1:]]
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = [how, *rest]
            runpy.run_path(how, run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - what an interpreter does at its end
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    for name in _MODULES:
        __import__(name)
    from botocore.session import Session

    from artifactstore.work.runs.capture.program import PASSED

    PASSED.append(str(Path(__file__).parent) + os.sep)  # as in `tests.conftest`
    patch = pytest.MonkeyPatch()
    read_once(patch)
    unsync(patch)
    Session().create_client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x").close()
    for line in sys.stdin:
        job = json.loads(line)
        if "poll" in job:
            pid, status = os.waitpid(job["poll"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        for scheme, name in _FOR.items():
            if any(argument.startswith(scheme) for argument in job["command"]):
                __import__(name)
        pid = os.fork()
        if not pid:
            _become(job)
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
