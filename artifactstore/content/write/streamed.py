"""A stream of unknown length: cut and stored while it arrives, in bounded memory; nothing of it is written to a disk first.

Its chunks are those of a file with the same bytes. It cannot be read a second time.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.chunker import HEAD, Cutter, choose_rule
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.writer import Packer
from artifactstore.content.write.file_part import store_windows
from artifactstore.content.write.ingest import WINDOW
from artifactstore.errors import CondemnedBeforeCommitError
from artifactstore.model.digest import new_hasher

__all__ = ["Gone", "Streamed", "fill", "store_stream"]

_UNKNOWN: Final = 2**62  # bytes: of a stream whose end was not seen


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a stream was.

    Attributes:
        manifest: its chunks, as those of one file.
        packs: ids of the packs that were written.
        uploaded: bytes of these packs.
        sha256: of it, or nothing.
    """

    manifest: Manifest
    packs: frozenset[str]
    uploaded: int
    sha256: bytes


class Gone:
    """Stands for the content of a stream that was stored: clean-up took it before its commit, and it cannot be read again."""

    def read(self, offset: int, size: int) -> NoReturn:
        """Refuse.

        Raises:
            CondemnedBeforeCommitError: always.
        """
        del offset, size
        raise CondemnedBeforeCommitError(
            "clean-up took the content of a stream before it was committed, and it cannot be read again; nothing was committed: "
            "send it again"
        )

    def fill(self, view: memoryview, offset: int) -> None:
        """Refuse, as `read` does."""
        self.read(offset, len(view))

    def check(self) -> None:
        """Do nothing: it does not change."""


def fill(read: Callable[[int], bytes], view: memoryview) -> int:
    """Fill memory from a stream; return how many bytes came before its end."""
    done = 0
    while done < len(view) and (more := read(len(view) - done)):
        view[done : done + len(more)] = more
        done += len(more)
    return done


def store_stream(
    backend: Backend,
    path: str,
    head: memoryview,
    read: Callable[[int], bytes],
    *,
    algorithm: str,
    chunkers: Mapping[str, tuple[int, int, int]],
    known: KnownChunks,
    sha256: bool = False,
    footers: Footers | None = None,
) -> Streamed:
    """Store what a stream brings, as one file.

    Args:
        backend: target of the packs.
        path: of the file.
        head: what was read already, at least `WINDOW` bytes.
        read: returns at most so many of the next bytes, none at the end.
        algorithm: the store's digest algorithm.
        chunkers: the store's chunker parameters.
        known: chunks that need not be stored.
        sha256: also compute its SHA-256.
        footers: caches the footers of the packs written.

    Raises:
        BackendError: a pack could not be written.
        Exception: whatever `read` raises; nothing is committed.
    """
    hashers = [new_hasher(algorithm), *([new_hasher("sha256")] if sha256 else ())]
    size = 0

    def windows() -> Generator[tuple[memoryview, list[int]], None, None]:
        nonlocal size
        for window, ends in _cut(head, read, chunkers):
            chunks = window[: ends[-1]]
            for hasher in hashers:
                hasher.update(chunks)
            size += len(chunks)
            yield chunks, ends

    packer = Packer(backend, Manifest(algorithm), known, footers=footers, left=_UNKNOWN)
    store_windows(packer, windows(), algorithm=algorithm, chunkers=chunkers, known=known, local=not backend.is_remote)
    manifest = packer.manifest
    manifest.close_file(path, size, hashers[0].digest(), executable=False)
    manifest.all_proven = True
    return Streamed(manifest, frozenset(packer.packs), packer.uploaded, hashers[1].digest() if sha256 else b"")


def _cut(
    head: memoryview, read: Callable[[int], bytes], chunkers: Mapping[str, tuple[int, int, int]]
) -> Iterator[tuple[memoryview, list[int]]]:
    """Yield the chunks of a stream, window by window: (bytes, ends of the chunks in it)."""
    rule, bounds = choose_rule(head[:HEAD], _UNKNOWN, lambda at, size: bytes(head[at : at + size]))
    cutter = Cutter(chunkers[rule], bounds)
    size = max(WINDOW, 2 * cutter.maximum)
    window, at, last = head, 0, False
    while True:
        ends = cutter.cut(window, at, last=last) if len(window) else []
        if ends:
            yield window, ends
        if last:
            return
        rest = window[ends[-1] if ends else 0 :]
        at += ends[-1] if ends else 0
        block = memoryview(bytearray(len(rest) + size))
        block[: len(rest)] = rest
        filled = fill(read, block[len(rest) :])
        window, last = block[: len(rest) + filled], filled < size
