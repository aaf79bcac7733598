"""Chunks, codecs, packs, hooks, manifests, ranges: laws and golden values."""

import hashlib
import json
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.codecs.chunker import CHUNKERS, Cutter, choose_rule
from artifactstore.content.codecs.codec import RAW, ZSTD, Encoder, decode
from artifactstore.content.manifests import hooks
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.manifests.parquet import decode as read_manifest
from artifactstore.content.manifests.parquet import encode as write_manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.pack import TRAILER, OpenPack, read_records
from artifactstore.content.packs.reader import plan_ranges
from artifactstore.content.read.checkout import unsupported_names
from artifactstore.content.write import stat_cache
from artifactstore.content.write.source import Folder, Source, from_bytes, from_file
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.errors import CorruptionError, FormatError
from artifactstore.model.digest import Digest, hash_bytes
from artifactstore.runtime import file_stats
from artifactstore.testing.backends import CountingBackend
from tests.content.ingested import ingested


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that are the same on every machine and every Python: SHAKE-128."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def cut(data: bytes, rule: str = "bytes", bounds: tuple[int, ...] = ()) -> list[int]:
    return Cutter(CHUNKERS[rule], bounds).cut(memoryview(data), 0, last=True)


GOLDEN_CUTS = {
    "rows": [50015, 59943, 95773, 123856, 201607, 256877, 298588, 340610],
    "bytes": [61539, 101922, 123856, 201470, 236563, 314145, 404320, 437752],
    "tensors": [236563, 876415, 1000000],
}


@pytest.mark.parametrize("rule", ["rows", "bytes", "tensors"])
def test_cut_points_never_change(rule: str):
    assert cut(noise(1_000_000), rule)[:8] == GOLDEN_CUTS[rule]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 3_000_000),
    st.integers(0, 5),
    st.sampled_from(sorted(CHUNKERS)),
    st.lists(st.integers(1, 2_999_999), max_size=4),
)
def test_chunks_cover_the_content_within_their_limits(size: int, seed: int, rule: str, bounds: list[int]):
    data = noise(size, seed)
    inner = tuple(sorted({bound for bound in bounds if bound < size}))
    ends = cut(data, rule, inner)
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == size
    assert set(inner) <= set(ends)
    assert all(b - a <= CHUNKERS[rule][2] for a, b in zip([0, *ends], ends, strict=False))


@settings(max_examples=20, deadline=None)
@given(st.integers(4_000_000, 9_000_000), st.integers(0, 3), st.integers(1, 4_000_000))
def test_windows_do_not_move_cut_points(size: int, seed: int, bound: int):
    data = noise(size, seed)
    whole = cut(data, "tensors", (bound,))
    cutter, offset, ends = Cutter(CHUNKERS["tensors"], (bound,)), 0, []
    while offset < size:
        window = memoryview(data)[offset : offset + 2_500_000]
        found = cutter.cut(window, offset, last=offset + len(window) == size)
        ends += [offset + end for end in found]
        offset = ends[-1]
    assert ends == whole


def test_equal_bytes_are_cut_alike_from_disk_and_from_memory(tmp_path: Path):
    data = noise(9_000_000)
    (tmp_path / "f").write_bytes(data)
    both = []
    for source in (from_file(str(tmp_path / "f")), from_bytes("f", data)):
        done = ingested(
            MemoryBackend(f"memory://{tmp_path}-{source.disk}"),
            Folder([source]),
            algorithm="blake3",
            chunkers=CHUNKERS,
            known=KnownChunks(),
        )
        both.append((done.manifest.digests, done.manifest.chunks.digests))
    assert both[0] == both[1]


def safetensors(sizes: list[int]) -> bytes:
    header, at = {}, 0
    for i, size in enumerate(sizes):
        header[f"t{i}"] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + noise(at)


def test_safetensors_are_cut_at_tensor_bounds():
    data = safetensors([500_000, 700_000])
    rule, bounds = choose_rule(data[:4096], len(data), lambda at, size: data[at : at + size])
    assert rule == "tensors"
    assert bounds == (len(data) - 1_200_000, len(data) - 700_000)


@pytest.mark.parametrize(
    "header", [b"\xff" * 8 + b"{", struct.pack("<Q", 50) + b"{not json", struct.pack("<Q", 2) + b"{}", b"{" * 12]
)
def test_what_only_looks_like_safetensors_is_plain(header: bytes):
    data = header + b"\0" * 5000
    assert choose_rule(data[:4096], len(data), lambda at, size: data[at : at + size])[0] == "bytes"


@given(st.binary(max_size=5000), st.sampled_from([1, 50]))
def test_codecs_round_trip(data: bytes, times: int):
    data = data * times
    codec, stored = Encoder().encode(data)
    assert bytes(decode(codec, stored, len(data), "here")) == data
    assert len(stored) <= len(data)


def test_what_does_not_shrink_is_stored_raw_and_soon_no_longer_tried():
    encoder = Encoder()
    for i in range(40):
        assert encoder.encode(noise(10_000, i))[0] == RAW
    assert any(encoder.encode(b"a" * 10_000)[0] == ZSTD for _ in range(9))


def test_a_frame_that_lies_about_its_size_is_corruption():
    codec, stored = Encoder().encode(b"a" * 100_000)
    assert codec == ZSTD
    for size in (0, 1, 99_999, 100_001, 2**40):
        with pytest.raises(CorruptionError):
            decode(codec, stored, size, "here")
    with pytest.raises(CorruptionError):
        decode(RAW, b"abc", 4, "here")
    with pytest.raises(FormatError):
        decode(9, b"abc", 3, "here")


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=30), st.data())
def test_a_pack_reads_back_and_tells_damage_to_its_footer(chunks: list[bytes], data: st.DataObject):
    pack = OpenPack()
    for chunk in chunks:
        pack.add(hash_bytes(chunk, "blake3"), len(chunk), RAW, chunk)
    raw = b"".join(pack.seal())
    frames = read_records(raw, len(raw), "p")
    assert [raw[f.offset : f.offset + f.stored] for f in frames] == chunks
    footer = len(raw) - frames[-1].offset - frames[-1].stored
    at = data.draw(st.integers(1, footer))
    for wrong in (*range(1, TRAILER + 1), at):
        with pytest.raises((CorruptionError, LookupError)):
            read_records(raw[:-wrong] + bytes([raw[-wrong] ^ 1]) + raw[len(raw) - wrong + 1 :], len(raw), "p")
    with pytest.raises((CorruptionError, LookupError)):
        read_records(raw[:-at], len(raw) - at, "p")


@pytest.mark.slow
@pytest.mark.parametrize("cut", [(8, 9), (8, 108), (50, 60), (107, 108)])
def test_a_pack_whose_footer_is_sound_and_whose_frames_lack_bytes_is_damaged(cut: tuple[int, int]):
    pack = OpenPack()
    for seed in range(2):
        pack.add(hash_bytes(noise(50, seed), "blake3"), 50, RAW, noise(50, seed))
    whole = b"".join(pack.seal())
    assert [frame.offset for frame in read_records(whole, len(whole), "p")] == [8, 58]
    for raw in (whole[: cut[0]] + whole[cut[1] :], whole[: cut[0]] + whole[cut[0] : cut[1]] + whole[cut[0] :]):
        with pytest.raises(CorruptionError, match="does not match its length"):
            read_records(raw, len(raw), "p")


@pytest.mark.slow
def test_hooks_are_the_smallest_that_are_zero_modulo_64():
    digests = [hash_bytes(str(i).encode(), "blake3") for i in range(500_000)]
    chosen = bytes.fromhex(hooks.select(digests))
    expected = sorted(digest for digest in digests if int.from_bytes(digest, "big") % 64 == 0)[:4096]
    assert chosen == b"".join(digest[:8] for digest in expected)


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**6)), max_size=60))
def test_planned_ranges_cover_every_extent(extents: list[tuple[int, int]]):
    ranges = plan_ranges(extents)
    assert ranges == sorted(ranges)
    for offset, length in extents:
        assert any(start <= offset and offset + length <= start + size for start, size in ranges)


def manifest_of(paths: list[str], folders: list[str] = [], links: list[tuple[str, str]] = []) -> Manifest:  # noqa: B006
    manifest = Manifest("blake3", packs=["0" * 32])
    for n, path in enumerate(sorted(set(paths))):
        data = noise(10 + n, n)
        for part in [data] if n % 3 else [data[:4], data[4:]]:
            manifest.chunks.add(hash_bytes(part, "blake3"), len(part), pack=0, offset=n, stored=len(part), codec=RAW)
        manifest.close_file(path, len(data), hash_bytes(data, "blake3"), executable=bool(n % 2))
    manifest.folders, manifest.links = folders, links
    return manifest


@pytest.mark.slow
@given(st.lists(st.text("abcäÖ\n\\ .", min_size=1, max_size=8).filter(lambda p: p not in {".", ".."}), max_size=20))
def test_manifests_round_trip(paths: list[str]):
    manifest = manifest_of([f"{'d' if n % 2 else 'e'}/{path}" for n, path in enumerate(paths)], ["empty"], [("link", "d")])
    content, digest = manifest.identify()
    again = read_manifest(write_manifest(manifest, content, digest), "m", algorithm="blake3")
    assert again.identify() == (content, digest)
    assert (again.paths, again.digests, list(again.sizes), again.executable) == (
        manifest.paths,
        manifest.digests,
        list(manifest.sizes),
        manifest.executable,
    )
    assert [list(again.extents(row)) for row in range(len(again.paths))] == [
        list(manifest.extents(row)) for row in range(len(manifest.paths))
    ]


def test_a_manifest_row_is_small():
    manifest = Manifest("blake3", packs=["0" * 32])
    for n in range(20_000):
        digest = hash_bytes(n.to_bytes(4, "big"), "blake3")
        manifest.chunks.add(digest, 1000, pack=0, offset=n * 1000, stored=1000, codec=RAW)
        manifest.close_file(f"folder{n // 1000:04d}/file{n:08d}.bin", 1000, digest, executable=False)
    content, digest2 = manifest.identify()
    assert len(write_manifest(manifest, content, digest2)) / 20_000 < 42


def test_the_listing_is_what_the_format_says():
    manifest = manifest_of(["a", "b\\c", "d\ne"], ["empty"], [("l", "a")])
    manifest.modes = True
    content, digest = manifest.identify()
    lines = [f"{d.hex()}  {p}\n" for p, d in zip(["a"], manifest.digests[:1], strict=True)]
    lines += [f"\\{manifest.digests[1].hex()}  b\\\\c\n", f"\\{manifest.digests[2].hex()}  d\\ne\n"]
    plain = "".join(lines).encode()
    assert content == Digest.of(plain)
    extra = b'#["dir","empty"]\n#["link","l","a"]\n#["x","b\\\\c"]\n'
    assert digest == Digest.of(plain + extra)


def test_what_windows_can_not_hold_is_listed():
    names = ["ok.txt", "con", "a/NUL.txt", "b:c", "end.", "space ", "q?", "Ok.TXT"]
    assert unsupported_names(names, windows=True, ignores_case=False) == ["con", "a/NUL.txt", "b:c", "end.", "space ", "q?"]
    assert unsupported_names(names, windows=False, ignores_case=True) == ["Ok.TXT"]
    assert unsupported_names(names, windows=False, ignores_case=False) == []


def test_the_stat_cache_believes_only_what_was_old_when_it_was_hashed(tmp_path: Path):
    cache = StatCache(tmp_path / "cache", "blake3")
    file = tmp_path / "f"
    file.write_bytes(b"x")
    source = from_file(str(file))
    cache.store([(source, b"d" * 32, False)], hashed_at=source_time(file))
    assert cache.lookup(str(file), [source]) == [None]
    cache.store([(source, b"d" * 32, True)], hashed_at=source_time(file) + 10**10)
    assert cache.lookup(str(file), [source]) == [None]  # a process has it open for writing
    cache.store([(source, b"d" * 32, False)], hashed_at=source_time(file) + 10**10)
    proven = file_stats.file_system(str(file)) in {"ext2", "ext3", "ext4", "btrfs", "xfs", "f2fs"}
    assert cache.lookup(str(file), [source]) == [b"d" * 32 if proven else None]
    file.write_bytes(b"y")
    assert cache.lookup(str(file), [from_file(str(file))]) == [None]


def signature_of(device: int, inode: int, size: int, mtime: int, ctime: int) -> bytes:
    values = (0o100644, inode, device, 1, 0, 0, size, 0, 0, 0)
    return file_stats.signature(os.stat_result(values, {"st_mtime_ns": mtime, "st_ctime_ns": ctime}))


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not file_stats.timed(file_stats.file_system(str(tmp_path))):  # tests may run on a memory disk
        monkeypatch.setattr(stat_cache, "file_system", lambda *_: "ext4")


SECOND = 10**9
WHOLE, FINE = 1_700_000_000 * SECOND, 1_700_000_000 * SECOND + 123_456_789


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize(
    ("mtime", "ctime", "hashed_at", "believed"),
    [
        (FINE, FINE, FINE, False),
        (FINE, FINE, FINE + 10_000_000, False),  # a tick of Linux' coarse clock
        (FINE, FINE, FINE + 49_000_000, False),
        (FINE, FINE, FINE + 51_000_000, True),
        (FINE, FINE - 100 * SECOND, FINE + 10_000_000, False),  # either of both times may be the last change
        (FINE - 100 * SECOND, FINE, FINE + 10_000_000, False),
        (FINE - 100 * SECOND, FINE - 100 * SECOND, FINE, True),
        (FINE + 100 * SECOND, FINE, FINE + SECOND, False),  # a time ahead of the clock
        (FINE, FINE + 100 * SECOND, FINE + SECOND, False),
        (WHOLE, WHOLE, WHOLE + SECOND, False),  # whole seconds: the next change may have the same
        (WHOLE, WHOLE, WHOLE + 2 * SECOND - 1, False),
        (WHOLE, WHOLE, WHOLE + 3 * SECOND, True),
        (WHOLE, WHOLE - SECOND, WHOLE + SECOND, False),
    ],
)
def test_the_stat_cache_believes_no_file_that_may_change_again_in_the_same_tick(
    tmp_path: Path, mtime: int, ctime: int, hashed_at: int, *, believed: bool
):
    cache = StatCache(tmp_path / "cache", "blake3")
    stamp = signature_of(1, 2, 3, mtime, ctime)
    source = Source("f", 3, stamp, executable=False, base=str(tmp_path / "f"))
    cache.store([(source, b"d" * 32, False)], hashed_at=hashed_at)
    assert cache.lookup(str(tmp_path / "f"), [source]) == [b"d" * 32 if believed else None]


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize("column", range(5))
def test_the_stat_cache_compares_device_inode_size_and_both_times(tmp_path: Path, column: int):
    cache = StatCache(tmp_path / "cache", "blake3")
    values = [1, 2, 3, FINE, FINE]

    def source() -> Source:
        return Source("f", 3, signature_of(*values), executable=False, base=f"{tmp_path}/")

    cache.store([(source(), b"d" * 32, False)], hashed_at=FINE + SECOND)
    assert cache.lookup(str(tmp_path), [source()]) == [b"d" * 32]
    values[column] -= 1
    assert cache.lookup(str(tmp_path), [source()]) == [None]


@pytest.mark.usefixtures("on_disk")
def test_the_stat_cache_finds_files_by_their_own_path(tmp_path: Path):
    cache = StatCache(tmp_path / "cache", "blake3")
    stamp = signature_of(1, 2, 3, FINE, FINE)  # one for all: hard links have it so

    def sources(*names: str) -> list[Source]:
        return [Source(name, 3, stamp, executable=False, base=f"{tmp_path}/") for name in names]

    known = {name: name.encode().ljust(32) for name in ("a", "c", "d/e", "g")}
    cache.store(((one, known[one.path], False) for one in sources(*known)), hashed_at=FINE + SECOND)
    for names in (["a"], ["b"], ["a", "b"], ["b", "c"], ["a", "b", "c", "d/e", "d/f", "g", "h"], ["0", "d/f"], ["d/e", "g"]):
        assert cache.lookup(str(tmp_path), sources(*names)) == [known.get(name) for name in names]
    beside = Source("a", 3, stamp, executable=False, base=f"{tmp_path}-other/")
    assert cache.lookup(f"{tmp_path}-other", [beside, beside]) == [None, None]


def source_time(file: Path) -> int:
    st_ = file.stat()
    return max(st_.st_mtime_ns, st_.st_ctime_ns)


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100])
def test_a_broken_stat_cache_is_no_cache(tmp_path: Path, damage: bytes):
    (tmp_path / "stat-blake3.sqlite").write_bytes(damage)
    cache = StatCache(tmp_path, "blake3")
    file = tmp_path / "f"
    file.write_bytes(b"x")
    source = from_file(str(file))
    assert cache.lookup(str(file), [source]) == [None]
    cache.store([(source, b"d" * 32, False)], hashed_at=time.time_ns() + 10**12)


# Not `ru_maxrss`: a child inherits that of the process that started it.
PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_stays_bounded_while_much_goes_through(tmp_path: Path):
    """A gigabyte through a put and a get in a process of its own; its peak is read by the kernel."""
    import subprocess
    import sys

    script = """
import os, sys
import artifactstore, artifactstore.store, pyarrow.parquet, zstandard, pyfastcdc, pydantic
before = peak()
store = artifactstore.open(sys.argv[1] + "/store", cache=None)
store.put(sys.argv[1] + "/big", "big")
store.get("big", sys.argv[1] + "/back")
print(peak() - before)
"""
    block = os.urandom(2**20)
    with (tmp_path / "big").open("wb") as file:
        for i in range(1024):
            file.write(i.to_bytes(8, "big") + block[8:])
    done = subprocess.run([sys.executable, "-c", PEAK + script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500
    assert (tmp_path / "back/big").stat().st_size == 2**30


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_what_shrinks_to_nothing_comes_back_in_bounded_memory(tmp_path: Path):
    """A gigabyte of zeros is some kilobytes in the store; a get must not hold them at once."""
    import subprocess
    import sys

    script = """
import sys, artifactstore
store = artifactstore.open(sys.argv[1] + "/store", cache=None)
store.put(sys.argv[1] + "/zeros", "zeros")
store.get("zeros", sys.argv[1] + "/back")
print(peak())
"""
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(2**30)
    done = subprocess.run([sys.executable, "-c", PEAK + script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500
    assert (tmp_path / "back/zeros").stat().st_size == 2**30


def test_chunks_that_repeat_are_stored_once(tmp_path: Path):
    backend = CountingBackend(LocalBackend(str(tmp_path / "s")))
    data = noise(3_000_000)
    folder = Folder([from_bytes(name, data) for name in ("a", "b", "c")])
    done = ingested(backend, folder, algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks())
    assert done.uploaded < 3_100_000
    assert done.new == 3_000_000
