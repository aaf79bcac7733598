"""DVC: the history of a repository comes in; see docs/integrations/dvc.md."""

from typing import TYPE_CHECKING

from artifactstore.store import Store

if TYPE_CHECKING:
    from artifactstore.work.sync.imported import Imported

__all__ = ["import_from"]


def import_from(
    store: Store,
    source: str,
    *,
    name: str,
    rev: str = "all",
    cache: str | None = None,
    dry_run: bool = False,
    reason: str | None = None,
) -> "Imported":
    """Import what DVC tracks in a git repository: each output as versions of a name, each stage that ran as a run.

    A second import brings what is new, and writes nothing if nothing is. The repository, its cache and its remotes are only read;
    no program, hook or filter of the repository runs.

    Args:
        store: where to.
        source: the folder of the repository, or a folder in it with a DVC root of its own.
        name: prefix of the names: an output `data/raw` becomes `NAME/data/raw`.
        rev: `all` for the whole history of all branches and tags, or one revision.
        cache: folder of DVC's cache; by default the configured one. Then remotes are asked, with the credentials of DVC's
            configuration and of the environment.
        dry_run: write nothing; report what would be imported.
        reason: recorded with the import.

    Returns:
        A report; `missing` has what no cache and no remote has any more.

    Raises:
        NotFoundError: no such repository or revision.
        CorruptionError: a cached file is damaged; the message names it. What was imported before stays.
        InvalidInputError: the name is invalid, or git cannot read the repository.
        BackendError: a remote, or the store, cannot be reached.
    """
    from artifactstore.integrations.dvc.importing import import_repository  # noqa: PLC0415 - loads what it needs when it is called

    return import_repository(store, source, name, rev=rev, cache=cache, dry_run=dry_run, reason=reason)
