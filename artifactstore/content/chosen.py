"""What of an artifact is got, and under which paths."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from artifactstore.content.compact import Texts
from artifactstore.content.manifest import Manifest

__all__ = ["Chosen", "Selection", "select"]


class Chosen(Sequence[tuple[int, str]]):
    """Files as (row in the manifest, path), in columns: five million pairs would take a gigabyte.

    Args:
        rows: of the files.
        paths: as many.
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
    """What of an artifact goes where, by path under the target.

    Attributes:
        files: (row in the manifest, path).
        folders: empty folders.
        links: (path, target).
    """

    files: Chosen = field(default_factory=Chosen)
    folders: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterable[str]:
        """Yield every path."""
        yield from self.files.paths
        yield from (path for path, _ in self.links)
        yield from self.folders


def select(manifest: Manifest, wanted: Callable[[str], str | None]) -> Selection:
    """Choose what `wanted` gives a path for."""
    chosen = Selection()
    for row, path in enumerate(manifest.paths):
        if (target := wanted(path)) is not None:
            chosen.files.append((row, target))
    if chosen.files.paths == manifest.paths:
        chosen.files.paths = manifest.paths  # all of it: once for both
    chosen.folders = [target for path in manifest.folders if (target := wanted(path)) is not None]
    chosen.links = [(target, to) for path, to in manifest.links if (target := wanted(path)) is not None]
    return chosen
