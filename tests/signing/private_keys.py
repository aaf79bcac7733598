"""Private keys of each kind, in each form in which they are found on disk."""

import functools
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

KINDS: Final = ("Ed25519", "ECDSA P-256", "ECDSA P-384")
FORMS: Final = ("pkcs8", "pkcs8 encrypted", "traditional", "traditional encrypted")
PASSPHRASE: Final = "correct horse"


def private(kind: str, number: int = 0) -> Any:
    """Return a key of a kind; another one for each number."""
    return _private(kind, number)


@functools.cache
def _private(kind: str, _number: int) -> Any:
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    curves: dict[str, Any] = {
        "ECDSA P-256": ec.SECP256R1,
        "ECDSA P-384": ec.SECP384R1,
        "ECDSA P-521": ec.SECP521R1,
        "k1": ec.SECP256K1,
    }
    return ec.generate_private_key(curves[kind]())


def pem(key: Any, form: str = "pkcs8", passphrase: str = PASSPHRASE) -> bytes:
    forms = serialization.PrivateFormat
    encryption: Any = serialization.NoEncryption()
    if form.endswith("encrypted"):
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    shape = forms.PKCS8 if form.startswith("pkcs8") else forms.TraditionalOpenSSL
    return bytes(key.private_bytes(serialization.Encoding.PEM, shape, encryption))


def public_pem(key: Any) -> str:
    shape = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, shape).decode())


def write(path: Path, kind: str, number: int = 0, form: str = "pkcs8") -> Path:
    path.write_bytes(pem(private(kind, number), form))
    path.chmod(0o600)
    return path
