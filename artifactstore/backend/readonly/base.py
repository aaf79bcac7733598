"""Backends that cannot be changed: every mutating verb is refused at once."""

from abc import abstractmethod
from collections.abc import Iterable

from artifactstore.backend.base import Backend, Buffer, check_key
from artifactstore.errors import ArtifactStoreError, RefusedError

__all__ = ["ReadingBackend", "Unchanging"]


class Unchanging(Backend):
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


class ReadingBackend(Unchanging):
    """A backend that is always read-only: a zip file, a web server.

    Attributes:
        url: its URL.
    """

    read_only = True
    exclusive = False

    def _refusal(self, key: str, action: str) -> RefusedError:
        return RefusedError(f"cannot {action} {check_key(key)}: {self.url} is read-only")
