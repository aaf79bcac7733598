"""Places that can only be read, whatever is promised: a zip file, a web server. Every change is refused at once."""

from collections.abc import Iterable
from typing import NoReturn

from artifactstore.backend.base import Backend, Buffer, check_key
from artifactstore.errors import RefusedError

__all__ = ["ReadingBackend"]


class ReadingBackend(Backend):
    """A backend whose three verbs that change something refuse.

    Attributes:
        url: where it is.
    """

    read_only = True
    exclusive = False

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:  # noqa: ARG002 - the contract's name
        """Refuse.

        Raises:
            RefusedError: always.
        """
        self._refuse(key, "written")

    def create(self, key: str, data: bytes) -> None:  # noqa: ARG002 - the contract's name
        """Refuse.

        Raises:
            RefusedError: always.
        """
        self._refuse(key, "created")

    def delete(self, key: str) -> None:
        """Refuse.

        Raises:
            RefusedError: always.
        """
        self._refuse(key, "deleted")

    def _refuse(self, key: str, action: str) -> NoReturn:
        raise RefusedError(f"{check_key(key)} can't be {action}: {self.url} can only be read")
