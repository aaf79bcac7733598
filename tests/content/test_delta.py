"""Deltas: any bytes come back, small steps take little, damage and lies about bases are told."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore import CorruptionError
from artifactstore.content.codecs.byte_grouping import Grouper
from artifactstore.content.codecs.codec import DELTAS, RAW, Encoder, decode
from artifactstore.content.codecs.delta import apply_delta, make_delta
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.manifests.parquet import decode as decode_manifest
from artifactstore.content.manifests.parquet import encode as encode_manifest
from artifactstore.content.packs.pack import OpenPack, read_records
from artifactstore.content.packs.upload_ledger import UploadLedger, unfinished_uploads

PACK, OLDER = "0" * 32, "1" * 32


def bits(numbers: np.ndarray, dtype: str) -> bytes:
    """Floats as a file holds them; bf16 rounded as PyTorch does."""
    if dtype != "bf16":
        return numbers.astype(dtype).tobytes()
    whole = numbers.astype("f4").view(np.uint32)
    return ((whole + (whole >> 16 & 1) + 0x7FFF) >> 16).astype(np.uint16).tobytes()


def step(dtype: str, size: float, count: int = 1_000_000) -> tuple[bytes, bytes]:
    random = np.random.default_rng(0)
    numbers = random.standard_normal(count) * 0.02
    return bits(numbers, dtype), bits(numbers + random.standard_normal(count) * size, dtype)


@pytest.mark.parametrize(
    ("dtype", "size", "most"),
    [
        ("bf16", 1e-5, 0.14),
        ("bf16", 1e-4, 0.26),
        ("bf16", 1e-3, 0.47),
        ("f4", 1e-5, 0.60),
        ("f4", 1e-4, 0.68),
        ("f4", 1e-3, 0.80),
    ],
)
def test_a_step_of_training_takes_no_more_than_promised(dtype: str, size: float, most: float):
    old, new = step(dtype, size)
    width, total = 2 if dtype == "bf16" else 4, 0
    for at in range(0, len(new), 2**18):
        base, data = (memoryview(one)[at : at + 2**18] for one in (old, new))
        stored = Encoder().delta(data, base, width, 0)
        assert bytes(decode(DELTAS[width], stored, len(data), "x", base)) == data
        total += len(stored)
    assert total <= most * len(new)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([2, 4, 8]), st.integers(0, 7), st.randoms(use_true_random=False))
def test_any_bytes_come_back_from_any_base(data: bytes, width: int, lead: int, random):
    lead = min(lead % width, len(data))
    base = random.randbytes(len(data))
    stored = make_delta(memoryview(data), memoryview(base), width, lead, Grouper())
    assert bytes(apply_delta(stored, base, width, "x", zstandard.ZstdDecompressor())) == data


def test_equal_chunks_differ_by_next_to_nothing():
    data = memoryview(step("f4", 0.0, 60_000)[0])
    assert len(Encoder().delta(data, data, 4, 0)) < 200


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=100), st.sampled_from(list(DELTAS.values())), st.binary(max_size=40))
def test_damaged_deltas_are_told(stored: bytes, codec: int, base: bytes):
    with contextlib.suppress(CorruptionError):
        assert len(decode(codec, stored, len(base), "x", base)) == len(base)


def test_every_cut_is_told_and_so_is_a_base_of_another_size():
    old, new = step("f4", 1e-4, 5000)
    stored = Encoder().delta(memoryview(new), memoryview(old), 4, 0)
    for end in (0, 1, 8, 17, 18, len(stored) - 1):
        with pytest.raises(CorruptionError):
            decode(DELTAS[4], stored[:end], len(new), "x", old)
    for base in (None, old[:-1], old + b"x"):
        with pytest.raises(CorruptionError, match="base chunk of its size"):
            decode(DELTAS[4], stored, len(new), "x", base)
    for lead in (4, 255):
        with pytest.raises(CorruptionError):
            decode(DELTAS[4], bytes([lead]) + stored[1:], len(new), "x", old)


def test_the_form_of_the_first_version_is_read_for_ever():
    # One byte before the first number, differences 1 and -1 (zig-zag 2 and 1) in planes as they are, one byte behind.
    stored = b"\x01" + struct.pack("<2I", 2, 2) + b"\x02\x01" + b"\0\0" + b"az"
    base = b"." + struct.pack("<2H", 1000, 0) + b"."
    assert bytes(decode(4, stored, 6, "x", base)) == b"a" + struct.pack("<2H", 1001, 65535) + b"z"
    stored = b"\0" + struct.pack("<4I", 1, 1, 1, 1) + b"\x03\0\0\0"
    assert bytes(decode(5, stored, 4, "x", struct.pack("<I", 1))) == struct.pack("<i", -1)
    stored = b"\0" + struct.pack("<8I", *[1] * 8) + b"\x04" + bytes(7)
    assert bytes(decode(6, stored, 8, "x", bytes(8))) == struct.pack("<Q", 2)


BASE = Extent(b"b" * 32, 1000, OLDER, 8, 900, RAW)


def manifest(base: Extent | None = BASE, *, codec: int = DELTAS[4], packs: tuple[str, ...] = (PACK, OLDER)) -> Manifest:
    made = Manifest("blake3", packs=list(packs))
    made.chunks.add(b"a" * 32, 10, 0, 8, 10, RAW)
    if base is not None:
        made.chunks.bases[1] = base
    made.chunks.add(b"c" * 32, 1000, 0, 18, 100, codec)
    made.close_file("file", 1010, b"f" * 32, executable=False)
    made.deltas["file"] = (3, 12_345)
    return made


def written(made: Manifest) -> bytes:
    return encode_manifest(made, *made.identify())


def test_a_manifest_keeps_bases_and_counts():
    back = decode_manifest(written(manifest()), "m", algorithm="blake3")
    assert [back.extent(i).base for i in range(2)] == [None, BASE]
    assert back.deltas == {"file": (3, 12_345)}
    assert back.identify() == manifest().identify()


@pytest.mark.parametrize(
    "made",
    [
        manifest(None),
        manifest(codec=RAW),
        manifest(Extent(b"b" * 32, 999, OLDER, 8, 900, RAW)),
        manifest(Extent(b"b" * 32, 1000, OLDER, 8, 900, DELTAS[2])),
        manifest(Extent(b"b" * 32, 1000, OLDER, -1, 900, RAW)),
        manifest(Extent(b"b" * 32, 1000, OLDER, 8, 2**30, RAW)),
    ],
    ids=["without", "of a raw chunk", "other size", "itself a delta", "before the pack", "too long"],
)
def test_a_manifest_that_lies_about_bases_is_refused(made: Manifest):
    with pytest.raises(CorruptionError, match=r"chunk 1|a delta without a base"):
        decode_manifest(written(made), "m", algorithm="blake3")


def test_a_pack_alone_tells_what_its_deltas_refer_to():
    pack = OpenPack()
    pack.add(b"a" * 32, 3, RAW, b"abc")
    pack.add(b"c" * 32, 1000, DELTAS[2], b"xy", BASE)
    pack.add(b"d" * 32, 1, RAW, b"z")
    extents = pack.extents()
    raw = b"".join(pack.seal())
    frames = read_records(raw, len(raw), "p")
    assert [(frame.codec, frame.base) for frame in frames] == [(RAW, None), (DELTAS[2], BASE.digest), (RAW, None)]
    assert [(one.offset, one.stored, one.base) for one in extents] == [
        (frame.offset, frame.stored, BASE if frame.base else None) for frame in frames
    ]


def test_a_ledger_knows_deltas_as_long_as_their_bases_are_there(tmp_path: Path):
    pack = OpenPack()
    pack.add(b"c" * 32, 1000, DELTAS[2], b"xy", BASE)
    pack.add(b"d" * 32, 1, RAW, b"z")
    ledger = UploadLedger(tmp_path)
    ledger.record(pack.id, pack.extents)
    ledger.close(committed=False)
    asked: list[str] = []

    def alive(packs: list[str]) -> set[str]:
        asked.extend(packs)
        return set(packs)

    found, _ = unfinished_uploads(tmp_path, "blake3", alive)
    assert [found.extent(i) for i in range(2)] == pack.extents()
    assert asked == [pack.id, OLDER]
    found, _ = unfinished_uploads(tmp_path, "blake3", lambda packs: {pack.id})
    assert [found.extent(i) for i in range(len(found.chunks))] == pack.extents()[1:]


DAMAGED = [
    b"[]",
    b"1",
    b"{}",
    b'{"pack": "%s"}' % (b"0" * 32),
    b'{"pack": 7, "chunks": []}',
    b'{"pack": "../../x", "chunks": []}',
    b'{"pack": "%s", "chunks": [[]]}' % (b"0" * 32),
    b'{"pack": "%s", "chunks": [["zz", 1, 2, 3, 0]]}' % (b"0" * 32),
    b'{"pack": "%s", "chunks": [["%s", "1", 2, 3, 0]]}' % (b"0" * 32, b"0" * 64),
    b'{"pack": "%s", "chunks": [["%s", -1, 2, 3, 0]]}' % (b"0" * 32, b"0" * 64),
    b'{"pack": "%s", "chunks": [["%s", 1, 2, 3, 0, "%s", "%s"]]}' % (b"0" * 32, b"0" * 64, b"0" * 64, b"x"),
    b'{"pack": "%s", "chunks": [["%s", %s, 2, 3, 0]]}' % (b"0" * 32, b"0" * 64, b"9" * 30),
    b"\xff\xfe",
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_of_a_ledger_is_passed_over(tmp_path: Path, line: bytes):
    good = b'{"pack": "%s", "chunks": [["%s", 1, 2, 3, 0]]}' % (b"1" * 32, b"1" * 64)
    (tmp_path / "x.jsonl").write_bytes(line + b"\n" + good + b"\n")
    found, used = unfinished_uploads(tmp_path, "blake3", lambda packs: {*packs})
    assert (found.packs, len(found.chunks), len(used)) == (["1" * 32], 1, 1)
