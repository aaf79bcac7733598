"""Move and release: which of two places of one store may be written to, never both (docs/reference/protocol.md, rule 13)."""

from collections.abc import Callable
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.catalog.state import Void
from artifactstore.errors import ConflictError, RefusedError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import end_key, mark_body, read_standing
from artifactstore.maintenance.replicate import replicate
from artifactstore.maintenance.sync import SyncReport, Watch
from artifactstore.maintenance.whole import digest_at, ensure

__all__ = ["move", "release"]

_MOVES: Final = 100  # times that writers at the old place may come between the last entry copied and the move


class _LaterError(Exception):
    """Somebody appended in between: copy that too, and try again."""


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
    """Move a store: copy it, close the old place by `moved_to` right behind the last entry copied, release the new one.

    Killed at any point and run again it ends well: until the old place is closed the new one is not released, and
    who closes it knows that the new one has all.

    Raises:
        RefusedError: the store has moved elsewhere.
        ConflictError: writers never let the copy catch up.
        OutcomeUnknownError: the closing entry was sent and no answer came: run it again.
    """
    # In this order: a target that was released by another run of this move is seen together with what closed the old place.
    writable = (copy := reopen()) is not None and read_standing(target, copy.config.store).writable
    source.catch_up()
    with source.lock:
        moved = source.fold.marks["moved_to"]
    _check_moved(source, moved, target)
    if writable and moved is None:
        raise RefusedError(f"{target.url} is written to on its own: a move goes into an empty place, or into a copy made by sync")
    for _ in range(_MOVES):
        head = replicate(source, target, reopen(), watch=watch, done=done)
        with source.lock:
            moved = source.fold.marks["moved_to"]
        if moved is None:
            try:
                fact: dict[str, Any] = {"fact": "moved_to", "url": target.url}
                appender.commit([fact], birth=head, alive_at=head, refuse=_later, reason=reason)
            except _LaterError:
                continue
        _check_moved(source, moved, target)
        copy = reopen()
        assert copy is not None  # it was copied a moment ago
        done.moved = True
        done.released = release(copy)
        return
    raise ConflictError(
        f"{_MOVES} times somebody appended to {source.backend.url} while it was being moved: it goes on as before, and "
        f"{target.url} is a copy of it; stop the writers and run the move again"
    )


def _check_moved(source: Journal, moved: str | None, target: Backend) -> None:
    if moved is not None and moved != target.url:
        raise RefusedError(f"{source.backend.url} has moved to {moved}: move on from there, not from here")


def _later(void: Void) -> Exception:
    return _LaterError(str(void))


def release(copy: Journal) -> bool:
    """Let a copy be written to, once and for ever; False if it may be already.

    Raises:
        RefusedError: it has not all that it named.
        ConflictError: it named the head of another history.
    """
    backend, store = copy.backend, copy.config.store
    standing = read_standing(backend, store)
    head = copy.catch_up()
    if standing.writable:
        return False
    assert standing.target is not None  # else it is writable
    if not standing.reached(head):
        raise RefusedError(
            f"{backend.url} has entry {head} of {standing.target[0]}: finish the copy before it is released, or import what it has into a new store"
        )
    if digest_at(copy, standing.target[0]).hex != standing.target[1]:
        raise ConflictError(
            f"{backend.url} named entry {standing.target[0]} of another history as its head: copy into an empty place"
        )
    ensure(backend, end_key(head), mark_body(store, head, digest_at(copy, head)))
    return True
