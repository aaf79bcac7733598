"""Committing: prepared facts become one transaction; a void transaction becomes a specific error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from artifactstore.catalog.fold.state import Void
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.errors import CondemnedBeforeCommitError, ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.facts import Fact
from artifactstore.model.fields import malformed
from artifactstore.work.put.resume import Uploads
from artifactstore.work.secrets import cleaned
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Core, Session

__all__ = ["Prepared", "Staged", "Step", "commit"]

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
        uploads: the ledger of these packs; closed when the outcome is known.
    """

    facts: list[Fact]
    alive_at: int
    digest: str
    staged: Staged | None = None
    uploaded: int = 0
    uploads: Uploads | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One part of a transaction.

    Attributes:
        prepare: store its content, if any, and return what to append; called again if clean-up took that content.
        settled: called with the result of `prepare` and whether it was committed.
        reason: recorded with each of its facts: inside a batch the transaction's own reason is the batch's.
    """

    prepare: Callable[[Core], Prepared]
    settled: Callable[[Prepared, bool], None] = lambda _prepared, _committed: None
    reason: str | None = None

    def run(self, core: Core) -> Prepared:
        """Prepare, and add the reason."""
        prepared = self.prepare(core)
        if self.reason is not None:
            prepared.facts = [{**fact, "reason": self.reason} for fact in prepared.facts]
        return prepared


class _GoneError(Exception):
    """References were condemned meanwhile: prepare again."""


def commit(
    session: Session, *steps: Step, reason: str | None = None, prepared: Sequence[Prepared] | None = None
) -> list[Prepared]:
    """Prepare and append; prepare anew if clean-up takes content that was just stored.

    Args:
        session: the store.
        steps: what to commit, as one transaction.
        reason: recorded with the transaction.
        prepared: results of the steps that are prepared already.

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
            made = [step.run(core) for step in steps] if tried or prepared is None else list(prepared)
        facts = [cleaned(fact) for one in made for fact in one.facts]
        _refuse_malformed(facts)
        if not facts:
            _settle(steps, made, committed=True)  # everything was stored already
            return made
        alive_at = min(one.alive_at for one in made)
        committed = False
        try:
            core.appender.commit(facts, birth=alive_at, alive_at=alive_at, refuse=_refuse, reason=reason)
            committed = True
        except _GoneError:
            continue
        finally:
            _settle(steps, made, committed=committed)
        core.journal.seal()
        return made
    raise CondemnedBeforeCommitError(
        f"clean-up condemned the content of this put {_TRIES} times in a row; nothing was committed: put again when gc has finished"
    )


def _settle(steps: Sequence[Step], made: Sequence[Prepared], *, committed: bool) -> None:
    for step, one in zip(steps, made, strict=True):
        if one.uploads is not None:
            one.uploads.ended(committed=committed)
        step.settled(one, committed)


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
