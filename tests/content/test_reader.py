"""Reading parts of a file: whatever door they come through, each chunk is what its digest says."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.content.codecs.codec import DELTAS, RAW, Encoder
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.read.open_file import open_chunks, read_ranges
from artifactstore.content.read.retrieve import read_file
from artifactstore.content.write.source import Folder, from_bytes
from artifactstore.errors import CorruptionError
from artifactstore.model.digest import hash_bytes
from artifactstore.model.encoding import new_id
from tests.content.ingested import ingested

SIZE = 400_000


def noise(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


def text(size: int) -> bytes:
    return b"".join(b"%d,%d\n" % (i, i * i) for i in range(size // 8))[:size]


def stored(data: bytes) -> tuple[MemoryBackend, Manifest]:
    backend = MemoryBackend(f"memory://{new_id()}")
    folder = Folder([from_bytes("f", data)])
    return backend, ingested(backend, folder, algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks()).manifest


def by_ranges(backend: MemoryBackend, manifest: Manifest, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    return [bytes(part) for part in read_ranges(backend, manifest, 0, ranges)]


def by_seeking(backend: MemoryBackend, manifest: Manifest, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    found = []
    for offset, size in ranges:
        with open_chunks(backend, manifest, 0) as file:
            file.seek(offset)
            found.append(file.read(size))
    return found


def by_reading_on(backend: MemoryBackend, manifest: Manifest, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    with open_chunks(backend, manifest, 0) as file:
        whole = b"".join(iter(lambda: file.read(70_000), b""))
    return [whole[offset : offset + size] for offset, size in ranges]


DOORS = [by_ranges, by_seeking, by_reading_on]


def replace_frame(backend: MemoryBackend, extent: Extent, frame: bytes) -> None:
    assert len(frame) == extent.stored
    key = pack_key(str(extent.pack))
    pack = bytearray(backend.read(key))
    pack[extent.offset : extent.offset + extent.stored] = frame
    backend.write(key, bytes(pack))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", [noise, text])
def test_a_part_that_lies_in_a_changed_chunk_is_refused_and_others_are_given(
    door: Callable[..., list[bytes]], make: Callable[[int], bytes]
):
    data = make(SIZE)
    backend, manifest = stored(data)
    extents = list(manifest.extents(0))
    assert len(extents) > 3
    begins = np.cumsum([0, *(one.size for one in extents)]).tolist()
    wanted = [(begin + 10, 100) for begin in begins[:-1]]
    assert door(backend, manifest, wanted) == [data[begin : begin + size] for begin, size in wanted]
    changed = 2
    # A sound frame of as many bytes, of other content: only the chunk's digest can tell.
    if extents[changed].codec == RAW:
        replace_frame(backend, extents[changed], bytes(extents[changed].stored))
    else:
        frame = bytearray(backend.read(pack_key(str(extents[changed].pack))))[extents[changed].offset :][
            : extents[changed].stored
        ]
        replace_frame(backend, extents[changed], _other_literals(bytes(frame), extents[changed]))
    with pytest.raises(CorruptionError, match=r"packs/"):
        door(backend, manifest, [wanted[changed]])
    if door is not by_reading_on:
        assert door(backend, manifest, [wanted[0]]) == [data[10:110]]


def _other_literals(frame: bytes, extent: Extent) -> bytes:
    """Change a compressed frame so that it still decodes to as many bytes, and to others."""
    import zstandard

    good = zstandard.ZstdDecompressor().decompress(frame, max_output_size=extent.size)
    for at in range(len(frame) - 1, 8, -1):
        tried = bytearray(frame)
        tried[at] ^= 1
        try:
            made = zstandard.ZstdDecompressor().decompress(bytes(tried), max_output_size=extent.size)
        except zstandard.ZstdError:
            continue
        if len(made) == extent.size and made != good:
            return bytes(tried)
    raise AssertionError("every change of this frame is seen by zstd")


@pytest.mark.parametrize("door", [*DOORS, lambda backend, manifest, _: [read_file(backend, manifest, 0)]])
@pytest.mark.parametrize("what", ["the delta", "its base"])
def test_a_delta_is_refused_where_it_or_its_base_is_changed(door: Callable[..., list[bytes]], what: str):
    old, new = noise(80_000), bytes(byte ^ 1 for byte in noise(80_000))
    backend = MemoryBackend(f"memory://{new_id()}")
    base = Extent(hash_bytes(old, "blake3"), len(old), new_id(), 0, len(old), RAW)
    delta = Encoder().delta(memoryview(new), memoryview(old), 4, 0)
    pack = new_id()
    backend.write(pack_key(str(base.pack)), old)
    backend.write(pack_key(pack), delta)
    manifest = Manifest("blake3", packs=[pack, str(base.pack)])
    manifest.chunks.add(hash_bytes(new, "blake3"), len(new), 0, 0, len(delta), DELTAS[4])
    manifest.chunks.bases[0] = base
    manifest.close_file("f", len(new), hash_bytes(new, "blake3"), executable=False)
    assert door(backend, manifest, [(0, len(new))]) == [new]
    if what == "its base":
        backend.write(pack_key(str(base.pack)), old[:100] + b"\0\0\0\0" + old[104:])
    else:
        backend.write(pack_key(pack), delta[:-1] + bytes([delta[-1] ^ 1]))
    with pytest.raises(CorruptionError, match=r"packs/"):
        door(backend, manifest, [(0, len(new))])
