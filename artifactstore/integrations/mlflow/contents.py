"""Contents of an import: what is at an artifact URI of MLflow's, read from where it is, or found in this store by its digest."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, InvalidInputError, NotFoundError
from artifactstore.integrations.mlflow.repository import ArtifactStoreRepository
from artifactstore.integrations.mlflow.source import Source
from artifactstore.store import Store

__all__ = ["Contents"]

_OURS: Final = "artifactstore+"


class Contents:
    """Artifacts that a source names.

    Args:
        store: where they shall be.
        source: the source.
        dry_run: read nothing.
    """

    def __init__(self, store: Store, source: Source, *, dry_run: bool) -> None:
        self._store, self._source, self._dry_run = store, source, dry_run

    def here(self, uri: str) -> tuple[str, str] | None:
        """Return the digest of the artifact that a URI means, and the path in it, if this store has that artifact already."""
        if not uri.startswith(_OURS):
            return None
        try:
            other, ref, inner = ArtifactStoreRepository(uri, self._source.uri, self._source.uri).located()
            digest = other.artifact(ref).digest
        except (NotFoundError, InvalidInputError):
            return None
        return (digest, inner) if self._store.exists(digest) else None

    def data_set(self, source: str) -> str | None:
        """Return the digest of a data set, if its source is the URI of an artifact that this store has."""
        with suppress(ValueError, ArtifactStoreError):
            fields = json.loads(source)
            for uri in fields.values() if isinstance(fields, dict) else ():
                if isinstance(uri, str) and (found := self.here(uri)) is not None and not found[1]:
                    return found[0]
        return None

    @contextmanager
    def at(self, uri: str) -> Iterator[Any]:
        """Give what is at a URI, as `put` takes it: an artifact of this store, or a path; None if there is nothing."""
        if (known := self.here(uri)) is not None:
            digest, inner = known
            if not inner:
                yield self._store.artifact(digest)
                return
            with tempfile.TemporaryDirectory(prefix="artifactstore-mlflow-") as folder:
                try:
                    self._store.get(digest, folder, paths=[inner])
                except NotFoundError:
                    yield None
                    return
                yield Path(folder, inner)
            return
        try:
            local = self._source.local(uri)
        except NotFoundError:
            yield None
            return
        if local is not None:
            yield local if local.is_file() or (local.is_dir() and any(local.iterdir())) else None
        elif self._dry_run:
            yield Path() if self._source.has_any(uri) else None
        else:
            with self._source.fetched(uri) as path:
                yield path
