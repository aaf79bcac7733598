"""Storing content that another process, or a later call, commits."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from artifactstore.content.packs.known_chunks import FalseChunksError, KnownChunks, check_reused
from artifactstore.content.write.ingest import ingest
from artifactstore.content.write.ingested import Ingested
from artifactstore.content.write.source import Folder
from artifactstore.work.put.known_content import distrust, known_chunks
from artifactstore.work.session.session import Session

__all__ = ["ingested", "relying"]

_T = TypeVar("_T")


def relying(session: Session, wanted: Sequence[str], size: int, store: Callable[[KnownChunks], _T]) -> _T:
    """Return what `store` stores with the chunks of earlier artifacts, without those whose manifests are false.

    Args:
        session: the store.
        wanted: digests of the artifacts, the likeliest first.
        size: bytes of all content.
        store: called again as long as it finds that chunks are false.
    """
    distrusted: set[str] = set()
    while True:
        try:
            return store(known_chunks(session, wanted, size, without=distrusted))
        except FalseChunksError as error:
            distrust(session, distrusted, error)


def ingested(session: Session, folder: Folder, wanted: Sequence[str], *, sha256: bool) -> Ingested:
    """Store files that another process, or a later call, commits; they are durable when this returns.

    Args:
        session: the store.
        folder: the files.
        wanted: digests of artifacts that are likely to share chunks, the likeliest first.
        sha256: also compute each file's SHA-256.
    """
    core = session.core()

    def store(known: KnownChunks) -> Ingested:
        with ingest(
            session.backend,
            folder,
            algorithm=core.algorithm,
            chunkers=core.config.chunkers,
            known=known,
            series=known.manifests,
            sha256=sha256,
            footers=core.footers,
        ) as done:
            check_reused(done.manifest, done.packs, known, core.footers)
        return done

    return relying(session, wanted, folder.size, store)
