"""Taint checks on read: refuse or warn for tainted content, and warn for content made from it."""

from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import tainted_above
from artifactstore.catalog.versions import Resolved
from artifactstore.errors import RefusedError
from artifactstore.model.reference import Reference
from artifactstore.printable import visible
from artifactstore.runtime.remarks import remark
from artifactstore.work.session.session import Session

__all__ = ["check_taint", "taint_above"]


def check_taint(session: Session, ref: str, found: Resolved) -> None:
    """Refuse tainted content if it is requested by an alias; else warn, also for content made from tainted content.

    Raises:
        RefusedError: the alias points to a tainted version.
    """
    with session.state(fresh=False) as state:
        if not state.tainted:
            return
        own = state.tainted.get(found.digest)
        above = "" if own is not None else taint_above(state, found.digest)
    what = f"{found.name}:v{found.version}" if found.name is not None else found.digest[:20]
    if own is not None:
        reason = _reason_of(own)
        alias = Reference.parse(ref).alias
        if alias is not None:
            raise RefusedError(
                f"{found.name}:{alias} points to {what}, which is tainted: {reason}; move the alias, or ask for {what} itself",
                reasons=(reason,),
            )
        remark(f"{what} is tainted: {reason}")
    elif above:
        remark(f"{what} was made from {above}")


def taint_above(state: State, digest: str) -> str:
    """Return the nearest tainted artifact that an artifact was made from, in words; empty if there is none."""
    found = tainted_above(state, digest) if state.tainted else None
    return "" if found is None else f"{visible(found[0].label)}, which is tainted: {_reason_of(found[1])}"


def _reason_of(marks: list[Any]) -> str:
    one = marks[0] or marks[1]
    return visible(f"{one.get('reason', 'no reason was given')} ({one['actor']}, {one['time'][:10]})")
