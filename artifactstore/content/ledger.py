"""The ledger of uploads: which packs an attempt has written, so that the next one need not write them again.

A local file for each attempt in the cache folder, locked while its process lives, gone when its put is committed. What
it lists is durable and named by no entry; whether clean-up condemned it is for the journal to say. Any failure of it
means that there is none.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from artifactstore.backend.disk import READ, is_own
from artifactstore.content.manifest import Extent, Manifest
from artifactstore.model.encoding import new_id

try:
    import fcntl
except ImportError:  # Windows: without a lock nobody could tell a dead attempt from a living one
    fcntl = None  # type: ignore[assignment]

__all__ = ["Ledger", "unfinished"]

_PLAIN: Final = 5  # columns of a chunk that is no delta
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MOST: Final = 256 * 2**20  # bytes of ledgers that are read: some four million chunks


class Ledger:
    """What one attempt has uploaded; threads may record at the same time.

    Args:
        folder: where ledgers of this store lie; None for no ledger.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if fcntl is None else folder
        self._path: Path | None = None
        self._fd = -1
        self._lock = threading.Lock()

    def record(self, pack: str, extents: Callable[[], list[Extent]]) -> None:
        """Note a pack that is durable, and where its chunks lie."""
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
            os.write(self._fd, line)  # one write under O_APPEND: lines of several threads do not mix
        except OSError:
            self._folder = None

    def close(self, *, committed: bool) -> None:
        """End the attempt; a committed one leaves nothing behind."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if committed and self._path is not None:
            self._path.unlink(missing_ok=True)


def unfinished(folder: Path | None, algorithm: str, alive: Callable[[list[str]], set[str]]) -> tuple[Manifest, list[Path]]:
    """Return the chunks that dead attempts have uploaded, as a manifest without files, and their ledgers.

    Args:
        folder: where ledgers of this store lie.
        algorithm: of the store.
        alive: tells which of some packs are there and condemned by no entry.
    """
    manifest, used, records = Manifest(algorithm), list[Path](), list[dict[str, Any]]()
    left = _MOST
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
    """One chunk as a line of JSON has it: of a delta with the digest, pack, offset, stored length and codec of its base."""
    row: list[str | int | None] = [one.digest.hex(), one.size, one.offset, one.stored, one.codec]
    base = one.base
    return row if base is None else [*row, base.digest.hex(), base.pack, base.offset, base.stored, base.codec]


def _read(path: Path, most: int) -> Iterator[dict[str, Any]]:
    try:
        with os.fdopen(os.open(path, READ), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a living attempt's: it is busy with it itself
            st = os.fstat(file.fileno())
            if st.st_size > most or not is_own(st):
                return
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed
        if _is_record(record):
            yield record


def _is_record(record: Any) -> bool:
    """Tell whether a line has what `record` writes: a damaged one costs an upload, never a put."""
    try:
        rows = [
            (row[0], row[1:5]) if len(row) == _PLAIN else (row[0] + row[5], [*row[1:5], *row[7:]]) for row in record["chunks"]
        ]
        packs = [record["pack"], *(row[6] for row in record["chunks"] if len(row) > _PLAIN)]
        names = all(len(bytes.fromhex(name)) in {32, 64} for name, _ in rows) and all(_ID.fullmatch(pack) for pack in packs)
        return names and all(type(number) is int and 0 <= number < 2**62 for _, numbers in rows for number in numbers)
    except (ValueError, TypeError, KeyError, IndexError):
        return False
