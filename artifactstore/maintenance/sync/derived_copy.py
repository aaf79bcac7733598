"""Copies of what is derived from the journal: segments, and the snapshots for which it vouches, so that a copy opens as fast as its source.

Written after the entries, checked as readers check it, and never needed: what cannot be copied is left to the next sync.
"""

from collections.abc import Iterable
from contextlib import suppress

from artifactstore.backend.base import Backend, Stored
from artifactstore.catalog.fold.state import State
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import Segment, choose, list_derived, read_raw, segments_of
from artifactstore.journal.snapshots import Snapshot, published, snapshots_of
from artifactstore.maintenance.snapshot import copy_snapshot
from artifactstore.maintenance.sync.object_copy import digest_at
from artifactstore.maintenance.sync.report import SyncReport

__all__ = ["copy_derived"]


def copy_derived(source: Journal, target: Backend, last: int, *, done: SyncReport) -> None:
    """Copy segments, and the newest snapshot with all that it is on; a failure leaves the copy as it is.

    Args:
        source: the journal that was copied.
        target: the backend of the copy, which has its entries.
        last: the last entry of the copy.
        done: updated with the bytes written.
    """
    with suppress(ArtifactStoreError, OSError):
        derived = list_derived(source.backend)
        if not derived:
            return
        there = {item.key for item in list_derived(target)}
        for segment in choose([one for one in segments_of(derived) if one.last < last], 0):
            if segment.key not in there:
                done.bytes += _copy_segment(source, target, segment)
        for one in _newest(source, derived, last):
            if one.key not in there:
                done.bytes += copy_snapshot(source.backend, target, source.config.digest, one, written=one.content in there)


def _newest(source: Journal, derived: Iterable[Stored], last: int) -> tuple[Snapshot, ...]:
    """Return the newest snapshot that the copied entries vouch for, after what it is on."""
    listed = published(derived, State.LAYOUT)
    with source.lock:
        false = {one.key for one in listed if one.entry > last or not source.fold.vouches(one.digest, one.seq)}
    found = snapshots_of(derived, State.LAYOUT, false)
    return found[0].members if found else ()


def _copy_segment(source: Journal, target: Backend, segment: Segment) -> int:
    data = source.backend.read(segment.key)
    if digest_at(source, segment.last).hex != segment.digest or read_raw(data, segment, None) is None:
        return 0  # damaged, or of another history: readers would pass it over
    with suppress(AlreadyExistsError):
        target.create(segment.key, data)
    return len(data)
