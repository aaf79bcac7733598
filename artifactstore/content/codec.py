"""How a chunk lies in a pack: as it is, or compressed. Named per chunk in the manifest; never part of an identity."""

import threading
from typing import Final

import zstandard

from artifactstore.errors import CorruptionError, FormatError

__all__ = ["RAW", "ZSTD", "Encoder", "decode"]

RAW: Final = 0
ZSTD: Final = 1
# Reserved: 2 and 3 byte-grouped zstd for 2- and 4-byte floats, 4 delta to a base chunk (docs/format.md, "Codecs").
_PATIENCE: Final = 16  # chunks in a row that did not shrink before only every 8th is tried
_local = threading.local()


class Encoder:
    """Encodes the chunks of one thread, and learns when trying is a waste: media and archives do not shrink."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=1, write_content_size=True, write_checksum=False)
        self._misses = 0

    def encode(self, data: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        """Return (codec, stored bytes); what does not shrink by 1/64 is stored as it is."""
        if self._misses >= _PATIENCE and self._misses % 8:
            self._misses += 1
            return RAW, data
        packed = self._zstd.compress(data)
        if len(packed) + (len(data) >> 6) < len(data):
            self._misses = 0
            return ZSTD, packed
        self._misses += 1
        return RAW, data


def decode(codec: int, stored: bytes | memoryview, size: int, where: str) -> bytes | memoryview:
    """Return the chunk that lies behind stored bytes; never more than `size` bytes are made.

    Raises:
        CorruptionError: the bytes are no frame, or not of a chunk of this size.
        FormatError: a codec that this version doesn't know.
    """
    if codec == RAW:
        if len(stored) != size:
            raise CorruptionError(f"{where} holds {len(stored)} bytes for a chunk of {size}", location=where)
        return stored
    if codec != ZSTD:
        raise FormatError(f"{where} uses codec {codec}, which this version does not know: upgrade artifactstore")
    try:
        # The frame's own word on its size would decide the allocation: it is checked first.
        if zstandard.get_frame_parameters(stored).content_size != size:
            raise CorruptionError(f"{where} holds a frame of another size than {size} bytes", location=where)
        if not hasattr(_local, "zstd"):
            _local.zstd = zstandard.ZstdDecompressor()
        data: bytes = _local.zstd.decompress(stored, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptionError(
            f"{where} holds a damaged frame ({error}): restore it from a copy of the store", location=where
        ) from error
    return data
