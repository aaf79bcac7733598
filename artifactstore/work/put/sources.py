"""Sources of a put: a file, a folder or a URL, listed and filtered before any content is read."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.connect import local_folder
from artifactstore.content.read.partial_folder import is_partial
from artifactstore.content.write.own_folders import CONFIG_BYTES, is_store
from artifactstore.content.write.scan import scan
from artifactstore.content.write.source import Folder, check_folder, from_file, from_remote
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.facts import CONFIG_KEY, is_config
from artifactstore.model.path_clashes import case_clashes, check_tree
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.registry import write_object
from artifactstore.runtime.loading import LOADING
from artifactstore.runtime.remarks import remark
from artifactstore.work.put.arguments import FolderOptions, PutOptions, PutRequest
from artifactstore.work.put.filters import Excluder
from artifactstore.work.put.known_content import candidates
from artifactstore.work.put.parts import Parts
from artifactstore.work.put.streams import is_stream, take_in
from artifactstore.work.session.caches import is_cache
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path

if TYPE_CHECKING:
    from artifactstore.work.put.onto import Onto
    from artifactstore.work.put.profiling import Profiling

__all__ = ["PutSource", "find", "find_onto", "found_object", "is_object", "local_source"]

_LAST: Final = 8  # versions of a name that are compared with an object
_HINTED: Final = (".git", "__pycache__", ".ipynb_checkpoints")


@dataclass(slots=True)
class PutSource:
    """The listed source of a put."""

    folder: Folder
    single: bool = False
    modes: bool = False
    format: str | None = None
    root: str = ""
    rehash: bool = False
    verify: bool = False
    base: str | None = None
    kept: WriteFolder | None = None
    profiling: "Profiling | None" = None
    may_be_empty: bool = False
    sha256: bool = False  # whether to keep the SHA-256 digests of its files, whatever its kind
    likely_known: bool = False  # then it is hashed as a whole before any upload
    executor: Any = None  # whose workers store the content of its files
    url: tuple[str, Mapping[str, Any]] | None = None  # where its files come from, if that is a URL
    digests: list[bytes | None] | None = None  # of its files, if they are known
    onto: "Onto | None" = None  # the artifact that its files are laid over
    parts: Parts | None = None  # the stored parts that its files are in
    hint: bool = False  # whether to warn of files that look like secrets, once


def is_object(source: Any, options: Mapping[str, Any]) -> bool:
    """Return True if a source is an object, not a path or a URL."""
    return "format" in options or not isinstance(source, str | os.PathLike)


def find(session: Session, source: Any, options: PutOptions, request: PutRequest) -> PutSource:
    """List the source of a put.

    Raises:
        InvalidInputError: it does not exist, cannot be stored, or an option does not apply to it.
    """
    if isinstance(source, Parts):
        if options:
            raise InvalidInputError(f"{', '.join(sorted(options))} cannot be used: the content is stored already")
        files, digests = source.folder(session)
        return PutSource(files, parts=source, digests=digests)
    if is_object(source, options):
        for option in ("exclude", "links", "modes", "rehash", "source_options", "allow_empty"):
            if option in options:
                raise InvalidInputError(f"{option}= is for files and folders; this is an object")
        return found_object(source, options, known=partial(_is_known, session, request))
    found: PutSource | None = None
    if isinstance(source, str) and "://" in source:
        folder = local_folder(source)
        if folder is None:
            found = _remote(source, options)
        else:
            source = folder
    if found is None:
        if "source_options" in options:
            raise InvalidInputError("source_options= is for URLs of remote storage; this is on this machine")
        found = _local(session, source, options, request)
    found.base, found.may_be_empty, found.hint = options.get("base"), options.get("allow_empty", False), True
    return found


def find_onto(session: Session, source: Any, options: PutOptions, request: PutRequest, given: Mapping[str, Any]) -> PutSource:
    """List the source of a put onto an artifact.

    Raises:
        InvalidInputError: the source cannot be stored, or the artifact is an object.
        NotFoundError: there is no such artifact.
    """
    from artifactstore.work.put.onto import Onto  # noqa: PLC0415 - few puts build on another artifact

    if source is None:
        if not given["without"]:
            raise InvalidInputError("put(None, …, onto=…) leaves files out: pass without=[patterns]")
    elif is_object(source, options) and not is_stream(source):
        raise InvalidInputError(
            "onto= is for files, folders, URLs and streams; this is an object: put it under a name of its own"
        )
    if request.name is None:
        raise InvalidInputError("onto= makes the next version of a name: pass the name")
    if is_stream(source):
        return _streamed(session, source, request, given)
    found = PutSource(Folder(), may_be_empty=True) if source is None else find(session, source, options, request)
    found.single, found.may_be_empty = False, True
    found.onto = Onto(session, request.name, given)
    return found


def _streamed(session: Session, source: Any, request: PutRequest, given: Mapping[str, Any]) -> PutSource:
    """Take in a stream; `at` is the path of the file that it becomes."""
    from artifactstore.work.put.onto import Onto  # noqa: PLC0415 - as above

    at, _, name = str(given["at"]).rpartition("/")
    if not name or given["is_folder"]:
        raise InvalidInputError("a stream has no file name: pass at='folder/file'")
    onto = Onto(session, str(request.name), {**given, "at": at})
    model = request.kind == "model" or (request.kind == "data" and onto.kind == "model")
    with session.state() as state:
        likely = [*filter(None, [onto.digest]), *candidates(state, request.name)]
    done = take_in(session, source, name, likely, sha256=model and session.core().algorithm != "sha256")
    if done.stored is not None:
        onto.take(done.stored.manifest, done.alive_at, {name: done.stored.sha256} if done.stored.sha256 else {})
    return PutSource(done.folder, may_be_empty=True, onto=onto, digests=done.digests)


def _is_known(session: Session, request: PutRequest, mark: str) -> bool:
    """Return True if one of the last versions of a name was made from a value with this mark."""
    if request.name is None:
        return False
    try:
        with session.state() as state:
            rows = state.names.get(request.name, [])[-_LAST:]
            digests = [row["digest"] for row in rows if row["digest"] in state.holders]
    except NotFoundError:
        return False  # the store does not exist yet
    return any(session.core().checked.has("mark", mark, digest) for digest in digests)


def found_object(source: Any, options: PutOptions, known: Callable[[str], bool] | None = None) -> PutSource:
    """Write an object as files; large files are kept on disk for as long as the folder exists.

    Args:
        source: the object.
        options: of its format.
        known: mark of a value → whether its artifact is stored already.
    """
    written = WriteFolder()
    written.known = known or written.known
    own = {option: value for option, value in options.items() if option not in ("format", "base", "verify", "sha256")}
    name = write_object(source, written, options.get("format"), own)
    files = sorted(written.sources, key=lambda one: one.path.encode())
    try:
        check_tree([one.path for one in files], (), ())
    except InvalidInputError as error:
        raise InvalidInputError(f"the format {name!r} wrote files that cannot be in one artifact: {error}") from error
    return PutSource(Folder(files=files), format=name, base=options.get("base"), kept=written)


# -- on this machine


def local_source(session: Session, source: str | os.PathLike[str], options: FolderOptions) -> PutSource:
    """List a file or a folder of this machine as a put would, to compare it: without remarks on what a put would store.

    Raises:
        InvalidInputError: it does not exist, cannot be stored, or an option does not apply to it.
    """
    return _listed(session, _path(source, None), source, options, remarks=False)


def _local(session: Session, source: str | os.PathLike[str], options: PutOptions, request: PutRequest) -> PutSource:
    found = _listed(session, _path(source, request.name), source, options, remarks=True)
    found.modes, found.rehash = options.get("modes", request.kind == "code"), options.get("rehash", False)
    return found


def _listed(
    session: Session, path: Path, source: str | os.PathLike[str], options: PutOptions | FolderOptions, *, remarks: bool
) -> PutSource:
    found = PutSource(Folder(), root=str(path))
    own = Path(session.url)
    if "://" not in session.url and own.resolve() in (path, *path.parents):
        raise InvalidInputError(f"{path} is the store itself, or a part of it: it cannot be put into itself")
    if path.is_dir():
        found.folder = _scan(session, path, source, options, remarks=remarks)
        check_folder(found.folder)
        if remarks:
            _warn_clashes(found.folder)
        return found
    if os.fspath(source).endswith(("/", os.sep)):
        raise InvalidInputError(f"{path} is a file, but {os.fspath(source)!r} with a trailing slash means a folder")
    _check_single(options, str(path))
    # The path as passed, not the target of a link at the top, names the file.
    found.folder.files = [from_file(str(path))._replace(path=_base_name(source))]
    found.single = True
    return found


def _path(source: str | os.PathLike[str], name: str | None) -> Path:
    path = local_path(source, "source")
    text = os.fspath(source)
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        hint = "to store the text itself, pass format='text'"
        if name is not None and os.path.exists(name):  # noqa: PTH110 - any failure means no
            hint = f"the arguments look swapped: put({name!r}, {text[:200]!r})"
        raise InvalidInputError(f"no such path: {text[:200]!r}; {hint}") from error


def _base_name(source: str | os.PathLike[str]) -> str:
    return from_file(os.path.abspath(local_path(source, "source"))).path  # noqa: PTH100 - links must stay


def _scan(
    session: Session, path: Path, source: str | os.PathLike[str], options: PutOptions | FolderOptions, *, remarks: bool
) -> Folder:
    top, given = str(path), os.path.abspath(local_path(source, "source"))  # noqa: PTH100 - links must stay
    excluder = Excluder(options.get("exclude", ()), [top, given])
    stores, hinted = _OwnFolders(), _SuspectFolder()
    own = os.path.realpath(session.url) if "://" not in session.url else None
    if is_store(top):
        raise InvalidInputError(
            f"{path} is an artifactstore: use `artifactstore sync` to copy it, or `bundle` to make it one file"
        )
    cache = None if session.cache is None else str(session.cache)

    def keep(inner: str, is_folder: bool) -> bool:  # noqa: FBT001 - the scanner's interface
        name = inner.rpartition("/")[2]
        if excluder(inner, folder=is_folder) or is_partial(name):
            return False
        if is_folder:
            disk = f"{top}/{inner}"
            if disk == own or is_store(disk) or is_cache(disk, cache):
                stores.add(inner)
                return False
            hinted.look(inner, name)
        return True

    folder = scan(top, keep=keep, links=options.get("links", "keep"))
    if remarks:
        excluder.check(_AllPaths(folder), disk=top, name=path.name)
        stores.warn()
        hinted.warn()
    return folder


class _OwnFolders:
    """Stores and caches of this library in a source: always left out."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, path: str) -> None:
        self._found.append(path)

    def inside(self, path: str) -> bool:
        return any(path.startswith(f"{one}/") for one in self._found)

    def warn(self) -> None:
        if self._found:
            more = f" and {len(self._found) - 1} more" if len(self._found) > 1 else ""
            text = f"{self._found[0]!r}{more} is a store or a cache of artifactstore: it is left out"
            remark(text)


class _SuspectFolder:
    """The first folder that is seldom stored on purpose."""

    def __init__(self) -> None:
        self._first = ""

    def look(self, path: str, name: str) -> None:
        if not self._first and name in _HINTED:
            self._first = path

    def warn(self) -> None:
        if self._first:
            text = f"{self._first} is stored too; pass exclude=[{self._first.rpartition('/')[2]!r}] to leave it out"
            remark(text)


# -- behind a URL


def _remote(url: str, options: PutOptions) -> PutSource:
    """List a URL: a folder or one file, read from there as it is stored."""
    from artifactstore.backend.source_url import SourceUrl  # noqa: PLC0415 - fsspec, which local files don't need

    for option in ("links", "modes", "rehash"):
        if option in options:
            raise InvalidInputError(f"{option}= is for files and folders of this machine; this is a URL")
    with LOADING:
        origin = SourceUrl(url, options.get("source_options"))
    listing = origin.files()
    if listing.single:
        _check_single(options, origin.url)
        return PutSource(Folder(files=[from_remote(one.path, one.url, one.size, one) for one in listing.files]), single=True)
    excluder = Excluder(options.get("exclude", ()), [url, origin.url])
    stores, hinted = _OwnFolders(), _SuspectFolder()
    for one in listing.files:
        above, _, name = one.path.rpartition("/")
        if name == CONFIG_KEY and one.size <= CONFIG_BYTES and is_config(one.read(0, one.size)):
            if not above:
                raise InvalidInputError(f"{origin.url} is an artifactstore: use `artifactstore sync` to copy it")
            stores.add(above)
    kept = [
        one for one in listing.files if not excluder.below(one.path) and not stores.inside(one.path) and not _partial(one.path)
    ]
    odd = [one for one in listing.others if not excluder.below(one) and not stores.inside(one)]
    if odd:
        raise InvalidInputError(
            f"{odd[0]!r} at {origin.url} is neither a file nor a folder, or a link: only files can be read from there; "
            f"exclude it, or put the folder on the machine that has it"
        )
    for one in kept:
        for part in one.path.split("/")[:-1]:
            hinted.look(one.path[: one.path.index(f"{part}/") + len(part)], part)
    folders = [one for one in listing.folders if not excluder.below(f"{one}/") and not stores.inside(f"{one}/")]
    folder = Folder([from_remote(one.path, one.url, one.size, one) for one in kept], folders)
    check_folder(folder, lambda path: [one.full_path for one in listing.files if one.path == path])
    excluder.check(_AllPaths(folder), name=origin.url.rstrip("/").rpartition("/")[2])
    stores.warn()
    hinted.warn()
    _warn_clashes(folder)
    return PutSource(folder)


def _partial(path: str) -> bool:
    return any(map(is_partial, path.split("/")))


def _check_single(options: PutOptions | FolderOptions, what: str) -> None:
    if options.get("exclude"):
        raise InvalidInputError(f"exclude= is for folders; {what} is one file")


class _AllPaths:
    """The paths of all entries, those of folders with `end`; may be iterated more than once."""

    def __init__(self, folder: Folder, end: str = "/") -> None:
        self._folder = folder
        self._end = end

    def __iter__(self) -> Iterator[str]:
        one = self._folder
        return chain(one.paths, (path for path, _ in one.links), (path + self._end for path in one.folders))


def _warn_clashes(folder: Folder) -> None:
    clashes = list(case_clashes(_AllPaths(folder, "")))
    if clashes:
        first, second = clashes[0]
        text = f"{len(clashes)} names differ only by case or by how accents are written ({first!r} and {second!r}): Windows and macOS cannot have both"
        remark(text)
