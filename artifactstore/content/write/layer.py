"""Layers: the manifest of stored files with others laid over them. The files that stay are copied as records; none is read."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.compact_lists import SIZE
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.writer import Packer
from artifactstore.errors import InvalidInputError
from artifactstore.model.path_clashes import clash

__all__ = ["Layers", "lay_over"]


class Layers(NamedTuple):
    """The result of `lay_over`.

    Attributes:
        manifest: of all files.
        kept: rows of the lower manifest that stay, with their paths.
        uploaded: bytes of packs written: content that was inline, and together is too much for that.
    """

    manifest: Manifest
    kept: list[tuple[str, int]]
    uploaded: int


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
    gone = {prefix + path for path in upper.paths} | links.keys()
    kept = [(path, row) for row, path in enumerate(lower.paths) if path not in gone and not without(path)]
    made = Manifest(lower.algorithm, modes=lower.modes or upper.modes)
    packer = Packer(backend, made, KnownChunks())
    try:
        _copy_files(packer, made, _runs(lower, kept, upper, prefix), upper, prefix)
        packer.finish()
        packer.wait()
    finally:
        packer.close()
    links |= {path: target for path, target in lower.links if path not in gone and not without(path)}
    made.links = sorted(links.items(), key=lambda one: one[0].encode())
    folders = {prefix + path for path in upper.folders} | {path for path in lower.folders if not without(f"{path}/")}
    if at and not (upper.paths or upper.folders or upper.links):
        folders.add(at)
    if folders:
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
    return Layers(made, kept, packer.uploaded)


def _runs(lower: Manifest, kept: list[tuple[str, int]], upper: Manifest, prefix: str) -> Iterator[tuple[Manifest, int, int]]:
    """Yield the files of both by their paths in UTF-8: (manifest, its first row, one past its last) of neighbours in one of them."""
    keys = [path.encode() for path, _ in kept] if len(upper.paths) else []
    at = 0

    def below(stop: int) -> Iterator[tuple[Manifest, int, int]]:
        nonlocal at
        while at < stop:
            first = row = kept[at][1]
            while at < stop and kept[at][1] == row:
                at, row = at + 1, row + 1
            yield lower, first, row

    first = 0
    for row, path in enumerate(upper.paths):
        place = bisect_left(keys, f"{prefix}{path}".encode(), at)
        if place > at:
            if first < row:
                yield upper, first, row
            yield from below(place)
            first = row
    if first < len(upper.paths):
        yield upper, first, len(upper.paths)
    yield from below(len(kept))


def _copy_files(packer: Packer, made: Manifest, runs: Iterator[tuple[Manifest, int, int]], upper: Manifest, prefix: str) -> None:
    for manifest, low, high in runs:
        first, begin = manifest.first, len(made.chunks)
        count = len(made.paths)
        packer.copy_run(manifest, first[low], first[high])
        shift = begin - first[low]
        start = prefix if manifest is upper else ""
        made.paths.extend([f"{start}{path}" for path in manifest.paths[low:high]] if start else manifest.paths[low:high])
        made.sizes += manifest.sizes[low:high]
        made.digests.data += manifest.digests.data[low * SIZE : high * SIZE]
        made.executable += manifest.executable[low:high]
        made.first.extend([one + shift for one in first[low + 1 : high + 1]])
        made.proven.update(
            count + row - low for row in range(low, high) if first[row + 1] - first[row] > 1 and manifest.is_proven(row)
        )
    made.all_proven = all(map(made.is_proven, range(len(made.paths))))


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
