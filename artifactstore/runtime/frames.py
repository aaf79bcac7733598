"""zstd frames, for files of many blocks."""

import zstandard

__all__ = ["Frames"]


class Frames:
    """Encodes and decodes frames, each with its size and a checksum."""

    def __init__(self) -> None:
        self._encoder: zstandard.ZstdCompressor | None = None

    def encoded(self, block: bytes) -> bytes:
        """Return the frame of a block; for one thread."""
        if self._encoder is None:
            self._encoder = zstandard.ZstdCompressor(level=3, write_checksum=True)
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
            found: bytes = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
        except zstandard.ZstdError as error:
            raise ValueError(f"a block is damaged: {error}") from error
        return found
