"""The cache of trees: what a get without a target materialises, read-only, under `<cache>/trees/<digest>`.

Bounded by size: the trees used longest ago go first, and none that was used within the last hour. Whoever needs a
tree for longer gives the get a target of its own.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.model.encoding import new_id

__all__ = ["Trees"]

_SPARED: Final = 3600.0  # seconds
_DEFAULT: Final = 20 * 10**9  # bytes, unless $ARTIFACTSTORE_CACHE_BYTES says otherwise


class Trees:
    """The trees under one cache folder; safe for many processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "trees"

    def find(self, digest: str) -> Path | None:
        """Return the folder of a tree that is there, or None."""
        target = self._folder / digest.replace(":", "-")
        if not target.is_dir():
            return None
        self._touch(target)
        return target

    def get(self, digest: str, size: int, fill: Callable[[Path], None]) -> Path:
        """Return a tree's folder, filled once by `fill` in a hidden sibling that is then renamed.

        Raises:
            BackendError: the cache folder can't be written.
        """
        found = self.find(digest)
        if found is not None:
            return found
        target = self._folder / digest.replace(":", "-")
        staging = self._folder / f".{new_id()}.partial"
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise BackendError(
                f"the cache folder {self._folder} can't be written: {error.strerror}; give the get a target: to="
            ) from error
        try:
            self._evict(size)
            fill(staging)
            _set_modes(staging, writable=False)
            try:
                staging.rename(target)
            except OSError:
                if not target.is_dir():  # another process was first: its tree holds the same
                    raise
        finally:
            if staging.exists():
                _remove(staging)
        self._touch(target)
        return target

    def _touch(self, target: Path) -> None:
        """Note the use; the mark lies beside the tree, which is read-only."""
        mark = target.with_name(target.name + ".used")
        try:
            mark.touch()
        except OSError:
            return

    def _evict(self, size: int) -> None:
        """Make room for `size` bytes."""
        limit = _limit()
        now = time.time()
        trees = []
        for mark in self._folder.glob("*.used"):
            tree = mark.with_suffix("")
            try:
                trees.append((mark.stat().st_mtime, tree, mark))
            except OSError:
                continue
        sizes = {tree: _size(tree) for _, tree, _ in trees}
        total = size + sum(sizes.values())
        for used, tree, mark in sorted(trees):
            if total <= limit or now - used < _SPARED:
                return
            gone = self._folder / f".{new_id()}.evicted"
            try:
                tree.rename(gone)
                mark.unlink(missing_ok=True)
                _remove(gone)
            except OSError:
                continue
            total -= sizes[tree]


def _limit() -> int:
    text = os.environ.get("ARTIFACTSTORE_CACHE_BYTES", str(_DEFAULT))
    try:
        return int(float(text))
    except ValueError as error:
        raise InvalidInputError(f"ARTIFACTSTORE_CACHE_BYTES is {text!r}: not a number of bytes") from error


def _size(tree: Path) -> int:
    total = 0
    for folder, _, files in os.walk(tree):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a hot loop
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
    # The top stays writable until it was renamed on systems that need that (macOS): the files are what must not change.


def _remove(tree: Path) -> None:
    _set_modes(tree, writable=True)
    shutil.rmtree(tree, ignore_errors=True)
