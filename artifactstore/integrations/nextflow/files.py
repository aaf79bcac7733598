"""Recorded files: whether each is still what its record says, and what `put` takes it from.

Nextflow's checksum is a hash of a path, a size and a time, whatever its label says (nextflow-io/nextflow#7579): it is never compared
with content. Size and time are compared themselves.
"""

import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, ConflictError, InvalidInputError
from artifactstore.integrations.checked.files import Content, as_source
from artifactstore.integrations.checked.origins import OnDisk, RemoteFiles
from artifactstore.integrations.nextflow.values import nanoseconds, same_time

__all__ = ["Files", "Output", "Place"]

_SERVICES: Final = frozenset({"s3", "gs", "az"})  # as Nextflow names them
_GIVE_UP: Final = 3  # failures of one bucket in a row, after which it is not asked again
_GRACE: Final = 2 * 10**9  # nanoseconds that the clocks of a machine and of its file server may differ by
_TIMES: Final = ("LastModified", "last_modified", "mtime", "updated")  # of S3, Azure, Google Cloud Storage


@dataclass(frozen=True, slots=True)
class Output:
    """What a record says of a file or a folder.

    Attributes:
        path: where it is: of this machine, or a URL.
        size: in bytes; of a folder it means nothing.
        modified: when it was changed last, in nanoseconds since 1970; None if the record does not say it.
        written: when it was complete at the latest, likewise.
    """

    path: str
    size: int | None
    modified: int | None
    written: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What was found of a recorded file.

    Attributes:
        state: `same`, `missing`, `changed`, or why it cannot be read.
        source: what `put` takes it from, if it is the same.
        options: of `put`.
    """

    state: str
    source: Path | str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class _AsRecorded(OnDisk):
    """A file of this machine that is what its record says, and must be until it was read."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._mark = super().mark()

    def mark(self) -> str:
        """Return size, times and identity.

        Raises:
            ConflictError: they are not what they were.
        """
        try:
            found = super().mark()
        except OSError as error:
            raise ConflictError(f"{self.where} was removed while it was imported") from error
        if found != self._mark:
            raise ConflictError(f"{self.where} changed while it was imported")
        return found


class Files:
    """Looks at recorded files, on this machine and in buckets."""

    def __init__(self) -> None:
        self._buckets: dict[str, RemoteFiles] = {}
        self._failed: Counter[str] = Counter()

    def find(self, output: Output) -> Place:
        """Return what is there now of a recorded file."""
        path = output.path.removeprefix("file://") if output.path.startswith("file:///") else output.path
        scheme, sign, rest = path.partition("://")
        if not sign:
            return _on_disk(path, output)
        bucket, _, key = rest.partition("/")
        if scheme not in _SERVICES or not bucket or not key.strip("/"):
            return Place(f"files of {scheme[:30]}:// are not read")
        if set(key) & set("?#*["):
            return Place("its URL has characters that mean something else there")
        return self._in_bucket(f"{scheme}://{bucket}", key.rstrip("/"), output)

    def _in_bucket(self, bucket: str, key: str, output: Output) -> Place:
        if self._failed[bucket] >= _GIVE_UP:
            return Place(f"{bucket} cannot be read")
        try:
            if bucket not in self._buckets:
                self._buckets[bucket] = RemoteFiles(bucket, bucket, {})
            about = self._buckets[bucket].about(key)
        except ArtifactStoreError as error:
            self._failed[bucket] += 1
            return Place(str(error))
        self._failed[bucket] = 0
        if about is None:
            return Place("missing")
        if about["type"] == "directory":
            return Place("same", f"{bucket}/{key}/", {"allow_empty": True})
        time = next((found for one in _TIMES if (found := _remote_time(about.get(one))) is not None), None)
        if about.get("size") != output.size or not _is_at(time, output.modified):
            return Place("changed")
        return Place("same", f"{bucket}/{key}")


def _remote_time(value: Any) -> int | None:
    if isinstance(value, datetime):
        value = value.isoformat()
    return nanoseconds(value) if isinstance(value, str) else None


def _is_at(time: int | None, recorded: int | None) -> bool:
    """Return whether a file's time is the recorded one; one that is not known does not differ."""
    return time is None or recorded is None or same_time(time, recorded)


def _on_disk(path: str, output: Output) -> Place:
    if not os.path.isabs(path):  # noqa: PTH117 - as a record has it
        return Place("its path is relative")
    try:
        about = os.stat(path)  # noqa: PTH116 - there may be many
        origin = _AsRecorded(path) if stat.S_ISREG(about.st_mode) else None
        about = os.stat(path)  # noqa: PTH116 - what is compared is not older than the mark
    except (FileNotFoundError, NotADirectoryError):
        return Place("missing")
    except (OSError, ValueError, InvalidInputError) as error:
        return Place(f"it cannot be read: {getattr(error, 'strerror', None) or error}")
    if origin is not None:
        if about.st_size != output.size or not _is_at(about.st_mtime_ns, output.modified):
            return Place("changed")
        return Place("same", *as_source({os.path.basename(path): Content(origin)}, single=True))  # noqa: PTH119 - as above
    if not stat.S_ISDIR(about.st_mode):
        return Place("it is neither a file nor a folder")
    if not _is_at(about.st_mtime_ns, output.modified) or (output.written is not None and _has_later(path, output.written)):
        return Place("changed")
    # Nextflow stages and publishes by links, which lead out of the folder: what they lead to is the content.
    return Place("same", Path(path), {"links": "follow", "allow_empty": True})


def _has_later(folder: str, written: int) -> bool:
    """Return whether a file in a folder, at any depth, was changed after the folder was complete: the folder's time does not show it."""
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                if os.lstat(os.path.join(above, name)).st_mtime_ns > written + _GRACE:  # noqa: PTH118 - there may be many
                    return True
            except OSError:
                continue
    return False
