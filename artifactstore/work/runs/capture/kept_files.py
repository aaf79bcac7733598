"""The contents of a working tree at the time it was read, for storing them later: files change while a run is active.

Uncommitted content is read at once and kept in memory, up to a limit; committed content is restored from git if its
file has changed since.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from artifactstore.content.write.source import Source, from_bytes, from_folder
from artifactstore.errors import InvalidInputError
from artifactstore.work.runs.capture.git_cli import Git
from artifactstore.work.runs.capture.git_tree_id import blob_id
from artifactstore.work.runs.capture.program import SETTLED, Part, stat_key

__all__ = ["Kept", "blob_of"]

_LARGEST: Final = 2**20  # bytes of a file that is kept in memory, and
_ALL: Final = 64 * 2**20  # of all of them
_BATCH: Final = 2000  # files restored by one call of git


def blob_of(data: bytes) -> str:
    """Return git's id of some bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Kept:
    """The recorded contents of one working tree.

    Attributes:
        data: path → content, of files without a committed version.
        seen: path → the stat key of the file when the tree was read, and whether its mtime can be trusted.
        blobs: path → git's id of its content in the index.
        plain: whether git stores files as they are on disk.
        modules: paths of submodules, which have their own git, deepest first.
    """

    data: dict[str, bytes] = field(default_factory=dict)
    seen: dict[str, tuple[tuple[int, ...], bool]] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    plain: bool = True
    modules: list[str] = field(default_factory=list)
    _total: int = 0

    def add_module(self, path: str, inner: "Kept") -> None:
        """Add the contents of a submodule."""
        self.data.update({f"{path}/{one}": data for one, data in inner.data.items()})
        self.seen.update({f"{path}/{one}": state for one, state in inner.seen.items()})
        self.blobs.update({f"{path}/{one}": digest for one, digest in inner.blobs.items()})
        self.modules = sorted([*self.modules, path, *(f"{path}/{one}" for one in inner.modules)], key=len, reverse=True)
        self.plain = self.plain and inner.plain

    def read(self, full_path: str, path: str, taken: Mapping[str, Part]) -> tuple[str, str] | None:
        """Read an uncommitted file; return its mode and git's id of its content.

        Args:
            full_path: the file.
            path: in the tree.
            taken: contents that count instead, by the paths of their files.
        """
        try:
            st = os.lstat(full_path)
            if stat.S_ISLNK(st.st_mode):
                return "120000", blob_of(os.fsencode(os.readlink(full_path)))  # noqa: PTH115 - as it is written
            mode = "100755" if st.st_mode & stat.S_IXUSR else "100644"
            part = taken.get(full_path)  # git follows no links, so this is the file itself
            if part is not None and part.data is not None:
                self.data[path] = part.data
                return mode, blob_of(part.data)
            if st.st_size > _LARGEST or self._total + st.st_size > _ALL:
                self.see(path, st)
                return mode, blob_id(full_path).hex()
            with open(full_path, "rb") as file:  # noqa: PTH123 - many of them
                data = file.read()
        except OSError:
            return None
        self.data[path] = data
        self._total += len(data)
        return mode, blob_of(data)

    def see(self, path: str, st: os.stat_result) -> None:
        """Record the stat key of a file whose content is not kept."""
        settled = max(st.st_mtime_ns, st.st_ctime_ns) < time.time_ns() - SETTLED
        self.seen.setdefault(path, (stat_key(st), settled))

    def sources(self, root: str, paths: Sequence[str], executable: frozenset[str], lost: list[str]) -> Iterator[Source]:
        """Yield the sources to store: each file as it was.

        Args:
            root: the folder of the tree.
            paths: of its files, sorted.
            executable: the executable ones among them.
            lost: receives the paths whose content is not available any more.
        """
        base, changed = f"{root}/", [path for path in paths if path not in self.data and not self._is_same(root, path)]
        again = self._from_git(root, changed)
        for path in paths:
            data = self.data.get(path, again.get(path))
            try:
                if data is not None:
                    yield from_bytes(path, data)._replace(executable=path in executable)
                elif path in again:
                    lost.append(path)
                else:
                    yield from_folder(base, path, executable=path in executable)
            except InvalidInputError:
                lost.append(path)

    def _is_same(self, root: str, path: str) -> bool:
        """Return True if a file still has the recorded content."""
        known = self.seen.get(path)
        if known is None:
            return True  # it could not be read then
        full_path = f"{root}/{path}"
        with suppress(OSError):
            if known[0] == stat_key(os.stat(full_path)):  # noqa: PTH116
                # A file that was new then may have changed since without a change of its times.
                return known[1] or not self.plain or path not in self.blobs or blob_id(full_path).hex() == self.blobs[path]
        return False

    def _from_git(self, root: str, paths: Sequence[str]) -> dict[str, bytes | None]:
        """Return git's contents of files that have changed since; None for those that git lacks."""
        found: dict[str, bytes | None] = dict.fromkeys(paths)
        asked: dict[str, list[str]] = {}
        for path in paths:
            if path in self.blobs:
                module = next((one for one in self.modules if path.startswith(f"{one}/")), "")
                asked.setdefault(module, []).append(path)
        for module, inner in asked.items():
            git = Git.find(Path(root, module))
            if git is None:
                continue
            if not self.plain:
                for path in inner:
                    name = path.removeprefix(f"{module}/") if module else path
                    found[path] = git.run("cat-file", "--filters", f"--path={name}", self.blobs[path])
                continue
            for at in range(0, len(inner), _BATCH):
                some = inner[at : at + _BATCH]
                out = git.run("cat-file", "--batch", given="\n".join(self.blobs[path] for path in some).encode() + b"\n")
                found.update(zip(some, _contents(out or b""), strict=False))
        return found


def _contents(out: bytes) -> Iterator[bytes | None]:
    """Yield the contents in the output of `git cat-file --batch`; None for each missing object."""
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        words = out[at:end].split(b" ")
        if words[-1] == b"missing":
            yield None
            at = end + 1
            continue
        size = int(words[2])
        yield out[end + 1 : end + 1 + size]
        at = end + 2 + size
