"""The current run: which run what is read and put belongs to, in threads, tasks and child processes."""

import atexit
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from artifactstore.catalog.versions import Resolved
from artifactstore.errors import NotFoundError
from artifactstore.work import board
from artifactstore.work.board import Inbox, Posted
from artifactstore.work.capture.around import Around, watch
from artifactstore.work.noted import Noted, role
from artifactstore.work.session import Session

__all__ = ["EXPORTED", "Tracker", "around", "current", "in_role", "join_again", "note_read"]

EXPORTED: Final = "ARTIFACTSTORE_RUN"  # <store id>/<run>: what a child process joins that cannot see its parent's board

_innermost: ContextVar["Tracker | None"] = ContextVar("artifactstore_run", default=None)
_lock = threading.Lock()
_active: Final[list["Tracker"]] = []  # every run of this process that has not ended
_joined: Final[dict[tuple[str, str, str | None], "Tracker"]] = {}  # runs of other processes: by store, run and inbox
_variable: list[str | None] = []  # of `EXPORTED`: what it was before this process set it, and what it was set to
_born: str | None = None  # the run in which this process was forked


class Tracker(Noted):
    """What one process notes in a run, and whether that run is the current one."""

    # -- which one is current

    @contextmanager
    def innermost(self) -> Iterator[None]:
        """Be the current run of this context."""
        token = _innermost.set(self)
        try:
            yield
        finally:
            _innermost.reset(token)

    def enter(self) -> Any:
        """Become the current run of this context; returns what `leave` needs."""
        self.explicit = False
        return _innermost.set(self)

    def leave(self, token: Any) -> None:
        """Make the run before this one current again."""
        with suppress(ValueError):  # entered in another context, such as another cell of a notebook
            _innermost.reset(token)

    def begin(self) -> None:
        """Count as one of this process's runs."""
        self.around.begin(None if self.session.cache is None else self.session.cache / "trees")
        self._handed = Inbox()
        with _lock:
            _active.append(self)
            _publish()
        watch(_around)

    def posted(self) -> Posted:
        """Return it as other processes find it."""
        return Posted(self.store, self.run, self.parent, "" if self._handed is None else self._handed.path)

    def withdraw(self) -> None:
        """Let no other process join any more; what they have noted up to now is still taken in."""
        with _lock:
            if self in _active:
                _active.remove(self)
            _publish()
        self._collect(last=True)

    def end(self) -> None:
        """Count no more."""
        self.withdraw()
        if self._handed is not None:
            self._handed.close()


def _publish() -> None:
    """Let the processes below find the active runs; the lock is held."""
    mine = [one.posted() for one in _active]
    board.publish(mine)
    now = os.environ.get(EXPORTED)
    if not _variable or _variable[1] != now:
        _variable[:] = [now, now]  # of a process above, or of none
    inner = board.leaves([one for one in mine if one.store == mine[0].store]) if mine else []
    wanted = _variable[0] if not mine else f"{inner[0].store}/{inner[0].run}" if len(inner) == 1 else None
    if wanted is None:
        os.environ.pop(EXPORTED, None)
    else:
        os.environ[EXPORTED] = wanted
    _variable[1] = wanted


def _after_fork() -> None:
    """Make what was this process's the parent's."""
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


def current(session: Session) -> Tracker | None:
    """Return the run that this context works for in a store, or None."""
    found = _here()
    if found is None and not _active and EXPORTED not in os.environ and not board.exists():
        return None
    try:
        store = session.core().config.store
    except NotFoundError:
        return None  # a store that is made only now
    if found is not None and found.store == store:
        return found
    with _lock:
        here = [one for one in _active if one.store == store]
    runs = {one.run for one in here}
    if len(runs) > 1:
        _warn_of_several(len(runs), "thread")
        return None
    if here:
        return here[-1]  # of one run several where it was begun again, as a notebook's cell does
    return _of_parents(session, store)


def _warn_of_several(count: int, what: str) -> None:
    text = f"{count} runs are active, and this {what} belongs to none: what it reads and puts is recorded for none of them"
    warnings.warn(text, UserWarning, stacklevel=6)


def around(session: Session) -> str | None:
    """Return the run inside which a new one begins: of this context, the one that a notebook has begun, or a parent process's.

    What other threads and tasks work at is not around it.
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
    """Return the innermost active runs of the processes above; that in which this one was forked, if it is one of several."""
    found = board.leaves(board.of_parents(store))
    return [one for one in found if one.run == _born] or found if len(found) > 1 else found


def _of_parents(session: Session, store: str) -> Tracker | None:
    """Return the run of a process above that this one works for now, or None."""
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


def join_again(tracker: Tracker) -> Tracker:
    """Return what a forked process notes in the run of its parent that it still has in hand."""
    for one in board.of_parents(tracker.store):
        if one.run == tracker.run:
            return _join(tracker.session, one.store, one.run, one.inbox)
    found = _join(tracker.session, tracker.store, tracker.run, None)  # it has ended, or its process publishes nothing
    if found._has_ended():  # noqa: SLF001 - of this module
        text = f"the run {tracker.run} has ended in its own process: what this one reads and puts is recorded for none"
        warnings.warn(text, UserWarning, stacklevel=5)
    return found


def _around() -> Around | None:
    """Return where to note what is opened around the store: the run of this context, or the only one. Takes no lock."""
    found = _innermost.get()
    if found is None and len({one.run for one in _active}) == 1:
        found = _active[-1]
    return found.around if found is not None and found in _active else None


def note_read(session: Session, found: Resolved, to: Path | None = None) -> None:
    """Let what is read be an input of the current run; `to` is where it comes to lie."""
    tracker = current(session)
    if tracker is not None:
        if to is not None and not to.exists():
            tracker.around.known.add(str(to.absolute()))
        tracker.used(found.digest, name=found.name, version=found.version, role=role.get(), path=found.path)


@contextmanager
def in_role(name: str | None) -> Iterator[None]:
    """Name the part that what is read and put inside has in the run."""
    token = role.set(name)
    try:
        yield
    finally:
        role.reset(token)
