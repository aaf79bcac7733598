"""Which packs are damaged, and where: each is read whole, against its footer, its checksums and its digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import xxhash

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.codec import decode
from artifactstore.content.manifests.manifest import Extent
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.pack import MAGIC, Frame, pack_key, read_records
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, FormatError, NotFoundError
from artifactstore.model.digest import hash_bytes

__all__ = ["PackState", "look_at_pack"]


@dataclass(slots=True)
class PackState:
    """What a look at a pack found.

    Attributes:
        why: what is wrong with all of it; "" if its frames can be judged one by one.
        missing: whether it is not there.
        bad: offsets of damaged frames.
        frames: offset → frame, as the footer has them.
    """

    why: str = ""
    missing: bool = False
    bad: set[int] = field(default_factory=set)
    frames: Mapping[int, Frame] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.why and not self.bad

    def lacks(self, extent: Extent) -> str:
        """Return why an extent in this pack cannot be read, "" if it can."""
        if self.why:
            return self.why
        frame = self.frames.get(extent.offset)
        fields = (extent.stored, extent.size, extent.codec, extent.digest)
        if frame is None or (frame.stored, frame.size, frame.codec, frame.digest) != fields:
            return f"{pack_key(str(extent.pack))} has no such frame at {extent.offset}"
        return f"{pack_key(str(extent.pack))} at {extent.offset} is damaged" if extent.offset in self.bad else ""


def look_at_pack(
    backend: Backend, pack: str, algorithm: str, *, raw: bytes | None = None, footers: Footers | None = None
) -> PackState:
    """Read a pack and check all that is in it; frames that are deltas only against their checksum.

    Args:
        backend: where it is.
        pack: its id.
        algorithm: digest algorithm of the store.
        raw: its bytes, if they were read already.
        footers: gets its footer, so that manifests can be compared with it.

    Raises:
        BackendError: the backend cannot be reached.
    """
    key = pack_key(pack)
    try:
        raw = backend.read_large(key) if raw is None else raw
        frames = read_records(raw, len(raw), key)
    except NotFoundError:
        return PackState(f"{key} is missing", missing=True)
    except (ArtifactStoreError, LookupError) as error:
        if isinstance(error, BackendError) and error.transient:
            raise
        return PackState(str(error) if isinstance(error, ArtifactStoreError) else f"the footer of {key} is too long")
    found = PackState(frames={one.offset: one for one in frames})
    if raw[: len(MAGIC)] != MAGIC:
        found.why = f"{key} does not begin as a pack does"
    view = memoryview(raw)
    if footers is not None:
        footers.keep(pack, raw[max((one.offset + one.stored for one in frames), default=len(MAGIC)) :], len(raw))
    for one in frames:
        stored = view[one.offset : one.offset + one.stored]
        if xxhash.xxh3_64_intdigest(stored) != one.checksum or (one.base is None and not _is_right(one, stored, key, algorithm)):
            found.bad.add(one.offset)
    return found


def _is_right(frame: Frame, stored: memoryview, key: str, algorithm: str) -> bool:
    try:
        return hash_bytes(decode(frame.codec, stored, frame.size, key, None), algorithm) == frame.digest
    except (CorruptionError, FormatError):
        return False
