"""Where the bytes of a file are: on this machine, in memory, or behind a URL."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec

from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError

__all__ = ["InMemory", "OnDisk", "Origin", "RemoteFile", "RemoteFiles"]


class Origin(Protocol):
    """Where the bytes of a file are."""

    @property
    def where(self) -> str:
        """The place, for messages; without credentials."""

    @property
    def size(self) -> int:
        """In bytes."""

    def read(self, start: int, end: int) -> bytes:
        """Return these bytes; fewer if the file has become shorter."""

    def mark(self) -> str:
        """Return what changes when the file does."""


class OnDisk:
    """A regular file of this machine.

    Args:
        path: its path.
        what: what it is, for messages.

    Raises:
        FileNotFoundError: there is none.
        InvalidInputError: it is something else.
    """

    def __init__(self, path: str, what: str = "") -> None:
        self.where = f"{what} ({path})" if what else path
        self._path = path
        found = os.stat(path)  # noqa: PTH116 - there may be many
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInputError(f"{path} is not a regular file: it is not read")
        self.size = found.st_size

    def read(self, start: int, end: int) -> bytes:
        """Return these bytes."""
        with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            file.seek(start)
            parts = []
            while start < end and (part := file.read(end - start)):
                parts.append(part)
                start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def mark(self) -> str:
        """Return size, times and identity."""
        found = os.stat(self._path)  # noqa: PTH116 - as above
        return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes that were read already.

    Attributes:
        where: they come from.
        data: the bytes.
    """

    where: str
    data: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    def read(self, start: int, end: int) -> bytes:
        """Return these bytes."""
        return self.data[start:end]

    def mark(self) -> str:
        """Return the same always."""
        return ""


class RemoteFiles:
    """A folder behind a URL that fsspec supports.

    Attributes:
        url: without credentials.
    """

    def __init__(self, url: str, shown: str, options: Mapping[str, Any]) -> None:
        self.url = shown
        try:
            self._fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
        except ImportError as error:
            raise BackendError(f"cannot read {shown}: a library is missing: {error}") from error
        except Exception as error:  # noqa: BLE001 - fsspec's classes raise what their libraries raise, with secrets in it
            failure = BackendError(f"cannot connect to {shown} ({type(error).__name__}): check the URL and the credentials")
        else:
            self._root = str(root).rstrip("/")
            return
        raise failure

    def find(self, key: str) -> "RemoteFile | None":
        """Return a file, or None if there is none.

        Raises:
            BackendError: that cannot be found out.
        """
        about = self.about(key)
        if about is None or about["type"] != "file" or about.get("size") is None:
            return None
        return RemoteFile(self, key, int(about["size"]))

    def about(self, key: str) -> Mapping[str, Any] | None:
        """Return what fsspec reports of a file or a folder, or None if there is none.

        Raises:
            BackendError: that cannot be found out.
        """
        try:
            found: Mapping[str, Any] = self._fs.info(f"{self._root}/{key}")
        except FileNotFoundError as error:
            if not _is_unreachable(error.__cause__):
                return None
            failure = self.failure(key, error.__cause__ or error)
        except Exception as error:  # noqa: BLE001 - as above
            failure = self.failure(key, error)
        else:
            return found
        raise failure

    def known(self, key: str, size: int) -> "RemoteFile":
        """Return a file that is known to be there."""
        return RemoteFile(self, key, size)

    def list_all(self) -> Mapping[str, int] | None:
        """Return key → size of all files; None if this service has no listing.

        Raises:
            BackendError: it failed.
        """
        try:
            found = self._fs.find(self._root, detail=True)
        except (FileNotFoundError, NotImplementedError):
            return None
        except Exception as error:  # noqa: BLE001 - as above
            failure = self.failure("", error)
        else:
            skip = len(self._root) + 1
            return {path[skip:]: int(one["size"]) for path, one in found.items() if one["type"] == "file"}
        raise failure

    def read(self, key: str, start: int, end: int) -> bytes:
        """Return bytes of a file."""
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{key}", start=start, end=end))
        except Exception as error:  # noqa: BLE001 - as above
            failure = self.failure(key, error)
        raise failure

    def failure(self, key: str, error: BaseException) -> ArtifactStoreError:
        """Return the error for a failure, without its text: that may have credentials."""
        if isinstance(error, ArtifactStoreError):
            return error
        what = f"{self.url}/{key}".rstrip("/")
        denied = isinstance(error, PermissionError) or "Credential" in type(error).__name__
        hint = "; check the credentials and what they allow" if denied else ""
        return BackendError(
            f"cannot read {what} ({type(error).__name__}){hint}", transient=isinstance(error, ConnectionError | TimeoutError)
        )


def _is_unreachable(cause: BaseException | None) -> bool:
    """Return whether a file is not known to be missing: fsspec's class for HTTP calls every failure so.

    Servers that do not list answer 403 for what is not there.
    """
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status not in {403, 404, 410}
    return cause is not None and not isinstance(cause, FileNotFoundError)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file behind a URL.

    Attributes:
        remote: the folder.
        key: its path there.
        size: in bytes.
    """

    remote: RemoteFiles
    key: str
    size: int

    @property
    def where(self) -> str:
        """Its URL."""
        return f"{self.remote.url}/{self.key}"

    def read(self, start: int, end: int) -> bytes:
        """Return these bytes."""
        return self.remote.read(self.key, start, end)

    def mark(self) -> str:
        """Return the same always: its hash is checked."""
        return ""
