"""The records of a lineage store: one file `<key>/.data.json` each. It reads them, and knows nothing of a store of ours.

The format is that of `DefaultLinStore` and `LinTypeAdapterFactory` in nextflow-io/nextflow, modules/nf-lineage: an envelope with
`version`, `kind` and `spec`. Nextflow 25.04 wrote the fields beside the version, and the kind as `type`.
"""

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import BackendError, CorruptionError, NotFoundError
from artifactstore.integrations.checked.origins import RemoteFiles
from artifactstore.integrations.nextflow.values import nanoseconds
from artifactstore.work.secrets import without_credentials

__all__ = ["Record", "Records", "read_records"]

VERSION: Final = "lineage/v1beta1"
KINDS: Final = frozenset({"WorkflowRun", "TaskRun", "AgentRun", "FileOutput", "TaskOutput", "WorkflowOutput"})
_FILE: Final = ".data.json"
_FOLDER: Final = ".lineage"
_HISTORY: Final = ".history"  # lines of a table, not records
_LARGEST: Final = 64 * 2**20  # bytes of a record
_DEEPEST: Final = 200  # folders
_READERS: Final = 16  # requests at a time, of a lineage store behind a URL


@dataclass(frozen=True, slots=True)
class Record:
    """A record.

    Attributes:
        key: its key: `<hash>`, `<hash>#output` or `<hash>/<path>`; `lid://` and the key are its lineage ID.
        kind: one of `KINDS`.
        spec: its fields.
        where: the file that it is in, for messages.
    """

    key: str
    kind: str
    spec: Mapping[str, Any]
    where: str

    @property
    def lid(self) -> str:
        """Its lineage ID."""
        return f"lid://{self.key}"

    def text(self, field: str) -> str | None:
        """Return a field that is a text or null.

        Raises:
            CorruptionError: it is something else.
        """
        value = self.spec.get(field)
        if value is None or isinstance(value, str):
            return value
        raise self.damaged(f"{field} must be a string or null")

    def rows(self, field: str) -> list[Mapping[str, Any]]:
        """Return a field that is a list of objects or null.

        Raises:
            CorruptionError: it is something else.
        """
        value = self.spec.get(field)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(one, dict) for one in value):
            return value
        raise self.damaged(f"{field} must be a list of objects or null")

    def object(self, field: str) -> Mapping[str, Any]:
        """Return a field that is an object or null.

        Raises:
            CorruptionError: it is something else.
        """
        value = self.spec.get(field)
        if value is None or isinstance(value, dict):
            return value or {}
        raise self.damaged(f"{field} must be an object or null")

    def time(self, field: str) -> int | None:
        """Return a field that is a time or null, in nanoseconds since 1970.

        Raises:
            CorruptionError: it is something else.
        """
        value = self.text(field)
        if value is None:
            return None
        found = nanoseconds(value)
        if found is None:
            raise self.damaged(f"{field} must be a time with an offset")
        return found

    def damaged(self, why: str) -> CorruptionError:
        """Return the error for a record that is not one."""
        return _damaged(self.where, why)


@dataclass(frozen=True, slots=True)
class Records:
    """What a lineage store has.

    Attributes:
        identity: where it is, without credentials.
        parent: the folder that it is in; None behind a URL.
        by_key: the records by their keys, sorted.
        unknown: what this version cannot read: `<kind>` or `<version> <kind>`, and how many of them there are.
    """

    identity: str
    parent: Path | None
    by_key: Mapping[str, Record]
    unknown: Mapping[str, int]

    def of(self, *kinds: str) -> Iterator[Record]:
        """Yield the records of some kinds."""
        return (one for one in self.by_key.values() if one.kind in kinds)


def read_records(source: str) -> Records:
    """Read a lineage store.

    Args:
        source: its folder, the folder that has a `.lineage`, or a URL.

    Raises:
        NotFoundError: there is none, or it has no records.
        CorruptionError: a record is damaged.
        BackendError: it cannot be read.
    """
    plain = source.removeprefix("file://") if source.startswith("file:///") else source
    if "://" in plain:
        shown, parent = without_credentials(plain), None
        files: Iterable[tuple[str, str, bytes]] = _remote_files(plain, shown)
    else:
        folder = Path(plain).expanduser().absolute()
        folder = folder / _FOLDER if (folder / _FOLDER).is_dir() else folder
        if not folder.is_dir():
            raise NotFoundError(f"{folder} is not a folder: expected a lineage store of Nextflow, such as .lineage")
        shown, parent = folder.as_uri(), folder.parent
        files = _local_files(folder)
    found: dict[str, Record] = {}
    unknown: Counter[str] = Counter()
    for key, where, raw in files:
        one = _parse(key, where, raw)
        if isinstance(one, str):
            unknown[one] += 1
        else:
            found[key] = one
    if not found and not unknown:
        raise NotFoundError(
            f"{shown} has no lineage records: Nextflow writes them where its configuration has lineage.enabled = true"
        )
    return Records(shown, parent, dict(sorted(found.items())), dict(sorted(unknown.items())))


def _parse(key: str, where: str, raw: bytes) -> Record | str:
    """Return a record; of one that this version cannot read, what it is."""
    try:
        value = json.loads(raw, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, "it is not JSON") from error
    if not isinstance(value, dict):
        raise _damaged(where, "it is not an object")
    version, kind = value.get("version"), value.get("kind", value.get("type"))
    if not isinstance(version, str) or not isinstance(kind, str):
        raise _damaged(where, "it has no version and kind")
    if version != VERSION:
        return f"{version[:60]} {kind[:60]}"
    if kind not in KINDS:
        return kind[:60]
    spec = value.get("spec", value)
    if not isinstance(spec, dict):
        raise _damaged(where, "its spec is not an object")
    return Record(key, kind, spec, where)


def _damaged(where: str, why: str) -> CorruptionError:
    text = (
        f"{where} is damaged: {why}. If a workflow is running, import again when it has ended; if it was killed, remove this file"
    )
    return CorruptionError(text, location=where)


# -- where the records are


def _local_files(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield (key, path, bytes) of the records below a folder; links are not followed, as Nextflow follows none."""
    todo: list[tuple[str, str, int]] = [(str(folder), "", 0)]
    while todo:
        above, key, depth = todo.pop()
        try:
            with os.scandir(above) as entries:
                found = list(entries)
        except OSError as error:
            raise BackendError(f"cannot read {above}: {error.strerror or error}") from error
        for one in found:
            if one.name == _FILE and key:
                if (raw := _content(one.path)) is not None:
                    yield key, one.path, raw
            elif one.is_dir(follow_symlinks=False) and depth < _DEEPEST and (key or one.name != _HISTORY):
                todo.append((one.path, f"{key}/{one.name}" if key else one.name, depth + 1))


def _content(path: str) -> bytes | None:
    """Return the content of a regular file; None of anything else, which Nextflow never writes."""
    try:
        file = os.open(
            path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114 - there may be many
            return None
        raise BackendError(f"cannot read {path}: {error.strerror or error}") from error
    with os.fdopen(file, "rb") as opened:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            return None
        raw = opened.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise _damaged(path, f"it has more than {_LARGEST:,} bytes")
    return raw


def _remote_files(url: str, shown: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (key, URL, bytes) of the records behind a URL."""
    remote = RemoteFiles(url, shown, {})
    sizes = remote.list_all() or {}
    tail = f"/{_FILE}"
    inner = f"{_FOLDER}/" if any(path.startswith(f"{_FOLDER}/") for path in sizes) else ""
    paths = [
        path for path in sizes if path.startswith(inner) and path.endswith(tail) and not path.startswith(f"{inner}{_HISTORY}/")
    ]
    if large := [path for path in paths if sizes[path] > _LARGEST]:
        raise _damaged(f"{shown}/{large[0]}", f"it has more than {_LARGEST:,} bytes")
    with ThreadPoolExecutor(_READERS, thread_name_prefix="artifactstore-lineage") as readers:
        for path, raw in zip(paths, readers.map(lambda one: remote.read(one, 0, sizes[one]), paths), strict=True):
            yield path[len(inner) : -len(tail)], f"{shown}/{path}", raw
