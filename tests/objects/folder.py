"""The files of an object in memory, as a format reads them; and what a format wrote, as bytes."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from artifactstore import NotFoundError
from artifactstore.content.write.source import Source
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.trust import NOTHING, Trust


class MemoryFolder:
    """A `ReadFolder` over bytes that no store has seen: damaged and hostile ones."""

    def __init__(
        self, files: Mapping[str, bytes], trust: Trust = NOTHING, prefix: str = "", notes: Mapping[str, bytes] | None = None
    ) -> None:
        self.trust = trust
        self.is_remote = False
        self._files = files
        self._prefix = prefix
        self._notes = notes or {}

    @property
    def names(self) -> Sequence[str]:
        return sorted(name[len(self._prefix) :] for name in self._files if name.startswith(self._prefix))

    def read(self, name: str) -> bytes:
        if self._prefix + name not in self._files:
            raise NotFoundError(f"no file {name!r}")
        return self._files[self._prefix + name]

    def buffer(self, name: str) -> memoryview:
        return memoryview(bytearray(self.read(name)))

    def used(self, name: str, use: Callable[[memoryview], Any]) -> Any:
        return use(self.buffer(name))

    def size(self, name: str) -> int:
        return len(self.read(name))

    def open(self, name: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self.read(name)))

    def ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        return [self.buffer(name)[offset : offset + size] for offset, size in ranges]

    def path(self, name: str) -> Path:
        raise NotImplementedError

    def noted(self, name: str) -> bytes | None:
        return self._notes.get(self._prefix + name)

    def inner(self, name: str) -> "MemoryFolder":
        return MemoryFolder(self._files, self.trust, f"{self._prefix}{name}/", self._notes)


def bytes_of(source: Source) -> bytes:
    if source.data is not None:
        return bytes(source.data)
    return source.reader.read(0, source.size) if source.reader is not None else Path(source.base or "").read_bytes()


def as_files(folder: WriteFolder) -> dict[str, bytes]:
    return {source.path: bytes_of(source) for source in folder.sources}
