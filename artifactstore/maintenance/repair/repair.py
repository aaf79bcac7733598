"""Repair of a store: its history first, then its content, then what is derived. Killed anywhere, it is run again."""

from collections.abc import Callable, Sequence
from typing import Final

from artifactstore.errors import ArtifactStoreError, BackendError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.repair.chunks import Copy, Files
from artifactstore.maintenance.repair.content import ContentRepair
from artifactstore.maintenance.repair.derived import rebuild_derived
from artifactstore.maintenance.repair.history import Mended
from artifactstore.maintenance.repair.report import Repaired
from artifactstore.maintenance.verify.report import Report
from artifactstore.maintenance.verify.verify import verify

__all__ = ["repair"]

_TIMES: Final = 4  # passes over the content while other writers rely on what is lost


def repair(
    mended: Mended,
    open_journal: Callable[[], tuple[Journal, Appender]],
    copies: Sequence[Copy],
    files: Files | None,
    *,
    dry_run: bool,
) -> Repaired:
    """Repair content and derived objects of a store whose history was mended.

    Args:
        mended: what was found about its history.
        open_journal: opens it, once its history can be read.
        copies: copies that bytes may come from.
        files: the user's files.
        dry_run: only find out.

    Raises:
        RefusedError: what `open_journal` refuses.
        BackendError: the backend cannot be reached.
    """
    if mended.lost or (dry_run and mended.bytes):
        # Without its history nothing is known of its content.
        made = Repaired.of(mended.restored, mended.lost, dry_run=dry_run)
        for one in mended.lost:
            made.report.damage(f"{one.key}: {one.why}", one.key, rule="chain")
        made.report.not_checked.append("manifests and packs: repair the journal first")
        return made
    journal, appender = open_journal()
    content = ContentRepair(journal, appender, copies, files, dry_run=dry_run)
    for _ in range(_TIMES):
        content.lost.clear()
        if not content.run():
            break
    derived = rebuild_derived(journal, dry_run=dry_run)
    done = Repaired.of([*mended.restored, *content.restored, *derived], content.lost, dry_run=dry_run)
    done.report = _report(journal)
    return done


def _report(journal: Journal) -> Report:
    try:
        return verify(journal, level="frames")
    except ArtifactStoreError as error:
        if isinstance(error, BackendError) and error.transient:
            raise
        report = Report("frames")
        report.damage(str(error), getattr(error, "location", "") or "", rule="chain")
        return report
