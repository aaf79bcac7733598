"""A backend in this process's memory: for tests, examples and temporary data.

One store location per URL: all connections to the same name in the same process see the same objects. A forked child
starts with a copy, a spawned one with nothing.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from artifactstore.backend.base import Backend, Buffer, Stored, check_key, check_prefix
from artifactstore.backend.buffers import flat, gather
from artifactstore.backend.driver import BackendDriver, refuse_options
from artifactstore.backend.errors import check_ranges, not_found_message, range_beyond_end
from artifactstore.backend.remote.bucket_urls import bucket_path
from artifactstore.errors import AlreadyExistsError, NotFoundError

__all__ = ["DRIVER", "MemoryBackend"]


class _Stores:
    """The objects of all memory URLs of this process, under one lock that a fork never leaves locked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stores: dict[str, dict[str, tuple[bytes, datetime]]] = {}

    def renew(self) -> None:
        self.lock = threading.Lock()


_STORES: Final = _Stores()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_STORES.renew)


class MemoryBackend(Backend):
    """Objects in a dictionary that all backends of this process with the same URL share.

    Attributes:
        url: `memory://name`.
    """

    concurrency = 1

    def __init__(self, url: str = "memory://") -> None:
        self.url = url

    @property
    def _objects(self) -> dict[str, tuple[bytes, datetime]]:
        return _STORES.stores.setdefault(self.url, {})

    def read(self, key: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFoundError: no such key.
        """
        found = self._objects.get(check_key(key))
        if found is None:
            raise NotFoundError(not_found_message(key, self.url))
        return found[0]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end.
        """
        check_ranges(ranges)
        data = self.read(key)
        for offset, length in ranges:
            if offset + length > len(data):
                raise range_beyond_end(key, offset, length, len(data), self.url)
        return [data[offset : offset + length] for offset, length in ranges]

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there."""
        check_key(key)
        whole, rest = gather(data)
        raw = bytes(whole) if rest is None else b"".join([whole, *(bytes(piece) for piece in rest)])
        with _STORES.lock:
            self._objects[key] = (raw, datetime.now(UTC))

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if nothing is there.

        Raises:
            AlreadyExistsError: `key` exists.
        """
        check_key(key)
        raw = bytes(flat(data))
        with _STORES.lock:
            if key in self._objects:
                raise AlreadyExistsError(f"{key} exists in {self.url}")
            self._objects[key] = (raw, datetime.now(UTC))

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`, as of this call's first step."""
        check_prefix(prefix)
        with _STORES.lock:
            found = [Stored(key, len(raw), time) for key, (raw, time) in self._objects.items() if key.startswith(prefix)]
        yield from found

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error."""
        with _STORES.lock:
            self._objects.pop(check_key(key), None)

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
        """
        return len(self.read(key))


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:  # noqa: ARG001 - never needed
    refuse_options(options, "memory://")
    return MemoryBackend(f"memory://{bucket_path(scheme, rest)}")


DRIVER: Final = BackendDriver("memory", _connect, network=False)
