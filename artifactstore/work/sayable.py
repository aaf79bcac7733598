"""What the journal can say of values that JSON has no words for: parameters, arguments, and names that are no text."""

import math
import operator
import warnings
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import check_json
from artifactstore.model.redaction import MARK
from artifactstore.work.capture.secrets import captured

__all__ = ["numbers", "parameters", "sayable", "text_of", "whole"]

_warned: Final[set[str]] = set()  # parameters of which this process was told
_TOLD: Final = 200  # characters of a parameter that JSON can't say


def parameters(given: Any) -> dict[str, Any]:
    """Return parameters as JSON has them; what it can't say is its `repr`, and marked, as secrets are.

    Raises:
        InvalidInputError: no dict with str keys.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InvalidInputError(f"params is a dict with str keys, not {_repr(given)}")
    found = {text_of(key): _json_or_repr(value) for key, value in given.items()}
    shown: dict[str, Any] = captured(found)
    new = [key for key, value in found.items() if shown.get(key) != value and key not in _warned]
    if new:
        _warned.update(new)
        text = f"parameters that look like secrets are recorded as {MARK}: {', '.join(new[:10])}"
        warnings.warn(text, UserWarning, stacklevel=5)
    return shown


def sayable(value: Any) -> Any:
    """Return a JSON value whose texts can all be written as UTF-8: file names and arguments may hold any bytes."""
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, list | tuple):
        return [sayable(one) for one in value]
    if isinstance(value, dict):
        return {sayable(key): sayable(one) for key, one in value.items()}
    return value


def text_of(text: str) -> str:
    """Return a text with what is no character written out: a byte of a file name by its hexadecimal digits, as Python does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
        except UnicodeEncodeError:
            return text.encode(errors="backslashreplace").decode()
    return text


def numbers(given: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str], dict[str, str]]:
    """Sort measured values: what is logged in the middle of a long work must never end it.

    Returns:
        Finite numbers; `nan`, `inf` or `-inf` of those that are not finite, which JSON has no words for; and of what is no
        number, why not. Each by the metric's name.
    """
    finite: dict[str, float] = {}
    odd: dict[str, str] = {}
    refused: dict[str, str] = {}
    for key, value in given.items():
        name = text_of(key) if isinstance(key, str) else ""
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
    """Return a value as a number; a tensor or an array of one element is one, and a text or a truth is none."""
    if isinstance(value, str | bytes | bytearray | bool) or value is None:
        return None
    try:
        value = value.detach() if hasattr(value, "detach") else value  # of PyTorch, which warns of a gradient that is lost
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, bool) else float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - of the user's own: an array of several raises what its library likes
        return None


def whole(value: Any) -> int | None:
    """Return a step as a whole number; None for anything else."""
    if isinstance(value, bool | str | bytes):
        return None
    try:
        value = value.item() if hasattr(value, "item") else value
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
    except Exception:  # noqa: BLE001 - of the user's own, as above
        return None
    return number if abs(number) < 2**63 else None


def _json_or_repr(value: Any, deep: int = 20) -> Any:
    if isinstance(value, tuple | list) and deep:
        return [_json_or_repr(one, deep - 1) for one in value]
    if isinstance(value, Mapping) and deep and all(isinstance(key, str) for key in value):
        return {text_of(key): _json_or_repr(one, deep - 1) for key, one in value.items()}
    if isinstance(value, str):
        return text_of(value)
    try:
        check_json(value)
    except InvalidInputError:
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            return _json_or_repr(value.item(), 0)  # a number of NumPy's
        return {"repr": _repr(value)}
    return value


def _repr(value: Any) -> str:
    try:
        return text_of(captured(repr(value)[: 10 * _TOLD])[:_TOLD])
    except Exception:  # noqa: BLE001 - of the user's own: the work must not fail for how a parameter is told
        return object.__repr__(value)
