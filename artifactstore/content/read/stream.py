"""Streams the files of an artifact in order, for what is written once and can't be written at a place of its own, such as a zip file.

Ranges of packs are read and decoded ahead by workers, which verify every chunk; the caller's thread verifies whole files.
"""

from array import array
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.reader import fetch
from artifactstore.content.read.retrieve import LOCAL_GROUP, REMOTE_PART, WORKERS, ReadGroup, false_chunks_error, groups, named
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import new_hasher
from artifactstore.runtime.threads import Pool

__all__ = ["Piece", "stream"]

_REMOTE_WORKERS: Final = 6  # each reads from several packs at once


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file, in order.

    Attributes:
        row: the file's row in the manifest.
        chunks: its next chunks.
        last: whether they are the file's last: then all of it matches its digest.
    """

    row: int
    chunks: Sequence[bytes | memoryview]
    last: bool


def stream(backend: Backend, manifest: Manifest, rows: "array[int]") -> Generator[Piece, None, None]:
    """Yield the content of files, one after the other. What was yielded is right, unless an error follows for the same file.

    Args:
        backend: backend of the packs.
        manifest: the manifest.
        rows: rows of the files in the manifest, ascending.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: bytes do not match a digest.
        BackendError: reading the store failed.
    """
    hasher = new_hasher(manifest.algorithm)
    for group, chunks in _fetched(backend, manifest, rows):
        at = 0
        for row in group.rows:
            count = len(chunks) if group.part else manifest.first[row + 1] - manifest.first[row]
            piece = Piece(row, chunks[at : at + count], last=group.last)
            at += count
            for chunk in piece.chunks:
                hasher.update(chunk)
            if piece.last:
                if hasher.digest() != manifest.digests[row]:
                    raise false_chunks_error(manifest, row)
                hasher = new_hasher(manifest.algorithm)
            yield piece


def _fetched(
    backend: Backend, manifest: Manifest, rows: "array[int]"
) -> Iterator[tuple[ReadGroup, Sequence[bytes | memoryview]]]:
    """Yield groups of files, or of parts of a large one, in order with their chunks."""
    many = _REMOTE_WORKERS if backend.is_remote else WORKERS
    part = REMOTE_PART if backend.is_remote else LOCAL_GROUP
    waiting: deque[tuple[ReadGroup, Future[Sequence[bytes | memoryview]]]] = deque()
    with Pool(many, "artifactstore-stream") as workers:
        try:
            for group in groups(manifest, rows, part, part):
                waiting.append((group, workers.submit(_chunks, backend, manifest, group)))
                if len(waiting) > many + 1:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for group, future in waiting:
                yield group, future.result()
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


def _chunks(backend: Backend, manifest: Manifest, group: ReadGroup) -> Sequence[bytes | memoryview]:
    """Return the chunks of a group, each verified. Runs in a worker."""
    first, row = manifest.first, group.rows[0]
    bounds = [(group.low, group.high)] if group.part else [(first[row], first[row + 1]) for row in group.rows]
    try:
        return fetch(
            backend, [one for low, high in bounds for one in manifest.extent_range(low, high)], algorithm=manifest.algorithm
        )
    except CorruptionError as error:
        raise (named(manifest, row, error) if len(group.rows) == 1 else error) from error
