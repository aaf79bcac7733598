"""The artifact repository that MLflow finds for `artifactstore+…` URIs.

Each log call makes the next version of one name, the tree as MLflow then sees it: so what was logged is sealed at any moment,
overwriting keeps what was there, and nothing is stored twice. Every byte that is read is verified.
"""

import os
import posixpath
import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import mlflow
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path

from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError
from artifactstore.integrations.mlflow.pipe import Pipe
from artifactstore.integrations.mlflow.places import OTHERS, Folder, Place, Root
from artifactstore.store import Store

try:  # newer than 3.10
    from mlflow.store.artifact.artifact_repo import StreamUploadMixin
except ImportError:  # pragma: no cover - an older MLflow

    class StreamUploadMixin:  # type: ignore[no-redef]
        """What newer versions ask for."""


__all__ = ["ArtifactStoreRepository"]

_KEPT: Final = 16  # trees of versions that are remembered: they never change
_BLOCK: Final = 2**20  # bytes that are read at a time
_SMALL: Final = 4 * 2**20  # bytes of a file that is read in one go; of a larger one parts are fetched at the same time
_MOMENT: Final = 0.005  # seconds between two looks at a full pipe
_PATTERN: Final = re.compile(r"([\\*?\[\]!# ])")  # what means something in a pattern

_lock = threading.Lock()  # of the trees
_starting = threading.Lock()  # of the runs: starting one takes requests
_runs: Final[dict[tuple[int, str, str], Any]] = {}  # (process, store, run) → the run, or None if it takes no outputs any more
_experiments: Final[dict[str, str]] = {}  # run → experiment, asked once
_trees: Final[OrderedDict[str, dict[str, int | None]]] = OrderedDict()  # digest → path → size, None for a folder


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    """Say what is not there, and what cannot be meant, as MLflow does; its server turns other errors into a failure of its own."""
    try:
        yield
    except NotFoundError as error:
        raise MlflowException(str(error), error_code=RESOURCE_DOES_NOT_EXIST) from error
    except InvalidInputError as error:
        raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


class ArtifactStoreRepository(ArtifactRepository, StreamUploadMixin):  # type: ignore[misc] # MLflow has no types
    """Artifacts of MLflow in a store; with `#REF` at the end of the URI one artifact of it, read only."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        with _mlflow_errors():
            self._root = Root(artifact_uri)

    # -- names

    def _name(self, store: Store, folder: Folder | None) -> str:
        """Return the name of an artifact folder."""
        if folder is None:
            return OTHERS
        if folder.model is not None:
            return f"mlflow/models/{folder.model}"
        if folder.trace is not None:
            return f"mlflow/traces/{folder.trace}"
        experiment = folder.experiment or self._experiment(store, str(folder.run))
        return f"mlflow/{experiment}/{folder.run}"

    def _experiment(self, store: Store, run: str) -> str:
        """Return the experiment of a run whose path does not show it: as MLflow knows it, else as the store does."""
        if run not in _experiments:
            active = mlflow.active_run()
            found = active.info.experiment_id if active is not None and active.info.run_id == run else None
            if found is None:
                with suppress(Exception):  # no tracking server is reachable from here
                    found = mlflow.MlflowClient(self.tracking_uri).get_run(run).info.experiment_id
            if found is None:
                with suppress(NotFoundError):
                    known = (one.name.split("/") for one in store.names("mlflow/") if one.name.endswith(f"/{run}"))
                    found = next((parts[1] for parts in known), None)
            if found is None:
                return "unknown"
            _experiments[run] = str(found)
        return _experiments[run]

    def _ref(self, store: Store, place: Place) -> str:
        return self._root.ref if self._root.ref is not None else self._name(store, place.folder)

    def located(self) -> tuple[Store, str, str]:
        """Return the store, the reference, and the path in it, that the URI of this repository means.

        Raises:
            NotFoundError: the URI of an artifact names no store.
        """
        store, place = self._root.place("")
        return store, self._ref(store, place), place.inner

    # -- writing

    def log_artifact(self, local_file: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Add a file, which becomes a part of the next version."""
        verify_artifact_path(artifact_path)
        self._put(os.fspath(local_file), artifact_path)

    def log_artifacts(self, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Add the files of a folder, in one version."""
        verify_artifact_path(artifact_path)
        self._put(os.fspath(local_dir), artifact_path, links="follow")

    def log_artifact_from_stream(self, stream: BinaryIO, artifact_file_name: str, artifact_path: str | None = None) -> None:
        """Add a file that is read from a stream; it is stored while it arrives."""
        self._put_stream(stream, artifact_file_name, artifact_path)

    async def log_artifact_from_async_stream(
        self, chunks: AsyncIterable[bytes], artifact_file_name: str, artifact_path: str | None = None
    ) -> None:
        """Add a file that is read from a stream; it is stored while it arrives."""
        import asyncio  # noqa: PLC0415 - only a server calls this

        pipe = Pipe()
        storing = asyncio.create_task(asyncio.to_thread(self._put_stream, pipe, artifact_file_name, artifact_path))
        try:
            async for chunk in chunks:
                while not pipe.give(chunk) and not storing.done():  # noqa: ASYNC110 - the other side is a thread
                    await asyncio.sleep(_MOMENT)
                if storing.done():
                    break  # it failed
            pipe.end()
        except BaseException as error:
            pipe.end(error)
            with suppress(Exception):
                await storing
            raise
        await storing

    def _put_stream(self, stream: Any, name: str, path: str | None) -> None:
        verify_artifact_path(path)
        self._put(stream, posixpath.join(path or "", posixpath.basename(name)))

    def _put(self, source: Any, path: str | None, **options: Any) -> None:
        with _mlflow_errors():
            if self._root.ref is not None:
                raise InvalidInputError(f"{self._root.ref} is an artifact of a store, which never changes: log to a run instead")
            store, place = self._root.place(path)
            name = self._name(store, place.folder)
            self._put_next(store, place, name, source, {"onto": name, "at": place.inner, **options})

    def _put_next(self, store: Store, place: Place, name: str, source: Any, options: dict[str, Any]) -> None:
        folder = place.folder or Folder()
        experiment = name.split("/")[1] if folder.run is not None else folder.experiment
        fields = {"run_id": folder.run, "experiment_id": experiment, "model_id": folder.model, "trace_id": folder.trace}
        described: dict[str, Any] = {"metadata": {f"mlflow.{key}": value for key, value in fields.items() if value is not None}}
        if folder.model is not None:
            described["kind"] = "model"
        run = None if folder.trace is not None else self._run(store, folder)
        if run is None:
            store.put(source, name, **described, **options)
        else:
            run.put(source, name, **described, **options)

    def _run(self, store: Store, folder: Folder) -> Any:
        """Return the store's run for a run of MLflow; None where there is none, or it has ended."""
        run = folder.run
        if run is None and (active := mlflow.active_run()) is not None:
            run = active.info.run_id
        if run is None:
            return None
        key = (os.getpid(), store.url, run)
        with _starting:
            if key not in _runs:
                in_server = "_MLFLOW_SERVER_ARTIFACT_ROOT" in os.environ  # its code and environment say nothing of the run
                capture = not in_server and os.environ.get("ARTIFACTSTORE_MLFLOW_CODE") != "0"
                made = store.run("mlflow", id=f"mlflow-{run}")
                try:
                    _runs[key] = made.start(current=False, capture=capture)
                except ConflictError:
                    _runs[key] = None
            return _runs[key]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove artifacts, as `mlflow gc` does: what was there stays in the history, and bytes that others need stay.

        Raises:
            RefusedError: it is held, or must be kept, or an alias means it.
        """
        with _mlflow_errors():
            store, place = self._root.place(artifact_path)
            if self._root.ref is not None:
                raise InvalidInputError(f"{self._root.ref} is read only here: `artifactstore remove` removes a version")
            name = self._name(store, place.folder)
            try:
                versions = [f"{name}:v{one.version}" for one in store.versions(name) if not one.removed]
            except NotFoundError:
                return
            if place.folder is not None and not place.inner:
                for ref in versions:
                    store.registry.remove(ref, "mlflow gc")
            elif versions and any(True for _ in self._below(store, name, place.inner)):
                pattern = "/" + _PATTERN.sub(r"\\\1", place.inner)
                self._put_next(store, place, name, None, {"onto": name, "without": [pattern], "reason": "mlflow gc"})

    # -- reading

    def _tree(self, store: Store, ref: str) -> dict[str, int | None]:
        """Return the paths of an artifact with their sizes, None for a folder.

        Raises:
            NotFoundError: no such artifact.
        """
        found = store.artifact(ref)
        with _lock:
            if found.digest in _trees:
                _trees.move_to_end(found.digest)
                return _trees[found.digest]
        tree: dict[str, int | None] = {}
        for one in found.files:
            above = posixpath.dirname(one.path)
            while above and above not in tree:
                tree[above] = None
                above = posixpath.dirname(above)
            tree[one.path] = None if one.type == "dir" else one.size
        with _lock:
            _trees[found.digest] = tree
            while len(_trees) > _KEPT:
                _trees.popitem(last=False)
        return tree

    def _below(self, store: Store, ref: str, inner: str) -> Iterator[tuple[str, int | None]]:
        """Yield what is at a path and below it."""
        with suppress(NotFoundError):
            tree = self._tree(store, ref)
            if (size := tree.get(inner)) is not None:
                yield inner, size  # a file, as a server is asked for one after the other
                return
            for path, size in tree.items():
                if not inner or path == inner or path.startswith(f"{inner}/"):
                    yield path, size

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Return what is directly below a path in the newest version; nothing for a file, and where there is nothing."""
        with _mlflow_errors():
            store, place = self._root.place(path)
            if place.folder is None and self._root.ref is None and (found := self._folders(store, place.inner)):
                return found
            inner = place.inner
            depth = inner.count("/") + 1 if inner else 0
            found = []
            for one, size in self._below(store, self._ref(store, place), inner):
                if one != inner and one.count("/") == depth:
                    relative = one[len(place.base) + 1 :] if place.base else one
                    found.append(FileInfo(posixpath.join(place.above, relative), size is None, size))
            return sorted(found, key=lambda info: info.path)

    def _folders(self, store: Store, above: str) -> list[FileInfo]:
        """Return the folders above the artifacts of runs, as a server is asked for them."""
        start = f"{above}/" if above else ""
        found: set[str] = set()
        with suppress(NotFoundError):
            for one in store.names("mlflow/"):
                path = f"{one.name.removeprefix('mlflow/')}/artifacts"
                if one.name != OTHERS and path.startswith(start):
                    found.add(start + path[len(start) :].partition("/")[0])
        return [FileInfo(path, is_dir=True, file_size=None) for path in sorted(found)]

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Write files below a folder, each verified, and return their path there."""
        with _mlflow_errors():
            store, place = self._root.place(artifact_path)
            ref = self._ref(store, place)
            if (place.folder is None and self._root.ref is None) or _PATTERN.search(place.inner):
                return str(super().download_artifacts(artifact_path, dst_path))
            found = list(self._below(store, ref, place.inner))
            if not found:
                if not place.inner and not artifact_path:
                    return str(super().download_artifacts(artifact_path, dst_path))  # nothing was logged
                raise NotFoundError(f"there is nothing at {artifact_path!r} in {ref}: `list_artifacts` shows what is there")
        if dst_path is not None and not Path(dst_path).is_dir():
            return str(super().download_artifacts(artifact_path, dst_path))  # which says what is wrong with it
        target = Path(dst_path if dst_path is not None else tempfile.mkdtemp()).absolute()
        with _mlflow_errors():
            into = target / place.above
            into.mkdir(parents=True, exist_ok=True)
            if found[0][1] is not None and found[0][1] <= _SMALL and found[0][0] == place.inner:
                file = target / str(artifact_path)
                file.parent.mkdir(parents=True, exist_ok=True)
                self._write(store, ref, place.inner, file)
            elif not place.base:
                store.get(ref, into, paths=[place.inner] if place.inner else None, overwrite=True)
            else:
                self._get_below(store, ref, place, into)
        return str(target / artifact_path) if artifact_path else str(target)

    @staticmethod
    def _get_below(store: Store, ref: str, place: Place, into: Path) -> None:
        """Write files whose repository is a folder inside of the artifact."""
        with tempfile.TemporaryDirectory(prefix=".artifactstore-", dir=into) as staging:
            store.get(ref, staging, paths=[place.inner])
            base = Path(staging, place.base)
            for folder, _, files in os.walk(base):
                there = into / Path(folder).relative_to(base)
                there.mkdir(parents=True, exist_ok=True)
                for name in files:
                    Path(folder, name).replace(there / name)

    def _download_file(self, remote_file_path: str, local_path: str | os.PathLike[str]) -> None:
        """Write one file, verified; nothing is there if that fails."""
        with _mlflow_errors():
            store, place = self._root.place(remote_file_path)
            self._write(store, self._ref(store, place), place.inner, Path(local_path))

    @staticmethod
    def _write(store: Store, ref: str, path: str, target: Path) -> None:
        """Write one file, verified; nothing is there if that fails."""
        with tempfile.TemporaryDirectory(prefix=".artifactstore-", dir=target.parent) as staging:
            part = Path(staging, "part")
            with part.open("wb") as file, store.open_file(ref, path) as source:
                shutil.copyfileobj(source, file, _BLOCK)
            part.replace(target)
