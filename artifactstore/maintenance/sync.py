"""Sync: what one run did, or would do; the words that replicas, moves and imports share."""

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["LeftOut", "SyncReport", "Watch"]

Watch = Callable[[str, int], Callable[[int], None]]  # (what is done, bytes in all) → told how many more bytes are done


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What could not be brought.

    Attributes:
        what: a name, an alias (`name:alias`), a version (`name:v3`) or a run; of a copy or a bundle, an object's key.
        why: the reason, and what to do.
    """

    what: str
    why: str


@dataclass(slots=True)
class SyncReport:
    """What a sync did, or with `dry_run` what it would do.

    Attributes:
        kind: `replica`, `move`, `import` or `bundle`.
        source: where from.
        target: where to.
        objects: packs, manifests and facts written at the target.
        bytes: written at the target.
        entries: of the journal copied; of an import, appended at the target.
        head: the last entry that both places have, as `N:<digest>`; of an import, the source's last one that was looked at.
        released: whether this call made the target writable.
        moved: whether the source is closed and the target is the store.
        dry_run: whether nothing was written.
        artifacts: whose content an import brought.
        versions: of names that an import brought.
        renamed: name there → name here, where an import had to choose another one.
        left_out: what could not be brought: versions of an import; of a copy or a bundle, objects that no version needs.
    """

    kind: str
    source: str
    target: str
    objects: int = 0
    bytes: int = 0
    entries: int = 0
    head: str = ""
    released: bool = False
    moved: bool = False
    dry_run: bool = False
    artifacts: int = 0
    versions: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
