"""Which format an object gets: an ordered list, the first match wins (docs/format.md, "Objects")."""

from typing import Any, Final

from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.objects.base import FolderOf, Format, WriteFolder
from artifactstore.objects.formats.data import Data
from artifactstore.objects.formats.json import Json
from artifactstore.objects.formats.text import Text

__all__ = ["FORMATS", "read_object", "write_object"]

FORMATS: Final[tuple[Format, ...]] = (Data(), Json(), Text())


def write_object(obj: Any, format: str | None = None) -> tuple[str, dict[str, bytes | memoryview]]:  # noqa: A002 - the public option's name
    """Write an object; returns (format's name, file name → bytes).

    Args:
        obj: the object.
        format: one format's name, or None to find it by the object's type.

    Raises:
        InvalidInputError: no format for this object, or it is not what its format keeps.
    """
    known = ", ".join(repr(one.name) for one in FORMATS)
    if format is not None:
        chosen = next((one for one in FORMATS if one.name == format), None)
        if chosen is None:
            raise InvalidInputError(f"no format is called {format!r}; known are {known}")
    else:
        chosen = next((one for one in FORMATS if one.matches(obj)), None)
        if chosen is None:
            raise InvalidInputError(
                f"a {type(obj).__module__}.{type(obj).__qualname__} can't be stored as an object yet; known formats are {known}: "
                "save it to a file with its own library and put that file"
            )
    folder = WriteFolder()
    chosen.write(obj, folder)
    return chosen.name, folder.files


def read_object(format: str, files: dict[str, bytes]) -> Any:  # noqa: A002
    """Read an object back from its files.

    Raises:
        UnsupportedError: written in a format that this version does not know.
        CorruptionError: the files are not of that format.
    """
    chosen = next((one for one in FORMATS if one.name == format), None)
    if chosen is None:
        raise UnsupportedError(
            f"this object was stored as {format!r}, which this version can't read: get its files with to=, or upgrade"
        )
    return chosen.read(FolderOf(files))
