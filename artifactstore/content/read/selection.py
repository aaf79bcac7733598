"""The selection of a get: which files of an artifact it writes, and to which paths."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, overload

from artifactstore.content.manifests.compact_lists import Texts
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.written_chunks import PAGE
from artifactstore.model.digest import hash_bytes

__all__ = ["SelectedFiles", "Selection", "disk_size", "select"]

_MIN_SPARSE: Final = 8 * 2**20  # min bytes of a file whose holes matter
_ZEROS_RATIO: Final = 64  # compression ratio from which on a chunk may be zeros
_MAX_LENGTHS: Final = 8  # distinct lengths of zero chunks checked: a file has one, and one at each of its ends


class SelectedFiles(Sequence[tuple[int, str]]):
    """Files as (row in the manifest, path), in columns: five million pairs would take a gigabyte.

    Args:
        rows: rows of the files in the manifest.
        paths: their paths.
    """

    def __init__(self, rows: Sequence[int] = (), paths: Sequence[str] = ()) -> None:
        self.rows = array("q", rows)
        self.paths = paths if isinstance(paths, Texts) else Texts(paths)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> tuple[int, str]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[int, str]]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [*zip(self.rows[at], self.paths[at], strict=True)]
        return self.rows[at], self.paths[at]

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return zip(self.rows, self.paths, strict=True)

    def append(self, one: tuple[int, str]) -> None:
        """Add a file."""
        self.rows.append(one[0])
        self.paths.append(one[1])


@dataclass(slots=True)
class Selection:
    """The files, folders and links to write, by path under the target.

    Attributes:
        files: (row in the manifest, path).
        folders: empty folders.
        links: (path, target).
    """

    files: SelectedFiles = field(default_factory=SelectedFiles)
    folders: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterable[str]:
        """Yield every path."""
        yield from self.files.paths
        yield from (path for path, _ in self.links)
        yield from self.folders


def select(manifest: Manifest, wanted: Callable[[str], str | None]) -> Selection:
    """Select all entries for which `wanted` returns a path."""
    chosen = Selection()
    for row, path in enumerate(manifest.paths):
        if (target := wanted(path)) is not None:
            chosen.files.append((row, target))
    if chosen.files.paths == manifest.paths:
        chosen.files.paths = manifest.paths  # everything is selected: share the column
    chosen.folders = [target for path in manifest.folders if (target := wanted(path)) is not None]
    chosen.links = [(target, to) for path, to in manifest.links if (target := wanted(path)) is not None]
    return chosen


def disk_size(manifest: Manifest, rows: Iterable[int]) -> int:
    """Return the bytes that files take on disk: chunks of zeros become holes."""
    total, chunks, zeros = 0, manifest.chunks, dict[int, bytes]()
    for row in rows:
        total += manifest.sizes[row]
        if manifest.sizes[row] >= _MIN_SPARSE:
            for i in range(manifest.first[row], manifest.first[row + 1]):
                size = chunks.sizes[i]
                if size >= PAGE and size > chunks.stored[i] * _ZEROS_RATIO and (size in zeros or len(zeros) < _MAX_LENGTHS):
                    if size not in zeros:
                        zeros[size] = hash_bytes(bytes(size), manifest.algorithm)
                    total -= size if chunks.digests[i] == zeros[size] else 0
    return total
