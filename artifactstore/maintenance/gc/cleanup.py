"""The outcome of a clean-up: what went, or would go, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactstore.display.displayed import Displayed
from artifactstore.display.values import counted, format_size

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Cleanup"]


def _unknown(what: str) -> str:
    return what


@dataclass(frozen=True, slots=True)
class Cleanup(Displayed):
    """What a clean-up freed, or would free; displayed as text and HTML.

    Attributes:
        manifests: ids of manifests that nothing needs.
        packs: ids of packs that nothing needs.
        litter: keys of other objects that nothing needs: passed transactions, covered segments, old snapshots, temporary files.
        bytes: of all these objects together.
        kept: bytes of the manifests and packs that stay.
        spared: bytes of uploads that no entry names and that are younger than the grace.
        head: the entry that was judged on.
        dry_run: whether nothing was written or deleted.
    """

    manifests: tuple[str, ...]
    packs: tuple[str, ...]
    litter: tuple[str, ...]
    bytes: int
    kept: int
    spared: int
    head: int
    dry_run: bool
    _why: Callable[[str], str] = field(default=_unknown, repr=False, compare=False)

    def why(self, what: str) -> str:
        """Return why a manifest, a pack or an artifact stays or goes, and through which path it is needed.

        Args:
            what: the id or key of an object, or a reference: `churn/raw:v3`, or a digest.

        Raises:
            NotFoundError: nothing of this store is called so.
        """
        return self._why(what)

    @property
    def summary(self) -> str:
        """It in one line."""
        done = "would be freed" if self.dry_run else "freed"
        parts = [counted(len(self.manifests), "manifests"), counted(len(self.packs), "packs")]
        parts += [f"{len(self.litter):,} other objects"] if self.litter else []
        nothing = not (self.manifests or self.packs or self.litter)
        text = "nothing to free" if nothing else f"{format_size(self.bytes)} {done}: {', '.join(parts)}"
        text += f"; {format_size(self.kept)} stay"
        return text + (f", {format_size(self.spared)} of unfinished uploads are spared" if self.spared else "")

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line  # noqa: PLC0415 - programs look at the values

        return [Line(self.summary)]
