"""Replication: a store copied byte for byte to another location, and kept up to date (docs/reference/protocol.md, rule 13).

The order makes a kill harmless: the target records the head that it copies up to, then comes `store.json`, then packs,
manifests and facts, then the entries in order, each created exclusively. This module knows two backends and one chain; it
must never know how a backend is opened.
"""

from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.errors import ArtifactStoreError, ConflictError, CorruptionError, NotFoundError, RefusedError
from artifactstore.journal.chain import entry_key, previous_of
from artifactstore.journal.heads import format_head
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import ReplicaStatus, mark_body, read_replica_status, target_key
from artifactstore.maintenance.sync.derived_copy import copy_derived
from artifactstore.maintenance.sync.object_copy import (
    Objects,
    check_finished,
    create_with_retries,
    digest_at,
    exists,
    first_needed,
    left_out_reason,
    read_checked,
    sizes,
    snapshot,
)
from artifactstore.maintenance.sync.report import LeftOut, SyncReport, Watch
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY
from artifactstore.runtime.threads import Pool

__all__ = ["check_prefix", "replicate"]

_WORKERS: Final = 8  # objects in flight: each at most 64 MiB
_FEW: Final = 16  # objects: up to here each is looked up, for more a listing is cheaper


def replicate(
    source: Journal, target: Backend, copy: Journal | None, *, watch: Watch, done: SyncReport, dry_run: bool = False
) -> int:
    """Bring a copy up to the source's head; run again, it copies what is new. Returns the last common entry.

    Args:
        source: the journal to copy.
        target: the backend to copy to.
        copy: the target's journal, or None while it has no `store.json`.
        watch: reports progress.
        done: updated with counts.
        dry_run: only count.

    Raises:
        ConflictError: neither history is a prefix of the other; or another store appeared there.
        RefusedError: the source is itself unfinished; the target has moved away; or the target is writable on its own and lacks
            what clean-up removed at the source.
        CorruptionError: objects of the source are missing or damaged: everything else was copied, but no entry.
    """
    source.catch_up()
    after = 0
    if copy is not None:
        copy.catch_up()
        with copy.lock:
            after, moved = copy.fold.end, copy.fold.header["moved_to"]
        with source.lock:
            end = source.fold.end
        check_prefix(source, copy, min(after, end))
        if after >= end:
            done.head = format_head(end, digest_at(source, end))
            if after == end and not dry_run:
                copy_derived(source, target, end, done=done)
            return int(end)
        if moved is not None:
            raise RefusedError(
                f"{target.url} has moved to {moved} and accepts no more entries: copy to an empty location, or to {moved}"
            )
    return _Copy(source, target, fresh=copy is None, watch=watch, done=done, dry_run=dry_run).run(after)


def check_prefix(source: Journal, copy: Journal, common: int) -> None:
    """Check that two journals of one store are equal up to an entry.

    Raises:
        ConflictError: reports the first entry in which they differ, and both digests.
    """
    low, high = 0, common  # equal up to low - 1, different at high if anywhere: by the chain, one comparison is enough
    ours, theirs = digest_at(source, high), digest_at(copy, high)
    if ours == theirs:
        return
    while low < high:
        middle = (low + high) // 2
        if digest_at(source, middle) == digest_at(copy, middle):
            low = middle + 1
        else:
            high = middle
    ours, theirs = digest_at(source, low), digest_at(copy, low)
    what = f"entry {low}" if low else CONFIG_KEY
    raise ConflictError(
        f"{source.backend.url} and {copy.backend.url} are the same store with two histories: {what} is the first that differs "
        f"({ours} and {theirs}). Nothing was copied: keep one of them, and import the content of the other into a "
        "new store, under other names"
    )


class _Copy:
    """One run of a copy."""

    def __init__(self, source: Journal, target: Backend, *, fresh: bool, watch: Watch, done: SyncReport, dry_run: bool) -> None:
        self._source = source
        self._target = target
        self._fresh = fresh
        self._watch = watch
        self._done = done
        self._dry = dry_run
        self._store = source.config.store
        self._algorithm = source.config.digest

    def run(self, after: int) -> int:
        check_finished(self._source)
        status = read_replica_status(self._target, self._store)
        if self._dry:
            return self._estimate(after)
        last, digest, objects = snapshot(self._source, after)
        while True:
            if self._fresh or not status.writable:
                status = self._name(status, last, digest)
            self._refuse_gaps(status, objects)
            if self._fresh:
                self._create_config()
            missing = self._copy_objects(objects)
            if not missing:
                break
            # Clean-up may have removed them since: then the entry that condemns them must be copied too, and the target waits for it.
            last, digest, objects = snapshot(self._source, after)
            wanted = {*objects}
            lost = {key: error for key, error in missing.items() if key in wanted}
            if lost and (key := first_needed(self._source, lost)) is not None:
                if not isinstance(lost[key], NotFoundError):
                    raise lost[key]
                raise CorruptionError(
                    f"{self._source.backend.url} lacks {key}{' and others' if len(lost) > 1 else ''}, although its journal refers to "
                    "it. Everything else was copied, but no entry: repair the source, then run sync again",
                    location=key,
                )
            if len(lost) == len(missing):
                self._done.left_out += [LeftOut(key, left_out_reason(error)) for key, error in sorted(lost.items())]
                break
        if objects.gone:
            self._refuse_gaps(read_replica_status(self._target, self._store), objects)
        self._copy_entries(after + 1, last, digest)
        copy_derived(self._source, self._target, last, done=self._done)
        self._done.head = format_head(last, digest)
        return last

    def _estimate(self, after: int) -> int:
        last, digest, objects = snapshot(self._source, after)
        amounts = sizes(self._source.backend)
        there = {} if self._fresh else sizes(self._target)
        todo = [key for key in objects if key not in there]
        self._done.objects += len(todo)
        self._done.bytes += sum(amounts.get(key, 0) for key in todo)
        for _, raw in self._source.raw_entries(after + 1, last):
            self._done.entries += 1
            self._done.bytes += len(raw)
        self._done.head = format_head(last, digest)
        return last

    def _name(self, status: ReplicaStatus, last: int, digest: Digest) -> ReplicaStatus:
        """Record the head that the target copies up to; a lower one recorded before stays."""
        if status.target is None or status.target[0] < last:
            create_with_retries(self._target, target_key(last, digest), mark_body(self._store, last, digest))
        elif status.target[0] == last and status.target[1] != digest.hex:
            raise ConflictError(
                f"{self._target.url} is being copied from another history of this store, whose entry {last} is "
                f"{self._algorithm}:{status.target[1]} and not {digest}: copy to an empty location"
            )
        return read_replica_status(self._target, self._store)

    def _refuse_gaps(self, status: ReplicaStatus, objects: Objects) -> None:
        if objects.gone and status.writable:
            raise RefusedError(
                f"{self._target.url} is writable on its own, and clean-up at {self._source.backend.url} has removed {len(objects.gone)} "
                f"manifests that entries in between refer to: copy to an empty location"
            )

    def _create_config(self) -> None:
        raw = self._source.config.raw
        if not create_with_retries(self._target, CONFIG_KEY, raw) and self._target.read(CONFIG_KEY) != raw:
            raise ConflictError(f"another store appeared at {self._target.url} meanwhile: copy to an empty location")
        self._fresh = False

    # -- objects

    def _copy_objects(self, objects: Objects) -> dict[str, ArtifactStoreError]:
        """Copy missing objects; return what is missing or damaged at the source."""
        keys = list(objects)
        if not keys:
            return {}
        few = len(keys) <= _FEW
        there = {} if few else sizes(self._target)
        amounts = {} if few else sizes(self._source.backend)
        progress = self._watch("sync", sum(amounts.get(key, 0) for key in keys if key not in there))
        failed: list[BaseException] = []

        lost: dict[str, ArtifactStoreError] = {}

        def one(key: str) -> None:
            if failed or key in there or (few and exists(self._target, key)):
                return
            try:
                raw = read_checked(self._source.backend, key, objects.digests.get(key), self._algorithm)
            except (CorruptionError, NotFoundError) as error:
                lost[key] = error
                return
            except ArtifactStoreError as error:
                failed.append(error)
                raise
            try:
                made = create_with_retries(self._target, key, raw)
                if not made and self._target.size(key) != len(raw):
                    raise CorruptionError(
                        f"{key} in {self._target.url} has another size than in {self._source.backend.url}: one of them is damaged",
                        location=key,
                    )
            except ArtifactStoreError as error:
                failed.append(error)
                raise
            self._done.objects += made
            self._done.bytes += len(raw) if made else 0
            progress(len(raw))

        workers = min(_WORKERS, max(self._source.backend.concurrency, self._target.concurrency))
        with Pool(max(1, workers)) as pool:
            list(pool.map(one, keys))
        return lost

    # -- entries

    def _copy_entries(self, first: int, last: int, digest: Digest) -> None:
        previous = digest_at(self._source, first - 1)
        for seq, raw in self._source.raw_entries(first, last):
            if previous_of(raw) != str(previous):
                raise CorruptionError(f"{entry_key(seq)} does not follow the entry before it", location=entry_key(seq))
            previous = Digest.of(raw, self._algorithm)
            if seq == last and previous != digest:
                raise CorruptionError(f"{entry_key(seq)} has changed since its digest was recorded", location=entry_key(seq))
            if create_with_retries(self._target, entry_key(seq), raw):
                self._done.entries += 1
                self._done.bytes += len(raw)
            elif (found := self._target.read(entry_key(seq))) != raw:
                raise ConflictError(
                    f"{self._source.backend.url} and {self._target.url} are the same store with two histories: entry {seq} is the first "
                    f"that differs ({previous} and {Digest.of(found, self._algorithm)}); another process wrote to the target meanwhile"
                )
