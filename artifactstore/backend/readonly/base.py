"""What backends share that only read."""

from artifactstore.backend.base import check_key
from artifactstore.backend.wrappers.read_only import ReadOnlyMixin
from artifactstore.errors import RefusedError

__all__ = ["ReadOnlySource"]


class ReadOnlySource(ReadOnlyMixin):
    """A backend that is always read-only: a zip file, a web server.

    Attributes:
        url: its URL.
    """

    read_only = True
    exclusive = False

    def _refusal(self, key: str, action: str) -> RefusedError:
        return RefusedError(f"cannot {action} {check_key(key)}: {self.url} is read-only")
