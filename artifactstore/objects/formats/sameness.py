"""Round-trip check for estimators stored by skops: by their schema where that is enough, else by comparing both objects.

Numbers, arrays, texts, lists, dicts keyed by texts or integers, and objects of scikit-learn's and the boosting libraries'
classes round-trip (`tests/objects/test_estimators.py` compares each of them deeply). skops also writes other values, but reads
some of them back as something else, or not at all: estimators with such values are read back and compared.
"""

import sys
from collections import deque
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

__all__ = ["is_plain", "what_differs"]

_PLAIN: Final = {  # loaders of skops → classes that they preserve; empty: all
    "DefaultDictNode": None,
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"}),
    "DtypeNode": None,
    "FunctionNode": None,
    "JsonNode": None,
    "ListNode": frozenset({"builtins.list"}),
    "LossNode": None,
    "MaskedArrayNode": None,
    "NdArrayNode": None,
    "RandomGeneratorNode": None,
    "RandomStateNode": None,
    "SetNode": frozenset({"builtins.set"}),
    "SliceNode": None,
    "SparseMatrixNode": None,
    "TreeNode": None,
    "TupleNode": frozenset({"builtins.tuple"}),
    "TypeNode": None,
}
_WHOLE: Final = frozenset({"int", "int32", "int64"})
_OWN: Final = frozenset({"lightgbm", "sklearn", "xgboost"})  # whose objects skops stores by their attributes
_SCALARS: Final = frozenset({str, int, float, bool, bytes, type(None)})
_NAMED: Final = (type, FunctionType, BuiltinFunctionType)  # compared by identity
_DEEPEST: Final = 200
_STATES: Final = (  # objects with hidden state: library, class, how to get it
    ("numpy", "RandomState", lambda one: one.get_state(legacy=False)),
    ("numpy", "Generator", lambda one: one.bit_generator.state),
    ("lightgbm", "Booster", lambda one: (one.model_to_string(num_iteration=-1), one.best_iteration, one.best_score)),
    ("xgboost", "Booster", lambda one: bytes(one.save_raw("ubj"))),
)


def is_plain(schema: Any, obj: Any) -> bool:
    """Return whether all parts of an estimator are of kinds that round-trip.

    Args:
        schema: skops's schema of the estimator.
        obj: the estimator: a text or number in the schema may have had a class of its own.
    """
    if _has_own_scalars(obj):
        return False
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if "__loader__" in node and not _is_plain_node(node):
                return False
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return True


def _is_plain_node(node: Mapping[str, Any]) -> bool:
    loader, name = node["__loader__"], f"{node.get('__module__')}.{node.get('__class__')}"
    if loader == "ObjectNode":
        return name.partition(".")[0] in _OWN
    if loader not in _PLAIN or name not in (_PLAIN[loader] or {name}):
        return False
    if loader in {"FunctionNode", "TypeNode"}:
        return hasattr(sys.modules.get(str(node.get("__module__"))), str(node.get("__class__")))
    if loader in {"DictNode", "DefaultDictNode"}:
        keys = node.get("key_types", {}).get("content", [])
        kinds = {one.get("__class__") for one in keys}
        # As text, 1 and "1" are the same key, and bool() of "False" is True.
        return kinds <= {"str"} or (len(kinds) == 1 and kinds <= _WHOLE and len(node["content"]) == len(keys))
    return True


def _has_own_scalars(obj: Any) -> bool:
    import numpy as np  # noqa: PLC0415

    seen: dict[int, Any] = {}
    todo = [obj]
    while todo:
        one = todo.pop()
        if type(one) in _SCALARS or id(one) in seen:
            continue
        if isinstance(one, str | bytes) or (isinstance(one, int | float) and not hasattr(one, "dtype")):
            return True
        seen[id(one)] = one
        if isinstance(one, Mapping):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset | deque) or (isinstance(one, np.ndarray) and one.dtype.hasobject):
            todo += list(one.ravel()) if isinstance(one, np.ndarray) else one
        if hasattr(one, "__dict__") and not isinstance(one, type):
            todo += vars(one).values()
    return False


def what_differs(old: Any, new: Any) -> str | None:
    """Return where two objects differ, as a path of attributes and keys; None if they are equal."""
    return _differs(old, new, "", {}, 0)


def _differs(old: Any, new: Any, path: str, seen: dict[tuple[int, int], Any], depth: int) -> str | None:
    import numpy as np  # noqa: PLC0415

    here = path or "the estimator"
    if old is new or (id(old), id(new)) in seen:
        return None
    if type(old) is not type(new) or depth > _DEEPEST:
        return here
    seen[id(old), id(new)] = old, new  # referenced, so that their addresses are not reused
    if isinstance(old, np.ndarray):
        if old.dtype != new.dtype or old.shape != new.shape:
            return here
        if not old.dtype.hasobject:
            return None if old.tobytes() == new.tobytes() or _equal_arrays(old, new) else here
        return _each(enumerate(zip(old.ravel(), new.ravel(), strict=True)), path, seen, depth)
    for library, name, state in _STATES:
        if type(old).__module__.startswith(library) and type(old).__name__ == name:
            return _differs(state(old), state(new), f"{path}.state", seen, depth + 1)
    if isinstance(old, Mapping):
        keys = list(old), list(new)
        if list(map(repr, keys[0])) != list(map(repr, keys[1])):
            return here
        return _each(((key, (old[key], new[other])) for key, other in zip(*keys, strict=True)), path, seen, depth) or _state(
            old, new, path, seen, depth
        )
    if isinstance(old, list | tuple | deque):
        if len(old) != len(new) or getattr(old, "maxlen", None) != getattr(new, "maxlen", None):
            return here
        return _each(enumerate(zip(old, new, strict=True)), path, seen, depth)
    return (
        _state(old, new, path, seen, depth)
        if hasattr(old, "__dict__") and not callable(old)
        else _plain(old, new, path, seen, depth)
    )


def _equal_arrays(old: Any, new: Any) -> bool:
    import numpy as np  # noqa: PLC0415

    if old.dtype.names:  # records may have padding with arbitrary memory
        return all(_equal_arrays(old[name], new[name]) for name in old.dtype.names)
    return bool(np.array_equal(old, new, equal_nan=old.dtype.kind in "fc"))


def _each(pairs: Any, path: str, seen: dict[tuple[int, int], Any], depth: int) -> str | None:
    for key, (old, new) in pairs:
        if (found := _differs(old, new, f"{path}[{key!r:.50}]", seen, depth + 1)) is not None:
            return found
    return None


def _state(old: Any, new: Any, path: str, seen: dict[tuple[int, int], Any], depth: int) -> str | None:
    if not hasattr(old, "__dict__"):
        return None
    mine, other = vars(old), vars(new)
    if set(mine) != set(other):
        return f"{path}.{min(set(mine) ^ set(other))}"
    if not mine and not isinstance(old, Mapping):
        return _plain(old, new, path, seen, depth)
    for key, value in mine.items():
        if (found := _differs(value, other[key], f"{path}.{key}".lstrip("."), seen, depth + 1)) is not None:
            return found
    return None


def _plain(old: Any, new: Any, path: str, seen: dict[tuple[int, int], Any], depth: int) -> str | None:
    """Compare objects without attributes: by equality, or by their pickles."""
    try:
        if bool(old == new) or (isinstance(old, float) and old != old and new != new):  # noqa: PLR0124 - NaN
            return None
        if isinstance(old, (str, bytes, int, float, complex, *_NAMED)):
            return path or "the estimator"
        parts = old.__reduce_ex__(4), new.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - not comparable: not known to be equal
        return path or "the estimator"
    if isinstance(parts[0], str) or isinstance(parts[1], str):
        return None if parts[0] == parts[1] else path or "the estimator"
    return _each(enumerate(zip(*parts, strict=True)), path, seen, depth) if len(parts[0]) == len(parts[1]) else path
