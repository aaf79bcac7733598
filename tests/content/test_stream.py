"""Files in a stream: what comes is what was put, in order, or an error."""

from array import array

import numpy as np
import pytest

from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.read.stream import stream
from artifactstore.content.write.source import Folder, from_bytes
from artifactstore.errors import CorruptionError
from artifactstore.testing.latency import LatencyBackend
from tests.content.ingested import ingested
from tests.content.test_getting import DATA, damage, stored


def files(backend: MemoryBackend | LatencyBackend, manifest: Manifest, rows: list[int]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    parts: list[bytes | memoryview] = []
    for piece in stream(backend, manifest, array("q", rows)):
        parts += piece.chunks
        if piece.last:
            found.append((piece.row, b"".join(parts)))
            parts = []
    assert not parts
    return found


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
@pytest.mark.parametrize("remote", [False, True])
def test_files_come_in_order_large_small_and_empty(algorithm: str, *, remote: bool):
    rng = np.random.default_rng(5)
    sizes = [0, 1, 30_000_000, 0, 70_000, 5_000_000, 17]
    contents = {f"{number}.bin": rng.bytes(size) for number, size in enumerate(sizes)} | {"z.txt": b"ab" * 3_000_000, "zz": b""}
    backend: MemoryBackend | LatencyBackend = MemoryBackend(f"memory://stream-{algorithm}-{remote}")
    folder = Folder([from_bytes(name, data) for name, data in contents.items()])
    manifest = ingested(backend, folder, algorithm=algorithm, chunkers=CHUNKERS, known=KnownChunks()).manifest
    if remote:
        backend = LatencyBackend(backend, latency=0.0)
    paths = list(manifest.paths)
    assert files(backend, manifest, list(range(len(paths)))) == [(row, contents[path]) for row, path in enumerate(paths)]
    assert files(backend, manifest, [1, 2]) == [(1, contents[paths[1]]), (2, contents[paths[2]])]
    assert files(backend, manifest, []) == []


@pytest.mark.parametrize("harm", ["bytes", "order", "digest"])
def test_damage_is_an_error_and_not_an_end(harm: str):
    backend = MemoryBackend(f"memory://stream-{harm}")
    manifest = stored(backend)
    assert files(backend, manifest, [0]) == [(0, DATA)]
    damage(backend, manifest, harm)
    with pytest.raises(CorruptionError, match="f"):
        files(backend, manifest, [0])


def test_a_stream_that_is_left_stops_its_workers():
    backend = MemoryBackend("memory://stream-left")
    pieces = stream(backend, stored(backend), array("q", [0]))
    assert next(pieces).row == 0
    pieces.close()
    backend.delete(pack_key("0" * 32))
