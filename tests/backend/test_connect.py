"""From URLs to backends, and what is said of those that lead nowhere."""

from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.base import split_bucket
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.readonly.zip import ZipBackend
from artifactstore.backend.remote.fsspec_backend import FsspecBackend
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.backend.wrappers.retrying import Retrier, RetryingBackend
from artifactstore.errors import BackendError, InvalidInputError, UnsupportedError


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
        assert isinstance(backend.inner, FsspecBackend)
        assert backend.exclusive is promised


@pytest.mark.parametrize(
    ("url", "kind", "wanted"),
    [
        ("gs://bucket", "GcsBackend", "gs://bucket"),
        ("gcs://bucket/a/b/", "GcsBackend", "gs://bucket/a/b"),
        ("sftp://host/a/b/", "SftpBackend", "sftp://host/a/b"),
        ("ssh://user@host:22/~/a", "SftpBackend", "sftp://user@host:22/~/a"),
        ("https://host/a/", "HttpBackend", "https://host/a"),
        ("http://[::1]:8000/", "HttpBackend", "http://[::1]:8000"),
    ],
)
def test_what_lies_behind_a_network_is_tried_again_by_a_wrapper_and_connects_nowhere_yet(url, kind, wanted):
    backend = connect(url)
    assert isinstance(backend, RetryingBackend)
    assert type(backend.inner).__name__ == kind
    assert backend.url == wanted
    assert backend.read_only is backend.inner.read_only is (kind == "HttpBackend")
    assert backend.listable is backend.inner.listable is (kind != "HttpBackend")


def test_a_zip_file_is_opened_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("zip://a.zip", "zip://./a.zip/", f"zip://{tmp_path}/a.zip", f"ZIP://{tmp_path}/a.zip"):
        assert isinstance(connect(url), ZipBackend)
        assert connect(url).url == f"zip://{tmp_path}/a.zip"
        assert connect(url).read_only
    assert not list(tmp_path.iterdir())


def test_a_misspelt_scheme_names_its_neighbours():
    with pytest.raises(InvalidInputError, match=r"did you mean .*memory://"):
        connect("memroy://x")
    with pytest.raises(InvalidInputError, match="supported are"):
        connect("qqqqqqq://x")


def test_schemes_of_other_packages_are_listed_and_mistyped_like_ours(tmp_path, monkeypatch):
    about = tmp_path / "other-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[artifactstore.backends]\nquartz = nothing_of_this_name:DRIVER\n")
    for url in ("quartz:/x", "Quartz:x"):
        assert connect(url).url.endswith(url), "a folder, as long as no package has such a scheme"
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"supported are .*memory, quartz, s3, "):
        connect("wwwwwwww://x")
    with pytest.raises(InvalidInputError, match="did you mean quartz://"):
        connect("quarz://x")
    for url in ("quartz:/x", "Quartz:x"):
        with pytest.raises(InvalidInputError, match="expected quartz://"):
            connect(url)
    with pytest.raises(UnsupportedError, match="nothing_of_this_name"):
        connect("quartz://x")


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


@pytest.mark.parametrize("url", ["/tmp/x", "memory://x", "file:///tmp/x", "zip:///tmp/x.zip"])
def test_options_that_would_be_ignored_are_refused(url):
    assert connect(url, storage_options={}).url
    with pytest.raises(InvalidInputError, match="does not accept storage_options; leave out key") as caught:
        connect(url, storage_options={"key": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("options", [5, "text", [("a", 1)], {1: 2}])
def test_options_are_a_dict_of_names(options):
    with pytest.raises(InvalidInputError, match="storage_options"):
        connect("s3://bucket/x", storage_options=options)


@pytest.mark.parametrize("promise", ["yes", 1, None, "False"])
def test_a_promise_is_made_by_true_alone(promise, tmp_path):
    with pytest.raises(InvalidInputError, match="single_writer"):
        connect(tmp_path, single_writer=promise)


@pytest.mark.parametrize(
    ("module", "extra", "url"),
    [
        ("s3fs", "s3", "s3://bucket/x"),
        ("adlfs", "azure", "az://container@account.blob.core.windows.net/x"),
        ("gcsfs", "gcs", "gs://bucket/x"),
        ("paramiko", "sftp", "sftp://host/x"),
        ("aiohttp", "http", "https://host/x"),
    ],
)
def test_without_its_library_a_schemes_extra_is_named(monkeypatch, module, extra, url):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest))
    with pytest.raises(UnsupportedError, match=rf"pip install 'artifactstore-ml\[{extra}\]'"):
        connect(url)


@pytest.mark.parametrize(
    "text", ["s3:/bucket/prefix", "s3:bucket", "S3:/bucket", "gs:/bucket/prefix", "file:/folder", "abfss:/c@a/x"]
)
def test_a_slash_that_is_missing_makes_no_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for use in (connect, artifactstore.open, artifactstore.create):
        with pytest.raises(InvalidInputError, match="://"):
            use(text)
    assert not list(tmp_path.iterdir())
    (tmp_path / text).mkdir(parents=True)  # whoever has such a folder may use it
    artifactstore.create(text)
    assert artifactstore.open(tmp_path / text).names() == []


@pytest.mark.parametrize(
    "value", ["127.0.0.1:9000", "localhost", "minio.example:9000", "ftp://host", "http:/host", "http://", "//host"]
)
@pytest.mark.parametrize("how", ["option", "client_kwargs", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "gs"])
def test_an_endpoint_without_its_scheme_is_refused_by_its_name(how: str, value: str, monkeypatch: pytest.MonkeyPatch):
    options: dict[str, Any] = {"key": "k", "secret": "s"}
    if how.startswith("AWS"):
        monkeypatch.setenv(how, value)
    elif how == "client_kwargs":
        options["client_kwargs"] = {"endpoint_url": value}
    else:
        options["endpoint_url"] = value
    with pytest.raises(InvalidInputError, match=r"(endpoint_url|AWS_ENDPOINT_URL\w*) must begin with http://"):
        connect("gs://bucket/x" if how == "gs" else "s3://bucket/x", storage_options=options)


DEAD: dict[str, tuple[str, dict[str, Any]]] = {
    "s3": ("s3://dead/x", {"key": "k", "secret": "s", "endpoint_url": "http://WHERE"}),
    "gs": ("gs://dead/x", {"token": "anon", "endpoint_url": "http://WHERE"}),
    "http": ("http://WHERE/x", {}),
    "sftp": ("sftp://u@WHERE/x", {"password": "p", "auto_add": True}),
    "azure": (
        "abfss://dead/x",
        {
            "connection_string": "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://WHERE/a;",
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["127.0.0.1:9", "nowhere.invalid:80"])
@pytest.mark.parametrize("scheme", DEAD)
def test_where_nothing_has_ever_answered_the_time_for_trying_again_is_short(
    scheme: str, where: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Retrier, "CONTACT", 0.3)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "300")
    url, options = DEAD[scheme]
    told = {name: value.replace("WHERE", where) if isinstance(value, str) else value for name, value in options.items()}
    backend = connect(url.replace("WHERE", where), storage_options=told)
    with pytest.raises(BackendError, match=r"tried .* in \d+ s; no reply has ever come from there") as error:
        backend.read("store.json")
    assert error.value.transient
    if scheme != "gs":
        assert where.partition(":")[0] in str(error.value)


@pytest.mark.parametrize("prefix", ["", "ml", "env=prod/my team"])
@pytest.mark.parametrize(
    "bucket",
    [
        "bucket",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/mine",
        "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:mine",
        "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-1/accesspoint/mine",
    ],
)
def test_a_bucket_may_be_an_access_point(bucket: str, prefix: str):
    path = f"{bucket}/{prefix}" if prefix else bucket
    assert split_bucket(path) == (bucket, prefix)
    assert connect(f"s3://{path}/", storage_options={"anon": True}).url == f"s3://{path}"
