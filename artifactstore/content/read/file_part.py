"""A part of a large file, written by itself: several workers write one file, and its digest is checked when all are done."""

import os
from collections.abc import Iterator
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.reader import fetch
from artifactstore.errors import BackendError
from artifactstore.model.digest import new_hasher
from artifactstore.runtime.threads import Pool

__all__ = ["file_digest", "write_part"]

_GROUP: Final = 8 * 2**20  # bytes that are fetched at a time
_AHEAD: Final = 8  # such groups in flight
_BLOCK: Final = 2**20
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def write_part(backend: Backend, manifest: Manifest, row: int, path: str, part: tuple[int, int]) -> None:
    """Write the chunks of a file that begin in a part of it, each checked against its digest.

    Args:
        backend: backend of the packs.
        manifest: the manifest.
        row: of the file.
        path: on disk; the file may exist.
        part: its begin and end in the file.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: bytes do not match a digest.
        BackendError: reading the store failed, or the disk is full.
    """
    groups = list(_groups(manifest, row, part))
    try:
        fd = os.open(path, _FLAGS, 0o777 if manifest.executable[row] else 0o666)
        try:
            with Pool(max(1, min(len(groups), backend.concurrency, _AHEAD)), "artifactstore-fetch") as pool:
                for first in range(0, len(groups), _AHEAD):
                    some = groups[first : first + _AHEAD]
                    for (at, _), chunks in zip(some, pool.map(lambda one: fetch(backend, one[1]), some), strict=True):
                        os.lseek(fd, at, os.SEEK_SET)
                        for chunk in chunks:
                            view = memoryview(chunk)
                            while view:
                                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
    except OSError as error:
        if isinstance(error, BackendError):
            raise
        raise BackendError(f"{path} cannot be written: {error.strerror or error}; nothing was written") from error


def _groups(manifest: Manifest, row: int, part: tuple[int, int]) -> Iterator[tuple[int, list[Extent]]]:
    """Yield neighbours: (their offset in the file, their extents)."""
    at, begin, size, some = 0, 0, 0, list[Extent]()
    for extent in manifest.extents(row):
        if part[0] <= at < part[1]:
            if some and size + extent.size > _GROUP:
                yield begin, some
                some, size = [], 0
            begin = begin if some else at
            some.append(extent)
            size += extent.size
        at += extent.size
    if some:
        yield begin, some


def file_digest(path: str, algorithm: str) -> bytes:
    """Return the raw digest of a file on disk.

    Raises:
        BackendError: it cannot be read.
    """
    hasher = new_hasher(algorithm, parallel=True)
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as the rest of this room
            while block := file.read(_BLOCK * 16):
                hasher.update(block)
    except OSError as error:
        raise BackendError(f"{path} cannot be read: {error.strerror or error}") from error
    return hasher.digest()
