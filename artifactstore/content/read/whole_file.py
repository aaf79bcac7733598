"""Reads a whole file into memory that the caller owns: read and decoded by several threads, hashed by another.

Raw chunks in local packs are read straight into their destination, in long runs.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import Final, TypeVar

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.reader import fetch, read_into
from artifactstore.content.read.retrieve import FETCHERS, LOCAL_GROUP, REMOTE_PART, WORKERS, cut_parts, read_file
from artifactstore.model.digest import new_hasher
from artifactstore.runtime.loading import arrow, numpy
from artifactstore.runtime.threads import Pool

__all__ = ["read_buffer", "use_buffer"]

T = TypeVar("T")
_SINGLE_THREAD_MAX: Final = 2**20  # max bytes of a file for which threads would cost more than they save


def read_buffer(backend: Backend, manifest: Manifest, row: int) -> memoryview:
    """Return a file's bytes, verified against its digest, in writable memory.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: the bytes do not match the digest.
    """
    return use_buffer(backend, manifest, row, lambda view: view)


def use_buffer(backend: Backend, manifest: Manifest, row: int, use: Callable[[memoryview], T]) -> T:
    """Return `use(bytes)` for a file's bytes, which are verified while it runs.

    If the bytes turn out not to match the digest, its result or error is discarded, and it is called a second time with
    correct bytes.

    Args:
        backend: backend of the packs.
        manifest: manifest of the artifact.
        row: row of the file.
        use: called with memory that it may keep and write to; it must cope with damaged bytes.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: the bytes do not match the digest.
    """
    size = manifest.sizes[row]
    if size <= _SINGLE_THREAD_MAX:
        return use(memoryview(bytearray(read_file(backend, manifest, row))))
    # NumPy requests huge pages, of which a few hundred are available at once, where 4 KiB each would take as long as reading.
    view = memoryview(numpy().empty(size, "u1"))

    def load(low: int, high: int, offset: int) -> memoryview:
        part = view[offset : offset + sum(manifest.chunks.sizes[low:high])]
        at = 0
        for straight, run in groupby(manifest.extent_range(low, high), lambda one: not backend.is_remote and _is_raw(one)):
            extents = list(run)
            length = sum(extent.size for extent in extents)
            (read_into if straight else _read_decoded)(backend, extents, part[at : at + length])
            at += length
        return part

    with Pool(FETCHERS if backend.is_remote else WORKERS, "artifactstore-read") as pool, Pool(1, "artifactstore-check") as beside:
        try:
            parts = [
                pool.submit(load, *part) for part in cut_parts(manifest, row, REMOTE_PART if backend.is_remote else LOCAL_GROUP)
            ]
            hashing = beside.submit(_digest_of, parts, manifest.algorithm)
            for part in parts:
                part.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        try:
            made = use(view)
        except Exception:
            if hashing.result() == manifest.digests[row]:
                raise
        else:
            if hashing.result() == manifest.digests[row]:
                return made
    return use(
        memoryview(bytearray(read_file(backend, manifest, row)))
    )  # reports the damage, or succeeds if it was in transit only


def _digest_of(parts: Sequence[Future[memoryview]], algorithm: str) -> bytes:
    hasher = new_hasher(algorithm)
    for part in parts:
        hasher.update(part.result())
    return hasher.digest()


def _is_raw(extent: Extent) -> bool:
    """Return whether a chunk is stored raw in a pack."""
    return extent.codec == RAW and extent.pack is not None and extent.stored == extent.size


def _read_decoded(backend: Backend, extents: Sequence[Extent], room: memoryview) -> None:
    pa = arrow()  # already loaded for the manifest
    # Arrow copies without the interpreter's lock; assigning to a slice of a memoryview holds it.
    sink = pa.FixedSizeBufferWriter(pa.py_buffer(room))
    for chunk in fetch(backend, extents):
        sink.write(chunk)
