"""Places at which nothing can be changed: each verb that would is refused at once."""

from abc import abstractmethod
from collections.abc import Iterable

from artifactstore.backend.base import Backend, Buffer, check_key
from artifactstore.errors import ArtifactStoreError, RefusedError

__all__ = ["ReadingBackend", "Unchanging"]


class Unchanging(Backend):
    """A backend whose three verbs that change something raise; a subclass says what."""

    @abstractmethod
    def _refusal(self, key: str, action: str) -> ArtifactStoreError:
        """Make the error of a verb; `action` completes "… can't be"."""

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:  # noqa: ARG002 - the contract's name
        """Refuse.

        Raises:
            ArtifactStoreError: always.
        """
        raise self._refusal(key, "written")

    def create(self, key: str, data: bytes) -> None:  # noqa: ARG002 - the contract's name
        """Refuse.

        Raises:
            ArtifactStoreError: always.
        """
        raise self._refusal(key, "created")

    def delete(self, key: str) -> None:
        """Refuse.

        Raises:
            ArtifactStoreError: always.
        """
        raise self._refusal(key, "deleted")


class ReadingBackend(Unchanging):
    """A place that can only be read, whatever is promised: a zip file, a web server.

    Attributes:
        url: where it is.
    """

    read_only = True
    exclusive = False

    def _refusal(self, key: str, action: str) -> RefusedError:
        return RefusedError(f"{check_key(key)} can't be {action}: {self.url} can only be read")
