"""Snapshots: the fold at an entry, published next to the segments. Derived; may be deleted at any time.

A snapshot is trusted only if a fact of the journal, after the snapshot's last entry, vouches for the digest of its
bytes: then a false one is a lie in the audit trail, which `verify` finds. A *pointer* leads from a listing to that fact,
and is written last: a snapshot without one is litter.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from artifactstore.backend.base import Stored
from artifactstore.errors import ArtifactStoreError
from artifactstore.journal.chain import entry_key
from artifactstore.model.facts import Fact, parse_entry
from artifactstore.runtime.records import dataclass

__all__ = ["Snapshot", "content_key", "snapshots_of", "vouching", "worth"]

_KEY: Final = re.compile(r"segments/fold-(\d+)-(\d{12})-(\d{12})-([a-z0-9]+)-([0-9a-f]{64})\.json", re.ASCII)
_ENTRY: Final = 40_000  # bytes of a snapshot that take as long to read as one entry takes to be read, checked and folded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot, as described by its pointer's key.

    Attributes:
        layout: of its tables; layouts other than this version's are skipped.
        seq: its last entry.
        entry: the entry with the fact that vouches for it.
        digest: of its bytes, with the algorithm's name.
        size: in bytes.
    """

    layout: int
    seq: int
    entry: int
    digest: str
    size: int

    @property
    def key(self) -> str:
        """Return its pointer's key."""
        algorithm, _, hexed = self.digest.partition(":")
        return f"segments/fold-{self.layout}-{self.seq:012d}-{self.entry:012d}-{algorithm}-{hexed}.json"

    @property
    def fact(self) -> Fact:
        """Return the fact that vouches for it."""
        return {"fact": "snapshot", "seq": self.seq, "digest": self.digest, "layout": self.layout, "size": self.size}


def content_key(digest: str) -> str:
    """Return the key of a snapshot's bytes."""
    return f"segments/folds/{digest.partition(':')[2]}.sqlite"


def snapshots_of(items: Iterable[Stored], layout: int) -> list[Snapshot]:
    """Return the snapshots of a layout in a listing, newest first."""
    listed = {item.key: item.size for item in items}
    found: list[Snapshot] = []
    for key in listed:
        match = _KEY.fullmatch(key)
        if match is not None and int(match[1]) == layout:
            digest = f"{match[4]}:{match[5]}"
            size = listed.get(content_key(digest))
            if size is not None:
                found.append(Snapshot(layout, int(match[2]), int(match[3]), digest, size))
    return sorted(found, key=lambda one: -one.seq)


def worth(snapshots: Iterable[Snapshot], head: int) -> Iterator[Snapshot]:
    """Yield those that are faster to read than the entries that they replace."""
    yield from (one for one in snapshots if (one.seq - head) * _ENTRY > one.size)


def vouching(snapshot: Snapshot, raw: bytes) -> bool:
    """Whether an entry has the fact that a snapshot's pointer refers to. The fold decides later whether that has effect."""
    try:
        entry = parse_entry(raw, entry_key(snapshot.entry))
    except ArtifactStoreError:
        return False
    wanted = snapshot.fact.items()
    return any(wanted <= fact.items() for txn in entry["txns"] for fact in txn["facts"] if fact["fact"] == "snapshot")
