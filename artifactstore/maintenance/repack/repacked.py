"""The outcome of a repacking."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.display.displayed import Displayed
from artifactstore.display.values import counted, format_size

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Repacked"]


@dataclass(frozen=True, slots=True)
class Repacked(Displayed):
    """What a repacking wrote anew, or would; displayed as text and HTML. `gc` frees what it leaves.

    Attributes:
        packs: ids of the packs that nothing needs any more.
        manifests: ids of the manifests that were replaced.
        bytes_before: bytes of these packs.
        bytes_after: bytes of the packs that were written; of a dry run at most that many. Until the next `gc` both take space.
        dry_run: whether nothing was written.
    """

    packs: tuple[str, ...]
    manifests: tuple[str, ...]
    bytes_before: int
    bytes_after: int
    dry_run: bool

    @property
    def summary(self) -> str:
        """It in one line."""
        if not self.packs:
            return "nothing to repack"
        done = "would be written anew" if self.dry_run else "were written anew"
        text = f"{counted(len(self.packs), 'packs')} of {counted(len(self.manifests), 'artifacts')} {done}"
        sizes = f"{format_size(self.bytes_before)} become {format_size(self.bytes_after)}"
        return f"{text}: {sizes}, which are needed in addition until gc has run"

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line  # noqa: PLC0415 - programs look at the values

        return [Line(self.summary)]
