"""Aliases: movable pointers to versions, with history."""

from typing import Any, Final

from artifactstore.catalog.versions import Resolved, alias_of
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_alias, check_name
from artifactstore.work.get.artifact import Artifact, of_resolved
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session

__all__ = ["ANY", "move_alias", "remove_alias"]


class _Any:
    """The default of `expect=`: the alias may point to any version."""

    def __repr__(self) -> str:
        return "ANY"

    def __reduce__(self) -> str:
        return "ANY"


ANY: Final = _Any()


def remove_alias(session: Session, name: str, alias: str, reason: Any, *, expect: Any = ANY) -> None:
    """End an alias; see `Registry.unalias`."""
    session.check_writable()
    name = check_name(name)
    check_alias(alias)
    _check_expected(expect)
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInputError(f"reason={reason!r}: must state why the alias ends")
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
        commit(session, Step(prepare), reason=reason)


def _check_expected(expect: Any) -> None:
    if expect is not ANY and expect is not None and (isinstance(expect, bool) or not isinstance(expect, int) or expect < 1):
        raise InvalidInputError(
            f"expect={expect!r}: must be the number of the version that the alias points to now, or None if it must not exist yet"
        )


@one_state()
def move_alias(session: Session, ref: str, alias: str, *, expect: Any = ANY, reason: str | None = None) -> Artifact | None:
    """Point an alias at the version that `ref` means; see `Store.alias`."""
    session.check_writable()
    check_alias(alias)
    _check_expected(expect)
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
    commit(session, Step(prepare), reason=reason)
    with session.state(fresh=False) as state:
        return of_resolved(session, state, Resolved(found.digest, name, found.version))
