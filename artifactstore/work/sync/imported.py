"""What an import from another system brought."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactstore.display.displayed import Displayed

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Imported"]


@dataclass(slots=True)
class Imported(Displayed):
    """What an import from another system brought; displayed as text and HTML.

    Attributes:
        names: number of names that the source has, whether they were imported now or before.
        versions: number of versions that were imported now; in a dry run, that would be.
        runs: number of runs, likewise.
        new: number of artifacts among them whose content was not in the store; not known in a dry run, and 0.
        missing: ids whose content the source does not have any more.
        changed: ids whose content is not what the source recorded; it was not imported.
        skipped: ids or kinds that were left out, each with the reason.
    """

    names: int = 0
    versions: int = 0
    runs: int = 0
    new: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line  # noqa: PLC0415 - programs look at the values
        from artifactstore.display.values import counted  # noqa: PLC0415 - as above

        brought = f"{counted(self.versions, 'versions')} and {counted(self.runs, 'runs')}"
        return [
            Line(f"{brought} of {counted(self.names, 'names')}, {counted(self.new, 'artifacts')} new"),
            *(Line(f"missing: {one}") for one in self.missing),
            *(Line(f"changed: {one}") for one in self.changed),
            *(Line(f"skipped: {one}") for one in self.skipped),
        ]
