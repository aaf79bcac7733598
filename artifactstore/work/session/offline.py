"""Offline fallback: serves reads from the local cache while the remote backend is unreachable.

Reads only: a writer must read the journal's head first, and gets an error while the backend is unreachable.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.errors import BackendError
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.local_files import read_own
from artifactstore.runtime.remarks import remark

__all__ = ["OfflineFallback"]

_CONSTANT: Final = ("manifests/", "packs/", "facts/", "segments/")  # written once, under keys that are used once
_AWAY: Final = 60.0  # seconds after a failure before an unreachable backend is tried again


class OfflineFallback:
    """Local knowledge of one session about its backend.

    Args:
        backend: the backend.
        cache: the cache folder, or None for no cache.

    Attributes:
        backend: the backend; unreachable if `$ARTIFACTSTORE_OFFLINE` is set.
    """

    def __init__(self, backend: Backend, cache: Path | None) -> None:
        far = backend.is_remote
        self.offline = far and os.environ.get("ARTIFACTSTORE_OFFLINE", "") not in {"", "0"}
        self.backend = backend
        if self.offline:
            from artifactstore.backend.wrappers.offline import UnreachableBackend  # noqa: PLC0415 - only where asked for

            self.backend = UnreachableBackend(backend, "ARTIFACTSTORE_OFFLINE is set")
        self._cache = cache if far and hasattr(os, "pread") else None
        self._away = float("-inf")

    @property
    def reachable(self) -> bool:
        """Whether to try the backend."""
        return not self.offline and time.monotonic() > self._away

    def over(self, backend: Backend, store: str) -> Backend:
        """Return the backend of a store behind the cache, for reading immutable objects."""
        if self._cache is None:
            return backend
        from artifactstore.backend.wrappers.caching import CachingBackend  # noqa: PLC0415 - stores on a network only
        from artifactstore.backend.wrappers.range_cache import RangeCache  # noqa: PLC0415 - as above

        return CachingBackend(backend, RangeCache(self._cache, store), _CONSTANT, reachable=lambda: self.reachable)

    def mark_unreachable(self, error: BackendError, known: str) -> None:
        """Record that the backend is unreachable, and warn that answers come from the cache.

        Raises:
            BackendError: the given error, if it has another cause.
        """
        if not error.transient or self._cache is None:
            raise error
        if not self.offline:
            self._away = time.monotonic() + _AWAY
            text = f"{self.backend.url} is unreachable: answering from the cache, {known}. The error was: {error}"
            remark(text)

    # -- store.json, by the backend's URL

    def save_config(self, config: bytes) -> None:
        """Save `store.json`, which identifies the cache of a store."""
        path = self._path()
        if path is None or (self.load_config() == config):
            return
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_whole(path, json.dumps({"url": self.backend.url, "config": config.decode()}).encode())

    def load_config(self) -> bytes | None:
        """Return `store.json` as of the last contact with the backend."""
        path = self._path()
        try:
            kept = json.loads(read_own(path)) if path is not None else {}
            return str(kept["config"]).encode() if kept.get("url") == self.backend.url else None
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def _path(self) -> Path | None:
        if self._cache is None:
            return None
        return self._cache / "places" / f"{hash_bytes(self.backend.url.encode(), 'blake3').hex()[:32]}.json"
