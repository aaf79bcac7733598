"""Signing with tokens of an identity provider (OpenID Connect), such as those of CI jobs.

A token is a signature only if it was issued for what is signed: its audience, or its nonce, is the SHA-256 of the signed bytes.
Such a token is of no use anywhere else, so it may be recorded. A token that was issued beforehand could be copied to any other
payload, and used elsewhere while it is valid: of it only the claims are recorded, without their signature, and they count nowhere.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.signing.jwks import Jwt, TokenError, parse_jwks, parse_jwt, verify_jwt
from artifactstore.signing.signer import check_printed_name

__all__ = ["OidcToken", "audience_of"]


def audience_of(data: bytes) -> str:
    """Return the audience of a token that signs these bytes."""
    return f"artifactstore:{hashlib.sha256(data).hexdigest()}"


class OidcToken:
    """The identity that a provider of OpenID Connect states.

    ```python
    def request(audience):                       # GitHub Actions
        url = f"{os.environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={audience}"
        ...
        return token

    signer = OidcToken(request, name="release job")
    ```

    Args:
        token: a function that requests a token for an audience (or with it as the nonce) and returns it: then each signature
            is verifiable. Or a token: its claims are recorded with what it signs, and the signature counts as *claimed*.
        name: the printed name; by default the claim `name`, `preferred_username`, `email` or `sub` of the token.

    Neither `repr`, errors nor pickles contain a token: a signer with a token cannot be pickled.

    Raises:
        InvalidInputError: not a token, or a function without a name.
    """

    def __init__(self, token: str | Callable[[str], str], *, name: str | None = None) -> None:
        self._request = token if callable(token) else None
        self._token = "" if callable(token) else token
        self._jwt: Jwt | None = None if callable(token) else parse_jwt(token)
        if name is None and self._jwt is None:
            raise InvalidInputError("name= is needed where the token is requested later: pass the printed name of the signer")
        self.name = check_printed_name(_name_of(self._jwt) if name is None and self._jwt is not None else name, "name")

    @property
    def claims(self) -> Mapping[str, Any]:
        """What the issuer states; empty before the first token was requested."""
        return {} if self._jwt is None else dict(self._jwt.claims)

    @property
    def key_id(self) -> str:
        """`oidc:` and the issuer."""
        return "oidc:" if self._jwt is None else f"oidc:{self._jwt.issuer}"

    def sign(self, data: bytes) -> bytes:
        """Return the token as the signature of these bytes: in full if it was issued for them, else without its own signature.

        Raises:
            InvalidInputError: the requested token is not for this audience.
        """
        audience = audience_of(data)
        token = self._token
        if self._request is not None:
            token = self._request(audience)
            self._jwt = parse_jwt(token)
        jwt = self._jwt
        assert jwt is not None
        if jwt.is_for(audience):
            return token.strip().encode()
        if self._request is not None:
            raise InvalidInputError(
                "the requested token is not for the audience that was passed: it must be the token's `aud` or `nonce`"
            )
        return jwt.signed + b"."

    def verify(self, jwks: Any, *, time: datetime, issuer: str | None = None, audience: str | None = None) -> Mapping[str, Any]:
        """Return the claims, verified offline.

        Args:
            jwks: the keys of the issuer: a JSON object, or its text.
            time: when it is used, aware.
            issuer: the claim `iss` that it must have; None: any. Keys of several issuers in one JWKS are told apart by this alone.
            audience: what it must be issued for; None: anything.

        Raises:
            InvalidInputError: it is not genuine, was not valid then, or is another issuer's, or for another audience.
        """
        if self._jwt is None:
            raise InvalidInputError("no token was requested yet: sign something first")
        if not isinstance(time, datetime) or time.tzinfo is None:
            raise InvalidInputError(f"time={time!r:.60}: expected an aware datetime")
        verify_jwt(self._jwt, parse_jwks(jwks), time=time)
        if issuer is not None and self._jwt.issuer != issuer:
            raise InvalidInputError(f"the token is of {self._jwt.issuer[:200]}, expected {issuer}")
        if audience is not None and not self._jwt.has_audience(audience):
            given = self._jwt.claims.get("aud")
            raise InvalidInputError(f"the token was issued for {given!r:.100}, expected the audience {audience!r}")
        return self.claims

    def __repr__(self) -> str:
        return f"OidcToken(name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise InvalidInputError("a token cannot be pickled: make the OidcToken in the process that signs")


def _name_of(jwt: Jwt) -> str:
    for claim in ("name", "preferred_username", "email"):
        found = jwt.claims.get(claim)
        if isinstance(found, str) and found.strip():
            return found
    return jwt.subject


def token_of(signature: bytes) -> Jwt | None:
    """Decode a token that was recorded as a signature; None if it is something else."""
    try:
        return parse_jwt(signature.decode("ascii"))
    except (TokenError, UnicodeDecodeError):
        return None
