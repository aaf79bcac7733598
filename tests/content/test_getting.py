"""Getting files whole: by whatever way, near or far, nothing is given whose digest does not match."""

from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.codecs.codec import DELTAS, RAW, Encoder, is_delta
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.read import retrieve as retrieve_module
from artifactstore.content.read import whole_file as whole_module
from artifactstore.content.read.retrieve import read_file, retrieve
from artifactstore.content.read.whole_file import read_buffer, use_buffer
from artifactstore.content.side_content import read_side, store_side
from artifactstore.content.transfer import transfer
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import hash_bytes
from artifactstore.model.encoding import new_id
from artifactstore.testing.latency import LatencyBackend

PARTS = [np.random.default_rng(seed).bytes(100_000) for seed in range(4)]
DATA = b"".join(PARTS)


def stored(backend: Backend) -> Manifest:
    """One file of four chunks, raw in a pack."""
    manifest = Manifest("blake3", packs=[new_id()])
    backend.write(pack_key(manifest.packs[0]), DATA)
    for number, part in enumerate(PARTS):
        manifest.chunks.add(hash_bytes(part, "blake3"), len(part), 0, number * len(part), len(part), RAW)
    manifest.close_file("f", len(DATA), hash_bytes(DATA, "blake3"), executable=False)
    return manifest


def damage(backend: Backend, manifest: Manifest, harm: str) -> None:
    if harm == "bytes":
        backend.write(pack_key(manifest.packs[0]), DATA[:150_000] + b"\0\0\0\0" + DATA[150_004:])
    elif harm == "order":  # each chunk is what its digest says
        chunks = manifest.chunks
        chunks.digests[1], chunks.digests[2] = chunks.digests[2], chunks.digests[1]
        chunks.offsets[1], chunks.offsets[2] = chunks.offsets[2], chunks.offsets[1]
    elif harm == "digest":
        manifest.digests[0] = hash_bytes(b"another", "blake3")


def to_disk(backend: Backend, manifest: Manifest, folder: Path) -> bytes:
    retrieve(backend, manifest, array("q", [0]), lambda _: str(folder / "f"))
    return (folder / "f").read_bytes()


WAYS: dict[str, Callable[[Backend, Manifest, Path], bytes]] = {
    "to disk": to_disk,
    "at once": lambda backend, manifest, _: read_file(backend, manifest, 0),
    "as memory": lambda backend, manifest, _: bytes(read_buffer(backend, manifest, 0)),
    "while it is used": lambda backend, manifest, _: use_buffer(backend, manifest, 0, bytes),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("harm", ["none", "bytes", "order", "digest"])
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_a_file_is_given_only_if_it_has_its_digest(
    way: str, harm: str, *, far: bool, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if large:  # it comes in parts
        for name in ("LOCAL_GROUP", "REMOTE_GROUP", "REMOTE_PART"):
            monkeypatch.setattr(retrieve_module, name, 120_000)
        monkeypatch.setattr(whole_module, "LOCAL_GROUP", 120_000)
        monkeypatch.setattr(whole_module, "REMOTE_PART", 120_000)
        monkeypatch.setattr(whole_module, "_SINGLE_THREAD_MAX", 1000)
    backend: Backend = MemoryBackend(f"memory://{new_id()}")
    backend = LatencyBackend(backend, 0, 1e12) if far else backend
    manifest = stored(backend)
    damage(backend, manifest, harm)
    if harm == "none":
        assert WAYS[way](backend, manifest, tmp_path) == DATA
        return
    with pytest.raises(CorruptionError, match=r"packs/|^f") as caught:
        WAYS[way](backend, manifest, tmp_path)
    assert caught.value.digest


def test_what_is_known_beside_the_files_is_checked():
    backend = MemoryBackend(f"memory://{new_id()}")
    manifest = stored(backend)
    store_side(backend, manifest, [("profile", DATA[::-1])])
    assert read_side(backend, manifest, "profile") == DATA[::-1]
    (pack,) = {str(one.pack) for one in manifest.side["profile"]}
    raw = bytearray(backend.read(pack_key(pack)))
    raw[200_000] ^= 1
    backend.write(pack_key(pack), bytes(raw))
    with pytest.raises(CorruptionError, match=pack):
        read_side(backend, manifest, "profile")


@pytest.mark.parametrize("known", [0, 1, 3])
def test_what_is_brought_is_checked_also_where_a_part_of_its_file_is_there(known: int):
    """Where some chunks are not read, the file can't be hashed on the way."""
    source, target = (MemoryBackend(f"memory://{new_id()}") for _ in range(2))
    manifest = stored(source)
    index = KnownChunks()
    if known:
        there = Manifest("blake3", packs=[new_id()])
        target.write(pack_key(there.packs[0]), DATA)
        for number in [*range(4)][:1] if known == 1 else (0, 2, 3):
            part = PARTS[number]
            there.chunks.add(hash_bytes(part, "blake3"), len(part), 0, number * len(part), len(part), RAW)
        there.close_file("g", sum(there.chunks.sizes), hash_bytes(b"g", "blake3"), executable=False)
        index.add(there)
    made = transfer(source, manifest, target, index).manifest
    assert read_file(target, made, 0) == DATA
    damage(source, manifest, "bytes")
    again = KnownChunks()
    if known:
        again.add(there)
    with pytest.raises(CorruptionError, match="packs/"):
        transfer(source, manifest, target, again)


@pytest.mark.parametrize("there", ["nothing", "the base", "a delta of the base", "the base in the manifest"])
def test_a_delta_is_brought_on_a_base_in_a_pack_that_is_no_delta_or_as_it_is(there: str):
    source, target = (MemoryBackend(f"memory://{new_id()}") for _ in range(2))
    old, older = PARTS[0], PARTS[1]
    new = bytes(byte ^ 1 for byte in old)
    encoder = Encoder()
    delta = encoder.delta(memoryview(new), memoryview(old), 4, 0)
    manifest = Manifest("blake3", packs=[new_id(), new_id()])
    source.write(pack_key(manifest.packs[0]), delta)
    source.write(pack_key(manifest.packs[1]), old)
    base = Extent(hash_bytes(old, "blake3"), len(old), manifest.packs[1], 0, len(old), RAW)
    manifest.chunks.add(hash_bytes(new, "blake3"), len(new), 0, 0, len(delta), DELTAS[4])
    manifest.chunks.bases[0] = base
    manifest.close_file("f", len(new), hash_bytes(new, "blake3"), executable=False)
    index = KnownChunks()
    if there != "nothing":
        other = Manifest("blake3", packs=[new_id(), new_id()])
        if there == "the base":
            target.write(pack_key(other.packs[0]), old)
            other.chunks.add(base.digest, len(old), 0, 0, len(old), RAW)
        elif there == "the base in the manifest":
            other.chunks.add(base.digest, len(old), -1, 0, len(old), RAW)
            other.chunks.inline[0] = old
        else:
            step = encoder.delta(memoryview(old), memoryview(older), 4, 0)
            target.write(pack_key(other.packs[0]), step)
            target.write(pack_key(other.packs[1]), older)
            other.chunks.add(base.digest, len(old), 0, 0, len(step), DELTAS[4])
            other.chunks.bases[0] = Extent(hash_bytes(older, "blake3"), len(older), other.packs[1], 0, len(older), RAW)
        other.close_file("g", len(old), base.digest, executable=False)
        index.add(other)
    made = transfer(source, manifest, target, index).manifest
    assert is_delta(made.chunks.codecs[0]) is (there == "the base")
    assert all(one.base is None and one.pack in made.packs for one in made.chunks.bases.values())
    assert read_file(target, made, 0) == new
