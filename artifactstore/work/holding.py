"""Holding: the manifest that holds an artifact now, read from near by, and again where it was moved meanwhile (PROTOCOL 8)."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from artifactstore.backend.caching import forget
from artifactstore.backend.pool import Pool
from artifactstore.catalog.state import State
from artifactstore.catalog.versions import resolve
from artifactstore.content.fetch import MissingPackError
from artifactstore.content.manifest import Manifest, manifest_key
from artifactstore.content.manifest_file import decode
from artifactstore.content.pack import pack_key
from artifactstore.errors import ArtifactStoreError, CorruptionError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.reference import Reference
from artifactstore.work.standing import gap

if TYPE_CHECKING:
    from artifactstore.work.session import Core

__all__ = ["Holding"]

T = TypeVar("T")


class Holding:
    """Reads the manifests of a session; what a thread has begun to read is its own."""

    def __init__(self) -> None:
        self._ahead = threading.local()

    def read_ahead(self, core: "Core", view: State | None, ref: Reference) -> None:
        """Begin to read the manifest that a reference most likely means, while the journal is asked for news.

        So a warm get takes two sequential round trips. What comes is used only if the journal agrees.
        """
        if core.journal.head == 0:
            return
        with core.journal.lock:
            try:
                holder = core.journal.fold.current_manifest(resolve(view or core.journal.fold, ref).digest)
            except ArtifactStoreError:
                return
        if holder is not None and core.manifests.get(holder) is None:
            pool = Pool(1, "artifactstore-ahead")
            self._ahead.manifest = (holder, pool.submit(core.near.read, manifest_key(holder)))
            pool.shutdown(wait=False)

    def use(self, core: "Core", digest: str, use: Callable[[Manifest], T]) -> T:
        """Call `use` with the manifest that holds an artifact, as often as that was moved meanwhile.

        Raises:
            NotFoundError: the artifact was removed.
            CorruptionError: an object is missing or damaged.
        """
        tried: str | None = None
        missing = ""
        while True:
            with core.journal.lock:
                state: State = core.journal.fold
                holder = state.current_manifest(digest)
                known = None if holder is None else state.manifests[holder]
                gone = None if holder is not None else _condemned_in(state, digest)
            if holder is None or known is None:
                raise NotFoundError(
                    f"{digest} was removed"
                    + (f": clean-up took its content in entry {gone}" if gone else " or was never stored here")
                )
            if holder == tried and (unfinished := gap(core, missing)) is not None:
                raise unfinished
            if holder == tried:
                raise CorruptionError(
                    f"{missing} is missing, and the journal says that it should be there: restore it from a copy of the store",
                    digest=digest,
                    location=missing,
                )
            tried = holder
            try:
                return use(self._load(core, holder, known[1]))
            except MissingPackError as error:
                missing = pack_key(error.pack)
            except _MissingManifestError:
                missing = manifest_key(holder)
            core.journal.catch_up()

    def _load(self, core: "Core", holder: str, expected: str) -> Manifest:
        found = core.manifests.get(holder)
        if found is None:
            key = manifest_key(holder)
            begun, self._ahead.manifest = getattr(self._ahead, "manifest", None), None
            try:
                raw = begun[1].result() if begun is not None and begun[0] == holder else core.near.read(key)
            except NotFoundError as error:
                raise _MissingManifestError(key) from error
            if str(Digest.of(raw, core.algorithm)) != expected:
                forget(core.near, key)  # it may have been damaged on its way
                raw = core.near.read(key)
            if str(Digest.of(raw, core.algorithm)) != expected:
                raise CorruptionError(
                    f"{key} does not match its digest in the journal: it was changed or truncated; restore it from a copy of the store",
                    digest=expected,
                    location=key,
                )
            found = decode(raw, key, algorithm=core.algorithm)
            core.manifests.put(holder, found)
        return found


class _MissingManifestError(Exception):
    """A manifest is not there: the journal decides whether that is damage."""


def _condemned_in(state: State, digest: str) -> int | None:
    entries = [
        seq for one, seq in state.condemned_manifests.items() if one in state.manifests and state.manifests[one][0] == digest
    ]
    return max(entries, default=None)
