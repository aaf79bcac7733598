"""A folder behind an SSH server, by SFTP: keys are paths below it, and a completed write is on the server's disk.

Files are written under a temporary name next to their own, synced, and then get their name in one step of the
server's file system: by a hard link for `create`, which no server makes over an existing file, by a rename for `write`.
A crash leaves at most a `.tmp-<32 hex>` file, which no listing shows.
"""

import contextlib
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored, check_key, check_prefix, moment
from artifactstore.backend.buffers import flat, grouped
from artifactstore.backend.errors import NotAppliedError, check_ranges, not_found_message, range_beyond_end
from artifactstore.backend.remote.secrets import secret_names
from artifactstore.backend.sftp.atomic_publish import SYNC, Files, ServerRefusal
from artifactstore.backend.sftp.connections import ConnectionPool
from artifactstore.backend.sftp.protocol import FAILURE, NO_SUCH_FILE, PERMISSION_DENIED, Attributes, SftpChannel, SftpStatus
from artifactstore.backend.sftp.ssh import SftpLocation, connect
from artifactstore.errors import (
    ArtifactStoreError,
    BackendError,
    InvalidInputError,
    NotFoundError,
)

__all__ = ["SftpBackend"]

_T = TypeVar("_T")
_TEMPORARY: Final = re.compile(r"\.tmp-[0-9a-f]{32}")
_FIRST: Final = 2**18  # bytes requested before the size is known: most objects that are read as a whole are smaller


class SftpBackend(Backend):
    """Files below a folder of a server, which the first write creates.

    Args:
        location: location, as parsed by `parse_sftp_url`.
        options: see `sftp_login.OPTIONS`.
        single_writer: the caller promises that nothing else writes: a file system without hard links is then accepted.

    Attributes:
        url: URL of the store location.
    """

    concurrency = 8

    def __init__(self, location: SftpLocation, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        self.url = location.url
        self._location = location
        self._options = dict(options or {})
        self._files = Files(location.url, location.folder, single_writer=single_writer)
        self._pool = self._new_pool()

    def _new_pool(self) -> ConnectionPool:
        location, options = self._location, self._options
        return ConnectionPool(lambda: connect(location, options), self.concurrency)

    def __getstate__(self) -> dict[str, Any]:
        if names := secret_names(self._options):
            raise InvalidInputError(
                f"{self.url} cannot be pickled: storage_options may contain a secret ({', '.join(names)}); "
                "use ~/.ssh/config and the agent, or open the store in each process"
            )
        return {**self.__dict__, "_pool": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._pool = self._new_pool()

    # -- requests

    def _call(self, call: Callable[[SftpChannel], _T], action: str, key: str) -> _T:
        """Run a request; its failures become our errors."""
        failure: BaseException
        try:
            with self._pool.wire() as wire:
                return call(wire)
        except ArtifactStoreError:
            raise
        except ServerRefusal as answer:
            failure = answer.failure
        except _CallerIteratorError as callers:
            failure = callers.error
        except SftpStatus as status:
            failure = self._refused(status, action, key)
        except Exception as error:  # noqa: BLE001 - paramiko raises what sockets, ciphers and threads raise
            failure = BackendError(
                f"cannot {action} {f'{key} in ' if key else ''}{self.url}: the connection broke, or no reply arrived in time "
                f"({type(error).__name__})",
                transient=True,
            )
        raise failure

    def _refused(self, status: SftpStatus, action: str, key: str) -> ArtifactStoreError:
        what = f"cannot {action} {f'{key} in ' if key else ''}{self.url}"
        if status.code == NO_SUCH_FILE and action != "write":
            return NotFoundError(not_found_message(key, self.url))
        if status.code == PERMISSION_DENIED:
            return BackendError(f"{what}: permission denied; check the permissions of this file and of its folders on the server")
        if status.code == FAILURE:
            return BackendError(
                f"{what}: the server gives no reason (generic failure); check free space, quotas, and for a folder of that name"
            )
        return BackendError(f"{what}: the server refuses (status {status.code})")

    def _path(self, key: str) -> bytes:
        return f"{self._location.folder}/{check_key(key)}".encode()

    # -- reading

    def read(self, key: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFoundError: no such file.
            BackendError: it cannot be read.
        """
        return self._read(key, None)[0]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; all are requested at once.

        Raises:
            NotFoundError: no such file.
            BackendError: a range ends beyond the file's end, or the file cannot be read.
        """
        check_ranges(ranges)
        return self._read(key, ranges)

    def _read(self, key: str, ranges: Sequence[tuple[int, int]] | None) -> list[bytes]:
        path = self._path(key)

        def call(wire: SftpChannel) -> list[bytes]:
            handle = wire.open(path)
            try:
                attributes, found = wire.stat_and_read(handle, [(0, _FIRST)] if ranges is None else ranges)
                size = self._size(attributes, key)
                for offset, length in ranges or ():
                    if offset + length > size:
                        raise ServerRefusal(range_beyond_end(key, offset, length, size, self.url))
                if isinstance(found, SftpStatus):
                    raise found
                if ranges is None and size > _FIRST:
                    found = [b"".join((found[0], *wire.read(handle, [(_FIRST, size - _FIRST)])))]
            finally:
                wire.close(handle)
            for (offset, length), part in zip([(0, size)] if ranges is None else ranges, found, strict=True):
                if len(part) != length:
                    raise ServerRefusal(range_beyond_end(key, offset, length, None, self.url))
            return found

        return self._call(call, "read", key)

    def _size(self, found: Attributes, key: str) -> int:
        if found.mode is not None and not stat.S_ISREG(found.mode):
            raise ServerRefusal(NotFoundError(not_found_message(key, self.url)))
        if found.size is None:
            raise ServerRefusal(BackendError(f"{key} in {self.url}: the server does not report the length"))
        return found.size

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such file.
            BackendError: `stat` fails.
        """
        path = self._path(key)
        return self._call(lambda wire: self._size(wire.stat(path), key), "stat", key)

    # -- listing

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`; files that vanish meanwhile may or may not be included.

        Raises:
            BackendError: a folder cannot be read.
        """
        return (item for item in self._walk(check_prefix(prefix)) if not _TEMPORARY.fullmatch(item.key.rpartition("/")[2]))

    def temporaries(self) -> Iterator[Stored]:
        """Yield the temporary files of crashed writers, and those of active writers: `delete` removes one.

        Raises:
            BackendError: a folder cannot be read.
        """
        return (item for item in self._walk("") if _TEMPORARY.fullmatch(item.key.rpartition("/")[2]))

    def _walk(self, prefix: str) -> Iterator[Stored]:
        folders = [prefix]
        with ThreadPoolExecutor(self.concurrency) as pool:
            while folders:
                found = [*pool.map(self._folder, folders)]
                folders = [folder for inner, _ in found for folder in inner]
                for _, items in found:
                    yield from items

    def _folder(self, folder: str) -> tuple[Sequence[str], Sequence[Stored]]:
        """Return the subfolders of a folder, and its files."""
        path = f"{self._location.folder}/{folder}".rstrip("/").encode()

        def call(wire: SftpChannel) -> tuple[Sequence[str], Sequence[Stored]]:
            inner, items = [], []
            for name, attributes in [*wire.listdir(path)]:
                key = folder + name.decode("utf-8", "replace")
                try:
                    check_key(key)
                except InvalidInputError:
                    continue  # not an object of the store
                found = attributes
                if found.mode is None or stat.S_ISLNK(found.mode):
                    try:
                        found = wire.stat(path + b"/" + name)
                    except SftpStatus as status:
                        if status.code == NO_SUCH_FILE:
                            continue  # gone since, or a broken link
                        raise
                if stat.S_ISDIR(found.mode or 0):
                    inner.append(f"{key}/")
                elif stat.S_ISREG(found.mode or 0):
                    modified = None if found.modified is None else moment(found.modified)
                    items.append(Stored(key, found.size or 0, modified))
            return inner, items

        try:
            return self._call(call, "list", folder)
        except NotFoundError:
            return [], []

    # -- writing

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there; on the server's disk when it returns.

        Raises:
            BackendError: no space, no permission: nothing of it is visible.
        """
        self._write(key, grouped(data), self._files.replace)

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if nothing is there; on the server's disk when it returns.

        Raises:
            AlreadyExistsError: `key` exists.
            UnsupportedError: the server has no atomic operation for it, and the caller did not pass `single_writer=True`.
            BackendError: the outcome is unknown, except for a `NotAppliedError`.
        """
        self._write(key, iter((flat(data),)), self._files.publish)

    def _write(self, key: str, pieces: Iterator[memoryview], publish: Callable[[SftpChannel, bytes, bytes, str], None]) -> None:
        """Write a temporary file, sync it, publish it under its name, sync the folder."""
        path = self._path(key)
        folder, _, name = key.rpartition("/")
        if _TEMPORARY.fullmatch(name):
            raise InvalidInputError(f"not a key: {key!r}; such names are reserved for temporary files")
        parent, _, _ = path.rpartition(b"/")
        temporary = parent + b"/.tmp-" + secrets.token_hex(16).encode()
        begun: list[bool] = []

        def call(wire: SftpChannel) -> None:
            handle = self._files.open_new(wire, temporary, folder)
            try:
                wire.write(handle, _callers(pieces), sync=SYNC if SYNC in wire.extensions else None)
                begun.append(True)
                publish(wire, temporary, path, key)
            except SftpStatus:
                with contextlib.suppress(SftpStatus):  # if it stays, listings skip it and clean-up removes it
                    wire.remove(temporary)
                raise
            self._files.sync_folder(wire, parent)

        try:
            self._call(call, "write", key)
        except BackendError as error:
            if begun or not error.transient or isinstance(error, NotAppliedError):
                raise
            raise NotAppliedError(str(error)) from None  # the name was not given yet

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        path = self._path(key)

        def call(wire: SftpChannel) -> None:
            try:
                wire.remove(path)
            except SftpStatus as status:
                if status.code == NO_SUCH_FILE or self._files.is_folder(wire, path):
                    return
                raise
            self._files.sync_folder(wire, path.rpartition(b"/")[0])

        self._call(call, "delete", key)


class _CallerIteratorError(SftpStatus):
    """An error of the caller's iterator: it passes unchanged, and the connection is fine."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(0, "")
        self.error = error


def _callers(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    while True:
        try:
            piece = next(pieces, None)
        except BaseException as error:  # noqa: BLE001 - raised again unchanged, where it cannot be mistaken for the server's
            raise _CallerIteratorError(error) from None
        if piece is None:
            return
        yield piece
