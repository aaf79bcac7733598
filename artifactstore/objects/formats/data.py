"""Raw bytes."""

from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.objects.base import ReadFolder, WriteFolder

__all__ = ["Data"]


class Data:
    """`bytes`, `bytearray` and `memoryview`, stored as one file `data`; read back as `bytes`."""

    name = "data"
    executes_code = False
    write_options = ()
    read_options = ()

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is bytes."""
        return isinstance(obj, bytes | bytearray | memoryview)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write the bytes."""
        if not self.matches(obj):
            raise InvalidInputError(f"format='data' stores bytes, not a {type(obj).__name__}")
        # A bytearray may be modified by other threads while it is stored: copy it.
        folder.add("data", obj if isinstance(obj, bytes) else bytes(obj))

    def read(self, folder: ReadFolder) -> bytes:
        """Return the bytes."""
        return folder.read("data")
