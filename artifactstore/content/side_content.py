"""Side content: metadata about an artifact's files, such as a table's profile, that is not part of its identity.

The manifest's metadata list it with the extents of its chunks; it is stored like the chunks of files.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.codec import Encoder
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.reader import fetch
from artifactstore.content.packs.writer import EncodedChunk, Packer
from artifactstore.model.digest import hash_bytes
from artifactstore.model.listing import plain_line

__all__ = ["parse_sha256", "read_side", "store_side"]

_CHUNK: Final = 2**20
_HEX: Final = frozenset("0123456789abcdef")


def store_side(backend: Backend, manifest: Manifest, contents: Iterable[tuple[str, bytes]]) -> int:
    """Store side content for a manifest that is not written yet; its packs are durable when this returns.

    Args:
        backend: target of the packs.
        manifest: gets the content's extents, and its packs.
        contents: name and bytes of each; may be an iterator, of which each item is released as soon as possible.

    Returns:
        Bytes of packs written.

    Raises:
        BackendError: a pack could not be written.
    """
    contents = iter(contents)
    first = next(contents, None)
    if first is None:
        return 0
    scratch, encoder = Manifest(manifest.algorithm), Encoder()
    packer = Packer(backend, scratch, KnownChunks())
    ends: dict[str, int] = {}
    try:
        for name, data in chain((first,), contents):
            for start in range(0, len(data), _CHUNK):
                chunk = memoryview(data)[start : start + _CHUNK]
                packer.add_chunk(EncodedChunk(hash_bytes(chunk, manifest.algorithm), len(chunk), *encoder.encode(chunk)))
            ends[name] = len(scratch.chunks)
        packer.finish()
        packer.wait()
    finally:
        packer.close()
    start = 0
    for name, end in ends.items():
        manifest.side[name] = [scratch.extent(i) for i in range(start, end)]
        start = end
    manifest.packs += [pack for pack in scratch.packs if pack not in manifest.packs]
    return packer.uploaded


def read_side(backend: Backend, manifest: Manifest, name: str) -> bytes | None:
    """Return side content of a manifest, each chunk verified; None if there is none of that name.

    Raises:
        MissingPackError: a pack is missing.
        CorruptionError: a chunk does not match its digest.
    """
    extents = manifest.side.get(name)
    return None if extents is None else b"".join(fetch(backend, extents, algorithm=manifest.algorithm))


def parse_sha256(raw: bytes, paths: Sequence[str]) -> list[str] | None:
    """Return the hex digits that the side content `sha256` states for each file; None if it is not about these files.

    Args:
        raw: the side content: lines of the plain listing with SHA-256 digests.
        paths: the files of the manifest, in order.
    """
    hexes = [line.removeprefix("\\")[:64] for line in raw.decode(errors="replace").split("\n")[:-1]]
    if len(hexes) != len(paths) or not all(len(one) == 64 and _HEX.issuperset(one) for one in hexes):
        return None
    same = "".join(plain_line(one, path) for one, path in zip(hexes, paths, strict=True)).encode() == raw
    return hexes if same else None
