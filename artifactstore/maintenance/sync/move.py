"""Move and release: which of two locations of one store is writable, never both (docs/reference/protocol.md, rule 13)."""

from collections.abc import Callable
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.catalog.fold.judge import Void
from artifactstore.errors import ConflictError, RefusedError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import end_key, mark_body, read_replica_status
from artifactstore.maintenance.sync.object_copy import create_with_retries, digest_at
from artifactstore.maintenance.sync.replicate import replicate
from artifactstore.maintenance.sync.report import SyncReport, Watch

__all__ = ["move", "release"]

_MOVES: Final = 100  # retries when writers at the old location append between the last copied entry and the move


class _AppendedMeanwhileError(Exception):
    """Another writer appended meanwhile: copy that too, and try again."""


def move(
    source: Journal,
    appender: Appender,
    target: Backend,
    reopen: Callable[[], Journal | None],
    *,
    watch: Watch,
    done: SyncReport,
    reason: str | None = None,
) -> None:
    """Move a store: copy it, close the old location by `moved_to` right after the last copied entry, release the new one.

    It may be killed at any point and run again: the new location is not released until the old one is closed, and
    the old one is closed only when the new one is complete.

    Raises:
        RefusedError: the store has moved elsewhere.
        ConflictError: writers never let the copy catch up.
        OutcomeUnknownError: the closing entry was sent and no reply arrived: run it again.
    """
    # In this order: a target that another run of this move released is seen together with what closed the old location.
    writable = (copy := reopen()) is not None and read_replica_status(target, copy.config.store).writable
    source.catch_up()
    with source.lock:
        moved = source.fold.header["moved_to"]
    _check_moved(source, moved, target)
    if writable and moved is None:
        raise RefusedError(f"{target.url} is a writable store of its own: move to an empty location, or to a copy made by sync")
    for _ in range(_MOVES):
        head = replicate(source, target, reopen(), watch=watch, done=done)
        with source.lock:
            moved = source.fold.header["moved_to"]
        if moved is None:
            try:
                fact: dict[str, Any] = {"fact": "moved_to", "url": target.url}
                appender.commit([fact], birth=head, alive_at=head, refuse=_later_error, reason=reason)
            except _AppendedMeanwhileError:
                continue
        _check_moved(source, moved, target)
        copy = reopen()
        assert copy is not None  # copied above
        done.moved = True
        done.released = release(copy)
        return
    raise ConflictError(
        f"writers appended to {source.backend.url} {_MOVES} times during the move: it remains the store, and "
        f"{target.url} is a copy of it; stop the writers and run the move again"
    )


def _check_moved(source: Journal, moved: str | None, target: Backend) -> None:
    if moved is not None and moved != target.url:
        raise RefusedError(f"{source.backend.url} has moved to {moved}: run the move from there")


def _later_error(void: Void) -> Exception:
    return _AppendedMeanwhileError(str(void))


def release(copy: Journal) -> bool:
    """Make a copy writable, once and for ever; False if it already is.

    Raises:
        RefusedError: the copy lacks entries up to its target head.
        ConflictError: its target head is of another history.
    """
    backend, store = copy.backend, copy.config.store
    status = read_replica_status(backend, store)
    head = copy.catch_up()
    if status.writable:
        return False
    assert status.target is not None  # else the copy is writable
    if not status.reached(head):
        raise RefusedError(
            f"{backend.url} has entry {head} of {status.target[0]}: finish the copy before releasing it, or import its content into a new store"
        )
    if digest_at(copy, status.target[0]).hex != status.target[1]:
        raise ConflictError(
            f"{backend.url} has entry {status.target[0]} of another history as its target head: copy to an empty location"
        )
    create_with_retries(backend, end_key(head), mark_body(store, head, digest_at(copy, head)))
    return True
