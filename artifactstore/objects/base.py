"""What a format is, and the folders that it writes to and reads from."""

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

from artifactstore.backend.disk import temporary
from artifactstore.backend.pool import Pool
from artifactstore.content.memory import from_parts
from artifactstore.content.source import Source, from_file
from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import parse_json
from artifactstore.objects.trust import Trust

__all__ = ["Format", "ReadFolder", "WriteFolder", "stored_json", "texts", "zipped"]

T = TypeVar("T")
_AT_ONCE: Final = 8  # files of an object that are read at a time
_SPOOL: Final = 64 * 2**20  # bytes of a file that is being written that stay in memory


class _Spool:
    """A folder on this machine's disk for as long as it is referred to; made when it is asked for.

    A put that lost a race reads its files again, so they live as long as what is to be stored.
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
    """A file in memory that goes to this machine's disk when it becomes large."""

    def rollover(self) -> None:
        with temporary(f"this object has a file of more than {_SPOOL // 2**20} MiB, which is written to the disk first"):
            super().rollover()


class WriteFolder:
    """Where a format puts an object's files: `with folder.open(name) as file`, or `folder.add` for bytes at hand.

    Attributes:
        sources: what was written, in the order written.
        side: path → what is known beside the files, such as a table's profile; no part of the identity.
        late: what makes more of that, if the content turns out to be new after all.
        marks: of what was written, each of a value from which `side` is made: an equal one has an equal mark.
        known: mark → whether the content that it was made into is stored, so that nothing needs to be known beside it again.
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
        """Store bytes under a name, without a copy: several parts become one file in a row."""
        self.sources.append(from_parts(self._prefix + name, parts))

    def note(self, name: str, data: bytes) -> None:
        """Keep something beside the files: it says what is in them, and is no part of what they are."""
        self.side[self._prefix + name] = data

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file to write; it counts when the block ends without an exception.

        What is larger than 64 MiB waits on this machine's disk, so that no object needs the memory twice.
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
        """Give a folder on this machine's disk to write to; its files count when the block ends without an exception."""
        top = self._spool.folder() / f"{len(self.sources)}.d"
        top.mkdir()
        yield top
        for path in sorted(top.rglob("*")):
            if path.is_file():
                self.sources.append(from_file(str(path))._replace(path=self._prefix + path.relative_to(top).as_posix()))

    def inner(self, name: str) -> "WriteFolder":
        """Return a folder in this one."""
        folder = copy(self)
        folder._prefix = f"{self._prefix}{name}/"  # noqa: SLF001 - its own
        return folder


class ReadFolder(Protocol):
    """What a format reads from: verified bytes only.

    Attributes:
        trust: what the caller trusts.
        far: whether each read costs a round trip.
    """

    trust: Trust
    far: bool

    @property
    def names(self) -> Sequence[str]:
        """Paths of all files, sorted."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            NotFoundError: no such file.
        """

    def buffer(self, name: str) -> memoryview:
        """Return a file's bytes in memory that is the caller's own and may be written to.

        Raises:
            NotFoundError: no such file.
        """

    def used(self, name: str, use: Callable[[memoryview], T]) -> T:
        """Return what `use` makes of a file's bytes; while it works they are checked, and only what it made of right ones counts.

        Args:
            name: of the file.
            use: gets memory as `buffer` gives it; it must withstand damaged bytes, and may be called a second time.

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
        """Return parts of a file, given as (offset, length), in memory that is the caller's own; all are fetched at once.

        Raises:
            NotFoundError: no such file.
        """

    def path(self, name: str) -> Path:
        """Return a read-only file on this machine with a file's bytes; `""` for the folder of all.

        Raises:
            NotFoundError: no such file.
        """

    def noted(self, name: str) -> bytes | None:
        """Return what was noted beside the files under a name (`WriteFolder.note`); None where nothing was.

        It is no part of the artifact's identity: equal content that was put before may have come with another note.
        """

    def inner(self, name: str) -> "ReadFolder":
        """Return a folder in this one."""


class Format(Protocol):
    """One way of keeping objects of some type as files.

    Attributes:
        name: recorded in the artifact's identity.
        executes_code: whether reading may run code that the store holds; such a format asks `folder.trust` itself.
        write_options: names of the options that `write` knows.
        read_options: names of the options that `read` knows.
    """

    name: str
    executes_code: bool
    write_options: Sequence[str]
    read_options: Sequence[str]

    def matches(self, obj: Any) -> bool:
        """Tell whether this format is the natural one for an object, looking at its type alone where possible."""

    def write(self, obj: Any, folder: WriteFolder, **options: Any) -> None:
        """Write an object; the same value gives the same bytes.

        Raises:
            InvalidInputError: the object is not of this format.
        """

    def read(self, folder: ReadFolder, **options: Any) -> Any:
        """Read an object back.

        Raises:
            CorruptionError: the files are not of this format.
            UntrustedError: reading would run code, and the caller does not trust it.
        """


def stored_json(folder: ReadFolder, name: str) -> Any:
    """Return what a JSON file of a stored object holds.

    Raises:
        NotFoundError: no such file.
        CorruptionError: it is no JSON.
    """
    try:
        return parse_json(folder.read(name), name)
    except InvalidInputError as error:
        raise CorruptionError(f"{name} can't be read: {error}", location=name) from error


def texts(value: Any, what: str, *, numbers: bool = False) -> list[str]:
    """Return what a caller chooses by name: one name, or several.

    Args:
        value: as it was given.
        what: the option, for messages.
        numbers: members of a list are called by their number.

    Raises:
        InvalidInputError: anything else.
    """
    found = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    if not all(isinstance(one, str) or (numbers and type(one) is int) for one in found):
        raise InvalidInputError(f"{what}={value!r:.200}: a str{' or a number' if numbers else ''}, or several in a list")
    return [str(one) for one in found]


def zipped(folder: ReadFolder) -> bytes:
    """Return all files of a stored object as one zip, uncompressed: for libraries that read nothing else."""
    packed, names = io.BytesIO(), folder.names
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive, ExitStack() as stack:
        # At a place of this machine threads would cost more than they save.
        read = stack.enter_context(Pool(_AT_ONCE, "artifactstore-read")).map if folder.far else map
        for name, data in zip(names, read(folder.read, names), strict=True):
            archive.writestr(name, data)
    return packed.getvalue()
