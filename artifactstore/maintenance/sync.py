"""Sync: what one run did, or would do; the words that replicas, moves and imports share."""

from dataclasses import dataclass, field

__all__ = ["Imported", "LeftOut", "SyncReport"]


@dataclass(frozen=True, slots=True)
class Imported:
    """Versions of one name that came from another store.

    Attributes:
        name: as it is called here; None for artifacts without a name.
        versions: the numbers of the versions that are new here.
        origin: as it is called in the other store.
    """

    name: str | None
    versions: tuple[int, ...]
    origin: str | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What did not come.

    Attributes:
        what: a name, a version, an alias, a run.
        reason: in words.
        conflict: whether two histories stand against each other: then somebody must decide.
    """

    what: str
    reason: str
    conflict: bool = False


@dataclass(slots=True)
class SyncReport:
    """What a sync did, or with `dry_run` what it would do.

    Attributes:
        kind: `replica`, `move` or `import`.
        source: where from.
        target: where to.
        objects: packs, manifests and facts written at the target.
        bytes: written at the target.
        entries: of the journal copied, or appended by an import.
        head: the last entry that both places have; of an import, the target's last.
        imported: names and their new versions.
        left_out: what did not come, and why.
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
    imported: list[Imported] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    released: bool = False
    moved: bool = False
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing was left out because of a conflict."""
        return not any(one.conflict for one in self.left_out)

    @property
    def conflicts(self) -> list[LeftOut]:
        """What somebody must decide about."""
        return [one for one in self.left_out if one.conflict]
