"""Checked copies of single objects, and the selection of the objects that a range of entries needs.

Shared by replicas and bundles. This module knows backends and one chain; it must never know how a backend is opened.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xxhash

from artifactstore.backend.base import MAX_WRITE, Backend
from artifactstore.backend.buffers import writable
from artifactstore.backend.wrappers.retry_policy import retried
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key, read_records
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    CorruptionError,
    NotFoundError,
    RefusedError,
)
from artifactstore.journal.chain import entry_key, facts_key, join
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import PREFIX, read_replica_status
from artifactstore.model.digest import Digest

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = [
    "Objects",
    "check_finished",
    "check_pack",
    "create_with_retries",
    "decoded_entries",
    "digest_at",
    "exists",
    "first_needed",
    "is_empty",
    "left_out_reason",
    "read_checked",
    "select_objects",
    "sizes",
    "snapshot",
]

_sleep = time.sleep


@dataclass(slots=True)
class Objects:
    """The objects that must exist at a backend before its entries may refer to them.

    Attributes:
        digests: key → digest, of manifests and facts.
        packs: keys.
        gone: manifests that some of the entries refer to and a later one condemned: they may be missing.
    """

    digests: dict[str, str] = field(default_factory=dict)
    packs: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        return iter([*self.packs, *self.digests])


def select_objects(entries: "Iterable[Entry]", state: State) -> Objects:
    """Select what entries need that nothing up to the state's head condemned. A pure function."""
    found, packs = Objects(), dict[str, None]()
    for entry in entries:
        for txn in entry["txns"]:
            if "spilled" in txn:
                found.digests[facts_key(txn["spilled"]["id"])] = txn["spilled"]["digest"]
            for fact in txn["facts"]:
                one = fact["manifest"] if fact["fact"] == "stored" else fact["to"] if fact["fact"] == "relocated" else None
                if one is None or one not in state.manifests:
                    continue  # of a transaction without effect: never read
                if one in state.condemned_manifests:
                    found.gone.append(one)
                    continue
                _, digest, used = state.manifests[one]
                found.digests[manifest_key(one)] = digest
                packs |= dict.fromkeys(pack_key(pack) for pack in used if pack not in state.condemned_packs)
    found.packs = list(packs)
    return found


def snapshot(journal: Journal, after: int) -> tuple[int, Digest, Objects]:
    """Catch up; return the last entry to copy, its digest, and the objects that the entries after `after` need.

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
            if state.header["condemned"] <= last:
                return last, digest_at(journal, last), select_objects(entries, state)


def digest_at(journal: Journal, seq: int) -> Digest:
    """Return the digest of an entry's stored bytes; entry 0 is `store.json`."""
    with journal.lock:
        if seq == journal.head:
            return journal.digest
    algorithm = journal.config.digest
    return Digest.of(journal.backend.read(entry_key(seq)) if seq else journal.config.raw, algorithm)


def decoded_entries(journal: Journal, last: int) -> "Iterator[tuple[Entry, Digest]]":
    """Yield the entries of a journal up to `last`, decoded and complete, each with the digest of its bytes.

    Raises:
        CorruptionError: the chain is broken.
    """
    previous = Digest.of(journal.config.raw, journal.config.digest)
    for seq, raw in journal.raw_entries(1, last):
        entry = join(raw, seq, previous)
        previous = Digest.of(raw, journal.config.digest)
        yield journal.complete(entry), previous


def first_needed(journal: Journal, lost: Iterable[str]) -> str | None:
    """Return the first of some lost objects that a version needs to be complete, or None.

    A manifest or pack to which only an unused `stored` fact refers (a false one, or one whose content another manifest
    has) must not keep everything else from being copied. A pure function of the journal's state.

    Args:
        journal: at its head.
        lost: keys of missing or damaged objects; all of them, since one may replace another.
    """
    gone = dict.fromkeys(lost)
    unnamed_for = set(gone)
    with journal.lock:
        state: State = journal.fold
        for digest, holders in state.holders.items():
            keys = {one: [manifest_key(one), *map(pack_key, state.manifests[one][2])] for one in holders}
            lacking = [key for one in holders for key in keys[one] if key in gone]
            if not lacking:
                continue
            unnamed_for.difference_update(lacking)
            complete = any(not gone.keys() & keys[one] for one in holders)
            if not complete and (digest in state.versions_by_digest or digest in state.unnamed):
                return lacking[0]
    return min(unnamed_for, default=None)


def left_out_reason(error: ArtifactStoreError) -> str:
    """Return why an object that no version needs was not copied."""
    what = "is missing" if isinstance(error, NotFoundError) else str(error)
    return f"{what}; no version needs it, so everything else was copied: `artifactstore verify` shows the entry that refers to it"


def create_with_retries(backend: Backend, key: str, raw: bytes) -> bool:
    """Create an object exclusively, with as many tries as it takes; False if the key exists already.

    Sending the same bytes again after a lost reply is not an overwrite.

    Raises:
        BackendError: the backend failed for `$ARTIFACTSTORE_RETRY_SECONDS`.
    """
    send = backend.create if len(raw) <= MAX_WRITE else lambda key, raw: backend.write(key, writable(raw))
    try:
        retried(lambda: send(key, raw), sleep=_sleep)
    except AlreadyExistsError:
        return False
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
        raise CorruptionError(f"{key} is damaged: its footer is longer than the object", location=key) from error
    view = memoryview(raw)
    for frame in frames:
        if xxhash.xxh3_64_intdigest(view[frame.offset : frame.offset + frame.stored]) != frame.checksum:
            where = f"{key} at {frame.offset}"
            raise CorruptionError(
                f"{where}: the frame does not match its checksum: damaged objects are not copied; restore it from a copy of the store",
                location=where,
            )


def read_checked(backend: Backend, key: str, digest: str | None, algorithm: str) -> bytes:
    """Read a whole object and check it: a pack (no digest) against its frames' checksums, others against their digest.

    Raises:
        NotFoundError: it does not exist.
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


def sizes(backend: Backend) -> Mapping[str, int]:
    """Return the sizes of all packs, manifests and facts of a backend."""
    if not backend.listable:
        return {}  # only an estimate is lost: a target can always be listed
    return {item.key: item.size for prefix in ("packs/", "manifests/", "facts/") for item in backend.list(prefix)}


def exists(backend: Backend, key: str) -> bool:
    """Whether an object exists."""
    try:
        backend.size(key)
    except NotFoundError:
        return False
    return True


def is_empty(backend: Backend) -> bool:
    """Whether a backend contains nothing except marks of unfinished copies."""
    return not any(True for item in backend.list("") if not item.key.startswith(PREFIX))


def check_finished(journal: Journal) -> None:
    """Refuse to copy from a store that is itself an unfinished copy.

    Raises:
        RefusedError: it lacks entries up to its target head.
    """
    status = read_replica_status(journal.backend, journal.config.store)
    if not status.reached(journal.head):
        assert status.target is not None  # else the head is reached
        raise RefusedError(
            f"{journal.backend.url} is a copy that is not finished (entry {journal.head} of {status.target[0]}): "
            "finish it from its source first"
        )
