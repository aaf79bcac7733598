"""From URLs to backends, and what is said of those that lead nowhere."""

import sys
from pathlib import Path

import pytest

from artifactstore.backend.connect import connect
from artifactstore.backend.local import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.remote import RemoteBackend
from artifactstore.backend.retrying import RetryingBackend
from artifactstore.backend.s3 import S3Backend
from artifactstore.errors import InvalidInputError, UnsupportedError


def test_a_path_in_any_form_is_a_folder(isolated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url, wanted in {
        str(tmp_path / "s"): tmp_path / "s",
        "s": tmp_path / "s",
        "./s/": tmp_path / "s",
        "~/s": isolated / "s",
        f"file://{tmp_path}/s": tmp_path / "s",
        f"file://localhost{tmp_path}/s": tmp_path / "s",
        (tmp_path / "with blank").as_uri(): tmp_path / "with blank",
        f"local://{tmp_path}/s": tmp_path / "s",
        f"FILE://{tmp_path}/s": tmp_path / "s",
        "a:b": tmp_path / "a:b",
    }.items():
        backend = connect(url)
        assert isinstance(backend, LocalBackend)
        assert backend.url == str(wanted)
    assert connect(tmp_path / "s").url == str(tmp_path / "s")
    assert connect(Path("s")).url == str(tmp_path / "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", [r"C:\data\store", "C:/data/store"])
def test_a_drive_letter_is_no_scheme(url):
    assert isinstance(connect(url), LocalBackend)


def test_memory_is_one_place_per_name():
    connect("memory://name-1").write("a", b"1")
    assert connect("memory://name-1/").read("a") == b"1"
    assert isinstance(connect("memory://name-2"), MemoryBackend)
    assert not list(connect("memory://name-2").list(""))
    assert connect("memory://").url == "memory://"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3a://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://my.bucket-1/a", "s3://my.bucket-1/a"),
    ],
)
def test_s3_is_tried_again_by_a_wrapper_and_connects_nowhere_yet(url, wanted):
    backend = connect(url)
    assert isinstance(backend, RetryingBackend)
    assert isinstance(backend.inner, S3Backend)
    assert backend.url == wanted
    assert backend.exclusive


def test_another_scheme_of_fsspec_reads_and_writes_with_one_writer():
    for promised in (False, True):
        backend = connect("ftp://host/folder", single_writer=promised)
        assert isinstance(backend, RetryingBackend)
        assert isinstance(backend.inner, RemoteBackend)
        assert backend.exclusive is promised


@pytest.mark.parametrize("scheme", ["gs", "gcs", "sftp", "ssh"])
def test_a_scheme_of_a_later_release_names_its_extra(scheme):
    with pytest.raises(UnsupportedError, match=r"later release, as the extra 'artifactstore\[(gcs|sftp)\]'"):
        connect(f"{scheme}://place/x")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_scheme_for_reading_comes_later(scheme):
    with pytest.raises(UnsupportedError, match="for reading"):
        connect(f"{scheme}://place/x")


def test_a_misspelt_scheme_names_its_neighbours():
    with pytest.raises(InvalidInputError, match=r"did you mean .*memory://"):
        connect("memroy://x")
    with pytest.raises(InvalidInputError, match="known are"):
        connect("qqqqqqq://x")


@pytest.mark.parametrize("url", ["", "  ", None, 5, b"/tmp/x", "a\0b", "s3://", "s3:///x", "s3://b//x", "s3://b/x?y", "s3://b/../x",
                                 "memory://a b", "file://host/x", "file://", "simplecache::s3://b/x"])  # fmt: skip
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InvalidInputError):
        connect(url)


@pytest.mark.parametrize("scheme", ["s3", "s3a", "ftp", "sftp", "memory", "gs", "https", "qqq"])
def test_a_password_in_a_url_is_refused_and_not_repeated(scheme):
    with pytest.raises(InvalidInputError, match="password") as caught:
        connect(f"{scheme}://somebody:hunter2@place/x")
    assert "hunter2" not in str(caught.value)
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://KEY@bucket/x", "s3://bucket/x?X-Amz-Signature=KEY"])
def test_other_secrets_in_an_s3_url_are_not_repeated(url):
    with pytest.raises(InvalidInputError, match="storage_options") as caught:
        connect(url)
    assert "KEY" not in str(caught.value)


@pytest.mark.parametrize("url", ["/tmp/x", "memory://x", "file:///tmp/x"])
def test_options_that_would_be_ignored_are_refused(url):
    assert connect(url, storage_options={}).url
    with pytest.raises(InvalidInputError, match="takes no storage_options; leave out key") as caught:
        connect(url, storage_options={"key": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("options", [5, "text", [("a", 1)], {1: 2}])
def test_options_are_a_dict_of_names(options):
    with pytest.raises(InvalidInputError, match="storage_options"):
        connect("s3://bucket/x", storage_options=options)


def test_without_s3fs_the_extra_is_named(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "s3fs", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "s3fs" else find(name, *rest))
    with pytest.raises(UnsupportedError, match=r"pip install 'artifactstore\[s3\]'"):
        connect("s3://bucket/x")
