"""Batches: many puts and alias moves as one transaction. Nothing is visible before its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.model.reference import Reference
from artifactstore.work.session.commit import Prepared, Staged, Step, commit
from artifactstore.work.session.session import Session, current_batch

__all__ = ["Batch", "batch"]


class Batch:
    """The pending puts and alias moves of a `with store.batch():` block.

    Attributes:
        session: the store.
        outer: the enclosing batch of another store, or None.
        staged: digest → content that is durable and not committed.
    """

    def __init__(self, session: Session, outer: "Batch | None") -> None:
        self.session = session
        self.outer = outer
        self.staged: dict[str, Staged] = {}
        self._steps: list[Step] = []
        self._prepared: list[Prepared] = []

    def add(self, step: Step) -> Prepared:
        """Prepare one more step; it is prepared again if clean-up takes its content before the end."""
        prepared = step.run(self.session.core_to_write())
        self._steps.append(step)
        self._prepared.append(prepared)
        if prepared.staged is not None:
            self.staged[prepared.digest] = prepared.staged
        return prepared

    def find(self, ref: str) -> str | None:
        """Return the digest of a put in this batch by its digest or a prefix of it, or None."""
        parsed = Reference.parse(ref)
        if parsed.digest is None:
            return None
        text = ":".join(parsed.digest)
        found = {one.digest for one in self._prepared if one.digest.startswith(text)}
        return found.pop() if len(found) == 1 else None

    def name_of(self, digest: str) -> str | None:
        """Return the name under which this batch put a digest, or None."""
        for one in self._prepared:
            for fact in one.facts:
                if fact["fact"] == "versioned" and fact["digest"] == digest and fact["name"] is not None:
                    return str(fact["name"])
        return None

    def commit(self, reason: str | None) -> None:
        """Commit all of it."""
        commit(self.session, *self._steps, reason=reason, prepared=self._prepared)


@contextmanager
def batch(session: Session, reason: Any = None) -> Iterator[Batch]:
    """Collect the puts of a block; commit all of them at its end, none of them on an exception.

    A batch inside another batch of the same store joins it.
    """
    session.check_writable()
    if reason is not None and not isinstance(reason, str):
        raise InvalidInputError(f"reason must be a str, got {type(reason).__name__}")
    around = session.batch()
    if around is not None:
        yield around
        return
    mine = Batch(session, current_batch.get())
    token = current_batch.set(mine)
    try:
        yield mine
    finally:
        current_batch.reset(token)
    mine.commit(reason)
