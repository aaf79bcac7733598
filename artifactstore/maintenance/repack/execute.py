"""Repacking: measure, write anew, relocate (docs/reference/protocol.md, rule 7). It deletes nothing: that is the clean-up's part.

Readers and writers go on meanwhile: a reader follows the new manifest, and a relocation counts only if what it replaces is
still current and nothing that it needs was condemned.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import Manifest, is_large, manifest_key
from artifactstore.content.manifests.parquet import decode
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.packs.reader import MissingPackError
from artifactstore.errors import ArtifactStoreError, CorruptionError, NotFoundError, RefusedError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.gc.live import live_digests
from artifactstore.maintenance.repack.plan import Layout, RepackPlan, choose
from artifactstore.maintenance.repack.repacked import Repacked
from artifactstore.maintenance.repack.rewrite import rewrite
from artifactstore.maintenance.usage.extents import extents_of
from artifactstore.model.digest import Digest
from artifactstore.runtime.threads import Pool

__all__ = ["repack"]

_PART: Final = 512 * 2**20  # bytes of content that are relocated by one transaction
_FILES: Final = 200_000  # files and chunks likewise
_TRIES: Final = 3  # times that a part is written if clean-up or another repacking was first
_AT_ONCE: Final = 16


class _StaleError(Exception):
    """What was judged is no longer so: other entries came first."""


def repack(journal: Journal, appender: Appender, *, below: float, names: Sequence[str] | None, dry_run: bool) -> Repacked:
    """Write packs anew of which less than `below` is alive, and small ones; relocate their artifacts.

    Args:
        journal: the store's.
        appender: of the same journal.
        below: share of a pack.
        names: patterns of the names whose artifacts may move; None for all.
        dry_run: write nothing.

    Raises:
        NotFoundError: no name matches.
        CorruptionError: something that would be written anew is missing or damaged; what was done before stays done.
        BackendError: the backend failed; run it again.
    """
    journal.catch_up(confirm=True)
    state: State = journal.fold
    plan = _plan(journal, state, below, names)
    manifests = tuple(sorted(one.manifest for one in plan.artifacts))
    before = sum(plan.packs.values())
    if dry_run or not plan.packs:
        return Repacked((*plan.packs,), manifests, before, plan.most, dry_run)
    moved, after = list[str](), 0
    for part in _parts(state, plan.artifacts):
        done, size = _Part(journal, appender, plan).run(part)
        moved += done
        after += size
    return Repacked((*plan.packs,), tuple(sorted(moved)), before, after, dry_run=False)


def _plan(journal: Journal, state: State, below: float, names: Sequence[str] | None) -> RepackPlan:
    with journal.lock:
        groups = _groups(state, names)
        others = live_digests(state) - groups.keys() if names is not None else ()
        current = [(digest, str(state.current_manifest(digest))) for digest in (*groups, *others) if state.alive(digest)]
    numbers: dict[str, int] = {}
    layouts = list(_layouts(journal, state, current, groups, numbers))
    sizes = {item.key.rpartition("/")[2].partition(".")[0]: item.size for item in journal.backend.list("packs/")}
    return choose(layouts, numbers, sizes, below)


def _groups(state: State, names: Sequence[str] | None) -> dict[str, str]:
    """Return the artifacts that may move, in reading order: digest → the name that it is laid with, the newest version first.

    Raises:
        NotFoundError: no name matches.
    """
    found: dict[str, str] = {}
    matches = False
    for name, rows in state.names.items():
        if names is not None and not any(fnmatchcase(name, one) for one in names):
            continue
        matches = True
        for row in reversed(list(rows)):
            if "removed" not in row:
                found.setdefault(row["digest"], name)
    if names is not None and not matches:
        raise NotFoundError(f"no name matches {', '.join(names)}")
    if names is None:
        for digest in live_digests(state):
            found.setdefault(digest, "")
    return found


def _layouts(
    journal: Journal, state: State, current: Sequence[tuple[str, str]], groups: Mapping[str, str], numbers: dict[str, int]
) -> Iterator[Layout]:
    """Yield where the bytes of each artifact that must stay are; those that may not move, or cannot, are fixed.

    Args:
        journal: the store's.
        state: its fold.
        current: artifacts and their manifests.
        groups: those that may move, and the names that they are laid with.
        numbers: pack → number; new ones are added.
    """

    def read(one: tuple[str, str]) -> Manifest | None:
        digest, manifest = one
        if manifest in state.damaged:
            return None
        try:
            return read_manifest(journal, state, digest, manifest)
        except CorruptionError:
            journal.catch_up()
            if state.current_manifest(digest) == manifest:
                raise
            return None  # another process has moved or removed it

    with Pool(max(1, min(_AT_ONCE, journal.backend.concurrency)), "artifactstore-look") as pool:
        found = map(read, current) if journal.backend.concurrency < 2 else pool.map(read, current)
        for (digest, one), manifest in zip(current, found, strict=True):
            packs = tuple(state.manifests[one][2])
            for pack in packs:
                numbers.setdefault(pack, len(numbers))
            if manifest is None:
                yield Layout(digest, one, "", packs, (), fixed=True)
                continue
            # Deltas stay: written anew without their bases they would take more space than they free.
            fixed = digest not in groups or bool(manifest.chunks.bases) or bool(set(manifest.packs) - {*packs})
            fixed = fixed or manifest.clash is not None  # earlier versions could write it, no version writes it again
            yield Layout(digest, one, groups.get(digest, ""), packs, extents_of(manifest, numbers), fixed)


def read_manifest(journal: Journal, state: State, digest: str, manifest: str) -> Manifest:
    """Read the manifest of an artifact, and compare it with the journal.

    Raises:
        CorruptionError: it is missing or damaged.
    """
    key, fact = manifest_key(manifest), state.stored.get(digest, {})
    read = journal.backend.read_large if is_large(int(fact.get("files", 0)), int(fact.get("size", 0))) else journal.backend.read
    try:
        raw = read(key)
    except NotFoundError as error:
        raise CorruptionError(f"{key} is missing, but the journal names it", digest=digest, location=key) from error
    if str(Digest.of(raw, journal.config.digest)) != state.manifests[manifest][1]:
        raise CorruptionError(f"{key} does not match its digest in the journal", digest=digest, location=key)
    found = decode(raw, key, algorithm=journal.config.digest)
    if found.digest != digest:
        raise CorruptionError(f"{key} is the manifest of {found.digest}, not of {digest}", digest=digest, location=key)
    return found


def _parts(state: State, artifacts: Sequence[Layout]) -> Iterator[list[Layout]]:
    """Split artifacts into parts of one name each, in reading order; a large artifact is a part of its own."""
    part: list[Layout] = []
    size = files = 0
    for one in sorted(artifacts, key=lambda one: one.group):  # stable: the order inside of a name stays
        fact = state.stored.get(one.digest, {})
        more, many = int(fact.get("size", 0)), int(fact.get("files", 0)) + len(one.extents)
        if part and (one.group != part[-1].group or size + more > _PART or files + many > _FILES):
            yield part
            part, size, files = [], 0, 0
        part.append(one)
        size, files = size + more, files + many
    if part:
        yield part


class _Part:
    """Artifacts that are written anew together and relocated by one transaction."""

    def __init__(self, journal: Journal, appender: Appender, plan: RepackPlan) -> None:
        self._journal = journal
        self._appender = appender
        self._plan = plan

    def run(self, part: Sequence[Layout]) -> tuple[list[str], int]:
        """Return the manifests that were replaced, and the bytes of the new packs."""
        uploaded = 0
        for _ in range(_TRIES):
            alive_at = self._journal.catch_up()
            part = [one for one in part if self._is_current(one)]
            if not part:
                break
            try:
                facts, size = self._write(part)
                uploaded += size
                self._appender.commit(facts, birth=alive_at, alive_at=alive_at, refuse=_refuse)
            except _StaleError:
                continue
            return [one.manifest for one in part], uploaded
        return [], uploaded

    def _is_current(self, one: Layout) -> bool:
        state: State = self._journal.fold
        return state.current_manifest(one.digest) == one.manifest and one.manifest not in state.damaged

    def _write(self, part: Sequence[Layout]) -> tuple[list[dict[str, Any]], int]:
        """Write a part anew; return its `relocated` facts, and the bytes of its packs.

        Raises:
            _StaleError: another process was first, and clean-up has taken what was to be read.
            CorruptionError: it is missing or damaged.
        """
        state: State = self._journal.fold
        try:
            sources = [read_manifest(self._journal, state, one.digest, one.manifest) for one in part]
            made, size = rewrite(self._journal.backend, sources, self._plan.packs)
        except (MissingPackError, CorruptionError) as error:
            self._journal.catch_up()
            if all(map(self._is_current, part)):
                if isinstance(error, MissingPackError):
                    raise CorruptionError(
                        f"{pack_key(error.pack)} is missing, but the journal names it: restore it from a copy of the store",
                        location=pack_key(error.pack),
                    ) from error
                raise
            raise _StaleError from error
        return [{**new.fact, "from": one.manifest} for one, new in zip(part, made, strict=True)], size


def _refuse(void: Any) -> ArtifactStoreError | _StaleError:
    if void.code == "moved":
        return RefusedError(f"{void.text}: nothing more was relocated; repack there")
    return _StaleError(str(void))
