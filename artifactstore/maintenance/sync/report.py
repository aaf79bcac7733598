"""Sync reports: what one run did, or would do; shared by replicas, moves and imports."""

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["LeftOut", "SyncReport", "Watch"]

Watch = Callable[[str, int], Callable[[int], None]]  # (description, total bytes) → called with the number of further bytes done


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item that could not be copied or imported.

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
        source: the source's URL.
        target: the target's URL.
        objects: number of packs, manifests and facts written to the target.
        bytes: written to the target.
        entries: number of journal entries copied; of an import, appended to the target.
        head: the last common entry, as `N:<digest>`; of an import, the last entry of the source that was processed.
        released: whether this call made the target writable.
        moved: whether the source is closed and the target is the store.
        dry_run: whether nothing was written.
        artifacts: number of artifacts whose content was imported.
        versions: number of imported versions.
        renamed: source name → local name, where an import had to choose a different name.
        left_out: what could not be copied: versions of an import; of a copy or a bundle, objects that no version needs.
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
