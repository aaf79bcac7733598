"""New manifests and packs for content whose bytes were found again: same files, same digest, other extents."""

from collections.abc import Callable
from dataclasses import dataclass, field

from artifactstore.backend.base import Backend
from artifactstore.backend.buffers import joined
from artifactstore.content.codecs.codec import Encoder
from artifactstore.content.manifests.manifest import INLINE, Extent, Manifest
from artifactstore.content.packs.pack import MAX_FRAMES, TARGET, OpenPack, pack_key

__all__ = ["NewPacks", "rebuilt"]


@dataclass(slots=True)
class NewPacks:
    """Writes chunks into new packs, each once.

    Attributes:
        backend: the store's.
        moved: chunk digest → its new extent.
    """

    backend: Backend
    moved: dict[bytes, Extent] = field(default_factory=dict)
    _open: OpenPack = field(default_factory=OpenPack)
    _encoder: Encoder | None = None

    def add(self, digest: bytes, data: bytes) -> None:
        """Add a verified chunk."""
        if digest in self.moved:
            return
        self._encoder = self._encoder or Encoder(local=not self.backend.is_remote)
        codec, stored = self._encoder.encode(data)
        if len(self._open) and (self._open.size + len(stored) > TARGET or len(self._open) >= MAX_FRAMES):
            self.flush()
        offset = self._open.add(digest, len(data), codec, stored)
        self.moved[digest] = Extent(digest, len(data), self._open.id, offset, len(stored), codec)

    def flush(self) -> None:
        """Write the open pack: its chunks are durable when this returns.

        Raises:
            BackendError: it could not be written.
        """
        if len(self._open):
            pack, self._open = self._open, OpenPack()
            self.backend.write(pack_key(pack.id), joined(pack.seal()))


def rebuilt(manifest: Manifest, moved: Callable[[Extent], Extent | None]) -> Manifest:
    """Return a manifest of the same files with other extents.

    Args:
        manifest: the manifest.
        moved: returns where a chunk is now, or None if it stays.
    """
    made = Manifest(manifest.algorithm)
    made.paths, made.sizes, made.digests = manifest.paths, manifest.sizes, manifest.digests
    made.executable, made.first = manifest.executable, manifest.first
    made.folders, made.links = manifest.folders, manifest.links
    made.modes, made.format, made.deltas, made.clash = manifest.modes, manifest.format, manifest.deltas, manifest.clash
    numbers: dict[str, int] = {}

    def number(pack: str) -> int:
        found = numbers.setdefault(pack, len(made.packs))
        if found == len(made.packs):
            made.packs.append(pack)
        return found

    for i in range(len(manifest.chunks)):
        extent = manifest.extent(i)
        extent = moved(extent) or extent
        if extent.pack is None:
            made.chunks.inline[i] = extent.data or b""
        if extent.base is not None:
            number(str(extent.base.pack))
            made.chunks.bases[i] = extent.base
        pack = INLINE if extent.pack is None else number(extent.pack)
        made.chunks.add(extent.digest, extent.size, pack, extent.offset, extent.stored, extent.codec)
    for name, extents in manifest.side.items():
        made.side[name] = [moved(one) or one for one in extents]
        for one in made.side[name]:
            if one.pack is not None:
                number(one.pack)
    return made
