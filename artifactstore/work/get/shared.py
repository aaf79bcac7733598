"""Get by way of the cache: a target gets the files of a cached tree as clones or links, where it can."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.checkout import write_files
from artifactstore.content.read.selection import disk_size, select
from artifactstore.content.read.shared_tree import Lender
from artifactstore.work.session.session import Session

__all__ = ["lending"]


def lending(session: Session, manifest: Manifest, digest: str, *, links: bool) -> AbstractContextManager[Callable[..., None]]:
    """Return what writes a whole artifact into a target, and holds what it lends until the files have their names.

    Args:
        session: the store, with a cache.
        manifest: of the artifact.
        digest: of the artifact.
        links: whether hard links may be made, where no clones can.
    """
    assert session.cache is not None
    everything = select(manifest, lambda path: path)

    def fill(folder: Path) -> None:
        write_files(session.core().cached_backend, manifest, everything, folder)

    return Lender(session.cache, digest, disk_size(manifest, everything.files.rows), fill, links=links).lending()
