"""Files of another system as the source of a put: each is checked against that system's own hash while it is read.

A file system of fsspec with exactly the listed files, wherever their bytes are: nothing is copied before it is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote

import fsspec

from artifactstore.errors import ConflictError, CorruptionError, InvalidInputError
from artifactstore.integrations.checked.hashes import Check
from artifactstore.integrations.checked.origins import Origin

__all__ = ["CheckedFiles", "Content", "as_source", "read_checked"]

_SCHEME: Final = "artifactstore-import"
_BLOCK: Final = 4 * 2**20  # bytes that are read at a time, where a file is only checked


@dataclass(slots=True)
class Content:
    """One file of a source.

    Attributes:
        origin: where its bytes are.
        check: starts a check; None if nothing is known of them.
    """

    origin: Origin
    check: Callable[[], Check] | None = None
    mark: str = ""
    _running: Check | None = field(default=None, repr=False)
    _at: int = 0
    _is_checked: bool = False

    def read(self, start: int, end: int) -> bytes:
        """Return bytes; those that are read in order are checked when the last of them is read.

        Raises:
            CorruptionError: the file is not what its hash says.
            ConflictError: it became shorter.
        """
        data = self.origin.read(start, end)
        if len(data) != end - start:
            raise ConflictError(f"{self.origin.where} changed while it was read: expected {end - start} bytes, got {len(data)}")
        if self.check is None:
            return data
        if start == 0:
            self._running, self._at, self._is_checked = self.check(), 0, False
        if self._running is not None and start == self._at:
            self._running.update(data)
            self._at = end
            if end == self.origin.size:
                self._end()
        return data

    def _end(self) -> None:
        assert self._running is not None  # by the only callers
        if not self._running.is_right():
            raise CorruptionError(
                f"{self.origin.where} is damaged: its bytes do not have the hash that its system recorded",
                location=self.origin.where,
            )
        self._running, self._is_checked = None, True

    def finish(self) -> None:
        """Check it, unless it was read in order as a whole.

        Raises:
            CorruptionError: as `read`.
        """
        if self.check is None or self._is_checked:
            return
        size = self.origin.size
        for start in range(0, size, _BLOCK):
            self.read(start, min(start + _BLOCK, size))
        if not size:
            self.read(0, 0)


def read_checked(content: Content, most: int) -> bytes:
    """Return a small file as a whole, checked.

    Raises:
        InvalidInputError: it is larger than `most` bytes.
        CorruptionError: it is damaged.
    """
    if content.origin.size > most:
        raise InvalidInputError(f"{content.origin.where} has more than {most:,} bytes")
    return content.read(0, content.origin.size)


def as_source(files: Mapping[str, Content], *, single: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options with which `put` takes these files.

    Args:
        files: path in the artifact → content.
        single: whether it is one file, not a folder with one.
    """
    fsspec.register_implementation(_SCHEME, f"{__name__}.{CheckedFiles.__name__}", clobber=True)
    tail = quote(next(iter(files)), safe="") if single else ""
    return f"{_SCHEME}://source/{tail}", {"source_options": {"contents": _Contents(dict(files))}}


class _Contents:
    """Files by path; an object of its own, so that fsspec does not print them."""

    def __init__(self, files: dict[str, Content]) -> None:
        self.files = files


class CheckedFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The files that were passed, and nothing else; read only."""

    protocol = _SCHEME
    root_marker = ""

    def __init__(self, contents: _Contents, **more: Any) -> None:
        super().__init__(**more)
        self._files = contents.files

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return unquote(str(path).removeprefix(f"{_SCHEME}://source").strip("/"))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what is known of a path; a file that was read is checked by then."""
        path = path.strip("/")
        if path in self._files:
            one = self._files[path]
            if one.mark:
                one.finish()
            return self._about(path, one)
        if not path or any(known.startswith(f"{path}/") for known in self._files):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def _about(self, path: str, one: Content) -> dict[str, Any]:
        one.mark = one.mark or "seen"
        return {"name": path, "size": one.origin.size, "type": "file", "mtime": one.origin.mark()}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's interface
        """List the files below a path."""
        found = list(self.find(path, detail=True).values())
        return found if detail else [one["name"] for one in found]

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any) -> Any:  # noqa: ARG002, FBT001, FBT002 - fsspec's interface
        """Return the files below a path."""
        top = path.strip("/")
        found = {one: self._about(one, content) for one, content in self._files.items() if not top or one.startswith(f"{top}/")}
        return found if detail else list(found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return bytes of a file."""
        one = self._files[path.strip("/")]
        return one.read(start or 0, one.origin.size if end is None else end)

    def cat_ranges(self, paths: Any, starts: Any, ends: Any, **_: Any) -> list[bytes]:
        """Return several ranges, in order."""
        return [self.cat_file(path, start, end) for path, start, end in zip(paths, starts, ends, strict=True)]
