"""Watches a Python process from inside: the files that it opens and the programs that it starts, by Python's audit events.

`watched_programs` also writes the source of this module as `sitecustomize.py` into a folder on the path of programs that a
run watches, whatever Python they have: it must import `os`, `sys` and `atexit` alone, and must not know this library.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

__all__ = ["EVENTS", "NOT_DATA", "READS", "SYSTEM", "database_of", "is_by", "is_read", "report", "words_of"]

READS = "ARTIFACTSTORE_READS"  # the file to which watched programs report
EVENTS = frozenset({"open", "sqlite3.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"})
NOT_DATA = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dll", ".dylib", ".pth", ".egg-link")
SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/run/", "/usr/share/", "/usr/lib/", "/lib/")
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_FRAMES = 12  # depth of the search for frames of a library, whose own reads do not count
_MOST = 20_000  # files that a process reports


def is_read(mode: str | None, flags: int) -> bool:
    """Return whether an `open` can read what was there before: neither one that only writes, nor one that begins anew."""
    if isinstance(mode, str):
        return "r" in mode or ("a" in mode and "+" in mode)
    return not flags & (os.O_WRONLY | os.O_TRUNC) and flags & (os.O_CREAT | os.O_EXCL) != os.O_CREAT | os.O_EXCL


def database_of(args: Sequence[Any]) -> str:
    """Return the file that `sqlite3.connect` opens, or an empty text."""
    text = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes, os.PathLike)) else ""
    if ":memory:" in text:
        return ""
    return text[len("file:") :].partition("?")[0] if text.startswith("file:") else text


def words_of(event: str, args: Sequence[Any]) -> list[str]:
    """Return the command line of a program that is started."""
    words = [args[0]] if event == "os.system" else args[2] if event == "os.spawn" else args[1]
    words = [words] if isinstance(words, (str, bytes, os.PathLike)) else list(words)
    return [os.fsdecode(word) for word in words]


def is_by(frame: FrameType | None, prefixes: tuple[str, ...]) -> bool:
    """Return whether code below one of these paths is among the callers.

    The body of a module of the program is no further looked behind: what it opens while it is imported, it opens itself.
    """
    for _ in range(_FRAMES):
        if frame is None:
            return False
        file = frame.f_code.co_filename
        if file.startswith(prefixes):
            return True
        if frame.f_code.co_name == "<module>" and not file.startswith(_LIBRARY) and not any(one in file for one in _PACKAGES):
            return False
        frame = frame.f_back
    return False


def report(target: str, *fields: str) -> None:
    """Append a record to the file of a run, in one write; nothing if the run has ended, which removes the file."""
    line = b" ".join(os.fsencode(one).hex().encode() for one in fields) + b"\n"
    try:
        fd = os.open(target, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


class _Observer:
    """Reports what this process opens and starts, from now on; each line of the file is a record of hexadecimal fields."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: set[tuple[str, ...]] = set()
        self.before: set[str] = set()

    def begin(self) -> None:
        self.report("process", str(os.getpid()), str(os.getppid()))
        self.before.update([path for path, _ in self.open_now()], self.mapped_now())
        try:
            path = os.readlink("/proc/self/fd/0")
            if path.startswith("/"):
                self.note("open", (path, "r", 0))  # `< FILE`
        except OSError:
            pass
        sys.addaudithook(self.hook)
        import atexit  # noqa: PLC0415 - only in a watched program

        atexit.register(self.end)

    def report(self, *fields: str) -> None:
        if fields in self.seen or len(self.seen) > _MOST:
            return
        self.seen.add(fields)
        report(self.target, *fields)

    def hook(self, event: str, args: Sequence[Any]) -> None:
        if event in EVENTS:
            try:
                self.note(event, args)
            except Exception:  # noqa: BLE001, S110 - an observer must never fail the program
                pass

    def note(self, event: str, args: Sequence[Any]) -> None:
        if event == "open":
            path, mode, flags = args
            if path is None or isinstance(path, int):
                return
            text = os.fsdecode(path)
            if text == self.target or text.endswith(NOT_DATA) or text.startswith(SYSTEM) or self.is_own():
                return
            text = os.path.abspath(text)
            if not self.is_installed(text):
                self.report("read" if is_read(mode, flags) else "written", text)
        elif self.is_own():
            return
        elif event == "sqlite3.connect":
            text = database_of(args)
            if text:
                self.report("read", os.path.abspath(text))
        else:
            self.report("program", *words_of(event, args))

    def is_installed(self, path: str) -> bool:
        folders = [one for one in sys.path if one.endswith(("site-packages", "dist-packages"))]
        return path.startswith((_LIBRARY, *(one + os.sep for one in folders)))

    def is_own(self) -> bool:
        """Return whether the import of a module, or the library of the store, opens it."""
        place = getattr(sys.modules.get("artifactstore"), "__path__", None)
        own = [one + os.sep for one in place] if place else []
        return is_by(sys._getframe(3), ("<frozen importlib", "<frozen zipimport", *own))

    def end(self) -> None:
        """Report what native code has mapped, and what is still open to be read; only Linux shows it."""
        for path, flags in self.open_now():
            if path not in self.before and not flags & os.O_WRONLY:
                self.hook("open", (path, "r", 0))
        for path in self.mapped_now():
            if path not in self.before:
                self.hook("open", (path, "r", 0))

    def mapped_now(self) -> list[str]:
        """Return the paths of mapped files that are not programs."""
        found: dict[str, bool] = {}
        try:
            with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
                for line in file:
                    path = line[73:].rstrip("\n")
                    if path.startswith("/") and ".so" not in path and not path.endswith(" (deleted)"):
                        found[path] = found.get(path, False) or "x" in line.split(" ", 2)[1]
        except OSError:
            pass
        return [path for path, runs in found.items() if not runs]

    def open_now(self) -> list[tuple[str, int]]:
        """Return the paths of open files, with the flags that they were opened with."""
        found = []
        try:
            for one in os.listdir("/proc/self/fd"):
                try:
                    path = os.readlink("/proc/self/fd/" + one)
                    with open("/proc/self/fdinfo/" + one, encoding="ascii") as file:
                        flags = [line.split()[1] for line in file if line.startswith("flags:")]
                except OSError:
                    continue
                if path.startswith("/") and flags:
                    found.append((path, int(flags[0], 8)))
        except OSError:
            pass
        return found


def _begin() -> None:
    """Watch this process if a run asks for it, and let the `sitecustomize` of its own environment run."""
    here = os.path.dirname(os.path.abspath(__file__))
    if os.environ.get(READS) and hasattr(sys, "addaudithook"):
        _Observer(os.environ[READS]).begin()
    sys.path[:] = [one for one in sys.path if one != here]  # the program finds its modules as it does without us
    mine = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - of the program's environment
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", mine)
        del mine.__dict__["__file__"]  # a run of the program must not take it for a part of its code


if __name__ == "sitecustomize":
    _begin()
