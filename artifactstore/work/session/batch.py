"""Batches: many puts and alias moves as one transaction. Nothing is visible before its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.work.session.commit import commit
from artifactstore.work.session.prepared import Batch, current_batch
from artifactstore.work.session.refused import recorded_refusals
from artifactstore.work.session.session import Session

__all__ = ["batch"]


@contextmanager
def batch(session: Session, reason: Any = None) -> Iterator[Batch]:
    """Collect the puts of a block; commit all of them at its end, none of them on an exception.

    A batch inside another batch of the same store joins it.
    """
    session.check_writable()
    if reason is not None and not isinstance(reason, str):
        raise InvalidInputError(f"reason must be a str, got {type(reason).__name__}")
    outer_batch = session.batch()
    if outer_batch is not None:
        yield outer_batch
        return
    mine = Batch(session, current_batch.get())
    token = current_batch.set(mine)
    try:
        yield mine
    finally:
        current_batch.reset(token)
    with recorded_refusals(session, reason=reason):
        commit(session, *mine.steps, reason=reason, prepared=mine.prepared)
