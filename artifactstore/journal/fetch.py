"""Reads of entries: many at a time, in as few sequential round trips as possible, and never past a hole."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.errors import BackendError, CorruptionError, NotFoundError
from artifactstore.journal.chain import FOLDER, entry_key, folder_of, key_number
from artifactstore.runtime.threads import Pool

__all__ = ["Recent", "fetch_run", "last_listed", "list_folders", "read_many", "read_or_none"]

_TRIED: Final = 8  # reads of a file system that show whether threads are worthwhile: they are over NFS
_QUICK: Final = 0.0003  # seconds of a read, below which a thread costs more than it saves


class Recent:
    """The bytes of the entries that were read or appended last: whoever seals them need not read them again.

    Args:
        limit: bytes of them in memory.
    """

    def __init__(self, limit: int = 8 * 2**20) -> None:
        self._limit = limit
        self._raws: deque[bytes] = deque()
        self._last = self._size = 0

    def add(self, seq: int, raw: bytes) -> None:
        """Add an entry; one that does not follow the last begins anew."""
        if seq != self._last + 1:
            self._raws.clear()
            self._size = 0
        self._raws.append(raw)
        self._last, self._size = seq, self._size + len(raw)
        while self._size > self._limit:
            self._size -= len(self._raws.popleft())

    def between(self, first: int, last: int) -> list[bytes]:
        """Return the entries from `first` to `last`; none if not all of them are here."""
        begin = self._last - len(self._raws) + 1
        if not begin <= first <= last <= self._last:
            return []
        return list(islice(self._raws, first - begin, last - begin + 1))


def read_or_none(backend: Backend, key: str) -> bytes | None:
    """Return an object's bytes, or None if it is definitely absent."""
    try:
        return backend.read(key)
    except NotFoundError:
        return None


def read_many(backend: Backend, keys: Sequence[str]) -> list[bytes | None]:
    """Read objects concurrently, many of a quick disk one after the other; None for each absent one."""
    if len(keys) < 2 or backend.concurrency < 2:
        return [read_or_none(backend, key) for key in keys]
    if len(keys) > _TRIED and not backend.is_remote:
        begun = time.perf_counter()
        found = [read_or_none(backend, key) for key in keys[:_TRIED]]
        if time.perf_counter() - begun < _TRIED * _QUICK:
            return found + [read_or_none(backend, key) for key in keys[_TRIED:]]
        return found + _read_concurrently(backend, keys[_TRIED:])
    return _read_concurrently(backend, keys)


def _read_concurrently(backend: Backend, keys: Sequence[str]) -> list[bytes | None]:
    """Read one or more objects by threads; None for each absent one."""
    if len(keys) < 2:
        return [read_or_none(backend, key) for key in keys]
    with Pool(min(len(keys) - 1, max(backend.concurrency, 16))) as pool:
        others = [pool.submit(read_or_none, backend, key) for key in keys[:-1]]
        last = read_or_none(backend, keys[-1])  # a thread costs as much as a request to a near backend
        return [*(one.result() for one in others), last]


def list_folders(backend: Backend, start: int, count: int) -> tuple[int, bool]:
    """List `count` folders from the folder of entry `start` on, concurrently.

    Returns:
        (the highest entry seen, or 0; whether there may be more after these folders). A backend without listings shows
        nothing.
    """
    if not backend.listable:
        return 0, False  # a listing only tells how far ahead to fetch
    folders = [folder_of(start + FOLDER * k) for k in range(count)]

    def numbers(folder: str) -> list[int]:
        return [n for item in backend.list(folder) if (n := key_number(item.key)) is not None]

    if backend.concurrency < 2:
        found = [numbers(folder) for folder in folders]
    else:
        with Pool(count) as pool:
            found = list(pool.map(numbers, folders))
    return max([0, *(n for some in found for n in some)]), bool(found[-1])


def last_listed(backend: Backend, start: int) -> int:
    """Return the highest listed entry from `start` on (`start - 1` if none).

    Doubles the number of folders each time until one is empty, so that a hole at a folder's end hides nothing.
    """
    last, count, more = start - 1, 3, True
    while more:
        seen, more = list_folders(backend, start, count)
        last = max(last, seen)
        start = (start // FOLDER + count) * FOLDER
        count = min(count * 2, 16)
    return last


def fetch_run(backend: Backend, start: int, known: int, *, end: int | None = None, step: int = 1) -> Iterator[bytes]:
    """Yield the bytes of entries `start`, `start + 1` … until one is definitely absent.

    Args:
        backend: the store's.
        start: the first number.
        known: entries up to here are known to exist (listed or read): if one of them is missing, that is damage; beyond, the
            number of entries per request doubles.
        end: stop after this number.
        step: how many to request first beyond the known ones.

    Raises:
        CorruptionError: an entry is missing below one that exists.
        BackendError: an entry cannot be read; all before it were yielded.
    """
    seq = start
    while end is None or seq <= end:
        # The entry after the last known one is requested in the same round trip, to prove that it is absent.
        upto = min(known + 1, seq + 255) if known >= seq else seq + step - 1
        if end is not None:
            upto = min(upto, end)
        raws: list[bytes | None] = []
        failed: BackendError | None = None
        try:
            raws = read_many(backend, [entry_key(n) for n in range(seq, upto + 1)])
        except BackendError as error:
            if error.transient or upto == seq:
                raise
            failed = error
        if failed is not None:  # one of them cannot be read: those before it are yielded first
            half = seq + (upto - seq) // 2
            for one in fetch_run(backend, seq, min(known, half), end=half):
                yield one
                seq += 1
            if seq <= half:
                raise failed
            continue
        for offset, raw in enumerate(raws):
            found = raw
            if found is None and (seq + offset <= known or any(later is not None for later in raws[offset + 1 :])):
                found = _read_again(backend, seq + offset)
            if found is None:
                if seq + offset == 1 and (obstacle := backend.obstacle(entry_key(1))):  # all of the store would look empty
                    raise CorruptionError(f"{entry_key(1)} cannot be read: {obstacle}", location=entry_key(1))
                return
            yield found
        seq = upto + 1
        step = min(step * 2, 64)


def _read_again(backend: Backend, seq: int) -> bytes:
    """Read an entry again that was absent while a later one existed: it may have been written between the two reads."""
    raw = read_or_none(backend, entry_key(seq))
    if raw is None:
        obstacle = backend.obstacle(entry_key(seq))
        raise CorruptionError(
            f"{entry_key(seq)} is missing, but later entries exist: {obstacle or 'the journal is damaged or still being copied'}. "
            "Nothing can be written here; restore the missing entry from a copy of the store, or let the copy finish",
            location=entry_key(seq),
        )
    return raw
