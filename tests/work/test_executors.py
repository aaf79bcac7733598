"""Puts and gets by the workers of an executor: the same artifact as by one, whatever becomes of the workers."""

import json
import os
import pickle
import random
import shutil
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import fsspec
import pytest

import artifactstore
from artifactstore import BackendError, ConflictError, InvalidInputError
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.store import Store
from artifactstore.work.get import distribute as get_distribute
from artifactstore.work.put import distribute as put_distribute
from artifactstore.work.session.session import Session

RANDOM = random.Random(7)


class Inline(Executor):
    """Works at once, in the calling thread; counts, and may fail."""

    def __init__(self, before: Callable[[int], None] = lambda _: None, after: Callable[[int], None] = lambda _: None) -> None:
        self.tasks: list[Any] = []
        self.before = before
        self.after = after

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert not kwargs
        work, (task,) = fn, args
        task = pickle.loads(pickle.dumps(task))
        self.tasks.append(task)
        future: Future[Any] = Future()
        try:
            self.before(len(self.tasks))
            done = work(task)
            self.after(len(self.tasks))
            future.set_result(pickle.loads(pickle.dumps(done)))
        except Exception as error:  # noqa: BLE001 - handed to the caller
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _fine_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks, and files cut by several, from small content."""
    for module in (put_distribute, get_distribute):
        monkeypatch.setattr(module, "SPLIT", 700_000)
        monkeypatch.setattr(module, "PART", 300_000)
        monkeypatch.setattr(module, "_LEAST", 20_000)


@pytest.fixture
def stores(tmp_path: Path) -> Callable[[], Store]:
    """Return a function that makes a store which other processes see."""
    return lambda: artifactstore.create(str(tmp_path / f"store-{uuid.uuid4().hex[:8]}"))


def _files(folder: Path) -> None:
    for k in range(60):
        (folder / f"{k:03}.bin").write_bytes(RANDOM.randbytes(RANDOM.randint(0, 5000)))


def _mixed(folder: Path) -> None:
    _files(folder)
    (folder / "none").write_bytes(b"")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "with space.txt").write_text("text\n" * 3000)
    (folder / "void").mkdir()
    (folder / "link").symlink_to("deep/er")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "twice").write_bytes((folder / "001.bin").read_bytes())


def _large_random(folder: Path) -> None:
    (folder / "large").write_bytes(RANDOM.randbytes(1_500_000))


def _large_text(folder: Path) -> None:
    (folder / "rows.csv").write_text("".join(f"{RANDOM.randint(0, 9999)},row {k}\n" for k in range(90_000)))


def _large_zeros(folder: Path) -> None:
    (folder / "zeros").write_bytes(b"\1" + bytes(1_400_000))


def _periodic(folder: Path) -> None:
    (folder / "again").write_bytes(RANDOM.randbytes(3000) * 400)


def _sparse(folder: Path) -> None:
    with (folder / "holes").open("wb") as file:
        file.write(b"begin")
        file.seek(9_000_000)
        file.write(RANDOM.randbytes(100_000))
        file.truncate(18_000_000)


def _tensors(folder: Path) -> None:
    sizes, at, header = [300_001, 5, 700_003, 64], 0, {}
    for k, size in enumerate(sizes):
        header[f"t{k}"] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + RANDOM.randbytes(at))


def _just_over(folder: Path) -> None:
    (folder / "over").write_bytes(RANDOM.randbytes(700_001))


def _empty(folder: Path) -> None:
    (folder / "void").mkdir()


SOURCES = [_files, _mixed, _large_random, _large_text, _large_zeros, _periodic, _sparse, _tensors, _just_over, _empty]


def _chunks(store: Store, digest: str) -> Any:
    def of(manifest: Manifest) -> Any:
        return [*map(bytes, manifest.chunks.digests)], list(manifest.chunks.sizes), list(manifest.first), list(manifest.paths)

    return store._session.with_manifest(digest, of)


@pytest.mark.parametrize(
    ("make", "kind"),
    [*((make, "data") for make in SOURCES), *((make, kind) for make in (_mixed, _large_random) for kind in ("model", "code"))],
)
def test_an_artifact_is_the_same_by_one_and_by_several(
    stores: Callable[[], Store], tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    make(source)
    alone, together = stores(), stores()
    executor = Inline()
    one = alone.put(source, "x", kind=kind)
    other = together.put(source, "x", kind=kind, executor=executor)
    assert (one.digest, one.size, one.files) == (other.digest, other.size, other.files)
    assert _chunks(alone, one.digest) == _chunks(together, other.digest)
    assert one.sha256 == other.sha256
    assert bool(executor.tasks) is (make is not _empty)
    together.get("x", tmp_path / "by several", executor=executor)
    together.get("x", tmp_path / "by one")
    for name in ("by several", "by one"):
        assert _tree(tmp_path / name) == _tree(source)


def _tree(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        key = path.relative_to(folder).as_posix()
        found[key] = (
            str(path.readlink())
            if path.is_symlink()
            else None
            if path.is_dir()
            else (path.read_bytes(), path.stat().st_mode & 0o100)
        )
    return found


def test_real_threads_and_processes(stores: Callable[[], Store], tmp_path: Path, processes: Executor) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for make in (_mixed, _large_random, _tensors):
        make(source)
    expected = stores().put(source, "x").digest
    with ThreadPoolExecutor(3) as threads:
        for executor in (threads, processes):
            store = stores()
            assert store.put(source, "x", executor=executor).digest == expected
            target = tmp_path / f"got {type(executor).__name__}"
            assert store.get("x", target, executor=executor) == target
            assert _tree(target) == _tree(source)


def test_only_what_is_new_is_stored(stores: Callable[[], Store], tmp_path: Path) -> None:
    source, store, executor = tmp_path / "source", stores(), Inline()
    source.mkdir()
    _files(source)
    _large_random(source)
    first = store.put(source, "x", executor=executor)
    assert not store.put(source, "x", executor=executor, rehash=True).new
    (source / "new").write_bytes(RANDOM.randbytes(30_000))
    raw = (source / "large").read_bytes()
    (source / "large").write_bytes(raw[:700_000] + b"edited" + raw[700_000:])
    second = store.put(source, "x", executor=executor)
    assert first.uploaded > 1_500_000
    assert 30_000 < second.uploaded < 900_000
    plain = stores()
    assert plain.put(source, "x").digest == second.digest


@pytest.mark.parametrize("source", [b"bytes", {"a": [1, 2]}, "text"])
def test_what_is_in_memory_stays_with_the_caller(stores: Callable[[], Store], source: Any) -> None:
    executor, store = Inline(), stores()
    options: Any = {"format": "text"} if isinstance(source, str) else {}
    made = store.put(source, "x", executor=executor, **options)
    assert made.digest == stores().put(source, "x", **options).digest
    assert executor.tasks == []


def test_single_files_and_urls(stores: Callable[[], Store], tmp_path: Path) -> None:
    _large_text(tmp_path)
    executor, path = Inline(), tmp_path / "rows.csv"
    one = stores().put(path, "x", executor=executor)
    assert one.digest == stores().put(path, "x").digest
    assert executor.tasks
    url = f"memory://{uuid.uuid4().hex}"
    with fsspec.open(f"{url}/rows.csv", "wb") as file:
        file.write(path.read_bytes())
    executor = Inline()
    assert stores().put(f"{url}/rows.csv", "x", executor=executor).digest == one.digest
    assert executor.tasks
    assert stores().put(f"{url}/", "x", executor=executor).digest == one.digest


@pytest.mark.parametrize("wrong", [5, "threads", object(), ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(stores: Callable[[], Store], tmp_path: Path, wrong: Any) -> None:
    store = stores()
    (tmp_path / "file").write_bytes(b"1")
    if wrong is ThreadPoolExecutor:
        wrong = type("Odd", (), {"submit": 5})()
    with pytest.raises(InvalidInputError, match="executor"):
        store.put(tmp_path / "file", "x", executor=wrong)
    store.put(tmp_path / "file", "x")
    with pytest.raises(InvalidInputError, match="executor"):
        store.get("x", tmp_path / "got", executor=wrong)
    with pytest.raises(InvalidInputError, match="to="):
        store.get("x", executor=Inline())


def _exit() -> None:
    os._exit(1)


def _closed() -> Executor:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    return pool


@pytest.mark.parametrize("way", ["closed", "killed", "always lost"])
def test_a_broken_executor_commits_nothing_and_is_the_cause(stores: Callable[[], Store], tmp_path: Path, way: str) -> None:
    source, store = tmp_path / "source", stores()
    source.mkdir()
    _files(source)
    store.put(source, "there")
    (source / "more").write_bytes(b"more")

    def lose(_count: int) -> None:
        raise ConnectionResetError("worker 3 is gone")

    makers: dict[str, tuple[Callable[[], Executor], type[BaseException]]] = {
        "closed": (_closed, RuntimeError),
        "killed": (lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_exit), BrokenExecutor),
        "always lost": (lambda: Inline(after=lose), ConnectionResetError),
    }
    make, cause = makers[way]
    before = store.head
    executor = make()
    with pytest.raises(BackendError, match="executor") as caught:
        store.put(source, "x", executor=executor)
    assert isinstance(caught.value.__cause__, cause)
    assert store.head == before
    with pytest.raises(BackendError, match="executor") as caught:
        store.get("there", tmp_path / "got", executor=executor)
    assert isinstance(caught.value.__cause__, cause)
    assert not (tmp_path / "got").exists()
    executor.shutdown()


def test_a_task_of_a_lost_worker_is_done_again(stores: Callable[[], Store], tmp_path: Path) -> None:
    """Its worker is lost when all is stored, and before its answer comes: its packs are nobody's."""
    source, store = tmp_path / "source", stores()
    source.mkdir()
    _mixed(source)
    _large_random(source)

    def lose(count: int) -> None:
        if count % 3 == 0:
            raise ConnectionResetError("worker 3 is gone")

    executor = Inline(after=lose)
    made = store.put(source, "x", executor=executor)
    assert made.digest == stores().put(source, "x").digest
    executor = Inline(after=lose)
    store.get("x", tmp_path / "got", executor=executor)
    assert _tree(tmp_path / "got") == _tree(source)
    assert store.verify(level="full").ok


def test_a_file_that_changes_meanwhile_is_refused(stores: Callable[[], Store], tmp_path: Path) -> None:
    source, store = tmp_path / "source", stores()
    source.mkdir()
    _files(source)
    for change in (b"longer than it was" * 600, (source / "030.bin").read_bytes()[::-1]):
        before = store.head if store.names() else None

        def meddle(_count: int, change: bytes = change) -> None:
            (source / "030.bin").write_bytes(change)

        with pytest.raises(ConflictError, match=r"030\.bin"):
            store.put(source, "x", executor=Inline(before=meddle))
        assert (store.head if store.names() else None) == before


def test_what_clean_up_takes_before_the_commit_is_stored_again(stores: Callable[[], Store], tmp_path: Path) -> None:
    source, store = tmp_path / "source", stores()
    source.mkdir()
    _files(source)
    _large_random(source)
    store.put(b"1", "first")
    cleaned: list[int] = []

    def clean(count: int) -> None:
        if not any(cleaned) and count > 10:  # until it takes something: which task uploads first is drawn
            other = artifactstore.open(store.url)
            cleaned.append(len(other.maintenance.gc(grace=timedelta(0)).packs))

    made = store.put(source, "x", executor=Inline(after=clean))
    assert cleaned[-1] > 0
    store.get("x", tmp_path / "got")
    assert _tree(tmp_path / "got") == _tree(source)
    assert made.version == 1


def test_no_secret_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = tmp_path / "source", artifactstore.create(str(tmp_path / "store"))
    source.mkdir()
    _files(source)
    _large_random(source)
    store.put(source, "there")
    options = {
        "key": "AKIAVERYSECRET1",
        "secret": "VERYSECRET2",
        "client_kwargs": {"aws_session_token": "VERYSECRET3", "region_name": "eu"},
        "token": "VERYSECRET4",
        "anon": False,
    }
    monkeypatch.setattr(Session, "connection_args", property(lambda self: (self.url, options, False)))
    pickled: list[bytes] = []

    class Recorder(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            pickled.append(pickle.dumps((fn, args, kwargs)))
            raise RuntimeError("recorded")

    (source / "more").write_bytes(b"more")
    with pytest.raises(BackendError):
        store.put(source, "x", executor=Recorder())
    with pytest.raises(BackendError):
        store.get("there", tmp_path / "got", executor=Recorder())
    assert len(pickled) == 2
    assert not any(b"VERYSECRET" in one for one in pickled)
    assert all(b"anon" in one for one in pickled)


def test_the_tree_is_staged_until_the_last_file_is_right(stores: Callable[[], Store], tmp_path: Path) -> None:
    """Another process sees the folder only when all workers are done."""
    source, store, seen = tmp_path / "source", stores(), list[bool]()
    source.mkdir()
    _mixed(source)
    _large_random(source)
    store.put(source, "x")
    store.get("x", tmp_path / "got", executor=Inline(after=lambda _: seen.append((tmp_path / "got").exists())))
    assert len(seen) > 5
    assert not any(seen)


def test_damage_is_found_by_whoever_reads_it(stores: Callable[[], Store], tmp_path: Path) -> None:
    source, store = tmp_path / "source", stores()
    source.mkdir()
    _large_random(source)
    store.put(source, "x")
    for pack in Path(store.url).glob("packs/*/*.pack"):
        pack.chmod(0o644)
        raw = bytearray(pack.read_bytes())
        raw[200_000] ^= 1
        pack.write_bytes(raw)
    with pytest.raises(artifactstore.CorruptionError):
        store.get("x", tmp_path / "got", executor=Inline())
    assert not (tmp_path / "got").exists()


def test_threads_of_one_pool_put_different_things(stores: Callable[[], Store], tmp_path: Path) -> None:
    store, digests = stores(), {}
    for k in range(3):
        (tmp_path / f"{k}").mkdir()
        _files(tmp_path / f"{k}")
        digests[k] = stores().put(tmp_path / f"{k}", "x").digest
    with ThreadPoolExecutor(2) as pool:

        def put(k: int) -> None:
            assert store.put(tmp_path / f"{k}", f"n{k}", executor=pool).digest == digests[k]

        threads = [threading.Thread(target=put, args=(k,)) for k in digests]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
    assert {one.name for one in store.names()} == {"n0", "n1", "n2"}
    shutil.rmtree(store.url)
