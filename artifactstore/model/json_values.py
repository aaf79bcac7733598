"""JSON forms of the values that Python code holds: NumPy's numbers, tensors, times, paths, enums (docs/reference/values.md)."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from os import PathLike, fsdecode
from typing import Any, Final
from uuid import UUID

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import MAX_DEPTH

__all__ = ["MAX_ITEMS", "fields_of", "json_key", "json_value", "number_of"]

MAX_ITEMS: Final = 1000  # numbers of an array or a tensor that are written out
_TABLES: Final = frozenset({"pandas", "polars", "pyarrow", "xarray"})  # their columns are more than their numbers
_PLAIN: Final = frozenset({str, int, bool, type(None)})


def json_value(value: Any, where: str, *, otherwise: Callable[[Any], Any] | None = None, deep: int = MAX_DEPTH) -> Any:
    """Return the JSON form of a value, by the table of docs/reference/values.md.

    Args:
        value: the value; it is not changed.
        where: its name, for errors.
        otherwise: gives the form of a value that has none; None: such a value is refused.
        deep: levels that it may have.

    Raises:
        InvalidInputError: a value without a JSON form, or nested too deeply; names its place.
    """
    kind = type(value)
    if kind in _PLAIN or (kind is float and math.isfinite(value)):
        return value
    if not deep:
        raise InvalidInputError(f"{where[:200]} … is nested deeper than {MAX_DEPTH} levels, or contains itself")

    def inside(one: Any, place: str) -> Any:
        return json_value(one, place, otherwise=otherwise, deep=deep - 1)

    if isinstance(value, Enum):
        return inside(value.value, where)
    if isinstance(value, Mapping):
        made: dict[str, Any] = {}
        for key, one in value.items():
            name = json_key(key, where)
            if name in made:
                raise InvalidInputError(f"{where} has two keys that are {name!r} in JSON")
            made[name] = inside(one, f"{where}[{key!r}]")
        return made
    if isinstance(value, list | tuple | range):
        return [inside(one, f"{where}[{number}]") for number, one in enumerate(value)]
    if isinstance(value, AbstractSet):
        return sorted((inside(one, where) for one in value), key=lambda one: (str(type(one)), str(one)))
    found = _scalar(value)
    if found is not value:
        return inside(found, where)
    if isinstance(value, str | int | float):  # of a class of its own
        return str.__str__(value) if isinstance(value, str) else int(value) if isinstance(value, int) else float(value)
    if (fields := fields_of(value)) is not None:
        return inside(fields, where)
    if otherwise is not None:
        return otherwise(value)
    raise InvalidInputError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, which has no JSON form: make it text or numbers, or put it on its own"
    )


def json_key(key: Any, where: str) -> str:
    """Return the JSON form of a key: numbers, booleans and None as the json module writes them."""
    if isinstance(key, Enum):
        return json_key(key.value, where)
    found = _scalar(key)
    if isinstance(found, str):
        return str(found)
    if found is None or isinstance(found, bool):
        return {None: "null", True: "true", False: "false"}[found]
    if isinstance(found, int | float):
        return repr(int(found) if isinstance(found, int) else float(found))
    raise InvalidInputError(f"{where} has the key {key!r:.100}: a key must be a str or a number")


def _scalar(value: Any) -> Any:
    """Return a number, a moment or a path as a plain value; anything else unchanged."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if isinstance(value, float) and not math.isfinite(value):
        return {"repr": repr(float(value))}
    if module == "numpy" or hasattr(value, "__array__") or (hasattr(value, "item") and hasattr(value, "shape")):
        return _array(value)
    if module == "pandas" and kind.__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, PathLike):
        return fsdecode(value)
    return str(value) if isinstance(value, Fraction | UUID) else value


def _decimal(value: Decimal) -> Any:
    """Return a number that prints the same digits; the digits as text where there is none."""
    if not value.is_finite():
        return {"repr": str(value).lower()}
    number = int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    return number if Decimal(repr(number)) == value else str(value)


def _array(value: Any) -> Any:
    """Return a NumPy scalar, or an array or tensor with few items, as Python's values; anything else unchanged."""
    module = type(value).__module__.partition(".")[0]
    try:
        found = value.detach() if hasattr(value, "detach") else value
        if type(found).__module__ == "numpy" and found.dtype.kind in "mM":
            text = found.astype("str").tolist()
            return None if text == "NaT" else text if found.dtype.kind == "M" else found.astype("m8[us]").tolist()
        shape = getattr(found, "shape", ())
        if shape == () and hasattr(found, "item"):
            item = found.item()
            return item if type(item) is not type(value) else value
        if module not in _TABLES and hasattr(found, "tolist") and math.prod(shape) <= MAX_ITEMS:
            return found.tolist()
    except Exception:  # noqa: BLE001 - code of other packages: then the value has no JSON form
        return value
    return value


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a dataclass, a pydantic model, a namespace of arguments or a configuration; None for anything else."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if hasattr(type(value), "model_fields") and hasattr(value, "model_dump"):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if type(value).__name__ in {"Namespace", "SimpleNamespace"}:
        return dict(vars(value))
    return None


def number_of(value: Any) -> float | None:
    """Return the value of a metric: a number, or a tensor or an array of one element; None for text and anything else."""
    if isinstance(value, str | bytes | bytearray) or value is None:
        return None
    try:
        value = value.detach() if hasattr(value, "detach") else value  # PyTorch warns of a lost gradient otherwise
        return float(value.item() if hasattr(value, "item") else value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - code of other packages: an array of several elements raises an error of its own
        return None
