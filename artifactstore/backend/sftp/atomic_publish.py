"""Crash-safe publication of files and folders over SFTP.

Two writers never get the same name: a hard link never replaces a file, in one step of the server's file system.
"""

import contextlib
import stat
from collections.abc import Callable
from typing import Any, Final

from artifactstore.backend.sftp.protocol import FAILURE, NO_SUCH_FILE, UNSUPPORTED, SftpChannel, SftpStatus
from artifactstore.errors import AlreadyExistsError, BackendError, UnsupportedError

__all__ = ["SYNC", "Files", "Publish", "ServerRefusal"]

Publish = Callable[[SftpChannel, bytes, bytes, str], None]
_LINK: Final = "hardlink@openssh.com"
_REPLACE: Final = "posix-rename@openssh.com"
SYNC: Final = "fsync@openssh.com"


class ServerRefusal(SftpStatus):
    """An error of ours about the server's reply: the connection is fine."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(0, "")
        self.failure = failure


class Files:
    """A folder on a server.

    Args:
        url: the backend's URL, for messages.
        root: the folder.
        single_writer: the caller promises that nothing else writes: a file system without hard links is then accepted.
    """

    def __init__(self, url: str, root: str, *, single_writer: bool) -> None:
        self._url = url
        self._root = root
        self._single_writer = single_writer
        self._durable: set[str] = set()  # folders that this process has synced into their parents

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_durable": set()}

    # -- names

    def replace(self, wire: SftpChannel, temporary: bytes, path: bytes, key: str) -> None:
        """Give a finished file its name, replacing an existing file."""
        if _REPLACE in wire.extensions:
            wire.extended(_REPLACE, temporary, path)
            return
        try:
            wire.rename(temporary, path)
        except SftpStatus:
            # Only to replace an own object by its equal: for a moment no file has that name.
            if not self._there(wire, path, key):
                raise
            wire.remove(path)
            wire.rename(temporary, path)

    def publish(self, wire: SftpChannel, temporary: bytes, path: bytes, key: str) -> None:
        """Give a finished file its name unless it is taken.

        Raises:
            ServerRefusal: it is taken, or the server has no atomic operation for it.
        """
        linked = _LINK in wire.extensions
        try:
            # OpenSSH's rename refuses an existing target, too, but not atomically on file systems without hard links.
            if linked:
                wire.extended(_LINK, temporary, path)
            else:
                wire.rename(temporary, path)
        except SftpStatus as status:
            if self._there(wire, path, key):
                raise ServerRefusal(AlreadyExistsError(f"{key} exists in {self._url}")) from None
            if not linked or status.code not in {FAILURE, UNSUPPORTED}:
                raise
            if not self._single_writer:
                raise ServerRefusal(
                    UnsupportedError(
                        f"the file system of {self._url} has no hard links, so concurrent writers would overwrite each other: keep "
                        "the store elsewhere, or pass single_writer=True if nothing else ever writes to it"
                    )
                ) from None
            wire.rename(temporary, path)
            return
        if linked:
            wire.discard(temporary)

    def _there(self, wire: SftpChannel, path: bytes, key: str) -> bool:
        try:
            found = wire.lstat(path)
        except SftpStatus as status:
            if status.code == NO_SUCH_FILE:
                return False
            raise
        if stat.S_ISDIR(found.mode or 0):
            raise ServerRefusal(
                BackendError(
                    f"cannot write {key} in {self._url}: a folder is in the object's place: move it away, then try again"
                )
            )
        return True

    # -- folders

    def open_new(self, wire: SftpChannel, temporary: bytes, folder: str) -> bytes:
        """Create a file in a folder of the store (empty = its root), and the folder if it is missing; returns a handle."""
        if folder in self._durable:
            try:
                return wire.open_new(temporary)
            except SftpStatus as status:
                if status.code != NO_SUCH_FILE:
                    raise
                self._durable.clear()  # the folder was removed
        self._make(wire, folder)
        return wire.open_new(temporary)

    def _make(self, wire: SftpChannel, folder: str) -> None:
        """Create a folder of the store and its missing parents; afterwards each of their names is on the disk.

        A folder that another process has just made may not be synced yet, so the parent of each is synced once by
        every process that relies on it.
        """
        if folder in self._durable:
            return
        if folder:
            self._make(wire, folder.rpartition("/")[0])
            self._make_one(wire, f"{self._root}/{folder}", always=True)
        else:
            above = [self._root[:at] for at in range(1, len(self._root)) if self._root[at] == "/"]
            for path in above if not self.is_folder(wire, self._root.encode()) else ():
                self._make_one(wire, path, always=False)
            self._make_one(wire, self._root, always=True)
        self._durable.add(folder)

    def _make_one(self, wire: SftpChannel, path: str, *, always: bool) -> None:
        """Create a folder if it is missing, and sync its parent if something was created there, or `always`."""
        made = False
        if not self.is_folder(wire, path.encode()):
            try:
                wire.mkdir(path.encode())
                made = True
            except SftpStatus:
                if not self.is_folder(wire, path.encode()):
                    raise
                # Another writer created it meanwhile.
        if made or always:
            above = path.rpartition("/")[0]
            self.sync_folder(wire, above.encode() or (b"/" if path.startswith("/") else b"."))

    def is_folder(self, wire: SftpChannel, path: bytes) -> bool:
        """Whether a folder exists."""
        try:
            return stat.S_ISDIR(wire.stat(path).mode or 0)
        except SftpStatus:
            return False

    def sync_folder(self, wire: SftpChannel, path: bytes) -> None:
        """Sync a folder if the server can: OpenSSH opens a folder like a file. Otherwise durability is up to the file system."""
        if SYNC not in wire.extensions:
            return
        with contextlib.suppress(SftpStatus):
            wire.sync(path, SYNC)
