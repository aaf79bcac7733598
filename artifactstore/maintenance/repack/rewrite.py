"""Writing artifacts anew: their files side by side, as one, so that they share packs in reading order; then a manifest for each.

Every chunk is verified against its digest before it is written, and every file that is read as a whole. Identities never
change: a manifest whose files do not give its digest is not written.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from artifactstore.backend.base import Backend
from artifactstore.backend.buffers import writable
from artifactstore.content.manifests.checks import check
from artifactstore.content.manifests.manifest import INLINE, Extent, Manifest, manifest_key
from artifactstore.content.manifests.parquet import encode
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.side_content import read_side
from artifactstore.content.transfer import transfer
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import Digest, hash_bytes
from artifactstore.model.encoding import new_id

__all__ = ["Rewritten", "rewrite"]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """An artifact that was written anew.

    Attributes:
        fact: the fields of its `relocated` fact but `from`.
        size: bytes of its new manifest.
    """

    fact: dict[str, Any]
    size: int


def rewrite(backend: Backend, sources: Sequence[Manifest], bad: Collection[str]) -> tuple[list[Rewritten], int]:
    """Write what artifacts have in some packs into new ones; all of it is durable when this returns.

    Args:
        backend: of the packs.
        sources: current manifests of the artifacts, in reading order; none of them with deltas.
        bad: the packs to leave; what is in others stays there.

    Returns:
        The new manifest of each, and the bytes of the new packs.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: a chunk or a file does not match its digest.
        BackendError: the backend failed.
    """
    whole = _Whole(sources[0].algorithm)
    for source in sources:
        whole.add(source, {name: read_side(backend, source, name) or b"" for name in source.side})
    known = KnownChunks()
    known.add(_kept(whole.manifest, bad))
    done = transfer(backend, whole.manifest, backend, known, recode=True)
    made = [_write(backend, one) for one in whole.split(done.manifest, sources)]
    return made, done.uploaded


def _kept(manifest: Manifest, bad: Collection[str]) -> Manifest:
    """Return the chunks that stay where they are, as a manifest without files."""
    found = Manifest(manifest.algorithm, packs=list(manifest.packs))
    c = manifest.chunks
    stays = [pack not in bad for pack in manifest.packs]
    for i, pack in enumerate(c.packs):
        if pack != INLINE and stays[pack]:
            found.chunks.add(c.digests[i], c.sizes[i], pack, c.offsets[i], c.stored[i], c.codecs[i])
    return found


class _Whole:
    """Several artifacts as one: their files behind each other, and their side content as further files."""

    def __init__(self, algorithm: str) -> None:
        self.manifest = Manifest(algorithm)
        self._numbers: dict[str, int] = {}
        self._ends: list[tuple[int, dict[str, int]]] = []  # of each artifact: how many files, and the rows of its side content

    def add(self, source: Manifest, side: dict[str, bytes]) -> None:
        """Append an artifact."""
        whole = self.manifest
        for row in range(len(source.paths)):
            for extent in source.extents(row):
                self._add(extent)
            whole.close_file(source.paths[row], source.sizes[row], source.digests[row], executable=bool(source.executable[row]))
        rows: dict[str, int] = {}
        for name, data in side.items():
            rows[name] = len(whole.paths)
            for extent in source.side[name]:
                self._add(extent)
            whole.close_file(name, len(data), hash_bytes(data, whole.algorithm), executable=False)
        self._ends.append((len(source.paths), rows))

    def _add(self, extent: Extent) -> None:
        chunks = self.manifest.chunks
        number = INLINE
        if extent.pack is None:
            chunks.inline[len(chunks)] = extent.data or b""
        else:
            number = self._numbers.setdefault(extent.pack, len(self.manifest.packs))
            if number == len(self.manifest.packs):
                self.manifest.packs.append(extent.pack)
        chunks.add(extent.digest, extent.size, number, extent.offset, extent.stored, extent.codec)

    def split(self, done: Manifest, sources: Sequence[Manifest]) -> list[Manifest]:
        """Return the manifests of the artifacts again, with the places that their chunks have now."""
        found, row = [], 0
        for source, (files, side) in zip(sources, self._ends, strict=True):
            made = Manifest(done.algorithm, modes=source.modes, format=source.format)
            made.folders, made.links = list(source.folders), list(source.links)
            proven = True
            for at in range(row, row + files):
                for extent in done.extents(at):
                    _append(made, extent)
                made.close_file(done.paths[at], done.sizes[at], done.digests[at], executable=bool(done.executable[at]))
                proven = proven and done.is_proven(at)
            for name, at in side.items():
                made.side[name] = list(done.extents(at))
                _name_packs(made, made.side[name])
            made.digest, made.all_proven = source.digest, proven
            found.append(made)
            row += files + len(side)
        return found


def _append(made: Manifest, extent: Extent) -> None:
    _name_packs(made, [extent])
    if extent.pack is None:
        made.chunks.inline[len(made.chunks)] = extent.data or b""
    number = INLINE if extent.pack is None else made.packs.index(extent.pack)
    made.chunks.add(extent.digest, extent.size, number, extent.offset, extent.stored, extent.codec)


def _name_packs(made: Manifest, extents: Sequence[Extent]) -> None:
    for extent in extents:
        if extent.pack is not None and extent.pack not in made.packs:
            made.packs.append(extent.pack)


def _write(backend: Backend, made: Manifest) -> Rewritten:
    """Write a manifest under a new id.

    Raises:
        CorruptionError: its files do not give its digest.
    """
    check(made)
    content, identity = made.identify()
    if str(identity) != made.digest:
        raise CorruptionError(f"the files of {made.digest} give the digest {identity}: it is not moved", digest=made.digest)
    one, raw = new_id(), encode(made, content, identity)
    backend.write(manifest_key(one), writable(raw))
    digest = str(Digest.of(raw, made.algorithm))
    fact = {"fact": "relocated", "digest": made.digest, "to": one, "manifest_digest": digest, "packs": list(made.packs)}
    return Rewritten(fact, len(raw))
