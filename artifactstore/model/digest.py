"""Digests: permanent names of bytes. A digest always carries its algorithm; it is never a bare hex string."""

import os
import re
from dataclasses import dataclass
from typing import Final, Protocol, Self

from blake3 import blake3

from artifactstore.errors import InvalidInputError

__all__ = ["ALGORITHMS", "Digest", "Hasher", "hash_bytes", "new_hasher"]

ALGORITHMS: Final = ("blake3", "sha256")
SIZE: Final = 32  # bytes, for both algorithms
_TEXT: Final = re.compile(r"(blake3|sha256):([0-9a-f]{64})", re.ASCII)


class Hasher(Protocol):
    """The subset of `hashlib`'s interface that this library uses; both algorithms provide it."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Hash more bytes."""

    def digest(self) -> bytes:
        """Return the 32 bytes of the digest of all bytes so far."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A 256-bit digest and its algorithm.

    Laws: `Digest.parse(str(d)) == d`; `str(Digest.parse(s)) == s`.
    """

    algorithm: str
    raw: bytes

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS or len(self.raw) != SIZE:
            raise InvalidInputError(
                f"not a digest: {self.algorithm!r} with {len(self.raw)} bytes; expected {', '.join(ALGORITHMS)} with {SIZE}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `<algorithm>:<64 hex digits>`.

        Raises:
            InvalidInputError: `text` has another form.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidInputError(f"not a digest: {text!r}; expected <blake3|sha256>:<64 lower-case hex digits>")
        return cls(match[1], bytes.fromhex(match[2]))

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: str = "blake3") -> Self:
        """Hash bytes in memory."""
        return cls(algorithm, hash_bytes(data, algorithm))

    @property
    def hex(self) -> str:
        """The 64 hex digits without the algorithm."""
        return self.raw.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.raw.hex()}"

    @property
    def short(self) -> str:
        """Return a short form for display: the algorithm and 8 hex digits."""
        return f"{self.algorithm}:{self.raw.hex()[:8]}"


_hashing: Final[dict[str, int]] = {}  # the process that BLAKE3's threads belong to, once they are started


def new_hasher(algorithm: str, *, parallel: bool = False) -> Hasher:
    """Start a digest; both implementations release the GIL on larger buffers.

    Args:
        algorithm: its name.
        parallel: let each update use all cores, if the algorithm can: for consecutive buffers of many megabytes.

    Raises:
        InvalidInputError: the algorithm is not one of `ALGORITHMS`.
    """
    if algorithm == "blake3":
        # Its threads belong to the process that started them: a forked child would wait for them for ever.
        return blake3(max_threads=blake3.AUTO if parallel and _hashing.setdefault("process", os.getpid()) == os.getpid() else 1)
    if algorithm == "sha256":
        from hashlib import sha256  # noqa: PLC0415 - OpenSSL takes 6 ms to load, and most stores have other digests

        return sha256()
    raise InvalidInputError(f"unknown digest algorithm {algorithm!r}; expected {', '.join(ALGORITHMS)}")


def hash_bytes(data: bytes | bytearray | memoryview, algorithm: str) -> bytes:
    """Return the 32 raw bytes of the digest of `data`."""
    if algorithm == "blake3":
        return blake3(data).digest()
    if algorithm == "sha256":
        from hashlib import sha256  # noqa: PLC0415 - as above

        return sha256(data).digest()
    raise InvalidInputError(f"unknown digest algorithm {algorithm!r}; expected {', '.join(ALGORITHMS)}")
