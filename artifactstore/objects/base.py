"""What a format is, and the folder that it writes to and reads from."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from artifactstore.errors import NotFoundError

__all__ = ["Format", "ReadFolder", "WriteFolder"]


class WriteFolder:
    """Where a format puts an object's files: `with folder.open(name) as file`, or `folder.add` for bytes at hand.

    Attributes:
        files: name → bytes, in the order written.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes | memoryview] = {}

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Store bytes under a name, without a copy."""
        self.files[name] = data

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to write; it counts when the block ends without an exception."""
        file = io.BytesIO()
        yield file
        self.files[name] = file.getbuffer()


class ReadFolder(Protocol):
    """What a format reads from: verified bytes only."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            NotFoundError: no such file.
        """


class Format(Protocol):
    """One way of keeping objects of some type as files.

    Attributes:
        name: recorded in the artifact's identity.
        executes_code: whether reading may run code that the store holds.
    """

    name: str
    executes_code: bool

    def matches(self, obj: Any) -> bool:
        """Tell whether this format is the natural one for an object, looking at its type alone where possible."""

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write an object; the same value gives the same bytes.

        Raises:
            InvalidInputError: the object is not of this format.
        """

    def read(self, folder: ReadFolder) -> Any:
        """Read an object back.

        Raises:
            CorruptionError: the files are not of this format.
        """


class FolderOf:
    """A `ReadFolder` over files in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        try:
            return self._files[name]
        except KeyError:
            raise NotFoundError(f"the stored object has no file {name!r}; it has {', '.join(self._files) or 'none'}") from None
