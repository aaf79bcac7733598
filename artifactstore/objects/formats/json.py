"""JSON values, dataclasses and pydantic models (as data), as canonical JSON."""

import dataclasses
from typing import Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json, check_json, parse_json
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Json", "is_json"]

_DEEP: Final = 200


def is_json(obj: Any, deep: int = _DEEP) -> bool:
    """Tell whether a value is made of JSON's types alone; what JSON can't say in them, such as NaN, is for `write` to refuse."""
    if obj is None or isinstance(obj, bool | int | float | str):
        return True
    if not deep:
        return True
    if isinstance(obj, list):
        return all(is_json(item, deep - 1) for item in obj)
    return isinstance(obj, dict) and all(is_json(item, deep - 1) for item in obj.values())


class Json:
    """Dicts with string keys, lists, numbers, booleans and None, kept as `data.json`: equal values have equal digests.

    A dataclass or a pydantic model is kept as what it holds. It comes back as a dict, unless the caller hands in the class
    (`type=`): the store never names one.
    """

    name = "json"
    executes_code = False
    write_options = ()
    read_options = ("type",)

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is of a type that JSON has, a dataclass or a pydantic model; a `str` alone is a path."""
        return (not isinstance(obj, str) and is_json(obj)) or _is_record(obj)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write canonical JSON."""
        if _is_record(obj):
            obj = obj.model_dump(mode="json") if hasattr(obj, "model_dump") else dataclasses.asdict(obj)
        check_json(obj)
        folder.add("data.json", canonical_json(obj))

    def read(self, folder: ReadFolder, *, type: Any = None) -> Any:  # noqa: A002 - the option's name
        """Parse the JSON; with `type`, a dataclass or a pydantic model, make one of it."""
        try:
            found = parse_json(folder.read("data.json"), "data.json")
        except InvalidInputError as error:
            raise CorruptionError(f"the stored object is not of the format 'json': {error}", location="data.json") from error
        if type is None:
            return found
        try:
            if hasattr(type, "model_validate"):
                return type.model_validate(found)
            if dataclasses.is_dataclass(type) and isinstance(found, dict):
                return type(**found)  # type: ignore[operator]
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the stored values do not make a {type.__name__}: {error}") from error
        raise InvalidInputError(f"type={type!r}: a dataclass or a pydantic model is needed")


def _is_record(obj: Any) -> bool:
    if isinstance(obj, type):
        return False
    return dataclasses.is_dataclass(obj) or (hasattr(obj, "model_dump") and hasattr(type(obj), "model_validate"))
