"""`Store.registry`: marks on stored content."""

from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import tainted_above
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Resolved
from artifactstore.errors import InvalidInputError
from artifactstore.model.facts import Fact
from artifactstore.model.graph import Node
from artifactstore.model.reference import Referable, as_reference
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.views.alias import ANY, remove_alias
from artifactstore.work.views.lineage import lineage

__all__ = ["Registry"]


class Registry:
    """Marks on the artifacts of one open store, as returned by `Store.registry`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def taint(self, ref: str | Referable, reason: str, *, spread: bool = True) -> Rows[Node]:
        """Mark an artifact as not to be used: `store.registry.taint("churn/raw:v3", "wrong labels, CR-77")`.

        Reads by an alias are then refused, reads by version or digest give a warning, and `latest` skips it. Taint belongs to
        the content: putting it again does not remove it.

        Args:
            ref: the artifact.
            reason: why; shown to every reader of the artifact.
            spread: also warn for artifacts that were made from it.

        Returns:
            The named artifacts that were made from it, with the aliases that point to them.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: no reason was passed, or the reference is a path in an artifact.
        """
        return _mark(self._session, as_reference(ref), reason, tainted=True, spread=spread)

    def untaint(self, ref: str | Referable, reason: str) -> Rows[Node]:
        """Remove a taint; both marks stay in the audit trail.

        Args:
            ref: the artifact; a bare name is its newest version, tainted or not.
            reason: why.

        Returns:
            The named artifacts that were made from it.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: it is not tainted, or no reason was passed.
        """
        return _mark(self._session, as_reference(ref), reason, tainted=False)

    def unalias(self, name: str, alias: str, reason: str, *, expect: Any = ANY) -> None:
        """End an alias: `store.registry.unalias("churn/model", "canary", "the trial is over")`. Its history stays.

        Args:
            name: the name that it belongs to.
            alias: the alias.
            reason: why.
            expect: the number of the version that it must point to now.

        Raises:
            NotFoundError: no such name or alias.
            ConflictError: it points to another version.
            InvalidInputError: no reason was passed.
        """
        remove_alias(self._session, name, alias, reason, expect=expect)

    def __repr__(self) -> str:
        return f"Registry({self._session.url!r})"


@one_state()
def _mark(session: Session, ref: str, reason: Any, *, tainted: bool, spread: bool = True) -> Rows[Node]:
    """Taint or untaint an artifact, and return the artifacts that were made from it."""
    session.check_writable()
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInputError(f"reason={reason!r}: must state why, for users of the artifact")
    session.core()
    found = session.resolve(ref, tainted=True)
    with session.state() as state:
        again = _is_marked(state, found.digest, reason, spread=spread)
    if tainted and not again:  # a call that is made again means the version that it has tainted, not the one before
        found = session.resolve(ref)
    if found.path is not None:
        raise InvalidInputError(f"{ref!r}: expected a whole artifact, not a path in it")
    fact: Fact = {"fact": "tainted" if tainted else "cleared", "digest": found.digest}
    fact |= {"spread": False} if tainted and not spread else {}

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            if not tainted and state.tainted.get(found.digest) is None:
                raise InvalidInputError(_not_tainted(state, ref, found))
            known = tainted and _is_marked(state, found.digest, reason, spread=spread)
            return Prepared([] if known else [fact], state.head, found.digest)

    commit(session, Step(prepare), reason=reason)
    return lineage(session, found.digest).impact()


def _is_marked(state: State, digest: str, reason: str, *, spread: bool) -> bool:
    """Return whether an artifact has been tainted here for this reason."""
    own = state.tainted.get(digest)
    return own is not None and own[0] is not None and own[0].get("reason") == reason and own[0]["spread"] == spread


def _not_tainted(state: State, ref: str, found: Resolved) -> str:
    """Say that an artifact is not tainted, and which call would remove a taint that the caller may mean."""
    text = (
        ref if found.version is None or ref == f"{found.name}:v{found.version}" else f"{ref} (now {found.name}:v{found.version})"
    )
    rows = enumerate(state.names.get(found.name or "", ()), 1)
    marked = [k for k, row in rows if row["digest"] in state.tainted and "removed" not in row]
    if marked:
        return f"{text} is not tainted, but {found.name}:v{marked[-1]} is: pass that version"
    if (above := tainted_above(state, found.digest)) is not None:
        return f"{text} is not tainted itself, but was made from {above[0].ref}, which is: untaint that"
    return f"{text} is not tainted"
