"""`artifactstore://REF/path` for libraries that open files by fsspec: pandas, pyarrow, polars, DuckDB, Dask.

    pandas.read_parquet("artifactstore://churn/features:v3", storage_options={"store": "s3://bucket/ml"})

A reference to an artifact with a single file is that file; any other is a folder. Reads are by range; each chunk is verified.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import fsspec

import artifactstore
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.listing import through_links
from artifactstore.model.reference import Reference

__all__ = ["ArtifactFileSystem"]

_KEPT: Final = 16  # artifacts whose file lists are cached: they never change
_Files = dict[str, tuple[int, str]]  # path → size, digest


class ArtifactFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Read-only files of a store.

    Args:
        store: the store's URL; by default what `artifactstore.open()` opens.
        store_options: `storage_options` of that URL.
        cache: the local cache folder, None for none; by default the usual one.
        **more: options of fsspec itself.
    """

    protocol = "artifactstore"
    root_marker = ""

    def __init__(self, store: str | None = None, *, store_options: Mapping[str, Any] | None = None, **more: Any) -> None:
        cache = {"cache": more.pop("cache")} if "cache" in more else {}
        super().__init__(**more)
        self._store = artifactstore.open(store, mode="r", storage_options=dict(store_options) if store_options else None, **cache)
        self._known: OrderedDict[str, _Files] = OrderedDict()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Return a path without its scheme and without leading and trailing slashes."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return str(super()._strip_protocol(path)).strip("/")

    @property
    def fsid(self) -> str:
        """The identity of this file system: the URL of the store."""
        return f"artifactstore-{self._store.url}"

    def _files(self, base: str) -> _Files:
        made = self._store.artifact(base)
        if made.digest not in self._known:
            files = {one.path: (one.size, str(one.digest)) for one in made.files if one.type == "file"}
            links = [(one.path, str(one.target)) for one in made.files if one.type == "link"]
            through = through_links(links, sorted(files)) if links else {}
            self._known[made.digest] = files | {path: files[real] for path, real in through.items()}
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[made.digest]

    def _look(self, path: str) -> tuple[str, str | None, _Files]:
        """Return the reference, the path in it (or None), and its files.

        Raises:
            FileNotFoundError: no such artifact.
        """
        first: Exception | None = None
        try:
            parsed = Reference.parse(path)
            inner = parsed.path
            base = path[: -len(inner) - 1] if inner is not None else path
            return base, inner.strip("/") if inner is not None else None, self._files(base)
        except (NotFoundError, InvalidInputError) as error:
            first = error
        # A path without a version, as from a listing of `churn/features`: the longest existing name, at its latest version.
        parts = path.split("/")
        for end in range(len(parts) - 1, 0, -1):
            base = "/".join(parts[:end])
            with suppress(NotFoundError, InvalidInputError):
                if Reference.parse(base).path is None:
                    return base, "/".join(parts[end:]), self._files(base)
        raise FileNotFoundError(f"{path}: {first}") from first

    def _names(self, prefix: str) -> list[dict[str, Any]]:
        """List names as folders: `churn/features` is in the folder `churn`."""
        start = f"{prefix}/" if prefix else ""
        tops = {start + one.name[len(start) :].partition("/")[0] for one in self._store.names(start)}
        return [{"name": top, "size": 0, "type": "directory"} for top in sorted(tops)]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size, type and digest of a file, or of a folder.

        Raises:
            FileNotFoundError: no such file or folder.
        """
        path = self._strip_protocol(path)
        if not path:
            return {"name": "", "size": 0, "type": "directory"}
        try:
            base, inner, files = self._look(path)
        except FileNotFoundError:
            if self._names(path):
                return {"name": path, "size": 0, "type": "directory"}
            raise
        if inner is None and len(files) == 1:
            size, digest = next(iter(files.values()))
            return {"name": path, "size": size, "type": "file", "digest": digest}
        if inner in files:
            size, digest = files[str(inner)]
            return {"name": path, "size": size, "type": "file", "digest": digest}
        if not inner or any(one.startswith(f"{inner}/") for one in files):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(f"{base} has no file {inner!r}")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's interface
        """List a folder, or a single file.

        Raises:
            FileNotFoundError: no such file or folder.
        """
        path = self._strip_protocol(path).rstrip("/")
        found = self.info(path)
        if found["type"] == "file":
            listed = [found]
        else:
            try:
                base, inner, files = self._look(path) if path else ("", None, {})
            except FileNotFoundError:
                base, inner, files = "", None, {}
            listed = self._inside(base, inner, files) if base else self._names(path)
        return listed if detail else [one["name"] for one in listed]

    def _inside(self, base: str, inner: str | None, files: _Files) -> list[dict[str, Any]]:
        start = f"{inner}/" if inner else ""
        found: dict[str, dict[str, Any]] = {}
        for one, (size, digest) in files.items():
            if not one.startswith(start):
                continue
            top, _, rest = one[len(start) :].partition("/")
            name = f"{base}/{start}{top}"
            found[name] = (
                {"name": name, "size": 0, "type": "directory"}
                if rest
                else {"name": name, "size": size, "type": "file", "digest": digest}
            )
        return list(found.values())

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BufferedReader:
        if mode != "rb":
            raise PermissionError(f"cannot open {path} with mode {mode!r}: artifacts are immutable; put the new content")
        base, inner, files = self._look(self._strip_protocol(path))
        if inner is None and len(files) == 1:
            inner = next(iter(files))
        if inner not in files:
            kind = IsADirectoryError if inner is None or any(one.startswith(f"{inner}/") for one in files) else FileNotFoundError
            raise kind(f"{path} is not a file of {base}")
        return self._store.open_file(base, inner)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return a file's bytes from `start` to `end`; negative offsets count from the end of the file."""
        with self._open(path) as file:
            # The size of the file as read, not that of the listing, which the writer of the manifest claimed.
            size = file.seek(0, io.SEEK_END)
            low = start + size if start is not None and start < 0 else start or 0
            high = end + size if end is not None and end < 0 else end
            file.seek(max(0, low))
            return file.read(-1 if high is None else max(0, high - max(0, low)))

    def checksum(self, path: str) -> str:
        """Return a file's digest; for a folder, that of its artifact and path.

        Raises:
            FileNotFoundError: no such file, or a folder of names, whose content changes.
        """
        path = self._strip_protocol(path)
        found = self.info(path)
        if found["type"] == "file":
            return str(found["digest"])
        base, inner, _ = self._look(path)
        return "/".join(filter(None, (self._store.artifact(base).digest, inner)))

    def modified(self, path: str) -> datetime:
        """Return when the version of a path was put; 1970 for a bare digest, which has no time."""
        made = self._store.artifact(self._look(self._strip_protocol(path))[0])
        if made.name is None or made.version is None:
            return datetime(1970, 1, 1, tzinfo=UTC)
        return self._store.versions(made.name)[made.version - 1].time

    created = modified

    def sign(self, path: str, *_: Any, **__: Any) -> str:
        """Raise an error: a file in a pack has no URL of its own.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{path} is stored in a pack and has no URL of its own")

    def invalidate_cache(self, path: str | None = None) -> None:
        """Do nothing: cached file lists never change."""

    def _refuse(self, path: str, *_: Any, **__: Any) -> Any:
        raise PermissionError(f"cannot change {path}: artifacts are immutable; put the new content with store.put")

    rm_file = rm = mkdir = makedirs = rmdir = touch = cp_file = pipe_file = put_file = mv = _refuse
