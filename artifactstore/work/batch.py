"""A batch: many puts and alias moves as one transaction. Nothing is visible before its end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.model.reference import Reference
from artifactstore.work.commit import Prepared, Staged, commit
from artifactstore.work.session import Core, Session, current_batch

__all__ = ["Batch", "batch"]


class Batch:
    """What was put inside a `with store.batch():` block and waits for its end.

    Attributes:
        session: the store.
        outer: the batch of another store around it, or None.
        staged: digest → content that is durable and not committed.
    """

    def __init__(self, session: Session, outer: "Batch | None") -> None:
        self.session = session
        self.outer = outer
        self.staged: dict[str, Staged] = {}
        self._makers: list[Callable[[Core], Prepared]] = []
        self._prepared: list[Prepared] | None = []

    def add(self, make: Callable[[Core], Prepared]) -> Prepared:
        """Prepare one more thing; it is prepared again if clean-up takes its content before the end."""
        prepared = make(self.session.core_to_write())
        self._makers.append(make)
        if self._prepared is not None:
            self._prepared.append(prepared)
        if prepared.staged is not None:
            self.staged[prepared.digest] = prepared.staged
        return prepared

    def find(self, ref: str) -> str | None:
        """Return the digest of an own put by its digest or a part of it, or None."""
        parsed = Reference.parse(ref)
        if parsed.digest is None:
            return None
        text = ":".join(parsed.digest)
        found = {one.digest for one in self._prepared or () if one.digest.startswith(text)}
        return found.pop() if len(found) == 1 else None

    def name_of(self, digest: str) -> str | None:
        """Return the name that a digest was put under in this batch, or None."""
        for one in self._prepared or ():
            for fact in one.facts:
                if fact["fact"] == "versioned" and fact["digest"] == digest and fact["name"] is not None:
                    return str(fact["name"])
        return None

    def prepare(self, core: Core) -> Sequence[Prepared]:
        """Return what was prepared, the first time; prepare everything anew after that."""
        prepared, self._prepared = self._prepared, None
        return prepared if prepared is not None else [make(core) for make in self._makers]


@contextmanager
def batch(session: Session, reason: Any = None) -> Iterator[Batch]:
    """Collect what is put inside the block; commit all of it at the end, nothing of it on an exception.

    A batch inside another of the same store joins it.
    """
    session.check_writable()
    if reason is not None and not isinstance(reason, str):
        raise InvalidInputError(f"a reason is a str, not a {type(reason).__name__}")
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
    commit(session, mine.prepare, reason=reason)
