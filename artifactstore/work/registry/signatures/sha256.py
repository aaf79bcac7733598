"""SHA-256 digests of an artifact's files: as its writer recorded them, or from the content itself."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.reader import fetch
from artifactstore.content.read.open_file import open_chunks
from artifactstore.content.read.retrieve import read_file
from artifactstore.content.side_content import parse_sha256, read_side
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.threads import Pool
from artifactstore.work.session.session import Session

__all__ = ["Found", "sha256_of"]

_BATCH: Final = 16 * 2**20  # bytes of small files that are read at once; larger files are read in parts
_BATCH_FILES: Final = 256
_WORKERS: Final = 4
_PART: Final = 4 * 2**20

Found = tuple[list[tuple[str, str]], int]  # (path, hex digits) of each file; bytes of content that were read


def sha256_of(session: Session, digest: str) -> Found:
    """Return the SHA-256 of each file of an artifact.

    They are taken from the store if it hashes by SHA-256, or if all manifests of the artifact state the same ones. A manifest
    that states others, or none, may have been added to the first one by any writer: then the content is read, once.

    Args:
        session: the store.
        digest: of the artifact.

    Raises:
        NotFoundError: it was removed.
        CorruptionError: its content is damaged, if it had to be read.
    """
    if digest.startswith("sha256:"):
        return session.with_manifest(digest, lambda one: [(path, raw.hex()) for path, raw in _rows(one)]), 0
    stated = [_stated(session, one) for one in session.manifests(digest)]
    if stated and stated[0] is not None and all(one == stated[0] for one in stated):
        return stated[0], 0
    return session.with_manifest(digest, lambda one: _read(session, one))


def _rows(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    return zip(manifest.paths, manifest.digests, strict=True)


def _stated(session: Session, manifest: Manifest) -> list[tuple[str, str]] | None:
    """Return what a manifest's side content states; None if there is none, or it is not about these files."""
    try:
        raw = read_side(session.core().cached_backend, manifest, "sha256")
    except CorruptionError:
        return None
    paths = list(manifest.paths)
    hexes = None if raw is None else parse_sha256(raw, paths)
    return None if hexes is None else list(zip(paths, hexes, strict=True))


def _read(session: Session, manifest: Manifest) -> Found:
    """Hash the content, verified against the artifact's own digests; equal files are read once."""
    backend, watch = session.core().cached_backend, session.watch("sign", sum(manifest.sizes))
    made: dict[bytes, str] = {}
    rows = list({raw: row for row, raw in enumerate(manifest.digests)}.values())
    with Pool(_WORKERS, "artifactstore-sha256") as pool:
        for group, done in zip(
            groups := list(_groups(manifest, rows)), pool.map(lambda some: _hashed(backend, manifest, some), groups), strict=True
        ):
            made |= {manifest.digests[row]: one for row, one in zip(group, done, strict=True)}
            watch(sum(manifest.sizes[row] for row in group))
    return [(path, made[raw]) for path, raw in _rows(manifest)], sum(manifest.sizes[row] for row in rows)


def _groups(manifest: Manifest, rows: Sequence[int]) -> Iterator[list[int]]:
    """Split rows into groups of neighbours, which are near each other in their packs."""
    group: list[int] = []
    size = 0
    for row in sorted(rows):
        if group and (size + manifest.sizes[row] > _BATCH or len(group) >= _BATCH_FILES):
            yield group
            group, size = [], 0
        group.append(row)
        size += manifest.sizes[row]
    if group:
        yield group


def _hashed(backend: Backend, manifest: Manifest, group: Sequence[int]) -> list[str]:
    if len(group) == 1 and manifest.sizes[group[0]] > _BATCH:
        return [_in_parts(backend, manifest, group[0])]
    extents = [list(manifest.extents(row)) for row in group]
    chunks = iter(fetch(backend, [extent for some in extents for extent in some]))
    made = []
    for row, some in zip(group, extents, strict=True):
        data = b"".join(next(chunks) for _ in some)
        if hash_bytes(data, manifest.algorithm) != manifest.digests[row]:
            data = read_file(backend, manifest, row)  # it may have been damaged in transit
        made.append(hashlib.sha256(data).hexdigest())
    return made


def _in_parts(backend: Backend, manifest: Manifest, row: int) -> str:
    found = hashlib.sha256()
    with open_chunks(backend, manifest, row) as file:  # which verifies what is read to its end
        while part := file.read(_PART):
            found.update(part)
    return found.hexdigest()
