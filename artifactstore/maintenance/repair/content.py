"""Repair of content: what the journal's manifests and packs lack comes back, verified, and is relocated.

A missing object is created again under its own id; what is damaged is left where it is, and its content gets new ids and a
`relocated` fact. What no source has is marked by a `damaged` fact (docs/reference/protocol.md, rule 7).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.buffers import writable
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.checks import check
from artifactstore.content.manifests.manifest import Extent, Manifest, manifest_key
from artifactstore.content.manifests.parquet import encode
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.packs.reader import fetch
from artifactstore.errors import ArtifactStoreError, BackendError, ConflictError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.repair.by_files import restore_from_files
from artifactstore.maintenance.repair.chunks import Copy, Files, Origins, read_manifest
from artifactstore.maintenance.repair.history_sources import read_if_possible
from artifactstore.maintenance.repair.layouts import Layout, find_layout
from artifactstore.maintenance.repair.packs import PackState, look_at_pack
from artifactstore.maintenance.repair.rebuilt import NewPacks, rebuilt
from artifactstore.maintenance.repair.report import Lost, Restored
from artifactstore.maintenance.sync.object_copy import create_with_retries
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import Fact
from artifactstore.runtime.threads import Pool

__all__ = ["ContentRepair"]

_KEPT: Final = 128 * 2**20  # bytes of one artifact's chunks that are kept between finding and writing them
_TOGETHER: Final = 100  # facts of one transaction


class _VoidError(ConflictError):
    """The journal changed meanwhile."""


class ContentRepair:
    """One pass over the content of a store.

    Args:
        journal: the store's, readable.
        appender: appends to it.
        copies: copies of the store.
        files: the user's files.
        dry_run: only find out.

    Attributes:
        restored: what came back.
        lost: what did not.
    """

    def __init__(
        self, journal: Journal, appender: Appender, copies: Sequence[Copy], files: Files | None, *, dry_run: bool
    ) -> None:
        self.journal, self.appender = journal, appender
        self.backend: Backend = journal.backend
        self.algorithm = journal.config.digest
        self.copies, self.files, self.dry_run = copies, files, dry_run
        self.restored: list[Restored] = []
        self.lost: list[Lost] = []
        self._packs: dict[str, PackState] = {}  # those with a fault
        self._false: set[tuple[str, str]] = set()  # artifacts and packs whose footer contradicts the manifest
        self._new = NewPacks(self.backend)
        self._facts: list[Fact] = []
        self._pending: list[Restored] = []

    def run(self) -> bool:
        """Repair; return whether another pass is needed: what seemed lost was moved or freed, or another writer relied on it."""
        head = self.journal.catch_up()
        with self.journal.lock:
            state: State = self.journal.fold
            holders = {digest: list(ids) for digest, ids in state.holders.items() if ids}
            rows = {one: (state.manifests[one][1], list(state.manifests[one][2])) for ids in holders.values() for one in ids}
        layouts = self._layouts(holders, rows)
        self._look_at_packs(layouts)
        self._create_missing_packs(layouts)
        wanted: dict[bytes, list[Extent]] = {}
        lacking = {
            digest: list(self._lacking(digest, one.manifest)) for digest, one in layouts.items() if one.manifest is not None
        }
        for extent in (extent for extents in lacking.values() for extent in extents):
            wanted.setdefault(extent.digest, []).append(extent)
        origins = Origins(
            self.backend, self.algorithm, lambda: self._all_manifests(layouts, holders, rows), self.copies, self.files, wanted
        )
        lost: dict[str, tuple[str, str]] = {}
        for digest, one in layouts.items():
            if one.manifest is None:
                if not self._from_files(digest, holders[digest][-1], one):
                    key = manifest_key(holders[digest][-1])
                    lost[digest] = (key, one.faults.get(key) or f"{key} is missing")
            elif lacking[digest] or one.holder != holders[digest][-1]:
                found = self._restore(digest, one, lacking[digest], origins, holders[digest][-1])
                if found is not None:
                    lost[digest] = found
        self._commit()
        moved = self._forget_moved(lost, holders)
        self._mark(lost, holders)
        if self._forget_moved(lost, holders) or moved:
            return True
        packs = {pack for digest in lost for one in holders[digest] for pack in rows[one][1] if pack in self._packs}
        return bool(packs) and not self.dry_run and self._relied_on(packs, set(rows), head)

    # -- looking

    def _layouts(self, holders: dict[str, list[str]], rows: dict[str, tuple[str, list[str]]]) -> dict[str, Layout]:
        expected = {one: row[0] for one, row in rows.items()}
        packs = {one: row[1] for one, row in rows.items()}

        def find(digest: str) -> Layout:
            ids = holders[digest]
            return find_layout(self.backend, self.copies, digest, ids, expected, packs=packs, create=self._create)

        if self.backend.concurrency < 2:
            return {digest: find(digest) for digest in holders}
        with Pool(min(8, self.backend.concurrency)) as pool:
            return dict(zip(holders, pool.map(find, holders), strict=True))

    def _look_at_packs(self, layouts: dict[str, Layout]) -> None:
        used = dict.fromkeys(pack for one in layouts.values() if one.manifest is not None for pack in one.manifest.packs)
        footers = Footers(self.backend)

        with self.journal.lock:
            condemned = {pack: seq for pack in used if (seq := self.journal.fold.condemned_packs.get(pack)) is not None}

        def look(pack: str) -> PackState:
            found = look_at_pack(self.backend, pack, self.algorithm, footers=footers)
            if found.sound and pack in condemned:  # by a writer that left its manifest: it can go at any time
                found.why = f"{pack_key(pack)} was condemned by entry {condemned[pack]}"
            return found

        workers = max(1, min(4, self.backend.concurrency))
        if workers < 2:
            states: Iterable[PackState] = map(look, used)
            self._packs = {pack: one for pack, one in zip(used, states, strict=True) if not one.sound}
        else:
            with Pool(workers) as pool:
                self._packs = {pack: one for pack, one in zip(used, pool.map(look, used), strict=True) if not one.sound}
        for digest, one in layouts.items():
            if one.manifest is not None:
                sound = [pack for pack in one.manifest.packs if pack not in self._packs]
                self._false.update((digest, fault.pack) for fault in footers.contradictions(one.manifest, sound))

    def _lacking(self, digest: str, manifest: Manifest | None) -> Iterator[Extent]:
        """Yield the extents of a manifest that cannot be read as they are."""
        assert manifest is not None  # only such are asked for
        suspect = {pack for pack in manifest.packs if pack in self._packs or (digest, pack) in self._false}
        if suspect or any(pack < 0 for pack in manifest.chunks.packs) or manifest.side:
            for extent in self._extents(manifest):
                if extent.pack is None:
                    if not self._reads(extent):
                        yield extent
                elif any(self._why(digest, one) for one in (extent, extent.base) if one is not None and one.pack in suspect):
                    yield extent

    def _extents(self, manifest: Manifest) -> Iterator[Extent]:
        yield from (manifest.extent(i) for i in range(len(manifest.chunks)))
        for extents in manifest.side.values():
            yield from extents

    def _reads(self, extent: Extent) -> bool:
        try:
            fetch(self.backend, [extent], algorithm=self.algorithm)
        except ArtifactStoreError as error:
            if isinstance(error, BackendError) and error.transient:
                raise
            return False
        return True

    def _why(self, digest: str, extent: Extent) -> str:
        """Return why an extent cannot be read, "" if it can."""
        pack = str(extent.pack)
        state = self._packs.get(pack)
        if state is not None:
            return state.lacks(extent)
        return f"{pack_key(pack)} contradicts the manifest" if (digest, pack) in self._false else ""

    def _all_manifests(
        self, layouts: dict[str, Layout], holders: dict[str, list[str]], rows: dict[str, tuple[str, list[str]]]
    ) -> Iterator[Manifest]:
        """Yield the manifests that are used, and those of earlier holders: they may have other packs."""
        for digest, one in layouts.items():
            if one.manifest is not None:
                yield one.manifest
            for holder in holders[digest] if len(holders[digest]) > 1 else ():
                if (
                    holder != one.holder
                    and (found := read_manifest(self.backend, holder, rows[holder][0], digest)[0]) is not None
                ):
                    yield found

    # -- missing objects, under their own ids

    def _create_missing_packs(self, layouts: dict[str, Layout]) -> None:
        for pack in [one for one, state in self._packs.items() if state.missing]:
            for copy in self.copies:
                raw = read_if_possible(copy.backend, pack_key(pack))
                found = None if raw is None else look_at_pack(copy.backend, pack, self.algorithm, raw=raw)
                if raw is None or found is None or not found.sound or not self._fits(pack, found, copy, layouts):
                    continue
                if self._create(pack_key(pack), raw, copy.backend.url, pack, "condemned_packs"):
                    del self._packs[pack]
                break

    def _fits(self, pack: str, found: PackState, copy: Copy, layouts: dict[str, Layout]) -> bool:
        """Return whether a pack of a copy has all that the manifests here say of it; deltas are decoded, the rest was."""
        for one in layouts.values():
            if one.manifest is None or pack not in one.manifest.packs:
                continue
            for extent in (*self._extents(one.manifest), *one.manifest.other_extents()):
                if extent.pack == pack and found.lacks(extent):
                    return False
                if extent.pack == pack and extent.base is not None:
                    try:
                        fetch(copy.backend, [extent], algorithm=self.algorithm)
                    except ArtifactStoreError:
                        return False
        return True

    def _create(self, key: str, raw: bytes, source: str, one: str, condemned: str) -> bool:
        """Create a missing object again; False if it is condemned, or something is in its way: then its content gets new ids."""
        self.journal.catch_up()
        with self.journal.lock:
            if one in getattr(self.journal.fold, condemned):
                return False
        if not self.dry_run:
            try:
                if not create_with_retries(self.backend, key, raw) and read_if_possible(self.backend, key) != raw:
                    return False  # such as a link to nothing
            except BackendError as error:
                if error.transient:
                    raise
                return False
        self.restored.append(Restored(key, source))
        return True

    # -- what is damaged, under new ids

    def _restore(
        self, digest: str, layout: Layout, lacking: Sequence[Extent], origins: Origins, current: str
    ) -> tuple[str, str] | None:
        """Write a manifest whose extents can all be read; return what is lost, or None.

        Nothing is written before every chunk was found.
        """
        manifest = layout.manifest
        assert manifest is not None  # only such are restored
        found: dict[bytes, bytes | None] = {}
        kept, rows = 0, list[Restored]()
        for extent in lacking:
            why = self._why(digest, extent) or (self._why(digest, extent.base) if extent.base is not None else "")
            key = manifest_key(current) if extent.pack is None else pack_key(extent.pack)
            if extent.digest in found or extent.digest in self._new.moved:
                continue
            got = origins.find(extent.digest)
            if got is None:
                return key, why or f"a chunk in {key} is damaged"
            kept += len(got[1])
            found[extent.digest] = got[1] if kept <= _KEPT else None
            rows.append(Restored(key, got[0]))
        for key in layout.faults if layout.holder != current else ():
            rows.append(Restored(key, layout.source))
        if self.dry_run:
            self.restored += rows
            return None
        for name, data in found.items():
            again = data if data is not None else (origins.find(name) or ("", b""))[1]
            self._new.add(name, again)
        gone = {one.digest for one in lacking}
        made = rebuilt(manifest, lambda one: self._new.moved.get(one.digest) if one.digest in gone else None)
        self._relocate(digest, made, current, rows)
        return None

    def _from_files(self, digest: str, current: str, layout: Layout) -> bool:
        """Store an artifact of which no manifest is left anew, if the user's files are it."""
        if self.files is None:
            return False
        with self.journal.lock:
            row = dict(self.journal.fold.stored.get(digest, {}))
        found = restore_from_files(self.backend, self.journal.config, self.files, digest, row, dry_run=self.dry_run)
        if found is None:
            return False
        made, path = found
        rows = [Restored(key, path) for key in layout.faults]
        if made is None:
            self.restored += rows
        else:
            self._relocate(digest, made, current, rows)
        return True

    def _relocate(self, digest: str, made: Manifest, current: str, rows: Sequence[Restored]) -> None:
        check(made)
        content, identity = made.identify()
        if str(identity) != digest:
            raise AssertionError(f"{digest} was rebuilt as {identity}")
        made.digest, one = digest, new_id()
        raw = encode(made, content, identity)
        self._new.flush()
        self.backend.write(manifest_key(one), writable(raw))
        self._facts.append(
            {
                "fact": "relocated",
                "digest": digest,
                "from": current,
                "to": one,
                "manifest_digest": str(Digest.of(raw, self.algorithm)),
                "packs": list(made.packs),
            }
        )
        self._pending += rows
        if len(self._facts) >= _TOGETHER:
            self._commit()

    def _commit(self) -> None:
        """Append what was relocated; one that another process moved meanwhile does not keep the others from it."""
        facts, self._facts = self._facts, []
        rows, self._pending = self._pending, []
        if not facts:
            return
        self._new.flush()
        try:
            self._append(facts)
        except _VoidError:
            for fact in facts:
                try:
                    self._append([fact])
                except _VoidError:
                    continue
        self.restored += rows

    def _append(self, facts: list[Fact]) -> None:
        head = self.journal.catch_up()
        self.appender.commit(facts, birth=head, alive_at=head, refuse=_refuse, reason="repair")

    # -- what is lost

    def _forget_moved(self, lost: dict[str, tuple[str, str]], holders: dict[str, list[str]]) -> bool:
        """Drop what is not where it was when its objects were looked for: clean-up may have taken them; return whether any was."""
        if not lost:
            return False
        self.journal.catch_up(confirm=True)
        with self.journal.lock:
            state: State = self.journal.fold
            moved = [digest for digest in lost if list(state.holders.get(digest, ())) != holders[digest]]
        for digest in moved:
            del lost[digest]
        self.lost = [one for one in self.lost if one.digest in lost]
        return bool(moved)

    def _mark(self, lost: dict[str, tuple[str, str]], holders: dict[str, list[str]]) -> None:
        with self.journal.lock:
            state: State = self.journal.fold
            known = dict(state.damaged)
            refs = {digest: _refs(state, digest) for digest in lost}
        facts: list[Fact] = [
            {"fact": "damaged", "digest": digest, "manifest": one}
            for digest in lost
            for one in holders[digest]
            if one not in known
        ]
        for at in range(0, len(facts), _TOGETHER):
            if not self.dry_run:
                self._append(facts[at : at + _TOGETHER])
        for digest, (key, why) in lost.items():
            self.lost += (Lost(ref, digest, key, why) for ref in refs[digest])

    def _relied_on(self, packs: set[str], known: set[str], head: int) -> bool:
        """Return whether a manifest that was stored since refers to packs of what is lost."""
        self.journal.catch_up()
        with self.journal.lock:
            state: State = self.journal.fold
            if state.head <= head:
                return False
            new = (one for one in state.manifests if one not in known and one not in state.condemned_manifests)
            return any(not packs.isdisjoint(state.manifests[one][2]) for one in new if state.manifests[one][0] in state.holders)


def _refs(state: State, digest: str) -> list[str]:
    """Return the versions of a digest that were not removed; the digest itself, if an unnamed put means it."""
    found = [
        f"{name}:v{number}"
        for name, number, _ in state.versions_by_digest.get(digest, ())
        if "removed" not in state.names[name][number - 1]
    ]
    return found or ([digest] if digest in state.unnamed else [])


def _refuse(void: Any) -> Exception:
    return _VoidError(f"the repair has no effect: {void}")
