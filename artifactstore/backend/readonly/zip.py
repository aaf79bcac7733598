"""A zip file as a read-only backend: a store that travels on a stick or by mail, opened in place.

Only the central directory is kept in memory. Stored members are read by ranges straight from the file, deflated ones by
inflating them from their beginning. Nothing is ever unpacked, and no more memory is used than was requested.
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from artifactstore.backend.base import Stored, check_key, check_prefix
from artifactstore.backend.errors import check_ranges, not_found_message, range_beyond_end
from artifactstore.backend.readonly.base import ReadOnlySource
from artifactstore.errors import (
    ArtifactStoreError,
    BackendError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)
from artifactstore.model.facts import CONFIG_KEY
from artifactstore.runtime.local_files import absolute, pread
from artifactstore.runtime.os_errors import os_error

__all__ = ["ZipBackend"]

_LOCAL: Final = struct.Struct("<4s5H3L2H")  # the local header of each member: signature … lengths of name and extra
_SIGNATURE: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 0x1 | 0x40  # flags: by password, by certificate
_PIECE: Final = 2**18  # bytes read or inflated at a time
MOST_INFLATED: Final = 256 * 2**20  # bytes: what one deflated member may become in memory; a kilobyte can become a megabyte
_TRICK: Final = re.compile(r"^/|^[A-Za-z]:|[\\\0]|(^|/)\.\.(/|$)")
_READ: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class _Member:
    """A member's header offset and its entry in the central directory."""

    name: bytes
    header: int
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True, slots=True)
class _Directory:
    """The members of one state of the file."""

    state: tuple[int, int, int]
    members: Mapping[str, _Member]


class ZipBackend(ReadOnlySource):
    """The members of a zip file; if a store's folder was packed with its name, keys are relative to that folder.

    Args:
        path: the zip file; `~` and relative paths are resolved now. The first request opens it.

    Attributes:
        url: `zip://` and the file's absolute path.
    """

    concurrency = 4

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)
        self.url = f"zip://{self.path}"
        self._known: _Directory | None = None

    def __repr__(self) -> str:
        return f"ZipBackend({self.path!r})"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_known": None}

    # -- the verbs

    def read(self, key: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFoundError: no such member.
            CorruptionError: the zip file is damaged, truncated, or malicious.
            UnsupportedError: a member with an unsupported compression method, or too large to be inflated at once.
        """
        with _OpenZip(self, key) as (fd, member):
            if member.method != zipfile.ZIP_STORED and member.size > MOST_INFLATED:
                raise UnsupportedError(
                    f"{key} in {self.url} would inflate to {member.size:,} bytes; at most {MOST_INFLATED:,} are inflated at "
                    "once: pack the store again without compression (zip -0)"
                )
            data = b"".join(self._pieces(fd, key, member))
        if zlib.crc32(data) != member.crc:
            raise self._damaged(f"{key} does not match its checksum")
        return data

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for.

        Raises:
            NotFoundError: no such member.
            BackendError: a range ends beyond the member's end.
            CorruptionError: the zip file is damaged, truncated, or malicious.
            UnsupportedError: a member with an unsupported compression method.
        """
        check_key(key)
        check_ranges(ranges)
        with _OpenZip(self, key) as (fd, member):
            for offset, length in ranges:
                if offset + length > member.size:
                    raise range_beyond_end(key, offset, length, member.size, self.url)
            if member.method == zipfile.ZIP_STORED:
                start = self._start(fd, key, member)
                return [self._exactly(fd, key, start + offset, length) for offset, length in ranges]
            return self._inflated_ranges(fd, key, member, ranges)

    def _inflated_ranges(self, fd: int, key: str, member: _Member, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        found = [bytearray() for _ in ranges]
        last = max((offset + length for offset, length in ranges), default=0)
        at = 0
        for piece in self._pieces(fd, key, member):
            for (offset, length), part in zip(ranges, found, strict=True):
                part.extend(piece[max(0, offset - at) : max(0, offset + length - at)])
            at += len(piece)
            if at >= last:
                break
        return [bytes(data) for data in found]

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`; without times, since those in a zip file have no zone.

        Raises:
            CorruptionError: the zip file is damaged, truncated, or malicious.
        """
        check_prefix(prefix)
        try:
            members = self._directory().members
        except NotFoundError:
            return
        for key, member in members.items():
            if key.startswith(prefix):
                yield Stored(key, member.size, None)

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such member.
            CorruptionError: the zip file is damaged, truncated, or malicious.
        """
        return self._member(check_key(key), self._directory()).size

    # -- the central directory

    def _directory(self) -> _Directory:
        """Return the central directory of the file as it is now; read again if the file was replaced."""
        try:
            st = os.stat(self.path)  # noqa: PTH116
        except OSError as error:
            raise self._unreadable(error) from error
        known = self._known
        if known is None or known.state != _state(st):
            if not stat.S_ISREG(st.st_mode):
                raise BackendError(f"{self.path} is not a file: zip:// requires the path of a zip file")
            known = self._known = _Directory(_state(st), self._read_directory(st.st_size))
        return known

    def _read_directory(self, length: int) -> Mapping[str, _Member]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = archive.infolist()
        except OSError as error:
            raise self._unreadable(error) from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error, UnicodeError) as error:
            raise self._damaged(f"its central directory cannot be read ({error})") from error
        inside = self._inside([info.filename for info in found])
        members: dict[str, _Member] = {}
        for info in found:
            if _TRICK.search(info.orig_filename) or _TRICK.search(info.filename):
                raise self._damaged(f"a member's name is outside of it ({info.orig_filename!r})")
            key = info.filename.removeprefix(inside)
            if info.is_dir() or not _is_key(key):
                continue  # not an object of the store
            if key in members:
                raise self._damaged(f"it contains {key} twice")
            if info.flag_bits & _ENCRYPTED:
                raise UnsupportedError(
                    f"{key} in {self.url} is encrypted: unpack the zip file with its password and open the folder"
                )
            if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
                raise self._damaged(f"{key} should be {info.file_size:,} bytes, but only {info.compress_size:,} are stored")
            if info.header_offset < 0 or info.header_offset + info.compress_size > length:
                raise self._damaged(f"{key} would be beyond its end")
            raw = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
            members[key] = _Member(raw, info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
        return members

    @staticmethod
    def _inside(names: Sequence[str]) -> str:
        """Return the only folder with a `store.json`, if a store's folder was packed with its name; empty where there is none."""
        if CONFIG_KEY in names:
            return ""
        folders = {name.removesuffix(CONFIG_KEY) for name in names if name.count("/") == 1 and name.endswith(f"/{CONFIG_KEY}")}
        return folders.pop() if len(folders) == 1 else ""

    def _member(self, key: str, directory: _Directory) -> _Member:
        member = directory.members.get(key)
        if member is None:
            raise NotFoundError(not_found_message(key, self.url))
        return member

    # -- the bytes

    def _start(self, fd: int, key: str, member: _Member) -> int:
        """Return where a member's bytes begin: after its local header, which must be of the same member."""
        raw = pread(fd, _LOCAL.size, member.header)
        if len(raw) < _LOCAL.size or not raw.startswith(_SIGNATURE):
            raise self._damaged(f"{key} is not at its recorded offset")
        *_, name, extra = _LOCAL.unpack(raw)
        if pread(fd, name, member.header + _LOCAL.size) != member.name:
            raise self._damaged(f"the local header of {key} has another name")
        return member.header + _LOCAL.size + int(name) + int(extra)

    def _exactly(self, fd: int, key: str, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length:
            data = pread(fd, length, offset)
            if not data:
                raise self._damaged(f"it ends in the middle of {key}")
            parts.append(data)
            offset, length = offset + len(data), length - len(data)
        return b"".join(parts)

    def _pieces(self, fd: int, key: str, member: _Member) -> Iterator[bytes]:
        """Yield a member's bytes: exactly as many as the directory records, whatever is packed."""
        start = self._start(fd, key, member)
        if member.method == zipfile.ZIP_STORED:
            yield self._exactly(fd, key, start, member.size)
            return
        if member.method != zipfile.ZIP_DEFLATED:
            raise UnsupportedError(
                f"{key} in {self.url} is compressed by method {member.method}: pack the store again without compression (zip -0)"
            )
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        left, at = member.size, start
        packed = b""
        while left:
            if not packed:
                packed = pread(fd, min(_PIECE, start + member.packed - at), at)
                at += len(packed)
            try:
                data = inflate.decompress(packed, min(_PIECE, left))
            except zlib.error as error:
                raise self._damaged(f"cannot inflate {key} ({error})") from error
            if not data and (inflate.eof or not packed):
                raise self._damaged(f"{key} is shorter than its recorded size")
            packed = inflate.unconsumed_tail
            left -= len(data)
            yield data

    # -- failures

    def _damaged(self, what: str) -> CorruptionError:
        return CorruptionError(
            f"{self.url} is not a valid zip file of a store: {what}. It may have been copied incompletely: copy it again from its source",
            location=self.path,
        )

    def _unreadable(self, error: OSError) -> ArtifactStoreError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return NotFoundError(f"{self.path} does not exist")
        return os_error(error, self.path, "read")


class _OpenZip:
    """The file, open for one call, and the requested member.

    Opened by each call, so that nothing stays open and nothing is shared with a forked child.
    """

    def __init__(self, backend: ZipBackend, key: str) -> None:
        self._backend = backend
        self._key = check_key(key)
        self._fd = -1

    def __enter__(self) -> tuple[int, _Member]:
        backend = self._backend
        while True:
            directory = backend._directory()  # noqa: SLF001 - internal to ZipBackend
            try:
                self._fd = os.open(backend.path, _READ)
            except OSError as error:
                raise backend._unreadable(error) from error  # noqa: SLF001
            try:
                if _state(os.fstat(self._fd)) == directory.state:
                    return self._fd, backend._member(self._key, directory)  # noqa: SLF001
            except BaseException:
                os.close(self._fd)
                raise
            os.close(self._fd)  # replaced since its directory was read

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        os.close(self._fd)
        if isinstance(error, OSError) and not isinstance(error, ArtifactStoreError):
            raise self._backend._unreadable(error) from error  # noqa: SLF001


def _state(st: os.stat_result) -> tuple[int, int, int]:
    return st.st_ino, st.st_size, st.st_mtime_ns


def _is_key(text: str) -> bool:
    try:
        check_key(text)
    except InvalidInputError:
        return False
    return True
