"""Replica marks: whether a store is a copy in progress, or a copy that waits for its release.

A replica records its target head before anything else, under `replica/<12 digits>-<hex>.json`; the highest
number counts. Until that entry is reached, missing objects are "incomplete", not damage. No process
writes to it before its owner creates `replica/<12 digits>-end.json` at a reached head; a release is for ever. A
store that began on its own never becomes a replica, so one check a session is enough for a writer
(docs/reference/protocol.md, rule 13).
"""

import re
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.errors import CorruptionError, NotFoundError
from artifactstore.journal.fetch import read_or_none
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.runtime.records import dataclass

__all__ = ["PREFIX", "ReplicaStatus", "end_key", "mark_body", "read_replica_status", "target_key"]

PREFIX: Final = "replica/"
_TARGET: Final = re.compile(r"replica/(\d{12})-([0-9a-f]{64})\.json", re.ASCII)
_END: Final = re.compile(r"replica/(\d{12})-end\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """Replica status of a store.

    Attributes:
        target: (number, hex of the digest) of the head that it copies up to, or None for a store of its own.
        released: the entry at which it was released, or None.
    """

    target: tuple[int, str] | None = None
    released: int | None = None

    @property
    def writable(self) -> bool:
        """Whether the store may be written to."""
        return self.target is None or self.released is not None

    def reached(self, head: int) -> bool:
        """Whether the store has everything up to its target head, or is not a replica at all."""
        return self.writable or (self.target is not None and head >= self.target[0])


def target_key(seq: int, digest: Digest) -> str:
    """Return the key that records entry `seq` as a store's target head; entry 0 is `store.json`."""
    return f"{PREFIX}{seq:012d}-{digest.hex}.json"


def end_key(seq: int) -> str:
    """Return the key that releases a store at entry `seq`."""
    return f"{PREFIX}{seq:012d}-end.json"


def mark_body(store: str, seq: int, digest: Digest) -> bytes:
    """Return the body of both marks: the store's id, and the entry."""
    return canonical_json({"format": 1, "store": store, "seq": seq, "entry": str(digest)})


def read_replica_status(backend: Backend, store: str) -> ReplicaStatus:
    """Read a store's replica marks: one listing where there are none.

    A backend without listings shows no marks; it is read-only anyway. Marks of another store's id were left by a copy that lost the race for an empty location: they are ignored.

    Raises:
        CorruptionError: a mark cannot be read.
        BackendError: the backend did not reply.
    """
    targets: list[tuple[int, str, str]] = []
    ends: list[tuple[int, str]] = []
    for item in backend.list(PREFIX) if backend.listable else ():
        if (match := _TARGET.fullmatch(item.key)) is not None:
            targets.append((int(match[1]), match[2], item.key))
        elif (match := _END.fullmatch(item.key)) is not None:
            ends.append((int(match[1]), item.key))
    target = next(((seq, digest) for seq, digest, key in sorted(targets, reverse=True) if _store_of(backend, key) == store), None)
    end = next((seq for seq, key in sorted(ends, reverse=True) if _store_of(backend, key) == store), None)
    return ReplicaStatus(target, end)


def _store_of(backend: Backend, key: str) -> str | None:
    try:
        raw = read_or_none(backend, key)
        found = parse_json(raw, key) if raw is not None else None
        return str(found["store"])  # type: ignore[index]
    except NotFoundError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{key} is not a valid replica mark: restore it from a copy of the store", location=key) from error
