"""Backends that wrap a backend, for cross-cutting concerns. Each passes the same contract suite."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.errors import ArtifactStoreError

__all__ = ["Wrapper"]


class Wrapper(Backend):
    """Delegates every verb; a subclass overrides those that it changes.

    Attributes:
        inner: the backend inside.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.url = inner.url
        self.exclusive = inner.exclusive
        self.concurrency = inner.concurrency
        self.read_only = inner.read_only
        self.listable = inner.listable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def storage_time(self, *, fresh: bool = False) -> datetime | None:
        """Return the inner backend's time."""
        return self.inner.storage_time(fresh=fresh)

    def read(self, key: str) -> bytes:
        """Read the inner backend's object."""
        return self.inner.read(key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges of the inner backend's object."""
        return self.inner.read_ranges(key, ranges)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write to the inner backend."""
        self.inner.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        """Create in the inner backend."""
        self.inner.create(key, data)

    def obstacle(self, key: str) -> str:
        """Ask the inner backend."""
        return self.inner.obstacle(key)

    def list(self, prefix: str) -> Iterator[Stored]:
        """List the inner backend."""
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """Delete from the inner backend."""
        self.inner.delete(key)

    def delete_many(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        """Delete from the inner backend in bulk; one by one where the subclass has a `delete` of its own."""
        if type(self).delete is not Wrapper.delete:
            return super().delete_many(keys)
        return self.inner.delete_many(keys)

    def size(self, key: str) -> int:
        """Return the inner backend's size of an object."""
        return self.inner.size(key)
