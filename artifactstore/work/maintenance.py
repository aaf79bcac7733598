"""`Store.maintenance`: what keeps a store in order. Each method calls one room of `artifactstore.maintenance`."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from artifactstore.work.session import Session

if TYPE_CHECKING:
    from artifactstore.maintenance.sync import SyncReport

__all__ = ["Maintenance"]


class Maintenance:
    """The upkeep of one open store; made by `Store.maintenance`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sync(
        self,
        target: str | os.PathLike[str] | Any,
        *,
        move: bool = False,
        release: bool = False,
        dry_run: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> "SyncReport":
        """Bring this store to another place. Run again, it copies what is new, and goes on where it was killed.

        An empty target, or a copy of this store, becomes a *replica*: the same store, byte for byte, readable, and written
        to by sync alone.

        Args:
            target: a URL, a path, or an open store.
            move: then close this place for writing and open the other; reading here goes on. Into an empty place only.
            release: then make the copy writable, although this place stays writable too: from then on the two diverge.
                A copy whose source is lost is released by naming it as its own target.
            dry_run: write nothing; the report says what would be copied.
            storage_options: of the target, where it is a URL.

        Returns:
            What was copied, whether the target was released and the store moved.

        Raises:
            ConflictError: two places of this store have different histories; names the first entry that differs.
            RefusedError: the source is unfinished or has moved; the target has moved or can't be written to.
            InvalidInputError: the target holds other things, or is the source itself.
            UnsupportedError: the target is another store.
            CorruptionError: the source is damaged; what is whole was copied.
            BackendError: a place failed; run it again.
        """
        from artifactstore.work.sync import sync  # noqa: PLC0415 - opening a store must not load what few need

        return sync(
            self._session,
            target,
            move=move,
            release=release,
            dry_run=dry_run,
            storage_options=storage_options,
        )
