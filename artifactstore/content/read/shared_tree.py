"""Shared trees: a target gets the files of a cached tree without their bytes being read or copied.

Where the file system can, a file of the target is a clone of the cached one (a file of its own that shares blocks), else a hard link
to it, which is read-only. What can be neither is copied, and checked while it is.

The bytes of a cached file were checked when it was written. They are still those if its size, times and inode are those of the
tree's mark, and if no process has it open for writing: a change time cannot be set, only caused. A hard link changes that time,
too, so the mark is renewed while no writer can open the linked files; where a mark does not match, every byte is read again.
"""

import os
import stat
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.retrieve import retrieve
from artifactstore.content.read.tree_cache import CacheError, TreeCache, mark_in_use, signature_of, stats_of
from artifactstore.errors import ArtifactStoreError, BackendError
from artifactstore.model.digest import new_hasher
from artifactstore.model.encoding import new_id
from artifactstore.runtime.file_stats import end_lease, fields, file_system, leases, no_writer, still_no_writer
from artifactstore.runtime.local_files import READ, is_own, read_own
from artifactstore.runtime.remarks import remark

if sys.platform == "linux":
    import fcntl

__all__ = ["Lender"]

_CLONE: Final = 0x40049409  # FICLONE of linux/fs.h
_LINKED_FROM: Final = 2**20  # bytes: smaller files are copied, since a link holds a file descriptor until all are placed
_MOST_LINKS: Final = 400  # of the 1,024 file descriptors that a process has at least
_TICK: Final = 50_000_000  # ns: more than a tick of the clock by which files get their times
_BLOCK: Final = 16 * 2**20
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class _How:
    """How a target can get files of the cache.

    Attributes:
        clones: by clones; else by hard links.
        mode: permission bits of a new executable file there.
    """

    clones: bool
    mode: int


class Lender(TreeCache):
    """Gives an artifact's files to a target by way of a tree in the cache.

    Args:
        cache: the cache folder.
        digest: the artifact.
        size: its bytes on disk.
        fill: writes the tree, every byte checked, into an empty folder.
        links: whether hard links may be made: whoever can write a linked file of one target changes it in all of them.
    """

    def __init__(self, cache: Path, digest: str, size: int, fill: Callable[[Path], None], *, links: bool = True) -> None:
        super().__init__(cache)
        self._digest, self._size, self._fill, self._links = digest, size, fill, links
        self._held: dict[str, int] = {}  # path in the tree → descriptor of a linked file that no writer can open
        self._stats: dict[str, os.stat_result] = {}
        self._until_placed = ExitStack()

    @contextmanager
    def lending(self) -> Iterator[Callable[..., None]]:
        """Yield what is to be called instead of `retrieve`. In the block the files must also get their names: that changes times."""
        with self._until_placed:
            yield self._write
            if self._held:
                self._renew()

    def _write(
        self,
        backend: Backend,
        manifest: Manifest,
        rows: "array[int]",
        path: Callable[[int], str],
        *,
        progress: Callable[[int, int], None],
    ) -> None:
        how = self._how_to_share(path(0)) if rows else None
        tree = None
        if how is not None:
            self._until_placed.enter_context(self._lock(self._digest))
            self._until_placed.callback(self._release)
            tree = self._proven(manifest) or (self._proven(manifest) if self._made() else None)
        if how is None or tree is None:
            retrieve(backend, manifest, rows, path, progress=progress)
            return
        mark_in_use(self._folder, tree.name)
        rest: list[tuple[int, int]] = []
        for at, row in enumerate(rows):
            if self._give(tree, manifest, row, path(at), how):
                progress(manifest.sizes[row], 1)
            else:
                rest.append((at, row))
        if rest:  # changed just now: from the store, then
            places = [path(at) for at, _ in rest]
            retrieve(backend, manifest, array("q", [row for _, row in rest]), places.__getitem__, progress=progress)

    # -- the tree

    def _tree(self) -> Path:
        return self._folder / self._digest.replace(":", "-")

    def _made(self) -> bool:
        """Fill the cache; return False if it has no room."""
        try:
            self._make(self._digest, self._size, self._fill)
        except CacheError as error:
            remark(f"{error}: nothing is kept there")
        except BackendError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or isinstance(cause, ArtifactStoreError):
                raise  # of the store
            remark(f"the cache folder {self._folder} cannot be written: {cause.strerror or cause}; nothing is kept there")
        else:
            return True
        return False

    def _proven(self, manifest: Manifest) -> Path | None:
        """Return the tree if its bytes are the artifact's; else None, and it is removed."""
        tree = self._tree()
        try:
            st = tree.lstat()
            mark = self._mark(tree)
        except OSError:
            return None
        if stat.S_ISDIR(st.st_mode) and is_own(st):
            with suppress(OSError, ValueError):
                stats = self._stats = stats_of(tree)
                signature = signature_of(tree, stats)
                if _read(mark) == signature:
                    mark.touch()
                    return tree
                if self._is_right(tree, manifest, stats):
                    mark.write_text(signature)
                    return tree
        self._take_away(tree, mark)
        return None

    def _is_right(self, tree: Path, manifest: Manifest, stats: dict[str, os.stat_result]) -> bool:
        """Compare every byte of a tree; no file may be writable, or open for writing."""
        files = {f"/{path}": row for row, path in enumerate(manifest.paths)}
        for path, st in stats.items():
            if stat.S_ISLNK(st.st_mode):
                continue
            row = files.pop(path, None)
            if row is None or not _is_sealed(st) or bool(st.st_mode & stat.S_IXUSR) != bool(manifest.executable[row]):
                return False
            if not _is_equal(f"{tree}{path}", st, manifest, row):
                return False
        return not files

    def _renew(self) -> None:
        """Write the mark anew: links, and the names that they got, have changed times, and nothing else could."""
        tree = self._tree()
        now = {path: os.fstat(fd) for path, fd in self._held.items()}
        same = all(map(still_no_writer, self._held.values())) and all(
            (st.st_ino, st.st_size, st.st_mtime_ns) == (old.st_ino, old.st_size, old.st_mtime_ns)
            for st, old in ((st, self._stats[path]) for path, st in now.items())
        )
        with suppress(OSError):
            mark = self._mark(tree)
            if same:
                mark.write_text(signature_of(tree, self._stats | now))
            else:
                mark.unlink()
        # A write within the same tick would leave no trace.
        last = max(st.st_ctime_ns for st in now.values())
        time.sleep(min(max(0, last + _TICK - time.time_ns()), _TICK) / 1e9)

    def _release(self) -> None:
        for fd in self._held.values():
            with suppress(OSError):
                end_lease(fd)
            os.close(fd)
        self._held = {}

    # -- one file

    def _how_to_share(self, target: str) -> _How | None:
        """Try it, with a file of one byte: file systems, mounts and kernels differ."""
        probe, there = self._folder / f".{new_id()}.partial", f"{target}.{new_id()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not leases(file_system(str(self._folder))):
                return None
            os.close(os.open(there, _FRESH, 0o777))
            mode = stat.S_IMODE(os.stat(there).st_mode)  # noqa: PTH116
            probe.write_bytes(b".")
            if _clone(str(probe), there):
                return _How(clones=True, mode=mode)
            os.unlink(there)  # noqa: PTH108
            if not self._links:
                return None
            os.link(probe, there)
        except OSError:
            return None
        else:
            return _How(clones=False, mode=mode)
        finally:
            for one in (str(probe), there):
                with suppress(OSError):
                    os.unlink(one)  # noqa: PTH108

    def _give(self, tree: Path, manifest: Manifest, row: int, target: str, how: _How) -> bool:
        """Give the target one file; return False if the cached one is not what it was."""
        path = f"/{manifest.paths[row]}"
        mode = how.mode & (0o777 if manifest.executable[row] else 0o666)
        try:
            known = self._stats[path]
            fd = os.open(f"{tree}{path}", READ | getattr(os, "O_NOFOLLOW", 0))
        except (OSError, KeyError):
            return False
        try:
            if fields(os.fstat(fd)) != fields(known):
                return False
            if how.clones:
                return _give_clone(fd, known, target, mode) or _copy(fd, target, mode, manifest, row)
            if known.st_size >= _LINKED_FROM and len(self._held) < _MOST_LINKS and _may_link(known, mode) and no_writer(fd):
                if _give_link(f"{tree}{path}", fd, known, target):
                    self._held[path] = fd
                    fd = -1  # it stays open, so that no writer comes until the mark is renewed
                    return True
                end_lease(fd)
            return _copy(fd, target, mode, manifest, row)
        except OSError:
            with suppress(OSError):
                os.unlink(target)  # noqa: PTH108
            return False
        finally:
            if fd >= 0:
                os.close(fd)


def _give_clone(fd: int, known: os.stat_result, target: str, mode: int) -> bool:
    if not no_writer(fd):
        return False
    try:
        os.close(os.open(target, _FRESH, mode))
        if _clone(f"/proc/self/fd/{fd}", target) and fields(os.fstat(fd)) == fields(known):
            return True
        os.unlink(target)  # noqa: PTH108
        return False
    finally:
        end_lease(fd)


def _give_link(source: str, fd: int, known: os.stat_result, target: str) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # too many links, or this user may not
        return False
    st = os.fstat(fd)
    if os.lstat(target).st_ino == st.st_ino and st.st_mtime_ns == known.st_mtime_ns and st.st_size == known.st_size:
        return True
    os.unlink(target)  # noqa: PTH108
    return False


def _read(mark: Path) -> str | None:
    try:
        return read_own(mark).decode()
    except OSError:
        return None


def _is_sealed(st: os.stat_result) -> bool:
    """Return whether a file is this user's or root's, and no mode bit lets it be written."""
    return stat.S_ISREG(st.st_mode) and is_own(st) and not st.st_mode & 0o222


def _may_link(st: os.stat_result, mode: int) -> bool:
    """Return whether a link has the permissions that a new file would have, without those to write."""
    return _is_sealed(st) and stat.S_IMODE(st.st_mode) == mode & ~0o222


def _clone(source: str, target: str) -> bool:
    if sys.platform != "linux":
        return False
    try:
        with open(source, "rb") as one, open(target, "r+b") as other:  # noqa: PTH123
            fcntl.ioctl(other.fileno(), _CLONE, one.fileno())
    except OSError:
        return False
    return True


def _is_equal(path: str, st: os.stat_result, manifest: Manifest, row: int) -> bool:
    """Compare a cached file with its digest, while no process can write it."""
    fd = os.open(path, READ | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not no_writer(fd):
            return False
        time.sleep(min(max(0, st.st_ctime_ns + _TICK - time.time_ns()), _TICK) / 1e9)  # a later write must change the times
        hasher = new_hasher(manifest.algorithm, parallel=True)
        while block := os.read(fd, _BLOCK):
            hasher.update(block)
        return fields(os.fstat(fd)) == fields(st) and hasher.digest() == manifest.digests[row]
    finally:
        os.close(fd)  # which ends the lease


def _copy(fd: int, target: str, mode: int, manifest: Manifest, row: int) -> bool:
    """Copy a cached file, and check what was copied; zeros become holes."""
    hasher = new_hasher(manifest.algorithm, parallel=True)
    out = os.open(target, _FRESH, mode)
    try:
        while block := os.read(fd, _BLOCK):
            hasher.update(block)
            if not block[0] and not block[-1] and block == bytes(len(block)):
                os.lseek(out, len(block), os.SEEK_CUR)
                continue
            view = memoryview(block)
            while view:
                view = view[os.write(out, view) :]
        os.ftruncate(out, os.lseek(out, 0, os.SEEK_CUR))
    finally:
        os.close(out)
    if hasher.digest() == manifest.digests[row]:
        return True
    os.unlink(target)  # noqa: PTH108
    return False
