"""Packs: objects with many frames, and a footer that makes each frame readable on its own.

    magic (8 bytes) | frame | frame | … | record | record | … | trailer (24 bytes)

A record, little-endian: codec u8, stored length u32, chunk length u32, XXH3-64 of the stored bytes u64, the
chunk's digest (32 bytes), and for a delta codec (bit 7 set) the digest of its base (32 bytes).
The trailer: XXH3-64 of all records u64, their length in bytes u32, their number u32, magic.
"""

import struct
from typing import Final, NamedTuple

import xxhash

from artifactstore.content.manifests.manifest import Extent
from artifactstore.errors import CorruptionError
from artifactstore.model.encoding import new_id

__all__ = ["MAGIC", "MAX_FRAMES", "TARGET", "TRAILER", "Frame", "OpenPack", "check_frame", "pack_key", "read_records"]

MAGIC: Final = b"ASTPACK1"
TARGET: Final = 32 * 2**20  # bytes of frames after which a pack is closed: one PUT, and small enough to keep several in flight
_RECORD: Final = struct.Struct("<BIIQ32s")
_TRAILER: Final = struct.Struct("<QII8s")
TRAILER: Final = _TRAILER.size
DELTA: Final = 0x80
MAX_FRAMES: Final = 50_000  # max frames of a pack: while it is written, each takes some objects; the format allows 200,000
_MAX_FOOTER: Final = 64 * 2**20


class Frame(NamedTuple):  # a dataclass takes three times as long to make, and a pack has up to 200,000
    """A frame as listed in the footer.

    Attributes:
        offset: offset in the pack, in bytes.
        stored: its length in the pack.
        size: the chunk's length.
        codec: its encoding.
        checksum: XXH3-64 of the stored bytes: against bit rot, not an identity.
        digest: the chunk's raw digest.
        base: digest of a delta's base, else None.
    """

    offset: int
    stored: int
    size: int
    codec: int
    checksum: int
    digest: bytes
    base: bytes | None = None


def pack_key(pack: str) -> str:
    """Return the key of a pack."""
    return f"packs/{pack[:2]}/{pack}.pack"


def check_frame(stored: bytes | memoryview) -> int:
    """Return the checksum of a frame."""
    return xxhash.xxh3_64_intdigest(stored)


class OpenPack:
    """A pack being filled; `seal` returns the buffers to write. Never reused."""

    def __init__(self) -> None:
        self.id = new_id()
        self.size = len(MAGIC)
        self._frames: list[bytes | memoryview] = [MAGIC]
        self._records: list[bytes] = []
        self._bases: list[Extent | None] = []

    def __len__(self) -> int:
        return len(self._records)

    def add(
        self,
        digest: bytes,
        size: int,
        codec: int,
        stored: bytes | memoryview,
        base: Extent | None = None,
        *,
        checksum: int | None = None,
    ) -> int:
        """Append a frame; return its offset. A delta has the digest of its base; `checksum` is that of `stored`, if known."""
        offset = self.size
        self._frames.append(stored)
        mark = codec if base is None else codec | DELTA
        record = _RECORD.pack(mark, len(stored), size, check_frame(stored) if checksum is None else checksum, digest)
        self._records.append(record if base is None else record + base.digest)
        self._bases.append(base)
        self.size += len(stored)
        return offset

    def extents(self) -> list[Extent]:
        """Return the extents of its chunks, in order."""
        found, offset = [], len(MAGIC)
        for record, base in zip(self._records, self._bases, strict=True):
            codec, stored, size, _, digest = _RECORD.unpack_from(record)
            found.append(Extent(digest, size, self.id, offset, stored, codec & ~DELTA, base=base))
            offset += stored
        return found

    def seal(self) -> list[bytes | memoryview]:
        """Return the whole pack as a list of buffers, and release them."""
        records = b"".join(self._records)
        frames, self._frames = self._frames, []
        return [*frames, records, _TRAILER.pack(xxhash.xxh3_64_intdigest(records), len(records), len(self._records), MAGIC)]


def read_records(tail: bytes, size: int, key: str) -> list[Frame]:
    """Decode a pack's footer.

    Args:
        tail: the pack's last bytes, at least the whole footer and trailer.
        size: the pack's length in bytes.
        key: key of the pack, for messages.

    Raises:
        CorruptionError: the footer is damaged, or does not describe a pack of this size.
        LookupError: `tail` is too short; its argument is the number of bytes needed.
    """

    def bad(what: str) -> CorruptionError:
        return CorruptionError(
            f"{key}: {what}: restore it from a copy of the store", location=f"{key} at {max(0, size - TRAILER)}"
        )

    if len(tail) < TRAILER or size < len(MAGIC) + TRAILER:
        raise bad(f"{size} bytes are too few for a pack: it was truncated")
    checksum, length, count, magic = _TRAILER.unpack(tail[-TRAILER:])
    if magic != MAGIC or length > size - len(MAGIC) - TRAILER:
        raise bad("its last bytes are not a pack's trailer: it was truncated or overwritten")
    if length > _MAX_FOOTER:
        raise bad(f"its footer length is {length} bytes")
    if length + TRAILER > len(tail):
        raise LookupError(length + TRAILER)
    records = tail[len(tail) - TRAILER - length : len(tail) - TRAILER]
    if xxhash.xxh3_64_intdigest(records) != checksum:
        raise bad("its footer does not match its checksum")
    frames: list[Frame] = []
    at, offset = 0, len(MAGIC)
    if count * _RECORD.size == length:  # no deltas: read without a look at each place
        for codec, stored, chunk, mark, digest in _RECORD.iter_unpack(records):
            if codec & DELTA:
                frames, offset = [], len(MAGIC)
                break
            frames.append(Frame(offset, stored, chunk, codec, mark, digest))
            offset += stored
        else:
            at = length
    while at + _RECORD.size <= length:
        codec, stored, chunk, mark, digest = _RECORD.unpack_from(records, at)
        at += _RECORD.size
        base = None
        if codec & DELTA:
            base = records[at : at + 32]
            at += 32
        frames.append(Frame(offset, stored, chunk, codec & ~DELTA, mark, digest, base))
        offset += stored
    if at != length or len(frames) != count or offset != size - TRAILER - length:
        raise bad("its footer does not match its length")
    return frames
