"""The result of an ingest."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.write.source import Source

__all__ = ["Ingested"]


@dataclass(slots=True)
class Ingested:
    """The result of an ingest.

    Attributes:
        manifest: the complete manifest.
        files: the sources, in the manifest's order.
        read: 1 per source that was read, 0 if only its digest was looked up.
        held: paths of sources that may have been open for writing when read.
        new: bytes of content that were not in the store before.
        uploaded: bytes of packs written; set when the block ends.
        packs: ids of the packs written.
        sha256: path → raw SHA-256 of each file, if requested.
    """

    manifest: Manifest
    files: Sequence[Source] = ()
    read: bytearray = field(default_factory=bytearray)
    held: set[str] = field(default_factory=set)
    new: int = 0
    uploaded: int = 0
    packs: Collection[str] = ()
    sha256: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def hashed(self) -> Iterator[tuple[Source, bytes, bool]]:
        """The sources that were read, with their digests and whether they may have been open for writing, for the stat cache."""
        found = zip(self.files, self.manifest.digests, self.read, strict=True)
        return ((source, digest, source.path in self.held) for source, digest, bit in found if bit)
