"""The current run: the run that reads and puts belong to, in threads, tasks and child processes."""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from artifactstore.catalog.versions import Resolved
from artifactstore.errors import NotFoundError
from artifactstore.runtime.remarks import remark
from artifactstore.work.session.session import Session
from artifactstore.work.tracking import inherited_runs
from artifactstore.work.tracking.inherited_runs import Inbox, Posted
from artifactstore.work.tracking.outside_reads import OutsideReads, watch
from artifactstore.work.tracking.run_notes import RunRecord, role
from artifactstore.work.tracking.watched_programs import report_known

__all__ = ["EXPORTED", "Tracker", "current", "detached", "enclosing_run", "in_role", "is_in_run", "note_read", "rejoin"]

EXPORTED: Final = "ARTIFACTSTORE_RUN"  # <store id>/<run>: joined by a child process that cannot see its parent's board

_innermost: ContextVar["Tracker | None"] = ContextVar("artifactstore_run", default=None)
_lock = threading.Lock()
_active: Final[list["Tracker"]] = []  # every active run of this process
_joined: Final[dict[tuple[str, str, str | None], "Tracker"]] = {}  # runs of other processes: by store, run and inbox
_variable: list[str | None] = []  # of `EXPORTED`: its value before this process set it, and the value it set
_detached: ContextVar[bool] = ContextVar("artifactstore_detached", default=False)
_born: str | None = None  # the run in which this process was forked


class Tracker(RunRecord):
    """The record of one process in a run; knows whether that run is current."""

    # -- the current run

    @contextmanager
    def innermost(self) -> Iterator[None]:
        """Make this the current run of the context during the block."""
        token = _innermost.set(self)
        try:
            yield
        finally:
            _innermost.reset(token)

    def enter(self) -> Any:
        """Make this the current run of the context; returns what `leave` needs."""
        self.explicit = False
        return _innermost.set(self)

    def leave(self, token: Any) -> None:
        """Make the previous run current again."""
        with suppress(ValueError):  # entered in another context, such as another cell of a notebook
            _innermost.reset(token)

    def begin(self) -> None:
        """Add to the active runs of this process."""
        self.outside_reads.begin(None if self.session.cache is None else self.session.cache / "trees")
        self._handed = Inbox()
        with _lock:
            _active.append(self)
            _publish()
        watch(_outside_reads)

    def posted(self) -> Posted:
        """Return the record that other processes find."""
        return Posted(self.store, self.run, self.parent, "" if self._handed is None else self._handed.path)

    def withdraw(self) -> None:
        """Unpublish the run; facts of other processes up to now are still collected."""
        with _lock:
            if self in _active:
                _active.remove(self)
            _publish()
        self._collect(last=True)

    def end(self) -> None:
        """Remove from the active runs."""
        self.withdraw()
        if self._handed is not None:
            self._handed.close()


def _publish() -> None:
    """Publish the active runs for child processes; the lock is held."""
    mine = [one.posted() for one in _active]
    inherited_runs.publish(mine)
    now = os.environ.get(EXPORTED)
    if not _variable or _variable[1] != now:
        _variable[:] = [now, now]  # set by a parent process, or unset
    inner = inherited_runs.leaves([one for one in mine if one.store == mine[0].store]) if mine else []
    wanted = _variable[0] if not mine else f"{inner[0].store}/{inner[0].run}" if len(inner) == 1 else None
    if wanted is None:
        os.environ.pop(EXPORTED, None)
    else:
        os.environ[EXPORTED] = wanted
    _variable[1] = wanted


def _after_fork() -> None:
    """Turn the runs of this process into runs of the parent."""
    global _lock, _born  # noqa: PLW0603
    _lock = threading.Lock()  # another thread may have held it
    found = _innermost.get()
    _born = None if found is None else found.run
    _active.clear()
    _joined.clear()
    _variable.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _here() -> Tracker | None:
    """Return the run of this context that this process has begun or joined, or None."""
    found = _innermost.get()
    return found if found is not None and found.pid == os.getpid() else None


def is_in_run(session: Session) -> bool:
    """Return whether this context may work for a run of a store, which is not asked: it may be out of reach."""
    if _detached.get():
        return False
    with _lock:
        runs = (_here(), *_active)
    ours = any(one is not None and one.session.url == session.url for one in runs)
    return ours or EXPORTED in os.environ or inherited_runs.exists()


def current(session: Session) -> Tracker | None:
    """Return the run of a store that this context works for, or None."""
    if _detached.get():
        return None
    found = _here()
    if found is None and not _active and EXPORTED not in os.environ and not inherited_runs.exists():
        return None
    try:
        store = session.core().config.store
    except NotFoundError:
        return None  # the store does not exist yet
    if found is not None and found.store == store:
        return found
    with _lock:
        here = [one for one in _active if one.store == store]
    runs = {one.run for one in here}
    if len(runs) > 1:
        _warn_of_several(len(runs), "thread")
        return None
    if here:
        return here[-1]  # several records of one run, which was started again, as by a notebook's cell
    return _of_parents(session, store)


def _warn_of_several(count: int, what: str) -> None:
    text = f"{count} runs are active, and this {what} belongs to none: its reads and puts are recorded for none of them"
    remark(text)


def enclosing_run(session: Session) -> str | None:
    """Return the run that encloses a new run: of this context, of the notebook, or of a parent process.

    Runs of other threads and tasks do not enclose it.
    """
    store = session.core().config.store
    found = _here()
    if found is not None and found.store == store:
        return found.run
    with _lock:
        begun = [*{one.run for one in _active if one.store == store and one.explicit}]
        own = {one.run for one in _active}
    if len(begun) == 1:
        return begun[0]
    above = _above(store)
    if above:
        return above[0].run if len(above) == 1 else None
    there, _, run = os.environ.get(EXPORTED, "").partition("/")
    return run if there == store and run and run not in own else None


def _above(store: str) -> list[Posted]:
    """Return the innermost active runs of the ancestor processes; if this process was forked in one of several, that one."""
    found = inherited_runs.leaves(inherited_runs.of_parents(store))
    return [one for one in found if one.run == _born] or found if len(found) > 1 else found


def _of_parents(session: Session, store: str) -> Tracker | None:
    """Return the run of an ancestor process that this process works for now, or None."""
    found = _above(store)
    if len(found) > 1:
        _warn_of_several(len(found), "process")
        return None
    if found:
        return _join(session, store, found[0].run, found[0].inbox)
    there, _, run = os.environ.get(EXPORTED, "").partition("/")
    if there != store or not run or not session.may_write:
        return None
    joined = _join(session, store, run, None)
    return None if joined._has_ended() else joined  # noqa: SLF001 - of this module


def _join(session: Session, store: str, run: str, inbox: str | None) -> Tracker:
    key = (store, run, inbox)
    with _lock:
        found = _joined.get(key)
        if found is None:
            found = _joined[key] = Tracker(session, store, run, inbox=inbox, joined=True)
            if inbox is None:
                atexit.register(found.flush_or_warn)
    return found


def rejoin(tracker: Tracker) -> Tracker:
    """Return a forked process's record in the run of its parent."""
    for one in inherited_runs.of_parents(tracker.store):
        if one.run == tracker.run:
            return _join(tracker.session, one.store, one.run, one.inbox)
    found = _join(tracker.session, tracker.store, tracker.run, None)  # it has ended, or its process publishes nothing
    if found._has_ended():  # noqa: SLF001 - of this module
        text = f"the run {tracker.run} has ended in its own process: reads and puts of this process are recorded for none"
        remark(text)
    return found


def _outside_reads() -> OutsideReads | None:
    """Return the record of reads that bypass the store: of the run of this context, or the only one. Takes no lock."""
    found = _innermost.get()
    if found is None and len({one.run for one in _active}) == 1:
        found = _active[-1]
    return found.outside_reads if found is not None and found in _active else None


def note_read(session: Session, found: Resolved, to: Path | None = None) -> None:
    """Record a read as an input of the current run; `to` is its target on disk."""
    tracker = current(session)
    if tracker is not None:
        if to is not None and not to.exists():
            tracker.outside_reads.known.add(str(to.absolute()))
            report_known(to)
        tracker.used(found.digest, name=found.name, version=found.version, role=role.get(), path=found.path)


@contextmanager
def detached() -> Iterator[None]:
    """Let reads and puts inside the block belong to no run: what comes in from outside was made by none."""
    token = _detached.set(True)
    try:
        yield
    finally:
        _detached.reset(token)


@contextmanager
def in_role(name: str | None) -> Iterator[None]:
    """Set the role of reads and puts inside the block."""
    token = role.set(name)
    try:
        yield
    finally:
        role.reset(token)
