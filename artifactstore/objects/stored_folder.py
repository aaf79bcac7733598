"""The stored files of an object, as a format reads them: verified bytes, ranges, or local files."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.open_file import open_chunks, read_parts
from artifactstore.content.read.retrieve import read_file
from artifactstore.content.read.whole_file import read_buffer, use_buffer
from artifactstore.content.side_content import read_side
from artifactstore.errors import NotFoundError
from artifactstore.objects.memory_limit import check_memory
from artifactstore.objects.trust import Trust

__all__ = ["StoredFolder"]

T = TypeVar("T")
_UNCHECKED: Final = 64 * 2**20  # bytes below which free memory is not checked


class ManifestAccess(Protocol):
    """Calls a function with a manifest of an artifact, and with another manifest if the first one's packs are unreadable."""

    def __call__(self, use: Callable[[Manifest], Any], /, *, part: int) -> Any:
        """Return the function's result; `part` is the row of the file that is read."""


class StoredFolder:
    """The `ReadFolder` of an artifact.

    Args:
        backend: backend of its packs.
        manifest: its manifest.
        tree: materialises the whole artifact on this machine and returns the path.
        trust: what the caller trusts.
        using: calls a function with a manifest of the artifact, given the row of the file (`part=`) that is read in ranges.
        prefix: of the folder to show.
        name: of the only file to show; None: all.
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        tree: Callable[[], Path],
        trust: Trust,
        *,
        using: ManifestAccess,
        prefix: str = "",
        name: str | None = None,
    ) -> None:
        self.trust = trust
        self.is_remote = backend.is_remote
        self._backend = backend
        self._manifest = manifest
        self._tree = tree
        self._using = using
        self._prefix = prefix
        self._name = name

    @property
    def names(self) -> Sequence[str]:
        """Paths of all files, sorted."""
        cut = len(self._prefix)
        if self._name is not None:
            return [self._name]
        return [path[cut:] for path in self._manifest.visible() if path.startswith(self._prefix)]

    def _row(self, name: str) -> int:
        row = self._manifest.find(self._prefix + name)
        if row is None:
            raise NotFoundError(f"the stored object has no file {name!r}; it has {', '.join(self.names[:20]) or 'none'}")
        return row

    def _fitting(self, name: str, ranges: Sequence[tuple[int, int]] | None = None) -> int:
        """Return a file's row, after checking that it, or the given ranges of it, fit into memory."""
        row = self._row(name)
        size = self._manifest.sizes[row] if ranges is None else sum(size for _, size in ranges)
        if size > _UNCHECKED:
            check_memory(
                size, name if ranges is None else f"the requested part of {name}", "get its files with to=, or read part of it"
            )
        return row

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return read_file(self._backend, self._manifest, self._fitting(name))

    def buffer(self, name: str) -> memoryview:
        """Return a file's bytes in memory that the caller owns."""
        return read_buffer(self._backend, self._manifest, self._fitting(name))

    def used(self, name: str, use: Callable[[memoryview], T]) -> T:
        """Return `use(bytes)`, computed while the bytes are verified."""
        return use_buffer(self._backend, self._manifest, self._fitting(name), use)

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        return self._manifest.sizes[self._row(name)]

    def open(self, name: str) -> io.BufferedReader:
        """Open a file as a seekable reader that fetches only the ranges that it needs."""
        row = self._row(name)
        again = partial(self._using, part=row)
        opened: io.BufferedReader = again(lambda manifest: open_chunks(self._backend, manifest, row, again))
        return opened

    def ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return byte ranges of a file in memory that the caller owns, all fetched concurrently."""
        row = self._fitting(name, ranges)
        parts: list[memoryview] = self._using(lambda manifest: read_parts(self._backend, manifest, row, ranges), part=row)
        return parts

    def path(self, name: str) -> Path:
        """Return the path of a read-only local copy of a file; `""` returns the folder of all files."""
        if name:
            self._row(name)
        return self._tree() / (self._prefix + name)

    def noted(self, name: str) -> bytes | None:
        """Return the side content recorded under a name."""
        return read_side(self._backend, self._manifest, self._prefix + name)

    def inner(self, name: str) -> "StoredFolder":
        """Return a subfolder."""
        return self._in(f"{self._prefix}{name}/", None)

    def only(self, name: str, folder: str = "") -> "StoredFolder":
        """Return a folder that shows a single file."""
        return self._in(f"{self._prefix}{folder}/" if folder else self._prefix, name)

    def _in(self, prefix: str, name: str | None) -> "StoredFolder":
        return StoredFolder(self._backend, self._manifest, self._tree, self.trust, using=self._using, prefix=prefix, name=name)
