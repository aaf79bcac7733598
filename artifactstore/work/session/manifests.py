"""Manifest reader: finds the current manifest of an artifact, reads it from the cache, and again if it was moved (docs/reference/protocol.md, rule 8)."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from artifactstore.backend.wrappers.caching import evict
from artifactstore.catalog.fold.lost import is_whole
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import resolve
from artifactstore.content.manifests.manifest import Manifest, is_large, manifest_key
from artifactstore.content.manifests.parquet import decode
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.packs.reader import MissingPackError
from artifactstore.content.read.open_file import prove
from artifactstore.errors import ArtifactStoreError, CorruptionError, FormatError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.reference import Reference
from artifactstore.runtime.remarks import remark
from artifactstore.runtime.threads import Pool
from artifactstore.work.session.core import Core
from artifactstore.work.session.write_guard import incomplete_copy_error

if TYPE_CHECKING:
    from artifactstore.work.session.mirrored import Mirrors

__all__ = ["FalseManifestError", "ManifestReader", "Proves"]

T = TypeVar("T")
Proves = Callable[[Manifest], str | None]


class ManifestReader:
    """Reads the manifests of a session; a prefetched manifest belongs to its thread.

    Args:
        mirrors: what damaged and missing objects are read from, or None.
    """

    def __init__(self, mirrors: "Mirrors | None" = None) -> None:
        self._mirrors = mirrors
        self._ahead = threading.local()
        self._reported: set[str] = set()
        self._compared: set[tuple[str, int]] = set()  # (manifest, file row) whose chunk digests agree with all others

    def read_ahead(self, core: Core, view: State | None, ref: Reference) -> None:
        """Prefetch the manifest that a reference most likely resolves to, while the journal is read.

        This makes a warm get two sequential round trips. The result is used only if the journal agrees.
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

    def use(
        self, core: Core, digest: str, use: Callable[[Manifest], T], *, part: int | None = None, relied_on: bool = False
    ) -> T:
        """Call `use` with a manifest of an artifact; repeat if that was moved meanwhile.

        The current holder comes first. If it is missing or damaged, or its files do not match the digest, the previous holder is
        used, with a warning.

        Args:
            core: the store.
            digest: of the artifact.
            use: the function to call.
            part: the row of the file, if only parts of it are read: then its chunk digests are compared with other manifests.
            relied_on: for a writer that shares its chunks: manifests found damaged are left out, and one is marked as proven if this
                machine has recorded it as checked.

        Raises:
            NotFoundError: the artifact was removed.
            CorruptionError: an object is missing or damaged for every holder.
        """
        failed: dict[str, ArtifactStoreError] = {}
        while True:
            with core.journal.lock:
                state: State = core.journal.fold
                holders = [one for one in state.holders.get(digest, ()) if not relied_on or is_whole(state, one)]
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
                if relied_on and not manifest.all_proven:
                    manifest.all_proven = core.checked.has(holder, known[holder], digest)
                made = use(manifest)
            except MissingPackError as error:
                missing = pack_key(error.pack)
            except _MissingManifestError:
                missing = manifest_key(holder)
            except (CorruptionError, FormatError) as error:
                # What is false was written like this: a mirror has nothing better.
                location = getattr(error, "location", None)
                if isinstance(error, FalseManifestError) or not self._goes_on(core, digest, holder, location, missing=False):
                    failed[holder] = error
                continue
            else:
                self._warn(digest, failed)
                if self._mirrors is not None:
                    self._mirrors.note(core.cached_backend)
                return made
            if not self._goes_on(core, digest, holder, missing, missing=True):
                failed[holder] = incomplete_copy_error(core, missing) or CorruptionError(
                    f"{missing} is missing, but the journal names it: restore it from a copy of the store",
                    digest=digest,
                    location=missing,
                )

    def each(self, core: Core, digest: str) -> list[Manifest]:
        """Return the manifests of all holders of an artifact that can be read, the current one first.

        They agree on the files and their digests. Side content is what the writer of each put there: nothing proves it.
        """
        with core.journal.lock:
            state: State = core.journal.fold
            holders = [(one, state.manifests[one][1]) for one in reversed(state.holders.get(digest, ()))]
        found = []
        for holder, expected in holders:
            with suppress(_MissingManifestError, CorruptionError, FormatError):
                found.append(self._load(core, holder, digest, expected))
        return found

    def _check_part(self, core: Core, holder: str, manifest: Manifest, row: int) -> None:
        """Compare a file's chunk digests with those of all other manifests of the artifact; if they differ, read the file.

        A writer that appends a false manifest of existing content cannot change any byte that is read (decision 0045).

        Raises:
            CorruptionError: the file does not match the chunk digests.
        """
        if (holder, row) in self._compared:
            return
        with core.journal.lock:
            state: State = core.journal.fold
            expected = state.manifests[holder][1]
            others = {one: state.manifests[one][1] for one in state.holders.get(manifest.digest, ()) if one != holder}
        if core.checked.has(holder, expected, manifest.digest):
            manifest.all_proven = True
            return
        for other, its in others.items():
            try:
                same = self._load(core, other, manifest.digest, its).same_chunks(manifest, row)
            except (_MissingManifestError, CorruptionError, FormatError):
                continue  # it is not a holder
            if not same:
                prove(core.cached_backend, manifest, row)
                return
        self._compared.add((holder, row))

    def holds(self, core: Core, digest: str, *, read: bool = False, proves: Proves | None = None) -> bool:
        """Return True if a manifest holds an artifact and matches its record, so that content need not be stored again.

        A manifest that this machine has written or checked before is not checked again, unless `read` is set.

        Args:
            core: the store.
            digest: of the artifact.
            read: also read all of its content.
            proves: compares the chunk digests of a manifest with the content itself; returns a path that differs, or None.
        """
        with core.journal.lock:
            state: State = core.journal.fold
            holders = [
                (one, *state.manifests[one][1:]) for one in reversed(state.holders.get(digest, ())) if is_whole(state, one)
            ]
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
        self, core: Core, holder: tuple[str, str, Sequence[str]], digest: str, *, read: bool, proves: Proves | None
    ) -> str | None:
        """Return the fault of a holder, or None."""
        one, expected, packs = holder
        try:
            manifest = self._load(core, one, digest, expected)
        except _MissingManifestError:
            return f"{manifest_key(one)} is missing"
        except (CorruptionError, FormatError) as error:
            return str(error)
        if set(manifest.packs) - set(packs):
            return f"{manifest_key(one)} uses packs that are not listed in its journal entry"
        faults = core.footers.contradictions(manifest) or core.footers.unreadable(manifest, manifest.packs if read else ())
        if faults:
            return f"{manifest_key(one)} is false: {faults[0]}"
        if proves is not None and not manifest.all_proven:
            if (path := proves(manifest)) is not None:
                return f"{manifest_key(one)} is false: its chunks of {path!r} are not those of the file"
            manifest.all_proven = True
        return None

    def _goes_on(self, core: Core, digest: str, holder: str, location: str | None, *, missing: bool) -> bool:
        """Return whether an artifact was moved or freed meanwhile, or its object is read from the next mirror from now on.

        A mirror is asked only after catching up: what was moved is not damage, and what was freed must not come back by it.
        """
        if missing or self._mirrors is not None:
            core.journal.catch_up()
            with core.journal.lock:
                if holder not in core.journal.fold.holders.get(digest, ()):
                    return True
        return self._mirrors is not None and self._mirrors.divert(core.cached_backend, location)

    def _warn(self, digest: str, failed: dict[str, ArtifactStoreError]) -> None:
        for holder, error in failed.items():
            self._report(holder, f"{digest} was read from an earlier manifest, as a newer one cannot be used: {error}")

    def _report(self, holder: str, text: str) -> None:
        """Warn once of an unusable manifest."""
        if holder not in self._reported:
            self._reported.add(holder)
            remark(f"{text}; `artifactstore verify` names the entry and the actor")

    def _load(self, core: Core, holder: str, digest: str, expected: str) -> Manifest:
        """Return a manifest if it matches the journal: the only function that accepts a manifest for a digest."""
        found = core.manifests.get(holder)
        if found is None:
            found = self._read(core, holder, digest, expected)
            core.manifests.put(holder, found)
        if found.digest != digest:
            key = manifest_key(holder)
            raise FalseManifestError(
                f"{key} was recorded as the manifest of {digest}, but is that of {found.digest}: it is not used",
                digest=digest,
                location=key,
            )
        return found

    def _read(self, core: Core, holder: str, digest: str, expected: str) -> Manifest:
        key, read = manifest_key(holder), _reading(core, digest)
        begun, self._ahead.manifest = getattr(self._ahead, "manifest", None), None
        try:
            raw = begun[1].result() if begun is not None and begun[0] == holder else read(key)
            if str(Digest.of(raw, core.algorithm)) != expected:
                evict(core.cached_backend, key)  # it may have been damaged in transit
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
        except CorruptionError as error:  # its bytes match the journal: it was written like this
            raise FalseManifestError(str(error), digest=expected, location=key) from error


def _reading(core: Core, digest: str) -> Callable[[str], bytes]:
    """Return the function that reads the manifest of an artifact: in parts if it must be large."""
    with core.journal.lock:
        fact = core.journal.fold.stored.get(digest, {})
    return (
        core.cached_backend.read_large
        if is_large(int(fact.get("files", 0)), int(fact.get("size", 0)))
        else core.cached_backend.read
    )


class FalseManifestError(CorruptionError):
    """A manifest that does not match its record in the journal: no copy of the store has a better one."""


class _MissingManifestError(Exception):
    """A manifest is missing: the journal decides whether that is damage."""


def _condemned_in(state: State, digest: str) -> int | None:
    entries = [
        seq for one, seq in state.condemned_manifests.items() if one in state.manifests and state.manifests[one][0] == digest
    ]
    return max(entries, default=None)
