"""Canonical JSON and the format of times and ids: the only encoder of bytes that get hashed.

Canonical here: keys (strings only) sorted by code point, `,` and `:` without spaces, UTF-8 without
escapes beyond those JSON demands, Python's shortest floats, no NaN or infinity. It is not RFC 8785
(which writes 1.0 as 1 and sorts by UTF-16).
"""

import json
import math
import os
from datetime import UTC, datetime
from typing import Any, Final

from artifactstore.errors import InvalidInputError

__all__ = ["MAX_DEPTH", "canonical_json", "check_json", "format_time", "new_id", "parse_json", "parse_time"]

MAX_DEPTH: Final = 64  # levels of a JSON value: other libraries' parsers fail at some hundred
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value to its canonical form.

    Raises:
        InvalidInputError: NaN or infinity, a lone surrogate, or a type that JSON does not have.
    """
    try:
        return _ENCODER.encode(value).encode()
    except (ValueError, TypeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidInputError(f"not a JSON value: {error}") from error


def check_json(value: Any, where: str = "value", *, deep: int = MAX_DEPTH) -> None:
    """Refuse what JSON cannot represent exactly: tuples, keys other than strings, NaN, infinities, other types, endless nesting.

    Raises:
        InvalidInputError: shows the path inside the value.
    """
    if not deep:
        raise InvalidInputError(f"{where[:200]} … is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if value is None or isinstance(value, bool | str | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"{where} is {value}: JSON has no NaN or infinity; use None or a string")
        return
    if isinstance(value, list):
        for i, item in enumerate(value):
            check_json(item, f"{where}[{i}]", deep=deep - 1)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInputError(f"{where} has the key {key!r}: JSON keys must be strings")
            check_json(item, f"{where}[{key!r}]", deep=deep - 1)
        return
    raise InvalidInputError(f"{where} is a {type(value).__name__}: not a JSON value")


def parse_json(data: bytes | str, what: str) -> Any:
    """Decode JSON that this library wrote; `what` describes it in the error.

    Raises:
        InvalidInputError: not JSON, or with NaN or duplicate keys.
    """

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("duplicate key in an object")
        return found

    try:
        return json.loads(data, parse_constant=no_constant, object_pairs_hook=no_twins)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{what} is not JSON: {error}") from error


def format_time(moment: datetime) -> str:
    """Format an aware time as `2026-11-23T20:39:43.000000Z`: always UTC, always microseconds, sortable as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Parse the output of `format_time`.

    Raises:
        InvalidInputError: another form.
    """
    try:
        if len(text) != 27 or text[10] != "T" or text[19] != "." or text[26] != "Z":
            raise ValueError(text)  # noqa: TRY301
        return datetime.fromisoformat(text)  # 20 times faster than strptime
    except ValueError as error:
        raise InvalidInputError(f"not a time: {text!r}; expected YYYY-MM-DDTHH:MM:SS.ffffffZ") from error


def new_id() -> str:
    """Generate an id for a pack, a manifest, a transaction: 128 random bits as 32 hex digits, never used twice."""
    return os.urandom(16).hex()
