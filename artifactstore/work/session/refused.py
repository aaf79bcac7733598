"""Refused attempts: what was tried and why it was refused is a fact, written before the error is raised."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from artifactstore.errors import ConflictError, RefusedError
from artifactstore.model.facts import Fact
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.session import Session

__all__ = ["record_refusal", "recorded_refusals"]


def record_refusal(
    session: Session,
    action: str,
    error: RefusedError | ConflictError,
    about: Mapping[str, Any],
    *,
    reason: str | None = None,
) -> None:
    """Record that an attempt was refused, or met a conflict.

    Args:
        session: the store.
        action: promote, alias, rollback, remove, release or expire.
        error: what will be raised.
        about: of the fact: name, version, alias, digest, verdict, where known.
        reason: of the attempt.

    Raises:
        BackendError: it could not be written: then the attempt fails with this.
    """
    reasons = list(error.reasons) if isinstance(error, RefusedError) else [str(error)]
    fact: Fact = {"fact": "refused", "action": action, "reasons": reasons}
    fact |= {key: value for key, value in about.items() if value is not None}

    commit(session, one_fact(session, fact), reason=reason)


@contextmanager
def recorded_refusals(session: Session, *, reason: str | None = None) -> Iterator[None]:
    """Record a move of an alias that the journal refuses inside the block, alone or as part of a larger transaction; the error goes on."""
    try:
        yield
    except (RefusedError, ConflictError) as error:
        fact = error.fact
        if fact is not None and fact["fact"] == "aliased":
            about = {key: fact.get(key) for key in ("name", "version", "alias", "digest")}
            record_refusal(session, "alias", error, about, reason=fact.get("reason", reason))
        raise
