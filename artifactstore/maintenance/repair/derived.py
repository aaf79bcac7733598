"""Repair of what is derived from the journal: segments and snapshots. `segments/` may be overwritten at any time."""

from collections.abc import Iterable, Iterator
from contextlib import closing

from artifactstore.backend.base import Backend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.layer import Layer
from artifactstore.catalog.spill.sqlite_file import scratch
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, NotFoundError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import list_segments, seal, segment_fault
from artifactstore.journal.snapshots import Snapshot, content_key
from artifactstore.maintenance.deltas import derive_delta
from artifactstore.maintenance.repair.history_sources import read_if_possible
from artifactstore.maintenance.repair.report import Restored
from artifactstore.maintenance.snapshot import list_published, open_below
from artifactstore.model.digest import Digest

__all__ = ["rebuild_derived"]


class _Replacing(Wrapper):
    """Creates an object whether or not it exists."""

    def create(self, key: str, data: bytes) -> None:
        """Write the object."""
        self.inner.write(key, data)


def rebuild_derived(journal: Journal, *, dry_run: bool) -> list[Restored]:
    """Write damaged segments and snapshots again from the entries; return what was, or with `dry_run` would be, written.

    Raises:
        BackendError: the backend cannot be reached.
    """
    backend = journal.backend
    if not backend.listable:
        return []
    return [*_segments(journal, backend, dry_run=dry_run), *_snapshots(journal, backend, dry_run=dry_run)]


def _segments(journal: Journal, backend: Backend, *, dry_run: bool) -> Iterator[Restored]:
    for segment in list_segments(backend):
        if segment.last > journal.head:
            continue
        last = backend.read(entry_key(segment.last))
        if Digest.of(last, journal.config.digest).hex != segment.digest:
            continue  # of another history: no entries of this journal have its name
        try:
            fault = segment_fault(backend.read(segment.key), segment, last)
        except NotFoundError:
            continue
        except ArtifactStoreError as error:
            if isinstance(error, BackendError) and error.transient:
                raise
            fault = str(error)
        if fault is None:
            continue
        if not dry_run:
            raws = ((seq, backend.read(entry_key(seq))) for seq in range(segment.first, segment.last + 1))
            seal(_Replacing(backend), raws, Digest.of(last, journal.config.digest))
        yield Restored(segment.key, "the journal")


def _snapshots(journal: Journal, backend: Backend, *, dry_run: bool) -> Iterator[Restored]:
    listed = list_published(backend)
    deltas = [one for one in reversed(list_published(backend, journal.fold)) if one.since is not None]
    yield from _deltas(journal, deltas, dry_run=dry_run)
    damaged = [one for one in listed if one.since is None and one.seq <= journal.head and _is_damaged(backend, one)]
    if not damaged:
        return
    state, digest = State(journal.config.store), ""
    with closing(state):
        for entry, raw in zip(journal.entries(1), journal.raw_entries(1), strict=True):
            state.apply(entry)
            digest = str(Digest.of(raw[1], journal.config.digest))
            for one in (found for found in damaged if found.seq == entry["seq"]):
                again = _written(state, digest)
                # The same tables may become other bytes in another version of SQLite: then no bytes have this name.
                if str(Digest.of(again, journal.config.digest)) == one.digest:
                    if not dry_run:
                        backend.write(content_key(one.digest), again)
                    yield Restored(content_key(one.digest), "the journal")


def _deltas(journal: Journal, deltas: Iterable[Snapshot], *, dry_run: bool) -> Iterator[Restored]:
    """Derive damaged deltas again, those that others are on first."""
    backend, algorithm = journal.backend, journal.config.digest
    made: dict[str, Layer] = {}
    for one in deltas:
        if one.seq > journal.head or not _is_damaged(backend, one):
            continue
        try:
            below = open_below(journal, one, made)
            again = derive_delta(journal, below, one.seq).data
        except (CorruptionError, ValueError):
            continue  # what it is on cannot be read either
        # Another version of zstd may make other bytes of the same rows: then no bytes have this name.
        if str(Digest.of(again, algorithm)) == one.digest:
            made[one.digest] = Layer(again)
            if not dry_run:
                backend.write(one.content, again)
            yield Restored(one.content, "the journal")


def _is_damaged(backend: Backend, snapshot: Snapshot) -> bool:
    raw = read_if_possible(backend, snapshot.content)
    return raw is None or str(Digest.of(raw, snapshot.digest.partition(":")[0])) != snapshot.digest


def _written(state: State, digest: str) -> bytes:
    path = scratch()
    try:
        state.write_file(path, digest)
        return path.read_bytes()
    finally:
        path.unlink()
