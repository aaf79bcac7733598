"""Holding: the manifest that holds an artifact now, read from near by, and again where it was moved meanwhile (PROTOCOL 8)."""

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from artifactstore.backend.caching import forget
from artifactstore.backend.pool import Pool
from artifactstore.catalog.state import State
from artifactstore.catalog.versions import resolve
from artifactstore.content.fetch import MissingPackError
from artifactstore.content.manifest import Manifest, is_large, manifest_key
from artifactstore.content.manifest_file import decode
from artifactstore.content.pack import pack_key
from artifactstore.content.reader import prove
from artifactstore.errors import ArtifactStoreError, CorruptionError, FormatError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.reference import Reference
from artifactstore.work.standing import gap

if TYPE_CHECKING:
    from artifactstore.work.session import Core

__all__ = ["FalseManifestError", "Holding", "Proves"]

T = TypeVar("T")
Proves = Callable[[Manifest], str | None]


class Holding:
    """Reads the manifests of a session; what a thread has begun to read is its own."""

    def __init__(self) -> None:
        self._ahead = threading.local()
        self._reported: set[str] = set()
        self._compared: set[tuple[str, int]] = set()  # manifests, and files in them whose chunk digests all others agree on

    def read_ahead(self, core: "Core", view: State | None, ref: Reference) -> None:
        """Begin to read the manifest that a reference most likely means, while the journal is asked for news.

        So a warm get takes two sequential round trips. What comes is used only if the journal agrees.
        """
        if core.journal.head == 0:
            return
        with core.journal.lock:
            try:
                digest = resolve(view or core.journal.fold, ref).digest
                holder = core.journal.fold.current_manifest(digest)
            except ArtifactStoreError:
                return
        if holder is not None and core.manifests.get(holder) is None:
            pool = Pool(1, "artifactstore-ahead")
            self._ahead.manifest = (holder, pool.submit(_reading(core, digest), manifest_key(holder)))
            pool.shutdown(wait=False)

    def use(self, core: "Core", digest: str, use: Callable[[Manifest], T], *, part: int | None = None, noted: bool = False) -> T:
        """Call `use` with a manifest that holds an artifact, as often as that was moved meanwhile.

        The current holder comes first. One that is missing or damaged, or whose files are not those of the digest, is no
        holder: the one before it is taken then, with a warning.

        Args:
            core: the store.
            digest: of the artifact.
            use: what is done.
            part: the row of a file of which only parts are read, so that its chunk digests are all there is to compare with.
            noted: mark a manifest as proven that this machine has noted as that.

        Raises:
            NotFoundError: the artifact was removed.
            CorruptionError: an object is missing or damaged, whichever holder is asked.
        """
        failed: dict[str, ArtifactStoreError] = {}
        while True:
            with core.journal.lock:
                state: State = core.journal.fold
                holders = list(state.holders.get(digest, ()))
                known = {one: state.manifests[one][1] for one in holders}
                gone = None if holders else _condemned_in(state, digest)
            if not holders:
                raise NotFoundError(
                    f"{digest} was removed"
                    + (f": clean-up took its content in entry {gone}" if gone else " or was never stored here")
                )
            holder = next((one for one in reversed(holders) if one not in failed), None)
            if holder is None:
                raise failed[holders[-1]]
            try:
                manifest = self._load(core, holder, digest, known[holder])
                if part is not None and not manifest.is_proven(part):
                    self._check_part(core, holder, manifest, part)
                if noted and not manifest.sure:
                    manifest.sure = core.checked.has(holder, known[holder], digest)
                made = use(manifest)
            except MissingPackError as error:
                missing = pack_key(error.pack)
            except _MissingManifestError:
                missing = manifest_key(holder)
            except (CorruptionError, FormatError) as error:
                failed[holder] = error
                continue
            else:
                self._warn(digest, failed)
                return made
            core.journal.catch_up()
            with core.journal.lock:
                moved = holder not in core.journal.fold.holders.get(digest, ())
            if not moved:
                failed[holder] = gap(core, missing) or CorruptionError(
                    f"{missing} is missing, and the journal says that it should be there: restore it from a copy of the store",
                    digest=digest,
                    location=missing,
                )

    def _check_part(self, core: "Core", holder: str, manifest: Manifest, row: int) -> None:
        """Compare the chunk digests of a file with those of all other manifests of the artifact; where they differ, read the file.

        So a writer who appends a false manifest of what is there already changes no byte that is read (decision 0045).

        Raises:
            CorruptionError: the file is not what the chunk digests say.
        """
        if (holder, row) in self._compared:
            return
        with core.journal.lock:
            state: State = core.journal.fold
            expected = state.manifests[holder][1]
            others = {one: state.manifests[one][1] for one in state.holders.get(manifest.digest, ()) if one != holder}
        if core.checked.has(holder, expected, manifest.digest):
            manifest.sure = True
            return
        for other, its in others.items():
            try:
                same = self._load(core, other, manifest.digest, its).same_chunks(manifest, row)
            except (_MissingManifestError, CorruptionError, FormatError):
                continue  # it holds nothing
            if not same:
                prove(core.near, manifest, row)
                return
        self._compared.add((holder, row))

    def holds(self, core: "Core", digest: str, *, read: bool = False, proves: Proves | None = None) -> bool:
        """Return whether a manifest holds an artifact, and is what it was recorded as: what is stored relies on that.

        A manifest that this machine has written or looked at before is not looked at again, unless `read` is set.

        Args:
            core: the store.
            digest: of the artifact.
            read: also read all of it.
            proves: compares the chunk digests of a manifest with the content itself; returns a path where they differ.
        """
        with core.journal.lock:
            state: State = core.journal.fold
            holders = [(one, *state.manifests[one][1:]) for one in reversed(state.holders.get(digest, ()))]
        for holder, expected, packs in holders:
            if not read and core.checked.has(holder, expected, digest):
                return True
            fault = self._fault(core, (holder, expected, packs), digest, read=read, proves=proves)
            if fault is None:
                if proves is not None:
                    core.checked.add(holder, expected, digest)
                return True
            self._report(holder, f"{digest} is stored again: {fault}")
        return False

    def _fault(
        self, core: "Core", holder: tuple[str, str, Sequence[str]], digest: str, *, read: bool, proves: Proves | None
    ) -> str | None:
        """Return what is wrong with a holder, or None."""
        one, expected, packs = holder
        try:
            manifest = self._load(core, one, digest, expected)
        except _MissingManifestError:
            return f"{manifest_key(one)} is missing"
        except (CorruptionError, FormatError) as error:
            return str(error)
        if set(manifest.packs) - set(packs):
            return f"{manifest_key(one)} uses packs that are not listed in its journal entry"
        lies = core.footers.lies(manifest) or core.footers.unreadable(manifest, manifest.packs if read else ())
        if lies:
            return f"{manifest_key(one)} is false: {lies[0]}"
        if proves is not None and not manifest.sure:
            if (path := proves(manifest)) is not None:
                return f"{manifest_key(one)} is false: its chunks of {path!r} are not those of the file"
            manifest.sure = True
        return None

    def _warn(self, digest: str, failed: dict[str, ArtifactStoreError]) -> None:
        for holder, error in failed.items():
            self._report(holder, f"{digest} was read from an earlier manifest, as a newer one cannot be used: {error}")

    def _report(self, holder: str, text: str) -> None:
        """Warn once of a manifest that could not be used."""
        if holder not in self._reported:
            self._reported.add(holder)
            warnings.warn(f"{text}; `artifactstore verify` names the entry and the actor", UserWarning, stacklevel=7)

    def _load(self, core: "Core", holder: str, digest: str, expected: str) -> Manifest:
        """Return a manifest if it is what the journal says: the one point where a manifest is taken for a digest."""
        found = core.manifests.get(holder)
        if found is None:
            found = self._read(core, holder, digest, expected)
            core.manifests.put(holder, found)
        if found.digest != digest:
            key = manifest_key(holder)
            raise FalseManifestError(
                f"{key} was recorded as the manifest of {digest} and is that of {found.digest}: it is not used",
                digest=digest,
                location=key,
            )
        return found

    def _read(self, core: "Core", holder: str, digest: str, expected: str) -> Manifest:
        key, read = manifest_key(holder), _reading(core, digest)
        begun, self._ahead.manifest = getattr(self._ahead, "manifest", None), None
        try:
            raw = begun[1].result() if begun is not None and begun[0] == holder else read(key)
            if str(Digest.of(raw, core.algorithm)) != expected:
                forget(core.near, key)  # it may have been damaged on its way
                raw = read(key)
        except NotFoundError as error:
            raise _MissingManifestError(key) from error
        if str(Digest.of(raw, core.algorithm)) != expected:
            raise CorruptionError(
                f"{key} does not match its digest in the journal: it was changed or truncated; restore it from a copy of the store",
                digest=expected,
                location=key,
            )
        try:
            return decode(raw, key, algorithm=core.algorithm)
        except CorruptionError as error:  # its bytes are those that the journal names: so it was written
            raise FalseManifestError(str(error), digest=expected, location=key) from error


def _reading(core: "Core", digest: str) -> Callable[[str], bytes]:
    """Return how to read the manifest of an artifact: in parts where it must be large."""
    with core.journal.lock:
        fact = core.journal.fold.stored.get(digest, {})
    return core.near.read_large if is_large(int(fact.get("files", 0)), int(fact.get("size", 0))) else core.near.read


class FalseManifestError(CorruptionError):
    """A manifest was recorded as what it is not: no copy of the store has a better one."""


class _MissingManifestError(Exception):
    """A manifest is not there: the journal decides whether that is damage."""


def _condemned_in(state: State, digest: str) -> int | None:
    entries = [
        seq for one, seq in state.condemned_manifests.items() if one in state.manifests and state.manifests[one][0] == digest
    ]
    return max(entries, default=None)
