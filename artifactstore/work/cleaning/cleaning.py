"""Clean-up and repacking of an open store (`maintenance.gc`, `.repack`): what is checked before, and whose history counts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.overlay import OverlayBackend
from artifactstore.errors import InvalidInputError, RefusedError
from artifactstore.journal.replica import read_replica_status
from artifactstore.maintenance.gc.cleanup import Cleanup
from artifactstore.maintenance.gc.execute import collect
from artifactstore.maintenance.repack.execute import repack
from artifactstore.maintenance.repack.repacked import Repacked
from artifactstore.work.cleaning.own_history import own_history
from artifactstore.work.session.session import Session

__all__ = ["check_deletable", "clean_up", "pack_anew"]


def clean_up(session: Session, *, dry_run: Any, grace: Any, reason: Any) -> Cleanup:
    """Free what nothing needs; see `Maintenance.gc`."""
    if not isinstance(dry_run, bool):
        raise InvalidInputError(f"dry_run={dry_run!r:.100}: expected True or False")
    if grace == 0 and isinstance(grace, int) and not isinstance(grace, bool):
        grace = timedelta(0)
    if not isinstance(grace, timedelta) or grace < timedelta(0):
        raise InvalidInputError(f"grace={grace!r:.100}: expected a timedelta of 0 or more, such as timedelta(days=7)")
    if reason is not None and (not isinstance(reason, str) or not reason.strip()):
        raise InvalidInputError(f"reason={reason!r:.100}: expected some words, or None")
    check_deletable(session, dry_run=dry_run)
    journal, appender = own_history(session)
    done = collect(journal, appender, dry_run=dry_run, grace=grace, reason=reason)
    if not dry_run:
        session.core().journal.catch_up()
    return done


def pack_anew(session: Session, *, below: Any, names: Any, dry_run: Any) -> Repacked:
    """Write packs anew that are mostly dead or small; see `Maintenance.repack`."""
    if not isinstance(dry_run, bool):
        raise InvalidInputError(f"dry_run={dry_run!r:.100}: expected True or False")
    if isinstance(below, bool) or not isinstance(below, int | float) or not 0 < below <= 1:
        raise InvalidInputError(f"below={below!r:.100}: expected a share above 0 and up to 1, such as 0.5")
    chosen = [names] if isinstance(names, str) else names
    if chosen is not None and (
        not isinstance(chosen, Sequence) or not chosen or not all(isinstance(one, str) and one for one in chosen)
    ):
        raise InvalidInputError(f"names={names!r:.100}: expected names or patterns, such as ['churn/*'], or None for all")
    check_deletable(session, dry_run=dry_run, what="repack")
    core = session.core()
    return repack(core.journal, core.appender, below=float(below), names=chosen, dry_run=dry_run)


def check_deletable(session: Session, *, dry_run: bool, what: str = "gc") -> None:
    """Refuse to clean up, or to repack, where that may not be; a dry run only where its answer would be wrong.

    Raises:
        RefusedError: a view of the past, a batch, a copy, a fork, or a store that is read-only or has moved.
        NotFoundError: no store here.
    """
    if session.view is not None:
        raise RefusedError(f"this is {session.url} as it was at entry {session.view.head}: clean up the store without at()")
    core = session.core()
    status = read_replica_status(core.backend, core.config.store)
    if not status.writable and not (dry_run and status.reached(core.journal.catch_up())):
        raise RefusedError(f"{session.url} is a copy of a store, and only sync writes to it: clean up its source")
    if _is_fork(session):
        raise RefusedError(f"{session.url} is read through a fork, which frees nothing of its origin: clean up the origin itself")
    if not dry_run:
        if session.batch() is not None:
            raise RefusedError(f"{what} cannot be used inside a batch: its puts are not in the journal yet")
        session.check_writable()
        session.core_to_write()


def _is_fork(session: Session) -> bool:
    backend = session.backend
    while isinstance(backend, Wrapper):
        backend = backend.inner
    return isinstance(backend, OverlayBackend)
