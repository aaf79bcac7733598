"""A whole file into memory that is the caller's own: read ahead and decoded by several threads, hashed by one."""

from collections import deque
from concurrent.futures import Future
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.backend.pool import Pool
from artifactstore.content.fetch import fetch
from artifactstore.content.manifest import Manifest
from artifactstore.content.retrieve import FETCHERS, LOCAL_GROUP, REMOTE_GROUP, WORKERS, cut_parts, read_file
from artifactstore.model.digest import new_hasher
from artifactstore.model.loading import LOADING

__all__ = ["read_buffer"]

_SMALL: Final = 2**20  # bytes up to which threads would cost more than they save


def read_buffer(backend: Backend, manifest: Manifest, row: int) -> memoryview:
    """Return one file's bytes, checked against its digest, in memory that may be written to.

    Raises:
        MissingPackError: a pack is not there.
        CorruptionError: the bytes do not match the digest.
    """
    size = manifest.sizes[row]
    if size <= _SMALL:
        return memoryview(bytearray(read_file(backend, manifest, row)))
    with LOADING:
        import pyarrow as pa  # noqa: PLC0415 - the manifest needed it anyway
    view, hasher = memoryview(pa.allocate_buffer(size)).cast("B"), new_hasher(manifest.algorithm)

    def load(low: int, high: int, offset: int) -> memoryview:
        # Arrow copies without the interpreter's lock; assigning to a slice of a memoryview holds it.
        part = view[offset : offset + sum(manifest.chunks.sizes[low:high])]
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(part))
        for chunk in fetch(backend, [manifest.extent(i) for i in range(low, high)]):
            sink.write(chunk)
        return part

    waiting: deque[Future[memoryview]] = deque()
    threads = FETCHERS if backend.far else WORKERS
    with Pool(threads, "artifactstore-read") as pool:
        try:
            for low, high, offset in cut_parts(manifest, row, REMOTE_GROUP if backend.far else LOCAL_GROUP):
                waiting.append(pool.submit(load, low, high, offset))
                while len(waiting) > threads + 1:
                    hasher.update(waiting.popleft().result())
            while waiting:
                hasher.update(waiting.popleft().result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if hasher.digest() != manifest.digests[row]:
        return memoryview(bytearray(read_file(backend, manifest, row)))  # names what is damaged, or was only on its way
    return view
