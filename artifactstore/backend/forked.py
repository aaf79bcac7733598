"""A place that begins as another one was and goes its own way: what is written lies in a folder of its own.

Made for trying a history anew: the journal of the origin ends at some entry, all that it points to is read from there, and
nothing is ever written to it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.errors import AlreadyExistsError, NotFoundError, RefusedError

__all__ = ["ForkedBackend"]

_T = TypeVar("_T")
_ENTRY: Final = re.compile(r"journal/\d+/(\d+)\.json", re.ASCII)
_SEGMENT: Final = re.compile(r"segments/\d+-\d+-(\d+)-[0-9a-f]+\.parquet", re.ASCII)
_OWN: Final = ("journal/inbox/", "replica/", ".")  # of a place itself, never of what it was forked from


class ForkedBackend(Backend):
    """The origin up to one entry, and what was written since.

    Args:
        own: what is written goes here.
        origin: what was there; it is only read.
        head: the last entry of the origin's journal that counts.
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
        return f"ForkedBackend({self.own!r}, {self.origin!r}, {self.head})"

    def _shared(self, key: str) -> bool:
        """Tell whether a key of the origin counts."""
        if key.startswith(_OWN):
            return False
        match = _ENTRY.fullmatch(key) or _SEGMENT.fullmatch(key)
        return match is None or int(match[1]) <= self.head

    def _there(self, key: str) -> bool:
        if not self._shared(key):
            return False
        try:
            self.origin.size(key)
        except NotFoundError:
            return False
        return True

    def _either(self, key: str, ask: Callable[[Backend], _T]) -> _T:
        """Ask the own place, and the origin where that has nothing and the key counts."""
        try:
            return ask(self.own)
        except NotFoundError:
            if not self._shared(key):
                raise
            return ask(self.origin)

    def read(self, key: str) -> bytes:
        """Read what was written since, else what was there."""
        return self._either(key, lambda place: place.read(key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges of what was written since, else of what was there."""
        return self._either(key, lambda place: place.read_ranges(key, ranges))

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write to the own place."""
        self.own.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        """Create in the own place, unless the origin has it."""
        if self._there(key):
            raise AlreadyExistsError(f"{key} exists in {self.origin.url}")
        self.own.create(key, data)

    def list(self, prefix: str) -> Iterator[Stored]:
        """List what was written since, and what was there."""
        seen = set()
        for item in self.own.list(prefix):
            seen.add(item.key)
            yield item
        for item in self.origin.list(prefix):
            if item.key not in seen and self._shared(item.key):
                yield item

    def delete(self, key: str) -> None:
        """Remove what was written since.

        Raises:
            RefusedError: the origin has it, and nothing of that is ever removed.
        """
        self.own.delete(key)
        if self._there(key):
            raise RefusedError(f"{key} belongs to {self.origin.url}, of which this is a fork: nothing of it is removed")

    def size(self, key: str) -> int:
        """Return the size of what was written since, else of what was there."""
        return self._either(key, lambda place: place.size(key))
