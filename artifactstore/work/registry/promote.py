"""Promotion: an alias moves to a version that its gates let pass, judged on the state that the move is committed on."""

from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.evaluate import gates_of
from artifactstore.catalog.gates.recorded import rollback_targets
from artifactstore.catalog.versions import Resolved, alias_of
from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Reference, check_alias, check_name
from artifactstore.work.registry.arguments import ANY, check_expected, required_reason
from artifactstore.work.registry.judgement import Judgement
from artifactstore.work.registry.signatures.keys import load_keys
from artifactstore.work.registry.verdict import Verdict
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit, one_fact
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.refused import record_refusal
from artifactstore.work.session.session import Session

__all__ = ["check", "move", "promote", "rollback", "version_meant"]

_TRIES: Final = 8  # times that a verdict is made anew because the state changed before the move was committed


def version_meant(session: Session, ref: str) -> Resolved:
    """Resolve a reference to a version of a name, tainted or not.

    Raises:
        NotFoundError: there is none.
        RefusedError: it was removed.
        InvalidInputError: a path in an artifact, or a bare digest.
    """
    parsed = Reference.parse(ref)
    if parsed.path is not None:
        raise InvalidInputError(f"{ref!r}: expected a whole artifact, not a path in it")
    if parsed.name is None:
        raise InvalidInputError(f"{ref!r} is a bare digest, and an alias belongs to a name: pass NAME:v3 or NAME@DIGEST")
    try:
        return session.resolve(ref, tainted=True)
    except NotFoundError as error:
        with session.query_state() as state:
            rows = state.names.get(parsed.name, [])
            if parsed.version is not None and parsed.version <= len(rows) and "removed" in rows[parsed.version - 1]:
                raise RefusedError(str(error)) from error
        raise


def check(session: Session, ref: str, alias: str, *, keys: Any = None) -> Verdict:
    """Judge, and write nothing; see `Registry.check`."""
    check_alias(alias)
    try:
        found = version_meant(session, ref)
    except RefusedError as error:
        return _of_removed(session, ref, alias, str(error))
    assert found.name is not None
    assert found.version is not None
    return Judgement(session, found.name, found.version, found.digest, alias, keys=load_keys(keys), reason="asked").verdict()


def _of_removed(session: Session, ref: str, alias: str, text: str) -> Verdict:
    """Return the verdict on a version that was removed."""
    parsed = Reference.parse(ref)
    with session.query_state() as state:
        number = parsed.version or 0
        digest, at = state.names[str(parsed.name)][number - 1]["digest"], state.head
        gates = [
            {key: gate[key] for key in ("names", "alias", "version", "entry")}
            for gate in gates_of(state, str(parsed.name), alias)
        ]
    condition = {"ok": False, "gate": 0, "rule": {"removed": "none"}, "judged": "facts", "text": text}
    record = {"ok": False, "ref": f"{parsed.name}:v{number}", "digest": digest, "alias": alias, "at": at, "gates": gates}
    return Verdict.of({**record, "conditions": [condition]})


@one_state()
def promote(session: Session, ref: str, alias: str, *, reason: Any, expect: Any = ANY, keys: Any = None) -> Verdict:
    """Judge, and move the alias; see `Store.promote`."""
    session.check_writable()
    check_alias(alias)
    check_expected(expect)
    text = required_reason(reason, "it is promoted")
    if session.batch() is not None:
        raise InvalidInputError("promote cannot be used inside a batch: what it judges is not committed yet")
    known = load_keys(keys)
    session.core()
    try:
        found = version_meant(session, ref)
    except RefusedError as error:
        about = {"name": Reference.parse(ref).name, "version": Reference.parse(ref).version, "alias": alias}
        record_refusal(session, "promote", error, about, reason=text)
        raise
    return move(session, found, alias, action="promote", reason=text, expect=expect, keys=known)


def move(
    session: Session, found: Resolved, alias: str, *, action: str, reason: str | None, expect: Any = ANY, keys: Any = None
) -> Verdict:
    """Move an alias with the verdict of its gates; what is refused is recorded, then raised.

    Raises:
        RefusedError: a gate says no; with the verdict.
        ConflictError: the alias does not point to what was expected.
    """
    name, number = found.name, found.version
    assert name is not None
    assert number is not None
    about: dict[str, Any] = {"name": name, "version": number, "alias": alias, "digest": found.digest}
    judgement = Judgement(session, name, number, found.digest, alias, keys=keys, reason=reason)
    for left in reversed(range(_TRIES)):
        verdict = judgement.verdict()
        if not verdict.ok:
            error = RefusedError(
                f"{verdict.ref} cannot become {alias}: {'; '.join(verdict.reasons)}", reasons=verdict.reasons, verdict=verdict
            )
            record_refusal(session, action, error, {**about, "verdict": verdict.to_json()}, reason=reason)
            raise error
        fact: Fact = {"fact": "aliased", "name": name, "alias": alias, "version": number}
        if verdict.gates:
            fact["verdict"] = verdict.to_json()
        if expect is not ANY:
            fact["expect"] = expect

        def prepare(_core: Core, fact: Fact = fact) -> Prepared:
            with session.state() as state:
                same = alias_of(state, name, alias) == number and expect in {ANY, number}
                return Prepared([] if same else [fact], state.head, found.digest)

        try:
            commit(session, Step(prepare), reason=reason)
        except RefusedError as error:
            if not left or error.rule != "gate":
                record_refusal(session, action, error, about, reason=reason)
                raise
        except ConflictError as error:
            record_refusal(session, action, error, about, reason=reason)
            raise
        else:
            return verdict
    raise AssertionError  # the last round returns or raises


@one_state()
def rollback(session: Session, name: str, alias: str, *, reason: Any, to: Any = None, keys: Any = None) -> Verdict:
    """Move an alias back to an earlier version; see `Store.rollback`."""
    session.check_writable()
    check_name(name)
    check_alias(alias)
    text = required_reason(reason, "it is rolled back")
    if to is not None and (isinstance(to, bool) or not isinstance(to, int) or to < 1):
        raise InvalidInputError(f"to={to!r}: must be the number of a version")
    if session.batch() is not None:
        raise InvalidInputError("rollback cannot be used inside a batch")
    load_keys(keys)
    session.core()
    with session.state() as state:
        current = alias_of(state, name, alias)
        known = state.aliases.get(name, {})
    if alias not in known:
        session.resolve(f"{name}:{alias}")  # raises, with the nearest names or the aliases that there are
        raise NotFoundError(f"{name} has no alias {alias!r}")
    with session.state() as state:
        target, error = _target(state, name, alias, to)
        digest = None if target is None else state.names[name][target[0] - 1]["digest"]
        head = state.head
    about: dict[str, Any] = {"name": name, "alias": alias, "version": to if target is None else target[0], "digest": digest}
    if error is not None:
        record_refusal(session, "rollback", error, about, reason=text)
        raise error
    assert target is not None
    number, entry = target
    fact: Fact = {
        "fact": "aliased",
        "name": name,
        "alias": alias,
        "version": number,
        "expect": current,
        "rollback": {"quotes": entry},
    }

    try:
        commit(session, one_fact(session, fact, str(digest)), reason=text)
    except (RefusedError, ConflictError) as refused:
        record_refusal(session, "rollback", refused, about, reason=text)
        raise
    with session.state() as state:
        gates = [{key: gate[key] for key in ("names", "alias", "version", "entry")} for gate in gates_of(state, name, alias)]
    record = {"ok": True, "ref": f"{name}:v{number}", "digest": digest, "alias": alias, "at": head, "gates": gates}
    return Verdict.of({**record, "conditions": [], "quotes": entry})


def _target(state: State, name: str, alias: str, to: int | None) -> tuple[tuple[int, int] | None, RefusedError | None]:
    """Return the version to go back to, with the entry that made the alias mean it; or why there is none."""
    if to is None:
        found = rollback_targets(state, name, alias)
        if found:
            return found[0], None
        text = f"{name}:{alias} has nothing left to go back to: no earlier version that is neither removed nor tainted"
        return None, RefusedError(text)
    moves = [one for one in state.aliases[name][alias] if one["version"] == to and not one.get("rollback")]
    if not moves:
        return None, RefusedError(f"{name}:v{to} never was {alias}: promote it instead")
    row = state.names[name][to - 1]
    if "removed" in row:
        return None, RefusedError(f"{name}:v{to} was removed in entry {row['removed']['seq']}")
    marks = state.tainted.get(row["digest"])
    if marks is not None and any(mark is not None for mark in marks):
        return None, RefusedError(f"{name}:v{to} is tainted")
    if alias_of(state, name, alias) == to:
        return None, RefusedError(f"{name}:{alias} is v{to} already")
    return (to, moves[-1]["seq"]), None
