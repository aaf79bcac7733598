"""Copies of what a server passes to the log, made in its own thread: small, bounded, and never an error of the server's.

What is mutable is copied, since the server may use its buffers again; what is too large or cannot be written down is refused.
"""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from artifactstore.runtime.loading import numpy

__all__ = ["RefusedValueError", "snapshot"]

_DEEPEST: Final = 8  # levels of dicts and lists
_ITEMS: Final = 1_000_000  # values of one call, in dicts and lists
_IMMUTABLE: Final = (datetime, date, time, timedelta, Decimal, UUID, complex)
_PLAIN: Final[tuple[tuple[type, Any], ...]] = (  # subclasses, such as enumerations, are what they are
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, dict),
    (list, list),
    (tuple, list),
)
_TABLES: Final = frozenset({"pandas", "polars", "pyarrow"})


class RefusedValueError(ValueError):
    """A value that the log does not take; its message is the reason that is counted."""


def snapshot(value: Any, most: int) -> tuple[Any, int]:
    """Return a copy of a value and its approximate size in bytes.

    Raises:
        RefusedValueError: it has more than `most` bytes, is nested too deeply, or holds an object that cannot be written down.
    """
    left = [most, _ITEMS]
    return _copied(value, left, 0), most - left[0]


def _copied(value: Any, left: list[int], depth: int) -> Any:
    kind = type(value)
    if kind is float or kind is bool or value is None:
        left[0] -= 8
        return value
    if kind is str or kind is bytes:
        left[0] -= len(value) + 8
    elif kind is int:
        left[0] -= 8 if -(2**63) <= value < 2**64 else value.bit_length() // 8
    elif kind is dict or kind is list or kind is tuple:
        return _container(value, kind, left, depth)
    else:
        return _other(value, kind, left, depth)
    if left[0] < 0:
        raise RefusedValueError("too large")
    return value


def _container(value: Any, kind: type, left: list[int], depth: int) -> Any:
    left[0] -= 16
    left[1] -= len(value)
    if depth >= _DEEPEST:
        raise RefusedValueError("nested too deeply")
    if left[1] < 0 or left[0] < 0:
        raise RefusedValueError("too large")
    made: Any
    if kind is dict:
        made = {}
        for key, one in value.items():
            name = key if type(key) is str else _name(key)
            left[0] -= len(name)
            made[name] = _copied(one, left, depth + 1)
    else:
        made = [_copied(one, left, depth + 1) for one in value]
    if left[0] < 0:
        raise RefusedValueError("too large")
    return made


def _name(key: Any) -> str:
    if isinstance(key, str | int | float | bool) or key is None:
        return str(key)
    if isinstance(key, tuple) and all(isinstance(one, str | int) for one in key):
        return ".".join(map(str, key))
    raise RefusedValueError("a key that is not a text")


def _other(value: Any, kind: type, left: list[int], depth: int) -> Any:
    np = numpy()
    if isinstance(value, np.ndarray):
        return _array(np, value, left, depth)
    if isinstance(value, np.generic):
        return _copied(value.item(), left, depth) if not isinstance(value, np.void) else _refuse(kind)
    if kind.__name__ in {"NAType", "NaTType"}:
        return None  # pandas' missing values
    if isinstance(value, _IMMUTABLE):
        left[0] -= 32
        return value if not isinstance(value, complex) else str(value)
    top = kind.__module__.partition(".")[0]
    if top in _TABLES:
        return _table(value, top, left)
    if top == "torch" and hasattr(value, "detach"):
        return _copied(value.detach().cpu().numpy(), left, depth)
    for base, plain in _PLAIN:
        if isinstance(value, base):
            return _copied(plain(value), left, depth)
    if isinstance(value, set | frozenset):
        return _copied(sorted(value, key=str), left, depth)
    return _refuse(kind)


def _refuse(kind: type) -> Any:
    raise RefusedValueError(f"an object of type {kind.__module__}.{kind.__qualname__}"[:200])


def _array(np: Any, value: Any, left: list[int], depth: int) -> Any:
    if value.dtype.kind in "OV":
        if value.dtype.kind == "V":
            raise RefusedValueError("an array of records")
        return _copied(value.tolist(), left, depth)
    left[0] -= value.nbytes + 64
    if left[0] < 0:
        raise RefusedValueError("too large")
    return _copied(value.item(), left, depth) if value.ndim == 0 else np.array(value, copy=True, subok=False)


def _table(value: Any, top: str, left: list[int]) -> Any:
    name = type(value).__name__
    if top == "pandas" and name in {"DataFrame", "Series"}:
        used = value.memory_usage(index=False)
        left[0] -= int(used.sum() if name == "DataFrame" else used)
        made = value.copy()
    elif top == "polars" and name in {"DataFrame", "Series"}:
        left[0] -= int(value.estimated_size())
        made = value
    elif top == "pyarrow" and name in {"Table", "RecordBatch"}:
        left[0] -= value.nbytes
        made = value
    elif top == "pyarrow" and hasattr(value, "as_py"):
        return _copied(value.as_py(), left, 0)
    else:
        return _refuse(type(value))
    if left[0] < 0:
        raise RefusedValueError("too large")
    return made
