"""A URL as source: read from where it lies as it is stored, with the digest that the same files have on disk."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.source_url import SourceUrl
from artifactstore.errors import BackendError, ConflictError, InvalidInputError
from tests.servers.proxy import scripted
from tests.servers.web import serving

NAMES = ("a.txt", "deep/b c.bin", "deep/größe.csv", "empty")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with small, large, empty and oddly named files."""
    top = tmp_path / "files"
    (top / "deep").mkdir(parents=True)
    for name, size in zip(NAMES, (10, 9_000_000, 100_000, 0), strict=True):
        (top / name).write_bytes(random.Random(name).randbytes(size))
    return top


@pytest.fixture
def bucket(s3_url: str, files: Path) -> str:
    """The same in a bucket."""
    from moto.s3.models import s3_backends

    name = s3_url.removeprefix("s3://").partition("/")[0]
    for path in NAMES:
        s3_backends["123456789012"]["aws"].put_object(name, f"raw/{path}", (files / path).read_bytes())
    return f"s3://{name}/raw"


@pytest.fixture
def web(files: Path) -> Iterator[str]:
    """The same on a web server that knows no ranges."""
    with serving(files) as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> artifactstore.Store:
    return artifactstore.create(str(tmp_path / "store"))


@pytest.mark.slow
def test_a_folder_in_a_bucket_has_the_digest_of_the_same_folder_on_disk(store, bucket, files, tmp_path: Path):
    made = store.put(bucket + "/", "raw")
    assert made.digest == store.put(files, "disk").digest
    store.get("raw", to=tmp_path / "got")
    assert {name: (tmp_path / "got" / name).read_bytes() for name in NAMES} == {n: (files / n).read_bytes() for n in NAMES}
    assert store.put(bucket, "raw").new is False
    assert store.put(bucket, "less", exclude=["deep"]).count == 2
    assert store.verify(level="full").ok


@pytest.mark.slow
def test_a_folder_is_left_out_wherever_it_lies_as_on_disk(store, bucket, files):
    from moto.s3.models import s3_backends

    (files / "deep/cache/x").mkdir(parents=True)
    (files / "deep/cache/x/y.bin").write_bytes(b"y")
    name = bucket.removeprefix("s3://").partition("/")[0]
    s3_backends["123456789012"]["aws"].put_object(name, "raw/deep/cache/x/y.bin", b"y")
    for pattern in ("cache", "deep/cache", "c*e", "**/x"):
        assert store.put(bucket, "far", exclude=[pattern]).digest == store.put(files, "near", exclude=[pattern]).digest, pattern


def test_one_object_is_one_file(store, bucket, files):
    made = store.put(f"{bucket}/deep/b c.bin", "one")
    assert made.digest == store.put(files / "deep/b c.bin", "disk").digest
    assert Path(store.get("one")).name == "b c.bin"


def test_a_file_of_the_web_is_one_file(store, web, files):
    made = store.put(f"{web}/a.txt?token=secret", "page")
    assert made.digest == store.put(files / "a.txt", "disk").digest
    assert store.put(f"{web}/deep/b%20c.bin", "large").size == 9_000_000
    assert Path(store.get("large")).name == "b c.bin"
    with pytest.raises(InvalidInputError, match="does not exist") as caught:
        store.put(f"{web}/none.txt?token=secret", "none")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("s3://no-such-bucket-at-all/x", "does not exist"),
        ("nosuch://x/y", "the scheme nosuch:// is not supported"),
        ("sftp://me:secret@host/x", "contains a password"),
    ],
)
def test_a_url_that_leads_nowhere_says_so(store, s3_url, url, what):
    with pytest.raises(InvalidInputError, match=what) as caught:
        store.put(url, "x")
    assert "secret" not in str(caught.value)
    assert not store.names()


def test_options_are_for_their_own_sources(store, bucket, files):
    with pytest.raises(InvalidInputError, match="links= is for files and folders of this machine"):
        store.put(bucket, "x", links="follow")
    with pytest.raises(InvalidInputError, match="source_options= is for URLs"):
        store.put(files, "x", source_options={"anon": True})
    assert store.put("s3://is/only/text", "text", format="text").size == 17


def test_a_source_that_changes_meanwhile_is_an_error_and_nothing_is_committed(store, bucket, monkeypatch):
    from moto.s3.models import s3_backends

    read, name = SourceUrl.read, bucket.removeprefix("s3://").partition("/")[0]

    def change(self, file, offset, size):
        data = read(self, file, offset, size)
        s3_backends["123456789012"]["aws"].put_object(name, f"raw/{file.path}", os.urandom(file.size))
        return data

    monkeypatch.setattr(SourceUrl, "read", change)
    with pytest.raises(ConflictError, match="changed while it was being put"):
        store.put(bucket, "raw")
    assert not store.names()


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("path", ["deep/b c.bin", "a.txt"])
def test_a_failure_amid_a_file_is_that_of_the_source_unless_it_has_changed(store, bucket, monkeypatch, path, changed):
    read, check = SourceUrl.read, SourceUrl.check

    def fail(self, file, offset, size):
        if file.path == path:
            raise BackendError("the requested range is not satisfiable", transient=False)
        return read(self, file, offset, size)

    def checked(self, file):
        if changed and file.path == path:
            raise ConflictError(f"{file.url} changed")
        check(self, file)

    monkeypatch.setattr(SourceUrl, "read", fail)
    monkeypatch.setattr(SourceUrl, "check", checked)
    with pytest.raises(ConflictError if changed else BackendError, match="changed" if changed else "not satisfiable"):
        store.put(bucket, "raw")
    assert not store.names()


def test_a_source_that_can_not_be_reached_is_tried_again_and_then_an_error(store, bucket, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BackendError):
        store.put(bucket, "raw")


def test_a_read_that_comes_short_is_tried_again(store, faulty_s3, bucket, files):
    proxy, _ = faulty_s3
    proxy.plan = scripted("truncated", only=lambda one: one.verb == "GET" and "/deep/" in one.path)
    made = store.put(f"{bucket}/deep/größe.csv", "one")
    assert [one.fault for one in proxy.log if one.verb == "GET" and "/deep/" in one.path] == ["truncated", "ok"]
    assert made.digest == store.put(files / "deep/größe.csv", "disk").digest
