"""Taint: marks content as not to be used, and removes such a mark."""

from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import tainted_above
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Resolved
from artifactstore.errors import InvalidInputError
from artifactstore.model.facts import Fact
from artifactstore.model.graph import Node
from artifactstore.work.registry.arguments import check_whole
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.views.lineage import lineage

__all__ = ["mark"]


@one_state()
def mark(session: Session, ref: str, reason: Any, *, tainted: bool, spread: bool = True) -> Rows[Node]:
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
    check_whole(found, ref)
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
