"""The two sides of a comparison: an artifact (or a folder or file in it), or a file or folder of this machine."""

import io
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.content.write.hash_files import hash_files
from artifactstore.content.write.source import Source
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import parse_json
from artifactstore.objects.base import Files
from artifactstore.objects.stored_folder import StoredFolder
from artifactstore.objects.tables.profile_names import side_prefix
from artifactstore.objects.trust import NOTHING
from artifactstore.runtime.file_stats import signature
from artifactstore.work.put.arguments import FolderOptions, check_options
from artifactstore.work.put.sources import PutSource, local_source
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    from artifactstore.objects.compare.tables import StoredTable

__all__ = ["Entry", "LocalSide", "Side", "StoredSide", "WholeFolder", "exact_sides", "hashed", "listed", "sides"]

T = TypeVar("T")
Entry = tuple[str, int]  # digest (or a link's target, or "folder"), bytes


class Side:
    """One of the two sides.

    Attributes:
        ref: its reference, or its path as it was passed.
        entries: path → entry of each file, link and empty folder.
        folder: reads its files.
    """

    ref: str
    entries: Mapping[str, Entry]
    folder: Files

    def inner(self, path: str) -> str:
        """Return the path in `folder` of an entry."""
        raise NotImplementedError

    def is_file(self, path: str) -> bool:
        """Return whether an entry is a regular file."""
        entry = self.entries.get(path)
        return entry is not None and entry[0] != "folder" and not entry[0].startswith("link to ")

    @property
    def files(self) -> list[str]:
        """Paths of the regular files, as in `entries`."""
        return [path for path in self.entries if self.is_file(path)]

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        return self.entries[path][1]

    def content(self, path: str) -> bytes | None:
        """Return a file's bytes; None if it does not exist."""
        return self.folder.read(self.inner(path)) if self.is_file(path) else None

    def value(self, path: str) -> Any:
        """Parse a JSON file."""
        try:
            return parse_json(self.folder.read(self.inner(path)), path)
        except InvalidInputError as error:
            raise CorruptionError(f"{self.ref}: {error}", location=path) from error

    def table(self, path: str) -> "StoredTable":
        """Return a Parquet file, with its side content."""
        from artifactstore.objects.compare.tables import StoredTable  # noqa: PLC0415 - Arrow, which names need not

        inner = self.inner(path)
        return StoredTable(self.folder, inner, self.side_content(inner))

    def side_content(self, inner: str) -> Callable[[str], bytes | None]:
        """Return a function from the name of a table's side content to its bytes."""
        del inner
        return lambda _name: None

    def only_table(self) -> "StoredTable":
        """Return the only Parquet file.

        Raises:
            InvalidInputError: there is none, or more than one.
        """
        found = [path for path in self.files if path.endswith(".parquet")]
        if len(found) != 1:
            raise InvalidInputError(f"expected one Parquet file in {self.ref}, got {len(found)}: pass {self.ref}/PATH")
        return self.table(found[0])


class StoredSide(Side):
    """An artifact, or a folder or file in it.

    Args:
        session: of the store.
        ref: a reference.
        keeps: path → whether it counts; of a get that wrote only a part.
    """

    def __init__(self, session: Session, ref: str, keeps: Callable[[str], bool] | None = None) -> None:
        found = session.resolve(ref)
        self.ref = ref
        self._session = session
        self._manifest = session.with_manifest(found.digest, lambda manifest: manifest)
        self._chosen = (found.path or "").rstrip("/")
        entries = _entries(self._manifest, self._chosen)
        self.entries = entries if keeps is None else {path: entry for path, entry in entries.items() if keeps(path)}
        using = partial(session.with_manifest, found.digest)
        self.folder = StoredFolder(session.core().cached_backend, self._manifest, _no_tree, NOTHING, using=using)

    @property
    def is_one_file(self) -> bool:
        """Whether the reference means one file by its path."""
        return bool(self._chosen) and self._manifest.index(self._chosen) is not None

    @property
    def modes(self) -> bool:
        """Whether executable bits are a part of its identity."""
        return self._manifest.modes

    def mark_executable(self) -> None:
        """Let executable bits count in the comparison."""
        bits = {path for path, bit in zip(self._manifest.paths, self._manifest.executable, strict=True) if bit}
        self.entries = {path: (_marked(entry[0], self.inner(path) in bits), entry[1]) for path, entry in self.entries.items()}

    def inner(self, path: str) -> str:
        """Return the path in the artifact."""
        if not self._chosen:
            return path
        return self._chosen if self.is_one_file else f"{self._chosen}/{path}"

    def side_content(self, inner: str) -> Callable[[str], bytes | None]:
        """Return a function from the name of a table's side content to its bytes."""
        backend, manifest = self._session.core().cached_backend, self._manifest
        known = side_prefix(manifest, inner)
        return lambda name: read_side(backend, manifest, known + name)


class LocalSide(Side):
    """A file or folder of this machine.

    Args:
        algorithm: the store's digest algorithm.
        path: the path, as it is shown.
        source: its listed files.
        digests: the raw digest of each.
        other: the other side, if that is an artifact: a single file is compared with its only file, or the one of the same name.
    """

    def __init__(
        self, algorithm: str, path: Path, source: PutSource, digests: Sequence[bytes], other: StoredSide | None = None
    ) -> None:
        self.ref = str(path)
        self._single = source.root if source.single else None
        self._base = f"{source.root.rstrip('/')}/"
        folder = source.folder
        entries = {
            one: (str(Digest(algorithm, digest)), size)
            for one, digest, size in zip(folder.paths, digests, [one.size for one in folder.files], strict=True)
        }
        entries |= {one: (f"link to {target}", 0) for one, target in folder.links}
        entries |= dict.fromkeys(folder.folders, ("folder", 0))
        self.entries = entries
        if self._single is not None and other is not None:
            self._pair(other)
        self.folder = _DiskFiles()

    def _pair(self, other: StoredSide) -> None:
        """Compare a single file with one file of an artifact, whatever its name is: as diff(1) compares two files.

        Raises:
            InvalidInputError: the artifact has several files, and none of that name.
        """
        ((name, entry),) = self.entries.items()
        counterpart = next(iter(other.entries)) if len(other.entries) == 1 else name
        if counterpart not in other.entries:
            some = ", ".join([*other.entries][:3])
            raise InvalidInputError(
                f"{self.ref} is one file, and {other.ref} has {len(other.entries)} and no {name!r}: pass {other.ref}/PATH ({some} …)"
            )
        other.entries = {counterpart: other.entries[counterpart]}
        self.entries = {counterpart: entry}

    def inner(self, path: str) -> str:
        """Return the path on this machine."""
        return self._single if self._single is not None else self._base + path


class WholeFolder(Side):
    """All that a folder of this machine has, whatever a put would leave out of it; every byte is read.

    Args:
        algorithm: the store's digest algorithm.
        path: the folder.
        modes: whether executable bits count.
    """

    def __init__(self, algorithm: str, path: Path, *, modes: bool) -> None:
        self.ref = str(path)
        self._base = f"{path}/"
        self.folder = _DiskFiles()
        entries: dict[str, Entry] = {}
        files: list[Source] = []
        for above, folders, names in os.walk(path, onerror=_raise):
            inner = os.path.relpath(above, path).replace(os.sep, "/")
            start = "" if inner == "." else f"{inner}/"
            if start and not folders and not names:
                entries[inner] = ("folder", 0)
            for name in [*names, *(one for one in folders if os.path.islink(os.path.join(above, one)))]:  # noqa: PTH114, PTH118 - names
                disk = Path(above, name)
                st = disk.lstat()
                if stat.S_ISLNK(st.st_mode):
                    entries[start + name] = (f"link to {disk.readlink()}", 0)
                elif stat.S_ISREG(st.st_mode):
                    files.append(Source(start + name, st.st_size, signature(st), modes and st.st_mode & 0o111 != 0, self._base))
                else:
                    entries[start + name] = ("neither a file nor a folder", 0)
        for one, digest in zip(files, _hashed(str(path), files, algorithm), strict=True):
            entries[one.path] = (_marked(str(Digest(algorithm, digest)), one.executable), one.size)
        self.entries = entries

    def inner(self, path: str) -> str:
        """Return the path on this machine."""
        return self._base + path


def _marked(digest: str, executable: bool) -> str:  # noqa: FBT001 - a bit
    return f"{digest} (executable)" if executable else digest


def _raise(error: OSError) -> None:
    raise InvalidInputError(f"{error.filename} cannot be read: {error.strerror or error}") from error


def exact_sides(session: Session, ref: str, path: Path) -> tuple[Side, Side]:
    """Return an artifact, or a folder in it, and all that a folder of this machine has.

    Raises:
        NotFoundError: no such artifact.
        InvalidInputError: it is not a folder, or cannot be read.
        ConflictError: a file changed while it was read.
    """
    stored = StoredSide(session, ref)
    if stored.is_one_file or not path.is_dir():
        what = f"{ref} is one file" if stored.is_one_file else f"{path} is not a folder"
        raise InvalidInputError(f"{what}: expected an artifact, or a folder in it, and a folder of this machine")
    if stored.modes:
        stored.mark_executable()
    return stored, WholeFolder(session.core().algorithm, path, modes=stored.modes)


class _DiskFiles:
    """Reads files of this machine by their paths."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return _readable(Path.read_bytes, name)

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        return _readable(Path.stat, name).st_size

    def open(self, name: str) -> io.BufferedReader:
        """Open a file."""
        return _readable(lambda path: path.open("rb"), name)


def _readable(use: Callable[[Path], T], name: str) -> T:
    try:
        return use(Path(name))
    except OSError as error:
        raise InvalidInputError(f"{name} cannot be read: {error.strerror or error}") from error


def listed(session: Session, path: Path, options: FolderOptions) -> PutSource:
    """List a file or folder of this machine as a put would; nothing is stored.

    Raises:
        InvalidInputError: it does not exist, or cannot be stored.
    """
    return local_source(session, path, check_options(options, is_object=False))


def hashed(session: Session, source: PutSource) -> list[bytes]:
    """Return the digest of each file of a listed source."""
    core, files = session.core(), source.folder.files
    return _hashed(source.root, files, core.algorithm, core.stats, session.watch("compare", source.folder.size))


def _hashed(
    root: str,
    files: Sequence[Source],
    algorithm: str,
    stats: StatCache | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[bytes]:
    try:
        return hash_files(root, files, algorithm, stats, progress=progress)
    except ConflictError as error:
        raise ConflictError(f"a file changed while it was compared: compare again when nothing writes to it ({error})") from error


def sides(session: Session, a: str | Path, b: str | Path, options: FolderOptions) -> tuple[Side, Side]:
    """Return the two sides of a comparison; a `Path` is local, a `str` a reference."""
    if options and not (isinstance(a, Path) or isinstance(b, Path)):
        raise InvalidInputError(f"{', '.join(sorted(options))}= is for a folder of this machine: neither side is a Path")

    def local(path: Path, other: StoredSide | None) -> LocalSide:
        source = listed(session, path, options)
        return LocalSide(session.core().algorithm, path, source, hashed(session, source), other)

    stored = [None if isinstance(one, Path) else StoredSide(session, one) for one in (a, b)]
    first = stored[0] or local(Path(a), stored[1])
    return first, stored[1] or local(Path(b), stored[0])


def _no_tree() -> Any:
    raise AssertionError  # no comparison needs files on this machine


def _entries(manifest: Manifest, path: str) -> dict[str, Entry]:
    found = {
        one: (str(Digest(manifest.algorithm, digest)), size)
        for one, digest, size in zip(manifest.paths, manifest.digests, manifest.sizes, strict=True)
    }
    found |= {one: (f"link to {target}", 0) for one, target in manifest.links}
    found |= dict.fromkeys(manifest.folders, ("folder", 0))
    if not path:
        return found
    inside = {one[len(path) + 1 :]: entry for one, entry in found.items() if one.startswith(path + "/")}
    if path in found:
        inside[path.rpartition("/")[2]] = found[path]
    if not inside:
        raise NotFoundError(f"no file or folder {path!r} in the artifact")
    return inside
