"""SFTP version 3 over one channel: packets, and many concurrent requests. Knows paths and handles, never keys.

A client library's file objects wait for one reply after the other, or start a thread for each file; here as many
requests as the line holds are sent before the first reply is read. One thread at a time uses a channel.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["FAILURE", "NO_SUCH_FILE", "PERMISSION_DENIED", "UNSUPPORTED", "Attributes", "SftpChannel", "SftpStatus"]

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE = 1, 2, 3, 4, 5, 6
_LSTAT, _FSTAT, _OPENDIR, _READDIR, _REMOVE, _MKDIR, _STAT, _RENAME = 7, 8, 11, 12, 13, 14, 17, 18
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS = 101, 102, 103, 104, 105
_EXTENDED: Final = 200
_OK, _EOF = 0, 1
NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, UNSUPPORTED = 2, 3, 4, 8
READING: Final = 0x01
NEW: Final = 0x02 | 0x08 | 0x20  # open for writing, and create exclusively
_PIECE: Final = 2**15  # bytes of one request: supported by every server
_AHEAD: Final = 128  # concurrent requests: 4 MiB
_LARGEST: Final = 2**20  # bytes of a packet; servers send at most some 256 KiB


class SftpStatus(Exception):  # noqa: N818 - internal: the backend turns it into an error
    """An error status from the server.

    Attributes:
        code: SFTP status code.
        text: the server's message.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Attributes:
    """File attributes, None where the server does not report them.

    Attributes:
        size: bytes.
        mode: type and permissions, as `stat` has them.
        modified: seconds since 1970.
    """

    size: int | None
    mode: int | None
    modified: int | None


class SftpChannel:
    """One SFTP session.

    Args:
        channel: paramiko's, with the server's SFTP subsystem started.

    Attributes:
        channel: as passed.
        extensions: the server's protocol extensions.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._number = 0
        self._early: dict[int, tuple[int, bytes]] = {}
        self._ignored: set[int] = set()
        self._send(struct.pack(">BI", _INIT, 3))
        kind, body = self._receive()
        if kind != _VERSION:
            raise EOFError("the server does not support SFTP")
        self.extensions = frozenset(name.decode("ascii", "replace") for name in [*_strings(body[4:])][::2])

    # -- packets

    def _send(self, packet: bytes) -> None:
        self.channel.sendall(struct.pack(">I", len(packet)) + packet)

    def _receive(self) -> tuple[int, bytes]:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 1 <= length <= _LARGEST:
            raise EOFError("the server sent an invalid SFTP packet")
        packet = self._exactly(length)
        return packet[0], packet[1:]

    def _exactly(self, size: int) -> bytes:
        data: bytes = self.channel.recv(size)
        if len(data) == size:
            return data
        parts = [data]
        got = len(data)
        while got < size:
            if not data:
                raise EOFError("the connection ended")
            data = self.channel.recv(size - got)
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def _ask(self, kind: int, *fields: bytes | int, tail: bytes = b"") -> int:
        """Send a request and return its number; the caller must read the reply."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        packet = [struct.pack(">BI", kind, self._number)]
        packet.extend(struct.pack(">I", one) if isinstance(one, int) else struct.pack(">I", len(one)) + one for one in fields)
        self._send(b"".join((*packet, tail)))
        return self._number

    def _answer(self, number: int) -> tuple[int, bytes]:
        """Return the reply to a request; replies to others that arrive earlier are kept."""
        while number not in self._early:
            kind, body = self._receive()
            (of,) = struct.unpack_from(">I", body)
            if of in self._ignored:
                self._ignored.discard(of)
            else:
                self._early[of] = kind, body[4:]
        return self._early.pop(number)

    def _wanted(self, number: int, wanted: int) -> bytes:
        """Return the body of the expected reply.

        Raises:
            SftpStatus: the server refuses.
        """
        kind, body = self._answer(number)
        if kind == _STATUS:
            status = _status(body)
            if status.code != _OK or wanted != _STATUS:
                raise status
        elif kind != wanted:
            raise EOFError("the server sent an unexpected reply")
        return body

    # -- requests

    def open(self, path: bytes, flags: int = READING) -> bytes:
        """Open a file; returns a handle."""
        return _first(self._wanted(self._ask(_OPEN, path, flags, 0), _HANDLE))

    def open_new(self, path: bytes) -> bytes:
        """Create a file exclusively and open it for writing; the server's umask sets its permissions."""
        return self.open(path, NEW)

    def close(self, handle: bytes) -> None:
        """Close a handle, without waiting: it is not used any more, and the reply is irrelevant."""
        self._ignored.add(self._ask(_CLOSE, handle))

    def stat(self, path: bytes) -> Attributes:
        """Return a path's attributes; links are followed."""
        return _attributes(self._wanted(self._ask(_STAT, path), _ATTRS))[0]

    def lstat(self, path: bytes) -> Attributes:
        """Return a path's attributes; links are not followed."""
        return _attributes(self._wanted(self._ask(_LSTAT, path), _ATTRS))[0]

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        self._wanted(self._ask(_REMOVE, path), _STATUS)

    def discard(self, path: bytes) -> None:
        """Remove a file, without waiting for the reply."""
        self._ignored.add(self._ask(_REMOVE, path))

    def mkdir(self, path: bytes) -> None:
        """Create a folder."""
        self._wanted(self._ask(_MKDIR, path, 0), _STATUS)

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename; by the protocol an error if `new` exists."""
        self._wanted(self._ask(_RENAME, old, new), _STATUS)

    def extended(self, name: str, *fields: bytes) -> None:
        """Call a protocol extension."""
        self._wanted(self._ask(_EXTENDED, name.encode(), *fields), _STATUS)

    def listdir(self, path: bytes) -> Iterator[tuple[bytes, Attributes]]:
        """Yield the entries of a folder, without `.` and `..`."""
        handle = _first(self._wanted(self._ask(_OPENDIR, path), _HANDLE))
        try:
            while True:
                try:
                    body = self._wanted(self._ask(_READDIR, handle), _NAME)
                except SftpStatus as status:
                    if status.code == _EOF:
                        return
                    raise
                yield from _names(body)
        finally:
            self.close(handle)

    def stat_and_read(self, handle: bytes, ranges: Sequence[tuple[int, int]]) -> tuple[Attributes, list[bytes] | SftpStatus]:
        """Stat an open file and read ranges of it in one go; a failed read is returned, since the attributes may explain it."""
        number = self._ask(_FSTAT, handle)
        found: list[bytes] | SftpStatus
        try:
            found = self.read(handle, ranges)
        except SftpStatus as status:
            found = status
        return _attributes(self._wanted(number, _ATTRS))[0], found

    def read(self, handle: bytes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length); fewer where the file ends before."""
        pieces = [
            (index, start, min(_PIECE, offset + length - start))
            for index, (offset, length) in enumerate(ranges)
            for start in range(offset, offset + length, _PIECE)
        ]
        parts: list[list[bytes]] = [[] for _ in ranges]
        under_way: deque[tuple[int, tuple[int, int, int]]] = deque()
        trouble: SftpStatus | None = None
        todo = iter(pieces)
        while True:
            while trouble is None and len(under_way) < _AHEAD and (piece := next(todo, None)) is not None:
                under_way.append((self._ask_read(handle, piece[1], piece[2]), piece))
            if not under_way:
                break
            number, (index, start, length) = under_way.popleft()
            try:
                parts[index].append(self._read_on(handle, number, start, length))
            except SftpStatus as status:  # the other replies must still be read: the channel stays in use
                trouble = trouble or status
        if trouble is not None:
            raise trouble
        return [b"".join(data) for data in parts]

    def _ask_read(self, handle: bytes, offset: int, length: int) -> int:
        return self._ask(_READ, handle, tail=struct.pack(">QI", offset, length))

    def _read_on(self, handle: bytes, number: int, offset: int, length: int) -> bytes:
        """Return the bytes of a requested piece, and request again what a server with a smaller limit left out."""
        data = b""
        while True:
            try:
                data += _first(self._wanted(number, _DATA))
            except SftpStatus as status:
                if status.code == _EOF:
                    return data
                raise
            if len(data) >= length:
                return data[:length]
            number = self._ask_read(handle, offset + len(data), length - len(data))

    def write(self, handle: bytes, pieces: Iterable[memoryview], *, sync: str | None) -> None:
        """Write from the beginning, sync by the extension of that name, and close; all of it is done when this returns."""
        under_way: deque[int] = deque()
        offset = 0
        trouble: SftpStatus | None = None
        try:
            for piece in pieces:
                for start in range(0, piece.nbytes, _PIECE):
                    part = bytes(piece[start : start + _PIECE])
                    under_way.append(self._ask(_WRITE, handle, tail=struct.pack(">QI", offset, len(part)) + part))
                    offset += len(part)
                    while len(under_way) >= _AHEAD:
                        trouble = self._trouble(under_way.popleft()) or trouble
                if trouble is not None:
                    break
            if sync is not None:
                under_way.append(self._ask(_EXTENDED, sync.encode(), handle))
        finally:
            under_way.append(self._ask(_CLOSE, handle))
            while under_way:
                trouble = self._trouble(under_way.popleft()) or trouble
        if trouble is not None:
            raise trouble

    def _trouble(self, number: int) -> SftpStatus | None:
        try:
            self._wanted(number, _STATUS)
        except SftpStatus as status:
            return status
        return None

    def sync(self, path: bytes, sync: str) -> None:
        """Open a path, sync it and close it."""
        handle = self.open(path)
        number = self._ask(_EXTENDED, sync.encode(), handle)
        self.close(handle)
        self._wanted(number, _STATUS)


def _strings(body: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(body):
        (length,) = struct.unpack_from(">I", body, at)
        yield body[at + 4 : at + 4 + length]
        at += 4 + length


def _first(body: bytes) -> bytes:
    (length,) = struct.unpack_from(">I", body)
    return body[4 : 4 + length]


def _status(body: bytes) -> SftpStatus:
    (code,) = struct.unpack_from(">I", body)
    return SftpStatus(code, next(_strings(body[4:]), b"").decode("utf-8", "replace"))


def _attributes(body: bytes, at: int = 0) -> tuple[Attributes, int]:
    """Parse attributes; returns them and the offset of what follows."""
    (flags,) = struct.unpack_from(">I", body, at)
    at += 4
    found: dict[str, Any] = {"size": None, "mode": None, "modified": None}
    if flags & 0x1:
        (found["size"],) = struct.unpack_from(">Q", body, at)
        at += 8
    if flags & 0x2:
        at += 8
    if flags & 0x4:
        (found["mode"],) = struct.unpack_from(">I", body, at)
        at += 4
    if flags & 0x8:
        (found["modified"],) = struct.unpack_from(">I", body, at + 4)
        at += 8
    if flags & 0x80000000:
        (count,) = struct.unpack_from(">I", body, at)
        at += 4
        for _ in range(2 * count):
            at += 4 + struct.unpack_from(">I", body, at)[0]
    return Attributes(**found), at


def _names(body: bytes) -> Iterator[tuple[bytes, Attributes]]:
    (count,) = struct.unpack_from(">I", body)
    at = 4
    for _ in range(count):
        name = _first(body[at:])
        at += 4 + len(name)
        at += 4 + struct.unpack_from(">I", body, at)[0]  # the `ls -l` line
        attributes, at = _attributes(body, at)
        if name not in {b".", b".."}:
            yield name, attributes
