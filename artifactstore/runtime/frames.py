"""zstd frames that share a dictionary: for files of many small blocks."""

import zstandard

__all__ = ["Frames"]


class Frames:
    """Encodes and decodes frames, each with its size and a checksum.

    Args:
        words: bytes that blocks repeat.
    """

    def __init__(self, words: bytes = b"") -> None:
        self._shared = zstandard.ZstdCompressionDict(words, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if words else None
        self._encoder: zstandard.ZstdCompressor | None = None

    def encoded(self, block: bytes) -> bytes:
        """Return the frame of a block; for one thread."""
        if self._encoder is None:
            self._encoder = zstandard.ZstdCompressor(level=3, write_checksum=True, dict_data=self._shared)
        return self._encoder.compress(block)

    def decoded(self, frame: bytes | memoryview, size: int) -> bytes:
        """Return a block of `size` bytes.

        Raises:
            ValueError: the frame is damaged, or of a block of another size.
        """
        try:
            if zstandard.frame_content_size(frame) != size:
                raise ValueError("a block has another size")
            # Decoders cannot be shared by threads, and making one takes a microsecond.
            found: bytes = zstandard.ZstdDecompressor(dict_data=self._shared).decompress(frame, max_output_size=size)
        except zstandard.ZstdError as error:
            raise ValueError(f"a block is damaged: {error}") from error
        return found
