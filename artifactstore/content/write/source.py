"""Sources of a put: files on disk or bytes in memory, sorted by path.

A file's stat is compared before and after reading: a file that changes meanwhile is an error, never stored as a mixture.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.listing import check_disk_path, check_path
from artifactstore.model.path_clashes import clash
from artifactstore.runtime.file_stats import Held, signature
from artifactstore.runtime.local_files import READ

__all__ = [
    "Folder",
    "Source",
    "SourceReader",
    "check_folder",
    "check_regular",
    "from_bytes",
    "from_file",
    "from_folder",
    "from_remote",
    "open_unchanged",
    "read_unchanged",
    "stat_of",
]

# Non-blocking: a file may have become a pipe since the scan, and opening that would block forever.
_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


class SourceReader(Protocol):
    """Reads content that is neither a file on disk nor one buffer in memory: a remote file, or several buffers."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes at `offset`."""

    def fill(self, view: memoryview, offset: int) -> None:
        """Fill the view with bytes from `offset` on."""

    def check(self) -> None:
        """Raise a `ConflictError` if it changed since the scan."""


class Source(NamedTuple):  # cheap to create: there may be millions
    """A file to store.

    Attributes:
        path: path in the artifact.
        size: size in bytes.
        signature: signature of the file on disk (see `file_stats.signature`), or b"" for bytes in memory.
        executable: whether any executable bit is set.
        base: its folder, ending with `/`, or the file's own path; None for bytes in memory.
        data: the bytes, if in memory.
        reader: reads content that is neither on disk nor in `data`.
    """

    path: str
    size: int
    signature: bytes
    executable: bool
    base: str | None
    data: bytes | memoryview | None = None
    reader: SourceReader | None = None

    @property
    def disk(self) -> str | None:
        """The file's path on disk, or None. Built on demand: a million of them would take 100 MB."""
        return self.base + self.path if self.base is not None and self.base.endswith("/") else self.base


@dataclass(slots=True)
class Folder:
    """A scanned folder.

    Attributes:
        files: sorted by path; large scans build them on demand (`scan`).
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
    """Reject names that one artifact cannot contain together, before anything is read or stored.

    Args:
        folder: the scanned folder.
        keys: returns the source's keys for a path, where they differ from it.

    Raises:
        InvalidInputError: with both keys, and how to exclude one.
    """
    found = clash(folder.paths, folder.folders, folder.links)
    if found is None:
        return
    first, second = found
    above, below = (list(dict.fromkeys(keys(path) if keys is not None else [])) or [path] for path in found)
    if first != second:
        raise InvalidInputError(
            f"{above[0]!r} is a file and {below[0]!r} is inside it: an artifact cannot contain both; rename one, or exclude "
            f"its content with exclude=[{first + '/*'!r}]"
        )
    what = f"{above[0]!r} and {above[1]!r} both become {first!r}" if len(above) > 1 else f"the listing has {above[0]!r} twice"
    raise InvalidInputError(
        f"{what}: an artifact cannot contain a path twice; rename one, or exclude both with exclude=[{first!r}]"
    )


def from_bytes(path: str, data: bytes | memoryview) -> Source:
    """Make a source from bytes in memory."""
    check_path(path)
    return Source(path, len(data), b"", executable=False, base=None, data=data)


def from_file(disk: str) -> Source:
    """Make a source from a file, under its base name; a top-level link is followed.

    Raises:
        InvalidInputError: missing, not a regular file, or with a name that cannot be stored.
    """
    name = os.path.basename(os.path.abspath(disk))  # noqa: PTH100, PTH119 - the hot path of a small put
    check_disk_path(name)
    st = stat_of(disk)
    check_regular(disk, st)
    return Source(name, st.st_size, signature(st), bool(st.st_mode & 0o111), disk)


def from_folder(base: str, path: str, *, executable: bool) -> Source:
    """Make a source from a file in a folder, under its path there; a link is followed.

    Args:
        base: the folder, ending with `/`; shared by all its sources.
        path: path of the file below it.
        executable: whether to store it as executable.

    Raises:
        InvalidInputError: as `from_file`.
    """
    check_disk_path(path)
    st = stat_of(base + path)
    check_regular(base + path, st)
    return Source(path, st.st_size, signature(st), executable, base)


def from_remote(path: str, url: str, size: int, reader: SourceReader) -> Source:
    """Make a source from a remote file.

    Raises:
        InvalidInputError: a name that cannot be stored.
    """
    check_path(path)
    return Source(path, size, b"", executable=False, base=url, reader=reader)


def stat_of(disk: str) -> os.stat_result:
    """Return the stat of a path, following links.

    Raises:
        InvalidInputError: it cannot be read.
    """
    try:
        return os.stat(disk)  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{disk!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def check_regular(disk: str, st: os.stat_result) -> None:
    """Reject anything but a regular file.

    Raises:
        InvalidInputError: with its kind.
    """
    if not stat.S_ISREG(st.st_mode):
        kind = _KINDS.get(stat.S_IFMT(st.st_mode), "not a regular file")
        raise InvalidInputError(f"{disk} is {kind}: only files, folders and links can be stored; exclude it")


class open_unchanged:  # noqa: N801 - used as a function: with open_unchanged(source) as fd
    """Open a source's file; reject it if it differs from the scan, before or after reading.

    Args:
        source: the file.
        held: checks the file before it is read.
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
    """Return the whole content of a small file, if it has not changed since the scan.

    One check at the end suffices: it detects a file that was changed or replaced before or during the read.

    Args:
        source: the file.
        held: as for `open_unchanged`.

    Raises:
        InvalidInputError: it cannot be read.
        ConflictError: it changed.
    """
    if source.reader is not None:
        whole = source.reader.read(0, source.size)
        source.reader.check()
        return whole
    disk = source.disk or ""
    try:
        fd = os.open(disk, READ)
        try:
            if held is not None:
                held.look(fd, source.path, source.signature)
            # Read one byte more than expected: files of /proc report size 0, but have content.
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
            f"{disk} has more bytes than its size of {source.size}: the system generates it on read; copy it first"
        )
    return data


def _unreadable(disk: str, error: OSError) -> InvalidInputError | ConflictError:
    if isinstance(error, FileNotFoundError):
        return ConflictError(f"{disk} vanished while it was being put; nothing was committed: put again")
    return InvalidInputError(f"{disk} cannot be read: {error.strerror or error}; make it readable or exclude it")


def _changed(disk: str | None) -> ConflictError:
    return ConflictError(f"{disk} changed while it was being put; nothing was committed: put again when nothing writes to it")
