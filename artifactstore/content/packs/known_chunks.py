"""Known chunks: an index over manifests that were loaded because they are likely to share chunks with a put.

The fold decides which manifests are uncondemned; a cache may supply their bytes, never their membership
(docs/reference/protocol.md, rule 5).
"""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from artifactstore.content.manifests.hooks import HookIndex, is_hook
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.footers import Footers

__all__ = ["FalseChunksError", "KnownChunks", "check_reused"]

_SHIFT: Final = (
    40  # a position is (index of the manifest << 40) + index of the chunk: one int instead of a tuple, for a million of them
)
_LOW: Final = (1 << _SHIFT) - 1
_MAX_MANIFESTS: Final = 24  # manifests loaded through hooks in one put


class FalseChunksError(Exception):
    """Manifests contain false chunk records and must not be relied on.

    Args:
        manifests: the false manifests; one without a digest is the ledger of an interrupted upload.
        why: the reason.
    """

    def __init__(self, manifests: Sequence[Manifest], why: str) -> None:
        super().__init__(why)
        self.manifests = manifests


class KnownChunks:
    """An index over candidate manifests: chunk digest → extent. Grows during a put; thread-safe."""

    def __init__(self, hooks: HookIndex | None = None, load: Callable[[str], Manifest | None] | None = None) -> None:
        self._manifests: list[Manifest] = []
        self._chunks: dict[bytes, int] = {}
        self._files: dict[bytes, int] = {}
        self._bases: dict[bytes, Extent] = {}  # base chunks of deltas
        self._hooks = hooks
        self._load = load
        self._requested: set[str] = set()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, manifest: Manifest) -> int:
        """Add a manifest's chunks; return how many were new."""
        with self._lock:
            base = len(self._manifests) << _SHIFT
            before = len(self._chunks)
            self._manifests.append(manifest)
            first = manifest.first
            for row, digest in enumerate(manifest.digests):
                # The chunk digests of a file with several chunks are unproven claims of the manifest's writer.
                if first[row + 1] - first[row] != 1 and manifest.is_proven(row):
                    self._files.setdefault(digest, base + row)
            for i, digest in enumerate(manifest.chunks.digests):
                self._chunks.setdefault(digest, base + i)
            for extent in manifest.chunks.bases.values():
                self._bases.setdefault(extent.digest, extent)
            return len(self._chunks) - before

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The manifests added so far, in order."""
        return tuple(self._manifests)

    def chunk(self, digest: bytes) -> Extent | None:
        """Return the extent of a chunk, or None."""
        position = self._chunks.get(digest)
        return self._bases.get(digest) if position is None else self._manifests[position >> _SHIFT].extent(position & _LOW)

    def source(self, digest: bytes) -> Manifest:
        """Return the manifest that lists a chunk."""
        return self._manifests[self._chunks[digest] >> _SHIFT]

    def find(self, digest: bytes) -> tuple[Manifest, int, int] | None:
        """Return the position of a whole file with this digest: (manifest, its first chunk, one past its last), or None.

        A file with several chunks whose digests are unproven is not returned: its chunks are found one by one.
        """
        position = self._chunks.get(digest)
        if position is not None:
            chunk = position & _LOW
            return self._manifests[position >> _SHIFT], chunk, chunk + 1
        position = self._files.get(digest)
        if position is None:
            return None
        manifest, row = self._manifests[position >> _SHIFT], position & _LOW
        return manifest, manifest.first[row], manifest.first[row + 1]

    def follow(self, digests: Iterable[bytes]) -> None:
        """Load the manifests that list unknown hooks among these chunk digests."""
        if self._hooks is None or self._load is None or len(self._requested) >= _MAX_MANIFESTS:
            return
        for digest in digests:
            if not is_hook(digest) or digest in self._chunks:
                continue
            artifact = self._hooks.find(digest)
            if artifact is None or artifact in self._requested:
                continue
            with self._lock:
                if artifact in self._requested or len(self._requested) >= _MAX_MANIFESTS:
                    continue
                self._requested.add(artifact)
                manifest = self._load(artifact)
                if manifest is not None:
                    self.add(manifest)


def check_reused(manifest: Manifest, own: Collection[str], known: KnownChunks, footers: Footers, *, read: bool = False) -> None:
    """Check the records of other manifests that a new manifest relies on (decision 0031).

    Args:
        manifest: the complete new manifest.
        own: packs that were written for it.
        known: the index it relies on.
        footers: footers of its backend.
        read: also read the chunks and check each against its digest.

    Raises:
        FalseChunksError: some records are false.
        BackendError: they could not be checked.
    """
    used = set(manifest.packs).difference(own)
    contradictions = footers.contradictions(manifest, used) or (footers.unreadable(manifest, used) if read else [])
    if not contradictions:
        return
    packs, positions = {claim.pack for claim in contradictions}, {(claim.pack, claim.offset) for claim in contradictions}
    false = [
        one
        for one in known.manifests
        if packs.intersection(one.packs) and (footers.contradictions(one, packs) or _has_any(one, positions))
    ]
    raise FalseChunksError(false, "; ".join(map(str, contradictions[:3])))


def _has_any(manifest: Manifest, positions: Collection[tuple[str, int]]) -> bool:
    """Return whether a manifest has a chunk at one of these positions."""
    packs, chunks = manifest.packs, manifest.chunks
    own = ((packs[number], offset) for number, offset in zip(chunks.packs, chunks.offsets, strict=True) if number >= 0)
    return any(position in positions for position in own) or any(
        (str(one.pack), one.offset) in positions for one in manifest.other_extents()
    )
