"""The audit trail of an open store: which facts are wanted, and reading them, once or as they are committed."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from artifactstore.catalog import audit
from artifactstore.catalog import versions as catalog
from artifactstore.catalog.audit import Log, Transaction
from artifactstore.catalog.fold.times import warn_of_resets
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.reference import Reference, full_name
from artifactstore.work.queries.trail import Trail
from artifactstore.work.session.caches import FoldCache
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
    last, head = _range(session, wanted)
    trail = _trail(session)
    found = trail.events(wanted, last, limit)
    if found is None:
        found = [*deque(_walk(session).events(_read(session, last), wanted), maxlen=limit)]
    outcome = None if parsed is None else audit.outcome_of(found, parsed[1], head)

    def describe() -> Sequence[Transaction]:
        again = wanted_by(session, conditions)  # it notes what was met
        described = trail.transactions(again, last, limit=limit, facts=True)
        if described is not None:
            return described[0]
        return audit.newest(_walk(session).transactions(_read(session, last), again), limit)

    return Log(found, outcome, describe)


def _trail(session: Session) -> Trail:
    """Return the index of the audit trail, which keeps itself in the cache."""
    core = session.core()
    if core.trail is None:
        with core.journal.lock:
            brief = session.cache is None or session.url.startswith("memory://")
            cache = None if brief or session.cache is None else FoldCache(session.cache, f"{core.config.store}/log")
            core.trail = core.trail or Trail(core.journal, cache)
    trail: Trail = core.trail
    return trail


def _walk(session: Session) -> audit.Walk:
    return audit.Walk(session.core().config.store)


def _read(session: Session, last: int) -> "Iterator[Entry]":
    return session.core().journal.entries(last=last)


def transactions(session: Session, conditions: Wanted, limit: int | None) -> tuple[Sequence[Transaction], int]:
    """Return the newest transactions with a matching fact, oldest first, and the number of older ones."""
    wanted = wanted_by(session, conditions)
    last, _ = _range(session, wanted)
    found = _trail(session).transactions(wanted, last, limit=limit)
    if found is not None:
        return found
    kept: deque[Transaction] = deque(maxlen=limit)
    many = 0
    for many, one in enumerate(_walk(session).transactions(_read(session, last), wanted), 1):  # noqa: B007 - counted
        kept.append(one)
    return [*kept], many - len(kept)


def _range(session: Session, wanted: audit.Filter) -> tuple[int, int]:
    """Return the last entry that a log reads, and the head."""
    journal = session.core().journal
    head = journal.catch_up()
    if wanted.since is not None or wanted.until is not None:
        warn_of_resets(journal.fold.header, "log(since=, until=)")
    return head if session.view is None else session.view.head, head


class Following:
    """The transactions with a matching fact as they are committed: at first the newest, then at each step those committed since."""

    def __init__(self, session: Session, conditions: Wanted, limit: int | None) -> None:
        self._journal = session.core().journal
        self._trail = _trail(session)
        self._wanted = wanted_by(session, conditions)
        self._limit = limit
        self._reached = 0

    def step(self) -> Sequence[Transaction]:
        """Return the next transactions, oldest first; after an error the next step returns all of them.

        Raises:
            BackendError: the backend is unreachable.
        """
        head = self._journal.catch_up()
        limit = None if self._reached else self._limit
        if head == self._reached:
            return []
        found = self._trail.transactions(self._wanted, head, after=self._reached, limit=limit)
        if found is None:  # another thread indexes
            return []
        self._reached = head
        return found[0]
