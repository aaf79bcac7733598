"""Folder scan. Results are columnar: an object for each of five million files would take gigabytes."""

import os
import stat
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from artifactstore.content.manifests.compact_lists import Texts
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.write.source import Folder, Source, check_regular, stat_of
from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_disk_path, check_disk_paths, check_disk_text, check_link, check_links
from artifactstore.runtime.file_stats import fields, signatures

__all__ = ["Scanned", "scan"]

_BATCH: Final = 4096  # files appended to the columns at a time


class Scanned(Sequence[Source]):
    """The files of a folder in columns, sorted by path; sources are built on demand.

    Args:
        base: the folder, ending with `/`.

    Attributes:
        paths: paths below the folder.
        sizes: sizes in bytes.
    """

    def __init__(self, base: str) -> None:
        self.paths = Texts()
        self.sizes = array("q")
        self._base = base
        self._executable = bytearray()
        self._inodes, self._changed, self._touched = array("Q"), array("Q"), array("Q")
        self._devices = array("I")  # device numbers, referenced by index
        self._numbers: dict[int, int] = {}
        self._new: list[tuple[str, os.stat_result]] = []

    def append(self, path: str, st: os.stat_result) -> None:
        """Append a file, in sorted order; it is in the columns after `flush`."""
        self._new.append((path, st))
        if len(self._new) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Move the appended files into the columns."""
        if not self._new:
            return
        paths, stats = zip(*self._new, strict=True)
        self._new = []
        devices, inodes, sizes, changed, touched = zip(*map(fields, stats), strict=True)
        self.paths.extend(paths)
        self.sizes.extend(sizes)
        self._executable.extend([st.st_mode & 0o111 != 0 for st in stats])
        self._inodes.extend(inodes)
        self._changed.extend(changed)
        self._touched.extend(touched)
        self._devices.extend([self._numbers.setdefault(device, len(self._numbers)) for device in devices])

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, at: int) -> Source: ...
    @overload
    def __getitem__(self, at: slice) -> list[Source]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        (signature,) = self._signed(slice(at, at + 1))
        return Source(self.paths[at], self.sizes[at], signature, bool(self._executable[at]), self._base)

    def __iter__(self) -> Iterator[Source]:
        base = self._base
        for path, size, signature, executable in zip(self.paths, self.sizes, self._signed(), self._executable, strict=True):
            yield Source(path, size, signature, executable == 1, base)

    def signed(self) -> Iterator[tuple[str, bytes]]:
        """Yield (path on disk, signature) of each file."""
        return zip(map(self._base.__add__, self.paths), self._signed(), strict=True)

    def samples(self) -> list[Source]:
        """Return one file per device."""
        return [self[self._devices.index(number)] for number in self._numbers.values()]

    def share(self, manifest: Manifest) -> None:
        """Share columns with a manifest of these files where they are equal, to save memory."""
        if (manifest.paths, manifest.sizes) == (self.paths, self.sizes):
            manifest.paths, manifest.sizes = self.paths, self.sizes

    def _signed(self, part: slice = slice(None)) -> Iterator[bytes]:
        devices = map([*self._numbers].__getitem__, self._devices[part])
        return signatures(devices, self._inodes[part], self.sizes[part], self._changed[part], self._touched[part])


def scan(root: str, *, keep: Callable[[str, bool], bool], links: str = "keep") -> Folder:
    """Walk a folder.

    Args:
        root: the folder.
        keep: (path, is a folder) → whether to include it.
        links: `keep` stores links that stay inside, `follow` stores what they point to.

    Raises:
        InvalidInputError: an unreadable folder, a socket or a device, a name that cannot be stored, a link that leads outside.
    """
    files = Scanned(root.rstrip("/") + "/")
    found = Folder(files)
    try:
        _walk(found, "", _Scan(root, files, keep, links == "follow", set()))
    except RecursionError as error:
        raise InvalidInputError(f"{root} is nested too deeply: the limit is about 900 levels of folders") from error
    files.flush()
    found.folders.sort()
    found.links.sort()
    check_links(found.links)
    return found


@dataclass(frozen=True, slots=True)
class _Scan:
    """The parameters of a scan."""

    root: str
    files: Scanned
    keep: Callable[[str, bool], bool]
    follow: bool
    visiting: set[tuple[int, int]]


def _walk(found: Folder, prefix: str, walk: _Scan) -> None:
    disk = os.path.join(walk.root, prefix) if prefix else walk.root  # noqa: PTH118
    st = stat_of(disk)
    inode = (st.st_dev, st.st_ino)
    if inode in walk.visiting:
        raise InvalidInputError(f"{disk} is a link to one of its parent folders: links='follow' would never end")
    walk.visiting.add(inode)
    names, empty = _names(disk, prefix, walk)
    above, inside = f"{disk.rstrip('/')}/", f"{prefix}/" if prefix else ""
    check_disk_paths([(inside + name).rstrip("/") for name in names])
    for name in names:
        path = inside + name
        if name[-1] == "/":
            _walk(found, path[:-1], walk)
            continue
        there = above + name
        try:
            st = os.stat(there, follow_symlinks=walk.follow)  # noqa: PTH116
            if stat.S_ISLNK(st.st_mode):
                target = os.readlink(there)  # noqa: PTH115
                check_disk_text(target)
                check_link(path, target)
                found.links.append((path, target))
                continue
        except OSError as error:
            raise InvalidInputError(f"{there} cannot be read: {error.strerror or error}") from error
        check_regular(there, st)
        walk.files.append(path, st)
    walk.visiting.discard(inode)
    if empty and prefix:
        check_disk_path(prefix)
        found.folders.append(prefix)


def _names(disk: str, prefix: str, walk: _Scan) -> tuple[list[str], bool]:
    """Return the entries of a folder to include, with `/` at the end of folders; and whether it has no entries at all.

    Sorted by the paths below them: `a-b` comes before the content of `a/`.
    """
    names, empty = [], True
    inside = f"{prefix}/" if prefix else ""
    try:
        with os.scandir(disk) as listing:
            for entry in listing:
                empty = False
                try:
                    is_folder = entry.is_dir(follow_symlinks=walk.follow)
                except OSError as error:
                    raise InvalidInputError(f"{entry.path} cannot be read: {error.strerror or error}") from error
                if walk.keep(inside + entry.name, is_folder):
                    names.append(f"{entry.name}/" if is_folder else entry.name)
    except OSError as error:
        raise InvalidInputError(f"the folder {disk} cannot be read: {error.strerror or error}") from error
    names.sort()
    return names, empty
