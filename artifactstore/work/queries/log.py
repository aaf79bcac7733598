"""The audit trail of an open store: which facts are wanted, and reading them, once or as they are committed."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from artifactstore.catalog import audit
from artifactstore.catalog import versions as catalog
from artifactstore.catalog.audit import Log, Transaction
from artifactstore.catalog.fold.times import warn_of_resets
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.reference import Reference, full_name
from artifactstore.work.queries.trail import Trail
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Following", "Wanted", "log", "transactions", "wanted_by"]


class Wanted(TypedDict, total=False):
    """Conditions on the facts of an audit trail; see `Store.log`."""

    ref: str | None
    name: str | None
    alias: str | None
    actor: str | None
    since: datetime | None
    until: datetime | None
    fact: str | None
    txn: str | None


def wanted_by(session: Session, conditions: Wanted) -> audit.Filter:
    """Return what chooses the facts of an audit trail.

    Raises:
        InvalidInputError: a condition is malformed.
        NotFoundError: no such artifact was ever here.
    """
    given: dict[str, Any] = {**conditions}
    ref = given.pop("ref", None)
    if isinstance(given.get("name"), str):
        given["name"] = full_name(given["name"])
    wanted = audit.Filter(**given)
    return wanted if ref is None else replace(wanted, subject=_subject(session, ref))


def _subject(session: Session, ref: str) -> audit.Subject:
    """Return the artifact that a reference means, also one that was removed."""
    parsed = Reference.parse(ref)
    if parsed.path is not None:
        raise InvalidInputError(f"ref={ref!r}: expected a whole artifact, not a path in it")
    try:
        digest = session.resolve(ref, tainted=True).digest
    except NotFoundError:
        with session.query_state() as state:
            found = catalog.removed_digest(state, parsed)
        if found is None:
            raise
        digest = found
    with session.query_state() as state:
        rows = state.versions_by_digest.get(digest, ())
        return audit.Subject(digest, {(name, number) for name, number, _ in rows})


def log(session: Session, conditions: Wanted, limit: int | None = None) -> Log:
    """Return the audit trail; see `Store.log`."""
    txn = conditions.get("txn")
    parsed = None if txn is None else audit.parse_txn(txn)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InvalidInputError(f"limit={limit!r}: must be a number of events")
    wanted = wanted_by(session, conditions)
    entries, head = _entries(session, wanted)
    found = _found(session, wanted, limit)
    if found is None:
        found = [*deque(audit.Walk(session.core().config.store).events(entries(), wanted), maxlen=limit)]
    outcome = None if parsed is None else audit.outcome_of(found, parsed[1], head)
    return Log(
        found, outcome, lambda: audit.newest(audit.Walk(session.core().config.store).transactions(entries(), wanted), limit)
    )


def _found(session: Session, wanted: audit.Filter, limit: int | None) -> list[audit.Event] | None:
    """Return the facts that an index of this process finds; None while another thread makes it."""
    core = session.core()
    if core.trail is None:
        core.trail = Trail(core.journal)
    trail: Trail = core.trail
    return trail.events(wanted, core.journal.head if session.view is None else session.view.head, limit)


def transactions(session: Session, conditions: Wanted, limit: int | None) -> tuple[Sequence[Transaction], int]:
    """Return the newest transactions with a matching fact, oldest first, and the number of older ones."""
    wanted = wanted_by(session, conditions)
    entries, _ = _entries(session, wanted)
    kept: deque[Transaction] = deque(maxlen=limit)
    many = 0
    for many, one in enumerate(audit.Walk(session.core().config.store).transactions(entries(), wanted), 1):  # noqa: B007 - counted
        kept.append(one)
    return [*kept], many - len(kept)


def _entries(session: Session, wanted: audit.Filter) -> tuple[Callable[[], Iterator["Entry"]], int]:
    """Return what reads the entries of a log, and the head."""
    journal = session.core().journal
    head = journal.catch_up()
    last = head if session.view is None else session.view.head
    if wanted.since is not None or wanted.until is not None:
        warn_of_resets(journal.fold.header, "log(since=, until=)")
    return partial(journal.entries, last=last), head


class Following:
    """The transactions with a matching fact as they are committed: at first the newest, then at each step those committed since."""

    def __init__(self, session: Session, conditions: Wanted, limit: int | None) -> None:
        self._journal = session.core().journal
        self._wanted = wanted_by(session, conditions)
        self._walk = audit.Walk(self._journal.config.store)
        self._found: deque[Transaction] = deque(maxlen=limit)

    def step(self) -> Sequence[Transaction]:
        """Return the next transactions, oldest first; after an error the next step returns all of them.

        Raises:
            BackendError: the backend is unreachable.
        """
        head = self._journal.catch_up()
        if head > self._walk.head:
            for one in self._walk.transactions(self._journal.entries(self._walk.head + 1, head), self._wanted):
                self._found.append(one)
        found, self._found = [*self._found], deque()
        return found
