"""Queries of an open store: names, versions, find, log, verify."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from artifactstore.catalog import audit
from artifactstore.catalog import find as finding
from artifactstore.catalog import versions as catalog
from artifactstore.catalog.audit import Log, Transaction
from artifactstore.catalog.fold.times import warn_of_resets
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Name, Version
from artifactstore.content.write.source import from_file, open_unchanged
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.journal.heads import format_head
from artifactstore.maintenance.sync.object_copy import digest_at
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.reference import Reference, as_reference, check_name, full_name
from artifactstore.work.queries.trail import Trail
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Conditions", "Following", "Wanted", "find", "head", "log", "names", "transactions", "versions"]


def names(session: Session, prefix: Any = "") -> Rows[Name]:
    """Return all names that begin with `prefix`."""
    if not isinstance(prefix, str):
        raise InvalidInputError(f"prefix must be a str, got {type(prefix).__name__}")
    prefix = full_name(prefix)
    with session.query_state() as state:
        return Rows(Name, catalog.names(state, prefix))


def key_completions(session: Session) -> list[str]:
    """Return what a notebook may offer in `store["…"]`: names, and names with their aliases.

    A remote store is not asked: the names are those that this process or the cache has.
    """
    core = session.core()
    if session.view is None and session.backend.is_remote:
        core.journal.use_cached_fold()
        held = session.state(fresh=False)
    else:
        held = session.query_state()
    with held as state:
        aliases = [f"{name}:{alias}" for name, moves in state.aliases.items() for alias in moves if moves[alias][-1]["version"]]
        return sorted([*state.names, *aliases])


def versions(session: Session, name: str) -> Rows[Version]:
    """Return all versions of a name."""
    name = check_name(name)
    with session.query_state() as state:
        return Rows(Version, catalog.versions(state, name))


class Conditions(TypedDict, total=False):
    """Conditions of `find`.

    Attributes:
        name: a name or a pattern (`churn/*`).
        text: words that its name, description, tags, metadata, aliases or the parameters of its run contain, in any case.
        alias: an alias: versions that it points to now.
        tag: `KEY`, `KEY=VALUE`, or a dict of tags.
        kind: data, model, code …
        metadata: keys (dotted for nested values) and the values they must have.
        metrics: metric → condition, for example `{"auc": ">= 0.9"}`; the newest value counts.
        file: a local file, or a file's digest: versions that contain exactly these bytes.
        uses: a reference: versions made from it, directly or indirectly.
        code: a commit, or its first digits (at least 7): versions that a run of it produced.
        run: a run's id (or its beginning, as for `lineage`), its name, or a pattern of names: versions that it produced.
        since: an aware datetime: versions put at this time or later.
    """

    name: str | None
    text: str | None
    alias: str | None
    tag: str | Mapping[str, Any] | None
    kind: str | None
    metadata: Mapping[str, Any] | None
    metrics: Mapping[str, str | float] | None
    file: str | os.PathLike[str] | None
    uses: str | None
    code: str | None
    run: str | None
    since: datetime | None


@one_state()
def find(session: Session, conditions: Conditions) -> Rows[Version]:
    """Return the versions that meet all conditions; see `Store.find`."""
    given: dict[str, Any] = {key: value for key, value in conditions.items() if value is not None}
    if unknown := sorted(set(given) - set(Conditions.__annotations__)):
        known = ", ".join(sorted(Conditions.__annotations__))
        raise InvalidInputError(f"find has no condition {', '.join(unknown)}; expected {known}")
    core = session.core()
    if isinstance(given.get("name"), str):
        given["name"] = full_name(given["name"])
    file, uses = given.pop("file", None), given.pop("uses", None)
    if uses is not None:
        given["uses"] = session.resolve(as_reference(uses)).digest
    with session.query_state() as state:
        found = list(finding.find(state, **given))
        if "since" in given:
            warn_of_resets(state.header, "find(since=)")
    if file is not None:
        wanted = _file_digest(file, core.algorithm)
        holding = {digest for digest in dict.fromkeys(one.digest for one in found) if _holds(session, digest, wanted)}
        found = [one for one in found if one.digest in holding]
    return Rows(Version, found)


def _holds(session: Session, digest: str, wanted: bytes) -> bool:
    try:
        return session.with_manifest(digest, lambda manifest: wanted in manifest.digests)
    except NotFoundError:
        return False  # removed in the meantime


def _file_digest(file: Any, algorithm: str) -> bytes:
    """Return the raw digest of a file on disk, or of a digest in text form."""
    text = str(local_path(file, "file"))
    if isinstance(file, str) and text.startswith(("blake3:", "sha256:")):
        digest = Digest.parse(text)
        if digest.algorithm != algorithm:
            raise InvalidInputError(f"{text} cannot be looked up: this store has {algorithm} digests")
        return digest.raw
    source = from_file(text)
    hasher = new_hasher(algorithm)
    with open_unchanged(source) as fd:
        while block := os.read(fd, 2**20):
            hasher.update(block)
    return hasher.digest()


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


def head(session: Session) -> str:
    """Return the last entry and its digest, for a view of the past the last entry of that time."""
    journal = session.core().journal
    with session.state() as state:
        return format_head(state.head, digest_at(journal, state.head))
