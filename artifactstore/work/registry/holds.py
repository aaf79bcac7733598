"""Holds and removals: what must stay, until it is released; what is removed leaves a tombstone."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from artifactstore.catalog.fold.received import is_own, origin_of
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.standing import why_held
from artifactstore.catalog.versions import Resolved
from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.encoding import format_time, new_id, parse_time
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Reference
from artifactstore.work.registry.arguments import check_whole, required_reason
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.prepared import Step
from artifactstore.work.session.refused import record_refusal
from artifactstore.work.session.session import Session

__all__ = ["Hold", "Removed", "aliases_on", "freed_bytes", "hold", "holds", "release", "remove"]


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold: its artifact, and everything that it was made from, cannot be removed.

    Attributes:
        id: of the hold.
        ref: the newest version of the artifact, or its digest.
        digest: of the artifact.
        reason: why.
        actor: who.
        time: when.
        until: it cannot be released before; it lasts until it is released. None: it can be released at any time.
        origin: `<store>:<entry>` of a hold that another store recorded, else None.
    """

    id: str
    ref: str
    digest: str
    reason: str | None
    actor: str
    time: datetime
    until: datetime | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed.

    Attributes:
        refs: the versions.
        bytes: that clean-up will free: packs that nothing else needs.
    """

    refs: tuple[str, ...]
    bytes: int


@one_state()
def hold(session: Session, ref: str, reason: Any, *, until: Any = None) -> Hold:
    """Hold an artifact; see `Registry.hold`."""
    session.check_writable()
    text = required_reason(reason, "it is held")
    end = None if until is None else _moment(until)
    session.core()
    found = check_whole(session.resolve(ref, tainted=True), ref)
    fact: Fact = {"fact": "held", "hold": new_id(), "digest": found.digest}
    fact |= {} if end is None else {"until": format_time(end)}

    commit(session, one_fact(session, fact, found.digest), reason=text)
    with session.state(fresh=False) as state:
        return _hold(state, fact["hold"])


def _moment(until: Any) -> datetime:
    if isinstance(until, datetime):
        if until.tzinfo is None:
            raise InvalidInputError(f"until={until!r}: must be an aware datetime, such as datetime(2027, 1, 1, tzinfo=UTC)")
        return until
    if isinstance(until, date):
        return datetime.combine(until, time(23, 59, 59, 999_999), UTC)
    raise InvalidInputError(f"until={until!r:.100}: expected an aware datetime or a date")


def release(session: Session, hold_id: Any, reason: Any) -> None:
    """Release a hold; see `Registry.release`."""
    session.check_writable()
    wanted = hold_id.id if isinstance(hold_id, Hold) else hold_id
    text = required_reason(reason, "the hold is released")
    if not isinstance(wanted, str):
        raise InvalidInputError(f"hold={hold_id!r:.100}: expected a Hold, or its id")
    session.core()
    with session.state() as state:
        key = _key(state, wanted)
        fact: Fact = {"fact": "released", "hold": key.rpartition("/")[2]}
        about = {"digest": state.holds[key]["digest"]}

    _commit(session, "release", one_fact(session, fact), text, about)


def _key(state: State, wanted: str) -> str:
    """Return the key of a hold of this id, or of one that begins so.

    Raises:
        NotFoundError: there is none; the message has those that are there.
    """
    found = [key for key in state.holds if key.rpartition("/")[2] == wanted]
    if not found and len(wanted) >= 6:
        found = [key for key in state.holds if key.rpartition("/")[2].startswith(wanted)]
    if len({key.rpartition("/")[2] for key in found}) == 1:
        return min(found, key=len)
    if found:
        raise NotFoundError(f"several holds begin with {wanted}: {', '.join(sorted(key[-32:] for key in found)[:5])}")
    known = ", ".join(f"{key[-32:]} ({_label(state, row['digest'])})" for key, row in list(state.holds.items())[:5])
    raise NotFoundError(f"no hold {wanted!r:.100}; " + (f"there are {known}" if known else "there are none"))


def holds(session: Session, ref: str | None = None) -> Rows[Hold]:
    """Return the holds in force, of one artifact or of all; see `Registry.holds`."""
    digest = None if ref is None else session.resolve(ref, tainted=True).digest
    with session.query_state() as state:
        if digest is None:
            return Rows(Hold, [_hold(state, key.rpartition("/")[2], key) for key in state.holds])
        found = [key for key, row in state.holds.items() if row["digest"] == digest]
        return Rows(Hold, [_hold(state, key.rpartition("/")[2], key) for key in found])


def _hold(state: State, hold_id: str, key: str | None = None) -> Hold:
    row = state.holds[key or hold_id]
    until = row.get("until")
    return Hold(
        id=hold_id,
        ref=_label(state, row["digest"]),
        digest=row["digest"],
        reason=row.get("reason"),
        actor=row["actor"],
        time=parse_time(row["time"]),
        until=None if until is None else parse_time(until),
        origin=None if is_own(row) else origin_of(row),
    )


def _label(state: State, digest: str) -> str:
    known = state.versions_by_digest.get(digest)
    return f"{known[-1][0]}:v{known[-1][1]}" if known else digest


# -- removal


@one_state()
def remove(session: Session, ref: str, reason: Any) -> Removed:
    """Remove a version, or all of an artifact; see `Registry.remove`."""
    session.check_writable()
    text = required_reason(reason, "it is removed")
    parsed = Reference.parse(ref)
    if parsed.name is not None and parsed.version is None and parsed.digest is None:
        raise InvalidInputError(f"{ref!r} does not say which version: pass {parsed.name}:v3, or a digest for all of an artifact")
    if session.batch() is not None:
        raise InvalidInputError("remove cannot be used inside a batch")
    session.core()
    found = check_whole(session.resolve(ref, tainted=True), ref)
    with session.state() as state:
        targets = _targets(state, found)
        about = {"name": found.name, "version": found.version, "digest": found.digest}
        error = _why_not(state, found, targets)
        size = freed_bytes(state, targets, [found.digest], unnamed=found.name is None)
    if error is not None:
        record_refusal(session, "remove", error, about, reason=text)
        raise error
    fact: Fact = {"fact": "removed", "digest": found.digest}
    if found.name is not None:
        fact = {"fact": "removed", "name": found.name, "version": found.version}

    _commit(session, "remove", one_fact(session, fact, found.digest), text, about)
    return Removed(tuple(f"{name}:v{number}" for name, number in targets) or (found.digest,), size)


def _targets(state: State, found: Resolved) -> list[tuple[str, int]]:
    if found.name is not None and found.version is not None:
        return [(found.name, found.version)]
    rows = state.versions_by_digest.get(found.digest, ())
    return [(name, number) for name, number, _ in rows if "removed" not in state.names[name][number - 1]]


def freed_bytes(state: State, versions: Collection[tuple[str, int]], digests: Iterable[str], *, unnamed: bool = False) -> int:
    """Return the bytes of artifacts that nothing needs any more once some versions are removed.

    Args:
        state: the state before.
        versions: name and number of each version that goes.
        digests: their digests.
        unnamed: whether puts without a name go, too.
    """
    size = 0
    for digest in dict.fromkeys(digests):
        rows = state.versions_by_digest.get(digest, ())
        stays = any((name, k) not in versions and "removed" not in state.names[name][k - 1] for name, k, _ in rows)
        if not stays and (unnamed or digest not in state.unnamed):
            size += int(state.stored.get(digest, {}).get("size", 0))
    return size


def aliases_on(state: State, name: str, number: int) -> list[str]:
    """Return the aliases that mean a version."""
    return sorted(alias for alias, moves in state.aliases.get(name, {}).items() if moves and moves[-1]["version"] == number)


def _why_not(state: State, found: Resolved, targets: list[tuple[str, int]]) -> RefusedError | None:
    used = [f"{name}:{alias}" for name, number in targets for alias in aliases_on(state, name, number)]
    reasons = [f"{one} means it: move it, or end it with unalias" for one in used]
    reasons += why_held(state, found.digest)
    if not reasons:
        return None
    return RefusedError(f"{_label(state, found.digest)} cannot be removed: {'; '.join(reasons)}", reasons=tuple(reasons))


def _commit(session: Session, action: str, step: Step, reason: str, about: Mapping[str, Any]) -> None:
    try:
        commit(session, step, reason=reason)
    except (RefusedError, ConflictError) as error:
        record_refusal(session, action, error, about, reason=reason)
        raise
