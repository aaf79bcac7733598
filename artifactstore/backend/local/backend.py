"""A folder as a backend: keys are paths below it, and a completed write is on the disk.

Whole files appear by `link` (create) or `replace` (write) of a temporary file next to them that was synced first;
then the folder is synced. A crash leaves at most a `.tmp-<32 hex>` file, which no listing shows.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Final, NoReturn

from artifactstore.backend.base import Backend, Buffer, Clock, Stored, check_key, check_prefix, moment
from artifactstore.backend.buffers import batched, flat
from artifactstore.backend.errors import check_ranges, not_found_message, range_beyond_end
from artifactstore.backend.local.links import link_new, replace
from artifactstore.errors import (
    ArtifactStoreError,
    BackendError,
    InvalidInputError,
    NotFoundError,
)
from artifactstore.runtime.local_files import (
    IGNORED,
    READ,
    Step,
    absolute,
    make_folder,
    pread,
    remove_temporary,
    share_file,
    share_folder,
    shared_bits,
    sync,
    sync_folder,
    write_all,
)
from artifactstore.runtime.os_errors import os_error

__all__ = ["LocalBackend"]

_TEMPORARY: Final = re.compile(r"\.tmp-[0-9a-f]{32}")
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


def _leads_to_ancestor(link: str, passed: Sequence[str]) -> bool:
    """Whether a link leads to a folder that the listing has already entered: nothing new is below it."""
    target = os.path.realpath(link)
    return any(one == target or one.startswith(target.rstrip(os.sep) + os.sep) for one in passed)


class LocalBackend(Backend):
    """Files below a folder, which the first write creates.

    Args:
        root: the folder; `~` and relative paths are resolved now.
        single_writer: the caller promises that no other process writes: `create` then works without hard links.

    Attributes:
        url: the folder's absolute path.
    """

    concurrency = 4

    def __init__(self, root: str | os.PathLike[str], *, single_writer: bool = False) -> None:
        self.url = absolute(root)
        self._single_writer = single_writer
        # Folders that this process has synced into their parents, and the permissions of a group that shares them.
        self._clock = Clock()
        self._durable: dict[str, int] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_durable": {}}

    def storage_time(self, *, fresh: bool = False) -> datetime | None:
        """Return the time by the file system's clock; a file server may have its own."""
        if fresh:
            temporary = os.path.join(self.url, f".tmp-{os.urandom(16).hex()}")  # noqa: PTH118
            try:
                fd = os.open(temporary, _NEW, 0o600)
                os.write(fd, b"1")
                self._clock.note(moment(os.fstat(fd).st_mtime))
                os.close(fd)
            except OSError:
                return None
            finally:
                remove_temporary(temporary)
        return self._clock.now()

    # -- reading

    def read(self, key: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFoundError: no such file.
            BackendError: it cannot be read.
        """
        path = self._path(key)
        try:
            fd = os.open(path, READ)
            try:
                size = self._size_of(os.fstat(fd), key, path)
                data = os.read(fd, size + 1)
                if len(data) == size:
                    return data
                parts = [data]
                while data:  # one call returns at most 2 GiB
                    data = os.read(fd, size + 1)
                    parts.append(data)
                return b"".join(parts)
            finally:
                os.close(fd)
        except OSError as error:
            if isinstance(error, ArtifactStoreError):
                raise
            self._read_failed(error, key, path)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for.

        Raises:
            NotFoundError: no such file.
            BackendError: a range ends beyond the file's end, or the file cannot be read.
        """
        check_ranges(ranges)
        with self._open_object(key) as (fd, size):
            return [self._range(fd, key, offset, length, size) for offset, length in ranges]

    def read_into(self, key: str, wanted: Sequence[tuple[int, memoryview]]) -> None:
        """Read bytes from each offset into memory, without a copy.

        Raises:
            NotFoundError: no such file.
            BackendError: a range ends beyond the file's end, or the file cannot be read.
        """
        if not hasattr(os, "preadv"):
            super().read_into(key, wanted)
            return
        check_ranges([(offset, len(room)) for offset, room in wanted])
        with self._open_object(key) as (fd, size):
            for offset, room in wanted:
                done = 0 if offset + len(room) <= size else -1
                while 0 <= done < len(room) and (came := os.preadv(fd, [room[done:]], offset + done)):
                    done += came
                if done < len(room):
                    raise range_beyond_end(key, offset, len(room), size if done < 0 else offset + done, self.url)

    @contextmanager
    def _open_object(self, key: str) -> Iterator[tuple[int, int]]:
        """Open an object for reading: its file and its length."""
        path = self._path(key)
        try:
            fd = os.open(path, READ)
            try:
                yield fd, self._size_of(os.fstat(fd), key, path)
            finally:
                os.close(fd)
        except OSError as error:
            if isinstance(error, ArtifactStoreError):
                raise
            self._read_failed(error, key, path)

    def _range(self, fd: int, key: str, offset: int, length: int, size: int) -> bytes:
        if offset + length > size:
            raise range_beyond_end(key, offset, length, size, self.url)
        data = pread(fd, length, offset)
        if len(data) == length:
            return data
        parts = [data]
        done = len(data)
        while done < length:
            data = pread(fd, length - done, offset + done)
            if not data:
                raise range_beyond_end(key, offset, length, offset + done, self.url)
            parts.append(data)
            done += len(data)
        return b"".join(parts)

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such file.
            BackendError: `stat` fails.
        """
        path = self._path(key)
        try:
            st = os.stat(path)  # noqa: PTH116
        except OSError as error:
            self._read_failed(error, key, path)
        return self._size_of(st, key, path)

    def obstacle(self, key: str) -> str:
        """Return whether a folder is in an object's place, or a file in the place of one of its folders."""
        try:
            is_folder = stat.S_ISDIR(os.stat(self._path(key)).st_mode)  # noqa: PTH116
        except NotADirectoryError:
            return "a file is in the place of its folder: move it away, then try again"
        except OSError:
            return ""
        return "a folder is in its place: move it away, then try again" if is_folder else ""

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`; files that vanish meanwhile may or may not be included.

        Raises:
            BackendError: a folder cannot be read.
        """
        for item, temporary in self._walk(check_prefix(prefix)):
            if not temporary:
                yield item

    def temporaries(self) -> Iterator[Stored]:
        """Yield the temporary files of crashed writers, and those of active writers: `delete` removes one.

        Raises:
            BackendError: a folder cannot be read.
        """
        return (item for item, temporary in self._walk("") if temporary)

    def _walk(self, prefix: str) -> Iterator[tuple[Stored, bool]]:
        folders: list[tuple[str, tuple[str, ...]]] = [(prefix, ())]
        while folders:
            folder, above = folders.pop()
            path = self._path(folder[:-1]) if folder else self.url
            try:
                with os.scandir(path) as listing:
                    entries = list(listing)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                    continue
                raise os_error(error, path, "list") from error
            for entry in entries:
                key = folder + entry.name
                if key == IGNORED:
                    continue
                try:
                    check_key(key)
                    if entry.is_dir():
                        if not entry.is_symlink():
                            folders.append((f"{key}/", above))
                        elif not _leads_to_ancestor(entry.path, passed := (*above, os.path.realpath(path))):
                            folders.append((f"{key}/", passed))
                        continue
                    st = entry.stat()
                except (InvalidInputError, FileNotFoundError):
                    continue  # not an object of the store, or gone since
                except OSError as error:
                    if error.errno == errno.ELOOP:
                        continue  # a link to itself contains nothing
                    raise os_error(error, entry.path, "list") from error
                if stat.S_ISREG(st.st_mode):
                    modified = moment(st.st_mtime)
                    yield Stored(key, st.st_size, modified), _TEMPORARY.fullmatch(entry.name) is not None

    # -- writing

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there; on the disk when it returns.

        An empty folder in its place is removed.

        Raises:
            BackendError: no space, no permission: nothing of it is visible.
        """
        self._publish_object(key, batched(data), replace)

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if nothing is there; on the disk when it returns.

        Raises:
            AlreadyExistsError: `key` exists.
            UnsupportedError: the file system has no hard links and the caller did not pass `single_writer=True`.
            BackendError: no space, no permission.
        """
        self._publish_object(key, iter(([flat(data)],)), partial(link_new, url=self.url, single_writer=self._single_writer))

    def _publish_object(self, key: str, batches: Iterator[Sequence[memoryview]], publish: Callable[[str, str], None]) -> None:
        """Write a temporary file, sync it, publish it under its name, sync the folder."""
        path = self._path(key)
        folder, name = os.path.split(path)
        if _TEMPORARY.fullmatch(name):
            raise InvalidInputError(f"not a key: {key!r}; such names are reserved for temporary files")
        temporary = os.path.join(folder, f".tmp-{os.urandom(16).hex()}")  # noqa: PTH118
        step = Step(path)
        with step:
            fd = self._open_new(temporary, folder)
        try:
            try:
                for pieces in batches:  # an error of the caller's iterator passes unchanged
                    with step:
                        write_all(fd, pieces)
                with step:
                    sync(fd)
                    self._clock.note(moment(os.fstat(fd).st_mtime))
            finally:
                os.close(fd)
            with step:
                publish(temporary, path)
        finally:
            remove_temporary(temporary)
        with step:
            sync_folder(folder)

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        path = self._path(key)
        try:
            os.unlink(path)  # noqa: PTH108
            sync_folder(os.path.dirname(path))  # noqa: PTH120
        except OSError as error:
            if error.errno in _ABSENT or os.path.isdir(path):  # noqa: PTH112 - macOS reports EPERM when a folder is unlinked
                return
            raise os_error(error, path, "delete") from error

    def delete_many(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        """Remove objects; each of their folders is synced once."""
        paths = {key: self._path(key) for key in keys}
        failed: dict[str, ArtifactStoreError] = {}
        folders: set[str] = set()
        for key, path in paths.items():
            try:
                os.unlink(path)  # noqa: PTH108
                folders.add(os.path.dirname(path))  # noqa: PTH120
            except OSError as error:
                if error.errno not in _ABSENT and not os.path.isdir(path):  # noqa: PTH112 - as in delete
                    failed[key] = os_error(error, path, "delete")
        for folder in folders:
            with suppress(OSError):  # what comes back after a power loss, the next clean-up deletes
                sync_folder(folder)
        return failed

    # -- inside

    def _size_of(self, st: os.stat_result, key: str, path: str) -> int:
        """Return the size of an opened file, which must be a regular file: a pipe or a device may never end."""
        if stat.S_ISDIR(st.st_mode):
            raise NotFoundError(not_found_message(key, self.url))
        if not stat.S_ISREG(st.st_mode):
            raise BackendError(f"cannot read {path}: it is not a regular file (a pipe, a socket or a device); remove it")
        return st.st_size

    def _path(self, key: str) -> str:
        return os.path.join(self.url, *check_key(key).split("/")) if os.sep != "/" else f"{self.url}/{check_key(key)}"  # noqa: PTH118

    def _read_failed(self, error: OSError, key: str, path: str) -> NoReturn:
        # Windows reports EACCES when a folder is opened.
        if error.errno in _ABSENT or (os.name == "nt" and os.path.isdir(path)):  # noqa: PTH112
            raise NotFoundError(not_found_message(key, self.url)) from error
        raise os_error(error, path, "read") from error

    def _open_new(self, temporary: str, folder: str) -> int:
        try:
            if folder not in self._durable:
                self._make(folder)
            fd = os.open(temporary, _NEW, 0o666)  # the umask applies, as for any file that a user creates
        except FileNotFoundError:
            self._durable.clear()  # the folder was removed
            self._make(folder)
            fd = os.open(temporary, _NEW, 0o666)
        try:
            share_file(fd, self._durable[folder])
        except OSError:
            os.close(fd)
            remove_temporary(temporary)
            raise
        return fd

    def _make(self, folder: str) -> None:
        """Create a folder and its missing parents; afterwards each of their names is on the disk.

        A folder that another process has just made may not be synced yet, so the parent of
        each folder of the store is synced once by every process that relies on it.
        """
        parent = os.path.dirname(folder)  # noqa: PTH120
        if folder in self._durable or parent == folder:
            return
        inside = folder.startswith(self.url)
        if inside or not os.path.isdir(folder):  # noqa: PTH112
            self._make(parent)
            made = make_folder(folder)
            if made:
                share_folder(folder, parent)
            try:
                sync_folder(parent)
            except OSError:
                # The store's folder may be inside one that this process may not open.
                if made or folder != self.url:
                    raise
        self._durable[folder] = shared_bits(folder)
