"""Byte-grouped chunks: any bytes come back, weights shrink, what gains nothing is left alone, damage is told."""

import contextlib
import os
import secrets
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import artifactstore
from artifactstore import CorruptionError, FormatError
from artifactstore.content.codecs.byte_grouping import Grouper, join
from artifactstore.content.codecs.codec import GROUPED_2, GROUPED_4, RAW, ZSTD, Encoder, decode
from tests.warm import command


def weights(dtype: str, count: int = 200_000) -> bytes:
    numbers = (np.random.default_rng(0).standard_normal(count) * 0.02).astype("f4")
    if dtype == "bf16":
        return (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return numbers.astype(dtype).tobytes()


@pytest.mark.parametrize(
    ("dtype", "codec", "most"), [("bf16", GROUPED_2, 0.70), ("f2", GROUPED_2, 0.86), ("f4", GROUPED_4, 0.85)]
)
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_weights_shrink_wherever_a_chunk_begins(dtype: str, codec: int, most: float, shift: int):
    data = weights(dtype)[shift:]
    found, stored = Encoder().encode(data)
    assert found == codec
    assert len(stored) < most * len(data)
    assert bytes(decode(found, stored, len(data), "a pack")) == data


@pytest.mark.parametrize(
    "data",
    [b"line of text 1234\n" * 20_000, bytes(300_000), np.arange(60_000, dtype="i8").tobytes(), b"\0\1" * 100_000],
    ids=["text", "zeros", "counts", "pattern"],
)
def test_what_zstd_does_better_alone_it_does_alone(data: bytes):
    assert Encoder().encode(data)[0] == ZSTD


def test_what_saves_a_tenth_lies_as_it_is_where_bytes_cost_no_time_to_move():
    rng = np.random.default_rng(0)
    near, far = Encoder(local=True), Encoder()
    eight = rng.standard_normal(60_000).tobytes()
    for _ in range(40):
        assert near.encode(eight) == (RAW, eight)
        assert far.encode(eight)[0] == GROUPED_4
    for dtype, codec in (("bf16", GROUPED_2), ("f2", GROUPED_2), ("f4", GROUPED_4)):
        assert Encoder(local=True).encode(weights(dtype))[0] == codec
    # Another kind of content is found soon, though not every chunk is looked at.
    assert ZSTD in [near.encode(bytes(400_000))[0] for _ in range(8)]


def test_a_short_run_of_wide_numbers_hides_nothing_behind_it():
    encoder = Encoder(local=True)
    chunks = [np.random.default_rng(0).standard_normal(60_000).tobytes(), weights("f4"), bytes(400_000)] * 3
    assert [encoder.encode(chunk)[0] for chunk in chunks] == [RAW, GROUPED_4, ZSTD] * 3


def test_noise_costs_nothing():
    data = secrets.token_bytes(2**18)
    assert Encoder().encode(data) == (RAW, data)


def test_a_choice_is_dropped_when_the_next_chunk_is_of_another_kind():
    encoder = Encoder()
    chunks = [weights("bf16"), bytes(400_000), weights("f4"), b"text and more\n" * 30_000, weights("bf16")[1:]] * 3
    stored = [encoder.encode(chunk) for chunk in chunks]
    for chunk, (codec, data) in zip(chunks, stored, strict=True):
        assert bytes(decode(codec, data, len(chunk), "x")) == chunk
        assert len(data) <= min(len(Encoder().encode(chunk)[1]) + len(chunk) // 50, len(chunk))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([2, 4]), st.integers(0, 15))
def test_any_bytes_of_any_length_come_back(data: bytes, width: int, packed: int):
    stored = Grouper().group(memoryview(data), width, [bool(packed >> i & 1) for i in range(width)])
    made = np.empty(len(data), np.uint8)
    join(stored, width, made, "x", zstandard.ZstdDecompressor())
    assert made.tobytes() == data


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([2, 4]), st.integers(0, 10_000))
def test_damaged_forms_are_told_and_make_no_more_than_they_may(stored: bytes, width: int, size: int):
    said = size
    with contextlib.suppress(CorruptionError):
        said = len(decode({2: GROUPED_2, 4: GROUPED_4}[width], stored, size, "x"))
    assert said == size


def test_every_cut_and_every_flipped_length_is_told():
    data = weights("bf16", 5000)
    stored = Grouper().group(memoryview(data), 2, [False, True])
    for end in (0, 1, 7, 8, 9, len(stored) // 2, len(stored) - 1):
        with pytest.raises(CorruptionError):
            decode(GROUPED_2, stored[:end], len(data), "x")
    for at in range(8):
        bad = bytearray(stored)
        bad[at] ^= 0x81
        with pytest.raises(CorruptionError):
            decode(GROUPED_2, bytes(bad), len(data), "x")
    for size in (0, len(data) - 1, len(data) + 1, len(data) + 2):
        with pytest.raises(CorruptionError):
            decode(GROUPED_2, stored, size, "x")


def test_a_plane_that_would_become_a_bomb_is_refused_before_it_is_made():
    bomb = zstandard.ZstdCompressor().compress(bytes(2**28))
    stored = struct.pack("<2I", len(bomb) | 1 << 31, 0) + bomb
    with pytest.raises(CorruptionError):
        decode(GROUPED_2, stored, 1000, "x")


def test_forms_of_the_first_version_are_read_for_ever():
    assert bytes(decode(GROUPED_2, struct.pack("<2I", 3, 2) + b"ace" + b"bd", 5, "x")) == b"abcde"
    packed = bytes.fromhex("28b52ffd20404500001041410100930016")  # 64 times "A"
    stored = struct.pack("<4I", 64, len(packed) | 1 << 31, 64, 63) + b"0" * 64 + packed + b"2" * 64 + b"3" * 63
    assert bytes(decode(GROUPED_4, stored, 255, "x")) == (b"0A23" * 64)[:255]


def test_a_codec_of_the_future_is_named():
    with pytest.raises(FormatError, match="codec 7"):
        decode(7, b"", 0, "x")


def test_a_store_of_weights_is_smaller_and_whole(tmp_path):
    store = artifactstore.open(tmp_path / "store", cache=None)
    (tmp_path / "w.bin").write_bytes(b"\0" + weights("bf16", 3_000_000))
    store.put(tmp_path / "w.bin", "w")
    packs = sum(path.stat().st_size for path in (tmp_path / "store/packs").rglob("*.pack"))
    assert packs < 0.70 * 6_000_000
    store.get("w", tmp_path / "to")
    assert (tmp_path / "to/w.bin").read_bytes() == (tmp_path / "w.bin").read_bytes()
    assert store.verify(level="full").ok


@pytest.mark.slow
def test_the_command_that_keeps_numpy_out_lets_it_in_for_weights(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" + weights("bf16", 3_000_000))
    env = {**os.environ, "ARTIFACTSTORE_URL": str(tmp_path / "store"), "ARTIFACTSTORE_CACHE": str(tmp_path / "cache")}
    for arguments in (["put", "w.bin", "w"], ["get", "w", "to"], ["verify", "--level", "full"]):
        done = command(*arguments, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "to/w.bin").read_bytes() == (tmp_path / "w.bin").read_bytes()
