"""Text, as UTF-8. Written only with `format="text"`: a bare `str` is always a path."""

from typing import Any

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Text"]


class Text:
    """A `str`, stored as `data.txt` in UTF-8 without a byte order mark."""

    name = "text"
    executes_code = False
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:  # noqa: ARG002 - the protocol's parameter
        """Return False: a `str` is a path unless `format="text"` is passed."""
        return False

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write UTF-8."""
        if not isinstance(obj, str):
            raise InvalidInputError(f"format='text' stores a str, not a {type(obj).__name__}")
        try:
            folder.add("data.txt", obj.encode())
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"the text cannot be written as UTF-8: {error}") from error

    def read(self, folder: ReadFolder) -> str:
        """Decode UTF-8."""
        try:
            return folder.read("data.txt").decode()
        except UnicodeDecodeError as error:
            raise CorruptionError(f"the stored object is not of the format 'text': {error}", location="data.txt") from error
