"""Snapshots: the fold as it was at an entry, published beside the segments. Derived; may be deleted at any time.

A snapshot is believed only if a fact of the journal, behind the entry that it ends with, vouches for the digest of its
bytes: then a false one is a lie in the audit trail, which `verify` finds. A *pointer* leads from a listing to that fact,
and is written last: what has none is litter.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from artifactstore.backend.base import Stored
from artifactstore.errors import ArtifactStoreError
from artifactstore.journal.chain import entry_key
from artifactstore.model.facts import Fact, parse_entry

__all__ = ["Snapshot", "content_key", "snapshots_of", "vouching", "worth"]

_KEY: Final = re.compile(r"segments/fold-(\d+)-(\d{12})-(\d{12})-([a-z0-9]+)-([0-9a-f]{64})\.json", re.ASCII)
_ENTRY: Final = 40_000  # bytes of a snapshot that are read in the time that one entry takes to be read, checked and folded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot by the key of its pointer.

    Attributes:
        layout: of its tables; what has another one than this version's is passed over.
        seq: the entry that it ends with.
        entry: the entry with the fact that vouches for it.
        digest: of its bytes, with the algorithm's name.
        size: its bytes.
    """

    layout: int
    seq: int
    entry: int
    digest: str
    size: int

    @property
    def key(self) -> str:
        """Where its pointer lies."""
        algorithm, _, hexed = self.digest.partition(":")
        return f"segments/fold-{self.layout}-{self.seq:012d}-{self.entry:012d}-{algorithm}-{hexed}.json"

    @property
    def fact(self) -> Fact:
        """What vouches for it."""
        return {"fact": "snapshot", "seq": self.seq, "digest": self.digest, "layout": self.layout, "size": self.size}


def content_key(digest: str) -> str:
    """Return where a snapshot's bytes lie."""
    return f"segments/folds/{digest.partition(':')[2]}.sqlite"


def snapshots_of(items: Iterable[Stored], layout: int) -> list[Snapshot]:
    """Return the snapshots of a layout among what was listed, the newest first."""
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
    """Yield those that are read sooner than the entries that they save."""
    yield from (one for one in snapshots if (one.seq - head) * _ENTRY > one.size)


def vouching(snapshot: Snapshot, raw: bytes) -> bool:
    """Tell whether an entry has the fact that a snapshot's pointer speaks of. Whether that has effect, the fold says later."""
    try:
        entry = parse_entry(raw, entry_key(snapshot.entry))
    except ArtifactStoreError:
        return False
    wanted = snapshot.fact.items()
    return any(wanted <= fact.items() for txn in entry["txns"] for fact in txn["facts"] if fact["fact"] == "snapshot")
