"""Reads that bypass the store: files that a program opens itself while a run is active, as far as Python reports them.

An audit hook sees what Python opens, but not what native code opens (Arrow, Polars, safetensors); files that are still
open or mapped at the end of the run are found on Linux. So the record lists what *may* have been read, and is never complete.
"""

import os
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from artifactstore.model.digest import new_hasher
from artifactstore.work.secrets import looks_secret
from artifactstore.work.tracking.observer import EVENTS, NOT_DATA, SYSTEM, database_of, is_by, is_read, words_of

__all__ = ["OutsideReads", "installed", "watch"]

_MOST: Final = 200  # recorded files, and recorded programs
_NOTED: Final = 20_000  # files kept in memory; more are only counted
_HASHED: Final = 64 * 2**20  # bytes of a file that is still hashed, and
_HASHED_ALL: Final = 256 * 2**20  # of all of them together
_PACKAGE: Final = str(Path(__file__).resolve().parents[2]) + os.sep


class OutsideReads:
    """Files opened outside the store during one run.

    Attributes:
        known: folders and files that came from the store, or were put into it.
        trees: the folder of the cache's trees, with a trailing separator; paths in it name their tree.
    """

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.trees = ""
        self._cached: dict[str, None] = {}
        self._read: dict[str, None] = {}
        self._more = 0  # opened when the list was full
        self._written: set[str] = set()
        self._programs: dict[tuple[str, ...], None] = {}
        self._before: set[str] = set()

    def begin(self, trees: Path | None = None) -> None:
        """Record which files are open already: they do not belong to the run."""
        self.trees = "" if trees is None else f"{trees}{os.sep}"
        self._before = set(_open_now())

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Handle an audit event of Python (https://docs.python.org/3/library/audit_events.html)."""
        if event == "open":
            path, mode, flags = args
            if isinstance(path, int) or path is None:
                return
            text = os.fsdecode(path)
            if not text.endswith(NOT_DATA) and not text.startswith(SYSTEM) and not _is_ours():
                # Absolute now: the current folder may change.
                self.note_file(os.path.abspath(text), reads=is_read(mode, flags))  # noqa: PTH100
        elif event == "sqlite3.connect":
            text = database_of(args)
            if text and not _is_ours():
                self._note(os.path.abspath(text))  # noqa: PTH100
        elif not _is_ours():
            self.note_program(words_of(event, args))

    def note_file(self, path: str, *, reads: bool) -> None:
        """Note that a file was opened; what the run itself has written is not read around the store."""
        if not reads:
            self._written.add(path)
        elif path not in self._written:
            self._note(path)

    def note_program(self, words: Iterable[str]) -> None:
        """Note a program that was started, by its arguments."""
        self._programs.setdefault(tuple(words))

    def cached(self, *, mapped: bool) -> list[str]:
        """Return and reset the names of the cache's trees that were read; with `mapped`, also of those that are open now."""
        if self.trees and mapped:
            for path in _open_now():
                if path.startswith(self.trees) and path not in self._before:
                    self._note(path)
        found, self._cached = list(self._cached), {}
        return found

    def _note(self, path: str) -> None:
        if self.trees and path.startswith(self.trees):
            self._cached[path[len(self.trees) :].partition(os.sep)[0]] = None
        elif path not in self._read:
            if len(self._read) < _NOTED:
                self._read[path] = None
            else:
                self._more += 1

    def files(self, *, root: Path | None, stored: Iterable[str], skip: Iterable[Path]) -> tuple[list[dict[str, Any]], int]:
        """Return the files that may have been read, each {path, size, digest?, stored?}, in order, and the number of further ones.

        Files that look like secrets get no digest: a short secret could be guessed from it.

        Args:
            root: the folder of the code; files in it are listed by relative path.
            stored: files of the code that are stored with it, by relative path.
            skip: folders of this library, such as the cache.
        """
        known = {*stored}
        passed = tuple(f"{one}{os.sep}" for one in {*_installed(), *(str(one) for one in skip), *self.known})
        passed = (*passed, *SYSTEM)
        with suppress(OSError):  # without a folder for temporary files, there are none of this library either
            passed = (*passed, os.path.join(tempfile.gettempdir(), "artifactstore-"))  # noqa: PTH118
        found: list[dict[str, Any]] = []
        budget, more = _HASHED_ALL, self._more
        still_open = (one for one in _open_now() if one not in self._before and one not in self._written)
        for path in {**self._read, **dict.fromkeys(still_open)}:
            if path.startswith(passed) or path in self.known or path.endswith(NOT_DATA):
                continue
            try:
                st = os.stat(path)  # noqa: PTH116 - one call
            except (OSError, ValueError):
                continue  # deleted: it was temporary
            if not stat.S_ISREG(st.st_mode):
                continue
            if len(found) == _MOST:
                more += 1
                continue
            row: dict[str, Any] = {"path": _shown(path, root), "size": st.st_size}
            if row["path"] in known:
                row["stored"] = True
            elif path not in self._written and st.st_size <= min(_HASHED, budget) and not looks_secret(row["path"]):
                budget -= st.st_size
                with suppress(OSError):
                    row["digest"] = _digest(path)
            found.append(row)
        return found, more

    def programs(self) -> list[list[str]]:
        """Return the started programs, by their arguments."""
        return [list(words) for words in list(self._programs)[:_MOST]]


_ready: list[Callable[[], OutsideReads | None]] = []


def watch(which: Callable[[], OutsideReads | None]) -> None:
    """Install the audit hook, once per process; it does nothing while `which` returns None."""
    if _ready:
        return
    _ready.append(which)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in EVENTS:
            try:
                reads = which()
                if reads is not None:
                    reads.note(event, args)
            except Exception:  # noqa: BLE001, S110 - an observer must never fail the program
                pass

    sys.addaudithook(hook)


def _is_ours() -> bool:
    """Return True if this library, or the import of a module, opens the file."""
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - documented, and the only way; skips this function, its caller and the hook
    return is_by(frame, (_PACKAGE, "<frozen importlib"))


def _installed() -> Iterator[str]:
    """Yield the folders of Python and of installed packages: their files are not the user's data."""
    yield from {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    yield from (path for path in sys.path if path.endswith(("site-packages", "dist-packages")))


def installed() -> tuple[str, ...]:
    """Return the path prefixes of Python, installed packages and this library."""
    places = {one for one in (sysconfig.get_path("scripts"), *_installed()) if one}
    return (_PACKAGE, *(f"{one}{os.sep}" for one in {*places, *map(os.path.realpath, places)}))


def _open_now() -> Iterator[str]:
    """Yield the files that this process has open or mapped; nothing except on Linux."""
    try:
        for one in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with suppress(OSError):
                path = os.readlink(f"/proc/self/fd/{one}")  # noqa: PTH115
                if path.startswith("/"):
                    yield path
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            for line in file:
                path = line[73:].rstrip("\n") if len(line) > 73 else ""
                if path.startswith("/") and ".so" not in path:
                    yield path
    except OSError:
        return


def _shown(path: str, root: Path | None) -> str:
    if root is not None:
        with suppress(ValueError):
            return Path(path).relative_to(root).as_posix()
        with suppress(ValueError, OSError):
            return Path(path).resolve().relative_to(root.resolve()).as_posix()
    home = os.path.expanduser("~")  # noqa: PTH111
    return f"~{path[len(home) :]}" if home != "/" and path.startswith(home + os.sep) else path


def _digest(path: str) -> str:
    hasher = new_hasher("blake3")
    with open(path, "rb") as file:  # noqa: PTH123
        while block := file.read(2**20):
            hasher.update(block)
    return f"blake3:{hasher.digest().hex()}"
