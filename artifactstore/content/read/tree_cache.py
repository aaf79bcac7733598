"""Tree cache: read-only trees that a get without a target materialises, under `<cache>/trees/<digest>`.

Bounded by size, together with the cached pieces of packs: the least recently used trees are evicted first, except those
in use by a living process and those used within the last hour. Of several processes that want the same tree, one
writes it.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

from artifactstore.backend.wrappers.range_cache import cache_limit, cached_bytes
from artifactstore.content.read.partial_folder import lock
from artifactstore.errors import ArtifactStoreError, BackendError
from artifactstore.model.digest import new_hasher
from artifactstore.model.encoding import new_id
from artifactstore.runtime.file_locks import single_flight
from artifactstore.runtime.file_stats import file_system, timed
from artifactstore.runtime.local_files import is_own, read_own

__all__ = ["CacheError", "TreeCache", "mark_in_use", "signature_of", "stats_of"]

_NAMED: Final = re.compile(r"([a-z0-9]+)-([0-9a-f]{64})(?:-[0-9a-f]{16})?$", re.ASCII)
_MIN_AGE: Final = 3600.0  # seconds
_LITTER: Final = 86_400.0  # seconds after which an unfinished tree is litter
_FOLDERS: Final = 16  # max cache folders whose trees a process uses: a lock each
_TIMEOUT: Final = 3600.0  # seconds to wait for another process that writes the same tree


class CacheError(BackendError):
    """The cache folder cannot be used: the data must be stored elsewhere."""


class TreeCache:
    """The trees under one cache folder; safe for concurrent processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "trees"

    def find(self, digest: str, is_right: Callable[[Path], bool] | None = None, *, locked: bool = False) -> Path | None:
        """Return the folder of an existing, unmodified tree, or None; a modified one is removed.

        A copied tree, as in a container image, has lost its mark: it is compared with its digests instead.

        Args:
            digest: digest of the tree.
            is_right: compares a folder with the tree's expected content.
            locked: whether the caller holds the tree's lock; a process that holds it may be about to change the mark.
        """
        target = self._folder / digest.replace(":", "-")
        try:
            st = target.lstat()
            if not stat.S_ISDIR(st.st_mode) or not is_own(st):
                return None
            mark = self._mark(target)
            with suppress(OSError, ValueError):
                if read_own(mark).decode() == _signature(target):
                    with suppress(OSError):  # a read-only cache does not record uses
                        mark.touch()
                    mark_in_use(self._folder, target.name)
                    return target
            if (
                is_right is not None
                and not (mark.exists() and os.access(self._folder, os.W_OK))
                and self._is_copy(target, is_right)
            ):
                return target
        except OSError:
            return None
        if not locked:
            with self._lock(digest):
                return self.find(digest, is_right, locked=True)
        self._take_away(target, mark)
        return None

    def _lock(self, digest: str) -> AbstractContextManager[bool]:
        return single_flight(self._folder.parent / "locks", [f"trees/{digest}"], timeout=_TIMEOUT)

    def _is_copy(self, tree: Path, is_right: Callable[[Path], bool]) -> bool:
        """Compare a tree with its digests; once per process, if the result cannot be recorded beside it."""
        signature = _signature(tree)
        if _RIGHT.get(tree) != signature:
            if not is_right(tree):
                return False
            _RIGHT[tree] = signature
            with suppress(OSError):
                self._mark(tree).write_text(signature)
        mark_in_use(self._folder, tree.name)
        return True

    def get(self, digest: str, size: int, fill: Callable[[Path], None], is_right: Callable[[Path], bool] | None = None) -> Path:
        """Return a tree's folder, written once by `fill` into a hidden sibling that is then renamed; it takes `size` bytes of disk.

        Raises:
            CacheError: the cache folder cannot be used.
        """
        found = self.find(digest, is_right)
        if found is not None:
            return found
        with self._lock(digest):
            return self.find(digest, locked=True) or self._make(digest, size, fill)

    def _make(self, digest: str, size: int, fill: Callable[[Path], None]) -> Path:
        target = self._folder / digest.replace(":", "-")
        staging = self._folder / f".{new_id()}.partial"
        try:
            staging.mkdir(parents=True, mode=0o700)
            with suppress(OSError):
                self._evict(size)
            fill(staging)
            _set_modes(staging, writable=False)
            # The mark contains the folder's inode, which a rename preserves: each process marks its own tree.
            mark = self._folder.joinpath(self._mark(staging).name.replace(staging.name, target.name))
            mark.write_text(_signature(staging))
            try:
                staging.rename(target)
            except OSError:
                if self.find(digest, locked=True) is None:  # else another process was first: its tree is equal
                    raise
        except OSError as error:
            if isinstance(error, ArtifactStoreError):  # an error of the store, not of the cache
                raise
            raise CacheError(f"the cache folder {self._folder} cannot be written: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                if staging.exists():
                    _remove(staging)
        mark_in_use(self._folder, target.name)
        return target

    def forget(self, digests: Collection[str]) -> bool:
        """Remove the trees of artifacts that are gone for good; return False if one is in use and stays."""
        if not digests or not self._folder.is_dir():
            return True
        held: set[str] | None = None
        for tree in self._folder.iterdir():
            if digest_of_tree(tree.name) not in digests:
                continue
            held = _in_use(self._folder) if held is None else held
            if tree.name in held:
                continue
            with suppress(OSError):
                self._take_away(tree, self._mark(tree))
        return held is None or not any(digest_of_tree(name) in digests for name in held)

    def size(self) -> int:
        """Return the total bytes of all trees."""
        return _size(self._folder)

    def clear(self) -> None:
        """Remove all trees, in use or not."""
        if self._folder.is_dir():
            _remove(self._folder)

    def _mark(self, tree: Path) -> Path:
        """Return the path of a tree's signature: beside it, since the tree is read-only; its mtime is the last use."""
        return self._folder / f"{tree.name}.{tree.stat().st_ino}.used"

    def _take_away(self, tree: Path, mark: Path) -> None:
        gone = self._folder / f".{new_id()}.partial"
        try:
            tree.rename(gone)
            mark.unlink(missing_ok=True)
            _remove(gone)
        except OSError:
            return

    def _evict(self, size: int) -> None:
        """Make room for `size` bytes, and remove what killed processes left."""
        limit, now = cache_limit() - cached_bytes(self._folder.parent), time.time()
        for litter in self._folder.glob(".*.partial"):
            if now - litter.stat().st_mtime > _LITTER:
                _remove(litter)
        trees = []
        for mark in self._folder.glob("*.used"):
            tree = self._folder / mark.name.rsplit(".", 2)[0]
            try:
                if self._mark(tree) == mark:
                    trees.append((mark.stat().st_mtime, tree, mark))
                    continue
            except OSError:
                pass
            mark.unlink(missing_ok=True)
        sizes = {tree: _size(tree) for _, tree, _ in trees}
        total = size + sum(sizes.values())
        held = _in_use(self._folder) if total > limit else set()
        for used, tree, mark in sorted(trees):
            if tree.name in held:
                continue
            if total <= limit or now - used < _MIN_AGE:
                return
            self._take_away(tree, mark)
            total -= sizes[tree]


def digest_of_tree(name: str) -> str | None:
    """Return the digest in the folder name of a tree, or of a part of a tree; None for other names."""
    found = _NAMED.match(name)
    return None if found is None else f"{found[1]}:{found[2]}"


_RIGHT: Final[dict[Path, str]] = {}  # trees that were compared with their digests, and their signatures then

# (process, folder) → the list of trees in use by this process, its lock, and its content.
_GIVEN: Final[dict[tuple[int, str], tuple[Path, int, set[str]]]] = {}


def mark_in_use(folder: Path, tree: str) -> None:
    """Record that this process uses a tree for the rest of its life: in a list that it keeps locked."""
    key = (os.getpid(), str(folder))
    with suppress(OSError):  # a read-only cache is not evicted from either
        given = _GIVEN.get(key)
        if given is None or (tree not in given[2] and not given[0].exists()):
            path = folder / f".{new_id()}.using"
            path.touch(mode=0o600, exist_ok=False)
            fd = lock(path)
            if fd is None:
                path.unlink(missing_ok=True)
                return
            given = _GIVEN[key] = (path, fd, set())
            if len(_GIVEN) > _FOLDERS:
                os.close(_GIVEN.pop(next(iter(_GIVEN)))[1])
        path, _, names = given
        if tree not in names:
            with path.open("a") as file:
                file.write(f"{tree}\n")
            names.add(tree)


def _in_use(folder: Path) -> set[str]:
    """Return the names of the trees in use by living processes; records of dead ones are removed."""
    held: set[str] = set()
    for path in folder.glob(".*.using"):
        with suppress(OSError, ValueError):
            try:
                fd = lock(path, alone=True)
            except BlockingIOError:
                held.update(path.read_text().split())
                continue
            if fd is not None:
                path.unlink(missing_ok=True)
                os.close(fd)
            elif time.time() - path.stat().st_mtime < _LITTER:
                held.update(path.read_text().split())
            else:
                path.unlink(missing_ok=True)
    return held


def stats_of(tree: Path) -> dict[str, os.stat_result]:
    """Return the stat of each file in a tree, by its path in it, which begins with `/`."""
    found: dict[str, os.stat_result] = {}
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)  # noqa: PTH118 - a hot loop
            found[path[len(str(tree)) :]] = os.lstat(path)
    return found


def signature_of(tree: Path, stats: Mapping[str, os.stat_result]) -> str:
    """Hash the names, sizes and times of everything in a tree: any modification changes it.

    Where times are unreliable, such as on tmpfs, the bytes are hashed, too.
    """
    hasher = new_hasher("blake3")
    proven = timed(file_system(str(tree)))
    hasher.update(b"2\n")  # trees of versions that trusted a manifest without checking its digest are not used
    for path, st in stats.items():
        line = f"{path}\0{st.st_size} {st.st_mtime_ns} {st.st_ctime_ns} {st.st_ino}\n"
        hasher.update(line.encode("utf-8", "surrogateescape"))
        if not proven and stat.S_ISREG(st.st_mode):
            with open(f"{tree}{path}", "rb") as file:  # noqa: PTH123
                while block := file.read(2**20):
                    hasher.update(block)
    return hasher.digest().hex()


def _signature(tree: Path) -> str:
    return signature_of(tree, stats_of(tree))


def _size(tree: Path) -> int:
    total = 0
    for folder, _, files in os.walk(tree):
        for name in files:
            try:
                st = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - a hot loop
                total += min(st.st_size, getattr(st, "st_blocks", st.st_size) * 512)  # sparse files take less
            except OSError:
                continue
    return total


def _set_modes(tree: Path, *, writable: bool) -> None:
    """Make files and folders read-only, or folders writable again so that they can be removed."""
    for folder, _, files in os.walk(tree, topdown=False):
        if not writable:
            for name in files:
                path = os.path.join(folder, name)  # noqa: PTH118
                mode = os.lstat(path).st_mode
                if not stat.S_ISLNK(mode):
                    os.chmod(path, stat.S_IMODE(mode) & ~0o222)  # noqa: PTH101
        if folder != str(tree):
            os.chmod(folder, 0o755 if writable else 0o555)  # noqa: PTH101
    # The top folder stays writable until renamed, on systems that need that (macOS): the files are what must not change.


def _remove(tree: Path) -> None:
    _set_modes(tree, writable=True)
    shutil.rmtree(tree, ignore_errors=True)
