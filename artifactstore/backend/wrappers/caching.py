"""A backend behind a local cache: objects that never change are read once a machine.

Only `read` and `read_ranges` of write-once objects are answered from the cache; everything else passes through. The
cache knows an object's content, never whether the object still exists.
"""

from collections.abc import Callable, Sequence
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.backend.errors import check_ranges
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.range_cache import RangeCache
from artifactstore.errors import BackendError
from artifactstore.runtime.file_locks import single_flight

__all__ = ["CachingBackend", "evict"]

_TIMEOUT: Final = 120.0  # seconds to wait for an object that another process fetches


class CachingBackend(Wrapper):
    """Reads through a local cache.

    Args:
        inner: the remote backend.
        pieces: the cache.
        prefixes: of keys whose objects never change.
        reachable: whether the backend is worth asking; if not, an object that is not cached is a `BackendError`.
    """

    def __init__(
        self, inner: Backend, pieces: RangeCache, prefixes: Sequence[str], *, reachable: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(inner)
        self._pieces = pieces
        self._prefixes = tuple(prefixes)
        self._reachable = reachable
        self._locks = pieces.cache / "locks"

    def evict(self, key: str) -> None:
        """Evict an object; it stays if the backend is unreachable."""
        if self._reachable is None or self._reachable():
            self._pieces.evict(key)

    def _check_reachable(self, key: str) -> None:
        if self._reachable is not None and not self._reachable():
            raise BackendError(
                f"{key} of {self.url} is not in the cache {self._pieces.cache}, and the backend cannot be reached: try again when it can",
                transient=True,
            )

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, from the cache if it is immutable and cached."""
        return self._whole(key, self.inner.read)

    def read_large(self, key: str) -> bytes:
        """Return all bytes of an object like `read`; if not cached, it is read in parts."""
        return self._whole(key, self.inner.read_large)

    def _whole(self, key: str, read: Callable[[str], bytes]) -> bytes:
        if not key.startswith(self._prefixes):
            return read(key)
        kept = self._pieces.whole(key)
        if kept is not None:
            return kept
        self._check_reachable(key)
        with single_flight(self._locks, [key], timeout=_TIMEOUT):
            kept = self._pieces.whole(key)
            if kept is None:
                kept = read(key)
                self._pieces.put_object(key, kept)
        return kept

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Return the bytes of each range; those that are not cached are read in one call.

        While one process fetches a range, others that need the same range wait for it.
        """
        if not key.startswith(self._prefixes):
            return self.inner.read_ranges(key, ranges)
        check_ranges(ranges)
        found = self._kept(key, ranges)
        missing = [i for i, part in enumerate(found) if part is None]
        if missing:
            self._check_reachable(key)
            with single_flight(self._locks, [f"{key} {ranges[i][0]}" for i in missing], timeout=_TIMEOUT):
                again = self._kept(key, [ranges[i] for i in missing])
                fetch = [i for i, part in zip(missing, again, strict=True) if part is None]
                for i, part in zip(missing, again, strict=True):
                    found[i] = part
                came = self.inner.read_ranges(key, [ranges[i] for i in fetch]) if fetch else []
                self._pieces.put_parts(key, [(ranges[i][0], part) for i, part in zip(fetch, came, strict=True)])
            for i, part in zip(fetch, came, strict=True):
                found[i] = part
        return [part for part in found if part is not None]

    def _kept(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes | None]":
        parts = self._pieces.parts(key, [one for one in ranges if one[1]])
        rest = iter(parts)
        return [next(rest) if length else b"" for _, length in ranges]


def evict(backend: Backend, key: str) -> None:
    """Evict an object from the cache in front of this backend: it may have been damaged on its way there."""
    current = backend
    while isinstance(current, Wrapper):
        if isinstance(current, CachingBackend):
            current.evict(key)
        current = current.inner
