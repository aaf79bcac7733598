"""Replicate: a store copied byte for byte to another place, kept up with, moved there, released (PROTOCOL 13).

The order is what makes a kill harmless: the target names the head that it copies up to, then comes `store.json`, then packs,
manifests and facts, then the entries in order, each created exclusively. This room knows two places and one chain; it
must never know how a place is opened.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import xxhash

from artifactstore.backend.base import MAX_WRITE, Backend
from artifactstore.backend.pool import Pool
from artifactstore.catalog.state import State, Void
from artifactstore.content.manifest import manifest_key
from artifactstore.content.pack import pack_key, read_records
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    ConflictError,
    CorruptionError,
    NotFoundError,
    RefusedError,
)
from artifactstore.journal.append import Appender, Patience
from artifactstore.journal.chain import entry_key, facts_key, previous_of
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import Standing, end_key, mark_body, read_standing, target_key
from artifactstore.maintenance.sync import SyncReport
from artifactstore.model.digest import Digest

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = [
    "Objects",
    "Watch",
    "check_pack",
    "choose",
    "ensure",
    "is_empty",
    "move",
    "read_checked",
    "release",
    "replicate",
    "snapshot",
]

Watch = Callable[[str, int], Callable[[int], None]]  # (what is done, bytes in all) → told how many more bytes are done
CONFIG: Final = "store.json"
_MOVES: Final = 100  # times that writers at the old place may come between the last entry copied and the move
_WORKERS: Final = 8  # objects in flight: each at most 64 MiB
_FEW: Final = 16  # objects: so many are asked for one by one, for more a listing is cheaper
_sleep = time.sleep


@dataclass(slots=True)
class Objects:
    """What has to lie at a place before its entries may name it.

    Attributes:
        digests: key → digest, of manifests and facts.
        packs: keys.
        gone: manifests that some of the entries name and a later one condemned: they need not be there.
    """

    digests: dict[str, str] = field(default_factory=dict)
    packs: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        return iter([*self.packs, *self.digests])


def choose(entries: "Iterable[Entry]", state: State) -> Objects:
    """Choose what entries need that nothing up to the state's head condemned. A pure function."""
    found, packs = Objects(), dict[str, None]()
    for entry in entries:
        for txn in entry["txns"]:
            if "spilled" in txn:
                found.digests[facts_key(txn["spilled"]["id"])] = txn["spilled"]["digest"]
            for fact in txn["facts"]:
                one = fact["manifest"] if fact["fact"] == "stored" else fact["to"] if fact["fact"] == "relocated" else None
                if one is None or one not in state.manifests:
                    continue  # of a transaction without effect: nothing ever reads it
                if one in state.condemned_manifests:
                    found.gone.append(one)
                    continue
                _, digest, used = state.manifests[one]
                found.digests[manifest_key(one)] = digest
                packs |= dict.fromkeys(pack_key(pack) for pack in used if pack not in state.condemned_packs)
    found.packs = list(packs)
    return found


def snapshot(journal: Journal, after: int) -> tuple[int, Digest, Objects]:
    """Catch up; return the last entry to be copied, its digest, and what the entries behind `after` need.

    All three belong to one state: an object that is left out was condemned by an entry that is copied too.
    """
    while True:
        journal.catch_up()
        with journal.lock:
            last = journal.fold.end
        if last <= after:
            return last, digest_at(journal, last), Objects()
        entries = list(journal.entries(after + 1, last))
        with journal.lock:
            state: State = journal.fold
            if state.marks["condemned"] <= last:
                return last, digest_at(journal, last), choose(entries, state)


def digest_at(journal: Journal, seq: int) -> Digest:
    """Return the digest of an entry's bytes as stored; entry 0 is `store.json`."""
    with journal.lock:
        if seq == journal.head:
            return journal.digest
    algorithm = journal.config.digest
    return Digest.of(journal.backend.read(entry_key(seq)) if seq else journal.config.raw, algorithm)


def ensure(backend: Backend, key: str, raw: bytes) -> bool:
    """Create an object exclusively, however often that takes; False if something is there already.

    Sending the same bytes again after a lost reply is no overwrite.

    Raises:
        BackendError: the place failed for `$ARTIFACTSTORE_RETRY_SECONDS`.
    """
    patience = Patience(_sleep)
    while True:
        try:
            if len(raw) > MAX_WRITE:
                backend.write(key, [raw[at : at + MAX_WRITE] for at in range(0, len(raw), MAX_WRITE)])
            else:
                backend.create(key, raw)
        except AlreadyExistsError:
            return False
        except BackendError as error:
            if not patience.again(error):
                raise
        else:
            return True


def check_pack(raw: bytes, key: str) -> None:
    """Check every frame of a whole pack against its checksum.

    Raises:
        CorruptionError: it is damaged.
    """
    try:
        frames = read_records(raw, len(raw), key)
    except LookupError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        raise CorruptionError(f"{key} is damaged: its footer is longer than it is", location=key) from error
    view = memoryview(raw)
    for frame in frames:
        if xxhash.xxh3_64_intdigest(view[frame.offset : frame.offset + frame.stored]) != frame.checksum:
            where = f"{key} at {frame.offset}"
            raise CorruptionError(
                f"{where}: the frame does not match its checksum: damaged objects are not copied; restore it from a copy of the store",
                location=where,
            )


def read_checked(backend: Backend, key: str, digest: str | None, algorithm: str) -> bytes:
    """Read an object whole and check it: a pack (no digest) against its frames' checksums, others against their digest.

    Raises:
        NotFoundError: it is not there.
        CorruptionError: it is damaged.
    """
    raw = backend.read(key)
    if digest is None:
        check_pack(raw, key)
    elif str(Digest.of(raw, algorithm)) != digest:
        raise CorruptionError(
            f"{key} in {backend.url} does not match its digest in the journal: damaged objects are not copied; restore it from a copy",
            digest=digest,
            location=key,
        )
    return raw


# -- copying


def replicate(
    source: Journal, target: Backend, copy: Journal | None, *, watch: Watch, done: SyncReport, dry_run: bool = False
) -> int:
    """Bring a copy up to the source's head; run again, it copies what is new. Returns the last entry that both have.

    Args:
        source: what is copied.
        target: where to.
        copy: the journal there, or None where `store.json` is not there yet.
        watch: told of progress.
        done: counted up.
        dry_run: only count.

    Raises:
        ConflictError: neither side is a prefix of the other; or another store appeared there.
        RefusedError: the source is itself unfinished; the target has moved away; or it is written to on its own and lacks
            what clean-up took at the source.
        CorruptionError: the source lacks or damaged what it should have: everything else was copied, no entry was.
    """
    source.catch_up()
    after = 0
    if copy is not None:
        copy.catch_up()
        with copy.lock:
            after, moved = copy.fold.end, copy.fold.marks["moved_to"]
        with source.lock:
            end = source.fold.end
        check_prefix(source, copy, min(after, end))
        if after >= end:
            done.head = end
            return int(end)
        if moved is not None:
            raise RefusedError(
                f"{target.url} has moved to {moved} and takes no more entries: copy into an empty place, or to where it moved"
            )
    return _Copy(source, target, fresh=copy is None, watch=watch, done=done, dry_run=dry_run).run(after)


def check_prefix(source: Journal, copy: Journal, common: int) -> None:
    """Check that two journals of one store are the same up to an entry.

    Raises:
        ConflictError: names the first entry in which they differ, and both digests.
    """
    low, high = 0, common  # equal up to low - 1, different at high if anywhere: the chain makes one look enough
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
    what = f"entry {low}" if low else CONFIG
    raise ConflictError(
        f"{source.backend.url} and {copy.backend.url} are the same store with two histories: {what} is the first that differs "
        f"({ours} and {theirs}). Nothing was copied: keep one of them, and bring over what the other has under other "
        "names by importing it into a new store"
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
        self._check_source()
        standing = read_standing(self._target, self._store)
        if self._dry:
            return self._estimate(after)
        last, digest, objects = snapshot(self._source, after)
        while True:
            if self._fresh or not standing.writable:
                standing = self._name(standing, last, digest)
            self._refuse_gaps(standing, objects)
            if self._fresh:
                self._create_config()
            missing = self._copy_objects(objects)
            if not missing:
                break
            # Perhaps clean-up took them since: then the entry that says so must be copied too, and the target waits for it.
            last, digest, objects = snapshot(self._source, after)
            if lost := [key for key in missing if key in {*objects}]:
                raise CorruptionError(
                    f"{self._source.backend.url} lacks {', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}, and its journal says that "
                    "it should be there. All else was copied, and no entry: repair the source, then run sync again",
                    location=lost[0],
                )
        if objects.gone:
            self._refuse_gaps(read_standing(self._target, self._store), objects)
        self._copy_entries(after + 1, last, digest)
        self._done.head = last
        return last

    def _check_source(self) -> None:
        standing = read_standing(self._source.backend, self._store)
        if not standing.reached(self._source.head):
            assert standing.target is not None  # else it is reached
            raise RefusedError(
                f"{self._source.backend.url} is a copy that is not finished (entry {self._source.head} of {standing.target[0]}): "
                "finish it from where it comes first"
            )

    def _estimate(self, after: int) -> int:
        last, _, objects = snapshot(self._source, after)
        sizes = _sizes(self._source.backend)
        there = {} if self._fresh else _sizes(self._target)
        todo = [key for key in objects if key not in there]
        self._done.objects += len(todo)
        self._done.bytes += sum(sizes.get(key, 0) for key in todo)
        for _, raw in self._source.raw_entries(after + 1, last):
            self._done.entries += 1
            self._done.bytes += len(raw)
        self._done.head = last
        return last

    def _name(self, standing: Standing, last: int, digest: Digest) -> Standing:
        """Name the head that the target copies up to; a lower one named before stays beside it."""
        if standing.target is None or standing.target[0] < last:
            ensure(self._target, target_key(last, digest), mark_body(self._store, last, digest))
        elif standing.target[0] == last and standing.target[1] != digest.hex:
            raise ConflictError(
                f"{self._target.url} is being copied from another history of this store, whose entry {last} is "
                f"{self._algorithm}:{standing.target[1]} and not {digest}: copy into an empty place"
            )
        return read_standing(self._target, self._store)

    def _refuse_gaps(self, standing: Standing, objects: Objects) -> None:
        if objects.gone and standing.writable:
            raise RefusedError(
                f"{self._target.url} is written to on its own, and clean-up has taken {len(objects.gone)} manifests at "
                f"{self._source.backend.url} that entries in between name: copy into an empty place"
            )

    def _create_config(self) -> None:
        raw = self._source.config.raw
        if not ensure(self._target, CONFIG, raw) and self._target.read(CONFIG) != raw:
            raise ConflictError(f"another store appeared at {self._target.url} meanwhile: copy into an empty place")
        self._fresh = False

    # -- objects

    def _copy_objects(self, objects: Objects) -> list[str]:
        """Copy what is not there; returns what the source lacks."""
        keys = list(objects)
        if not keys:
            return []
        few = len(keys) <= _FEW
        there = {} if few else _sizes(self._target)
        sizes = {} if few else _sizes(self._source.backend)
        progress = self._watch("sync", sum(sizes.get(key, 0) for key in keys if key not in there))
        failed: list[BaseException] = []

        def one(key: str) -> str | None:
            if failed or key in there or (few and _is_there(self._target, key)):
                return None
            try:
                raw = read_checked(self._source.backend, key, objects.digests.get(key), self._algorithm)
            except NotFoundError:
                return key
            except ArtifactStoreError as error:
                failed.append(error)
                raise
            try:
                made = ensure(self._target, key, raw)
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
            return None

        workers = min(_WORKERS, max(self._source.backend.concurrency, self._target.concurrency))
        with Pool(max(1, workers)) as pool:
            return [key for key in pool.map(one, keys) if key is not None]

    # -- entries

    def _copy_entries(self, first: int, last: int, digest: Digest) -> None:
        previous = digest_at(self._source, first - 1)
        for seq, raw in self._source.raw_entries(first, last):
            if previous_of(raw) != str(previous):
                raise CorruptionError(f"{entry_key(seq)} does not follow the entry before it", location=entry_key(seq))
            previous = Digest.of(raw, self._algorithm)
            if seq == last and previous != digest:
                raise CorruptionError(f"{entry_key(seq)} is not what was named: it was changed", location=entry_key(seq))
            if ensure(self._target, entry_key(seq), raw):
                self._done.entries += 1
                self._done.bytes += len(raw)
            elif (found := self._target.read(entry_key(seq))) != raw:
                raise ConflictError(
                    f"{self._source.backend.url} and {self._target.url} are the same store with two histories: entry {seq} is the first "
                    f"that differs ({previous} and {Digest.of(found, self._algorithm)}); somebody wrote at the target meanwhile"
                )


def _sizes(backend: Backend) -> Mapping[str, int]:
    if not backend.listable:
        return {}  # only an estimate is lost: a target can always be listed
    return {item.key: item.size for prefix in ("packs/", "manifests/", "facts/") for item in backend.list(prefix)}


def _is_there(backend: Backend, key: str) -> bool:
    try:
        backend.size(key)
    except NotFoundError:
        return False
    return True


# -- moving and releasing


class _LaterError(Exception):
    """Somebody appended in between: copy that too, and try again."""


def move(
    source: Journal,
    appender: Appender,
    target: Backend,
    reopen: Callable[[], Journal | None],
    *,
    watch: Watch,
    done: SyncReport,
    reason: str | None = None,
) -> None:
    """Move a store: copy it, close the old place by `moved_to` right behind the last entry copied, release the new one.

    Killed at any point and run again it ends well: until the old place is closed the new one is not released, and
    who closes it knows that the new one has all.

    Raises:
        RefusedError: the store has moved elsewhere.
        ConflictError: writers never let the copy catch up.
        OutcomeUnknownError: the closing entry was sent and no answer came: run it again.
    """
    # In this order: a target that was released by another run of this move is seen together with what closed the old place.
    writable = (copy := reopen()) is not None and read_standing(target, copy.config.store).writable
    source.catch_up()
    with source.lock:
        moved = source.fold.marks["moved_to"]
    _check_moved(source, moved, target)
    if writable and moved is None:
        raise RefusedError(f"{target.url} is written to on its own: a move goes into an empty place, or into a copy made by sync")
    for _ in range(_MOVES):
        head = replicate(source, target, reopen(), watch=watch, done=done)
        with source.lock:
            moved = source.fold.marks["moved_to"]
        if moved is None:
            try:
                fact: dict[str, Any] = {"fact": "moved_to", "url": target.url}
                appender.commit([fact], birth=head, alive_at=head, refuse=_later, reason=reason)
            except _LaterError:
                continue
        _check_moved(source, moved, target)
        copy = reopen()
        assert copy is not None  # it was copied a moment ago
        done.moved = True
        done.released = release(copy)
        return
    raise ConflictError(
        f"{_MOVES} times somebody appended to {source.backend.url} while it was being moved: it goes on as before, and "
        f"{target.url} is a copy of it; stop the writers and run the move again"
    )


def _check_moved(source: Journal, moved: str | None, target: Backend) -> None:
    if moved is not None and moved != target.url:
        raise RefusedError(f"{source.backend.url} has moved to {moved}: move on from there, not from here")


def _later(void: Void) -> Exception:
    return _LaterError(str(void))


def release(copy: Journal) -> bool:
    """Let a copy be written to, once and for ever; False if it may be already.

    Raises:
        RefusedError: it has not all that it named.
        ConflictError: it named the head of another history.
    """
    backend, store = copy.backend, copy.config.store
    standing = read_standing(backend, store)
    head = copy.catch_up()
    if standing.writable:
        return False
    assert standing.target is not None  # else it is writable
    if not standing.reached(head):
        raise RefusedError(
            f"{backend.url} has entry {head} of {standing.target[0]}: finish the copy before it is released, or import what it has into a new store"
        )
    if digest_at(copy, standing.target[0]).hex != standing.target[1]:
        raise ConflictError(
            f"{backend.url} named entry {standing.target[0]} of another history as its head: copy into an empty place"
        )
    ensure(backend, end_key(head), mark_body(store, head, digest_at(copy, head)))
    return True


def is_empty(backend: Backend) -> bool:
    """Tell whether nothing lies at a place but marks of copies that were begun."""
    return not any(True for item in backend.list("") if not item.key.startswith("replica/"))
