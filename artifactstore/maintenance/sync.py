"""Sync: what one run did, or would do; the words that replicas and moves share."""

from dataclasses import dataclass

__all__ = ["SyncReport"]


@dataclass(slots=True)
class SyncReport:
    """What a sync did, or with `dry_run` what it would do.

    Attributes:
        kind: `replica` or `move`.
        source: where from.
        target: where to.
        objects: packs, manifests and facts written at the target.
        bytes: written at the target.
        entries: of the journal copied.
        head: the last entry that both places have.
        released: whether this call made the target writable.
        moved: whether the source is closed and the target is the store.
        dry_run: whether nothing was written.
    """

    kind: str
    source: str
    target: str
    objects: int = 0
    bytes: int = 0
    entries: int = 0
    head: int = 0
    released: bool = False
    moved: bool = False
    dry_run: bool = False
