"""Range cache: objects that never change, cached in a local folder; bounded, checked, shared by processes.

    <folder>/<key>           a whole object: XXH3-64 of the rest (8 bytes, little-endian), then its bytes
    <folder>/<key>.bytes     parts of an object at their offsets; the rest of the file is a hole
    <folder>/<key>.pieces    which parts: records of offset u64, length u32, XXH3-64 u64, little-endian, appended

Nothing here needs to be durable or locked: a piece counts only if its checksum matches, and any other is treated as
missing. The least recently used objects are evicted first. No failure of the cache is an error of the caller's.
"""

import os
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import xxhash

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.local_files import READ, is_own, may_write, read_own
from artifactstore.runtime.remarks import remark

__all__ = ["FOLDER", "RangeCache", "cache_limit", "cached_bytes", "configure_cache_limit", "remove_all"]

FOLDER: Final = "near"  # folder of a store's pieces in the cache
_PIECE: Final = 2**20  # bytes: the minimum that is read and checked
_RECORD: Final = struct.Struct("<QIQ")
_SUM: Final = struct.Struct("<Q")
_USED: Final = 60.0  # seconds between two updates of an object's last use
_DEFAULT: Final = 20 * 10**9  # bytes, unless $ARTIFACTSTORE_CACHE_BYTES says otherwise
_UNITS: Final = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_configured: Final[list[int | str | None]] = [None]
_SHARE: Final = 2  # pieces take at most half of it
_LOOK: Final = 20  # usage is measured again after writing a twentieth of that

_Piece = tuple[int, int, int]  # offset, length, checksum


class RangeCache:
    """The cached pieces of one store; safe for many threads and processes.

    Args:
        cache: the cache folder.
        store: the store's id.
    """

    def __init__(self, cache: Path, store: str) -> None:
        self.cache = cache
        self._folder = cache / "stores" / store / FOLDER
        self._broken = cache.exists() and not may_write(cache)  # read-only cache
        self._written: int | None = None  # bytes since usage was last measured

    # -- whole objects

    def whole(self, key: str) -> bytes | None:
        """Return a cached object, or None."""
        path = self._folder / key
        try:
            raw = read_own(path)
        except OSError:
            return None
        body = raw[_SUM.size :]
        if len(raw) < _SUM.size or _SUM.unpack_from(raw)[0] != xxhash.xxh3_64_intdigest(body):
            self._drop(path)
            return None
        _note_use(path)
        return body

    def put_object(self, key: str, data: bytes) -> None:
        """Cache an object."""
        path = self._folder / key

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_whole(path, _SUM.pack(xxhash.xxh3_64_intdigest(data)), data)

        self._keep(write, len(data))

    # -- parts

    def parts(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """Return the bytes of each (offset, length) that is cached, None for the others."""
        index, data = self._paths(key)
        try:
            raw = read_own(index)
            fd = os.open(data, READ)
        except OSError:
            return [None] * len(ranges)
        try:
            if not is_own(os.fstat(fd)):
                return [None] * len(ranges)
            if len(raw) % _RECORD.size:
                # The writer of the last record was interrupted: what follows would be misaligned.
                self._drop(index, data)
                return [None] * len(ranges)
            known = {piece[0]: piece for piece in _RECORD.iter_unpack(raw) if piece[1] <= _PIECE}
            offsets = sorted(known)
            found: list[bytes | None] = []
            for offset, length in ranges:
                run = _cover(known, offsets, offset, length)
                part = _read(fd, run, offset, length) if run else None
                if run and part is None:
                    self._drop(index, data)  # damaged: the rest of it is not trusted either
                found.append(part)
        except OSError:
            return [None] * len(ranges)
        finally:
            os.close(fd)
        _note_use(index)
        return found

    def put_parts(self, key: str, parts: Iterable[tuple[int, bytes]]) -> None:
        """Cache (offset, bytes) pairs of an object."""
        index, data = self._paths(key)
        parts = [(offset, part) for offset, part in parts if part]

        def write() -> None:
            index.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            records = bytearray()
            fd = os.open(data, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                for offset, part in parts:
                    view = memoryview(part)
                    for start in range(0, len(view), _PIECE):
                        piece = view[start : start + _PIECE]
                        records += _RECORD.pack(offset + start, len(piece), xxhash.xxh3_64_intdigest(piece))
                    _write_at(fd, view, offset)
            finally:
                os.close(fd)
            with index.open("ab", buffering=0) as file:
                file.write(records)

        self._keep(write, sum(len(part) for _, part in parts))

    def evict(self, key: str) -> None:
        """Evict an object."""
        self._drop(self._folder / key, *self._paths(key))

    # -- inside

    def _paths(self, key: str) -> tuple[Path, Path]:
        path = self._folder / key
        return path.with_name(f"{path.name}.pieces"), path.with_name(f"{path.name}.bytes")

    def _keep(self, write: Callable[[], None], size: int) -> None:
        if self._broken:
            return
        limit = cache_limit() // _SHARE
        try:
            write()
        except OSError as error:
            self._broken = True
            text = f"cannot write to the cache folder {self.cache} ({error.strerror or error}): nothing more is cached there"
            remark(text)
            return
        written = None if self._written is None else self._written + size
        if written is None or written > limit // _LOOK:
            written = 0
            _evict(self.cache, limit)
        self._written = written

    def _drop(self, *paths: Path) -> None:
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                self._broken = True


def _cover(known: dict[int, _Piece], offsets: Sequence[int], offset: int, length: int) -> list[_Piece]:
    """Choose pieces that cover a range without a gap; none if they don't."""
    run: list[_Piece] = []
    at, end = offset, offset + length
    while at < end:
        best: _Piece | None = None
        i = bisect_right(offsets, at) - 1
        while i >= 0 and offsets[i] > at - _PIECE:
            piece = known[offsets[i]]
            if piece[0] + piece[1] > max(at, best[0] + best[1] if best else 0):
                best = piece
            i -= 1
        if best is None:
            return []
        run.append(best)
        at = best[0] + best[1]
    return run


def _read(fd: int, run: Sequence[_Piece], offset: int, length: int) -> bytes | None:
    """Read the range from its pieces; None if one of them is damaged."""
    low, high = run[0][0], run[-1][0] + run[-1][1]
    data = b""
    while len(data) < high - low and (more := os.pread(fd, high - low - len(data), low + len(data))):
        data = data + more if data else more
    view = memoryview(data)
    if any(xxhash.xxh3_64_intdigest(view[start - low : start - low + size]) != mark for start, size, mark in run):
        return None
    return data if (low, high) == (offset, offset + length) else bytes(view[offset - low : offset - low + length])


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _note_use(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime > _USED:
            os.utime(path)
    except OSError:
        return


# -- limit and usage


def configure_cache_limit(value: int | str | None) -> None:
    """Set the limit that holds without `$ARTIFACTSTORE_CACHE_BYTES`; None: 20 GB."""
    _configured[0] = value


def cache_limit() -> int:
    """Return the size limit of the cache folder in bytes: `$ARTIFACTSTORE_CACHE_BYTES`, else as configured, else 20 GB.

    Raises:
        InvalidInputError: it is not a number of bytes.
    """
    text, what = os.environ.get("ARTIFACTSTORE_CACHE_BYTES"), "ARTIFACTSTORE_CACHE_BYTES"
    if text is None:
        text, what = str(_DEFAULT if _configured[0] is None else _configured[0]), "cache_bytes"
    number, unit = text.strip(), 1
    for name, size in _UNITS.items():
        if number.lower().endswith(name.lower()):
            number, unit = number[: -len(name)], size
            break
    try:
        return int(float(number) * unit)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{what} must be a number of bytes such as 5000000000 or '5 GB', not {text!r}") from error


def cached_bytes(cache: Path) -> int:
    """Return the disk usage of all stores' pieces in bytes."""
    return sum(size for _, size, _ in _objects(cache))


def remove_all(cache: Path) -> None:
    """Remove all stores' pieces."""
    _evict(cache, 0)


def _evict(cache: Path, limit: int) -> None:
    """Remove the least recently used objects until the rest fits."""
    objects = sorted(_objects(cache), key=lambda one: one[0])
    total = sum(size for _, size, _ in objects)
    if total <= limit:
        return
    sizes = [size for _, size, _ in objects]
    for gone, (_, _, paths) in zip(accumulate(sizes), objects, strict=True):
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue
        if total - gone <= limit * 9 // 10:
            return


def _objects(cache: Path) -> Iterable[tuple[float, int, list[Path]]]:
    """Yield (last use, bytes on disk, files) of each object; the index comes before the bytes that it describes."""
    for top in (cache / "stores").glob(f"*/{FOLDER}"):
        for folder, _, names in os.walk(top):
            for name in names:
                if name.endswith(".bytes") and f"{name[:-6]}.pieces" in names:
                    continue
                first = Path(folder, name)
                paths = [first, first.with_suffix(".bytes")] if name.endswith(".pieces") else [first]
                try:
                    stats = [path.stat() for path in paths]
                except OSError:
                    continue
                yield stats[0].st_mtime, sum(_on_disk(st) for st in stats), paths


def _on_disk(st: os.stat_result) -> int:
    return getattr(st, "st_blocks", (st.st_size + 511) // 512) * 512
