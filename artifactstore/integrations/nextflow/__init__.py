"""Nextflow: what its data lineage recorded comes in as versions and runs; see docs/integrations/nextflow.md."""

from typing import TYPE_CHECKING

from artifactstore.store import Store

if TYPE_CHECKING:
    from artifactstore.work.sync.imported import Imported

__all__ = ["import_from"]


def import_from(
    store: Store, source: str, *, name: str, run: str | None = None, dry_run: bool = False, reason: str | None = None
) -> "Imported":
    """Import a lineage store: runs of workflows, tasks and agents, and the files that they made, as far as these are unchanged.

    Nextflow's checksums are of paths, sizes and times, not of content: a file is imported if its size and time are those of its
    record. A second import brings what is new, and writes nothing if nothing is. The lineage store and the files are only read.

    Args:
        store: where to.
        source: the folder of the lineage store, such as `.lineage`, or the folder that has it; or its URL.
        name: prefix of the names: what a workflow published becomes `NAME/<run name>/<path>`, what a task made
            `NAME/<run name>/.tasks/<task>/<path>`.
        run: only this run of a workflow, by its lineage ID, and the tasks that its files come from.
        dry_run: write nothing; report what would be imported.
        reason: recorded with the import.

    Returns:
        A report; `missing` has the lineage IDs of files that are gone, `changed` of those that are not as recorded, `skipped`
        kinds of records that this version does not know, and files that cannot be read.

    Raises:
        NotFoundError: there are no records, or no such run.
        CorruptionError: a record is damaged; the message names its file, and nothing was imported.
        InvalidInputError: an argument is invalid.
        BackendError: the lineage store, a file or the store cannot be read. What was imported before stays.
    """
    from artifactstore.integrations.nextflow.importing import import_lineage  # noqa: PLC0415 - loads what it needs when it is called

    return import_lineage(store, source, name, run=run, dry_run=dry_run, reason=reason)
