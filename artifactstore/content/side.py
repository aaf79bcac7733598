"""Side content: what is known of an artifact beside its files, such as a table's profile. It is no part of the identity.

The manifest's metadata name it and say where its chunks lie; it is stored as the chunks of files are.
"""

from collections.abc import Mapping
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.codec import Encoder
from artifactstore.content.fetch import fetch
from artifactstore.content.known import Known
from artifactstore.content.manifest import Manifest
from artifactstore.content.packer import Packer, Piece
from artifactstore.model.digest import hash_bytes

__all__ = ["read_side", "store_side"]

_CHUNK: Final = 2**20


def store_side(backend: Backend, manifest: Manifest, contents: Mapping[str, bytes]) -> int:
    """Store side content for a manifest that is not written yet; its packs are durable when this returns.

    Args:
        backend: where to.
        manifest: gets the content's places, and its packs among its own.
        contents: name → bytes.

    Returns:
        Bytes of packs written.

    Raises:
        BackendError: a pack could not be written.
    """
    if not contents:
        return 0
    scratch, encoder = Manifest(manifest.algorithm), Encoder()
    packer = Packer(backend, scratch, Known())
    ends: dict[str, int] = {}
    try:
        for name, data in contents.items():
            for start in range(0, len(data), _CHUNK):
                chunk = memoryview(data)[start : start + _CHUNK]
                packer.place(Piece(hash_bytes(chunk, manifest.algorithm), len(chunk), *encoder.encode(chunk)))
            ends[name] = len(scratch.chunks)
        packer.finish()
    finally:
        packer.close()
    start = 0
    for name, end in ends.items():
        manifest.side[name] = [scratch.extent(i) for i in range(start, end)]
        start = end
    manifest.packs += [pack for pack in scratch.packs if pack not in manifest.packs]
    return packer.uploaded


def read_side(backend: Backend, manifest: Manifest, name: str) -> bytes | None:
    """Return side content of a manifest, each chunk checked; None where there is none of that name.

    Raises:
        MissingPackError: a pack is not there.
        CorruptionError: a chunk does not match its digest.
    """
    extents = manifest.side.get(name)
    return None if extents is None else b"".join(fetch(backend, extents, algorithm=manifest.algorithm))
