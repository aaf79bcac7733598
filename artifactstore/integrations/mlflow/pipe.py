"""A pipe from an event loop to a thread: few chunks wait in it, so that memory stays bounded."""

import queue
from typing import Final

__all__ = ["Pipe"]

_WAITING: Final = 8  # chunks


class Pipe:
    """Chunks that one side gives and the other reads as a binary stream."""

    def __init__(self) -> None:
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING + 1)  # and its end
        self._rest = memoryview(b"")
        self._ended = False

    def give(self, chunk: bytes) -> bool:
        """Add a chunk; False if there is no room for it now."""
        if self._chunks.qsize() >= _WAITING:
            return False
        if chunk:
            self._chunks.put(bytes(chunk))
        return True

    def end(self, error: BaseException | None = None) -> None:
        """End the stream; with an error, reading it raises that."""
        self._chunks.put(error)

    def read(self, size: int) -> bytes:
        """Return at most so many of the next bytes, none at the end.

        Raises:
            BaseException: the error that the stream was ended with.
        """
        if not self._rest and not self._ended:
            found = self._chunks.get()
            if isinstance(found, BaseException):
                self._ended = True
                raise found
            self._ended = found is None
            self._rest = memoryview(found or b"")
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data
