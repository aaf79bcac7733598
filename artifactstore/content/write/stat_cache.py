"""Stat cache: device, inode, size, mtime and ctime of a file → its digest, so that unchanged files are not read.

A local SQLite file in the cache folder. On any failure the cache is ignored. It contains only files whose every
later change shows in their stat (see `runtime.file_stats`).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from artifactstore.content.manifests.compact_lists import OptionalDigests
from artifactstore.content.write.scan import Scanned
from artifactstore.content.write.source import Source
from artifactstore.runtime.file_stats import device, file_system, lasting, timed
from artifactstore.runtime.local_files import is_own

__all__ = ["StatCache"]

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, signature BLOB, digest BLOB) WITHOUT ROWID"
_LIMIT: Final = 4_000_000  # rows: about 600 MB; beyond, the cache is emptied


class StatCache:
    """The stat cache of one digest algorithm; safe for concurrent processes."""

    def __init__(self, folder: Path | None, algorithm: str) -> None:
        self._path = None if folder is None else folder / f"stat-{algorithm}.sqlite"

    def lookup(self, root: str, sources: Sequence[Source]) -> Sequence[bytes | None]:
        """Return the digest of each source that is known and unchanged, else None.

        Args:
            root: absolute path that contains all sources, or the single file's own path.
            sources: sorted by path.
        """
        unknown = [None] * len(sources)
        samples = sources.samples() if isinstance(sources, Scanned) else sources
        try:
            if self._path is None or not sources or not is_own(self._path.stat()):
                return unknown
            devices = {device(source.signature): source for source in samples}
            proven = {one for one, source in devices.items() if timed(file_system(source.disk or "", one))}
            if not proven:
                return unknown
            with _connect(self._path) as db:
                return _merge(_rows(db, root, sources), sources, None if len(proven) == len(devices) else proven)
        except (sqlite3.Error, OSError, UnicodeEncodeError):
            return unknown

    def store(self, found: Iterable[tuple[Source, bytes, bool]], *, hashed_at: int) -> None:
        """Record digests of files hashed not before `hashed_at` (ns since the epoch), each with whether it may have been open for writing."""
        if self._path is None:
            return
        # Row by row: a list of a million would exceed the memory bound.
        rows = _lasting(found, hashed_at)
        first = next(rows, None)
        if first is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with _connect(self._path) as db:
                db.execute(_SCHEMA)
                if db.execute("SELECT count(*) FROM (SELECT 1 FROM files LIMIT ?)", (_LIMIT,)).fetchone()[0] >= _LIMIT:
                    db.execute("DELETE FROM files")
                db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", chain((first,), rows))
                db.commit()
        except (sqlite3.Error, OSError, UnicodeEncodeError):
            return


def _lasting(found: Iterable[tuple[Source, bytes, bool]], hashed_at: int) -> Iterator[tuple[str | None, bytes, bytes]]:
    kinds: dict[bytes, str | None] = {}
    for source, digest, held in found:
        if source.base and source.signature:
            one = device(source.signature)
            if one not in kinds:
                kinds[one] = file_system(source.disk or "", one)
            if lasting(kinds[one], source.signature, held=held, hashed_at=hashed_at):
                yield source.disk, source.signature, digest


class _connect:  # noqa: N801 - used as a function
    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=1.0, isolation_level="DEFERRED")

    def __enter__(self) -> sqlite3.Connection:
        # Losing the cache in a power failure is fine; a wrong answer is not, which SQLite's journal prevents.
        self._db.execute("PRAGMA synchronous = OFF")
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()


def _rows(db: sqlite3.Connection, root: str, sources: Sequence[Source]) -> Iterator[tuple[str, bytes, bytes]]:
    if len(sources) == 1:
        return db.execute("SELECT path, signature, digest FROM files WHERE path = ?", (sources[0].disk,))
    query = "SELECT path, signature, digest FROM files WHERE path >= ? AND path < ? ORDER BY path"
    return db.execute(query, (root.rstrip("/") + "/", root.rstrip("/") + "0"))


def _merge(rows: Iterator[tuple[str, bytes, bytes]], sources: Sequence[Source], proven: set[bytes] | None) -> OptionalDigests:
    """Merge both sorted sequences: a dict of a million rows would exceed the memory bound.

    Args:
        rows: rows of the cache.
        sources: sources to look up.
        proven: devices on which stat is reliable; None: all.
    """
    found = OptionalDigests()
    row = next(rows, None)
    signed = sources.signed() if isinstance(sources, Scanned) else ((one.disk or "", one.signature) for one in sources)
    for disk, signature in signed:
        while row is not None and row[0] < disk:
            row = next(rows, None)
        same = row is not None and row[0] == disk and row[1] == signature and (proven is None or device(signature) in proven)
        found.append(row[2] if same and row is not None else None)
    return found
