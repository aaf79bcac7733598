"""Upload ledger: records the packs that an attempt has written, so that the next attempt need not write them again.

A local file per attempt in the cache folder, locked while its process lives, deleted when its put is committed. The packs
it lists are durable and in no entry; whether gc has condemned them is decided by the journal. On any failure the ledger is
ignored.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.model.encoding import new_id
from artifactstore.runtime.local_files import READ, is_own

try:
    import fcntl
except ImportError:  # Windows: without a lock, dead and living attempts could not be told apart
    fcntl = None  # type: ignore[assignment]

__all__ = ["UploadLedger", "unfinished_uploads"]

_PLAIN: Final = 5  # columns of a chunk that is not a delta
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MAX_READ: Final = 256 * 2**20  # max bytes of ledgers read: about four million chunks


class UploadLedger:
    """The packs that one attempt has uploaded; thread-safe.

    Args:
        folder: folder of this store's ledgers; None for no ledger.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if fcntl is None else folder
        self._path: Path | None = None
        self._fd = -1
        self._lock = threading.Lock()

    def record(self, pack: str, extents: Callable[[], list[Extent]]) -> None:
        """Record a durable pack, and the extents of its chunks."""
        if self._folder is None:
            return
        line = json.dumps({"pack": pack, "chunks": [_row(one) for one in extents()]}).encode() + b"\n"
        try:
            with self._lock:
                if self._fd < 0:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._path = self._folder / f"{new_id()}.jsonl"
                    self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                    fcntl.flock(self._fd, fcntl.LOCK_EX)
            os.write(self._fd, line)  # one write under O_APPEND: lines of different threads do not interleave
        except OSError:
            self._folder = None

    def close(self, *, committed: bool) -> None:
        """End the attempt; the ledger of a committed one is deleted."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if committed and self._path is not None:
            self._path.unlink(missing_ok=True)


def unfinished_uploads(
    folder: Path | None, algorithm: str, alive: Callable[[list[str]], set[str]]
) -> tuple[Manifest, list[Path]]:
    """Return the chunks that dead attempts have uploaded, as a manifest without files, and their ledgers.

    Args:
        folder: folder of this store's ledgers.
        algorithm: digest algorithm of the store.
        alive: returns which of the given packs exist and are condemned by no entry.
    """
    manifest, used, records = Manifest(algorithm), list[Path](), list[dict[str, Any]]()
    left = _MAX_READ
    for path in sorted(folder.glob("*.jsonl")) if folder is not None and fcntl is not None else ():
        found = list(_read(path, left))
        if found:
            used.append(path)
            left -= path.stat().st_size
            records += found
    bases = {row[6] for record in records for row in record["chunks"] if len(row) > _PLAIN}
    there = alive([record["pack"] for record in records] + sorted(bases)) if records else set()
    chunks = manifest.chunks
    for record in records:
        if record["pack"] in there:
            manifest.packs.append(record["pack"])
            for digest, size, offset, stored, codec, *base in record["chunks"]:
                if base:
                    if base[1] not in there:
                        continue
                    name, pack, *rest = base
                    chunks.bases[len(chunks)] = Extent(bytes.fromhex(name), size, pack, *rest)
                chunks.add(bytes.fromhex(digest), size, len(manifest.packs) - 1, offset, stored, codec)
    return manifest, used


def _row(one: Extent) -> list[str | int | None]:
    """A chunk as a line of JSON; for a delta with digest, pack, offset, stored length and codec of its base."""
    row: list[str | int | None] = [one.digest.hex(), one.size, one.offset, one.stored, one.codec]
    base = one.base
    return row if base is None else [*row, base.digest.hex(), base.pack, base.offset, base.stored, base.codec]


def _read(path: Path, most: int) -> Iterator[dict[str, Any]]:
    try:
        with os.fdopen(os.open(path, READ), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if the attempt is still running
            st = os.fstat(file.fileno())
            if st.st_size > most or not is_own(st):
                return
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the truncated last line of a killed process
        if _is_record(record):
            yield record


def _is_record(record: Any) -> bool:
    """Return whether a line has the fields that `record` writes: a damaged line costs an upload, never a put."""
    try:
        rows = [
            (row[0], row[1:5]) if len(row) == _PLAIN else (row[0] + row[5], [*row[1:5], *row[7:]]) for row in record["chunks"]
        ]
        packs = [record["pack"], *(row[6] for row in record["chunks"] if len(row) > _PLAIN)]
        names = all(len(bytes.fromhex(name)) in {32, 64} for name, _ in rows) and all(_ID.fullmatch(pack) for pack in packs)
        return names and all(type(number) is int and 0 <= number < 2**62 for _, numbers in rows for number in numbers)
    except (ValueError, TypeError, KeyError, IndexError):
        return False
