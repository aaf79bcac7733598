"""Reliability of a file's stat: whether a file with an equal stat may count as unchanged.

A write by a system call updates a file's times. A write through a memory map updates them only if the page was not yet
writable through that map, on tmpfs never, and some network file systems have unreliable times.
"""

import os
import signal
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import repeat
from pathlib import Path
from typing import Final

if sys.platform == "linux":
    import fcntl

    _fcntl = fcntl.fcntl
    _SIGNAL: Final = (fcntl.F_SETSIG, int(signal.SIGURG))
    _LEASE: Final = (fcntl.F_SETLEASE, fcntl.F_RDLCK)
    _NO_LEASE: Final = (fcntl.F_SETLEASE, fcntl.F_UNLCK)

__all__ = [
    "Held",
    "device",
    "end_lease",
    "fields",
    "file_system",
    "lasting",
    "leases",
    "no_writer",
    "signature",
    "signatures",
    "still_no_writer",
    "timed",
]

# The last byte is the layout version. Layout 1 had signatures of files whose stat is unreliable.
_SIGNATURE: Final = struct.Struct("<QQqQQB")
_TIMES: Final = struct.Struct("<24xqqx")
_LAYOUT: Final = 2
_64: Final = 2**64 - 1  # inodes of ReFS have 128 bits; nanoseconds after the year 2262 or before 1678 have more than 63
_TICK: Final = 50_000_000  # ns: more than a tick of Linux' coarse clock (10 ms at most)
_COARSE: Final = 2_000_000_000  # ns: the tick of FAT, and of other file systems with whole seconds
_MANY: Final = 1000  # devices
_DELAY: Final = 300 * 10**9  # ns
_WRITEBACK: Final = ("dirty_writeback_centisecs", "dirty_expire_centisecs")
# Their pages are those of the file itself, so that a lease covers every map; overlayfs maps the file of another layer.
_LEASES: Final = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs"})
_TIMED: Final = _LEASES | {
    "apfs", "beegfs", "ceph", "cifs", "erofs", "exfat", "gfs2", "gpfs", "hfs", "hfsplus", "iso9660", "jfs", "lustre", "msdos", "nfs",
    "nfs4", "nilfs2", "ntfs", "ntfs3", "ocfs2", "overlay", "reiserfs", "smb3", "squashfs", "udf", "ufs", "vfat", "zfs",
}  # fmt: skip


def fields(st: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return the fields that must not change while a file is read, and that the stat cache compares."""
    return st.st_dev & _64, st.st_ino & _64, st.st_size, st.st_mtime_ns & _64, st.st_ctime_ns & _64


def signature(st: os.stat_result) -> bytes:
    """Pack the fields of a stat."""
    return _SIGNATURE.pack(*fields(st), _LAYOUT)


def signatures(*columns: Iterable[int]) -> Iterator[bytes]:
    """Yield the signatures of many files, from one column per field."""
    return map(_SIGNATURE.pack, *columns, repeat(_LAYOUT))


class Held:
    """Finds files that may be open for writing while they are read: changes through a map then need not update their times.

    Only recently changed files are checked. Used for one put; thread-safe.

    Attributes:
        paths: paths of the files found.
    """

    __slots__ = ("_since", "paths")

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self._since = time.time_ns() - _delay()

    def look(self, fd: int, path: str, signature: bytes) -> None:
        """Check a file before it is read: later changes through a new map will update its times.

        Args:
            fd: the open file.
            path: its entry in `paths`.
            signature: its signature.
        """
        if max(_TIMES.unpack(signature)) <= self._since:
            return
        if sys.platform != "linux":
            self.paths.add(path)
            return
        if no_writer(fd):
            end_lease(fd)
        else:
            self.paths.add(path)


def leases(kind: str | None) -> bool:
    """Return whether `no_writer` can be relied on, on this type of file system."""
    return sys.platform == "linux" and kind in _LEASES


def no_writer(fd: int) -> bool:
    """Return whether no process has a file open for writing, which includes a writable map; one that opens it waits for `end_lease`.

    Args:
        fd: the file, open for reading; it must be this user's.
    """
    if sys.platform != "linux":
        return False
    try:
        _fcntl(fd, *_SIGNAL)  # the signal that the kernel sends if a writer opens it just now; the default, SIGIO, would kill
        _fcntl(fd, *_LEASE)
    except OSError:
        return False
    return True


def still_no_writer(fd: int) -> bool:
    """Return whether none has come since `no_writer`: the kernel lets one wait for 45 s at most, then it opens the file."""
    return sys.platform == "linux" and _fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def end_lease(fd: int) -> None:
    """Let writers open a file again."""
    if sys.platform == "linux":
        _fcntl(fd, *_NO_LEASE)


@cache
def _delay() -> int:
    """Return how long the kernel keeps dirty pages in memory, in ns, with a large margin.

    A map that dirties a page again after writeback updates the time.
    """
    if sys.platform != "linux":
        return _DELAY
    try:
        every, oldest = (int(Path("/proc/sys/vm", name).read_text()) for name in _WRITEBACK)  # 1/100 s
    except (OSError, ValueError):
        return _DELAY
    return 4 * 10**7 * (every + oldest) if every else 2**62


def device(signature: bytes) -> bytes:
    """Return the device part, which identifies the file's file system."""
    return signature[:8]


def timed(kind: str | None) -> bool:
    """Return whether every change of a file on this type of file system updates its times, eventually also those through a map."""
    return kind in _TIMED


def lasting(kind: str | None, signature: bytes, *, held: bool, hashed_at: int) -> bool:
    """Return whether every later change of a file will change its signature.

    Args:
        kind: the type of its file system.
        signature: its signature, equal before and after the file was read.
        held: whether it may have been open for writing.
        hashed_at: ns since the epoch, not after it was read.
    """
    changed: int = max(_TIMES.unpack(signature))
    # A change within the same tick of the file system's clock would not show (git's racily-clean rule).
    if not timed(kind) or changed + (_COARSE if changed % 1_000_000 == 0 else _TICK) >= hashed_at:
        return False
    return changed <= hashed_at - _delay() or (kind in _LEASES and not held)


_known: dict[bytes, tuple[float, str | None]] = {}
_KNOWN_FOR: Final = 1.0  # seconds: far less than a device number takes to be reused by another file system with the same files


def file_system(path: str, device: bytes | None = None) -> str | None:
    """Return the type of a file's file system, None if unknown.

    Args:
        path: path of the file.
        device: device of the file, as `device` returns it; results are cached per device for a second.
    """
    now = time.monotonic()
    if device is not None and (seen := _known.get(device)) is not None and now - seen[0] < _KNOWN_FOR:
        return seen[1]
    kind = _type_at(path)
    if device is not None:
        if len(_known) > _MANY:
            _known.clear()
        _known[device] = (now, kind)
    return kind


def _type_at(path: str) -> str | None:
    real, best = os.path.realpath(path), None
    for point, kind in _mounts():
        if (best is None or len(point) >= len(best[0])) and (real == point or real.startswith(point.rstrip("/") + "/")):
            best = (point, kind)
    return None if best is None else best[1]


def _mounts() -> list[tuple[str, str]]:
    """Return (mount point, type) of each file system; of two at one mount point the later one hides the earlier."""
    if sys.platform != "linux":
        return [("/", "ufs")]  # BSD's rules; for macOS and Windows see docs/reference/cache.md
    try:
        return _parsed(Path("/proc/self/mountinfo").read_bytes())
    except OSError:
        return []


@lru_cache(maxsize=2)
def _parsed(raw: bytes) -> list[tuple[str, str]]:
    """Parse mountinfo; cached, since it rarely changes, and takes longer to parse than to read."""
    found = []
    for line in raw.splitlines():
        before, _, after = line.partition(b" - ")
        point = before.split()[4].decode("unicode_escape").encode("latin-1")  # spaces are written \\040
        found.append((os.fsdecode(point), os.fsdecode(after.split()[0])))
    return found
