"""Detection of secrets among a backend's options: they must reach no message, repr, pickle or file."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final
from urllib.parse import quote

from artifactstore.model.redaction import MARK, Redactor
from artifactstore.model.secret_names import Weight, is_harmless, weight_of

__all__ = ["hide", "secret_names", "unknown_option", "without_secrets"]

# Parts of option names, from all fsspec classes: key, secret, account_key, sas_token, connection_string …
_PARTS: Final = (
    "key", "secret", "token", "pass", "pwd", "cred", "connection", "sas", "cookie", "auth", "session", "header", "cert", "login",
    "signature", "bearer", "jwt",
)  # fmt: skip
_TABLES: Final = ("header", "cookie")  # everything in such a table is a secret, except the names below
_PLAIN_HEADERS: Final = frozenset({
    "accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-type", "expect", "host", "if-match",
    "if-modified-since", "if-none-match", "pragma", "range", "referer", "te", "user-agent", "x-requested-with", "x-request-id",
    "x-amz-request-payer", "x-goog-user-project", "x-ms-version",
})  # fmt: skip
_HARMLESS: Final = re.compile(
    r"authority|author(?!iz)|keys?_?(?:file|path|filename)|look_for_keys|known_hosts|key_?prefix|keepalive"
)
_ANONYMOUS: Final = frozenset(
    {"anon", "cloud", "google_default", "browser", "cache", ""}
)  # gcsfs's token values without a secret
_PLAIN: Final = (str, bytes, int, float, bool, PurePath, type, FunctionType, BuiltinFunctionType)
_SHORTEST: Final = 6  # characters: hiding shorter values would garble messages and protect nothing


def _walk(options: Mapping[str, Any], path: str = "", *, table: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """Yield each leaf option: its name, its dotted path, its value, and whether it is a secret."""
    for name, value in options.items():
        yield from _look(str(name), f"{path}{name}", value, table=table)


def _look(name: str, path: str, value: Any, *, table: bool) -> Iterator[tuple[str, Any, bool]]:
    low = name.lower()
    inner = _inside(value)
    if inner is not None:
        named = weight_of(name) is not Weight.NONE or (_is_named(low) and not isinstance(value, Mapping))
        secret = table or named or any(part in low for part in _TABLES)
        for key, one in inner:
            yield from _look(
                key if isinstance(value, Mapping) or not key.isdecimal() else name, f"{path}.{key}", one, table=secret
            )
    else:
        yield path, value, _is_secret(low, value, table=table)


def _inside(value: Any) -> list[tuple[str, Any]] | None:
    """Return a value's items, by name: of dicts, lists, and of records such as aiohttp's BasicAuth; None for a single value."""
    if isinstance(value, Mapping):
        return [(str(key), one) for key, one in value.items()]
    fields = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", None)
    fields = fields or [one.name for one in getattr(value, "__attrs_attrs__", ())]
    if fields and not isinstance(value, type):
        return [(str(one), getattr(value, one)) for one in fields]
    if isinstance(value, list | tuple | set | frozenset):
        return [(str(number), one) for number, one in enumerate(value)]
    return None


def _is_named(name: str) -> bool:
    return not _HARMLESS.search(name) and any(part in name for part in _PARTS)


def _is_secret(name: str, value: Any, *, table: bool) -> bool:
    if value is None or isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return weight_of(name) is Weight.ALWAYS
    if not isinstance(value, _PLAIN):
        return True  # an object may contain anything
    if isinstance(value, str):
        if is_harmless(value, Weight.ALWAYS) or (name == "token" and value in _ANONYMOUS):
            return False
        if Redactor().text(value) != value:
            return True  # a login in a URL, a token by its form
    return (table and name not in _PLAIN_HEADERS) or _is_named(name)


def secret_names(options: Mapping[str, Any]) -> "list[str]":
    """Return the names of options that are, or may contain, a secret, nested ones dotted: objects may contain anything."""
    return [name for name, _, secret in _walk(options) if secret]


def without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not secrets, and of nested options the parts that are not."""
    return _left(options, table=False)


def _left(options: Mapping[str, Any], *, table: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            inside = table or weight_of(str(name)) is not Weight.NONE or any(part in str(name).lower() for part in _TABLES)
            found[name] = _left(value, table=inside)
        elif not any(secret for _, _, secret in _look(str(name), str(name), value, table=table)):
            found[name] = value
    return found


def hide(text: str, options: Mapping[str, Any]) -> str:
    """Return `text` with the values of secret options blotted out, in plain and in URL-encoded form."""
    for _, value, secret in _walk(options):
        if secret and isinstance(value, str | bytes):
            for part in sorted(
                _parts(value.decode(errors="replace") if isinstance(value, bytes) else value), key=len, reverse=True
            ):
                if len(part) >= _SHORTEST:
                    text = text.replace(part, MARK)
    return text


def _parts(value: str) -> set[str]:
    """Return the forms of a secret to look for in a message: all of it, its words (`Bearer …`), its fields (`AccountKey=…;`)."""
    found = {value, quote(value, safe="")}
    for login in re.findall(r"://([^/\s@]*)@", value):
        found |= {login, login.partition(":")[2]}
    for word in re.split(r"[;&?\s]+", value):
        name, sign, field = word.partition("=")
        if not sign:
            found |= {word} - {"Bearer", "Digest"}
        elif not re.search(r"name|endpoint|protocol|suffix", name, re.IGNORECASE):
            found.add(field)
    return found


def unknown_option(error: Exception, options: Mapping[str, Any]) -> str | None:
    """Return the dotted name of the option that a library rejects as unknown (`client_kwargs.endpoint`); else None."""
    match = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    if match is None:
        return None
    return next((path for path, _, _ in _walk(options) if match[1] in path.split(".")), None)
