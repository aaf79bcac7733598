"""Where chunks may come from: the pack itself, other packs of the store, the user's files, copies. Each is checked against its digest."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import Extent, Manifest, manifest_key
from artifactstore.content.manifests.parquet import decode
from artifactstore.content.packs.footers import read_footer
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.packs.reader import fetch
from artifactstore.content.write.scan import scan
from artifactstore.content.write.source import Folder, from_file
from artifactstore.errors import ArtifactStoreError, BackendError, ConflictError, InvalidInputError
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import Digest, hash_bytes, new_hasher

__all__ = ["Copy", "Files", "Origins", "read_manifest"]

_BLOCK: Final = 8 * 2**20
Found = tuple[str, Callable[[], bytes | memoryview]]  # where it is from, and what reads it


@dataclass(slots=True)
class Copy:
    """A copy of the store that bytes may come from.

    Attributes:
        backend: the copy's.
        journal: its journal, or None if it cannot be read.
    """

    backend: Backend
    journal: Journal | None = None

    @property
    def state(self) -> State | None:
        """The fold of the copy, which may know later layouts than this store."""
        return None if self.journal is None else self.journal.fold


def read_manifest(backend: Backend, holder: str, expected: str, digest: str) -> tuple[Manifest | None, bytes | None, str]:
    """Return a manifest that matches the journal, its bytes, and what is wrong with it ("" if it is missing).

    Args:
        backend: where it is.
        holder: its id.
        expected: digest of its bytes.
        digest: of the artifact.

    Raises:
        BackendError: the backend cannot be reached.
    """
    key, algorithm = manifest_key(holder), expected.partition(":")[0]
    try:
        raw = backend.read(key)
        if str(Digest.of(raw, algorithm)) != expected:
            return None, None, f"{key} does not match its digest in the journal"
        found = decode(raw, key, algorithm=digest.partition(":")[0])
    except ArtifactStoreError as error:
        if isinstance(error, BackendError) and error.transient:
            raise
        return None, None, "" if isinstance(error, KeyError) else str(error)
    if found.digest != digest:
        return None, None, f"{key} is the manifest of {found.digest}"
    return found, raw, ""


class Files:
    """The user's own files, found by size and digest.

    Args:
        folders: folders and files.
        algorithm: digest algorithm of the store.

    Raises:
        InvalidInputError: one of them is neither.
    """

    def __init__(self, folders: Iterable[str | os.PathLike[str]], algorithm: str) -> None:
        self._algorithm = algorithm
        self._paths: dict[int, list[str]] = {}
        self._digests: dict[str, bytes | None] = {}
        self.roots: list[Path] = []
        for one in folders:
            path = Path(one)
            if path.is_dir():
                folder = _scanned(path)
                for source in folder.files:
                    self._paths.setdefault(source.size, []).append(f"{path}/{source.path}")
            elif path.is_file():
                self._paths.setdefault(path.stat().st_size, []).append(str(path))
            else:
                raise InvalidInputError(f"files= must name folders or files, and {os.fspath(one)!r} does not exist")
            self.roots.append(path)

    def find(self, size: int, digest: bytes) -> str | None:
        """Return the path of a file with this content, or None."""
        return next((path for path in self._paths.get(size, ()) if self.digest(path) == digest), None)

    def digest(self, path: str) -> bytes | None:
        """Return the digest of a file; None if it cannot be read."""
        if path not in self._digests:
            hasher = new_hasher(self._algorithm)
            try:
                with Path(path).open("rb") as file:
                    while block := file.read(_BLOCK):
                        hasher.update(block)
                self._digests[path] = hasher.digest()
            except OSError:
                self._digests[path] = None
        return self._digests[path]

    def sources(self) -> Iterator[tuple[str, Folder]]:
        """Yield what may be an artifact as a whole: each folder, each folder in it, and each file."""
        for root in self.roots:
            for path in [root, *(one for one in sorted(root.rglob("*")) if not one.is_symlink())] if root.is_dir() else [root]:
                try:
                    yield str(path), _scanned(path) if path.is_dir() else Folder([from_file(str(path))])
                except (InvalidInputError, ConflictError, OSError):
                    continue  # what no put would take


def _scanned(path: Path) -> Folder:
    return scan(str(path), keep=lambda _path, _is_folder: True)


@dataclass(slots=True)
class Origins:
    """Finds chunks by their digest.

    Attributes:
        backend: the store's.
        algorithm: its digest algorithm.
        manifests: returns its readable manifests.
        copies: copies of the store.
        files: the user's files, or None.
        wanted: all chunks that will be asked for, each with the extents that name it: what has to be searched is searched once.
    """

    backend: Backend
    algorithm: str
    manifests: Callable[[], Iterable[Manifest]]
    copies: Sequence[Copy] = ()
    files: Files | None = None
    wanted: Mapping[bytes, Sequence[Extent]] = field(default_factory=dict)
    _here: "dict[bytes, list[Found]] | None" = None
    _there: dict[int, dict[bytes, list[Found]]] = field(default_factory=dict)

    def find(self, digest: bytes) -> tuple[str, bytes] | None:
        """Return where a chunk is from and its verified bytes, or None if no source has it."""
        for label, read in self._candidates(digest):
            try:
                data = bytes(read())
            except (ArtifactStoreError, OSError) as error:
                if isinstance(error, BackendError) and error.transient:
                    raise
                continue
            if hash_bytes(data, self.algorithm) == digest:
                return label, data
        return None

    def _candidates(self, digest: bytes) -> Iterator[Found]:
        extents = self.wanted.get(digest, ())
        for extent in extents:
            yield _key_of(extent), _reader(self.backend, extent, self.algorithm)
        if self._here is None:
            self._here = self._search_here()
        yield from self._here.get(digest, ())
        for number, copy in enumerate(self.copies):
            for extent in extents:
                yield copy.backend.url, _reader(copy.backend, extent, self.algorithm)
            if number not in self._there:
                self._there[number] = self._search_copy(copy)
            yield from self._there[number].get(digest, ())

    def _search_here(self) -> dict[bytes, list[Found]]:
        """Search the user's files, the manifests, and the footers of all packs, those that no manifest names included."""
        found: dict[bytes, list[Found]] = {}
        for manifest in self.manifests():
            if self.files is not None:
                self._search_files(manifest, found)
            self._add(found, manifest, self.backend, "")
        for item in list(self.backend.list("packs/")) if self.backend.listable else ():
            try:
                frames = read_footer(self.backend, item.key)[0]
            except (ArtifactStoreError, LookupError) as error:
                if isinstance(error, BackendError) and error.transient:
                    raise
                continue
            pack = item.key.rpartition("/")[2].partition(".")[0]
            for one in frames:
                if one.digest in self.wanted and one.base is None:
                    extent = Extent(one.digest, one.size, pack, one.offset, one.stored, one.codec)
                    found.setdefault(one.digest, []).append((item.key, _reader(self.backend, extent, self.algorithm)))
        return found

    def _search_files(self, manifest: Manifest, found: dict[bytes, list[Found]]) -> None:
        assert self.files is not None  # asked only then
        first, chunks = manifest.first, manifest.chunks
        for row, digest in enumerate(manifest.digests):
            here = [i for i in range(first[row], first[row + 1]) if chunks.digests[i] in self.wanted]
            path = self.files.find(manifest.sizes[row], digest) if here else None
            if path is None:
                continue
            for i in here:
                offset = sum(chunks.sizes[first[row] : i])
                found.setdefault(chunks.digests[i], []).append((path, _slice(path, offset, chunks.sizes[i])))

    def _search_copy(self, copy: Copy) -> dict[bytes, list[Found]]:
        """Search the manifests of a copy: it may have another layout than this store by now."""
        found: dict[bytes, list[Found]] = {}
        state = copy.state
        for digest, holders in state.holders.items() if state is not None else ():
            for holder in reversed(holders):
                manifest, _, _ = read_manifest(copy.backend, holder, state.manifests[holder][1], digest)  # type: ignore[union-attr]
                if manifest is not None:
                    self._add(found, manifest, copy.backend, copy.backend.url)
                    break
        return found

    def _add(self, found: dict[bytes, list[Found]], manifest: Manifest, backend: Backend, label: str) -> None:
        for i, digest in enumerate(manifest.chunks.digests):
            if digest in self.wanted:
                extent = manifest.extent(i)
                found.setdefault(digest, []).append((label or _key_of(extent), _reader(backend, extent, self.algorithm)))


def _key_of(extent: Extent) -> str:
    return "a manifest of this store" if extent.pack is None else pack_key(extent.pack)


def _reader(backend: Backend, extent: Extent, algorithm: str) -> Callable[[], bytes | memoryview]:
    return lambda: fetch(backend, [extent], algorithm=algorithm)[0]


def _slice(path: str, offset: int, size: int) -> Callable[[], Any]:
    def read() -> bytes:
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    return read
