"""The contract, run over every place and every wrapper."""

import uuid
from functools import partialmethod

import pytest

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.remote.fsspec_backend import FsspecBackend
from artifactstore.backend.wrappers.caching import CachingBackend
from artifactstore.backend.wrappers.overlay import OverlayBackend
from artifactstore.backend.wrappers.range_cache import RangeCache
from artifactstore.backend.wrappers.read_only import ReadOnlyBackend
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import RefusedError, UnsupportedError
from artifactstore.testing import BackendContract
from artifactstore.testing.backends import CountingBackend, FaultyBackend
from artifactstore.testing.latency import LatencyBackend
from tests.servers.azurite import ACCOUNT_KEY


def memory() -> MemoryBackend:
    return MemoryBackend(f"memory://{uuid.uuid4().hex}")


class TestLocal(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(tmp_path / "not" / "yet")


class TestMemory(BackendContract):
    @pytest.fixture
    def backend(self):
        return memory()


class TestS3(BackendContract):
    races = 15
    secrets = ("testing-secret-that-nobody-may-see", "AKIATESTINGTESTING")

    @pytest.fixture
    def backend(self, s3_url):
        return connect(s3_url)

    def fill(self, backend, keys):
        from moto.s3.models import s3_backends

        bucket, _, prefix = backend.url.removeprefix("s3://").partition("/")
        for key in keys:
            s3_backends["123456789012"]["aws"].put_object(bucket, f"{prefix}/{key}", b"x")


@pytest.mark.slow
class TestAzure(BackendContract):
    races = 15
    many = 50
    secrets = (ACCOUNT_KEY, "AccountKey")

    @pytest.fixture
    def backend(self, azure_url, monkeypatch):
        from azure.storage.blob.aio import ContainerClient

        # The service's own pages hold 5,000.
        monkeypatch.setattr(ContainerClient, "list_blobs", partialmethod(ContainerClient.list_blobs, results_per_page=20))
        return connect(azure_url)


@pytest.mark.slow
class TestGcs(BackendContract):
    races = 15

    @pytest.fixture
    def backend(self, gcs_url):
        return connect(gcs_url)


@pytest.mark.slow
class TestSftp(BackendContract):
    races = 15

    @pytest.fixture
    def backend(self, sftp_url):
        return connect(sftp_url)

    def fill(self, backend, keys):
        folder = LocalBackend("/" + backend.url.removeprefix("sftp://").partition("/")[2])
        for key in keys:
            folder.write(key, b"x")


@pytest.mark.slow
class TestAnotherPlaceOfFsspecWithOneWriter(BackendContract):
    """fsspec's own class for folders, as any class without a native condition: threads do race there."""

    @pytest.fixture
    def backend(self, tmp_path):
        return FsspecBackend(f"local://{tmp_path}/place", single_writer=True)

    def test_of_many_threads_exactly_one_creates(self, backend):
        pytest.skip("the caller promised one writer")

    def test_an_error_of_the_callers_iterable_comes_back_as_it_is_and_nothing_is_visible(self, backend):
        pytest.skip("up to fsspec's class")


class TestCaching(BackendContract):
    """What the contract writes again is none of the keys that never change: those are tested in tests/work/test_cache.py."""

    @pytest.fixture
    def backend(self, tmp_path):
        return CachingBackend(memory(), RangeCache(tmp_path, "store"), ["packs/"])


class TestForked(BackendContract):
    """Of an origin that holds other things: what it has is tested in tests/work/test_reproduce.py."""

    @pytest.fixture
    def backend(self, tmp_path):
        return OverlayBackend(LocalBackend(tmp_path / "own"), memory(), 0)


@pytest.mark.slow
class TestCounting(BackendContract):
    @pytest.fixture
    def backend(self):
        return CountingBackend(memory())


class TestRetrying(BackendContract):
    @pytest.fixture
    def backend(self):
        return RetryingBackend(memory())


class TestRetryingOverFaults(BackendContract):
    """A place that fails every other time, and a wrapper that makes nobody notice; a lost create is not its business."""

    @pytest.fixture
    def backend(self):
        verbs = ("read", "read_ranges", "write", "list", "delete", "size")
        faulty = FaultyBackend(memory(), "ok fail lost-reply torn-write 409 ok " * 3000, verbs=verbs)
        time = Time()
        backend = RetryingBackend(faulty, seconds=1e9, sleep=time.sleep, clock=time.now)
        backend.retrier.warned = True  # that it takes long is meant
        return backend

    def test_more_than_a_bytes_like_may_carry_goes_by_an_iterable(self, backend):
        pytest.skip("an iterable of more than 64 MiB can't be asked for twice: its failures are the caller's")


@pytest.mark.slow
class TestFaultyOnAGoodDay(BackendContract):
    @pytest.fixture
    def backend(self):
        return FaultyBackend(memory(), "ok " * 100)


@pytest.mark.slow
class TestSlow(BackendContract):
    @pytest.fixture
    def backend(self):
        return LatencyBackend(memory(), latency=0)


class Time:
    """Passes by being slept."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.passed += seconds


def test_a_read_only_backend_reads_and_refuses_every_change():
    inner = memory()
    inner.write("a/b", b"12345")
    backend: Backend = ReadOnlyBackend(inner)
    assert backend.read("a/b") == b"12345"
    assert backend.read_ranges("a/b", [(3, 2), (0, 1)]) == [b"45", b"1"]
    assert backend.size("a/b") == 5
    assert [item.key for item in backend.list("a/")] == ["a/b"]
    for call in (lambda: backend.write("c", b""), lambda: backend.create("c", b""), lambda: backend.delete("a/b")):
        with pytest.raises(RefusedError, match="read-only") as caught:
            call()
        assert caught.value.reasons == ("it was opened with mode='r'",)
    assert inner.read("a/b") == b"12345"
    assert [item.key for item in inner.list("")] == ["a/b"]


def test_a_place_without_a_native_condition_is_read_only_until_one_writer_is_promised(tmp_path):
    FsspecBackend(f"local://{tmp_path}", single_writer=True).write("a", b"1")
    backend = FsspecBackend(f"local://{tmp_path}")
    assert not backend.exclusive
    assert backend.read("a") == b"1"
    for call in (lambda: backend.write("c", b""), lambda: backend.create("c", b""), lambda: backend.delete("a")):
        with pytest.raises(UnsupportedError, match="single_writer=True"):
            call()
    assert [item.key for item in backend.list("")] == ["a"]
