"""A backend that fails every request at once, without contacting the service."""

from collections.abc import Iterator, Sequence

from artifactstore.backend.base import Backend, Stored
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.read_only import ReadOnlyMixin
from artifactstore.errors import BackendError

__all__ = ["UnreachableBackend"]


class UnreachableBackend(ReadOnlyMixin, Wrapper):
    """Fails every request at once.

    Args:
        inner: the backend, which is never contacted.
        why: completes "… is not used: ".
    """

    def __init__(self, inner: Backend, why: str) -> None:
        super().__init__(inner)
        self._why = why

    def _refusal(self, key: str, action: str) -> BackendError:
        return BackendError(
            f"cannot {action} {f'{key} in ' if key else ''}{self.url}: it is not used: {self._why}", transient=True
        )

    def read(self, key: str) -> bytes:
        """Refuse.

        Raises:
            BackendError: always.
        """
        raise self._refusal(key, "read")

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":  # noqa: ARG002
        """Refuse.

        Raises:
            BackendError: always.
        """
        raise self._refusal(key, "read")

    def list(self, prefix: str) -> Iterator[Stored]:
        """Refuse.

        Raises:
            BackendError: always.
        """
        raise self._refusal(prefix, "list")

    def size(self, key: str) -> int:
        """Refuse.

        Raises:
            BackendError: always.
        """
        raise self._refusal(key, "stat")
