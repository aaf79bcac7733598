"""Sparse files: holes are not read, come back as holes, and change no digest and no chunk."""

import hashlib
import json
import os
import random
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import artifactstore
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.manifests.parquet import encode
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.writer import EncodedChunk, Packer
from artifactstore.content.read.retrieve import retrieve
from artifactstore.content.read.selection import disk_size
from artifactstore.content.write import read_ahead
from artifactstore.content.write.ingested import Ingested
from artifactstore.content.write.source import Folder, Source, from_bytes, from_file
from tests.content.ingested import ingested

MIB = 2**20
SIZE = 26 * MIB + 4097
LARGE = {"rows": (MIB, 2 * MIB, 4 * MIB), "bytes": (MIB, 2 * MIB, 4 * MIB), "tensors": (256, 512, 1024)}
LAYOUTS = {  # where a file of SIZE bytes has data: (offset, length)
    "nothing": [],
    "at the begin": [(0, 5_000_000)],
    "at the end": [(SIZE - 3, 3)],
    "in the middle": [(12 * MIB, 70_000)],
    "holes at both ends": [(9 * MIB + 1, 8 * MIB)],
    "a hole between": [(0, 6 * MIB), (20 * MIB, SIZE - 20 * MIB)],
    "holes that begin and end anywhere": [(1_234_567, 1), (12_345_678, 999_999), (26_999_999, 12)],
    "many small holes": [(at, 4096) for at in range(0, SIZE - 4096, 64 * 1024)],
    "holes of the least size": [(at * (8 * MIB + 4096), 4096) for at in range(4)],
}

pytestmark = pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="this system lists no holes")


def make(path: Path, layout: str, seed: int = 1) -> bytes:
    """Write a file that is a hole but for its data; returns what it holds."""
    dice, whole = random.Random(seed), bytearray(SIZE)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for offset, length in LAYOUTS[layout]:
            data = dice.randbytes(length)
            file.seek(offset)
            file.write(data)
            whole[offset : offset + length] = data
    return bytes(whole)


def stored(source: Source, name: str, chunkers: dict[str, tuple[int, int, int]]) -> Ingested:
    place = MemoryBackend(f"memory://{name}")
    return ingested(place, Folder([source]), algorithm="blake3", chunkers=chunkers, known=KnownChunks(), sha256=True)


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "chunkers"),
    [
        *((layout, dict(CHUNKERS)) for layout in LAYOUTS),
        ("holes of the least size", LARGE),
        ("holes that begin and end anywhere", LARGE),
    ],
)
def test_a_sparse_file_has_the_digest_and_the_chunks_of_a_dense_one(
    layout: str, chunkers: dict[str, tuple[int, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = make(tmp_path / "f", layout)
    read, real = list[int](), read_ahead._read_blocks

    def counted(fill: Any, source: Source, length: int, *rest: Any) -> Any:
        read.append(length)
        return real(fill, source, length, *rest)

    monkeypatch.setattr(read_ahead, "_read_blocks", counted)
    sparse = stored(from_file(str(tmp_path / "f")), f"{tmp_path}-sparse", chunkers)
    dense = stored(from_bytes("f", data), f"{tmp_path}-dense", chunkers)
    assert sparse.manifest.digests == dense.manifest.digests == [blake3(data).digest()]
    assert sparse.sha256 == {"f": hashlib.sha256(data).digest()}
    assert list(sparse.manifest.chunks.digests) == list(dense.manifest.chunks.digests)
    assert sparse.manifest.chunks.sizes == dense.manifest.chunks.sizes
    assert sparse.new == dense.new
    if chunkers is not LARGE and layout != "many small holes":
        holes = len(LAYOUTS[layout]) + 1
        assert sum(read) <= sum(length for _, length in LAYOUTS[layout]) + holes * 6 * CHUNKERS["bytes"][2]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_zeros_come_back_as_holes(layout: str, tmp_path: Path):
    data = make(tmp_path / "f", layout)
    if layout == "in the middle":
        (tmp_path / "f").write_bytes(data)  # from a source that has no holes, too
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    store.put(tmp_path / "f", "f")
    placed = Path(store.get("f", to=tmp_path / "back"))
    for back in (placed if placed.is_file() else placed / "f", Path(store.get("f"))):
        assert back.read_bytes() == data
        if layout != "many small holes":
            most = sum(length + 2 * CHUNKERS["bytes"][2] for _, length in LAYOUTS[layout])
            assert on_disk(back) <= most


@pytest.mark.parametrize(("size", "hole"), [(4095, False), (4096, True), (70_000, True), (3 * MIB, True), (12 * MIB, True)])
def test_files_of_zeros_of_any_size_come_back_whole(size: int, hole: object, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for name, data in {"a": bytes(size), "b": bytes(size) + b"end", "c": b"begin" + bytes(size)}.items():
        (source / name).write_bytes(data)
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(source, "zeros")
    back = Path(store.get("zeros", to=tmp_path / "back"))
    assert all((back / name).read_bytes() == (source / name).read_bytes() for name in "abc")
    assert (on_disk(back / "a") == 0) is hole


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_cache_makes_room_for_what_a_file_takes_and_not_for_its_holes(tmp_path: Path, layout: str):
    make(tmp_path / "f", layout)
    place = MemoryBackend(f"memory://room-{layout}")
    source = from_file(str(tmp_path / "f"))
    made = ingested(place, Folder([source]), algorithm="blake3", chunkers=dict(CHUNKERS), known=KnownChunks())
    retrieve(place, made.manifest, array("q", [0]), lambda _: str(tmp_path / "got"))
    room = disk_size(made.manifest, [0])
    assert on_disk(tmp_path / "got") - 8192 <= room <= on_disk(tmp_path / "got") + 64 * 1024


def test_what_shrinks_much_and_is_not_zeros_takes_room(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"\1" * 10 * MIB)
    made = stored(from_file(str(tmp_path / "f")), "room-ones", dict(CHUNKERS))
    assert disk_size(made.manifest, [0]) == 10 * MIB


class Damaging(LocalBackend):
    """Gives other bytes than are there, so many times."""

    times = 0
    reads = 0

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        found = super().read_ranges(key, ranges)
        self.reads += 1
        if not self.times:
            return found
        self.times -= 1
        return [bytes(255 - byte for byte in one) for one in found]


def test_zeros_that_were_damaged_on_their_way_are_zeros_in_the_end(tmp_path: Path):
    """What was written before the damage was seen does not show through the holes; zeros that come well are read once."""
    place, dice = Damaging(tmp_path), random.Random(3)
    packer = Packer(place, Manifest("blake3"), KnownChunks())
    pieces = [dice.randbytes(2**18) for _ in range(20)] + [bytes(2**18)] * 20
    for data in pieces:
        packer.add_chunk(EncodedChunk(blake3(data).digest(), len(data), RAW, data))
    packer.finish()
    packer.wait()
    packer.close()
    whole = b"".join(pieces)
    packer.manifest.close_file("f", len(whole), blake3(whole).digest(), executable=False)
    retrieve(place, packer.manifest, array("q", [0]), lambda _: str(tmp_path / "well"))
    once = place.reads
    place.reads, place.times = 0, once
    retrieve(place, packer.manifest, array("q", [0]), lambda _: str(tmp_path / "mended"))
    assert place.reads == 2 * once
    for path in (tmp_path / "well", tmp_path / "mended"):
        assert path.read_bytes() == whole
        assert on_disk(path) <= 20 * 2**18


def test_tensors_that_begin_in_a_hole_are_cut_as_ever(tmp_path: Path):
    at = [0, 9 * MIB + 5, 9 * MIB + 77, SIZE]
    tensors = {str(i): {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for i, (a, b) in enumerate(pairwise(at))}
    header = json.dumps(tensors).encode().ljust(3 * MIB)  # no tensor begins in the first chunks
    with (tmp_path / "f").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + SIZE)
    both = [
        stored(source, f"{tmp_path}-{source.data is None}", dict(CHUNKERS)).manifest
        for source in (from_file(str(tmp_path / "f")), from_bytes("f", (tmp_path / "f").read_bytes()))
    ]
    assert both[0].digests == both[1].digests
    assert both[0].chunks.sizes == both[1].chunks.sizes


def test_a_file_system_that_lists_no_holes_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = make(tmp_path / "f", "at the begin")

    def seek(fd: int, offset: int, whence: int) -> int:
        if whence in {os.SEEK_DATA, os.SEEK_HOLE}:
            raise OSError(22, "Invalid argument")
        return real(fd, offset, whence)

    real = os.lseek
    monkeypatch.setattr(os, "lseek", seek)
    assert stored(from_file(str(tmp_path / "f")), str(tmp_path), dict(CHUNKERS)).manifest.digests == [blake3(data).digest()]


@pytest.mark.slow
def test_the_manifest_of_many_equal_chunks_is_small(tmp_path: Path):
    with (tmp_path / "f").open("wb") as file:
        file.truncate(2**29)
    done = stored(from_file(str(tmp_path / "f")), str(tmp_path), dict(CHUNKERS))
    assert len(done.manifest.chunks) == 2**29 // CHUNKERS["bytes"][2]
    assert len(encode(done.manifest, *done.manifest.identify())) < 4 * len(done.manifest.chunks)
