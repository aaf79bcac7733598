"""Resumed uploads: chunks that an interrupted put uploaded to a remote backend are used by the next put of the same content."""

from pathlib import Path
from typing import Final, Self

from artifactstore.content.packs.pack import pack_key
from artifactstore.content.packs.upload_ledger import UploadLedger, unfinished_uploads
from artifactstore.errors import NotFoundError
from artifactstore.runtime.threads import Pool
from artifactstore.work.session.session import Session

__all__ = ["Uploads"]

_AT_ONCE: Final = 8  # packs that are checked at a time


class Uploads:
    """The ledger of one put, and the chunks that interrupted attempts before it have uploaded.

    Attributes:
        ledger: of this put.
        known: uploaded chunks that no entry names.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        # For a folder it would save nothing: reading a pack costs as much as writing it.
        folder = self._folder() if session.backend.is_remote else None
        self.ledger = UploadLedger(folder)
        self.known, self._used = unfinished_uploads(folder, session.core().algorithm, self._alive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """End the attempt if the block fails; otherwise the commit ends it."""
        if kind is not None:
            self.close(committed=False)

    def _folder(self) -> Path | None:
        cache = self._session.cache
        return None if cache is None else cache / "stores" / self._session.core().config.store / "uploads"

    def _alive(self, packs: list[str]) -> set[str]:
        """Return the packs that exist and are condemned by no entry; a pack that is condemned later makes the commit void."""
        with self._session.state(fresh=False) as state:
            packs = [pack for pack in packs if pack not in state.condemned_packs]

        def is_there(pack: str) -> bool:
            try:
                return self._session.backend.size(pack_key(pack)) > 0
            except NotFoundError:
                return False  # the backend was restored from a copy, or is another copy of the store

        with Pool(_AT_ONCE, "artifactstore-look") as pool:
            return {pack for pack, there in zip(packs, pool.map(is_there, packs), strict=True) if there}

    def close(self, *, committed: bool) -> None:
        """End this attempt; once its packs are named by an entry, the ledger is not needed any more."""
        self.ledger.close(committed=committed)
        for path in self._used if committed else ():
            path.unlink(missing_ok=True)
