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
from artifactstore.work.capture.around import Around, watch
from artifactstore.work.commit import Prepared, commit
from artifactstore.work.session import Core, Session

__all__ = ["EXPORTED", "Tracker", "around", "current", "in_role", "note_read"]

EXPORTED: Final = "ARTIFACTSTORE_RUN"  # <store id>/<run>: what a child process joins
_MOST: Final = 1000  # facts that wait at most before they are committed

_innermost: ContextVar["Tracker | None"] = ContextVar("artifactstore_run", default=None)
_role: ContextVar[str | None] = ContextVar("artifactstore_role", default=None)
_lock: Final = threading.Lock()
_active: Final[list["Tracker"]] = []  # every run of this process that has not ended
_joined: Final[dict[str, "Tracker"]] = {}  # by what the environment said


class Tracker:
    """What one run of this process has read and put.

    Args:
        session: its store.
        store: that store's id.
        run: its id.
    """

    def __init__(self, session: Session, store: str, run: str) -> None:
        self.session = session
        self.store = store
        self.run = run
        self.explicit = True  # begun by `start()`; a `with` block belongs to its context alone
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
            if digest not in self._used:
                self._used.add(digest)
                self._waiting.append(fact)

    def measured(self, metrics: dict[str, float], step: int | None) -> None:
        """Note metrics of the run itself."""
        fact: Fact = {"fact": "measured", "run": self.run, "metrics": metrics}
        with self._lock:
            self._waiting.append(fact if step is None else {**fact, "step": step})
            many = len(self._waiting) >= _MOST
        if many:
            self.flush()

    def edges(self, digest: str, name: str | None) -> list[Fact]:
        """Return the facts to commit with an output: what was read so far, and that it was produced."""
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

        def rest(_core: Core) -> Prepared:
            with self.session.reading() as state, self._lock:
                return Prepared([*self._waiting, *last], state.head, "")

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
        with _lock:
            _active.append(self)
        watch(_around)

    def end(self) -> None:
        """Count no more."""
        with _lock:
            if self in _active:
                _active.remove(self)


def _once_committed(prepared: Prepared, then: Callable[[], None]) -> Prepared:
    """Let something be done when it is known that this was committed."""
    ended = prepared.ended

    def done(committed: bool) -> None:  # noqa: FBT001 - told by its caller
        ended(committed)
        if committed:
            then()

    prepared.ended = done
    return prepared


def current(session: Session) -> Tracker | None:
    """Return the run that this context works for in a store, or None."""
    found = _innermost.get()
    exported = os.environ.get(EXPORTED)
    if found is None and not _active and exported is None:
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
        text = (
            f"{len(runs)} runs are active, and this thread belongs to none: what it reads and puts is recorded for none of them"
        )
        warnings.warn(text, UserWarning, stacklevel=5)
        return None
    if here:
        return here[-1]  # of one run several where it was begun again, as a notebook's cell does
    return _join(session, store, exported)


def around(session: Session) -> str | None:
    """Return the run inside which a new one begins: of this context, the one that a notebook has begun, or a parent process's.

    What other threads and tasks work at is not around it.
    """
    store = session.core().config.store
    found = _innermost.get()
    if found is not None and found.store == store:
        return found.run
    with _lock:
        begun = [*{one.run for one in _active if one.store == store and one.explicit}]
        own = {one.run for one in _active}
    if len(begun) == 1:
        return begun[0]
    there, _, run = os.environ.get(EXPORTED, "").partition("/")
    return run if there == store and run and run not in own else None


def _join(session: Session, store: str, exported: str | None) -> Tracker | None:
    """Return the run of a parent process that this one works for, or None."""
    there, _, run = (exported or "").partition("/")
    if there != store or not run or not session.may_write:
        return None
    with _lock:
        found = _joined.get(f"{exported}#{os.getpid()}")
        if found is None:
            found = _joined[f"{exported}#{os.getpid()}"] = Tracker(session, store, run)
            atexit.register(_flush_last, found)
    return found


def _flush_last(tracker: Tracker) -> None:
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
