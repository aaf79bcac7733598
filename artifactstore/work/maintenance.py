"""`Store.maintenance`: what keeps a store in order. Each method calls one room of `artifactstore.maintenance`."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artifactstore.work.session import Session

if TYPE_CHECKING:
    from artifactstore.maintenance.sync import SyncReport
    from artifactstore.work.sync import OnConflict

__all__ = ["Maintenance"]


class Maintenance:
    """The upkeep of one open store; made by `Store.maintenance`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sync(
        self,
        target: str | os.PathLike[str] | Any,
        *,
        names: Sequence[str] | None = None,
        move: bool = False,
        on_conflict: "OnConflict" = "report",
        label: str | None = None,
        release: bool = False,
        dry_run: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> "SyncReport":
        """Bring this store, or a selection of it, to another place. Run again, it goes on where it was killed.

        An empty target, or a copy of this store, becomes a *replica*: the same store, byte for byte, readable, and written
        to by sync alone. Another store *imports*: only chunks that it lacks move, and what happened is recorded as
        received, with its own actor and time.

        Args:
            target: a URL, a path, or an open store.
            names: names, patterns (`churn/*`) or references (`churn/model:v7`) to import; None for everything.
            move: then close this place for writing and open the other; reading here goes on. Into an empty place only.
            on_conflict: what becomes of a name that both stores have with histories of their own: `report` leaves it out,
                `rename` imports it as `<name>.from-<label>`.
            label: for that; else the first 8 digits of this store's id.
            release: then make the copy writable, although this place stays writable too: from then on the two diverge.
                A copy whose source is lost is released by naming it as its own target.
            dry_run: write nothing; the report says what would be copied.
            storage_options: of the target, where it is a URL.

        Returns:
            What was copied and what was left out; `.ok` is False where a name was left out because of a conflict.

        Raises:
            ConflictError: two places of this store have different histories; names the first entry that differs.
            RefusedError: the source is unfinished or has moved; the target has moved or can't be written to.
            InvalidInputError: the target holds other things, the digest algorithms differ, no such option.
            CorruptionError: the source is damaged; what is whole was copied.
            BackendError: a place failed; run it again.
        """
        from artifactstore.work.sync import sync  # noqa: PLC0415 - opening a store must not load what few need

        return sync(
            self._session,
            target,
            names=names,
            move=move,
            on_conflict=on_conflict,
            label=label,
            release=release,
            dry_run=dry_run,
            storage_options=storage_options,
        )
