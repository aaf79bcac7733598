"""The local cache of remote stores: nothing is fetched twice on one machine, nothing damaged is believed, offline answers."""

import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlparse

import pytest

import artifactstore
from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.offline import UnreachableBackend
from artifactstore.errors import BackendError, RefusedError
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session.offline import OfflineFallback
from artifactstore.work.session.session import Session
from tests.warm import Warm

MEGABYTE = 2**20


@contextmanager
def relay(port: int) -> Iterator[tuple[int, list[int]]]:
    """Pass connections on to a port of this machine; gives the own port, and the sizes of what came back."""
    came: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def pump(source: socket.socket, target: socket.socket, sizes: list[int] | None) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                if sizes is not None:
                    sizes.append(len(data))
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                threading.Thread(target=pump, args=(client, server, None), daemon=True).start()
                threading.Thread(target=pump, args=(server, client, came), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], came
    finally:
        listener.close()


def opened(place: Backend, cache: Path | None) -> Store:
    """Open a store over a place that counts, with a cache of its own."""
    session = Session(place.url, cache=cache)
    session._offline = OfflineFallback(place, cache)
    session.backend, session._core = place, None
    session._connect()
    return Store(session)


@pytest.fixture
def place(tmp_path: Path) -> CountingBackend:
    """A place behind a link of no latency, which holds a store with a few things."""
    counted = CountingBackend(LatencyBackend(MemoryBackend(f"memory://{tmp_path.name}-{os.getpid()}"), 0, 1e12))
    session = Session(counted.url, cache=None)
    session.backend = counted
    session.create("blake3")
    store = Store(session)
    for name, seed, size in (("large", 1, 3 * MEGABYTE), ("small", 2, MEGABYTE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.bin").write_bytes(random.Random(seed).randbytes(size))
        store.put(tmp_path / name, name)
    counted.reset()
    return counted


def packs_read(place: CountingBackend) -> int:
    return sum(1 for verb, key in place.calls if key.startswith("packs/") and verb in {"read", "read_ranges"})


def test_a_second_session_fetches_no_bytes_and_asks_one_question(place, tmp_path: Path):
    cache = tmp_path / "cache"
    first = opened(place, cache)
    first.get("large", to=tmp_path / "one")
    assert packs_read(place)
    second = opened(place, cache)
    assert second.names()
    place.reset()
    second.get("large", to=tmp_path / "two")
    assert packs_read(place) == 0
    assert place.requests == 1, place.calls
    assert (tmp_path / "two/data.bin").read_bytes() == (tmp_path / "large/data.bin").read_bytes()


def test_ranges_of_a_file_come_from_what_is_kept(place, tmp_path: Path):
    cache = tmp_path / "cache"
    raw = (tmp_path / "large/data.bin").read_bytes()
    opened(place, cache).get("large", to=tmp_path / "one")
    place.reset()
    with opened(place, cache).open_file("large", "data.bin") as file:
        for offset in (0, 1_000_000, 2_999_000):
            file.seek(offset)
            assert file.read(70_000) == raw[offset : offset + 70_000]
    assert packs_read(place) == 0


def test_without_a_cache_nothing_is_kept(place, tmp_path: Path):
    store = opened(place, None)
    for target in ("one", "two"):
        place.reset()
        store.get("large", to=tmp_path / target)
        assert packs_read(place)


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "index"])
def test_what_is_damaged_in_the_cache_is_fetched_again(place, tmp_path: Path, harm):
    cache = tmp_path / "cache"
    opened(place, cache).get("large", to=tmp_path / "one")
    kept = [path for path in (cache / "stores").rglob("*") if path.is_file() and "near" in path.parts]
    assert {path.suffix for path in kept} >= {".bytes", ".pieces", ".parquet"}
    for path in kept:
        raw = bytearray(path.read_bytes())
        if harm == "flip":
            raw[len(raw) // 2] ^= 1
        elif harm == "cut":
            del raw[len(raw) // 2 :]
        elif harm == "empty" and path.suffix != ".pieces":
            raw.clear()
        elif harm == "index" and path.suffix == ".pieces":
            raw[:] = raw[7:] + b"\xff" * 33
        path.write_bytes(raw)
    store = opened(place, cache)
    store.get("large", to=tmp_path / "two")
    assert (tmp_path / "two/data.bin").read_bytes() == (tmp_path / "large/data.bin").read_bytes()
    assert store.verify().ok
    place.reset()
    opened(place, cache).get("large", to=tmp_path / "three")
    assert packs_read(place) == 0, "it is kept anew"


def test_verify_looks_at_the_place_and_not_at_the_cache(place, tmp_path: Path):
    store = opened(place, tmp_path / "cache")
    store.get("large", to=tmp_path / "one")
    for item in list(place.list("packs/")):
        place.delete(item.key)
    assert not store.verify(level="quick").ok


def test_the_least_used_goes_first(place, tmp_path: Path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("ARTIFACTSTORE_CACHE_BYTES", str(2 * 4_300_000))
    store = opened(place, cache)
    store.get("small", to=tmp_path / "s")
    for path in cache.rglob("near/packs/*/*"):
        os.utime(path, (1, 1))
    store.get("large", to=tmp_path / "l")
    (tmp_path / "more").write_bytes(random.Random(9).randbytes(400_000))
    opened(place, None).put(tmp_path / "more", "more")
    opened(place, cache).get("more", to=tmp_path / "m")
    place.reset()
    opened(place, cache).get("large", to=tmp_path / "l2")
    assert packs_read(place) == 0
    opened(place, cache).get("small", to=tmp_path / "s2")
    assert packs_read(place) == 1


def test_a_cache_that_gets_full_costs_one_warning(place, tmp_path: Path):
    cache = tmp_path / "cache"
    store = opened(place, cache)
    blocked = cache / "stores" / store._session.core().config.store / "near"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot write to .*nothing more is cached there"):
        store.get("large", to=tmp_path / "one")
    store.get("small", to=tmp_path / "two")


def test_spilled_facts_that_came_damaged_once_are_read_again_and_kept_as_they_are(tmp_path: Path, monkeypatch):
    store = artifactstore.open("memory://spilled-once", cache=None)
    store.put(b"x", "n", metadata={f"k{i}": "v" * 100 for i in range(12_000)})
    monkeypatch.setattr(MemoryBackend, "concurrency", 8)
    real, damaged = MemoryBackend.read, list[str]()

    def read(self: MemoryBackend, key: str) -> bytes:
        raw = real(self, key)
        if key.startswith("facts/") and not damaged:
            damaged.append(key)
            return raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:]
        return raw

    monkeypatch.setattr(MemoryBackend, "read", read)
    for _ in range(2):
        assert [one.name for one in artifactstore.open("memory://spilled-once", cache=tmp_path / "c").names()] == ["n"]
    assert len(damaged) == 1


# -- offline


def test_what_is_cached_is_read_offline(s3_url, tmp_path: Path, monkeypatch):
    store = artifactstore.open(s3_url)
    store.put({"a": 1}, "value")
    (tmp_path / "large.bin").write_bytes(random.Random(3).randbytes(MEGABYTE))
    store.put(tmp_path / "large.bin", "large")
    store.put(tmp_path / "large.bin", "other")
    (tmp_path / "never.bin").write_bytes(random.Random(4).randbytes(MEGABYTE))
    store.put(tmp_path / "never.bin", "never")
    again = artifactstore.open(s3_url)
    again.get("value")
    again.get("large", to=tmp_path / "one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ARTIFACTSTORE_OFFLINE", "1")
    offline = artifactstore.open(s3_url)
    assert [one.name for one in offline.names()] == ["large", "never", "other", "value"]
    assert offline.get("value") == {"a": 1}
    offline.get("large", to=tmp_path / "two")
    assert (tmp_path / "two/large.bin").read_bytes() == (tmp_path / "large.bin").read_bytes()
    with pytest.raises(BackendError, match=r"is not in the cache .*, and the backend cannot be reached"):
        offline.get("never", to=tmp_path / "three")
    with pytest.raises(RefusedError, match="while ARTIFACTSTORE_OFFLINE is set"):
        offline.put({"b": 2}, "value")
    with pytest.raises(RefusedError, match="while ARTIFACTSTORE_OFFLINE is set"):
        offline.alias("value", "production")


def test_what_was_never_seen_is_not_there_offline(monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_OFFLINE", "1")
    with pytest.raises(BackendError, match="ARTIFACTSTORE_OFFLINE is set") as caught:
        artifactstore.open("s3://bucket/never-seen")
    assert caught.value.transient


def test_a_place_that_is_away_is_answered_for_with_a_warning_and_never_written(s3_url, tmp_path: Path, monkeypatch):
    artifactstore.open(s3_url).put({"a": 1}, "value")
    first = artifactstore.open(s3_url)
    first.get("value")
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="is unreachable: answering from the cache, which knows this store"):
        cold = artifactstore.open(s3_url)
    assert cold.get("value") == {"a": 1}
    with pytest.raises(BackendError) as caught:
        cold.put({"a": 2}, "value")
    assert caught.value.transient
    monkeypatch.undo()


def test_a_warm_session_says_as_of_when_it_answers(place, tmp_path: Path):
    store = opened(place, tmp_path / "cache")
    store.get("small", to=tmp_path / "one")
    session = store._session
    journal = session.core().journal
    journal.backend = UnreachableBackend(place, "the cable is cut")
    with pytest.warns(UserWarning, match=rf"answering from the cache, as of entry {journal.head} of 20"):
        assert len(store.names()) == 2
    store.get("small", to=tmp_path / "two")
    with pytest.raises(BackendError):
        store.alias("small", "production")


# -- many processes


GET = """
import sys
import artifactstore
artifactstore.open(sys.argv[1], mode="r").get("large", **({"to": sys.argv[2]} if len(sys.argv) > 2 else {}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("into", ["folders", "the cache"])
def test_many_processes_fetch_what_one_would(s3_url, tmp_path: Path, monkeypatch, into):
    raw = random.Random(7).randbytes(20 * MEGABYTE)
    (tmp_path / "large.bin").write_bytes(raw)
    artifactstore.open(s3_url).put(tmp_path / "large.bin", "large")
    with relay(urlparse(os.environ["AWS_ENDPOINT_URL"]).port or 80) as (port, came):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "shared"))
        processes = [Warm("-c", GET, s3_url, *([str(tmp_path / f"got{n}")] if into == "folders" else [])) for n in range(8)]
        assert [process.wait() for process in processes] == [0] * 8
    assert sum(came) < 1.2 * len(raw)
    for n in range(8 if into == "folders" else 0):
        assert (tmp_path / f"got{n}/large.bin").read_bytes() == raw


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_fills_the_cache_harms_nobody(s3_url, tmp_path: Path, monkeypatch):
    raw = random.Random(8).randbytes(40 * MEGABYTE)
    (tmp_path / "large.bin").write_bytes(raw)
    artifactstore.open(s3_url).put(tmp_path / "large.bin", "large")
    cache = tmp_path / "shared"
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(cache))
    killed = 0
    for n in range(3):
        process = Warm("-c", GET, s3_url, str(tmp_path / f"dead{n}"))
        while process.poll() is None:
            if sum(path.stat().st_blocks * 512 for path in cache.rglob("*.bytes")) > n * 8 * MEGABYTE:
                process.kill()
                killed += process.wait() == -signal.SIGKILL
                break
    assert killed
    artifactstore.open(s3_url).get("large", to=tmp_path / "got")
    assert (tmp_path / "got/large.bin").read_bytes() == raw
    assert connect(s3_url).read("store.json")


@pytest.mark.parametrize("level", ["quick", "frames", "full"])
def test_a_place_that_goes_away_is_no_damage(place, tmp_path: Path, level):
    store = opened(place, tmp_path / "cache")
    assert store.verify(level=level).ok
    journal = store._session.core().journal
    for prefix in ("manifests/", "packs/"):

        class Away(Wrapper):
            """Answers for all keys but those below one prefix."""

            def read(self, key, lost=prefix):
                if key.startswith(lost):
                    raise BackendError(f"{key}: no answer", transient=True)
                return self.inner.read(key)

            def read_ranges(self, key, ranges, lost=prefix):
                if key.startswith(lost):
                    raise BackendError(f"{key}: no answer", transient=True)
                return self.inner.read_ranges(key, ranges)

        journal.backend = Away(place)
        if (level, prefix) == ("quick", "packs/"):
            assert store.verify(level=level).ok, "it reads none"
            continue
        with pytest.raises(BackendError, match="no answer"):
            store.verify(level=level)
