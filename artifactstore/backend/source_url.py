"""Source files behind any URL that fsspec supports, read once from beginning to end; never written."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote

from artifactstore.backend.remote.fsspec_client import FsspecClient, known_schemes, open_url
from artifactstore.backend.wrappers.retrying import Retrier
from artifactstore.errors import BackendError, ConflictError, InvalidInputError, NotFoundError, UnsupportedError

__all__ = ["Listing", "SourceFile", "SourceUrl"]

_PART: Final = 4 * 2**20  # bytes per request; longer reads take several requests at a time
_UNRANGED: Final = 64 * 2**20  # bytes: the largest file accepted from a server without range support
_WEB: Final = frozenset({"http", "https"})
_S3: Final = frozenset({"s3", "s3a"})
_VERSIONED: Final = _S3 | {"az", "abfs", "abfss"}
_VERSION: Final = re.compile(r"\?versionId=([^&/]+)$", re.IGNORECASE)
_MARKS: Final = (
    "ETag",
    "etag",
    "md5",
    "content_md5",
    "md5Hash",
    "generation",
    "LastModified",
    "last_modified",
    "mtime",
    "modified",
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source URL.

    Attributes:
        origin: the source it belongs to.
        full_path: its path there.
        path: relative to the URL; its name, where the URL is a file.
        size: in bytes.
        mark: detects changes: ETag, checksum or times, as far as the server reports them.
    """

    origin: "SourceUrl"
    full_path: str
    path: str
    size: int
    mark: tuple[str, ...]

    @property
    def url(self) -> str:
        """The URL, for messages."""
        return f"{self.origin.url} ({self.path})"

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly these bytes.

        Raises:
            ConflictError: the file changed since the listing, so that they are not there any more.
            BackendError: they cannot be read.
        """
        try:
            return self.origin.read(self, offset, size)
        except BackendError as error:
            if not error.transient:  # after a wait for a server that does not answer no second one follows
                self.check()
            raise

    def fill(self, view: memoryview, offset: int) -> None:
        """Fill a view with bytes from `offset` on.

        Raises:
            BackendError: they cannot be read.
        """
        view[:] = self.read(offset, len(view))

    def check(self) -> None:
        """Check that the file is unchanged since the listing.

        Raises:
            ConflictError: it changed, or was removed.
        """
        self.origin.check(self)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files at a source URL.

    Attributes:
        files: sorted by path.
        folders: the empty ones.
        others: paths that are neither files nor folders, such as links.
        single: whether the URL is a single file.
    """

    files: list[SourceFile]
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    single: bool = False


class SourceUrl:
    """The files at a URL: a folder, or one file.

    Args:
        url: any that fsspec supports.
        options: for fsspec's class: endpoint, credentials. Never part of any message.

    Raises:
        InvalidInputError: a scheme that fsspec does not support, or a password in the URL.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        scheme, _, rest = url.partition("://")
        if ":" in rest.split("/", 1)[0].rpartition("@")[0]:
            raise InvalidInputError(
                f"this {scheme}:// URL contains a password, which would end up in logs: pass it as source_options={{…}}, or set it "
                "in the environment"
            )
        if scheme.lower() not in known_schemes():
            raise InvalidInputError(f"the scheme {scheme}:// is not supported; to store the text itself, pass format='text'")
        known = scheme.lower()
        self._version = match[1] if known in _VERSIONED and (match := _VERSION.search(url)) else None
        given = dict(options or {}) if self._version is None else {"version_aware": True, **(options or {})}
        self._is_folder = url.partition("?")[0].endswith("/") if known in _WEB else url.endswith("/")
        plain = url.partition("?")[0]  # no message shows the query
        self.url = plain if plain.endswith("://") else plain.rstrip("/")
        self._client = FsspecClient(self.url, given, partial(open_url, url, {"use_listings_cache": False, **given}))
        self._marked = known in _S3
        self._retrier = Retrier(self.url)
        self._file = unquote(url.partition("?")[0].rpartition("/")[2]) if known in _WEB else None

    def files(self) -> Listing:
        """List the source's files.

        Raises:
            InvalidInputError: nothing is there, or the server does not report a file's length.
            UnsupportedError: a library is missing.
            BackendError: it cannot be listed.
        """
        root = str(self._client.call("read", "files", self._client.connection)[1])
        info: Mapping[str, Any] = {"type": "directory"}
        try:
            info = self._ask("info", root)
        except NotFoundError as error:
            if not self._is_folder:
                raise InvalidInputError(f"{self.url} does not exist: check the URL, and that it may be read") from error
        if info["type"] == "file" and not self._is_folder:
            return Listing([self._made(root, self._name(root), info)], single=True)
        if self._file is not None:
            raise InvalidInputError(f"{self.url} is not a file: HTTP has no folders; pass the URL of each file")
        if self._version is not None:
            raise InvalidInputError(f"{self.url} is a folder, and `version` applies to single objects only")
        found = self._inside(root.rstrip("/"))
        # A trailing slash means a folder, even if an object has the name without it.
        if not found.files and not found.folders and not found.others and (info["type"] == "file" or not self._exists(root)):
            raise InvalidInputError(f"{self.url} contains no files: check the URL, and that it may be listed")
        return found

    def _inside(self, top: str) -> Listing:
        files, others, folders, above = [], [], set(), {""}
        for full_path, one in chain(self._ask("find", top, detail=True).items(), self._folders(top)):
            path = full_path[len(top) :].lstrip("/")
            if full_path.rstrip("/") == top and one["type"] == "file" and not full_path.endswith("/"):
                continue  # an object with the folder's own name
            if one["type"] == "directory" or (path.endswith("/") and not one.get("size")):
                folders.add(path.rstrip("/"))  # some services mark a folder by an empty object with a trailing slash
            elif one["type"] == "file" and not path.endswith("/"):
                files.append(self._made(full_path, path, one))
            elif path:
                others.append(path)
            while (path := path.rstrip("/").rpartition("/")[0]) and path not in above:
                above.add(path)
        return Listing(sorted(files, key=lambda one: one.path), sorted(folders - above), others)

    def _folders(self, top: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the folders, where the service has them; S3 lists its folder markers among the files.

        A separate listing: in a combined listing a folder hides a file of its name.
        """
        if not self._marked:
            found = self._ask("find", top, detail=True, withdirs=True).items()
            yield from ((full_path, one) for full_path, one in found if one["type"] == "directory")

    def _exists(self, root: str) -> bool:
        """Whether an empty folder exists."""
        try:
            return bool(self._ask("info", root)["type"] == "directory")
        except NotFoundError:
            return False

    def _name(self, root: str) -> str:
        name = self._file or root.rstrip("/").rpartition("/")[2]
        return name if self._version is None else _VERSION.sub("", name)

    def _made(self, full_path: str, path: str, info: Mapping[str, Any]) -> SourceFile:
        size = info.get("size")
        if size is None:
            raise InvalidInputError(f"{self.url} ({path}): the server does not report its length; download it first")
        return SourceFile(self, full_path, path, int(size), tuple(str(info.get(mark)) for mark in _MARKS))

    def read(self, file: SourceFile, offset: int, size: int) -> bytes:
        """Return exactly these bytes of a file, with several concurrent requests if they are many."""
        starts = [*range(offset, offset + size, _PART)]
        ends = [min(start + _PART, offset + size) for start in starts]

        def call() -> bytes:
            if len(starts) == 1:
                came = [self._once("cat_file", file.full_path, start=starts[0], end=ends[0])]
            else:
                came = self._once("cat_ranges", [file.full_path] * len(starts), starts, ends, on_error="raise")
            parts = [self._cut(file, data, start, end) for data, start, end in zip(came, starts, ends, strict=True)]
            return parts[0] if len(parts) == 1 else b"".join(parts)

        return self._retrier.retried(call) if size else b""

    def _cut(self, file: SourceFile, data: bytes, start: int, end: int) -> bytes:
        if len(data) == end - start:
            return data
        if len(data) == file.size:
            if file.size > _UNRANGED:
                raise UnsupportedError(f"{file.url}: the server does not support ranges: download the file first")
            return data[start:end]
        file.check()
        raise BackendError(f"{file.url}: expected {end - start} bytes, got {len(data)}", transient=True)

    def check(self, file: SourceFile) -> None:
        """Check that a file is unchanged since the listing."""
        try:
            now = self._made(file.full_path, file.path, self._ask("info", file.full_path))
        except NotFoundError:
            now = None
        # A listing may report fewer properties than a stat of the file, or more.
        comparable = [(a, b) for a, b in zip(file.mark, now.mark, strict=True) if "None" not in (a, b)] if now else []
        if now is None or now.size != file.size or any(a != b for a, b in comparable):
            raise ConflictError(f"{file.url} changed while it was being put; nothing was committed: put again")

    def _ask(self, verb: str, *arguments: Any, **named: Any) -> Any:
        return self._retrier.retried(lambda: self._once(verb, *arguments, **named))

    def _once(self, verb: str, *arguments: Any, **named: Any) -> Any:
        """Call a verb of the filesystem; one at a time unless the filesystem is thread-safe."""

        def call() -> Any:
            with self._client.turn():
                return getattr(self._client.filesystem, verb)(*arguments, **named)

        return self._client.call("read", "files", call)
