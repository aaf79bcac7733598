"""Read-only backends: every mutating verb is refused."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

from artifactstore.backend.base import Backend, Buffer
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.errors import ArtifactStoreError, RefusedError

__all__ = ["ReadOnlyBackend", "ReadOnlyMixin"]


class ReadOnlyMixin(Backend):
    """A backend whose three mutating verbs raise; a subclass provides the error."""

    @abstractmethod
    def _refusal(self, key: str, action: str) -> ArtifactStoreError:
        """Return the error for a verb; `action` completes "cannot …"."""

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:  # noqa: ARG002 - the contract's name
        """Refuse.

        Raises:
            ArtifactStoreError: always.
        """
        raise self._refusal(key, "write")

    def create(self, key: str, data: bytes) -> None:  # noqa: ARG002 - the contract's name
        """Refuse.

        Raises:
            ArtifactStoreError: always.
        """
        raise self._refusal(key, "create")

    def delete(self, key: str) -> None:
        """Refuse.

        Raises:
            ArtifactStoreError: always.
        """
        raise self._refusal(key, "delete")


class ReadOnlyBackend(ReadOnlyMixin, Wrapper):
    """Refuses every mutating verb, before any work.

    Args:
        inner: the backend inside.
        why: completes "… is read-only: "; None if the store was opened with mode='r'.
    """

    def __init__(self, inner: Backend, why: str | None = None) -> None:
        super().__init__(inner)
        self._why = why or "it was opened with mode='r'"

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Read into memory from the inner backend."""
        self.inner.read_into(key, wanted)

    def _refusal(self, key: str, action: str) -> RefusedError:
        return RefusedError(f"cannot {action} {key}: {self.url} is read-only: {self._why}", reasons=(self._why,))
