"""A simulated network link: round-trip latency, and a limited bandwidth per connection."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Final

from artifactstore.backend.base import Backend, Buffer, Stored
from artifactstore.backend.buffers import gather, is_buffer, pieces
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.errors import ArtifactStoreError
from artifactstore.runtime.threads import Pool

__all__ = ["LatencyBackend"]

_PAGE: Final = 1000  # keys per listing request


class LatencyBackend(Wrapper):
    """Delays requests like a network: a round trip each, plus the transfer at its connection's bandwidth.

    Each request has a connection of its own while it runs, as in a client's pool; ranges are transferred
    concurrently, up to `concurrency` of them.

    Args:
        inner: the backend inside.
        latency: seconds per round trip; a listing takes one for each 1,000 keys.
        bandwidth: bytes per second of one connection, None = unlimited.
        connections: the maximum number of concurrent requests, None = unlimited.
        sleep: waits; replaceable in tests.
    """

    def __init__(
        self,
        inner: Backend,
        latency: float = 0.03,
        bandwidth: float | None = None,
        *,
        connections: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self.concurrency = max(inner.concurrency, connections or 16)
        self._latency = latency
        self._bandwidth = bandwidth
        self._connections = None if connections is None else threading.BoundedSemaphore(connections)
        self._sleep = sleep

    def _wait(self, size: int = 0) -> None:
        with self._connections or nullcontext():
            self._sleep(self._latency + (size / self._bandwidth if self._bandwidth else 0.0))

    def read(self, key: str) -> bytes:
        """Read, with latency."""
        try:
            data = self.inner.read(key)
        except BaseException:
            self._wait()
            raise
        self._wait(len(data))
        return data

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> "list[bytes]":
        """Read ranges, each with its own latency."""
        if len(ranges) < 2:
            self._wait(sum(length for _, length in ranges))
        else:
            with Pool(min(len(ranges), self.concurrency), "artifactstore-slow") as pool:
                list(pool.map(lambda one: self._wait(one[1]), ranges))
        return self.inner.read_ranges(key, ranges)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write, with latency."""
        if is_buffer(data) or isinstance(data, list | tuple):
            self._wait(sum(piece.nbytes for item in ([data] if is_buffer(data) else data) for piece in pieces(item)))
            self.inner.write(key, data)
            return
        whole, rest = gather(data)
        self._wait(len(whole))
        self.inner.write(key, whole if rest is None else chain((whole,), rest))

    def create(self, key: str, data: bytes) -> None:
        """Create, with latency."""
        self._wait(len(data))
        self.inner.create(key, data)

    def list(self, prefix: str) -> Iterator[Stored]:
        """List, with latency for each 1,000 keys."""
        self._wait()
        for number, item in enumerate(self.inner.list(prefix), 1):
            yield item
            if number % _PAGE == 0:
                self._wait()

    def delete(self, key: str) -> None:
        """Delete, with latency."""
        self._wait()
        self.inner.delete(key)

    def delete_many(self, keys: Sequence[str]) -> "dict[str, ArtifactStoreError]":
        """Delete in bulk, with the latency of one request for each 1,000 keys."""
        for _ in keys[::_PAGE]:
            self._wait()
        return self.inner.delete_many(keys)

    def size(self, key: str) -> int:
        """Return the size, with latency."""
        self._wait()
        return self.inner.size(key)
