"""Signatures: keys that sign, keys that count, and what they sign.

`KeyFile` signs with a private key, `OidcToken` with tokens of an identity provider; anything with the three members of
`Signer` does, too. Needs the extra `sign`, and knows neither stores nor facts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from artifactstore.signing.key_file import KeyFile
    from artifactstore.signing.oidc import OidcToken
    from artifactstore.signing.signer import Signer

__all__ = ["KeyFile", "OidcToken", "Signer"]

_MODULES: Final = {"KeyFile": "key_file", "OidcToken": "oidc", "Signer": "signer"}


def __getattr__(name: str) -> Any:
    """Load a class on first use: the fold imports what is pure in this package, and needs none of them."""
    if name not in _MODULES:
        raise AttributeError(f"module 'artifactstore.signing' has no attribute {name!r}")
    value = getattr(import_module(f"artifactstore.signing.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
