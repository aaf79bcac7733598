"""A backend whose damaged or missing objects are read from mirrors, once a reader has found them so.

A mirror supplies bytes of objects that are never changed; the reader checks them like all others. It is not asked while nothing
is wrong, and never whether something exists.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.errors import BackendError, NotFoundError

__all__ = ["MirroredBackend"]

T = TypeVar("T")
_CONSTANT: Final = ("manifests/", "packs/", "facts/")


class MirroredBackend(Wrapper):
    """Reads through to a backend; objects that were diverted are read from a mirror.

    Args:
        inner: the backend.
        mirrors: copies of the same store, in order of preference.
        notice: called with this backend when it has read an object from a mirror on its own account.
        freed: returns whether a key's object was freed meanwhile: such a one is missing, whatever is left of it.

    Attributes:
        diverted: key → the mirror that it is read from, as an index.
    """

    def __init__(
        self,
        inner: Backend,
        mirrors: Sequence[Backend],
        notice: "Callable[[MirroredBackend], None] | None" = None,
        freed: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__(inner)
        self.diverted: dict[str, int] = {}
        self._mirrors = tuple(mirrors)
        self._notice = notice
        self._freed = freed

    def divert(self, key: str) -> bool:
        """Read an object from the next mirror from now on; False, and from the backend again, if all were tried."""
        number = self.diverted.get(key, -1) + 1
        if not key.startswith(_CONSTANT) or number >= len(self._mirrors):
            self.diverted.pop(key, None)
            return False
        self.diverted[key] = number
        return True

    def source(self, key: str) -> str | None:
        """Return the URL of the mirror that an object is read from, or None."""
        number = self.diverted.get(key)
        return None if number is None else self._mirrors[number].url

    def read(self, key: str) -> bytes:
        """Return all bytes of an object."""
        return self._from(key, lambda backend: backend.read(key))

    def read_large(self, key: str) -> bytes:
        """Return all bytes of an object that is probably large."""
        return self._from(key, lambda backend: backend.read_large(key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Return ranges of an object."""
        return self._from(key, lambda backend: backend.read_ranges(key, ranges))

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Read an object into the caller's buffers."""
        self._from(key, lambda backend: backend.read_into(key, wanted))

    def size(self, key: str) -> int:
        """Return an object's size."""
        return self._from(key, lambda backend: backend.size(key))

    def _from(self, key: str, read: Callable[[Backend], T]) -> T:
        own = key not in self.diverted
        if own:
            try:
                return read(self.inner)
            except BackendError as error:
                # A bad sector is as bad as damage. Unreachable is another matter: the journal cannot be read then, either.
                if error.transient or isinstance(error, NotFoundError):
                    raise
                if self._freed is not None and self._freed(key):
                    raise NotFoundError(key) from error
                if not self.divert(key):
                    raise
        while (number := self.diverted.get(key)) is not None:
            try:
                found = read(self._mirrors[number])
            except (BackendError, NotFoundError):
                self.divert(key)
                continue
            if own and self._notice is not None:
                self._notice(self)
            return found
        return read(self.inner)
