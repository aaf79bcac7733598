"""Snapshots: the fold at an entry, published next to the segments. Derived; may be deleted at any time.

Some are whole, others are *deltas*: what the fold has gained since an earlier entry. A delta is opened on the snapshot of
exactly that entry, on which it is; the first delta begins with the journal.

A snapshot is trusted only if a fact of the journal, after the snapshot's last entry, vouches for the digest of its
bytes: then a false one is a lie in the audit trail, which `verify` finds. That holds for each one below a delta, too. A
*pointer* leads from a listing to that fact, and is written last: a snapshot without one is litter.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final

from artifactstore.backend.base import Backend, Stored
from artifactstore.errors import ArtifactStoreError, CorruptionError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.fetch import read_many
from artifactstore.journal.fold import Fold
from artifactstore.model.digest import Digest
from artifactstore.model.facts import Fact, parse_entry
from artifactstore.runtime.records import dataclass

__all__ = ["DELTAS", "Opener", "Snapshot", "begin", "content_key", "delta_key", "published", "snapshots_of", "vouching", "worth"]

DELTAS: Final = "segments/deltas/"
_KEY: Final = re.compile(r"segments/fold-(\d+)-(\d{12})-(\d{12})-([a-z0-9]+)-([0-9a-f]{64})\.json", re.ASCII)
_DELTA: Final = re.compile(r"segments/delta-2-(\d+)-(\d{12})-(\d{12})-(\d{12})-([a-z0-9]+)-([0-9a-f]{64})\.json", re.ASCII)
_ENTRY: Final = 40_000  # bytes of a snapshot that take as long to read as one entry takes to be read, checked and folded
_REQUEST: Final = 2**16  # bytes that take as long as a request
_MEMBERS: Final = 256  # deltas on one another; more are not read
_TRIES: Final = 6  # snapshots to try before the entries are read


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, as described by its pointer's key.

    Attributes:
        layout: of its tables; layouts other than this version's are skipped.
        seq: its last entry.
        entry: the entry with the fact that vouches for it.
        digest: of its bytes, with the algorithm's name.
        size: in bytes.
        since: of a delta: the last entry of what it is on, or 0; None: it is whole.
        below: of a delta: what it is opened on, the oldest first.
    """

    layout: int
    seq: int
    entry: int
    digest: str
    size: int
    since: int | None = None
    below: tuple["Snapshot", ...] = ()

    @property
    def key(self) -> str:
        """Return its pointer's key."""
        algorithm, _, hexed = self.digest.partition(":")
        if self.since is not None:
            return f"segments/delta-2-{self.layout}-{self.since:012d}-{self.seq:012d}-{self.entry:012d}-{algorithm}-{hexed}.json"
        return f"segments/fold-{self.layout}-{self.seq:012d}-{self.entry:012d}-{algorithm}-{hexed}.json"

    @property
    def content(self) -> str:
        """Return the key of its bytes."""
        return content_key(self.digest) if self.since is None else delta_key(self.digest)

    @property
    def fact(self) -> Fact:
        """Return the fact that vouches for it."""
        made = {"fact": "snapshot", "seq": self.seq, "digest": self.digest, "layout": self.layout, "size": self.size}
        return made if self.since is None else {**made, "since": self.since}

    @property
    def members(self) -> tuple["Snapshot", ...]:
        """Return all that is read when it is opened, the oldest first."""
        return (*self.below, self)

    @property
    def cost(self) -> int:
        """Return the bytes that are read when it is opened, and as many as a request costs for each one below."""
        return self.size + sum(one.size + _REQUEST for one in self.below)


Opener = Callable[[Snapshot], tuple[Fold, str] | None]  # the fold, and the digest of its last entry; None: it cannot be used


def content_key(digest: str) -> str:
    """Return the key of a whole snapshot's bytes."""
    return f"segments/folds/{digest.partition(':')[2]}.sqlite"


def delta_key(digest: str) -> str:
    """Return the key of a delta's bytes: earlier versions would take it for litter beside whole snapshots."""
    return f"{DELTAS}{digest.partition(':')[2]}.layer"


def published(items: Iterable[Stored], layout: int) -> list[Snapshot]:
    """Return the snapshots of a layout in a listing, newest first; of deltas also those that are on nothing."""
    listed = {item.key: item.size for item in items}
    found: list[Snapshot] = []
    for key in listed:
        if (match := _KEY.fullmatch(key)) is not None:
            one = Snapshot(int(match[1]), int(match[2]), int(match[3]), f"{match[4]}:{match[5]}", 0)
        elif (match := _DELTA.fullmatch(key)) is not None:
            one = Snapshot(int(match[1]), int(match[3]), int(match[4]), f"{match[5]}:{match[6]}", 0, int(match[2]))
        else:
            continue
        size = listed.get(one.content)
        if one.layout == layout and size is not None and (one.since is None or one.since < one.seq):
            found.append(replace(one, size=size))
    return sorted(found, key=lambda one: (-one.seq, one.since is not None, one.since or 0))


def snapshots_of(items: Iterable[Stored], layout: int, without: Collection[str] = (), *, every: bool = False) -> list[Snapshot]:
    """Return the snapshots of a layout in a listing that can be opened, newest first: deltas with what they are on.

    Args:
        items: the listing.
        layout: the layout.
        without: keys of pointers that are not to be followed.
        every: also return deltas to entries to which others lead with less to read.
    """
    best: dict[int, Snapshot] = {}
    found: list[Snapshot] = []
    for one in reversed(published(items, layout)):
        if one.key in without:
            continue
        base = best.get(one.since) if one.since else None
        if one.since and (base is None or len(base.below) >= _MEMBERS):
            continue
        made = one if base is None else replace(one, below=base.members)
        found.append(made)
        if one.seq not in best or made.cost < best[one.seq].cost:
            best[one.seq] = made
    chosen = [one for one in found if every or one.since is None or best[one.seq] is one]
    return sorted(chosen, key=lambda one: (-one.seq, one.cost))


def worth(snapshots: Iterable[Snapshot], head: int) -> Iterator[Snapshot]:
    """Yield those that are faster to read than the entries that they replace."""
    yield from (one for one in snapshots if (one.seq - head) * _ENTRY > one.cost)


def vouching(snapshot: Snapshot, raw: bytes) -> bool:
    """Whether an entry has the fact that a snapshot's pointer refers to. The fold decides later whether that has effect."""
    try:
        entry = parse_entry(raw, entry_key(snapshot.entry))
    except ArtifactStoreError:
        return False
    wanted = snapshot.fact.items()
    return any(wanted <= fact.items() for txn in entry["txns"] for fact in txn["facts"] if fact["fact"] == "snapshot")


def begin(
    backend: Backend, derived: Iterable[Stored], start: Fold, refused: set[str], *, open_snapshot: Opener, algorithm: str
) -> tuple[Fold, Digest, Snapshot] | None:
    """Open the newest snapshot that the journal vouches for, if that saves time.

    Args:
        backend: the store's.
        derived: the objects derived from the journal.
        start: the fold that there is without it.
        refused: keys of pointers that are not followed; what cannot be believed is added.
        open_snapshot: opens one; raises CorruptionError with the digest of the one that is damaged.
        algorithm: of the store's digests.

    Returns:
        The fold, the digest of its last entry, and the snapshot; None if there is none.
    """
    derived = list(derived)
    for _ in range(_TRIES):
        found = next(worth(snapshots_of(derived, start.LAYOUT, refused), start.head), None)
        if found is None:
            return None
        last, *raws = read_many(backend, [entry_key(found.seq), *(entry_key(one.entry) for one in found.members)])
        bad = [one.key for one, raw in zip(found.members, raws, strict=True) if raw is None or not vouching(one, raw)]
        if last is not None and not bad:
            try:
                opened = open_snapshot(found)
            except CorruptionError as error:
                bad, opened = [one.key for one in found.members if one.digest == error.digest], None
            digest = Digest.of(last, algorithm)
            if opened is not None and opened[0].head == found.seq and opened[1] == str(digest):
                return opened[0], digest, found
        refused.update(bad or [found.key])
    return None
