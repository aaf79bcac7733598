"""Tokens of OpenID Connect, verified offline against a given set of keys (JWKS); no clock is read."""

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.signing.public_keys import crypto, verify_with

__all__ = ["Jwt", "TokenError", "parse_jwks", "parse_jwt", "verify_jwt"]

_LEEWAY: Final = 60  # seconds that clocks of the issuer and of the store may differ
_LARGEST: Final = 64 * 1024  # characters of a token
_EC: Final = {"P-256": ("ES256", "SECP256R1", 32, "SHA256"), "P-384": ("ES384", "SECP384R1", 48, "SHA384")}
_LEAST_RSA: Final = 2048  # bits


class TokenError(InvalidInputError):
    """A token is not acceptable; the token itself is never shown.

    Attributes:
        expired: whether it was genuine, and too old.
    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


@dataclass(frozen=True, slots=True, repr=False)
class Jwt:
    """A decoded token; nothing in it is verified.

    Attributes:
        header: algorithm and key id.
        claims: what the issuer states.
        signed: the bytes that its signature covers.
        signature: empty if it was removed.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        """The claim `iss`."""
        return str(self.claims["iss"])

    @property
    def subject(self) -> str:
        """The claim `sub`."""
        return str(self.claims["sub"])

    def has_audience(self, audience: str) -> bool:
        """Return whether an audience is the claim `aud`, or one of several there."""
        given = self.claims.get("aud")
        return audience in (given if isinstance(given, list) else [given])

    def is_for(self, audience: str) -> bool:
        """Return whether the token was issued for an audience, or with it as the nonce."""
        return self.has_audience(audience) or self.claims.get("nonce") == audience


def parse_jwt(token: Any) -> Jwt:
    """Decode a token.

    Raises:
        TokenError: it is not a JSON web token with an issuer and a subject; its text is not shown.
    """
    if not isinstance(token, str):
        raise TokenError(f"a token must be a str, got {type(token).__name__}")
    parts = token.strip().split(".")
    if len(parts) != 3 or len(token) > _LARGEST:
        raise TokenError("the token is not a JSON web token: expected three parts, separated by dots")
    header, claims = (_json(part, what) for part, what in zip(parts, ("header", "claims"), strict=False))
    for name in ("iss", "sub"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise TokenError(f"the token has no {name!r}: an identity token of OpenID Connect is needed")
    return Jwt(header, claims, f"{parts[0]}.{parts[1]}".encode(), _base64(parts[2], "signature"))


def _json(part: str, what: str) -> dict[str, Any]:
    raw = _base64(part, what)
    try:
        found = parse_json(raw, "a token's part")
    except InvalidInputError:
        found = None
    if not isinstance(found, dict):
        raise TokenError(f"the token's {what} is not a JSON object") from None
    return found


def _base64(text: Any, what: str) -> bytes:
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (Base64Error, ValueError, AttributeError):
        raise TokenError(f"the token's {what} is not base64url") from None


# -- keys of an issuer


@dataclass(frozen=True, slots=True)
class Jwk:
    """One key of an issuer.

    Attributes:
        kid: its id; may be empty.
        algorithm: RS256, ES256, ES384 or EdDSA.
        material: its public numbers, canonical JSON.
    """

    kid: str
    algorithm: str
    material: bytes


def parse_jwks(value: Any) -> tuple[Jwk, ...]:
    """Read the keys of an issuer: those of algorithms that are not supported, or not for signatures, are passed over.

    Args:
        value: a JSON object `{"keys": […]}`, or its text.

    Raises:
        InvalidInputError: not a JWKS, a malformed key, or no usable key.
    """
    if isinstance(value, str | bytes):
        value = parse_json(value, "the JWKS")
    rows = value.get("keys") if isinstance(value, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(isinstance(row, Mapping) for row in rows):
        raise InvalidInputError('a JWKS must be a JSON object with "keys", a list of objects')
    found = []
    for number, row in enumerate(rows):
        kept = {name: row[name] for name in ("kty", "crv", "n", "e", "x", "y") if isinstance(row.get(name), str)}
        algorithm = {"RSA": "RS256", "EC": _EC.get(kept.get("crv", ""), ("",))[0], "OKP": "EdDSA"}.get(kept.get("kty", ""), "")
        if kept.get("kty") == "OKP" and kept.get("crv") != "Ed25519":
            algorithm = ""
        if row.get("use", "sig") != "sig" or row.get("alg", algorithm) != algorithm or not algorithm:
            continue
        one = Jwk(str(row.get("kid", "")), algorithm, canonical_json(kept))
        try:
            _public(one)
        except (InvalidInputError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"key {number} of the JWKS is malformed: {error}") from error
        found.append(one)
    if not found:
        raise InvalidInputError("the JWKS has no key for signatures by RS256, ES256, ES384 or EdDSA")
    return tuple(sorted(found, key=lambda one: (one.kid, one.algorithm, one.material)))


@lru_cache(maxsize=64)
def _public(key: Jwk) -> Any:
    given = json.loads(key.material)
    if key.algorithm == "RS256":
        rsa = crypto("asymmetric.rsa")
        found = rsa.RSAPublicNumbers(_number(given["e"]), _number(given["n"])).public_key()
        if found.key_size < _LEAST_RSA:
            raise InvalidInputError(f"an RSA key must have at least {_LEAST_RSA} bits, got {found.key_size}")
        return found
    if key.algorithm == "EdDSA":
        return crypto("asymmetric.ed25519").Ed25519PublicKey.from_public_bytes(_base64(given["x"], "key"))
    ec = crypto("asymmetric.ec")
    return ec.EllipticCurvePublicNumbers(
        _number(given["x"]), _number(given["y"]), getattr(ec, _EC[given["crv"]][1])()
    ).public_key()


def _number(text: str) -> int:
    return int.from_bytes(_base64(text, "key"))


def verify_jwt(token: Jwt, keys: Sequence[Jwk], *, time: datetime) -> None:
    """Verify a token's signature and that it was valid at a time.

    Args:
        token: as parsed.
        keys: of its issuer.
        time: the time at which it was used.

    Raises:
        TokenError: it is not genuine, or was not valid then.
    """
    algorithm, kid = token.header.get("alg"), token.header.get("kid")
    if "crit" in token.header:
        raise TokenError("the token demands an extension that is not supported")
    fitting = [one for one in keys if one.algorithm == algorithm and (kid is None or not one.kid or one.kid == kid)]
    if not any(_verifies(one, token) for one in fitting):
        raise TokenError(f"no key of {token.issuer} made the token's signature (algorithm {algorithm!s:.20}, key {kid!s:.60})")
    times = {name: token.claims.get(name) for name in ("exp", "nbf", "iat")}
    for name, value in times.items():
        if (name == "exp" or value is not None) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TokenError(f"the token's {name!r} must be a number of seconds")
    at = time.timestamp()
    if any(value is not None and at < value - _LEEWAY for name, value in times.items() if name != "exp"):
        raise TokenError("the token was not valid yet when it was used")
    if times["exp"] is not None and at > times["exp"] + _LEEWAY:
        raise TokenError("the token had expired when it was used", expired=True)


def _verifies(key: Jwk, token: Jwt) -> bool:
    public = _public(key)
    if key.algorithm == "RS256":
        return _verify_rsa(public, token)
    if key.algorithm == "EdDSA":
        return verify_with(public, token.signature, token.signed)
    size = next(row[2] for row in _EC.values() if row[0] == key.algorithm)
    if len(token.signature) != 2 * size:
        return False
    halves = (int.from_bytes(token.signature[:size]), int.from_bytes(token.signature[size:]))
    return verify_with(public, crypto("asymmetric.utils").encode_dss_signature(*halves), token.signed)


def _verify_rsa(public: Any, token: Jwt) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - of the extra `sign`

    try:
        public.verify(token.signature, token.signed, crypto("asymmetric.padding").PKCS1v15(), crypto("hashes").SHA256())
    except InvalidSignature:
        return False
    return True
