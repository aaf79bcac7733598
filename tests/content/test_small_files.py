"""Small files are handled by the calling thread, which is faster than several that take turns, unless something waits."""

import os
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifactstore.backend.base import Backend
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.read import retrieve as retrieve_module
from artifactstore.content.read.retrieve import retrieve
from artifactstore.content.read.written_chunks import runs_of
from artifactstore.content.write import ingest as ingest_module
from artifactstore.content.write.ingest import ingest
from artifactstore.content.write.scan import scan
from artifactstore.content.write.source import Folder, from_remote
from artifactstore.runtime import threads
from artifactstore.testing.latency import LatencyBackend

COUNT = 600
HERE = {threading.main_thread().name}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    for i in range(COUNT):
        (made / f"{i:03d}").write_bytes(os.urandom(1500))
    return made


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return threads_of(monkeypatch, ingest_module, "read_unchanged")


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return threads_of(monkeypatch, retrieve_module, "write_chunks")


def threads_of(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> set[str]:
    """Collect the threads that call a function."""
    found: set[str] = set()
    real: Callable[..., Any] = getattr(module, name)

    def call(*args: Any) -> Any:
        found.add(threading.current_thread().name)
        return real(*args)

    monkeypatch.setattr(module, name, call)
    return found


def put(backend: Backend, files: Folder) -> Manifest:
    with ingest(backend, files, algorithm="blake3", chunkers=CHUNKERS, known=KnownChunks()) as done:
        return done.manifest


def get(backend: Backend, manifest: Manifest, target: Path, rows: range = range(COUNT)) -> None:
    target.mkdir()
    retrieve(backend, manifest, array("q", rows), lambda at: str(target / manifest.paths[rows[at]]))
    for row in rows:
        assert (target / manifest.paths[row]).read_bytes() == (target.parent / "data" / manifest.paths[row]).read_bytes()


def test_the_calling_thread_reads_and_writes_small_files(
    folder: Path, tmp_path: Path, readers: set[str], writers: set[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(threads, "WAITING", 1e9)  # a busy machine makes each file wait
    backend = LocalBackend(tmp_path / "store")
    manifest = put(backend, scan(str(folder), keep=lambda *_: True))
    get(backend, manifest, tmp_path / "got")
    get(backend, manifest, tmp_path / "some", range(0, COUNT, 7))
    assert (readers, writers) == (HERE, HERE)


def test_workers_do_so_where_each_file_takes_long(
    folder: Path, readers: set[str], writers: set[str], monkeypatch: pytest.MonkeyPatch
):
    tmp_path = folder.parent
    monkeypatch.setattr(threads, "WAITING", -1.0)
    backend = LocalBackend(tmp_path / "store")
    get(backend, put(backend, scan(str(folder), keep=lambda *_: True)), tmp_path / "got")
    assert readers
    assert writers
    assert not (readers | writers) & HERE


def test_workers_do_so_from_the_batch_on_that_shows_it(folder: Path, tmp_path: Path, readers: set[str], monkeypatch: Any):
    monkeypatch.setattr(threads, "WAITING", 1e-12)  # more than nothing, and less than any file waits
    put(LocalBackend(tmp_path / "store"), scan(str(folder), keep=lambda *_: True))
    assert readers > HERE


def test_workers_do_so_where_a_store_is_far(folder: Path, tmp_path: Path, readers: set[str], writers: set[str]):
    backend = LatencyBackend(MemoryBackend("small"), 0.0)
    assert backend.is_remote
    get(backend, put(backend, scan(str(folder), keep=lambda *_: True)), tmp_path / "got")
    assert readers
    assert writers
    assert not (readers | writers) & HERE


class Remote:
    """Files that are elsewhere."""

    def read(self, offset: int, size: int) -> bytes:
        return bytes(size)

    def fill(self, view: memoryview, offset: int) -> None:
        view[:] = bytes(len(view))

    def check(self) -> None:
        pass


def test_workers_read_small_files_that_are_far(tmp_path: Path, readers: set[str]):
    files = Folder([from_remote(f"{i:03d}", "memory://x", 1500, Remote()) for i in range(COUNT)])
    put(LocalBackend(tmp_path / "store"), files)
    assert readers
    assert not readers & HERE


def test_large_files_between_small_ones_keep_their_order(folder: Path, tmp_path: Path, readers: set[str]):
    for i in (0, 300, 599):
        (folder / f"{i:03d}").write_bytes(os.urandom(5 * 2**20))
    backend = LocalBackend(tmp_path / "store")
    manifest = put(backend, scan(str(folder), keep=lambda *_: True))
    assert list(manifest.paths) == [f"{i:03d}" for i in range(COUNT)]
    get(backend, manifest, tmp_path / "got")


def test_ranges_of_rows():
    assert runs_of([3]) == [(3, 4)]
    assert runs_of([3, 4, 5]) == [(3, 6)]
    assert runs_of(array("q", [0, 2, 3, 7])) == [(0, 1), (2, 4), (7, 8)]


def test_extents_of_a_range_are_those_of_each_chunk(folder: Path, tmp_path: Path):
    (folder / "large").write_bytes(bytes(2**20) + os.urandom(2**20))
    manifest = put(LocalBackend(tmp_path / "store"), scan(str(folder), keep=lambda *_: True))
    count = len(manifest.chunks)
    assert manifest.extent_range(0, count) == [manifest.extent(i) for i in range(count)]
    assert manifest.extent_range(5, 5) == []
    manifest.chunks.inline[1], manifest.chunks.packs[1] = b"inside", -1
    assert manifest.extent_range(0, 3) == [manifest.extent(i) for i in range(3)]
    assert (manifest.extent_range(1, 2)[0].pack, manifest.extent_range(1, 2)[0].data) == (None, b"inside")


def test_a_pause_sends_few_files_to_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "WAITING", 60e-6)
    small = threads.SmallFiles()
    assert small.are_quick(100, 100 * threads.SMALL)
    assert not small.are_quick(100, 100 * threads.SMALL + 1)
    small._waited = 200e-6
    assert [small.are_quick(1, 1) for _ in range(4)] == [False, False, True, True]
    small.measure(1000, lambda: None)
    assert small.are_quick(1, 1)
    assert small.measure(1, lambda: threading.Event().wait(0.01)) is False
    assert not small.are_quick(1, 1)
