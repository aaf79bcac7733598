"""Codecs: how a chunk is stored in a pack: raw, compressed, byte-grouped, or as a delta to an earlier chunk.

Recorded per chunk in the manifest; never part of an identity.
"""

import threading
from typing import Final

import zstandard

from artifactstore.content.codecs.byte_grouping import Grouper, choose_width, join
from artifactstore.content.codecs.delta import apply_delta, make_delta
from artifactstore.errors import CorruptionError, FormatError
from artifactstore.runtime.loading import numpy

__all__ = ["DELTAS", "GROUPED_2", "GROUPED_4", "RAW", "ZSTD", "Encoder", "Encoders", "decode", "is_delta"]

RAW: Final = 0
ZSTD: Final = 1
GROUPED_2: Final = 2
GROUPED_4: Final = 3
DELTAS: Final = {2: 4, 4: 5, 8: 6}  # bytes of a number → codec of deltas to a base chunk
_WIDTHS: Final = {GROUPED_2: 2, GROUPED_4: 4}
_DELTA_WIDTHS: Final = {codec: width for width, codec in DELTAS.items()}
_CODECS: Final = {width: codec for codec, width in _WIDTHS.items()}
_MIN_NUMBERS: Final = 16 * 1024  # min bytes of a chunk that is checked for numbers
_MAX_MISSES: Final = 16  # incompressible chunks in a row after which only every 8th is tried
_REUSED_CHOICES: Final = 32  # chunks for which the choice from a sample is reused
_TOLERANCE: Final = 0.03  # of a chunk: tolerated difference between result and sample
_MIN_SAVING: Final = 1 / 64  # of a chunk: min saving; otherwise it is stored raw
_MIN_SAVING_LOCAL: Final = 1 / 8  # likewise for grouping on local disk, where grouping takes longer than writing and reading
_COUNTED: Final = 256  # leading bytes of a chunk that distinguish 8-byte numbers
_MAX_DISTINCT: Final = 12  # max distinct bytes among signs and exponents; 32 bytes of noise have 30
_local = threading.local()


class Encoder:
    """Encodes the chunks of one thread, and learns when compression does not pay: media and archives do not shrink.

    Args:
        local: the chunks go to a local store. There, 8-byte numbers, of which grouping saves a tenth, are stored
            raw: grouping and joining would take longer than all other work on them.
    """

    def __init__(self, *, local: bool = False) -> None:
        self._least = _MIN_SAVING_LOCAL if local else _MIN_SAVING  # min saving of grouping, as estimated from the sample
        self._zstd = zstandard.ZstdCompressor(level=1, write_content_size=True, write_checksum=False)
        self._misses = 0
        self._grouper = Grouper()
        self._choice: tuple[int, list[bool], float] = (0, [], 0.0)
        self._left: float | None = None  # ratio by zstd alone of the chunk for which grouping was ruled out
        self._trusted = 0  # chunks for which the choice is reused while its estimate holds

    def encode(self, data: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        """Return (codec, stored bytes); a chunk that does not shrink by 1/64 is stored raw."""
        if self._misses >= _MAX_MISSES and self._misses % 8:
            self._misses += 1
            return RAW, data
        if len(data) >= _MIN_NUMBERS and (grouped := self._group(memoryview(data))) is not None:
            return self._counted(grouped)
        packed = self._zstd.compress(data)
        if len(data) >= _MIN_NUMBERS:
            left = len(packed) / len(data)
            if self._left is None:
                self._left = left
            elif abs(left - self._left) >= _TOLERANCE:
                # Content of another kind than that for which grouping was ruled out.
                self._trusted = 0
                if (grouped := self._group(memoryview(data))) is not None:
                    return self._counted(grouped)
                self._left = left
        if len(packed) + (len(data) >> 6) < len(data):
            self._misses = 0
            return ZSTD, packed
        self._misses += 1
        return RAW, data

    def _counted(self, outcome: tuple[int, bytes | memoryview]) -> tuple[int, bytes | memoryview]:
        self._misses = self._misses + 1 if outcome[0] == RAW else 0
        return outcome

    def delta(self, data: memoryview, base: memoryview, width: int, lead: int) -> bytes:
        """Encode a chunk as a delta to another chunk of its size; see `make_delta`."""
        return make_delta(data, base, width, lead, self._grouper)

    def _group(self, data: memoryview) -> tuple[int, bytes | memoryview] | None:
        """Group a chunk if that is best. Neighbours are mostly alike, so a choice is reused for some chunks while it fits."""
        for fresh in (False, True):
            if looked := fresh or not self._trusted:
                self._choice, self._trusted, self._left = choose_width(data, self._zstd), _REUSED_CHOICES, None
            self._trusted -= 1
            width, planes, share = self._choice
            if not width:
                return None
            if share > 1 - self._least:
                if looked or _is_wide(data):
                    return RAW, data
                continue
            grouped = self._grouper.group(data, width, planes)
            if abs(len(grouped) / len(data) - share) < _TOLERANCE:
                break
        return (_CODECS[width], grouped) if len(grouped) + (len(data) >> 6) < len(data) else None


def _is_wide(data: memoryview) -> bool:
    """Return whether at most one byte in eight has few distinct values, as in fp64 and noise; narrower numbers have two or more."""
    return sum(len(set(data[i:_COUNTED:8])) <= _MAX_DISTINCT for i in range(8)) <= 1


class Encoders:
    """One encoder per thread.

    Args:
        local: see `Encoder`.
    """

    def __init__(self, *, local: bool) -> None:
        self._near = local
        self._local = threading.local()

    def mine(self) -> Encoder:
        """Return this thread's encoder."""
        if not hasattr(self._local, "encoder"):
            self._local.encoder = Encoder(local=self._near)
        encoder: Encoder = self._local.encoder
        return encoder


def is_delta(codec: int) -> bool:
    """Return whether a codec needs a base chunk."""
    return codec in _DELTA_WIDTHS


def decode(
    codec: int, stored: bytes | memoryview, size: int, where: str, base: bytes | memoryview | None = None
) -> bytes | memoryview:
    """Decode a chunk; allocates at most a small multiple of `size` bytes.

    Args:
        codec: codec of the chunk.
        stored: its stored bytes.
        size: the chunk's length.
        where: location, for messages.
        base: the base chunk of a delta.

    Raises:
        CorruptionError: the bytes are not a valid frame, or not of a chunk of this size.
        FormatError: the codec is unknown to this version.
    """
    if codec == RAW:
        if len(stored) != size:
            raise CorruptionError(f"{where} has {len(stored)} bytes for a chunk of {size}", location=where)
        return stored
    if codec != ZSTD and codec not in _WIDTHS and codec not in _DELTA_WIDTHS:
        raise FormatError(f"{where} uses codec {codec}, which this version does not know: upgrade artifactstore")
    try:
        if not hasattr(_local, "zstd"):
            _local.zstd = zstandard.ZstdDecompressor()
        if codec in _DELTA_WIDTHS:
            if base is None or len(base) != size:
                raise CorruptionError(f"{where} has a delta without a base chunk of its size", location=where)
            return apply_delta(stored, base, _DELTA_WIDTHS[codec], where, _local.zstd)
        if codec != ZSTD:
            made = numpy().empty(size, "u1")
            join(stored, _WIDTHS[codec], made, where, _local.zstd)
            return memoryview(made)
        # The frame's own size field would decide the allocation: check it first.
        if zstandard.get_frame_parameters(stored).content_size != size:
            raise CorruptionError(f"{where} has a frame whose size is not {size} bytes", location=where)
        data: bytes = _local.zstd.decompress(stored, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptionError(
            f"{where} has a damaged frame ({error}): restore it from a copy of the store", location=where
        ) from error
    return data
