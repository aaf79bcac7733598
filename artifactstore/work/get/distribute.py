"""A get by several workers: they write and check the files of a folder that no other process can see yet.

Each opens the store by itself and sees the same folder. The caller stages, compares what was there, and renames, as
every get does.
"""

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.file_part import file_digest, write_part
from artifactstore.content.read.retrieve import retrieve
from artifactstore.work.session.session import Session
from artifactstore.work.workers.crew import StoreAddress, address_of, open_store, run_tasks

__all__ = ["HashTask", "PartTask", "RowsTask", "do_task", "retrieve_by"]

SPLIT: Final = 10**9  # bytes: a larger file is written by several workers
PART: Final = 256 * 2**20  # bytes of such a part
_TASKS: Final = 16  # a task has this share of what is left: the last ones are small, and all workers end together
_LEAST: Final = 2**20  # bytes of a task
_MOST: Final = 256 * 2**20
_FILES: Final = 2000


@dataclass(frozen=True, slots=True)
class RowsTask:
    """Files to write.

    Attributes:
        address: of the store.
        digest: of the artifact.
        rows: of the files in its manifest, ascending.
        paths: on disk.
    """

    address: StoreAddress
    digest: str
    rows: tuple[int, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartTask:
    """A part of a large file to write; `rows` has the file, `part` its begin and end."""

    rows: RowsTask
    part: tuple[int, int]


@dataclass(frozen=True, slots=True)
class HashTask:
    """A file on disk to hash."""

    path: str
    algorithm: str


def retrieve_by(session: Session, executor: Any, digest: str) -> Callable[..., None]:
    """Return what writes files of an artifact as `retrieve` does, by the workers of an executor."""

    def write(
        backend: Backend,
        manifest: Manifest,
        rows: "array[int]",
        path: Callable[[int], str],
        *,
        progress: Callable[[int, int], None] = lambda _size, _files: None,
    ) -> None:
        address = address_of(session)
        small = [at for at, row in enumerate(rows) if manifest.sizes[row] <= SPLIT]
        large = [at for at, row in enumerate(rows) if manifest.sizes[row] > SPLIT]
        tasks: list[RowsTask | PartTask] = [
            RowsTask(address, digest, tuple(rows[at] for at in some), tuple(map(path, some)))
            for some in _groups(manifest, rows, small)
        ]
        for at in large:
            size = manifest.sizes[rows[at]]
            _make(path(at), size, executable=bool(manifest.executable[rows[at]]))
            one = RowsTask(address, digest, (rows[at],), (path(at),))
            tasks += [PartTask(one, (begin, min(begin + PART, size))) for begin in range(0, size, PART)]
        for task, _ in zip(tasks, run_tasks(executor, do_task, tasks), strict=True):
            if isinstance(task, RowsTask):
                progress(sum(manifest.sizes[row] for row in task.rows), len(task.rows))
            else:
                progress(task.part[1] - task.part[0], 0)
        hashes = run_tasks(executor, do_task, [HashTask(path(at), manifest.algorithm) for at in large])
        for at, found in zip(large, hashes, strict=True):
            if found != manifest.digests[rows[at]]:
                os.unlink(path(at))  # noqa: PTH108 - paths are texts here
                retrieve(backend, manifest, array("q", [rows[at]]), partial(lambda one, _: path(one), at))
            progress(0, 1)

    return write


def _groups(manifest: Manifest, rows: "array[int]", small: list[int]) -> Iterator[list[int]]:
    left = sum(manifest.sizes[rows[at]] for at in small)
    some: list[int] = []
    total = 0
    for at in small:
        size = manifest.sizes[rows[at]]
        if some and (total + size > min(max(left // _TASKS, _LEAST), _MOST) or len(some) >= _FILES):
            yield some
            left -= total
            some, total = [], 0
        some.append(at)
        total += size
    if some:
        yield some


def _make(path: str, size: int, *, executable: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if executable else 0o666)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def do_task(task: RowsTask | PartTask | HashTask) -> bytes:
    """Do one task, in a worker; returns the digest of a `HashTask`.

    Raises:
        ArtifactStoreError: as `retrieve`.
    """
    if isinstance(task, HashTask):
        return file_digest(task.path, task.algorithm)
    rows = task if isinstance(task, RowsTask) else task.rows
    session = open_store(rows.address)

    def use(manifest: Manifest) -> None:
        backend = session.core().cached_backend
        if isinstance(task, PartTask):
            write_part(backend, manifest, rows.rows[0], rows.paths[0], task.part)
            return
        for path in rows.paths:
            with suppress(FileNotFoundError):  # of a worker that was lost
                os.unlink(path)  # noqa: PTH108 - as above
        retrieve(backend, manifest, array("q", rows.rows), rows.paths.__getitem__)

    session.with_manifest(rows.digest, use)
    return b""
