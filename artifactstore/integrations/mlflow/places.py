"""Places: which store an MLflow URI means, and which artifact a path below it is.

MLflow makes the paths: `<root>/[<experiment>/]<run>/artifacts/…`, `…/models/m-<id>/artifacts/…`, `…/traces/tr-<id>/artifacts/…`.
Each such folder is one name in the store, and what is below it a path in its versions.
"""

import os
import posixpath
import re
import threading
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import artifactstore
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.store import Store

__all__ = ["OTHERS", "Folder", "Place", "Root"]

_RUN: Final = r"(?:(?P<experiment>[0-9]+)/)?(?P<run>[0-9a-f]{32})/artifacts"
_MODEL: Final = r"(?:(?P<of_model>[0-9]+)/)?models/(?P<model>m-[0-9a-f]{32})/artifacts"
_TRACE: Final = r"(?:(?P<of_trace>[0-9]+)/)?traces/(?P<trace>tr-[0-9a-f]+)/artifacts"
_FOLDER: Final = re.compile(rf"(?:^|(?<=/))(?:{_MODEL}|{_TRACE}|{_RUN})(?=/|$)")
_SERVER: Final = ("_MLFLOW_SERVER_ARTIFACT_ROOT", "_MLFLOW_SERVER_ARTIFACT_DESTINATION")  # set in the workers of `mlflow server`
OTHERS: Final = "mlflow/others"  # the name for what is in no folder of a run, a model or a trace

_lock = threading.Lock()
_known: Final[dict[str, tuple[Store, str]]] = {}  # by the URI of a root


@dataclass(frozen=True, slots=True)
class Folder:
    """The artifact folder of a run, a model or a trace, as its path shows it.

    Attributes:
        experiment: id of the experiment, or None.
        run: id of the run, or None.
        model: id of the logged model, or None.
        trace: id of the trace, or None.
    """

    experiment: str | None = None
    run: str | None = None
    model: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What a path of a repository is.

    Attributes:
        folder: the artifact folder that it is in, or None.
        inner: its path in that folder.
        above: the folder's path as the repository has it; "" where the repository is the folder, or is inside of it.
        base: the repository's own path in the folder.
    """

    folder: Folder | None
    inner: str
    above: str
    base: str


class Root:
    """The root of a repository.

    Attributes:
        store: the store.
        path: the root's path below the store's.
        ref: the reference, for the URI of an artifact, which is read only; else None.
    """

    def __init__(self, uri: str) -> None:
        """Find the nearest store upwards; if there is none, the first write makes it.

        Raises:
            InvalidInputError: not the URI of a store, or in a server another root than the configured ones.
            BackendError: the storage cannot be reached.
        """
        if not is_allowed(uri):
            raise InvalidInputError(
                f"this server may not use {uri.partition('?')[0]!r}: expected its own artifact root, or a folder below it"
            )
        self._uri = uri
        self.ref = _cut(uri)[3]
        self.store: Store | None = None
        self.path = ""
        if self.ref is None:
            self.store, self.path = _located(uri)
        self._skipped = ""

    def place(self, path: str | None) -> tuple[Store, Place]:
        """Return what a path is, and in which store.

        Raises:
            InvalidInputError: it leads out of the root.
            NotFoundError: the URI of an artifact names no store.
        """
        path = _checked(path or "")
        if self.ref is not None:
            return self._referred(path)
        assert self.store is not None  # only the URI of an artifact may be without
        whole = posixpath.join(self.path, path) if path else self.path
        match = _FOLDER.search(whole)
        if match is None:
            return self.store, Place(None, whole, "", self.path)
        found = match.groupdict()
        experiment = found["experiment"] or found["of_model"] or found["of_trace"]
        folder = Folder(experiment, found["run"], found["model"], found["trace"])
        inner = whole[match.end() + 1 :]
        if len(self.path) >= match.end():
            return self.store, Place(folder, inner, "", self.path[match.end() + 1 :])
        return self.store, Place(folder, inner, whole[len(self.path) + (self.path != "") : match.end()], "")

    def _referred(self, path: str) -> tuple[Store, Place]:
        """MLflow may have cut the store's URL in two: its last folder is then the first part of each path."""
        start, above, query, _ = _cut(self._uri)
        if self.store is None:
            first = path.partition("/")[0]
            self.store = _open_known(_url(start, above, query))
            if self.store is None and first:
                # It comes as the URI has it: with what is escaped there.
                self.store, self._skipped = _open_known(_url(start, posixpath.join(above, unquote(first)), query)), first
            if self.store is None:
                raise NotFoundError(f"no store at {_url(start, above, '')}: check the URI {self._uri.partition('?')[0]!r}")
        if self._skipped and (path == self._skipped or path.startswith(f"{self._skipped}/")):
            return self.store, Place(Folder(), path[len(self._skipped) + 1 :], self._skipped, "")
        return self.store, Place(Folder(), path, "", "")


def _checked(path: str) -> str:
    parts = path.strip("/").split("/") if path.strip("/") else []
    if path.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise InvalidInputError(f"the path {path!r} leads out of the artifacts: expected a relative path without '.' and '..'")
    return "/".join(parts)


def _cut(uri: str) -> tuple[str, str, str, str | None]:
    """Return scheme and host, path, query and fragment of a URI; MLflow writes `file:/` for `file:///`."""
    parts = urlsplit(uri)
    if not parts.scheme.startswith("artifactstore+"):
        raise InvalidInputError(f"{uri.partition('?')[0]!r} is not the URI of a store: expected artifactstore+s3://bucket/prefix")
    path = unquote(parts.path)
    return f"{parts.scheme}://{parts.netloc}", path.strip("/"), parts.query, unquote(parts.fragment) if "#" in uri else None


def _url(start: str, path: str, query: str) -> str:
    root = f"/{quote(path)}" if path else "" if not start.endswith("file://") else "/"
    return f"{start}{root}" + (f"?{query}" if query else "")


def _open_known(url: str) -> Store | None:
    """Open the store at a URL, if there is one."""
    store = artifactstore.open(url)
    try:
        store.head  # noqa: B018 - fails where there is none
    except NotFoundError:
        return None
    return store


def _located(uri: str) -> tuple[Store, str]:
    start, path, query, _ = _cut(uri)
    with _lock:
        if (found := _known.get(uri)) is not None:
            return found
        parts = path.split("/") if path else []
        for length in range(len(parts), -1, -1):
            store = _open_known(_url(start, "/".join(parts[:length]), query))
            if store is not None:
                _known[uri] = store, "/".join(parts[length:])
                return _known[uri]
    match = _FOLDER.search(path)
    above = path[: match.start()].rstrip("/") if match is not None else path
    return artifactstore.open(_url(start, above, query)), path[len(above) :].strip("/")


def is_allowed(uri: str) -> bool:
    """Return whether this process may use a root: in MLflow's server only the configured ones, and what is below them.

    MLflow's own check of hosts knows the schemes that it brings, and not these.
    """
    if not os.environ.get(_SERVER[0]):
        return True
    start, path, query, _ = _cut(uri)
    if any(part in {".", ".."} for part in path.split("/")):
        return False
    for name in _SERVER:
        given = os.environ.get(name, "")
        if given.startswith("artifactstore+"):
            own, above, options, _ = _cut(given)
            if own == start and query == options and (not above or path == above or path.startswith(f"{above}/")):
                return True
    return False
