"""Sync reports: what one run did, or would do; shared by replicas, moves and imports."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artifactstore.display.displayed import Displayed

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["LeftOut", "SyncReport", "Watch"]

_SHOWN: Final = 5  # names of what is lacking
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
class SyncReport(Displayed):
    """What a sync did, or with `dry_run` what it would do; displayed as text and HTML.

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
        lacking: what the imported artifacts were made from and is not in the copy; `with_lineage=True` imports it, too.
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
    lacking: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Note  # noqa: PLC0415 - programs look at the values

        return [
            *map(Line, self._sentences()),
            *map(Note, self._lacks()),
            *(Line(f"left out: {one.what}: {one.why}") for one in self.left_out),
        ]

    def _sentences(self) -> Iterator[str]:
        from artifactstore.display.values import counted, format_size  # noqa: PLC0415 - as above

        size, versions = format_size(self.bytes), counted(self.versions, "versions")
        everything = f"{counted(self.entries, 'entries')} and {counted(self.objects, 'objects')}"
        if self.kind == "import":
            verb = "would import" if self.dry_run else "imported"
            yield f"{verb} {versions}, {counted(self.artifacts, 'artifacts')} moved, {size}, as of {self.head} of {self.source}"
            yield from (f"{there} is named {here} here" for there, here in sorted(self.renamed.items()))
        elif self.kind == "bundle":
            yield f"{self.target}: {versions if self.versions else everything}, {size}, as of {self.head} of {self.source}"
        else:
            yield f"{'would copy' if self.dry_run else 'copied'} {everything}, {size}, up to {self.head}"
            if self.moved:
                yield f"the store is now {self.target}; {self.source} takes no more writes"
            elif self.released:
                yield f"{self.target} can be written to"

    def _lacks(self) -> Iterator[str]:
        if self.lacking:
            some = ", ".join(self.lacking[:_SHOWN]) + (" …" if len(self.lacking) > _SHOWN else "")
            yield f"not in the copy, but used to make it: {some}; with_lineage=True copies that, too"
