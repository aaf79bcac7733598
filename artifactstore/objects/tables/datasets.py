"""An artifact's files as an Arrow file system: readers fetch only the ranges they need, verified."""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
from pyarrow import dataset, fs

from artifactstore.errors import InvalidInputError
from artifactstore.objects.base import ReadFolder

__all__ = ["SUFFIXES", "open_dataset"]

# how a file's name ends → the name that Arrow has for its format
SUFFIXES: Final = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".arrow": "ipc", ".feather": "feather", ".ipc": "ipc", ".json": "json",
    ".jsonl": "json", ".ndjson": "json", ".orc": "orc",
}  # fmt: skip


def open_dataset(folder: ReadFolder, what: str) -> Any:
    """Return a `pyarrow.dataset.Dataset` over the files of a table; only what is read is fetched.

    Args:
        folder: the files: one, or several of one file format.
        what: reference of the artifact, for messages.

    Raises:
        InvalidInputError: no table files, several file formats, or incompatible schemas.
    """
    kinds: dict[str, list[str]] = {}
    for name in folder.names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES:
            kinds.setdefault(SUFFIXES[suffix], []).append(name)
    if len(kinds) != 1:
        found = (
            ", ".join(f"{len(names)} of {kind}" for kind, names in kinds.items()) or "no Parquet, CSV, Arrow, JSON or ORC files"
        )
        raise InvalidInputError(
            f"{what} is not a table: among its {len(folder.names)} files are {found}; choose some with {what}/PATH"
        )
    kind, names = next(iter(kinds.items()))
    try:
        return dataset.dataset(
            names, format=kind, filesystem=fs.PyFileSystem(_Files(folder)), partitioning="hive", partition_base_dir=""
        )
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInputError(f"{what} cannot be opened as one table: {str(error)[:300]}") from error


class _Files(fs.FileSystemHandler):  # type: ignore[misc]
    """A read-only handler; paths are those in the artifact."""

    def __init__(self, folder: ReadFolder) -> None:
        self._folder = folder
        self._sizes = {name: folder.size(name) for name in folder.names}

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = object.__hash__

    def get_type_name(self) -> str:
        return "artifactstore"

    def normalize_path(self, path: str) -> str:
        return path.strip("/")

    def _info(self, path: str) -> Any:
        path = self.normalize_path(path)
        if path in self._sizes:
            return fs.FileInfo(path, fs.FileType.File, size=self._sizes[path], mtime=datetime(1980, 1, 1, tzinfo=UTC))
        inside = any(not path or name.startswith(f"{path}/") for name in self._sizes)
        return fs.FileInfo(path, fs.FileType.Directory if inside else fs.FileType.NotFound)

    def get_file_info(self, paths: list[str]) -> list[Any]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        base = self.normalize_path(selector.base_dir)
        return [self._info(name) for name in self._sizes if not base or name.startswith(f"{base}/")]

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(self._folder.open(self.normalize_path(path)), mode="r")

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def _refuse(self, *_: Any) -> Any:
        raise OSError("artifacts are immutable: put the new content")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse
