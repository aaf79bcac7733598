"""Signers that an argument means: a key's path, an object, or one that another package registered as `artifactstore.signers`."""

import os
from difflib import get_close_matches
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.entry_points import load, registered_for
from artifactstore.signing.ci_tokens import SOURCES, can_request, given_token, request_token
from artifactstore.signing.key_file import KeyFile
from artifactstore.signing.oidc import OidcToken
from artifactstore.signing.signer import Signer, check_printed_name

__all__ = ["signer_of"]

_GROUP: Final = "artifactstore.signers"


def signer_of(value: Any) -> Signer:
    """Return the signer that an argument means.

    Args:
        value: a signer; the path of a private key, which means `KeyFile(path)`; `oidc:NAME`, which means the identity of this CI
            job, with that printed name; or `SCHEME:TEXT`, which means the class that a package registered as SCHEME under the entry
            point group `artifactstore.signers`, called with the text.

    Raises:
        InvalidInputError: none of these, or the key cannot be read.
        UnsupportedError: the extra `sign` is not installed, or the registered class cannot be loaded.
    """
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        scheme, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
        if colon and len(scheme) > 1 and "/" not in scheme and not os.path.lexists(text):
            if scheme == "oidc":
                return _of_this_job(rest)
            found = {point.name: point for point in registered_for(_GROUP)}
            if scheme not in found:
                near = get_close_matches(scheme, found, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"registered are {', '.join(sorted(found)) or 'none'}"
                raise InvalidInputError(
                    f"signer={_shown(text)}: no such file, and no signer is registered as {scheme[:60]!r}; {hint}"
                )
            return _checked(load(found[scheme], "signer")(rest), f"the signer {scheme}:")
        return KeyFile(value)
    return _checked(value, "signer=")


def _of_this_job(name: str) -> Signer:
    """Return what signs as this CI job: by tokens that are requested for what they sign, or by one that was given, as a claim.

    Raises:
        InvalidInputError: this process has no token.
    """
    if can_request():
        return OidcToken(request_token, name=name or "CI job")
    token = given_token()
    if token is None:
        raise InvalidInputError(f"signer='oidc:…': this process has no token: looked for {SOURCES}")
    return OidcToken(token, name=name or None)


def _checked(value: Any, what: str) -> Signer:
    if isinstance(value, type) or not callable(getattr(value, "sign", None)):
        raise InvalidInputError(
            f"{what} must be the path of a private key or have name, key_id and sign(bytes), got a {type(value).__name__}"
        )
    if not isinstance(getattr(value, "key_id", None), str):
        raise InvalidInputError(f"{what} must have a key_id that is a str, got {type(getattr(value, 'key_id', None)).__name__}")
    check_printed_name(getattr(value, "name", None), f"{what} name")
    found: Signer = value
    return found


def _shown(text: str) -> str:
    """Return a path for a message; a private key that was passed as text is not shown."""
    return repr(text[:100]) if "PRIVATE" not in text and "\n" not in text else "(the text of a key)"
