"""The extents of a manifest in packs, as columns of numbers."""

from typing import Any

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.runtime.loading import numpy

__all__ = ["extents_of"]


def extents_of(manifest: Manifest, packs: dict[str, int]) -> Any:
    """Return each extent in packs once: rows of the pack's number, the offset and the stored length.

    Args:
        manifest: the manifest.
        packs: pack → number; new ones are added.
    """
    np = numpy()
    chunks = manifest.chunks
    numbers = np.array([packs.setdefault(pack, len(packs)) for pack in manifest.packs] or [0], dtype=np.int64)
    own = np.frombuffer(chunks.packs, dtype=np.int32) if len(chunks) else np.empty(0, np.int32)
    inside = own >= 0
    columns = [
        np.frombuffer(one, dtype=np.int64)[inside] if len(chunks) else np.empty(0, np.int64)
        for one in (chunks.offsets, chunks.stored)
    ]
    others = [(packs[str(one.pack)], one.offset, one.stored) for one in manifest.other_extents()]
    more = np.array(others, dtype=np.int64).reshape(-1, 3)
    rows = np.concatenate([np.stack([numbers[own[inside]], *columns], axis=1), more])
    return np.unique(rows, axis=0)
