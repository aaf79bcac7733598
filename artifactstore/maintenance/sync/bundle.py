"""Bundle: a store as one zip file that can be carried where no network goes, read in place, and imported.

Members are stored, not deflated (packs do not compress further), in the order of a copy, without timestamps:
the same store at the same entry gives the same file. This module knows one journal and one open zip file.
"""

import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import IO, Final, Self

from artifactstore.backend.base import Backend
from artifactstore.errors import ArtifactStoreError, CorruptionError, NotFoundError
from artifactstore.journal.chain import entry_key, previous_of
from artifactstore.journal.heads import format_head
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import mark_body, target_key
from artifactstore.maintenance.sync.object_copy import (
    check_finished,
    digest_at,
    first_needed,
    left_out_reason,
    read_checked,
    sizes,
    snapshot,
)
from artifactstore.maintenance.sync.report import LeftOut, SyncReport, Watch
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY
from artifactstore.runtime.threads import Pool

__all__ = ["GoneError", "bundle_folder", "bundle_whole"]

_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold
_MODE: Final = 0o100644 << 16
_AHEAD: Final = 4  # objects read ahead: each at most 64 MiB
_PREFIXES: Final = ("packs/", "manifests/", "facts/", "journal/")


class GoneError(Exception):
    """Clean-up removed an object while the bundle was written: start over."""


class _Archive:
    """A zip file being written."""

    def __init__(self, file: IO[bytes], done: SyncReport) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._done = done

    def add(self, key: str, raw: bytes) -> None:
        info = zipfile.ZipInfo(key, _NO_TIME)
        info.create_system, info.external_attr = 3, _MODE  # the same on every platform
        self._zip.writestr(info, raw)
        self._done.bytes += len(raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()


def bundle_whole(source: Journal, file: IO[bytes], *, watch: Watch, done: SyncReport) -> None:
    """Write a store in its current state: a copy of it, as `sync` makes one.

    Args:
        source: the store's journal.
        file: an empty binary file.
        watch: reports progress.
        done: updated with counts.

    Raises:
        GoneError: clean-up ran meanwhile: write another file.
        CorruptionError: the store is damaged.
        RefusedError: the store is an unfinished copy.
    """
    source.catch_up()
    check_finished(source)
    last, digest, objects = snapshot(source, 0)
    keys = sorted(objects)
    known = sizes(source.backend)
    progress = watch("bundle", sum(known.get(key, 0) for key in keys))
    previous = digest_at(source, 0)
    with _Archive(file, done) as archive:
        archive.add(target_key(last, digest), mark_body(source.config.store, last, digest))
        archive.add(CONFIG_KEY, source.config.raw)
        lost: dict[str, ArtifactStoreError] = {}
        for key, raw in _read_ahead(source.backend, keys, objects.digests.get, source.config.digest):
            if isinstance(raw, ArtifactStoreError):
                lost[key] = raw
                if first_needed(source, lost) is None:
                    continue
                if isinstance(raw, NotFoundError):
                    raise GoneError(key) from raw
                raise raw
            archive.add(key, raw)
            done.objects += 1
            progress(len(raw))
        for seq, raw in source.raw_entries(1, last):
            if previous_of(raw) != str(previous):
                raise CorruptionError(f"{entry_key(seq)} does not follow the entry before it", location=entry_key(seq))
            previous = Digest.of(raw, source.config.digest)
            archive.add(entry_key(seq), raw)
            done.entries += 1
    if previous != digest:
        raise CorruptionError(f"{entry_key(last)} has changed since it was read", location=entry_key(last))
    done.head = format_head(last, digest)
    done.left_out = [LeftOut(key, left_out_reason(error)) for key, error in sorted(lost.items())]


def bundle_folder(folder: Backend, file: IO[bytes], *, done: SyncReport) -> None:
    """Bundle a private store, deleting each object once it is in the file, so that it is on the disk only once.

    Args:
        folder: the store's backend.
        file: an empty binary file.
        done: updated with counts.
    """
    keys = sorted((item.key for prefix in _PREFIXES for item in folder.list(prefix)), key=_order)
    with _Archive(file, done) as archive:
        for key in [CONFIG_KEY, *keys]:
            archive.add(key, folder.read(key))
            folder.delete(key)
            done.objects += not key.startswith((CONFIG_KEY, "journal/"))
            done.entries += key.startswith("journal/")


def _order(key: str) -> tuple[int, str]:
    return _PREFIXES.index(key.partition("/")[0] + "/"), key


def _read_ahead(
    backend: Backend, keys: Iterable[str], digest_of: Callable[[str], str | None], algorithm: str
) -> Iterator[tuple[str, bytes | ArtifactStoreError]]:
    """Yield objects in order, checked, read ahead of the writer; a missing or damaged object as its error."""

    def read(key: str) -> bytes | ArtifactStoreError:
        try:
            return read_checked(backend, key, digest_of(key), algorithm)
        except (CorruptionError, NotFoundError) as error:
            return error

    ahead = min(_AHEAD, max(1, backend.concurrency))
    with Pool(ahead, "artifactstore-bundle") as pool:
        waiting = deque[tuple[str, Future[bytes | ArtifactStoreError]]]()
        try:
            for key in keys:
                waiting.append((key, pool.submit(read, key)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
