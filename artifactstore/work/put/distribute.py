"""A put by several workers: they store the content of files, and the put itself then finds all of it stored.

The caller lists, plans, and compares what it has found with what is there at the end; it writes the manifest and the
entry, as every put does. So nothing of it depends on how the work was divided.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.write.file_part import FilePart, join_parts
from artifactstore.content.write.source import Folder, Source, stat_of
from artifactstore.errors import ConflictError
from artifactstore.runtime.file_stats import signature
from artifactstore.work.put.worker import FileRow, FilesTask, HashTask, PartTask, StoredFiles, do_task
from artifactstore.work.session.session import Session
from artifactstore.work.workers.crew import address_of, plain_options, run_tasks

__all__ = ["Distributed", "distribute"]

SPLIT: Final = 10**9  # bytes: a larger file is cut by several workers
PART: Final = 256 * 2**20  # bytes of such a part
_TASKS: Final = 16  # a task has this share of what is left: the last ones are small, and all workers end together
_LEAST: Final = 2**20  # bytes of a task
_MOST: Final = 256 * 2**20
_FILES: Final = 2000


@dataclass(slots=True)
class Distributed:
    """What workers have stored.

    Attributes:
        manifests: the chunks of their files.
        digests: the raw digest of each file of the put, as far as it is known.
        sha256: path → SHA-256, if requested.
        packs: ids of the packs that were written.
        uploaded: bytes of these packs.
        hashed: the files that were read, with their digests and whether they may have been open for writing.
    """

    digests: list[bytes | None]
    manifests: list[Manifest] = field(default_factory=list)
    sha256: dict[str, bytes] = field(default_factory=dict)
    packs: set[str] = field(default_factory=set)
    uploaded: int = 0
    hashed: list[tuple[Source, bytes, bool]] = field(default_factory=list)


def distribute(
    session: Session,
    executor: Any,
    folder: Folder,
    digests: Sequence[bytes | None],
    known: KnownChunks,
    *,
    sha256: bool,
    url: Any,
) -> Distributed:
    """Let workers store the files that `known` lacks.

    Args:
        session: the store.
        executor: of the caller.
        folder: the files of the put.
        digests: per file its digest from the stat cache, else None.
        known: chunks that are stored already, of the artifacts that are likely to share some.
        sha256: also compute each file's SHA-256; every file is then read.
        url: the source's URL and options, if it is one.

    Raises:
        ConflictError: a file changed meanwhile.
        BackendError: the executor failed, or a pack could not be written.
    """
    made = Distributed(list(digests))
    places: dict[str, int] = {}
    plan = _Plan(session, known, sha256=sha256, url=url)
    wanted: list[Source] = []
    for at, source in enumerate(folder.files):
        digest = digests[at]
        if plan.can_be_sent(source) and (sha256 or digest is None or known.find(digest) is None):
            places[source.path] = at
            wanted.append(source)
    small = [one for one in wanted if one.size <= SPLIT]
    tasks = list(plan.tasks(small))
    large = [one for one in wanted if one.size > SPLIT]
    parts = [plan.parts(one) for one in large]
    flat = [*tasks, *(one for several in parts for one in several)]
    results = iter(list(run_tasks(executor, do_task, flat)))
    for done in (next(results) for _ in tasks):
        _take(made, done, places, folder)
    for source, several in zip(large, parts, strict=True):
        done = _joined(executor, source, several, [next(results) for _ in several])
        _take(made, done, places, folder)
    _check_unchanged(wanted)
    return made


def _take(made: Distributed, done: StoredFiles, places: dict[str, int], folder: Folder) -> None:
    made.manifests.append(done.manifest)
    made.sha256.update(done.sha256)
    made.packs |= done.packs
    made.uploaded += done.uploaded
    for path, digest in zip(done.manifest.paths, done.manifest.digests, strict=True):
        made.digests[places[path]] = digest
        source = folder.files[places[path]]
        if source.reader is None:
            made.hashed.append((source, digest, path in done.held))


def _joined(executor: Any, source: Source, tasks: Sequence[Any], results: Sequence[Any]) -> StoredFiles:
    """Join the parts of a file; one that does not begin where its neighbour ends is stored anew from there."""
    algorithm = tasks[0].files.algorithm
    (digest, sha256), parts = results[0], list[FilePart](results[1:])
    for k in range(1, len(parts)):
        begin, end = parts[k - 1].end, tasks[k + 1].part[1]
        if begin >= end:
            parts[k] = FilePart(begin, begin, Manifest(algorithm), frozenset(), 0)
        elif parts[k].begin != begin:
            (parts[k],) = run_tasks(executor, do_task, [PartTask(tasks[k + 1].files, (begin, end), exact=True)])
    packs = frozenset[str]().union(*(one.packs for one in parts))
    manifest = join_parts(source, digest, algorithm, [one for one in parts if one.end > one.begin])
    return StoredFiles(
        manifest, frozenset({source.path}), packs, sum(one.uploaded for one in parts), {source.path: sha256} if sha256 else {}
    )


def _check_unchanged(sources: Sequence[Source]) -> None:
    """Compare each file with what was found when it was listed: another machine may see other times of it.

    Raises:
        ConflictError: it changed since.
    """
    for one in sources:
        if one.reader is None and signature(stat_of(str(one.disk))) != one.signature:
            raise ConflictError(
                f"{one.disk} changed while it was being put; nothing was committed: put again when nothing writes to it"
            )


class _Plan:
    """Divides the work."""

    def __init__(self, session: Session, known: KnownChunks, *, sha256: bool, url: Any) -> None:
        self._address = address_of(session)
        self._wanted = tuple(one.digest for one in known.manifests if one.digest)
        self._algorithm = session.core().algorithm
        self._sha256 = sha256
        self._url = None if url is None else (url[0], tuple(plain_options(url[1]).items()))

    def can_be_sent(self, source: Source) -> bool:
        """Return whether a worker can read a file: not what is only in memory."""
        return source.data is None and (source.reader is None or self._url is not None) and source.base is not None

    def _files(self, sources: Sequence[Source]) -> FilesTask:
        rows = tuple(self._row(one) for one in sources)
        return FilesTask(self._address, rows, self._wanted, self._algorithm, self._sha256, self._url)

    @staticmethod
    def _row(source: Source) -> FileRow:
        reader: Any = source.reader
        base = str(source.base) if reader is None else str(reader.full_path)
        return FileRow(source.path, base, source.size, source.executable, None if reader is None else str(reader.mark))

    def tasks(self, sources: Sequence[Source]) -> Iterator[FilesTask]:
        """Yield neighbours together: they are read together, too."""
        left = sum(one.size for one in sources)
        some: list[Source] = []
        size = 0
        for one in sources:
            if some and (size + one.size > min(max(left // _TASKS, _LEAST), _MOST) or len(some) >= _FILES):
                yield self._files(some)
                left -= size
                some, size = [], 0
            some.append(one)
            size += one.size
        if some:
            yield self._files(some)

    def parts(self, source: Source) -> list[HashTask | PartTask]:
        """Return the tasks of a large file: its hash, and its parts in order."""
        files = self._files([source])
        ends = [*range(PART, source.size - PART // 2, PART), source.size]
        begins = [0, *ends[:-1]]
        return [HashTask(files), *(PartTask(files, part, exact=not part[0]) for part in zip(begins, ends, strict=True))]
