"""JSON-safe forms of values without a JSON form: parameters, arguments, and undecodable names."""

import math
import operator
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.json_values import fields_of, json_value, number_of
from artifactstore.model.redaction import MARK
from artifactstore.runtime.remarks import remark
from artifactstore.work.secrets import captured

__all__ = ["escape_undecodable", "json_safe", "numbers", "parameters", "whole_number"]

_warned: Final[set[str]] = set()  # parameters for which this process has warned
_TOLD: Final = 200  # characters of a parameter without a JSON form


def parameters(given: Any) -> dict[str, Any]:
    """Return parameters as JSON; values without a JSON form are recorded as their `repr` and marked, as secrets are.

    Args:
        given: a dict, or what has fields: a dataclass, a pydantic model, the namespace of argparse.

    Raises:
        InvalidInputError: anything else.
    """
    if given is None:
        return {}
    fields = given if isinstance(given, Mapping) else fields_of(given)
    if fields is None or not all(isinstance(key, str) for key in fields):
        raise InvalidInputError(f"params must be a dict with str keys, got {_repr(given)}")
    found = {}
    for key, value in fields.items():
        try:
            made = json_value(value, key, otherwise=lambda one: {"repr": _repr(one)})
        except Exception:  # noqa: BLE001 - user code, such as a property of a class with fields; or nesting without end
            made = {"repr": _repr(value)}
        found[escape_undecodable(key)] = json_safe(made)
    shown: dict[str, Any] = captured(found)
    new = [key for key, value in found.items() if shown.get(key) != value and key not in _warned]
    if new:
        _warned.update(new)
        text = f"parameters that look like secrets are recorded as {MARK}: {', '.join(new[:10])}"
        remark(text)
    return shown


def json_safe(value: Any) -> Any:
    """Return a JSON value whose texts are valid UTF-8: file names and arguments may contain any bytes."""
    if isinstance(value, str):
        return escape_undecodable(value)
    if isinstance(value, list | tuple):
        return [json_safe(one) for one in value]
    if isinstance(value, dict):
        return {json_safe(key): json_safe(one) for key, one in value.items()}
    return value


def escape_undecodable(text: str) -> str:
    """Escape undecodable characters: a byte of a file name becomes its hexadecimal digits, as in Python."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
        except UnicodeEncodeError:
            return text.encode(errors="backslashreplace").decode()
    return text


def numbers(given: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str], dict[str, str]]:
    """Sort measured values without raising: a log call in the middle of long work must never end it.

    Returns:
        Finite numbers; `nan`, `inf` or `-inf` for values that are not finite, which JSON lacks; and for values that are not
        numbers, the reason. Each by the metric's name.
    """
    finite: dict[str, float] = {}
    odd: dict[str, str] = {}
    refused: dict[str, str] = {}
    for key, value in given.items():
        name = escape_undecodable(key) if isinstance(key, str) else ""
        if not name:
            refused[_repr(key)] = "a metric needs a name"
            continue
        number = number_of(value)
        if number is None:
            refused[name] = f"expected a number, got {_repr(value)}"
        elif math.isfinite(number):
            finite[name] = number
        else:
            odd[name] = repr(number)
    return finite, odd, refused


def whole_number(value: Any) -> int | None:
    """Convert a step to a whole number; None for anything else."""
    if isinstance(value, bool | str | bytes):
        return None
    try:
        value = value.item() if hasattr(value, "item") else value
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
    except Exception:  # noqa: BLE001 - user code, as above
        return None
    return number if abs(number) < 2**63 else None


def _repr(value: Any) -> str:
    try:
        return escape_undecodable(captured(repr(value)[: 10 * _TOLD])[:_TOLD])
    except Exception:  # noqa: BLE001 - user code: the work must not fail for the `repr` of a parameter
        return object.__repr__(value)
