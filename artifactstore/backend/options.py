"""Which of a backend's options are secrets: what must reach no message, no repr and no pickle."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["hide", "secret_names", "unknown_option"]

# Parts of option names, over all classes of fsspec: key, secret, account_key, sas_token, connection_string, key_filename …
_PARTS: Final = (
    "key", "secret", "token", "pass", "pwd", "user", "cred", "connection", "sas", "cookie", "auth", "session", "header", "cert",
)  # fmt: skip
_PLAIN: Final = (str, int, float, bool, type(None))
_SHORTEST: Final = 6  # characters: hiding shorter values would make messages unreadable and protect nothing


def _walk(options: Mapping[str, Any], path: str = "", *, secret: bool = False) -> Iterator[tuple[str, Any, bool]]:
    for name, value in options.items():
        inside = secret or any(part in str(name).lower() for part in _PARTS)
        if isinstance(value, Mapping):
            yield from _walk(value, f"{path}{name}.", secret=inside)
        else:
            url = isinstance(value, str) and "://" in value and "@" in value.partition("://")[2].split("/", 1)[0]
            yield f"{path}{name}", value, inside or url


def secret_names(options: Mapping[str, Any]) -> "list[str]":
    """Return the names of options that are, or may hold, a secret: objects may hold anything."""
    return [name for name, value, secret in _walk(options) if value is not None and (secret or not isinstance(value, _PLAIN))]


def hide(text: str, options: Mapping[str, Any]) -> str:
    """Return `text` with the values of secret options blotted out."""
    for _, value, secret in _walk(options):
        if secret and isinstance(value, str) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return text


def unknown_option(error: Exception, options: Mapping[str, Any]) -> str | None:
    """Return the option, with those around it (`client_kwargs.endpoint`), that a library says it doesn't know; else None."""
    said = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    if said is None:
        return None
    return next((path for path, _, _ in _walk(options) if said[1] in path.split(".")), None)
