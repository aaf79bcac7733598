"""Aliases: movable pointers to versions, with history."""

from typing import Any

from artifactstore.catalog.gates.evaluate import gates_of
from artifactstore.catalog.versions import Resolved, alias_of
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_alias, check_name
from artifactstore.work.get.artifact import Artifact, of_resolved
from artifactstore.work.registry.arguments import ANY, check_expected, required_reason
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.refused import recorded_refusals
from artifactstore.work.session.session import Session

__all__ = ["ANY", "move_alias", "remove_alias"]


def remove_alias(session: Session, name: str, alias: str, reason: Any, *, expect: Any = ANY) -> None:
    """End an alias; see `Registry.unalias`."""
    session.check_writable()
    name = check_name(name)
    check_alias(alias)
    check_expected(expect)
    required_reason(reason, "the alias ends")
    session.core()

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            number = alias_of(state, name, alias)
            if number is None:
                raise NotFoundError(f"{name} has no alias {alias!r}")
            fact: Fact = {"fact": "aliased", "name": name, "alias": alias, "version": None}
            if expect is not ANY:
                fact["expect"] = expect
            return Prepared([fact], state.head, state.names[name][number - 1]["digest"])

    batch = session.batch()
    if batch is not None:
        batch.add(Step(prepare, reason=reason))
    else:
        with recorded_refusals(session, reason=reason):
            commit(session, Step(prepare), reason=reason)


@one_state()
def move_alias(session: Session, ref: str, alias: str, *, expect: Any = ANY, reason: str | None = None) -> Artifact | None:
    """Point an alias at the version that `ref` means; see `Store.alias`."""
    session.check_writable()
    check_alias(alias)
    check_expected(expect)
    session.core()
    found = session.resolve(ref)
    if found.path is not None:
        raise InvalidInputError(f"an alias points to a version, not to a path in it: {ref!r}")
    batch = session.batch()
    name = found.name or (batch.name_of(found.digest) if batch is not None else None)
    if name is None:
        raise InvalidInputError(
            f"{ref!r} is a bare digest, and an alias belongs to a name: pass NAME:v3 or NAME@{found.digest[:15]}"
        )

    if batch is None and found.version is not None and _is_gated(session, name, alias):
        from artifactstore.work.registry.promote import move  # noqa: PLC0415 - as above
        from artifactstore.work.registry.signatures.keys import load_keys  # noqa: PLC0415 - most aliases have no gate

        move(session, found, alias, action="alias", reason=reason, expect=expect, keys=load_keys(None))
        with session.state(fresh=False) as state:
            return of_resolved(session, state, Resolved(found.digest, name, found.version))

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            fact: Fact = {"fact": "aliased", "name": name, "alias": alias}
            if found.version is not None:
                fact["version"] = found.version
            else:
                fact["digest"] = found.digest
            if expect is not ANY:
                fact["expect"] = expect
            moves = state.aliases.get(name, {}).get(alias, [])
            # If the alias points there already, and no other `expect` was passed, nothing is recorded.
            same = bool(moves) and found.version is not None and moves[-1]["version"] == found.version
            same = same and (expect is ANY or expect == found.version)
            return Prepared([] if same else [fact], state.head, found.digest)

    if batch is not None:
        batch.add(Step(prepare, reason=reason))
        return None
    with recorded_refusals(session, reason=reason):
        commit(session, Step(prepare), reason=reason)
    with session.state(fresh=False) as state:
        return of_resolved(session, state, Resolved(found.digest, name, found.version))


def _is_gated(session: Session, name: str, alias: str) -> bool:
    with session.state() as state:
        return bool(gates_of(state, name, alias))
