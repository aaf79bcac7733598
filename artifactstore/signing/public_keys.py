"""Public keys and the algorithms that they stand for; the one place that loads `cryptography`."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.runtime.loading import LOADING

__all__ = ["EC_HASHES", "PublicKey", "crypto", "is_supported", "public_key", "read_public_pem", "sign_with", "verify_with"]

EC_HASHES: Final = {"secp256r1": "SHA256", "secp384r1": "SHA384"}  # curve → hash of its signatures, as Sigstore pairs them
_LABELS: Final = {"secp256r1": "ECDSA P-256", "secp384r1": "ECDSA P-384"}
_EXPECTED: Final = "expected Ed25519, ECDSA P-256 or ECDSA P-384"


def crypto(module: str) -> Any:
    """Return a module of `cryptography`, imported on first use.

    Args:
        module: below `cryptography.hazmat.primitives`, such as `serialization`.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        with LOADING:
            return import_module(f"cryptography.hazmat.primitives.{module}")
    except ImportError as error:
        raise UnsupportedError(
            f"signatures need the package cryptography ({error}): pip install 'artifactstore-ml[sign]'"
        ) from error


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key as bytes: comparable, and nothing of it is secret.

    Attributes:
        algorithm: `Ed25519`, `ECDSA P-256` or `ECDSA P-384`.
        der: its SubjectPublicKeyInfo.
    """

    algorithm: str
    der: bytes

    @property
    def pem(self) -> str:
        """Its PEM text, as `openssl pkey -pubout` writes it."""
        text = b64encode(self.der).decode()
        lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"

    @property
    def id(self) -> str:
        """`sha256:` and the SHA-256 of the PEM text: `sha256sum` of the file, and the hint in a model's signature."""
        return f"sha256:{hashlib.sha256(self.pem.encode()).hexdigest()}"

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether a signature of these bytes was made with the private key."""
        return verify_with(_loaded(self.der), signature, data)


@lru_cache(maxsize=256)
def _loaded(der: bytes) -> Any:
    return crypto("serialization").load_der_public_key(der)


def is_supported(key: Any) -> bool:
    """Return whether a key of `cryptography`, public or private, has an algorithm that this library signs with."""
    return _algorithm(key) is not None


def _algorithm(key: Any) -> str | None:
    ed25519, ec = crypto("asymmetric.ed25519"), crypto("asymmetric.ec")
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "Ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return _LABELS.get(key.curve.name)
    return None


def public_key(key: Any, what: str) -> PublicKey:
    """Return a public key of `cryptography` as a value.

    Raises:
        InvalidInputError: another algorithm.
    """
    algorithm = _algorithm(key)
    if algorithm is None:
        curve = f" on {key.curve.name}" if hasattr(key, "curve") else ""
        raise InvalidInputError(f"{what} is a {type(key).__name__.strip('_')}{curve}, which is not supported: {_EXPECTED}")
    serialization = crypto("serialization")
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm, der)


def read_public_pem(data: bytes, what: str) -> PublicKey:
    """Read the public key of a PEM text.

    Raises:
        InvalidInputError: it is a private key, damaged, something else, or of another algorithm.
        UnsupportedError: the extra `sign` is not installed.
    """
    if b"PRIVATE KEY" in data:
        raise InvalidInputError(f"{what} is a private key: replace it by its public key: openssl pkey -in KEY -pubout")
    if b"BEGIN CERTIFICATE" in data:
        raise InvalidInputError(f"{what} is a certificate: pass its public key: openssl x509 -in FILE -pubkey -noout")
    serialization = crypto("serialization")
    try:
        found = serialization.load_pem_public_key(data)
    except Exception as error:
        raise InvalidInputError(f"{what} is not a public key in PEM (-----BEGIN PUBLIC KEY-----): {error}") from error
    return public_key(found, what)


def sign_with(private: Any, data: bytes) -> bytes:
    """Sign bytes with a private key of `cryptography`: with its curve's hash, or by Ed25519."""
    if not hasattr(private, "curve"):
        return bytes(private.sign(data))
    return bytes(private.sign(data, _ecdsa(private.curve.name)))


def verify_with(public: Any, signature: bytes, data: bytes) -> bool:
    """Verify a signature of `sign_with`."""
    with LOADING:
        invalid = import_module("cryptography.exceptions").InvalidSignature
    try:
        if hasattr(public, "curve"):
            public.verify(signature, data, _ecdsa(public.curve.name))
        else:
            public.verify(signature, data)
    except invalid:
        return False
    return True


def _ecdsa(curve: str) -> Any:
    return crypto("asymmetric.ec").ECDSA(getattr(crypto("hashes"), EC_HASHES[curve])())
