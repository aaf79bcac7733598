"""JSON-safe forms of values without a JSON form: parameters, arguments, and undecodable names."""

import math
import operator
import warnings
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import check_json
from artifactstore.model.redaction import MARK
from artifactstore.work.secrets import captured

__all__ = ["escape_undecodable", "json_safe", "numbers", "parameters", "whole_number"]

_warned: Final[set[str]] = set()  # parameters for which this process has warned
_TOLD: Final = 200  # characters of a parameter without a JSON form


def parameters(given: Any) -> dict[str, Any]:
    """Return parameters as JSON; other values are recorded as their `repr` and marked, as secrets are.

    Raises:
        InvalidInputError: not a dict with str keys.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InvalidInputError(f"params must be a dict with str keys, got {_repr(given)}")
    found = {escape_undecodable(key): _json_or_repr(value) for key, value in given.items()}
    shown: dict[str, Any] = captured(found)
    new = [key for key, value in found.items() if shown.get(key) != value and key not in _warned]
    if new:
        _warned.update(new)
        text = f"parameters that look like secrets are recorded as {MARK}: {', '.join(new[:10])}"
        warnings.warn(text, UserWarning, stacklevel=5)
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
        number = _number(value)
        if number is None:
            refused[name] = f"expected a number, got {_repr(value)}"
        elif math.isfinite(number):
            finite[name] = number
        else:
            odd[name] = "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
    return finite, odd, refused


def _number(value: Any) -> float | None:
    """Convert a value to a number; also a tensor or an array of one element; None for text and booleans."""
    if isinstance(value, str | bytes | bytearray | bool) or value is None:
        return None
    try:
        value = value.detach() if hasattr(value, "detach") else value  # PyTorch warns of a lost gradient otherwise
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, bool) else float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - user code: an array of several elements raises an error of its library
        return None


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


def _json_or_repr(value: Any, deep: int = 20) -> Any:
    if isinstance(value, tuple | list) and deep:
        return [_json_or_repr(one, deep - 1) for one in value]
    if isinstance(value, Mapping) and deep and all(isinstance(key, str) for key in value):
        return {escape_undecodable(key): _json_or_repr(one, deep - 1) for key, one in value.items()}
    if isinstance(value, str):
        return escape_undecodable(value)
    try:
        check_json(value)
    except InvalidInputError:
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            return _json_or_repr(value.item(), 0)  # a NumPy number
        return {"repr": _repr(value)}
    return value


def _repr(value: Any) -> str:
    try:
        return escape_undecodable(captured(repr(value)[: 10 * _TOLD])[:_TOLD])
    except Exception:  # noqa: BLE001 - user code: the work must not fail for the `repr` of a parameter
        return object.__repr__(value)
