"""What is near: a remote place behind the local cache, and what can be answered while it can't be reached.

Only answers: whoever writes has to read the journal's head first, and is told that the place can't be reached.
"""

import json
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.backend.caching import CachingBackend, UnreachableBackend
from artifactstore.backend.disk import read_own, replace_whole
from artifactstore.backend.pieces import Pieces
from artifactstore.errors import BackendError
from artifactstore.model.digest import hash_bytes

__all__ = ["Near"]

_CONSTANT: Final = ("manifests/", "packs/", "facts/", "segments/")  # written once, under names that are used once
_AWAY: Final = 60.0  # seconds for which a place that could not be reached is not asked again


class Near:
    """What one session knows of its place without asking it.

    Args:
        backend: the place.
        cache: the cache folder, or None for no cache.

    Attributes:
        backend: the place; one that answers nothing where `$ARTIFACTSTORE_OFFLINE` is set.
    """

    def __init__(self, backend: Backend, cache: Path | None) -> None:
        far = backend.far
        self.offline = far and os.environ.get("ARTIFACTSTORE_OFFLINE", "") not in {"", "0"}
        self.backend = UnreachableBackend(backend, "ARTIFACTSTORE_OFFLINE is set") if self.offline else backend
        self._cache = cache if far and hasattr(os, "pread") else None
        self._away = float("-inf")

    @property
    def reachable(self) -> bool:
        """Whether it makes sense to ask the place."""
        return not self.offline and time.monotonic() > self._away

    def over(self, backend: Backend, store: str) -> Backend:
        """Return the place of a store behind the cache: for reading what never changes."""
        if self._cache is None:
            return backend
        return CachingBackend(backend, Pieces(self._cache, store), _CONSTANT, reachable=lambda: self.reachable)

    def lose(self, error: BackendError, known: str) -> None:
        """Note that the place could not be reached, and say what the answers rest on instead.

        Raises:
            BackendError: the one handed in, where it says something else.
        """
        if not error.transient or self._cache is None:
            raise error
        if not self.offline:
            self._away = time.monotonic() + _AWAY
            text = f"{self.backend.url} can't be reached: answering from the cache, {known}. It said: {error}"
            warnings.warn(text, UserWarning, stacklevel=6)

    # -- store.json, by the place's URL

    def remember(self, config: bytes) -> None:
        """Keep `store.json`, by which the cache of a store is found."""
        path = self._path()
        if path is None or (self.recall() == config):
            return
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_whole(path, json.dumps({"url": self.backend.url, "config": config.decode()}).encode())

    def recall(self) -> bytes | None:
        """Return `store.json` as it was when the place was last reached."""
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
