"""A put that was killed on its way to a network place: the next one does not upload again what is there."""

import os
import random
import signal
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.packs.pack import pack_key
from artifactstore.errors import BackendError
from artifactstore.store import Store
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session.session import Session
from tests.warm import Warm

ATTEMPT = """
import os, signal, sys
import artifactstore
from artifactstore.content.packs.writer import Packer

real, done = Packer._upload, []

def upload(self, pack):
    found = real(self, pack)
    done.append(pack)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

Packer._upload = upload
artifactstore.open(sys.argv[1]).put(sys.argv[2], "data")
"""


def attempt(url: str, source: Path) -> None:
    assert Warm("-c", ATTEMPT, url, str(source)).wait() == -signal.SIGKILL


def make(path: Path, megabytes: int) -> Path:
    path.write_bytes(random.Random(5).randbytes(megabytes * 2**20))
    return path


def packs(url: str) -> int:
    return sum(item.size for item in connect(url).list("packs/"))


@pytest.mark.slow
def test_packs_of_a_dead_attempt_are_used(s3_url, tmp_path: Path):
    source = make(tmp_path / "large.bin", 120)
    attempt(s3_url, source)
    least = 2 * 15 * 2**20  # two packs of the smallest size: the third may not be in the ledger yet
    assert packs(s3_url) >= least
    store = artifactstore.open(s3_url)
    made = store.put(source, "data")
    assert made.uploaded < made.size - least
    assert store.verify(level="full").ok
    assert not store.put(source, "data").new
    assert not list(Path(os.environ["ARTIFACTSTORE_CACHE"]).rglob("*.jsonl")), "what is committed needs no ledger"


@pytest.mark.slow
def test_packs_that_are_gone_are_written_again(s3_url, tmp_path: Path):
    source = make(tmp_path / "large.bin", 100)
    attempt(s3_url, source)
    place = connect(s3_url)
    for item in list(place.list("packs/")):
        place.delete(item.key)
    store = artifactstore.open(s3_url)
    assert store.put(source, "data").uploaded > 100 * 2**20
    assert store.verify(level="full").ok


class Failing(LatencyBackend):
    """A place over a network that takes packs and no manifest."""

    def write(self, key, data):
        if key.startswith("manifests/"):
            raise BackendError("no more")
        super().write(key, data)


@pytest.mark.parametrize("fate", ["there", "condemned", "gone", "condemned and gone", "empty"])
def test_packs_that_clean_up_condemned_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str):
    inner = MemoryBackend(f"memory://{tmp_path.name}")
    place: list[LatencyBackend] = [LatencyBackend(inner, 0, 1e12)]
    monkeypatch.setattr("artifactstore.work.session.session.connect", lambda *_, **__: place[0])
    Store(Session("memory://given", cache=None)).put(b"0", "other")
    data = random.Random(6).randbytes(2_000_000)
    place[0] = Failing(inner, 0, 1e12)
    with pytest.raises(BackendError, match="no more"):
        Store(Session("memory://given", cache=tmp_path / "cache")).put(data, "name")
    place[0] = LatencyBackend(inner, 0, 1e12)
    uploaded = [item.key.rpartition("/")[2].partition(".")[0] for item in inner.list("packs/")]
    assert uploaded
    store = Store(Session("memory://given", cache=tmp_path / "cache"))
    if "condemned" in fate:
        core = store._session.core()
        head = core.journal.catch_up()
        fact = {"fact": "condemned", "manifests": [], "packs": uploaded}
        core.appender.commit([fact], birth=head, alive_at=head, refuse=lambda void: AssertionError(str(void)))
    for pack in uploaded:
        if "gone" in fate:
            inner.delete(pack_key(pack))
        elif fate == "empty":
            inner.write(pack_key(pack), b"")
    made = store.put(data, "name")
    assert (made.uploaded < len(data)) is (fate == "there")
    assert Store(Session("memory://given", cache=None)).get("name") == data
    assert store.verify(level="full").ok


def test_attempts_that_fail_one_after_the_other_leave_the_next_what_the_first_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inner = MemoryBackend(f"memory://{tmp_path.name}")
    place: list[LatencyBackend] = [LatencyBackend(inner, 0, 1e12)]
    monkeypatch.setattr("artifactstore.work.session.session.connect", lambda *_, **__: place[0])
    Store(Session("memory://given", cache=None)).put(b"0", "other")
    data = random.Random(7).randbytes(2_000_000)
    place[0] = Failing(inner, 0, 1e12)
    for _ in range(2):
        with pytest.raises(BackendError, match="no more"):
            Store(Session("memory://given", cache=tmp_path / "cache")).put(data, "name")
    place[0] = LatencyBackend(inner, 0, 1e12)
    store = Store(Session("memory://given", cache=tmp_path / "cache"))
    assert store.put(data, "name").uploaded < 100_000
    assert not [*(tmp_path / "cache").rglob("*.jsonl")]
