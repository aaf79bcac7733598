"""Committing: prepared facts become one transaction; a void transaction becomes a specific error."""

from collections.abc import Sequence

from artifactstore.catalog.fold.judge import Void
from artifactstore.errors import (
    CondemnedBeforeCommitError,
    ConflictError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from artifactstore.model.facts import Fact
from artifactstore.model.fields import malformed
from artifactstore.work.secrets import cleaned
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session

__all__ = ["commit", "one_fact"]

_TRIES = 3  # times that a put stores its content if clean-up takes it before the commit
_OVERTAKEN = 200  # times that it is made anew out of a newer version


class _GoneError(Exception):
    """References were condemned meanwhile: prepare again."""


class _OvertakenError(Exception):
    """Another version came first: make this one out of it."""


def commit(session: Session, *steps: Step, reason: str | None = None, prepared: list[Prepared] | None = None) -> list[Prepared]:
    """Prepare and append; prepare anew if clean-up takes content that was just stored, or another version comes first.

    Args:
        session: the store.
        steps: what to commit, as one transaction.
        reason: recorded with the transaction.
        prepared: results of the steps that are prepared already; where they are prepared anew, it gets the new ones.

    Raises:
        InvalidInputError: a fact has a field that readers would ignore.
        ConflictError: a precondition failed: another writer was first.
        CondemnedBeforeCommitError: clean-up took the content repeatedly.
        RefusedError: a hold or a move forbids it.
        OutcomeUnknownError: the commit was sent, and no reply came.
        CorruptionError: it took effect, and what it stored or shares was found lost again and again.
    """
    core = session.core_to_write()
    lost = None
    made: list[Prepared] = [] if prepared is None else prepared
    anew, gone, overtaken = prepared is None, 0, 0
    while gone < _TRIES and overtaken < _OVERTAKEN:
        with one_state(anew=bool(gone or overtaken)):  # the append reads the head again, and decides by it
            for at, step in enumerate(steps if anew else ()):
                made[at : at + 1] = [step.run(core)]
        anew = True
        facts = [cleaned(fact) for one in made for fact in one.facts]
        _refuse_malformed(facts)
        if lost is not None:
            facts = [fact for fact in facts if fact["fact"] == "stored"]  # the rest took effect
        if not facts:
            _settle(steps, made, committed=True)  # everything was stored already
            return made
        alive_at = min(one.alive_at for one in made)
        committed = False
        try:
            lost = core.appender.commit(facts, birth=alive_at, alive_at=alive_at, refuse=_error_for, reason=reason).lost
            committed = lost is None
        except _GoneError:
            gone += 1
            continue
        except _OvertakenError:
            overtaken += 1
            continue
        finally:
            _settle(steps, made, committed=committed)
        if lost is not None:
            gone += 1
            continue
        core.seal()
        return made
    if lost is not None:
        raise CorruptionError(
            f"this took effect, but its content was found lost {_TRIES} times in a row ({lost.text}): put it again"
        )
    if overtaken >= _OVERTAKEN:
        raise ConflictError(
            f"other writers made new versions of the same name {_OVERTAKEN} times meanwhile; nothing was committed: put again"
        )
    raise CondemnedBeforeCommitError(
        f"clean-up condemned the content of this put {_TRIES} times in a row; nothing was committed: put again when gc has finished"
    )


def one_fact(session: Session, fact: Fact, digest: str = "", *, reason: str | None = None) -> Step:
    """Return the step that appends one fact, which brings no content.

    Args:
        session: the store.
        fact: the fact.
        digest: of the artifact that it is about, if any.
        reason: of this fact, inside a batch.
    """

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            return Prepared([fact], state.head, digest)

    return Step(prepare, reason=reason)


def _settle(steps: Sequence[Step], made: Sequence[Prepared], *, committed: bool) -> None:
    for step, one in zip(steps, made, strict=True):
        if one.uploads is not None:
            one.uploads.close(committed=committed)
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


def _error_for(void: Void) -> Exception:
    if void.code in {"condemned", "holder", "base", "window"}:
        return _GoneError(str(void))
    if void.code == "expect" and void.fact is not None and void.fact["fact"] == "versioned":
        return _OvertakenError(str(void))
    if void.code == "missing":
        return NotFoundError(f"{void.text}: nothing was changed")
    error: RefusedError | ConflictError
    if void.code in {"held", "moved", "format", "gate", "retained"}:
        error = RefusedError(f"{void.text}: nothing was changed", reasons=tuple(void.text.split("; ")), rule=void.code)
    else:
        error = ConflictError(f"{void.text}: nothing was changed; read again and decide anew")
    error.fact = void.fact
    return error
