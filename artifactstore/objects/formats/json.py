"""JSON values, dataclasses and pydantic models (as data), as canonical JSON."""

import builtins
import dataclasses
import math
import types
import typing
import warnings
from collections.abc import Sequence
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import MAX_DEPTH, canonical_json, check_json, parse_json
from artifactstore.model.json_values import json_key
from artifactstore.objects.base import ReadFolder, WriteFolder
from artifactstore.objects.key_order import note_order, with_order

__all__ = ["Json", "is_json"]

_DEEP: Final = 200


def is_json(obj: Any, deep: int = _DEEP) -> bool:
    """Return whether a value is made of JSON's types; values that JSON cannot express, such as NaN, are left for `write` to reject."""
    if obj is None or isinstance(obj, bool | int | float | str):
        return True
    if not deep:
        return True
    if isinstance(obj, list):
        return all(is_json(item, deep - 1) for item in obj)
    return isinstance(obj, dict) and all(is_json(item, deep - 1) for item in obj.values())


class Json:
    """Dicts with string keys, lists, numbers, booleans and None, stored as `data.json`: equal values have equal digests.

    A dataclass or a pydantic model is stored as its fields. It is read back as a dict, unless the caller passes the class
    (`type=`): the store never names a class.
    """

    name = "json"
    executes_code = False
    write_options = ("keys",)
    read_options = ("type",)

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is of a JSON type, a dataclass or a pydantic model; a bare `str` is a path."""
        return (not isinstance(obj, str) and is_json(obj)) or _is_record(obj)

    def write(self, obj: Any, folder: WriteFolder, *, keys: str | None = None) -> None:
        """Write canonical JSON; with `keys="str"`, keys that are numbers, booleans or None become text, as the json module makes them."""
        if keys not in {None, "str"}:
            raise InvalidInputError(f"keys={keys!r}: expected 'str', or leave it out")
        if _is_record(obj):
            obj = _data_of(obj)
        if keys == "str":
            obj = _with_text_keys(obj)
        try:
            check_json(obj)
        except InvalidInputError as error:
            if "JSON keys must be strings" in str(error) and keys is None:
                text = "keys='str' makes them text, format='pickle' keeps them"
                raise InvalidInputError(f"{error}; {text}") from error
            raise
        folder.add("data.json", canonical_json(obj))
        note_order(folder, obj)

    def read(self, folder: ReadFolder, *, type: Any = None) -> Any:  # noqa: A002 - the option's name
        """Parse the JSON; with `type`, a dataclass or a pydantic model, build an instance of it.

        A dataclass gets its fields as stored, nested dataclasses included; its `__post_init__` is not run, as it ran before the put.
        """
        try:
            found = parse_json(folder.read("data.json"), "data.json")
        except InvalidInputError as error:
            raise CorruptionError(f"the stored object is not of the format 'json': {error}", location="data.json") from error
        if type is None:
            return with_order(folder, found)
        if not isinstance(type, builtins.type) or not (hasattr(type, "model_validate") or dataclasses.is_dataclass(type)):
            raise InvalidInputError(f"type= must be a dataclass or a pydantic model, got {type!r}")
        try:
            return _typed(type, with_order(folder, found))
        except (TypeError, ValueError, KeyError, NameError, AttributeError) as error:
            raise InvalidInputError(f"the stored values do not fit {type.__name__}: {error}") from error


def _with_text_keys(obj: Any, deep: int = MAX_DEPTH) -> Any:
    """Return a JSON value with keys as text.

    Raises:
        InvalidInputError: two keys have the same text.
    """
    if isinstance(obj, list) and deep:
        return [_with_text_keys(one, deep - 1) for one in obj]
    if not isinstance(obj, dict) or not deep:
        return obj
    found = {}
    for key, one in obj.items():
        name = json_key(key, "value")
        if name in found:
            raise InvalidInputError(f"two keys are {name!r} as text: make them different, or pass format='pickle'")
        found[name] = _with_text_keys(one, deep - 1)
    return found


def _is_record(obj: Any) -> bool:
    if isinstance(obj, type):
        return False
    return dataclasses.is_dataclass(obj) or (hasattr(obj, "model_dump") and hasattr(type(obj), "model_validate"))


def _data_of(obj: Any) -> Any:
    """Return the fields of a dataclass or a pydantic model, those of subclasses included.

    Raises:
        InvalidInputError: it cannot be written as JSON.
    """
    name = type(obj).__name__
    try:
        if not hasattr(obj, "model_dump"):
            return _as_dict(obj)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about values of undeclared types: they are stored unchanged
            dumped = obj.model_dump(mode="json")
            # Serialize by the value's own type, not by its annotation, which may have fewer fields.
            full = obj.model_dump(mode="json", serialize_as_any=True)
            if type(obj).model_config.get("ser_json_inf_nan") != "strings":
                _reject_infinite(obj.model_dump(serialize_as_any=True))
            return dumped if dumped == full else full
    except InvalidInputError:
        raise
    except Exception as error:  # a model's own code, and pydantic's
        text = f"a {name} cannot be written as JSON ({builtins.type(error).__name__}: {str(error)[:300]})"
        raise InvalidInputError(f"{text}: put its parts in a dict, or pass format='pickle'") from error


def _reject_infinite(value: Any) -> None:
    """Reject NaN and infinities, which pydantic would write as null."""
    if isinstance(value, float) and not math.isfinite(value):
        check_json(value)
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set | frozenset) else ():
        _reject_infinite(one)


def _as_dict(obj: Any) -> Any:
    """Return a dataclass as a dict, with nested pydantic models as dicts, too."""
    if _is_record(obj):
        if hasattr(obj, "model_dump"):
            return _data_of(obj)
        return {field.name: _as_dict(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if type(obj) in (list, tuple):
        return type(obj)(_as_dict(one) for one in obj)
    if type(obj) is dict:
        return {key: _as_dict(one) for key, one in obj.items()}
    return obj


def _typed(kind: Any, value: Any) -> Any:
    """Convert a value to its annotated type, as far as that has dataclasses and pydantic models."""
    if hasattr(kind, "model_validate"):
        return _validated(kind, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, value) if isinstance(value, dict) else value
    inner = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _typed(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        return _chosen(inner, value)
    if isinstance(value, list) and inner:
        if origin is tuple and Ellipsis not in inner:
            return tuple(_typed(one, member) for one, member in zip(inner, value, strict=True))
        made = [_typed(inner[0], member) for member in value]
        return origin(made) if origin in (tuple, set, frozenset) else made
    if isinstance(value, dict) and len(inner) == 2:
        return {key: _typed(inner[1], member) for key, member in value.items()}
    return value


def _chosen(kinds: Sequence[Any], value: Any) -> Any:
    """Convert a value to the first of several record types that accepts it; a value that is not a dict is returned unchanged."""
    if not isinstance(value, dict | list):
        return value
    for kind in kinds:
        try:
            made = _typed(kind, value)
        except (TypeError, ValueError, KeyError):
            continue
        if made is not value:
            return made
    return value


def _record(kind: Any, value: dict[str, Any]) -> Any:
    """Build a dataclass without calling its `__init__`, which would apply its conversions a second time."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if strange := set(value) - set(fields):
        raise TypeError(f"unknown field {', '.join(map(repr, sorted(strange)))}")
    made = object.__new__(kind)
    for name, field in fields.items():
        if name in value:
            held = _typed(hints.get(name, Any), value[name])
        elif field.default is not dataclasses.MISSING:
            held = field.default
        elif field.default_factory is not dataclasses.MISSING:
            held = field.default_factory()
        else:
            raise TypeError(f"missing field {name!r}")
        object.__setattr__(made, name, held)
    return made


def _validated(kind: Any, value: Any) -> Any:
    """Build a pydantic model, whose fields are stored by name, not by alias."""
    try:
        return kind.model_validate(value)
    except ValueError:
        try:
            return kind.model_validate(value, by_name=True)
        except TypeError:  # pydantic before 2.11
            pass
        raise
