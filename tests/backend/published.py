"""The contract's reading half over places that can't be written to: what the suite writes gets there by other means."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.backend.local.backend import LocalBackend


class Published(Backend):
    """Writes go to a folder; reads come from the place where that folder is published.

    Args:
        folder: what is written to.
        place: what is read from.
        publish: called after each change; brings the folder's state to the place.
    """

    exclusive = True
    concurrency = 4

    def __init__(self, folder: LocalBackend, place: Backend, publish: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self.place = place
        self.publish = publish
        self.url = place.url
        self.changed = True

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__}

    def _fresh(self) -> Backend:
        if self.changed and self.publish is not None:
            self.publish()
        self.changed = False
        return self.place

    def read(self, key: str) -> bytes:
        return self._fresh().read(key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._fresh().read_ranges(key, ranges)

    def list(self, prefix: str) -> Iterator[Stored]:
        place = self._fresh()
        return place.list(prefix) if place.listable else self.folder.list(prefix)

    def size(self, key: str) -> int:
        return self._fresh().size(key)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        self.changed = True
        self.folder.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        self.changed = True
        self.folder.create(key, data)

    def delete(self, key: str) -> None:
        self.changed = True
        self.folder.delete(key)
