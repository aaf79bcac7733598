"""How a chunk lies in a pack: as it is, compressed, grouped by the bytes of its numbers, or as a delta to an earlier one.

Named per chunk in the manifest; never part of an identity.
"""

import threading
from typing import Final

import zstandard

from artifactstore.content.delta import apply_delta, make_delta
from artifactstore.content.grouping import Grouper, choose_width, join
from artifactstore.errors import CorruptionError, FormatError
from artifactstore.model.loading import numpy

__all__ = ["DELTAS", "GROUPED_2", "GROUPED_4", "RAW", "ZSTD", "Encoder", "Encoders", "decode", "is_delta"]

RAW: Final = 0
ZSTD: Final = 1
GROUPED_2: Final = 2
GROUPED_4: Final = 3
DELTAS: Final = {2: 4, 4: 5, 8: 6}  # bytes of a number → codec of deltas to a base chunk
_WIDTHS: Final = {GROUPED_2: 2, GROUPED_4: 4}
_DELTA_WIDTHS: Final = {codec: width for width, codec in DELTAS.items()}
_CODECS: Final = {width: codec for codec, width in _WIDTHS.items()}
_LEAST: Final = 16 * 1024  # bytes of a chunk that is worth looking at for numbers
_PATIENCE: Final = 16  # chunks in a row that did not shrink before only every 8th is tried
_TRUSTED: Final = 32  # chunks that one look at a sample decides for
_CLOSE: Final = 0.03  # of a chunk: how near the outcome must be to what the sample told
_LITTLE: Final = 1 / 64  # of a chunk: what saves less is stored as it is
_NEAR: Final = 1 / 8  # the same of grouping where bytes cost no time to move: it takes longer than to write and read them
_GLANCE: Final = 256  # bytes at the begin of a chunk, by which numbers of 8 bytes are told from others
_KINDS: Final = 12  # of bytes at most, where these are signs and exponents; 32 bytes of noise have 30
_local = threading.local()


class Encoder:
    """Encodes the chunks of one thread, and learns when trying is a waste: media and archives do not shrink.

    Args:
        near: the chunks go to a place of this machine. Numbers of 8 bytes, of which grouping saves a tenth, lie there as
            they are: to group and to join them would take longer than everything else that is done with them.
    """

    def __init__(self, *, near: bool = False) -> None:
        self._least = _NEAR if near else _LITTLE  # what grouping has to save, as the sample tells
        self._zstd = zstandard.ZstdCompressor(level=1, write_content_size=True, write_checksum=False)
        self._misses = 0
        self._grouper = Grouper()
        self._choice: tuple[int, list[bool], float] = (0, [], 0.0)
        self._left: float | None = None  # what zstd alone left of the chunk for which grouping was ruled out
        self._trusted = 0  # chunks for which the choice is taken as it is, if it keeps its word

    def encode(self, data: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        """Return (codec, stored bytes); what does not shrink by 1/64 is stored as it is."""
        if self._misses >= _PATIENCE and self._misses % 8:
            self._misses += 1
            return RAW, data
        if len(data) >= _LEAST and (grouped := self._group(memoryview(data))) is not None:
            return self._counted(grouped)
        packed = self._zstd.compress(data)
        if len(data) >= _LEAST:
            left = len(packed) / len(data)
            if self._left is None:
                self._left = left
            elif abs(left - self._left) >= _CLOSE:
                # Another kind of content than that for which grouping was ruled out.
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
        """Return a chunk as a delta to another of its size; see `make_delta`."""
        return make_delta(data, base, width, lead, self._grouper)

    def _group(self, data: memoryview) -> tuple[int, bytes | memoryview] | None:
        """Group a chunk if that is best. Neighbours are mostly alike, so a choice holds for some chunks, as long as it fits."""
        for fresh in (False, True):
            if looked := fresh or not self._trusted:
                self._choice, self._trusted, self._left = choose_width(data, self._zstd), _TRUSTED, None
            self._trusted -= 1
            width, planes, share = self._choice
            if not width:
                return None
            if share > 1 - self._least:
                if looked or _is_wide(data):
                    return RAW, data
                continue
            grouped = self._grouper.group(data, width, planes)
            if abs(len(grouped) / len(data) - share) < _CLOSE:
                break
        return (_CODECS[width], grouped) if len(grouped) + (len(data) >> 6) < len(data) else None


def _is_wide(data: memoryview) -> bool:
    """Tell whether at most one byte of eight is of few kinds, as of fp64 and noise; of narrower numbers, two or more are."""
    return sum(len(set(data[i:_GLANCE:8])) <= _KINDS for i in range(8)) <= 1


class Encoders:
    """An encoder for each thread.

    Args:
        near: see `Encoder`.
    """

    def __init__(self, *, near: bool) -> None:
        self._near = near
        self._local = threading.local()

    def mine(self) -> Encoder:
        """Return this thread's."""
        if not hasattr(self._local, "encoder"):
            self._local.encoder = Encoder(near=self._near)
        encoder: Encoder = self._local.encoder
        return encoder


def is_delta(codec: int) -> bool:
    """Tell whether a codec needs a base chunk."""
    return codec in _DELTA_WIDTHS


def decode(
    codec: int, stored: bytes | memoryview, size: int, where: str, base: bytes | memoryview | None = None
) -> bytes | memoryview:
    """Return the chunk that lies behind stored bytes; never more than some times `size` bytes are made.

    Args:
        codec: how it is encoded.
        stored: its stored bytes.
        size: the chunk's length.
        where: for messages.
        base: the chunk that a delta refers to.

    Raises:
        CorruptionError: the bytes are no frame, or not of a chunk of this size.
        FormatError: a codec that this version doesn't know.
    """
    if codec == RAW:
        if len(stored) != size:
            raise CorruptionError(f"{where} holds {len(stored)} bytes for a chunk of {size}", location=where)
        return stored
    if codec != ZSTD and codec not in _WIDTHS and codec not in _DELTA_WIDTHS:
        raise FormatError(f"{where} uses codec {codec}, which this version does not know: upgrade artifactstore")
    try:
        if not hasattr(_local, "zstd"):
            _local.zstd = zstandard.ZstdDecompressor()
        if codec in _DELTA_WIDTHS:
            if base is None or len(base) != size:
                raise CorruptionError(f"{where} holds a delta to no chunk of its size", location=where)
            return apply_delta(stored, base, _DELTA_WIDTHS[codec], where, _local.zstd)
        if codec != ZSTD:
            made = numpy().empty(size, "u1")
            join(stored, _WIDTHS[codec], made, where, _local.zstd)
            return memoryview(made)
        # The frame's own word on its size would decide the allocation: it is checked first.
        if zstandard.get_frame_parameters(stored).content_size != size:
            raise CorruptionError(f"{where} holds a frame of another size than {size} bytes", location=where)
        data: bytes = _local.zstd.decompress(stored, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptionError(
            f"{where} holds a damaged frame ({error}): restore it from a copy of the store", location=where
        ) from error
    return data
