"""The active runs of this process, published for its child processes, and the facts that those hand back.

A small file named by the process's number lists its active runs, so a child finds the current run, however and whenever it
was started: children of a fork server or of a pool do not have the environment of the run. A child appends its facts to a
file of the run, which the parent reads before each commit: a child may end at any time, without any clean-up of its own.
Both are local and short-lived. If they are not available (no folder for temporary files, another machine), a child knows its
run by the environment alone and commits its facts itself (`work.tracking.current_run`).
"""

import atexit
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import Fact
from artifactstore.runtime.records import dataclass

__all__ = ["Inbox", "Posted", "exists", "hand_over", "leaves", "of_parents", "publish"]

_FILE: Final = "runs.json"
_UPWARDS: Final = 24  # ancestor processes that are checked
_TICK: Final = 50_000_000  # ns: more than a tick of a file system's clock
_STALE: Final = 7 * 86_400  # seconds after which the folder of an ended process is removed


@dataclass(frozen=True, slots=True)
class Posted:
    """An active run as its process publishes it.

    Attributes:
        store: the id of its store.
        run: its id.
        parent: the enclosing run, or None.
        inbox: the file for facts of other processes.
    """

    store: str
    run: str
    parent: str | None
    inbox: str


class Inbox:
    """Facts of a run written by other processes; read by the process that owns the run."""

    def __init__(self) -> None:
        self.path = ""
        self._read = 0
        folder = _own_folder()
        if folder is not None:
            path = folder / f"{new_id()}.facts"
            with suppress(OSError):
                path.touch(mode=0o600)
                self.path = str(path)

    def take(self) -> list[Fact]:
        """Return the facts that were written since the last call."""
        if not self.path:
            return []
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - before each commit of a run
                file.seek(self._read)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [fact for line in whole.splitlines() if (fact := _fact_of(line)) is not None]

    def close(self) -> None:
        """Stop accepting facts: a process that writes later finds no file."""
        if self.path:
            path, self.path = Path(self.path), ""
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # so that checking it costs nothing while no run is active
                path.parent.parent.rmdir()


def _fact_of(line: bytes) -> Fact | None:
    """Parse a line into a fact with known fields of the right types only; None for anything else."""
    try:
        record = json.loads(line)
        kind = record["fact"]
        if kind == "used":
            Digest.parse(record["digest"])
            texts = {key: record[key] for key in ("digest", "name", "role", "path") if isinstance(record.get(key), str)}
            version = record.get("version")
            number = {"version": version} if isinstance(version, int) and version > 0 else {}
            return {"fact": "used", **texts, **number}
        if kind == "measured":
            metrics = {str(key): float(value) for key, value in record["metrics"].items()}
            more = {"step": record["step"]} if isinstance(record.get("step"), int) else {}
            more |= (
                {"not_finite": {str(key): str(value) for key, value in record["not_finite"].items()}}
                if record.get("not_finite")
                else {}
            )
            return {"fact": "measured", "metrics": metrics, **more}
    except (ValueError, KeyError, TypeError, AttributeError, InvalidInputError):
        pass
    return None


def hand_over(inbox: str, fact: Fact) -> bool | None:
    """Append a fact to the inbox of a run of another process.

    Returns:
        True: written; None: the run has ended; False: it cannot be written.
    """
    line = b"\n" + json.dumps(fact).encode() + b"\n"  # the leading newline: another process's partial line damages no other
    try:
        fd = os.open(inbox, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError:
        return False
    try:
        return os.write(fd, line) == len(line)
    except OSError:
        return False
    finally:
        os.close(fd)


def publish(runs: Sequence[Posted]) -> None:
    """Publish the active runs of this process for its child processes; an empty sequence removes them."""
    folder = _own_folder(make=bool(runs))
    if folder is None:
        return
    if not runs:
        with suppress(OSError):
            (folder / _FILE).unlink()
        return
    rows = [[one.store, one.run, one.parent, one.inbox] for one in runs]
    scratch = folder / f".{_FILE}"
    with suppress(OSError):
        scratch.write_text(json.dumps(rows), encoding="utf-8")
        scratch.replace(folder / _FILE)


_looked: dict[int, list[str]] = {}  # mtime of the folder of all boards → the boards of ancestor processes in it


def exists() -> bool:
    """Return True if an ancestor process has an active run; costs one system call if no ancestor has a board."""
    base = _base()
    st = None if base is None else _ours(base)
    if base is None or st is None:
        return False
    boards = _looked.get(st.st_mtime_ns)
    if boards is None:
        boards = [name for name in _above() if os.path.isdir(os.path.join(base, name))]  # noqa: PTH112, PTH118
        _looked.clear()
        if time.time_ns() - st.st_mtime_ns > _TICK:  # a board made within the same tick would be missed
            _looked[st.st_mtime_ns] = boards
    return any(os.path.exists(os.path.join(base, name, _FILE)) for name in boards)  # noqa: PTH110, PTH118


def of_parents(store: str) -> list[Posted]:
    """Return the active runs in a store of the nearest ancestor process that has some."""
    base = _base()
    if base is None or _ours(base) is None:
        return []
    for name in _above():
        found = [one for one in _read(os.path.join(base, name, _FILE)) if one.store == store]  # noqa: PTH118
        if found:
            return found
    return []


def leaves(runs: Sequence[Posted]) -> list[Posted]:
    """Return the innermost runs: those without another active run inside."""
    outer = {one.parent for one in runs}
    return [*{one.run: one for one in runs if one.run not in outer}.values()]


def _read(path: str) -> Iterator[Posted]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - at each read of a child process
            rows = json.loads(file.read())
        yield from [Posted(*row) for row in rows]
    except (OSError, ValueError, TypeError):
        return


# -- location


def _base() -> str | None:
    """Return the folder of all boards of this user; None if temporary files cannot be written."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "own"
    try:
        return os.path.join(tempfile.gettempdir(), f"artifactstore-runs-{user}")  # noqa: PTH118
    except OSError:
        return None


def _ours(base: str) -> os.stat_result | None:
    """Return the stat of a folder if no other user can have written to it; else None."""
    try:
        st = os.lstat(base)
    except OSError:
        return None
    own = not hasattr(os, "getuid") or (st.st_uid == os.getuid() and not st.st_mode & 0o022)
    return st if own and stat.S_ISDIR(st.st_mode) else None


def _own_folder(*, make: bool = True) -> Path | None:
    """Return the folder of this process's board; None if there is none and none can be made."""
    global _own  # noqa: PLW0603
    base = _base()
    if base is None:
        return None
    pid, since = _identity()
    folder = Path(base, f"{pid}-{since}")
    if not make:
        return folder if folder.is_dir() else None
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError:
        with suppress(OSError):
            Path(base).mkdir(mode=0o700)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError:
            return None
    if _ours(base) is None:
        return None
    if _own != (pid, since):
        _own = (pid, since)
        atexit.register(_leave, pid, folder)
        _clear(base)
    return folder


_own: tuple[int, int] | None = None  # the process whose folder was made here


def _leave(pid: int, folder: Path) -> None:
    """Remove the board of a process that ends while its runs are active."""
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def _clear(base: str) -> None:
    """Remove the boards of killed processes."""
    with suppress(OSError):
        for entry in os.scandir(base):
            pid = entry.name.partition("-")[0]
            gone = pid.isdigit() and _stat_of(int(pid)) is None and entry.stat().st_mtime < time.time() - _STALE
            if gone:
                shutil.rmtree(entry.path, ignore_errors=True)


# -- ancestor processes


def _stat_of(pid: int) -> tuple[int, int] | None:
    """Return (parent, start) of a process; None if it has ended. Without `/proc` both are 0."""
    if not sys.platform.startswith("linux"):
        return 0, 0
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            words = file.read().rpartition(b")")[2].split()
        return int(words[1]), int(words[19])
    except (OSError, ValueError, IndexError):
        return None


_identities: dict[int, int] = {}  # this process, and its start time


def _identity() -> tuple[int, int]:
    """Return the identity of this process: its number and its start time, as numbers are reused."""
    pid = os.getpid()
    if pid not in _identities:
        stat = _stat_of(pid)
        _identities[pid] = 0 if stat is None else stat[1]
    return pid, _identities[pid]


_ancestry: list[str] | None = None
_inherited: list[str] = []  # the ancestors before a fork, and the process that forked


def _above() -> list[str]:
    """Return the names of the ancestor processes, the nearest first; computed once."""
    global _ancestry  # noqa: PLW0603
    if _ancestry is None:
        starts = [os.getppid()]
        module = sys.modules.get("multiprocessing.process")  # a child of a fork server knows the process that requested it
        parent = None if module is None else module.parent_process()
        if parent is not None and parent.pid is not None:
            starts.append(parent.pid)
        found: dict[str, None] = {}
        for start in starts:
            pid, steps = start, 0
            while pid > 0 and steps < _UPWARDS and (stat := _stat_of(pid)) is not None:
                found[f"{pid}-{stat[1]}"] = None
                pid, steps = stat[0], steps + 1
        _ancestry = [*dict.fromkeys([*_inherited[:1], *found, *_inherited[1:]])]
    return _ancestry


def _before_fork() -> None:
    _identity()


def _after_fork() -> None:
    global _ancestry, _own
    (pid, since), *_ = _identities.items()
    _inherited[:] = [f"{pid}-{since}", *(_ancestry or _inherited)]
    _identities.clear()
    _looked.clear()
    _ancestry, _own = None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
