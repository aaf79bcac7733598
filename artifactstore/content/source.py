"""What is to be stored: files on disk or bytes in memory, in the order of their paths.

A file is looked at before and after it is read: one that changes meanwhile is an error, never a mixture.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from artifactstore.backend.disk import READ
from artifactstore.content.stats import Held, signature
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.listing import check_disk_path, check_path, clash

__all__ = [
    "Far",
    "Folder",
    "Source",
    "check_folder",
    "from_bytes",
    "from_far",
    "from_file",
    "from_folder",
    "open_unchanged",
    "read_unchanged",
    "regular",
    "stat_of",
]

# Not blocking: a file may have become a pipe since the scan, and opening that would wait for ever.
_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class Far(Protocol):
    """A file that is no file of this machine."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly these bytes."""

    def fill(self, view: memoryview, offset: int) -> None:
        """Copy as many bytes from `offset` on as the view has room for."""

    def check(self) -> None:
        """Raise a `ConflictError` if it is not what it was when it was found."""


class Source(NamedTuple):  # made in no time: there may be millions
    """One file to be stored.

    Attributes:
        path: in the artifact.
        size: in bytes.
        signature: of the file on disk (see `stats.signature`), or b"" for bytes in memory.
        executable: whether any executable bit is set.
        base: the folder that it lies in, ending with `/`, or the file's own path; None for bytes in memory.
        data: the bytes, where they are in memory.
        far: by which they are read, where they lie elsewhere.
    """

    path: str
    size: int
    signature: bytes
    executable: bool
    base: str | None
    data: bytes | memoryview | None = None
    far: Far | None = None

    @property
    def disk(self) -> str | None:
        """The file's path on disk, or None. Made when asked for: a million of them would be 100 MB."""
        return self.base + self.path if self.base is not None and self.base.endswith("/") else self.base


@dataclass(slots=True)
class Folder:
    """A folder as found on disk.

    Attributes:
        files: sorted by path; many of them are made as they are asked for (`scan`).
        folders: empty folders.
        links: (path, target) of links that stay inside.
    """

    files: Sequence[Source] = ()
    folders: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)

    @property
    def paths(self) -> Sequence[str]:
        """The paths of the files."""
        found: Sequence[str] | None = getattr(self.files, "paths", None)
        return [one.path for one in self.files] if found is None else found

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(getattr(self.files, "sizes", None) or (one.size for one in self.files))


def check_folder(folder: Folder, keys: Callable[[str], Sequence[str]] | None = None) -> None:
    """Refuse names that one artifact cannot hold together, before anything of it is read or stored.

    Args:
        folder: what was found.
        keys: returns the keys of the source that became a path, where they are called otherwise.

    Raises:
        InvalidInputError: names both keys, and how to leave one out.
    """
    found = clash(folder.paths, folder.folders, folder.links)
    if found is None:
        return
    first, second = found
    above, below = (list(dict.fromkeys(keys(path) if keys is not None else [])) or [path] for path in found)
    if first != second:
        raise InvalidInputError(
            f"{above[0]!r} is a file and {below[0]!r} is inside of it: one artifact cannot hold both; rename one, or leave out "
            f"what is inside with exclude=[{first + '/*'!r}]"
        )
    what = f"{above[0]!r} and {above[1]!r} both become {first!r}" if len(above) > 1 else f"the listing names {above[0]!r} twice"
    raise InvalidInputError(
        f"{what}: one artifact cannot hold a path twice; rename one, or leave out both with exclude=[{first!r}]"
    )


def from_bytes(path: str, data: bytes | memoryview) -> Source:
    """Make a source of bytes in memory."""
    check_path(path)
    return Source(path, len(data), b"", executable=False, base=None, data=data)


def from_file(disk: str) -> Source:
    """Make a source of one file, under its base name; a link at the top is followed.

    Raises:
        InvalidInputError: missing, no regular file, or with a name that can't be stored.
    """
    name = os.path.basename(os.path.abspath(disk))  # noqa: PTH100, PTH119 - the hot path of a small put
    check_disk_path(name)
    st = stat_of(disk)
    regular(disk, st)
    return Source(name, st.st_size, signature(st), bool(st.st_mode & 0o111), disk)


def from_folder(base: str, path: str, *, executable: bool) -> Source:
    """Make a source of one file in a folder, under its path there; a link is followed.

    Args:
        base: the folder, ending with `/`; all its sources share it.
        path: of the file, below it.
        executable: as which it is stored.

    Raises:
        InvalidInputError: as `from_file`.
    """
    check_disk_path(path)
    st = stat_of(base + path)
    regular(base + path, st)
    return Source(path, st.st_size, signature(st), executable, base)


def from_far(path: str, url: str, size: int, far: Far) -> Source:
    """Make a source of a file elsewhere.

    Raises:
        InvalidInputError: a name that can't be stored.
    """
    check_path(path)
    return Source(path, size, b"", executable=False, base=url, far=far)


def stat_of(disk: str) -> os.stat_result:
    """Return the stat of what a path leads to.

    Raises:
        InvalidInputError: it can't be read.
    """
    try:
        return os.stat(disk)  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{disk!r} can't be read: {getattr(error, 'strerror', None) or error}") from error


def regular(disk: str, st: os.stat_result) -> None:
    """Refuse what is no regular file.

    Raises:
        InvalidInputError: names it.
    """
    if not stat.S_ISREG(st.st_mode):
        kind = _KINDS.get(stat.S_IFMT(st.st_mode), "no regular file")
        raise InvalidInputError(f"{disk} is {kind}: only files, folders and links can be stored; exclude it")


class open_unchanged:  # noqa: N801 - used as a function: with open_unchanged(source) as fd
    """Open a source's file and refuse, before and after, one that is not what the scan saw.

    Args:
        source: the file.
        held: is shown it before it is read.
    """

    def __init__(self, source: Source, held: Held | None = None) -> None:
        self._source = source
        self._held = held
        self._fd = -1

    def __enter__(self) -> int:
        disk = self._source.disk or ""
        try:
            self._fd = os.open(disk, READ)
        except OSError as error:
            raise _unreadable(disk, error) from error
        self._check()
        if self._held is not None:
            self._held.look(self._fd, self._source.path, self._source.signature)
        return self._fd

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._check()
        finally:
            os.close(self._fd)

    def _check(self) -> None:
        if signature(os.fstat(self._fd)) != self._source.signature:
            raise _changed(self._source.disk)


def read_unchanged(source: Source, held: Held | None = None) -> bytes:
    """Return the whole of a small file, if it is what the scan saw.

    One look at the end is enough: it tells a file that changed or was replaced before or while it was read.

    Args:
        source: the file.
        held: as for `open_unchanged`.

    Raises:
        InvalidInputError: it can't be read.
        ConflictError: it changed.
    """
    if source.far is not None:
        whole = source.far.read(0, source.size)
        source.far.check()
        return whole
    disk = source.disk or ""
    try:
        fd = os.open(disk, READ)
        try:
            if held is not None:
                held.look(fd, source.path, source.signature)
            # One byte more than there should be: files of /proc say that they are empty, and are not.
            data = os.read(fd, source.size + 1)
            while len(data) < source.size and (more := os.read(fd, source.size + 1 - len(data))):
                data += more
            same = signature(os.fstat(fd)) == source.signature
        finally:
            os.close(fd)
    except OSError as error:
        raise _unreadable(disk, error) from error
    if not same:
        raise _changed(disk)
    if len(data) != source.size:
        raise InvalidInputError(
            f"{disk} holds more than its size of {source.size} bytes tells: the system makes it up as it is read; copy it first"
        )
    return data


def _unreadable(disk: str, error: OSError) -> InvalidInputError | ConflictError:
    if isinstance(error, FileNotFoundError):
        return ConflictError(f"{disk} vanished while it was being put; nothing was committed: put again")
    return InvalidInputError(f"{disk} can't be read: {error.strerror or error}; make it readable or exclude it")


def _changed(disk: str | None) -> ConflictError:
    return ConflictError(f"{disk} changed while it was being put; nothing was committed: put again when nothing writes to it")
