"""The running program: its own file and its imported modules, with their contents at the start of a run.

Found from `__main__` and `sys.modules`, wherever the files are: Python and installed packages are recorded as the
environment and are not part of it. Reading contents is cheap: each is read once and then cached by its times.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from artifactstore.work.runs.capture.environment import command_line
from artifactstore.work.tracking.outside_reads import installed

__all__ = ["PASSED", "SETTLED", "Part", "Program", "current_folder", "running", "stat_key"]

PASSED: list[str] = []  # folders whose modules never belong to a program, each with a trailing separator
SETTLED: Final = 2 * 10**9  # ns: mtimes older than this detect changes reliably; file system clocks tick slowly

_SCRIPTS: Final = (".py", ".sh", ".r", ".R", ".jl", ".pl", ".rb", ".js", ".sql", ".ipynb")
_LARGEST: Final = 8 * 2**20  # bytes of a file of a program
_ALL: Final = 64 * 2**20  # bytes of all of them
_MOST: Final = 5000  # files
_COMPILED: Final = (".so", ".pyd", ".dll", ".dylib", ".pyc")
_LATE: Final = 0.1  # seconds: tolerated clock difference


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a program.

    Attributes:
        path: on disk, without links.
        name: the path by which it is imported: `package/module.py`.
        data: its content; None if it was not read.
        why: the reason why it was not read.
    """

    path: str
    name: str
    data: bytes | None
    why: str = ""


@dataclass(slots=True)
class Program:
    """The running program.

    Attributes:
        main: the program's own file; None if it is installed, or has none.
        parts: its files by their path, the main one first.
        lacking: parts that are not available, in words.
        seen: whether its imports are visible; False for a command that another program runs.
    """

    main: str | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)
    seen: bool = True


def current_folder() -> str:
    """Return the current folder; if it is gone, its path in the shell, where no file is found."""
    try:
        return os.getcwd()  # noqa: PTH109 - it must be a str
    except OSError:
        return os.environ.get("PWD") or os.devnull


def running() -> Program:
    """Return the program of this process, with the current contents of its files."""
    found, passed = Program(), (*installed(), *PASSED)
    path = _file_of(sys.modules.get("__main__"))
    if path is not None:
        file = _existing(path)
        if file is None:
            found.lacking.append(f"{path} is gone")
        elif not _is_passed(file, passed):
            found.main = os.path.realpath(file)
            found.parts[found.main] = _take(found.main, os.path.basename(file))  # noqa: PTH119
            if _is_late(found.main):
                found.lacking.append(f"{found.main} was changed after the program had started")
        else:
            found.seen = not file.startswith(passed[0]) and Path(file).stem not in {
                "artifactstore",
                "astore",
            }  # `artifactstore run`
    elif (text := _without_file()) is not None:
        found.lacking.append(text)
    total = sum(len(one.data or b"") for one in found.parts.values())
    own = {os.path.dirname(found.main or "") + os.sep, os.path.realpath(current_folder()) + os.sep}  # noqa: PTH120
    passed = (*passed, *(one for one in _packaged() if one not in own))
    for name, path in _imported(passed):
        real = os.path.realpath(path)
        if real in found.parts or _is_passed(real, passed):
            continue
        if len(found.parts) >= _MOST or total > _ALL:
            found.lacking.append(f"the program has more than {_MOST:,} files, or {_ALL:,} bytes of them")
            break
        found.parts[real] = part = _take(real, name)
        total += len(part.data or b"")
    return found


def _file_of(module: Any) -> str | None:
    """Return the file of a module without triggering lazy loading on attribute access."""
    try:
        path = object.__getattribute__(module, "__dict__").get("__file__")
    except (AttributeError, TypeError):
        return None  # any object may be in sys.modules
    return path if isinstance(path, str) and not path.startswith("<") else None  # `<stdin>`


def _imported(passed: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the files of modules and of scripts in the command, each with its import path."""
    for name, module in list(sys.modules.items()):
        path = _file_of(module)
        if path is None or path.startswith(passed):
            continue
        file = _existing(path)
        if file is not None and name not in {"__main__", "__mp_main__"}:
            yield _name_of(name, file), file
    for word in command_line()[1:]:  # for a program that runs another, such as `artifactstore run`, only these are known
        if word.endswith(_SCRIPTS) and os.path.isfile(word):  # noqa: PTH113
            yield os.path.basename(word), os.path.abspath(word)  # noqa: PTH100, PTH119


def _name_of(module: str, path: str) -> str:
    plain, inner = path.replace(os.sep, "/"), module.replace(".", "/")
    ending = plain[plain.rfind(".") :]
    for tail in (f"{inner}{ending}", f"{inner}/__init__{ending}"):
        if plain.endswith(f"/{tail}"):
            return tail
    return plain.rpartition("/")[2]


def _existing(path: str) -> str | None:
    """Return the file of a module: itself, or the archive that contains it; None if there is none."""
    try:
        file = os.path.abspath(path)  # noqa: PTH100
    except OSError:  # the current folder is gone, and the path is relative to it
        return None
    while not os.path.isfile(file):  # noqa: PTH113
        above = os.path.dirname(file)  # noqa: PTH120
        if above == file or os.path.isdir(file):  # noqa: PTH112
            return None
        file = above
    return file


def _is_passed(path: str, passed: tuple[str, ...]) -> bool:
    return path.startswith(passed) or f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path


def _without_file() -> str | None:
    """Return why a program without a file is not available; None if it is in the command, or is stored as cells."""
    shell = sys.modules.get("IPython")
    if shell is not None and getattr(shell, "get_ipython", lambda: None)() is not None:
        return None
    first = sys.argv[0] if getattr(sys, "argv", None) else None
    if first in {"", "-"}:
        typed = hasattr(sys, "ps1") or sys.flags.interactive
        return "the program was typed in" if typed else "the program was read from standard input"
    return None


_contents: Final[dict[str, tuple[tuple[int, ...], Part]]] = {}  # path → its stat key, and its part in that state


def stat_key(st: os.stat_result) -> tuple[int, ...]:
    """Return a key that changes with a file's content."""
    return st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino


def _take(path: str, name: str) -> Part:
    """Read a file; the cached part is used while its times are unchanged."""
    if name.endswith(_COMPILED):
        return Part(path, name, None, "is compiled")
    try:
        st = os.stat(path)  # noqa: PTH116
        known = _contents.get(path)
        if known is not None and known[0] == stat_key(st) and known[1].name == name:
            return known[1]
        if st.st_size > _LARGEST:
            return Part(path, name, None, f"has {st.st_size:,} bytes")
        part = Part(path, name, Path(path).read_bytes())
    except OSError as error:
        return Part(path, name, None, f"cannot be read ({error.strerror or error})")
    if max(st.st_mtime_ns, st.st_ctime_ns) < time.time_ns() - SETTLED:
        _contents[path] = (stat_key(st), part)
    return part


def _is_late(path: str) -> bool:
    """Return True if a file was changed after this process began, whose start time only Linux reports."""
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/uptime", "rb") as file:  # noqa: PTH123
            up = float(file.read().split()[0])
        began = time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
        return os.stat(path).st_mtime > began + _LATE  # noqa: PTH116
    except (OSError, ValueError, IndexError):
        return False


_targets: Final[dict[str, tuple[int, bool]]] = {}


def _packaged() -> Iterator[str]:
    """Yield the folders on the path into which packages were installed, such as by `pip install --target`."""
    for root in sys.path:
        with suppress(OSError):
            changed = os.stat(root or ".").st_mtime_ns  # noqa: PTH116
            known = _targets.get(root)
            if known is None or known[0] != changed:
                with os.scandir(root or ".") as found:
                    known = _targets[root] = changed, any(entry.name.endswith(".dist-info") for entry in found)
            if known[1]:
                yield os.path.realpath(root) + os.sep
