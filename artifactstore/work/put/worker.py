"""What a worker of an executor does for a put: cuts, compresses and uploads, and returns where everything is.

Runs in another process, perhaps on another machine: it gets plain values, sees the same paths and URLs, and finds
credentials itself.
"""

import threading
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks, check_reused
from artifactstore.content.write.file_part import FilePart, hash_file, store_part
from artifactstore.content.write.source import Folder, Source, from_file, from_folder, from_remote
from artifactstore.errors import ConflictError
from artifactstore.work.put.uncommitted import ingested, relying
from artifactstore.work.workers.crew import StoreAddress, open_store

__all__ = ["FileRow", "FilesTask", "HashTask", "PartTask", "StoredFiles", "do_task"]

_LISTING: Final = threading.Lock()
_listed: Final[dict[str, Any]] = {}  # URL → its files by path, of the last source


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file to store, as its caller found it.

    Attributes:
        path: path in the artifact.
        base: its folder, ending with `/`, or the file itself; a URL's path in its origin.
        size: in bytes.
        executable: whether it is executable.
        mark: of a file behind a URL: what detects changes.
    """

    path: str
    base: str
    size: int
    executable: bool
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class FilesTask:
    """Files to store.

    Attributes:
        address: of the store.
        rows: the files.
        wanted: digests of artifacts that are likely to share chunks.
        algorithm: the store's digest algorithm.
        sha256: whether to compute SHA-256 digests, too.
        origin: the URL that the files come from, and its options without secrets; None for files on disk.
    """

    address: StoreAddress
    rows: tuple[FileRow, ...]
    wanted: tuple[str, ...]
    algorithm: str
    sha256: bool
    origin: tuple[str, tuple[tuple[str, Any], ...]] | None = None


@dataclass(frozen=True, slots=True)
class PartTask:
    """A part of a large file to store.

    Attributes:
        files: the store and the file.
        part: begin and end.
        exact: whether a chunk is known to begin there.
    """

    files: FilesTask
    part: tuple[int, int]
    exact: bool


@dataclass(frozen=True, slots=True)
class HashTask:
    """A large file to hash as a whole; `files` has the store and the file."""

    files: FilesTask


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Files that are stored.

    Attributes:
        manifest: their chunks.
        held: paths of those that may have been open for writing.
        packs: ids of the packs that were written.
        uploaded: bytes of these packs.
        sha256: path → SHA-256, if requested.
    """

    manifest: Manifest
    held: frozenset[str]
    packs: frozenset[str]
    uploaded: int
    sha256: dict[str, bytes]


def do_task(task: FilesTask | PartTask | HashTask) -> Any:
    """Do one task.

    Raises:
        ConflictError: a file is not as its caller found it, or changed.
        ArtifactStoreError: as a put.
    """
    if isinstance(task, FilesTask):
        return _store_files(task)
    (source,) = _sources(task.files)
    if isinstance(task, HashTask):
        return hash_file(source, task.files.algorithm, sha256=task.files.sha256)
    return _store_part(task, source)


def _store_files(task: FilesTask) -> StoredFiles:
    session, folder = open_store(task.address), Folder(_sources(task))
    done = ingested(session, folder, task.wanted, sha256=task.sha256)
    return StoredFiles(done.manifest, frozenset(done.held), frozenset(done.packs), done.uploaded, dict(done.sha256))


def _store_part(task: PartTask, source: Source) -> FilePart:
    session = open_store(task.files.address)
    core = session.core()

    def store(known: KnownChunks) -> FilePart:
        done = store_part(
            session.backend,
            source,
            task.part,
            exact=task.exact,
            algorithm=core.algorithm,
            chunkers=core.config.chunkers,
            known=known,
            footers=core.footers,
        )
        check_reused(done.manifest, done.packs, known, core.footers)
        return done

    return relying(session, task.files.wanted, task.part[1] - task.part[0], store)


def _sources(task: FilesTask) -> list[Source]:
    """Find the files again, as this machine sees them.

    Raises:
        ConflictError: one of them is another by now.
    """
    if task.origin is not None:
        return _remote_sources(task)
    found: list[Source] = []
    for row in task.rows:
        if row.base.endswith("/"):
            one = from_folder(row.base, row.path, executable=row.executable)
        else:
            one = from_file(row.base)._replace(path=row.path, executable=row.executable)
        if one.size != row.size:
            raise ConflictError(f"{one.disk} has another size here than where it was found: nothing was committed; put again")
        found.append(one)
    return found


def _remote_sources(task: FilesTask) -> list[Source]:
    from artifactstore.backend.source_url import SourceUrl  # noqa: PLC0415 - fsspec, which local files don't need

    assert task.origin is not None
    url, options = task.origin
    with _LISTING:
        if url not in _listed:
            _listed.clear()
            _listed[url] = {one.full_path: one for one in SourceUrl(url, dict(options)).files().files}
        files = _listed[url]
    found: list[Source] = []
    for row in task.rows:
        one = files.get(row.base)
        if one is None or one.size != row.size or str(one.mark) != row.mark:
            with _LISTING:
                _listed.clear()
            raise ConflictError(f"{row.base} at {url} is not as it was found: nothing was committed; put again")
        found.append(from_remote(row.path, one.url, one.size, one))
    return found
