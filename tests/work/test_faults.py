"""Faults on the way: nothing is lost, nothing half-written is visible, and each gives one clear error."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import BackendError, CorruptionError, OutcomeUnknownError
from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend, FaultyBackend
from artifactstore.work.session.session import Session
from tests.work.tree import tree


def store_over(backend, monkeypatch: pytest.MonkeyPatch, **options) -> Store:
    """Open a store over a backend at hand."""
    monkeypatch.setattr("artifactstore.work.session.session.connect", lambda *_, **__: backend)
    return Store(Session("memory://given", **options))


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, CountingBackend]:
    backend = CountingBackend(MemoryBackend(f"memory://{tmp_path.name}"))
    return store_over(backend, monkeypatch), backend


def test_a_warm_small_put_writes_two_objects(counting):
    store, backend = counting
    store.put(b"0", "name")
    backend.reset()
    store.put(b"1", "name")
    written = [key for verb, key in backend.calls if verb in {"write", "create"}]
    assert len(written) == 2
    assert written[0].startswith("manifests/")
    assert written[1].startswith("journal/")


def test_a_warm_get_makes_two_round_trips_and_one_when_the_manifest_is_known(counting, monkeypatch: pytest.MonkeyPatch):
    store, backend = counting
    store.put(os.urandom(100_000), "name")
    other = store_over(backend, monkeypatch)
    other.names()
    backend.reset()
    other.get("name")
    assert [verb for verb, _ in backend.calls] == ["read", "read", "read_ranges"]
    backend.reset()
    other.get("name")
    assert [verb for verb, _ in backend.calls] == ["read", "read_ranges"]


def test_putting_unchanged_data_writes_nothing(counting, folder: Path):
    store, backend = counting
    store.put(folder, "name")
    backend.reset()
    assert not store.put(folder, "name").new
    assert [verb for verb, _ in backend.calls if verb in {"write", "create"}] == []
    assert not store.put(folder, "name", rehash=True).new
    assert [verb for verb, _ in backend.calls if verb in {"write", "create"}] == []


@pytest.mark.slow
def test_many_small_files_take_few_requests(counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, backend = counting
    root = tmp_path / "many"
    for i in range(20_000):
        folder = root / f"{i % 50}"
        if i < 50:
            folder.mkdir(parents=True)
        (folder / f"{i}").write_bytes(os.urandom(16) * 4)
    store.put(root, "many")
    assert len(backend.calls) <= 40
    other = store_over(backend, monkeypatch)
    backend.reset()
    other.get("many", tmp_path / "back")
    assert len(backend.calls) <= 40
    assert tree(tmp_path / "back") == tree(root)


def test_the_head_is_found_in_few_round_trips(counting, monkeypatch: pytest.MonkeyPatch):
    store, backend = counting
    for i in range(40):
        store.put(str(i).encode(), "name")
    backend.reset()
    store.names()
    assert len(backend.calls) == 1


def test_the_manifest_is_read_while_the_journal_is_asked(counting, monkeypatch: pytest.MonkeyPatch):
    store, backend = counting
    store.put(os.urandom(100_000), "name")

    class Meeting(CountingBackend):
        """The read of the manifest and the look for new entries wait for each other: one after the other, they would hang."""

        both = threading.Barrier(2, timeout=30)
        armed = False

        def read(self, key):
            if self.armed and key.startswith(("manifests/", "journal/")):
                self.both.wait()
            return super().read(key)

    meeting = Meeting(backend)
    meeting.concurrency = 8
    other = store_over(meeting, monkeypatch)
    other.names()
    meeting.armed = True
    assert len(other.get("name")) == 100_000


class Together(CountingBackend):
    """A pack and the manifest that refers to it wait for each other: one after the other, they would hang."""

    def __init__(self, inner: Backend, *, lost: str = "") -> None:
        super().__init__(inner)
        self.both = threading.Barrier(2, timeout=30)
        self.done: list[str] = []
        self.lost = lost

    def write(self, key, data):
        kind = key.partition("/")[0]
        if kind in {"packs", "manifests"}:
            self.both.wait()
            if kind == self.lost:
                time.sleep(0.2)
                raise BackendError("no space left")
            if kind == "packs" and not self.lost:
                time.sleep(0.2)
        super().write(key, data)
        self.done.append(kind)

    def create(self, key, data):
        self.done.append(key.partition("/")[0])
        super().create(key, data)


def test_a_manifest_travels_with_its_last_packs_and_the_entry_behind_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = MemoryBackend(f"memory://{tmp_path.name}")
    clean = store_over(inner, monkeypatch)
    clean.put(b"0", "name")
    together = Together(inner)
    made = store_over(together, monkeypatch).put(os.urandom(100_000), "name")
    assert together.done[-3:] == ["manifests", "packs", "journal"]
    assert made.uploaded > 100_000
    assert clean.verify(level="full").ok


@pytest.mark.parametrize("lost", ["packs", "manifests"])
def test_of_what_travels_together_all_must_arrive(lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = MemoryBackend(f"memory://{tmp_path.name}-{lost}")
    clean = store_over(inner, monkeypatch)
    clean.put(b"0", "name")
    data = os.urandom(100_000)
    together = Together(inner, lost=lost)
    with pytest.raises(BackendError, match="no space left"):
        store_over(together, monkeypatch).put(data, "name")
    assert "journal" not in together.done
    assert len(clean.versions("name")) == 1
    assert clean.verify(level="full").ok
    assert clean.put(data, "name").version == 2
    assert clean.get("name:v2") == data


def test_a_manifest_that_is_refused_does_not_wait_for_packs_that_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Down(CountingBackend):
        """Packs get no answer, manifests a no."""

        def write(self, key, data):
            raise BackendError("no answer" if key.startswith("packs/") else "denied", transient=key.startswith("packs/"))

    from artifactstore.backend.wrappers.retrying import RetryingBackend
    from artifactstore.runtime.threads import cancellable_sleep, is_cancelled

    inner = MemoryBackend(f"memory://{tmp_path.name}")
    clean = store_over(inner, monkeypatch)
    clean.put(b"0", "name")
    ends: list[bool] = []

    def pause(seconds: float) -> None:
        cancellable_sleep(seconds)
        ends.append(is_cancelled())

    store = store_over(RetryingBackend(Down(inner), seconds=60, sleep=pause), monkeypatch, cache=None)
    with pytest.raises(BackendError, match="denied"):
        store.put(os.urandom(100_000), "name")
    assert ends[-1:] != [False], "the last pause was left, not sat out"
    assert len(clean.versions("name")) == 1


@pytest.mark.parametrize(
    "script", ["lost-reply", "ok lost-reply", "ok ok lost-reply", "ok ok ok lost-reply", "fail fail fail", "409"]
)
def test_a_put_survives_a_bad_connection(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = MemoryBackend(f"memory://{tmp_path.name}-{script}")
    store_over(inner, monkeypatch).put(b"0", "name")
    from artifactstore.backend.wrappers.retrying import RetryingBackend

    store = store_over(RetryingBackend(FaultyBackend(inner, script)), monkeypatch)
    assert store.put(b"1", "name").version == 2
    assert store.get("name:v2") == b"1"
    assert len(store.log(fact="versioned")) == 2


def test_a_commit_without_an_answer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = MemoryBackend(f"memory://{tmp_path.name}")
    clean = store_over(inner, monkeypatch)
    clean.put(b"0", "name")

    class Deaf(CountingBackend):
        """Every entry arrives, and no answer to it or to any question after it does."""

        deaf = False

        def create(self, key, data):
            super().create(key, data)
            if key.startswith("journal/"):
                self.deaf = True
                raise BackendError("the connection is gone", transient=True)

        def read(self, key):
            if self.deaf:
                raise BackendError("the connection is gone", transient=True)
            return super().read(key)

    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    with pytest.raises(OutcomeUnknownError) as caught:
        store_over(Deaf(inner), monkeypatch).put(b"1", "name")
    assert clean.log(txn=caught.value.txn).outcome == "committed"


def test_before_it_is_called_unknown_the_journal_is_looked_at_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = MemoryBackend(f"memory://{tmp_path.name}")
    store_over(inner, monkeypatch).put(b"0", "name")

    class LosesReplies(CountingBackend):
        """Entries arrive, their replies don't; everything else works."""

        def create(self, key, data):
            super().create(key, data)
            if key.startswith("journal/"):
                raise BackendError("the reply is lost", transient=True)

    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    store = store_over(LosesReplies(inner), monkeypatch)
    assert store.put(b"1", "name").version == 2
    assert store.get("name:v2") == b"1"


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path):
    inner = MemoryBackend(f"memory://{tmp_path.name}")
    store = store_over(inner, monkeypatch)
    store.put(b"0", "name")
    (folder / "big").write_bytes(os.urandom(200_000))
    for script in ("full", "ok full", "ok ok full"):
        faulty = store_over(FaultyBackend(inner, script), monkeypatch)
        with pytest.raises(BackendError) as caught:
            faulty.put(folder, "name")
        assert not caught.value.transient
        assert len(store.versions("name")) == 1
    assert store.put(folder, "name").version == 2
    assert store.verify(level="full").ok


def test_a_target_on_a_full_disk_stays_as_it_was(store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store.put(folder, "name")
    real = os.write

    def failing(fd, data):
        if len(data) > 10_000:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr("artifactstore.content.read.retrieve.os.write", failing)
    with pytest.raises(BackendError, match="No space left"):
        store.get("name", tmp_path / "to")
    assert not (tmp_path / "to").exists()
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".partial")] == []


def _put_many(url: str, n: int) -> None:
    store = artifactstore.open(url)
    for i in range(10):
        store.put(f"{n}-{i}".encode(), "name")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_many_processes_under_one_name_get_consecutive_versions(tmp_path: Path, method: str):
    url = str(tmp_path / "store")
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=_put_many, args=(url, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    store = artifactstore.open(url)
    assert [one.version for one in store.versions("name")] == list(range(1, 41))
    assert {store.get(one.ref) for one in store.versions("name")} == {f"{n}-{i}".encode() for n in range(4) for i in range(10)}


def _put_same(url: str) -> None:
    artifactstore.open(url).put(b"the same", "name")


@pytest.mark.slow
def test_many_processes_with_the_same_content_make_one_version(tmp_path: Path):
    url = str(tmp_path / "store")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_put_same, args=(url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(artifactstore.open(url).versions("name")) == 1


@pytest.mark.slow
def test_a_forked_child_works_with_its_parents_store(store: Store):
    store.put(b"parent", "name")
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            store.put(os.urandom(8), "busy")

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if store.get("name:v1") == b"parent" and store.put(os.urandom(8), "child").version else 1)
                except BaseException:  # noqa: BLE001 - a forked child must never go on in the test
                    os._exit(2)
            deadline = time.monotonic() + 60
            while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert done == (child, 0)
    finally:
        stop.set()
        thread.join()
    assert len(store.versions("child")) == 5


SCRIPT = """
import os, sys, artifactstore
store = artifactstore.open(sys.argv[1])
n = 0
while True:
    store.put(os.urandom(300_000 if n % 3 else 100), "name")
    n += 1
    print(n, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_a_store_that_verifies(tmp_path: Path, seed: int):
    url = str(tmp_path / "store")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3 + seed):
        process.stdout.readline()
    time.sleep(0.003 * seed)
    process.send_signal(signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().split()] or [3 + seed]
    process.stdout.close()
    process.wait()
    store = artifactstore.open(url)
    report = store.verify(level="full")
    assert report.ok, report.findings
    assert len(store.versions("name")) >= told[-1]
    assert store.put(b"after", "name").new


@pytest.mark.slow
def test_ctrl_c_commits_nothing_and_leaves_no_litter(tmp_path: Path):
    url, big = str(tmp_path / "store"), tmp_path / "big"
    artifactstore.open(url).put(b"0", "name")
    with big.open("wb") as file:
        for _ in range(40):
            file.write(os.urandom(10_000_000))
    command = [sys.executable, "-m", "artifactstore", "put", str(big), "name", "--store", url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    packs = Path(url) / "packs"
    deadline = time.monotonic() + 60
    while not list(packs.rglob("*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert len(artifactstore.open(url).versions("name")) == 1
    assert not list(Path(url).rglob(".tmp-*"))


def test_damage_while_getting_puts_nothing_in_place(store: Store, folder: Path, tmp_path: Path):
    (folder / "big").write_bytes(os.urandom(300_000))
    store.put(folder, "name")
    (pack,) = (Path(store.url) / "packs").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        store.get("name", tmp_path / "to")
    assert pack.stem in str(caught.value)
    assert " at " in caught.value.location
    assert not (tmp_path / "to").exists()
    with pytest.raises(CorruptionError):
        store.open_file("name", "big").read()


def test_a_store_that_another_makes_meanwhile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = MemoryBackend(f"memory://{tmp_path.name}")

    class Late(CountingBackend):
        """Another process makes the store between the look for it and the listing."""

        def list(self, prefix):
            if prefix == "" and not self.made:
                self.made = True
                store_over(inner, monkeypatch).put(b"first", "name")
            yield from super().list(prefix)

        made = False

    store = store_over(Late(inner), monkeypatch)
    assert store.put(b"second", "name").version == 2
