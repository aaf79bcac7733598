"""JSON values, as canonical JSON."""

from typing import Any

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json, check_json, parse_json
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Json"]


class Json:
    """Dicts with string keys, lists, numbers, booleans and None, kept as `data.json`: equal values have equal digests."""

    name = "json"
    executes_code = False

    def matches(self, obj: Any) -> bool:
        """Tell whether `obj` is of a type that JSON has; a `str` alone is a path, so it is not."""
        return obj is None or isinstance(obj, dict | list | int | float | bool)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write canonical JSON."""
        check_json(obj)
        folder.add("data.json", canonical_json(obj))

    def read(self, folder: ReadFolder) -> Any:
        """Parse the JSON."""
        try:
            return parse_json(folder.read("data.json"), "data.json")
        except InvalidInputError as error:
            raise CorruptionError(f"the stored object is not of the format 'json': {error}", location="data.json") from error
