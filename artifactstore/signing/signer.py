"""Signers: anything with a name, a key id and `sign`."""

from typing import Any, Final, Protocol, runtime_checkable

from artifactstore.errors import InvalidInputError
from artifactstore.printable import visible

__all__ = ["Signer", "check_printed_name"]

_LONGEST: Final = 200  # characters of a printed name


@runtime_checkable
class Signer(Protocol):
    """What makes signatures: a key in a file, a token, a key in a service or on a card.

    Verifiers know the algorithm by the public key: Ed25519 (RFC 8032), or ECDSA in DER with SHA-256 on P-256 and SHA-384 on P-384.
    """

    @property
    def name(self) -> str:
        """The printed name of the signer, shown with each signature."""

    @property
    def key_id(self) -> str:
        """A hint to the public key: `sha256:` and the SHA-256 of its PEM text, or an id of the service that has it."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature of these bytes."""


def check_printed_name(name: Any, what: str) -> str:
    """Return a name that can be printed beside a signature.

    Raises:
        InvalidInputError: it is empty, too long, or has characters that cannot be seen.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST or visible(name) != name:
        raise InvalidInputError(f"{what}={name!r:.60}: must be a printed name of 1 to {_LONGEST} visible characters")
    return name
