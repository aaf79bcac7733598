"""State dicts of optimizers, schedulers and the like: tensors nested in dicts, lists and tuples, beside plain values.

The tensors are a safetensors file, as a module's are, and their containers are JSON: nothing is unpickled.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json
from artifactstore.objects.formats.tensors import Tensors

__all__ = ["State"]

_FILE: Final = "state.json"
_DEEPEST: Final = 40
_OPTIMIZER: Final = frozenset({"state", "param_groups"})


class State:
    """A nested dict of tensors and plain values whose keys may be numbers, stored as `model.safetensors` and `state.json`."""

    name = "state"
    executes_code = False
    write_options = ()
    read_options = ("device",)

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is an optimizer's `state_dict()`, or has integer keys where that has them."""
        if type(obj) is not dict or not _is_plain(obj):
            return False
        numbered = any(isinstance(key, int) for one in (obj, *obj.values()) if isinstance(one, dict) for key in one)
        return set(obj) == _OPTIMIZER or (numbered and _has_tensor(obj))

    @staticmethod
    def is_storable(obj: Any) -> bool:
        """Return whether `format="state"` can store `obj`."""
        return isinstance(obj, Mapping) and _is_plain(obj)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write the tensors, and their containers."""
        if not self.is_storable(obj):
            raise InvalidInputError(
                "format='state' stores nested dicts (with str or int keys), lists and tuples of tensors, numbers, texts and None"
            )
        tensors: dict[str, Any] = {}
        record = _extract_tensors(obj, "", tensors)
        if tensors:
            Tensors().write(tensors, folder)
        folder.add(_FILE, canonical_json(record))

    def read(self, folder: ReadFolder, *, device: Any = None) -> Any:
        """Read the state.

        Args:
            folder: folder of the object.
            device: device to move the tensors to.
        """
        record = stored_json(folder, _FILE)
        tensors = Tensors().read(folder, device=device) if "model.safetensors" in folder.names else {}
        try:
            if not isinstance(tensors, dict):
                raise TypeError("a single tensor")  # noqa: TRY301 - reported like other damage
            return _restore(record, tensors)
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise CorruptionError(f"{_FILE} does not describe the state: {error!r}", location=_FILE) from error


def _is_tensor(obj: Any) -> bool:
    return any(one.__module__ == "torch" and one.__name__ == "Tensor" for one in type(obj).__mro__)


def _is_plain(obj: Any, deep: int = _DEEPEST) -> bool:
    if obj is None or isinstance(obj, bool | int | float | str) or _is_tensor(obj):
        return True
    if not deep:
        return False
    if isinstance(obj, Mapping):
        keys = all(isinstance(key, str) or type(key) is int for key in obj)
        return keys and all(_is_plain(value, deep - 1) for value in obj.values())
    return type(obj) in (list, tuple) and all(_is_plain(value, deep - 1) for value in obj)


def _has_tensor(obj: Any) -> bool:
    if isinstance(obj, Mapping | list | tuple):
        return any(map(_has_tensor, obj.values() if isinstance(obj, Mapping) else obj))
    return _is_tensor(obj)


def _extract_tensors(obj: Any, path: str, tensors: dict[str, Any]) -> list[Any]:
    """Move the tensors from a value into `tensors`; return [kind, content]."""
    if _is_tensor(obj):
        if path in tensors:
            raise InvalidInputError(f"two tensors would be named {path!r}: a key exists both as a number and as a text")
        tensors[path] = obj
        return ["tensor", path]
    under = f"{path}/" if path else ""
    if isinstance(obj, Mapping):
        return ["dict", [[key, _extract_tensors(value, f"{under}{key}", tensors)] for key, value in obj.items()]]
    if isinstance(obj, list | tuple):
        items = [_extract_tensors(value, f"{under}{number}", tensors) for number, value in enumerate(obj)]
        return ["list" if isinstance(obj, list) else "tuple", items]
    if isinstance(obj, float) and not math.isfinite(obj):
        return ["float", repr(obj)]
    return ["value", obj]


def _restore(record: Any, tensors: Mapping[str, Any]) -> Any:
    kind, held = record
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {key: _restore(value, tensors) for key, value in held}
    if kind in {"list", "tuple"}:
        items = [_restore(value, tensors) for value in held]
        return items if kind == "list" else tuple(items)
    if kind == "float":
        return float(held)
    if kind == "value":
        return held
    raise ValueError(kind)
