"""Results of a repair, as values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactstore.catalog.rows import Rows
from artifactstore.display.displayed import Displayed
from artifactstore.maintenance.verify.report import Report

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Lost", "Repaired", "Restored"]

_SHOWN = 20  # rows of each list


@dataclass(frozen=True, slots=True)
class Restored:
    """An object whose bytes came back.

    Attributes:
        key: of the object that was damaged or missing.
        source: where the bytes came from: a URL, a path, or another object of this store.
    """

    key: str
    source: str


@dataclass(frozen=True, slots=True)
class Lost:
    """What stays damaged.

    Attributes:
        ref: the version, `name:v3`; the digest of an unnamed put; the key of an entry, a facts file or `store.json`.
        digest: of the artifact; "" where it is not one.
        key: the object whose bytes are lost.
        why: what is wrong with it.
    """

    ref: str
    digest: str
    key: str
    why: str


@dataclass(slots=True)
class Repaired(Displayed):
    """What a repair did, or with `dry_run` would do; displayed as text and HTML.

    Attributes:
        restored: objects whose bytes came back, each with its source.
        lost: what stays damaged. Its manifests are marked, so that a put of the same content stores it again.
        dry_run: whether nothing was written.
        report: what `verify` finds afterwards; with `dry_run`, now.
    """

    restored: "Rows[Restored]"
    lost: "Rows[Lost]"
    dry_run: bool = False
    report: Report = field(default_factory=lambda: Report("frames"))

    @classmethod
    def of(cls, restored: Sequence[Restored], lost: Sequence[Lost], *, dry_run: bool) -> "Repaired":
        """Make a result from lists, each row once."""
        return cls(Rows(Restored, list(dict.fromkeys(restored))), Rows(Lost, list(dict.fromkeys(lost))), dry_run)

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Note, Span  # noqa: PLC0415 - programs look at the values
        from artifactstore.display.values import counted  # noqa: PLC0415 - as above

        verb = "would restore" if self.dry_run else "restored"
        blocks: list[Block] = [Line(f"{verb} {one.key} from {one.source}") for one in self.restored[:_SHOWN]]
        blocks += [Line([Span("lost", "bad"), f": {one.ref}: {one.why}"]) for one in self.lost[:_SHOWN]]
        hidden = max(0, len(self.restored) - _SHOWN) + max(0, len(self.lost) - _SHOWN)
        if hidden:
            blocks.append(Note(f"and {hidden} more"))
        if not self.restored and not self.lost:
            return [Line("nothing to repair")]
        blocks.append(Line(f"{verb} {counted(len(self.restored), 'objects')}; {counted(len(self.lost), 'versions')} lost"))
        if self.lost:
            blocks.append(Note("put the lost content again, or repair from a copy that has it: repair --source URL, --files DIR"))
        return blocks
