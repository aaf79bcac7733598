"""Committing: prepared facts become one transaction; a void transaction becomes a specific error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from artifactstore.catalog.state import Void
from artifactstore.content.manifest import Manifest
from artifactstore.errors import CondemnedBeforeCommitError, ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.facts import Fact
from artifactstore.model.fields import malformed
from artifactstore.work.capture.secrets import cleaned
from artifactstore.work.moment import one_state
from artifactstore.work.session import Core, Session

__all__ = ["Prepared", "Staged", "commit", "with_reason"]

_TRIES = 3  # times that a put stores its content if clean-up takes it before the commit


@dataclass(frozen=True, slots=True)
class Staged:
    """Content that is durable and not yet named by an entry."""

    manifest: Manifest


@dataclass(slots=True)
class Prepared:
    """The facts that one call will append.

    Attributes:
        facts: in order; empty if there is nothing to record.
        alive_at: the head at which its references were known to be alive.
        digest: of the artifact that it is about.
        staged: its content, if that was stored anew.
        uploaded: bytes of packs and manifests that were written.
        ended: called with True if the transaction was committed, False otherwise.
    """

    facts: list[Fact]
    alive_at: int
    digest: str
    staged: Staged | None = None
    uploaded: int = 0
    ended: Callable[[bool], None] = lambda _committed: None


def with_reason(prepared: Prepared, reason: str) -> Prepared:
    """Return the same with a reason at each fact: inside a batch the reason of the transaction is that of the batch."""
    return replace(prepared, facts=[{**fact, "reason": reason} for fact in prepared.facts])


class _GoneError(Exception):
    """References were condemned meanwhile: prepare again."""


def commit(session: Session, prepare: Callable[[Core], Sequence[Prepared]], *, reason: str | None = None) -> list[Prepared]:
    """Prepare and append; prepare anew if clean-up takes content that was just stored.

    Raises:
        InvalidInputError: a fact has a field that readers would ignore.
        ConflictError: a precondition failed: another writer was first.
        CondemnedBeforeCommitError: clean-up took the content repeatedly.
        RefusedError: a hold or a move forbids it.
        OutcomeUnknownError: the commit was sent, and no reply came.
    """
    core = session.core_to_write()
    for tried in range(_TRIES):
        with one_state(anew=bool(tried)):  # the append reads the head again, and decides by it
            prepared = list(prepare(core))
        facts = [cleaned(fact) for one in prepared for fact in one.facts]
        _refuse_malformed(facts)
        if not facts:
            for one in prepared:
                one.ended(not facts)  # everything was stored already
            return prepared
        alive_at = min(one.alive_at for one in prepared)
        committed = False
        try:
            core.appender.commit(facts, birth=alive_at, alive_at=alive_at, refuse=_refuse, reason=reason)
            committed = True
        except _GoneError:
            continue
        finally:
            for one in prepared:
                one.ended(committed)
        core.journal.seal()
        return prepared
    raise CondemnedBeforeCommitError(
        f"clean-up condemned the content of this put {_TRIES} times in a row; nothing was committed: put again when gc has finished"
    )


def _refuse_malformed(facts: Sequence[Fact]) -> None:
    """Refuse facts with fields that every reader would ignore.

    Raises:
        InvalidInputError: names the field.
    """
    for fact in facts:
        if bad := malformed(fact):
            raise InvalidInputError(
                f"cannot record a {fact['fact']!r} fact: {', '.join(bad)} does not have the form that readers expect"
            )


def _refuse(void: Void) -> Exception:
    if void.why in {"condemned", "holder", "base", "window"}:
        return _GoneError(str(void))
    if void.why == "missing":
        return NotFoundError(f"{void.text}: nothing was changed")
    if void.why in {"held", "moved", "format"}:
        return RefusedError(f"{void.text}: nothing was changed", reasons=(void.text,))
    return ConflictError(f"{void.text}: nothing was changed; read again and decide anew")
