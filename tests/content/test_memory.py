"""What lies in memory: blocks that are used again, arrays that change while they are stored, what can't be there already."""

import gc
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import artifactstore
from artifactstore import CorruptionError
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.content.manifests.hooks import HookIndex, select
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.read import whole_file
from artifactstore.content.write import memory_source
from artifactstore.content.write.memory_source import definitely_new, digest_in_memory, from_parts
from artifactstore.content.write.read_ahead import BufferPool
from artifactstore.content.write.source import Folder, from_bytes, from_file
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend
from tests.content.ingested import ingested


def test_a_block_is_lent_again_only_when_nobody_looks_at_it():
    blocks = BufferPool()
    first = blocks.lend(1000)
    first[:5] = b"first"
    part = first[:5]
    del first
    gc.collect()
    second = blocks.lend(1000)
    second[:5] = b"other"
    assert bytes(part) == b"first"
    del part
    third = blocks.lend(10)
    third[:] = b"0123456789"
    assert (len(third), bytes(second[:5])) == (10, b"other")
    del second, third
    assert len(blocks.lend(2000)) == 2000  # none that is there is long enough


def test_blocks_that_many_threads_hold_never_meet():
    blocks = BufferPool()

    def work(number: int) -> None:
        for _ in range(300):
            block = blocks.lend(5000)
            block[:] = bytes([number]) * 5000
            parts = [block[:100], block[4900:]]
            del block
            seen.append(all(part == bytes([number]) * 100 for part in parts))

    seen: list[bool] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2400
    assert all(seen)


def test_an_array_that_changes_while_it_is_stored_is_one_thing_or_the_other(tmp_path: Path):
    array = np.random.default_rng(0).random(3_000_000)
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            array[:] = np.roll(array, 1)

    source = from_parts("a", [b"head", memoryview(array.view("u1").data)])
    backend = LocalBackend(tmp_path)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        done = ingested(backend, Folder([source]), algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks())
    finally:
        ended.set()
        thread.join()
    from artifactstore.content.read.retrieve import read_file

    assert len(read_file(backend, done.manifest, 0)) == source.size  # all its digests agree with each other


@pytest.mark.slow
@pytest.mark.parametrize("little", [False, True])
def test_what_has_an_unknown_hook_is_new(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, little: bool):
    if not little:
        monkeypatch.setattr(memory_source, "_HOOK_SEARCH_MIN", 2**20)
    data = np.random.default_rng(0).bytes(24_000_000)
    source, parts = from_bytes("a", data), from_parts("a", [b"", data[:100], data[100:]])
    done = ingested(LocalBackend(tmp_path), Folder([source]), algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks())
    full, empty = HookIndex(), HookIndex()
    full.update({"blake3:00": select(done.manifest.chunks.digests)})
    for one in (source, parts):
        assert definitely_new(one, CHUNKERS, "blake3", empty) is not little
        assert not definitely_new(one, CHUNKERS, "blake3", full)
        assert digest_in_memory(one, "blake3") == done.manifest.digests[0]
    assert not definitely_new(from_bytes("a", bytes(24_000_000)), CHUNKERS, "blake3", empty)  # has none
    path = tmp_path / "file"
    path.write_bytes(data)
    assert not definitely_new(from_file(str(path)), CHUNKERS, "blake3", empty)


def test_large_content_that_another_name_holds_is_not_written_again(monkeypatch: pytest.MonkeyPatch, store: Store):
    monkeypatch.setattr(memory_source, "_HOOK_SEARCH_MIN", 2**20)
    array = np.random.default_rng(0).random(3_000_000)
    first = store.put(array, "one")
    second = store.put(array.copy(), "other")
    assert (first.new, second.new, second.uploaded) == (True, True, 0)
    assert first.digest == second.digest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=None)


def test_what_lies_as_it_is_is_read_in_a_few_long_ranges(tmp_path: Path):
    backend = CountingBackend(LocalBackend(tmp_path))
    data = np.random.default_rng(0).bytes(20_000_000)
    done = ingested(backend, Folder([from_bytes("a", data)]), algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks())
    backend.reset()
    assert whole_file.read_buffer(backend, done.manifest, 0) == data
    assert backend.counts["read_ranges"] <= 6


class FlippingBackend(Wrapper):
    """Changes one byte of the first range that is read."""

    flipped = False

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        found = super().read_ranges(key, ranges)
        if not self.flipped:
            self.flipped = True
            found[0] = bytes([found[0][0] ^ 1]) + found[0][1:]
        return found


def test_what_is_made_of_bytes_is_given_out_only_where_these_are_right(tmp_path: Path):
    backend = LocalBackend(tmp_path)
    data = np.random.default_rng(0).bytes(5_000_000)
    done = ingested(backend, Folder([from_bytes("a", data)]), algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks())
    seen: list[bytes] = []

    def decode(view: memoryview) -> int:
        seen.append(bytes(view))
        return len(view)

    def fail(view: memoryview) -> int:
        seen.append(bytes(view))
        raise EOFError

    def fail_once(view: memoryview) -> int:
        return decode(view) if seen else fail(view)

    assert whole_file.use_buffer(backend, done.manifest, 0, decode) == 5_000_000
    assert seen == [data]
    seen.clear()
    with pytest.raises(EOFError):  # its bytes are right, so it is what it says
        whole_file.use_buffer(backend, done.manifest, 0, fail)
    assert seen == [data]

    # On its way a byte changes once: what was made of it does not count, be it a value or an error.
    for use in (decode, fail_once):
        seen.clear()
        assert whole_file.use_buffer(FlippingBackend(backend), done.manifest, 0, use) == 5_000_000
        assert (seen[0] == data, seen[1:]) == (False, [data])

    # And in the place itself.
    (pack,) = (one for one in (tmp_path / "packs").rglob("*") if one.is_file())
    raw = bytearray(pack.read_bytes())
    raw[2_000_000] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(raw)
    for use in (decode, fail):
        with pytest.raises(CorruptionError, match="is damaged"):
            whole_file.use_buffer(backend, done.manifest, 0, use)
