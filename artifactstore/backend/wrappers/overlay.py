"""A copy-on-write fork of a backend: reads fall through to the origin, writes go to a backend of its own.

Used to replay a history: the origin's journal ends at some entry, everything that it points to is read from there, and
nothing is ever written to it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.errors import AlreadyExistsError, NotFoundError, RefusedError

__all__ = ["OverlayBackend"]

_T = TypeVar("_T")
_ENTRY: Final = re.compile(r"journal/\d+/(\d+)\.json", re.ASCII)
_SEGMENT: Final = re.compile(r"segments/\d+-\d+-(\d+)-[0-9a-f]+\.parquet", re.ASCII)
_OWN: Final = ("journal/inbox/", "replica/", ".")  # keys that belong to one backend, never read from the origin


class OverlayBackend(Backend):
    """The origin up to one entry, plus later writes.

    Args:
        own: receives all writes.
        origin: the forked backend; read only.
        head: the last visible entry of the origin's journal.
    """

    def __init__(self, own: Backend, origin: Backend, head: int) -> None:
        self.own = own
        self.origin = origin
        self.head = head
        self.url = own.url
        self.exclusive = own.exclusive
        self.concurrency = max(own.concurrency, origin.concurrency)
        self.listable = own.listable and origin.listable

    def __repr__(self) -> str:
        return f"OverlayBackend({self.own!r}, {self.origin!r}, {self.head})"

    def _is_visible(self, key: str) -> bool:
        """Whether a key of the origin is visible."""
        if key.startswith(_OWN):
            return False
        match = _ENTRY.fullmatch(key) or _SEGMENT.fullmatch(key)
        return match is None or int(match[1]) <= self.head

    def _in_origin(self, key: str) -> bool:
        if not self._is_visible(key):
            return False
        try:
            self.origin.size(key)
        except NotFoundError:
            return False
        return True

    def _own_or_origin(self, key: str, ask: Callable[[Backend], _T]) -> _T:
        """Query the own backend, then the origin if the own has nothing and the key is visible."""
        try:
            return ask(self.own)
        except NotFoundError:
            if not self._is_visible(key):
                raise
            return ask(self.origin)

    def read(self, key: str) -> bytes:
        """Read from the own backend, else from the origin."""
        return self._own_or_origin(key, lambda backend: backend.read(key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges from the own backend, else from the origin."""
        return self._own_or_origin(key, lambda backend: backend.read_ranges(key, ranges))

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write to the own backend."""
        self.own.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        """Create in the own backend, unless the origin has the key."""
        if self._in_origin(key):
            raise AlreadyExistsError(f"{key} exists in {self.origin.url}")
        self.own.create(key, data)

    def list(self, prefix: str) -> Iterator[Stored]:
        """List the objects of the own backend and of the origin."""
        seen = set()
        for item in self.own.list(prefix):
            seen.add(item.key)
            yield item
        for item in self.origin.list(prefix):
            if item.key not in seen and self._is_visible(item.key):
                yield item

    def delete(self, key: str) -> None:
        """Remove an object of the own backend.

        Raises:
            RefusedError: it belongs to the origin, from which nothing is ever removed.
        """
        self.own.delete(key)
        if self._in_origin(key):
            raise RefusedError(f"cannot delete {key}: it belongs to {self.origin.url}, which this store is a fork of")

    def size(self, key: str) -> int:
        """Return the size of the own backend's object, else of the origin's."""
        return self._own_or_origin(key, lambda backend: backend.size(key))
