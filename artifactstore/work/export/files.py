"""Writes exports to a file or folder: complete under its name, or absent."""

import os
import stat
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Self

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.checkout import check_clash, checkout
from artifactstore.content.read.selection import select
from artifactstore.content.read.stream import Piece, stream
from artifactstore.errors import AlreadyExistsError, BackendError
from artifactstore.runtime.atomic_files import durable, name_new, refuse_existing, staged
from artifactstore.runtime.threads import Pool
from artifactstore.work.export.record import Item, Record
from artifactstore.work.session.session import Session

__all__ = ["ZipWriter", "check_free", "write_crate", "write_file"]

_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can represent
_PIECE: Final = 2**21
Buffer = bytes | memoryview


def write_file(target: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file.

    Raises:
        AlreadyExistsError: it exists, and `overwrite` is off.
        BackendError: it cannot be written.
    """
    if not overwrite:
        check_free(target)
    with staged(target) as part:
        with durable(part) as file:
            file.write(data)
        if overwrite:
            part.replace(target)
        else:
            name_new(part, target)


def write_crate(session: Session, record: Record, target: Path, texts: Mapping[str, bytes], folders: Mapping[str, str]) -> None:
    """Write a crate: into a zip file if the target ends with `.zip`, else into a folder.

    Args:
        session: the store.
        record: the record.
        target: the target.
        texts: name → bytes of what describes the crate.
        folders: digest → folder of each artifact whose files are included.

    Raises:
        AlreadyExistsError: the target is a file, or a folder that is not empty.
        CorruptionError: bytes do not match their digest; nothing was written.
        BackendError: the store cannot be read, or the target cannot be written.
    """
    zipped = target.suffix.lower() == ".zip"
    check_free(target, may_be_empty=not zipped)
    with staged(target) as part:
        if zipped:
            with durable(part) as file, ZipWriter(file) as archive:
                for digest, folder in folders.items():
                    archive.add_artifact(session, record.items[digest], folder)
                for name, text in texts.items():
                    archive.add(name, text)
            name_new(part, target)
            return
        part.mkdir()
        for digest, folder in folders.items():
            _materialise(session, record.items[digest], part / folder)
        for name, text in texts.items():
            (part / name).write_bytes(text)
        if target.is_dir():
            target.rmdir()  # fails if a file was added meanwhile
        part.rename(target)


def check_free(target: Path, *, may_be_empty: bool = False) -> None:
    """Refuse to write over something.

    Raises:
        AlreadyExistsError: the target exists, and is not an empty folder where that is allowed.
        BackendError: it cannot be read.
    """
    if not os.path.lexists(target):
        return
    if not (may_be_empty and target.is_dir()):
        refuse_existing(target)
    try:
        full = any(True for _ in target.iterdir())
    except OSError as error:
        raise BackendError(f"cannot read {target}: {error.strerror or error}") from error
    if full:
        raise AlreadyExistsError(f"{target} is not empty: choose a new or an empty folder")


def _materialise(session: Session, item: Item, folder: Path) -> None:
    """Write an artifact's files into a crate. Not by `get`: inside a run, an export is not an input."""
    folder.parent.mkdir(exist_ok=True)
    watch: Callable[..., None] = session.watch("export", item.size or 0)
    session.with_manifest(
        item.digest,
        lambda manifest: checkout(
            session.core().cached_backend, manifest, select(manifest, lambda path: path), folder, progress=watch
        ),
    )


class ZipWriter:
    """A zip file whose bytes depend only on what is added, in its order: dateless, and uncompressed, since compressors differ.

    Args:
        file: an empty binary file.

    Attributes:
        sums: name → SHA-256 of each file in it, in hex digits.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.sums: dict[str, str] = {}
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._pool = Pool(1, "artifactstore-sha256")
        self._folders: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._zip.close()

    def add(self, name: str, data: bytes) -> None:
        """Add a file in an existing or a new folder."""
        self._add(name, len(data), [[data]])

    def add_file(self, name: str, path: Path) -> None:
        """Add a copy of a file."""
        with path.open("rb") as file:
            self._add(name, path.stat().st_size, ([piece] for piece in iter(partial(file.read, _PIECE), b"")))

    def add_artifact(self, session: Session, item: Item, folder: str) -> None:
        """Add an artifact's files, byte for byte, with links and executable bits. Not by `get`: inside a run, an export is not an input.

        Args:
            session: the store.
            item: the artifact.
            folder: its folder in the zip file.

        Raises:
            CorruptionError: bytes do not match their digest.
            BackendError: the store cannot be read, or the disk is full.
        """
        watch: Callable[[int], None] = session.watch("export", item.size or 0)
        session.with_manifest(item.digest, lambda manifest: self._add_manifest(session, manifest, folder, watch))

    def _add_manifest(self, session: Session, manifest: Manifest, folder: str, watch: Callable[[int], None]) -> None:
        """Add the files of a manifest. What an earlier one of the same artifact has added before it failed is left out."""
        chosen = select(manifest, lambda path: path)
        check_clash(manifest, chosen)
        rows = array("q", (row for row, path in chosen.files if f"{folder}/{path}" not in self.sums))
        with closing(stream(session.core().cached_backend, manifest, rows)) as pieces:
            for row in rows:
                name, executable = f"{folder}/{manifest.paths[row]}", bool(manifest.executable[row])
                self._add(name, manifest.sizes[row], _of_file(pieces, watch), executable=executable)
        for path in chosen.folders:
            self._add_folders(f"{folder}/{path}/")
        for path, target in chosen.links:
            self._add_folders(f"{folder}/{path}")
            self._zip.writestr(_info(f"{folder}/{path}", stat.S_IFLNK | 0o777), target)

    def _add(self, name: str, size: int, pieces: Iterable[Sequence[Buffer]], *, executable: bool = False) -> None:
        """Add a file; its SHA-256 is computed by another thread. If the pieces fail, it is not in the zip file."""
        self._add_folders(name)
        info = _info(name, stat.S_IFREG | (0o755 if executable else 0o644))
        hasher = sha256()
        hashed: Future[None] | None = None
        try:
            with self._zip.open(info, "w", force_zip64=size >= 2**31) as into:
                for piece in pieces:
                    if hashed is not None:
                        hashed.result()
                    if size > _PIECE:
                        hashed = self._pool.submit(_update, hasher, piece)
                    else:
                        _update(hasher, piece)
                    for chunk in piece:
                        into.write(chunk)
        except BaseException:
            self._zip.filelist.pop()
            del self._zip.NameToInfo[name]
            self._zip.start_dir = info.header_offset  # the next file is written over it
            raise
        if hashed is not None:
            hashed.result()
        self.sums[name] = hasher.hexdigest()

    def _add_folders(self, name: str) -> None:
        """Add the folders above a name that are not in the file yet; a name that ends with a slash is one itself."""
        above = name.rpartition("/")[0]
        if not above or above in self._folders:
            return
        self._add_folders(above)
        self._folders.add(above)
        self._zip.writestr(_info(f"{above}/", stat.S_IFDIR | 0o755), b"")


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3  # Unix, on every platform
    info.external_attr = mode << 16
    return info


def _update(hasher: Any, piece: Sequence[Buffer]) -> None:
    for chunk in piece:
        hasher.update(chunk)


def _of_file(pieces: Iterator[Piece], watch: Callable[[int], None]) -> Iterator[Sequence[Buffer]]:
    """Yield the chunks of the next file."""
    for piece in pieces:
        yield piece.chunks
        watch(sum(map(len, piece.chunks)))
        if piece.last:
            return
