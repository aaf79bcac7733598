"""Files in memory composed of several buffers, such as a header and an array; never copied as a whole."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

from artifactstore.content.codecs.chunker import HEAD, Cutter, choose_rule
from artifactstore.content.manifests.hooks import HookIndex, is_hook
from artifactstore.content.write.source import Source, from_bytes, read_unchanged
from artifactstore.model.digest import hash_bytes, new_hasher
from artifactstore.model.listing import check_path
from artifactstore.runtime.loading import numpy

__all__ = ["BufferParts", "definitely_new", "digest_in_memory", "from_parts", "hash_first"]

_UNLOCKED_COPY: Final = 64 * 1024  # bytes from which on a copy without the interpreter's lock pays
_HOOK_SEARCH_MIN: Final = 64 * 2**20  # bytes whose hashing takes long enough that looking for hooks pays
_HOOKS_COMPLETE: Final = 8 * 2**30  # bytes of content up to which all hooks are listed
_HOOK_SEARCH_MAX: Final = 48 * 2**20  # max bytes searched for a hook
_WINDOW: Final = 4 * 2**20
_HASH_FIRST_MAX: Final = 64 * 2**20  # max bytes of files that are hashed before they are stored


class BufferParts:
    """A file in memory composed of several buffers: read window by window, so that it is never copied as a whole.

    A window is a copy: if another thread modifies an array while it is stored, the artifact has one state or the other, never
    digests that contradict each other.
    """

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = parts
        self._starts = list(accumulate((len(part) for part in parts), initial=0))

    @property
    def size(self) -> int:
        """In bytes."""
        return self._starts[-1]

    def fill(self, view: memoryview, offset: int) -> None:
        """Fill the view with bytes from `offset` on."""
        done, np = 0, numpy()
        for i in range(bisect_right(self._starts, offset) - 1, len(self._parts)):
            if done == len(view):
                break
            start = offset + done - self._starts[i]
            piece = self._parts[i][start : start + len(view) - done]
            if len(piece) < _UNLOCKED_COPY:
                view[done : done + len(piece)] = piece
            else:
                # Assigning to a slice of a memoryview holds the interpreter's lock; NumPy releases it.
                np.copyto(np.frombuffer(view[done : done + len(piece)], np.uint8), np.frombuffer(piece, np.uint8))
            done += len(piece)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes at `offset`."""
        room = bytearray(size)
        self.fill(memoryview(room), offset)
        return bytes(room)

    def check(self) -> None:
        """Do nothing: memory has no signature to compare."""

    def digest(self, algorithm: str) -> bytes:
        """Return the digest of the current content."""
        hasher = new_hasher(algorithm)
        for part in self._parts:
            hasher.update(part)
        return hasher.digest()


def from_parts(path: str, parts: Sequence[bytes | memoryview]) -> Source:
    """Make a source from buffers that form one file."""
    if len(parts) == 1:
        return from_bytes(path, parts[0])
    check_path(path)
    held = BufferParts([memoryview(part).cast("B") for part in parts if memoryview(part).nbytes])
    return Source(path, held.size, b"", executable=False, base=None, reader=held)


def definitely_new(source: Source, chunkers: Mapping[str, tuple[int, int, int]], algorithm: str, hooks: HookIndex) -> bool:
    """Return whether large content in memory cannot be an existing artifact's: it has a hook that no artifact lists.

    Reads only as much as needed to find the first hook. An artifact that was chunked with other parameters (by an earlier
    version or another store) is not recognised.

    Args:
        source: bytes in memory.
        chunkers: the store's chunker parameters.
        algorithm: the store's digest algorithm.
        hooks: hooks of all artifacts.
    """
    if not _HOOK_SEARCH_MIN <= source.size <= _HOOKS_COMPLETE or source.disk is not None:
        return False

    def read_at(offset: int, size: int) -> bytes:
        return (
            source.reader.read(offset, size)
            if source.reader is not None
            else bytes(memoryview(source.data or b"")[offset : offset + size])
        )

    rule, bounds = choose_rule(read_at(0, HEAD), source.size, read_at)
    start, cutter = 0, Cutter(chunkers[rule], bounds)
    while start < min(_HOOK_SEARCH_MAX, source.size - _WINDOW):
        window = memoryview(read_at(start, _WINDOW))
        ends = cutter.cut(window, start, last=False)
        for low, high in pairwise([0, *ends]):
            digest = hash_bytes(window[low:high], algorithm)
            if is_hook(digest):
                return hooks.find(digest) is None
        start += ends[-1]
    return False


def digest_in_memory(source: Source, algorithm: str) -> bytes | None:
    """Return the digest of content in memory; None for files, which are hashed as they are read."""
    if source.data is not None:
        return hash_bytes(source.data, algorithm)
    return source.reader.digest(algorithm) if isinstance(source.reader, BufferParts) else None


def hash_first(sources: Sequence[Source], known: Sequence[bytes | None], algorithm: str) -> list[bytes | None]:
    """Return the digests of all sources, computing unknown ones; return them unchanged if that would read too much.

    For content that is most likely stored already: new content is read twice.

    Raises:
        ConflictError: a file changed since the scan.
    """
    if sum(one.size for one in sources) > _HASH_FIRST_MAX:
        return list(known)
    pairs = zip(known, sources, strict=True)
    return [one or digest_in_memory(source, algorithm) or hash_bytes(read_unchanged(source), algorithm) for one, source in pairs]
