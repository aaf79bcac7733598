"""The hashes that other systems have of a file: of its bytes, of a git blob, and of text with LF line ends."""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["AllOf", "Check", "GitBlob", "Hashed", "LegacyMd5"]

_CHUNK: Final = 2**20  # bytes: what DVC 2 reads, and converts, at a time
_PROBE: Final = 512  # bytes by which it decides whether they are text
_TEXT: Final = bytes(range(32, 127)) + b"\n\r\t\f\b"


class Check(Protocol):
    """Hashes a file from its beginning to its end."""

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""

    def is_right(self) -> bool:
        """Return whether they were what was expected."""


class Hashed:
    """A hash of the bytes.

    Attributes:
        expected: in hexadecimal.
    """

    def __init__(self, algorithm: str, expected: str) -> None:
        self.expected = expected
        self._hash = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._hash.update(data)

    def is_right(self) -> bool:
        """Return whether they have the expected hash."""
        return self._hash.hexdigest() == self.expected


class GitBlob(Hashed):
    """The id of a git blob: SHA-1 (or SHA-256) of a header and the bytes."""

    def __init__(self, expected: str, size: int) -> None:
        super().__init__("sha1" if len(expected) == 40 else "sha256", expected)
        self.update(b"blob %d\0" % size)


class AllOf:
    """Several checks of the same bytes."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        for one in self._checks:
            one.update(data)

    def is_right(self) -> bool:
        """Return whether all of them are right."""
        return all(one.is_right() for one in self._checks)


class LegacyMd5:
    """The MD5 of DVC 1 and 2: of text with LF line ends. What counts as text changed with its versions: any of them will do."""

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._hashes = [hashlib.md5(usedforsecurity=False)]  # as it is; and once there is CRLF: by file, and by chunk
        self._is_text: bool | None = None
        self._left = b""

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        view = memoryview(self._left + data if self._left else data)
        whole = len(view) - len(view) % _CHUNK
        for start in range(0, whole, _CHUNK):
            self._take(bytes(view[start : start + _CHUNK]))
        self._left = bytes(view[whole:])

    def _take(self, chunk: bytes) -> None:
        here = _is_text(chunk[:_PROBE])
        self._is_text = here if self._is_text is None else self._is_text
        if len(self._hashes) == 1 and b"\r\n" in chunk:
            self._hashes += [self._hashes[0].copy(), self._hashes[0].copy()]
        for one, is_text in zip(self._hashes, (False, self._is_text, here), strict=False):
            one.update(chunk.replace(b"\r\n", b"\n") if is_text else chunk)

    def is_right(self) -> bool:
        """Return whether they have the expected hash, in one of the ways in which it was made."""
        if self._left:
            self._take(self._left)
            self._left = b""
        return any(one.hexdigest() == self._expected for one in self._hashes)


def _is_text(block: bytes) -> bool:
    """Return whether DVC takes a block for text."""
    return b"\0" not in block and len(block.translate(None, _TEXT)) <= 0.3 * len(block)
