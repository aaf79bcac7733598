"""The current run: which run what is read and put belongs to, and the edges that wait to be committed."""

import atexit
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from artifactstore.catalog.versions import Resolved
from artifactstore.errors import ArtifactStoreError, NotFoundError
from artifactstore.model.facts import Fact
from artifactstore.work import board
from artifactstore.work.board import Inbox, Posted
from artifactstore.work.capture.around import Around, watch
from artifactstore.work.commit import Prepared, commit
from artifactstore.work.session import Core, Session

__all__ = ["EXPORTED", "Tracker", "around", "current", "in_role", "join_again", "note_read"]

EXPORTED: Final = "ARTIFACTSTORE_RUN"  # <store id>/<run>: what a child process joins that cannot see its parent's board
_MOST: Final = 1000  # facts that wait at most before they are committed

_innermost: ContextVar["Tracker | None"] = ContextVar("artifactstore_run", default=None)
_role: ContextVar[str | None] = ContextVar("artifactstore_role", default=None)
_lock = threading.Lock()
_active: Final[list["Tracker"]] = []  # every run of this process that has not ended
_joined: Final[dict[tuple[str, str, str | None], "Tracker"]] = {}  # runs of other processes: by store, run and inbox
_variable: list[str | None] = []  # of `EXPORTED`: what it was before this process set it, and what it was set to
_born: str | None = None  # the run in which this process was forked


class Tracker:
    """What one process has read and put in a run: the one that has begun it, or one below that.

    A process below hands what it notes over to the one above at once, since it may end without any clean-up; where that
    cannot be reached, it commits it at once.

    Args:
        session: its store.
        store: that store's id.
        run: its id.
        parent: the run around it, or None.
        inbox: of a run of another process: the file for its facts, or None where they are committed here.
        joined: whether the run is one of another process.
    """

    def __init__(
        self,
        session: Session,
        store: str,
        run: str,
        *,
        parent: str | None = None,
        inbox: str | None = None,
        joined: bool = False,
    ) -> None:
        self.session = session
        self.store = store
        self.run = run
        self.parent = parent
        self.pid = os.getpid()
        self.explicit = True  # begun by `start()`; a `with` block belongs to its context alone
        self._inbox = inbox
        self._joined = joined
        self._handed: Inbox | None = None  # what other processes note in a run of this one
        self.makers: list[Callable[[Core], Prepared]] = []  # what else is committed with the first output, such as its code
        self._taken: list[Callable[[Core], Prepared]] = []  # of these, what an output has taken along
        self.around = Around()  # what is read without the store
        self.before: Callable[[], None] = lambda: None  # fills `makers`
        self._lock = threading.Lock()
        self._waiting: list[Fact] = []
        self._used: set[str] = set()
        self._produced: set[str] = set()

    def used(self, digest: str, *, name: str | None = None, version: int | None = None, **more: Any) -> None:
        """Note an input; the first word on a digest counts."""
        fact: Fact = {"fact": "used", "run": self.run, "digest": digest}
        fact |= {key: value for key, value in {"name": name, "version": version, **more}.items() if value is not None}
        with self._lock:
            if digest in self._used:
                return
            self._used.add(digest)
            self._waiting.append(fact)
        if self._joined and self._hand_over(fact) is False:
            self._commit_at_once()

    def measured(self, metrics: dict[str, float], step: int | None) -> None:
        """Note metrics of the run itself."""
        fact: Fact = {"fact": "measured", "run": self.run, "metrics": metrics}
        fact |= {} if step is None else {"step": step}
        if self._joined and self._hand_over(fact) is not False:
            return  # the process above commits it: its order among other values is that of the inbox
        with self._lock:
            self._waiting.append(fact)
            many = len(self._waiting) >= _MOST
        if many:
            self.flush()

    def _hand_over(self, fact: Fact) -> bool | None:
        return False if self._inbox is None else board.hand_over(self._inbox, fact)

    def _commit_at_once(self) -> None:
        if self.session.may_write:
            _flush_or_warn(self)

    def _collect(self) -> None:
        """Take in what other processes have noted in this run."""
        for fact in () if self._handed is None else self._handed.take():
            if fact.pop("fact") == "used":
                self.used(fact.pop("digest"), **fact)
            else:
                with self._lock:
                    self._waiting.append({"fact": "measured", "run": self.run, **fact})

    def _has_ended(self) -> bool:
        """Tell whether the journal has the end of a run of another process: nothing is added to it any more."""
        if not self._joined:
            return False
        with self.session.reading(fresh=False) as state:
            return "status" in state.runs.get(self.run, {})

    def edges(self, digest: str, name: str | None) -> list[Fact]:
        """Return the facts to commit with an output: what was read so far, and that it was produced."""
        if self._has_ended():
            return []
        self._collect()
        with self._lock:
            facts = list(self._waiting)
            if digest not in self._produced:
                fact: Fact = {"fact": "produced", "run": self.run, "digest": digest}
                fact |= {key: value for key, value in {"name": name, "role": _role.get()}.items() if value is not None}
                facts.append(fact)
            return facts

    def sent(self, facts: Iterable[Fact]) -> None:
        """Forget what was committed."""
        gone = list(facts)
        with self._lock:
            self._waiting = [fact for fact in self._waiting if not any(fact is one for one in gone)]
            self._produced.update(fact["digest"] for fact in gone if fact["fact"] == "produced")

    def with_edges(self, prepared: Prepared, name: str | None) -> Prepared:
        """Let an output bring its edges with it."""
        facts = self.edges(prepared.digest, name)
        prepared.facts = [*prepared.facts, *facts]
        return _once_committed(prepared, lambda: self.sent(facts))

    def take_makers(self, *, last: bool = False) -> list[Callable[[Core], Prepared]]:
        """Return what else is to be committed with the next output, once; the last time all that was not committed."""
        self.before()
        with self._lock:
            found = [maker for maker in self.makers if last or maker not in self._taken]
            self._taken += found
        return [self._noted(maker) for maker in found]

    def _noted(self, maker: Callable[[Core], Prepared]) -> Callable[[Core], Prepared]:
        """Return a maker that is forgotten when what it made is committed."""

        def forget() -> None:
            with self._lock:
                self.makers = [one for one in self.makers if one is not maker]

        return lambda core: _once_committed(maker(core), forget)

    def flush(self, *last: Fact) -> None:
        """Commit what waits, and some last facts.

        Raises:
            BackendError: it could not be committed; it waits on.
        """
        makers = self.take_makers(last=True) if last else []
        self._collect()

        def rest(_core: Core) -> Prepared:
            with self.session.reading() as state, self._lock:
                ended = self._joined and "status" in state.runs.get(self.run, {})
                return Prepared([] if ended else [*self._waiting, *last], state.head, "")

        prepared: list[Prepared] = []

        def prepare(core: Core) -> list[Prepared]:
            prepared[:] = [make(core) for make in makers]
            prepared.append(rest(core))
            return prepared

        if makers or last or self._waiting:
            commit(self.session, prepare)
            self.sent(prepared[-1].facts)

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
        self.around.begin()
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


def _once_committed(prepared: Prepared, then: Callable[[], None]) -> Prepared:
    """Let something be done when it is known that this was committed."""
    ended = prepared.ended

    def done(committed: bool) -> None:  # noqa: FBT001 - told by its caller
        ended(committed)
        if committed:
            then()

    prepared.ended = done
    return prepared


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
                atexit.register(_flush_or_warn, found)
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


def _flush_or_warn(tracker: Tracker) -> None:
    try:
        tracker.flush()
    except ArtifactStoreError as error:
        warnings.warn(f"what this process read for the run {tracker.run} was not recorded: {error}", UserWarning, stacklevel=2)


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
        tracker.used(found.digest, name=found.name, version=found.version, role=_role.get(), path=found.path)


@contextmanager
def in_role(role: str | None) -> Iterator[None]:
    """Name the part that what is read and put inside has in the run."""
    token = _role.set(role)
    try:
        yield
    finally:
        _role.reset(token)
