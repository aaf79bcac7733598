"""Usage: the stored bytes of each name, version, run or kind, and how many of them nothing else needs.

Counts extents in packs, not digests: equal bytes that are stored twice take space twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.rows import Rows
from artifactstore.content.manifests.manifest import Manifest, is_large, manifest_key
from artifactstore.content.manifests.parquet import decode
from artifactstore.errors import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.usage.extents import extents_of
from artifactstore.model.digest import Digest
from artifactstore.runtime.loading import numpy
from artifactstore.runtime.threads import Pool

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BY", "Usage", "usage"]

BY: Final = ("name", "version", "run", "kind")
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Usage:
    """What something takes.

    Attributes:
        what: the name, the reference of a version, the run or the kind; of unnamed puts the digest, or empty.
        versions: how many versions it has that were not removed.
        size: bytes of their content, each artifact once.
        unique: stored bytes that only it needs: what its removal frees.
        shared: stored bytes that others need, too.
        external: bytes of its content that are not in the store.
    """

    what: str
    versions: int
    size: int
    unique: int
    shared: int
    external: int = 0


def usage(journal: Journal, by: Any, state: Callable[[], AbstractContextManager[State]]) -> Rows[Usage]:
    """Measure what takes how many stored bytes; every current manifest is read.

    Args:
        journal: the store's.
        by: `name`, `version`, `run` or `kind`.
        state: gives the fold, or an earlier one, whose names, versions and runs are counted; not held while manifests are read.

    Raises:
        InvalidInputError: `by` is none of these.
        CorruptionError: a manifest is missing or damaged.
        BackendError: the backend failed.
    """
    if by not in BY:
        raise InvalidInputError(f"by={by!r:.100}: expected one of {', '.join(BY)}")
    owners: dict[str, set[str]] = {}  # digest → what owns it
    versions: dict[str, int] = {}
    with state() as found:
        for what, digest in _OWNERS[by](found):
            versions[what] = versions.get(what, 0) + 1
            owners.setdefault(digest, set()).add(what)
    return Rows(Usage, _measure(journal, owners, versions))


def _named(state: State) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    for name, rows in state.names.items():
        for number, row in enumerate(rows, 1):
            if "removed" not in row:
                yield name, number, row


def _by_name(state: State) -> Iterator[tuple[str, str]]:
    yield from ((name, row["digest"]) for name, _, row in _named(state))
    yield from (("", digest) for digest in state.unnamed)


def _by_version(state: State) -> Iterator[tuple[str, str]]:
    yield from ((f"{name}:v{number}", row["digest"]) for name, number, row in _named(state))
    yield from ((digest, digest) for digest in state.unnamed)


def _by_kind(state: State) -> Iterator[tuple[str, str]]:
    yield from ((str(row.get("kind", "")), row["digest"]) for _, _, row in _named(state))
    yield from ((str(row.get("kind", "")), digest) for digest, row in state.unnamed.items())


def _by_run(state: State) -> Iterator[tuple[str, str]]:
    """What a run has produced is its own; what no run has made belongs to none."""
    alive = {row["digest"] for _, _, row in _named(state)} | {*state.unnamed}
    for digest in sorted(alive):
        runs = state.produced_by.get(digest, ())
        yield from ((run, digest) for run in runs or ("",))


_OWNERS: Final[Mapping[str, Callable[[State], Iterable[tuple[str, str]]]]] = {
    "name": _by_name,
    "version": _by_version,
    "run": _by_run,
    "kind": _by_kind,
}


def _measure(journal: Journal, owners: Mapping[str, set[str]], versions: Mapping[str, int]) -> list[Usage]:
    sizes = dict.fromkeys(versions, 0)
    groups: dict[frozenset[str], int] = {}  # who needs the same artifacts → number
    packs: dict[str, int] = {}
    inline: list[int] = []  # of each group: bytes in manifests
    places: list[list[Any]] = []
    for digest, manifest in zip(owners, _manifests(journal, owners), strict=True):
        if manifest is None:
            continue
        for what in owners[digest]:
            sizes[what] += manifest.size
        group = groups.setdefault(frozenset(owners[digest]), len(groups))
        if group == len(inline):
            inline.append(0)
            places.append([])
        inline[group] += sum(map(len, manifest.chunks.inline.values()))
        places[group].append(extents_of(manifest, packs))
    unique, shared = dict.fromkeys(versions, 0), dict.fromkeys(versions, 0)
    for whose, size in _split(list(groups), places, inline):
        for what in whose:
            counted = unique if len(whose) == 1 else shared
            counted[what] += size
    rows = [Usage(what, versions[what], sizes[what], unique[what], shared[what]) for what in versions]
    return sorted(rows, key=lambda one: (-one.unique - one.shared, one.what))


def _manifests(journal: Journal, digests: Iterable[str]) -> Iterator[Manifest | None]:
    """Yield the manifest of each artifact as it is held now, also if clean-up or repacking goes on; None for one without content."""
    backend = journal.cached_backend

    def current(digest: str) -> tuple[str | None, str, bool]:
        with journal.lock:
            layout: State = journal.fold
            manifest, fact = layout.current_manifest(digest), layout.stored.get(digest, {})
            expected = "" if manifest is None else str(layout.manifests[manifest][1])
        return manifest, expected, is_large(int(fact.get("files", 0)), int(fact.get("size", 0)))

    def read(digest: str) -> Manifest | None:
        manifest, expected, large = current(digest)
        while manifest is not None:
            key = manifest_key(manifest)
            try:
                raw = (backend.read_large if large else backend.read)(key)
            except NotFoundError as error:
                journal.catch_up()
                before, (manifest, expected, large) = manifest, current(digest)
                if manifest == before:
                    raise CorruptionError(f"{key} is missing, but the journal names it", digest=digest, location=key) from error
                continue
            if str(Digest.of(raw, journal.config.digest)) != expected:
                raise CorruptionError(f"{key} does not match its digest in the journal", digest=digest, location=key)
            return decode(raw, key, algorithm=journal.config.digest)
        return None

    if journal.backend.concurrency < 2:
        yield from map(read, digests)
        return
    with Pool(max(1, min(_AT_ONCE, journal.backend.concurrency)), "artifactstore-look") as pool:
        yield from pool.map(read, digests)


def _split(
    groups: list[frozenset[str]], places: list[list["np.ndarray"]], inline: list[int]
) -> Iterator[tuple[frozenset[str], int]]:
    """Yield sets of owners, and the stored bytes that exactly these need."""
    np = numpy()
    yield from zip(groups, inline, strict=True)
    if not groups:
        return
    merged = [np.unique(np.concatenate(some), axis=0) for some in places]
    owner = np.repeat(np.arange(len(merged)), [len(some) for some in merged])
    rows = np.concatenate(merged)
    if not len(rows):
        return
    order = np.lexsort((owner, rows[:, 2], rows[:, 1], rows[:, 0]))
    rows, owner = rows[order], owner[order]
    starts = np.flatnonzero(np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)]))
    counts = np.diff(np.append(starts, len(rows)))
    alone = starts[counts == 1]
    sizes = np.bincount(owner[alone], weights=rows[alone, 2], minlength=len(groups))
    yield from ((groups[group], int(size)) for group, size in enumerate(sizes) if size)
    together: dict[frozenset[str], int] = {}
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        whose = frozenset().union(*(groups[group] for group in owner[start : start + count]))
        together[whose] = together.get(whose, 0) + int(rows[start, 2])
    yield from together.items()
