"""Manifests larger than one request: written in parts and whole or not at all at every place, read and carried as any other."""

import base64
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend import base, buffers
from artifactstore.backend.base import MAX_WRITE, Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.caching import CachingBackend
from artifactstore.backend.wrappers.range_cache import RangeCache
from artifactstore.content.manifests import manifest
from artifactstore.errors import BackendError
from artifactstore.maintenance.sync import object_copy
from tests.servers.proxy import Exchange, FaultProxy, scripted

TARGET = 2_850  # random bytes in the target of a link


def link(folder: Path, size: int) -> Path:
    """Fill a folder whose manifest takes more than `size` bytes, at little cost: links, whose targets are in the manifest."""
    folder.mkdir()
    dice = random.Random(5)
    for number in range(size // TARGET + 10):
        (folder / str(number)).symlink_to(base64.urlsafe_b64encode(dice.randbytes(TARGET)).decode())
    return folder


@pytest.fixture(params=["s3", "azure"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultProxy, str]]:
    """A place behind a network that fails on demand."""
    url = str(request.getfixturevalue(f"{request.param}_url"))
    variable = "AWS_ENDPOINT_URL" if request.param == "s3" else "AZURE_STORAGE_CONNECTION_STRING"
    given = os.environ[variable]
    endpoint = re.search(r"http://127.0.0.1:\d+", given)
    assert endpoint is not None
    with FaultProxy(endpoint[0]) as proxy:
        monkeypatch.setenv(variable, given.replace(endpoint[0], proxy.url))
        monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "30")
        yield proxy, url


@pytest.fixture
def limited(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let less than 64 MiB be the most that one write carries, so that little is much."""
    limit = int(request.param)
    monkeypatch.setattr(buffers.flat, "__kwdefaults__", {"limit": limit})
    for function in (buffers.writable, buffers.gather):
        monkeypatch.setattr(function, "__defaults__", (limit,))
    monkeypatch.setattr(object_copy, "MAX_WRITE", limit)
    return limit


def of_manifests(one: Exchange) -> bool:
    return one.verb == "PUT" and "/manifests/" in one.path


@pytest.mark.slow
@pytest.mark.parametrize("limited", [5 * 2**20], indirect=True)  # the least that S3 takes as a part
def test_its_parts_are_sent_again_and_it_is_there_whole_or_not_at_all(
    place: tuple[FaultProxy, str], limited: int, tmp_path: Path
):
    proxy, url = place
    links = link(tmp_path / "links", limited)
    store = artifactstore.open(url, cache=None)
    store.put(b"first", "other")
    proxy.plan = scripted("ok 403", of_manifests)  # the first part is there, the next is refused
    with pytest.raises(BackendError):
        store.put(links, "many")
    assert [one.name for one in artifactstore.open(url, "r", cache=None).names()] == ["other"]
    assert len(list(connect(url).list("manifests/"))) == 1
    proxy.plan = scripted("503 ok swallowed 503", of_manifests)
    made = store.put(links, "many")
    assert {"503", "swallowed"} <= {one.fault for one in proxy.log if of_manifests(one)}
    assert max(one.sent for one in proxy.log if of_manifests(one)) == limited
    assert sorted(one.size > limited for one in connect(url).list("manifests/")) == [False, True]
    reader = artifactstore.open(url, "r", cache=None)
    assert reader.artifact("many").digest == made.digest
    files = reader.artifact("many").files
    assert all(one.target == str((links / one.path).readlink()) for one in files)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "pieces"), [(0, 1), (MAX_WRITE, 1), (MAX_WRITE + 1, 2), (2 * MAX_WRITE, 2)])
def test_no_write_carries_more_than_it_may(size: int, pieces: int, tmp_path: Path):
    raw = bytes(size)
    data = buffers.writable(raw)
    assert (len(data) if isinstance(data, list) else 1) == pieces
    LocalBackend(tmp_path).write("a", data)
    assert LocalBackend(tmp_path).size("a") == size


@pytest.mark.slow
def test_a_process_that_dies_in_the_middle_leaves_nothing_that_is_visible(tmp_path: Path):
    artifactstore.open(tmp_path / "store").put(b"first", "other")
    code = """
import os, sys, artifactstore
from artifactstore.backend import buffers
from artifactstore.backend.local import backend as local
buffers.MAX_WRITE = 2**18
buffers.writable.__defaults__ = (2**18,)
count = 0
def dying(fd, pieces):
    global count
    count += sum(len(piece) for piece in pieces)
    whole(fd, pieces)
    if count > 2**18:
        os._exit(9)
whole, local.write_all = local.write_all, dying
artifactstore.open(sys.argv[1]).put(sys.argv[2], "many")
"""
    source = link(tmp_path / "source", 2**20)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "store"), str(source)], check=False)
    assert done.returncode == 9
    left = [path.stat().st_size for path in (tmp_path / "store" / "manifests").rglob(".tmp-*")]
    assert left
    assert 2**18 < left[0] < 2**20
    store = artifactstore.open(tmp_path / "store")
    assert [one.name for one in store.names()] == ["other"]
    assert len(list(connect(tmp_path / "store").list("manifests/"))) == 1
    assert store.verify(level="full").ok


@pytest.mark.parametrize("limited", [2**18], indirect=True)
def test_it_goes_with_a_store_wherever_that_goes(limited: int, tmp_path: Path):
    source = link(tmp_path / "source", limited)
    (source / "file").write_bytes(b"content")
    store = artifactstore.open(tmp_path / "store")
    made = store.put(source, "many")
    (size,) = [one.size for one in connect(tmp_path / "store").list("manifests/")]
    assert size > limited
    zipped = f"zip://{tmp_path}/all.zip"
    places: list[str | Path] = [tmp_path / "copy", "memory://large-copy", tmp_path / "imported", zipped]
    artifactstore.open(places[2]).put(b"first", "other")
    for where in places[:3]:
        store.maintenance.sync(where)
    store.maintenance.bundle(tmp_path / "all.zip")
    artifactstore.open(zipped, "r").maintenance.sync(tmp_path / "last", names=["many"])
    for where in [*places, tmp_path / "last"]:
        reader = artifactstore.open(where, "r", cache=tmp_path / "cache" if where == zipped else None)
        assert reader.artifact("many").digest == made.digest
        assert reader.verify(level="full").ok
    back = Path(artifactstore.open(zipped, "r").get("many", to=tmp_path / "back"))
    assert all(path.readlink() == (back / path.name).readlink() for path in source.iterdir() if path.is_symlink())


class Travelling(MemoryBackend):
    """A place whose requests travel; counts them."""

    concurrency = 8

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[tuple[int, int]] = []

    def read(self, key: str) -> bytes:
        found = super().read(key)
        self.asked.append((0, len(found)))
        return found

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.asked += ranges
        return [super(Travelling, self).read(key)[at : at + size] for at, size in ranges]

    def size(self, key: str) -> int:
        return len(super().read(key))


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 4000, 4001, 33_333])
def test_what_is_large_is_read_in_parts_and_kept_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr(base, "PART", 1000)
    place, data = Travelling(f"memory://parts-{size}"), random.Random(size).randbytes(size)
    place.write("manifests/a", data)
    near = CachingBackend(place, RangeCache(tmp_path, "store"), ["manifests/"])
    assert near.read_large("manifests/a") == data
    parts = [(at, min(1000, size - at)) for at in range(0, size, 1000)]
    assert sorted(place.asked) == (parts or [(0, 0)])
    place.asked.clear()
    assert near.read_large("manifests/a") == near.read("manifests/a") == data
    assert place.asked == []


def test_a_large_manifest_is_read_in_parts(monkeypatch: pytest.MonkeyPatch):
    """By get and by verify; a small one is not."""
    asked: list[str] = []
    read = Backend.read_large

    def counted(self: Backend, key: str) -> bytes:
        asked.append(key)
        return read(self, key)

    store = artifactstore.open("memory://large-or-not", cache=None)
    store.put({"a": 1}, "small")
    monkeypatch.setattr(Backend, "read_large", counted)
    assert artifactstore.open("memory://large-or-not", cache=None).get("small") == {"a": 1}
    assert asked == []
    monkeypatch.setattr(manifest, "_LARGE_MANIFEST", 0)
    again = artifactstore.open("memory://large-or-not", cache=None)
    assert again.get("small") == {"a": 1}
    assert len(asked) == 1
    assert again.verify().ok
    assert len(asked) == 2
