"""The plugin interface of object formats: the folder a format writes to and the folder it reads from."""

import io
import shutil
import weakref
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from tempfile import SpooledTemporaryFile, mkdtemp
from typing import IO, Any, Final, Protocol, TypeVar

from artifactstore.content.write.memory_source import from_parts
from artifactstore.content.write.source import Source, from_file
from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import parse_json
from artifactstore.objects.trust import Trust
from artifactstore.runtime.local_files import temporary
from artifactstore.runtime.threads import Pool

__all__ = ["Files", "Format", "ReadFolder", "WriteFolder", "stored_json", "texts", "zipped"]

T = TypeVar("T")
_THREADS: Final = 8  # files of an object that are read at a time
_SPOOL: Final = 64 * 2**20  # bytes of a file that is being written that stay in memory


class _Spool:
    """A temporary folder on local disk, created on first use and removed once nothing refers to it.

    A put that lost a race reads its files again, so they must live as long as the sources that name them.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None

    def folder(self) -> Path:
        if self._folder is None:
            with temporary("this object is written to files first"):
                self._folder = Path(mkdtemp(prefix="artifactstore-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder


class _Spooled(SpooledTemporaryFile[bytes]):
    """A file in memory that moves to local disk once it is large."""

    def rollover(self) -> None:
        with temporary(f"this object has a file of more than {_SPOOL // 2**20} MiB, which is written to the disk first"):
            super().rollover()


class WriteFolder:
    """The folder that a format writes an object's files to: `with folder.open(name) as file`, or `folder.add` for bytes in memory.

    Attributes:
        sources: the files, in the order written.
        side: path → side content, such as a table's profile; not part of the identity.
        late: callbacks that add more side content; run only if the content turns out to be new.
        marks: a fingerprint per value from which `side` is computed; equal values have equal fingerprints.
        known: fingerprint → whether its content is stored already, so that its side content need not be computed again.
    """

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.side: dict[str, bytes] = {}
        self.late: list[Callable[[], None]] = []
        self.marks: list[str] = []
        self.known: Callable[[str], bool] = lambda _: False
        self._prefix = ""
        self._spool = _Spool()

    def add(self, name: str, *parts: bytes | memoryview) -> None:
        """Add a file from bytes in memory, without a copy; several parts are concatenated."""
        self.sources.append(from_parts(self._prefix + name, parts))

    def note(self, name: str, data: bytes) -> None:
        """Add side content: a description of the files that is not part of the artifact's identity."""
        self.side[self._prefix + name] = data

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for writing; it is added when the block ends without an exception.

        Files larger than 64 MiB are spooled to local disk, so that no object needs its memory twice.
        """
        with _Spooled(_SPOOL) as file:
            yield file
            file.seek(0)
            if isinstance(getattr(file, "_file", None), io.BytesIO):
                self.add(name, file.read())
                return
            target = self._spool.folder() / str(len(self.sources))
            with target.open("xb") as kept:
                shutil.copyfileobj(file, kept, 2**20)
        self.sources.append(from_file(str(target))._replace(path=self._prefix + name))

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Yield a temporary folder on local disk; its files are added when the block ends without an exception."""
        top = self._spool.folder() / f"{len(self.sources)}.d"
        top.mkdir()
        yield top
        for path in sorted(top.rglob("*")):
            if path.is_file():
                self.sources.append(from_file(str(path))._replace(path=self._prefix + path.relative_to(top).as_posix()))

    def inner(self, name: str) -> "WriteFolder":
        """Return a subfolder."""
        folder = copy(self)
        folder._prefix = f"{self._prefix}{name}/"  # noqa: SLF001 - its own
        return folder


class Files(Protocol):
    """Files that are compared."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""

    def open(self, name: str) -> io.BufferedReader:
        """Open a file as a seekable reader."""


class ReadFolder(Protocol):
    """The folder that a format reads an object's files from; all bytes are verified.

    Attributes:
        trust: what the caller trusts.
        is_remote: whether each read is a round trip to a remote backend.
    """

    trust: Trust
    is_remote: bool

    @property
    def names(self) -> Sequence[str]:
        """Paths of all files, sorted."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            NotFoundError: no such file.
        """

    def buffer(self, name: str) -> memoryview:
        """Return a file's bytes in memory that the caller owns and may write to.

        Raises:
            NotFoundError: no such file.
        """

    def used(self, name: str, use: Callable[[memoryview], T]) -> T:
        """Return `use(bytes)`, computed while the bytes are verified; the result is discarded if they are damaged.

        Args:
            name: name of the file.
            use: called with memory as `buffer` returns it; it must cope with damaged bytes, and may be called a second time.

        Raises:
            NotFoundError: no such file.
        """

    def size(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            NotFoundError: no such file.
        """

    def open(self, name: str) -> io.BufferedReader:
        """Open a file as a seekable reader that fetches only the ranges that it needs.

        Raises:
            NotFoundError: no such file.
        """

    def ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return byte ranges of a file, given as (offset, length), in memory that the caller owns; all are fetched concurrently.

        Raises:
            NotFoundError: no such file.
        """

    def path(self, name: str) -> Path:
        """Return the path of a read-only local copy of a file; `""` returns the folder of all files.

        Raises:
            NotFoundError: no such file.
        """

    def noted(self, name: str) -> bytes | None:
        """Return the side content that `WriteFolder.note` added under a name; None if there is none.

        It is not part of the artifact's identity: an earlier put of equal content may have added different side content.
        """

    def inner(self, name: str) -> "ReadFolder":
        """Return a subfolder."""


class Format(Protocol):
    """A way to store objects of some type as files.

    Attributes:
        name: recorded in the artifact's identity.
        executes_code: whether reading may run code from the store: then it is read only where the caller passes `trust=`.
        write_options: names of the options that `write` accepts.
        read_options: names of the options that `read` accepts.
    """

    name: str
    executes_code: bool
    write_options: Sequence[str]
    read_options: Sequence[str]

    def matches(self, obj: Any) -> bool:
        """Return whether this is the natural format for an object; decide by its type alone where possible."""

    def write(self, obj: Any, folder: WriteFolder, **options: Any) -> None:
        """Write an object; equal values give equal bytes.

        Raises:
            InvalidInputError: this format cannot store the object.
        """

    def read(self, folder: ReadFolder, **options: Any) -> Any:
        """Read an object back.

        Raises:
            CorruptionError: the files are not of this format.
            UntrustedError: reading would run code, and the caller does not trust it.
        """


def stored_json(folder: ReadFolder, name: str) -> Any:
    """Return the parsed content of a JSON file of a stored object.

    Raises:
        NotFoundError: no such file.
        CorruptionError: the file is not valid JSON.
    """
    try:
        return parse_json(folder.read(name), name)
    except InvalidInputError as error:
        raise CorruptionError(f"{name} cannot be read: {error}", location=name) from error


def texts(value: Any, what: str, *, numbers: bool = False) -> list[str]:
    """Return the names that a caller passed for an option: a single name or several.

    Args:
        value: the option's value.
        what: the option's name, for messages.
        numbers: list members are named by their index.

    Raises:
        InvalidInputError: any other type of value.
    """
    found = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    if not all(isinstance(one, str) or (numbers and type(one) is int) for one in found):
        raise InvalidInputError(
            f"{what}= must be a str{' or a number' if numbers else ''}, or a list of them, got {value!r:.200}"
        )
    return [str(one) for one in found]


def zipped(folder: ReadFolder) -> bytes:
    """Return all files of a stored object as one uncompressed zip, for libraries that read nothing else."""
    packed, names = io.BytesIO(), folder.names
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive, ExitStack() as stack:
        # For local files, threads would cost more than they save.
        read = stack.enter_context(Pool(_THREADS, "artifactstore-read")).map if folder.is_remote else map
        for name, data in zip(names, read(folder.read, names), strict=True):
            archive.writestr(name, data)
    return packed.getvalue()
