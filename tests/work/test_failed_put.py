"""A put that fails in the midst of a large file leaves nothing behind that a program's end would wait for."""

import os
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

import pytest

from artifactstore.backend.base import Buffer
from artifactstore.backend.errors import ThrottledError
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import BackendError
from artifactstore.store import Store
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session.session import Session


def test_a_failed_put_leaves_no_thread_behind(store: Store, tmp_path: Path):
    (tmp_path / "large.bin").write_bytes(os.urandom(60_000_000))
    store.put(b"x", "first")

    def watch(what: str, total: int):
        def tell(more: int) -> None:
            raise RuntimeError("the caller's own")

        return tell

    store._session.watch = watch
    with pytest.raises(RuntimeError, match="own") as caught:
        store.put(tmp_path / "large.bin", "large")
    left = [one.name for one in threading.enumerate() if one.name.startswith(("artifactstore-read", "artifactstore-hash"))]
    assert left == []
    assert caught.value.__traceback__ is not None  # it keeps all frames alive, as whoever reports an error does


class _Refusing(Wrapper):
    """A place that refuses packs for good, and lets everything else wait."""

    def __init__(self) -> None:
        super().__init__(LatencyBackend(MemoryBackend(f"memory://{uuid.uuid4().hex}"), 0.001))
        self.refusing, self.packs, self.manifests = False, threading.Event(), threading.Event()

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        if not self.refusing:
            self.inner.write(key, data)
        elif key.startswith("manifests/"):
            assert self.packs.wait(60)  # had it not been sent yet, it would wait, too
            self.manifests.set()
            raise ThrottledError("slow down", retry_after=1)
        else:
            self.packs.set()
            assert self.manifests.wait(60)
            raise BackendError("packs may not be written here")


@pytest.mark.filterwarnings("ignore:.*does not answer")
def test_a_pack_that_is_refused_is_told_though_its_manifest_is_told_to_wait() -> None:
    place = _Refusing()
    session = Session(place.url, cache=None)
    session.backend = RetryingBackend(place, seconds=100_000)
    session.create("blake3")
    store = Store(session)
    store.put(b"x", "first")
    place.refusing = True
    told: list[BaseException] = []

    def put() -> None:
        try:
            store.put(os.urandom(3_000_000), "large")
        except BackendError as error:
            told.append(error)

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert "may not be written" in str(told[0])
    place.refusing = False
    assert [one.name for one in store.names()] == ["first"]
