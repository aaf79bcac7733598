"""Hugging Face: snapshots of a hub's repositories come in, and go out as the hub's own cache; see docs/integrations/hf.md."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from artifactstore.model.reference import Referable
from artifactstore.store import Store

if TYPE_CHECKING:
    from artifactstore.work.sync.imported import Imported

__all__ = ["export", "import_from"]


def import_from(
    store: Store,
    source: str,
    *,
    name: str,
    cache: str | None = None,
    base: str | None = None,
    rev: str | None = None,
    dry_run: bool = False,
    reason: str | None = None,
) -> "Imported":
    """Import a snapshot of a repository as the next version of a name, checked against the hub's hashes.

    It is read from the hub's cache; what is not there is downloaded first, if `huggingface_hub` is installed and may use the network.

    Args:
        store: where to.
        source: `ORG/REPO`, `datasets/ORG/REPO` or `spaces/ORG/REPO`, optionally with `@REV`: a branch, a tag or a commit.
        name: the name here.
        cache: the hub's cache; default `$HF_HUB_CACHE`.
        base: an artifact that it is likely to resemble; by default the version here of the model that its card names.
        rev: as `@REV`.
        dry_run: write nothing, download nothing; report what would be imported.
        reason: why, for the audit trail.

    Returns:
        A report; `missing` has files of the snapshot that were never downloaded.

    Raises:
        NotFoundError: there is no such snapshot.
        CorruptionError: a file is damaged; the message names it, and nothing was imported.
        InvalidInputError: an argument is invalid.
    """
    from artifactstore.integrations.hf.importing import import_snapshot  # noqa: PLC0415 - loads what it needs when it is called

    return import_snapshot(store, source, name, cache=cache, base=base, rev=rev, dry_run=dry_run, reason=reason)


def export(store: Store, ref: str | Referable, to: str | os.PathLike[str], *, repo: str | None = None) -> Path:
    """Write an artifact into a hub's cache, where `from_pretrained` finds it without a network; add to what is there.

    The commit is `hf.commit` of its metadata, else the first 40 digits of its digest; `refs/main` points to it then.

    Args:
        store: the store.
        ref: the artifact.
        to: the cache, such as `~/.cache/huggingface/hub`; made if it is not there.
        repo: `ORG/NAME`, or `datasets/ORG/NAME`; by default `hf.repo` of its metadata.

    Returns:
        The folder of the snapshot.

    Raises:
        NotFoundError: no such artifact.
        InvalidInputError: no repository is known, or its name is invalid.
        AlreadyExistsError: the snapshot has other content there.
        CorruptionError: stored bytes do not match their digest; no snapshot was written.
    """
    from artifactstore.integrations.hf.exporting import export_snapshot  # noqa: PLC0415 - as above

    return export_snapshot(store, ref, Path(to).expanduser(), repo)
