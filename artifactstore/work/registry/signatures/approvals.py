"""Approvals and rejections: given by people, claimed or signed, and shown with what they are worth."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.approvals import authors, status_of
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.standing import printed_name
from artifactstore.catalog.versions import Resolved
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import parse_time
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_alias
from artifactstore.signing.envelope import MEANINGS
from artifactstore.work.registry.arguments import check_whole, required_reason
from artifactstore.work.registry.signatures.keys import load_keys, signed
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.session import Session

__all__ = ["Approval", "approvals", "judge"]

_LONGEST: Final = 100  # characters of a role


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval or a rejection of an artifact.

    Attributes:
        digest: of the artifact.
        ref: the version that it was given for, or the digest.
        verdict: approved or rejected.
        meaning: review, approval, authorship or responsibility.
        role: in which it was given, or None.
        name: the signer's printed name; of an unsigned one the actor.
        actor: who recorded it.
        identity: how the actor is known: claimed, os, oidc, certificate.
        time: when.
        entry: where it is recorded.
        reason: why.
        status: `valid` (signed by a key that counts), `claimed`, `unknown key`, `expired`, `stale` (older than the last change),
            `by an author`, or `transplanted` (its signature belongs to something else).
    """

    digest: str
    ref: str
    verdict: str
    meaning: str
    role: str | None
    name: str
    actor: str
    identity: str
    time: datetime
    entry: int
    reason: str | None
    status: str


@one_state()
def judge(
    session: Session,
    ref: str,
    *,
    approved: bool,
    reason: Any,
    meaning: Any = "approval",
    role: Any = None,
    alias: Any = None,
    signer: Any = None,
) -> Approval:
    """Record an approval or a rejection; see `Registry.approve`."""
    session.check_writable()
    text = required_reason(reason, "it is approved" if approved else "it is rejected")
    if meaning not in MEANINGS:
        raise InvalidInputError(f"meaning={meaning!r:.100}: expected one of {', '.join(MEANINGS)}")
    if role is not None and (not isinstance(role, str) or not role.strip() or len(role) > _LONGEST):
        raise InvalidInputError(f"role={role!r:.100}: must be a str of 1 to {_LONGEST} characters")
    if alias is not None:
        check_alias(alias)
    if session.batch() is not None:
        raise InvalidInputError("approvals cannot be given inside a batch: what they are for is not committed yet")
    session.core()
    found = check_whole(session.resolve(ref, tainted=True), ref)
    fact: Fact = {"fact": "approved", "digest": found.digest, "verdict": "approved" if approved else "rejected"}
    fact |= {} if meaning == "approval" else {"meaning": meaning}
    own = {"name": found.name if found.version is None else f"{found.name}:v{found.version}", "role": role, "alias": alias}
    fact |= {key: value for key, value in own.items() if value is not None}
    if signer is not None:
        about = {"ref": fact.get("name", found.digest), "meaning": meaning, "role": role, "alias": alias}
        fact["signature"] = signed(session, {"digest": found.digest, "verdict": fact["verdict"], **about}, signer)

    commit(session, one_fact(session, fact, found.digest), reason=text)
    with session.state(fresh=False) as state:
        index = len(state.approvals[found.digest]) - 1
        return _approval(state, found, index, None)


def approvals(session: Session, ref: str, *, keys: Any = None) -> Rows[Approval]:
    """Return all approvals and rejections of an artifact, in order; see `Registry.approvals`."""
    known = load_keys(keys)
    found = session.resolve(ref, tainted=True)
    with session.query_state() as state:
        rows = [_approval(state, found, index, known) for index in range(len(state.approvals.get(found.digest, ())))]
    return Rows(Approval, rows)


def _approval(state: State, found: Resolved, index: int, keys: Any) -> Approval:
    row = state.approvals[found.digest][index]
    status = status_of(state, found.name, found.version, found.digest, index)
    owners: set[str] = set()
    if status in {"claimed", "stale"} and "signature" in row and keys is not None:
        from artifactstore.signing.verify import verify_envelope  # noqa: PLC0415 - as above

        worth = verify_envelope(row["signature"], keys, role=row.get("role"), actor=row["actor"], time=row["time"])
        status = worth.status if status == "claimed" or not worth else status
        owners = {name.casefold() for name in worth.names}
    printed = printed_name(row)
    if row["verdict"] == "approved" and status == "valid":
        made = authors(state, found.name, found.version, found.digest)
        status = "by an author" if printed.casefold() in made or owners <= made else status
    return Approval(
        digest=found.digest,
        ref=row.get("name") or found.digest,
        verdict=row["verdict"],
        meaning=row.get("meaning", "approval"),
        role=row.get("role"),
        name=printed,
        actor=row["actor"],
        identity=row.get("identity", "claimed"),
        time=parse_time(row["time"]),
        entry=row["seq"],
        reason=row.get("reason"),
        status=status,
    )
