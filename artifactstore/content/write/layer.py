"""Layers: the manifest of stored files with others laid over them. The files that stay are copied as records; none is read."""

import heapq
from collections.abc import Callable, Iterator
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.writer import Packer
from artifactstore.errors import InvalidInputError
from artifactstore.model.path_clashes import clash

__all__ = ["Layers", "lay_over"]

_ROWS: Final = 4096  # files closed at a time


class Layers:
    """The result of `lay_over`.

    Attributes:
        manifest: of all files.
        kept: rows of the lower manifest that stay, with their paths.
        uploaded: bytes of packs written: content that was inline, and together is too much for that.
        packs: ids of these packs.
    """

    def __init__(self, manifest: Manifest, kept: list[tuple[str, int]], uploaded: int, packs: set[str]) -> None:
        self.manifest = manifest
        self.kept = kept
        self.uploaded = uploaded
        self.packs = packs


def lay_over(
    backend: Backend, lower: Manifest, upper: Manifest, *, at: str = "", without: Callable[[str], bool] = lambda _: False
) -> Layers:
    """Lay files over those of a stored artifact; a file at the same path replaces the one there.

    Args:
        backend: where both are stored.
        lower: the stored artifact; its packs are durable.
        upper: the files to lay over it; their packs may still be uploading.
        at: the folder that the upper files go to; "" is the root.
        without: whether a path of the lower artifact, folders with a trailing `/`, is left out.

    Raises:
        InvalidInputError: one has a file where the other has a folder.
        FalseChunksError: inline content does not match its digest.
        BackendError: a pack could not be written.
    """
    prefix = f"{at}/" if at else ""
    links = {prefix + path: target for path, target in upper.links}
    kept = [
        (path, row)
        for row, path in enumerate(lower.paths)
        if path not in links and not _replaced(upper, prefix, path) and not without(path)
    ]
    made = Manifest(lower.algorithm, modes=lower.modes or upper.modes)
    packer = Packer(backend, made, KnownChunks())
    try:
        _copy_files(packer, made, _in_order(lower, kept, upper, prefix))
        packer.finish()
        packer.wait()
    finally:
        packer.close()
    for path, target in lower.links:
        if path not in links and not _replaced(upper, prefix, path) and not without(path):
            links[path] = target
    made.links = sorted(links.items(), key=lambda one: one[0].encode())
    folders = {prefix + path for path in upper.folders} | {path for path in lower.folders if not without(f"{path}/")}
    if at and not (upper.paths or upper.folders or upper.links):
        folders.add(at)
    filled = {above for path in (*made.paths, *links, *folders) for above in _above(path)}
    made.folders = sorted(folders - filled, key=str.encode)
    made.deltas = {path: lower.deltas[path] for path, _ in kept if path in lower.deltas}
    made.deltas |= {prefix + path: line for path, line in upper.deltas.items()}
    found = clash(made.paths, made.folders, made.links)
    if found is not None:
        raise InvalidInputError(
            f"{found[0]!r} is a file or a link, and {found[1]!r} is inside it: an artifact cannot contain both; leave the first out "
            f"with without=[{found[0]!r}], or choose another at="
        )
    return Layers(made, kept, packer.uploaded, packer.packs)


def _replaced(upper: Manifest, prefix: str, path: str) -> bool:
    """Return whether the upper layer has a file or a link at a path."""
    return path.startswith(prefix) and upper.index(path[len(prefix) :]) is not None


def _in_order(
    lower: Manifest, kept: list[tuple[str, int]], upper: Manifest, prefix: str
) -> Iterator[tuple[bytes, Manifest, int]]:
    """Yield the files of both, by their paths in UTF-8."""
    below = ((path.encode(), lower, row) for path, row in kept)
    above = ((f"{prefix}{path}".encode(), upper, row) for row, path in enumerate(upper.paths))
    return heapq.merge(below, above, key=lambda one: one[0])


def _copy_files(packer: Packer, made: Manifest, files: Iterator[tuple[bytes, Manifest, int]]) -> None:
    rows: list[tuple[str, int, bytes, bool, int]] = []
    proven: set[int] = set()
    every = True
    for count, (path, manifest, row) in enumerate(files):
        first = manifest.first
        packer.copy(manifest, first[row], first[row + 1])
        rows.append((path.decode(), manifest.sizes[row], manifest.digests[row], bool(manifest.executable[row]), len(made.chunks)))
        if first[row + 1] - first[row] > 1:
            if manifest.is_proven(row):
                proven.add(count)
            else:
                every = False
        if len(rows) == _ROWS:
            made.close_files(rows)
            rows = []
    if rows:
        made.close_files(rows)
    if every:
        made.all_proven = True
    else:
        made.proven = proven


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
