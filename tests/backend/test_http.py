"""A store on the web: read by anybody from any server of static files, listed by nobody, changed by nobody."""

import json
import os
import pickle
import re
import shutil
import sys
import traceback

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.backend.errors import NotAppliedError, RangesFailedError, ThrottledError
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.readonly.http import HttpBackend
from artifactstore.errors import (
    BackendError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
)
from artifactstore.testing import BackendContract
from tests.backend.published import Published
from tests.servers.between import between
from tests.servers.place import free_port, running

pytestmark = pytest.mark.slow  # the contract once more: the line runs it on the main backends


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """Python's own web server, which knows no ranges: (its folder, its URL)."""
    folder, port = tmp_path_factory.mktemp("web"), free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    with running(command, port, tmp_path_factory.mktemp("log") / "log"):
        yield folder, f"http://127.0.0.1:{port}"


@pytest.fixture
def ranged(web):
    """The same server behind one that cuts ranges out of its answers, as most web servers do."""
    folder, url = web
    with between(url) as server:
        server.change = lambda answer, headers: cut_out(answer, headers.get("Range"))
        yield folder, server.url


def cut_out(answer, wanted):
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
    if match is None or answer[0] != 200:
        return answer
    first, last, body = int(match[1]), int(match[2]), answer[2]
    if first >= len(body):
        return 416, {"Content-Range": f"bytes */{len(body)}"}, b""
    part = body[first : last + 1]
    return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(body)}"}, part


def published_folder(folder, url, name):
    return Published(LocalBackend(folder / name), connect(f"{url}/{name}"))


class OnTheWeb(BackendContract):
    """The contract's reading half; what is written goes to the server's folder, and is listed there."""

    many = 10

    @pytest.mark.skip(reason="the folder's race, not the server's")
    def test_of_many_threads_exactly_one_creates(self, backend):
        pass


class TestWithoutRanges(OnTheWeb):
    @pytest.fixture
    def backend(self, web, tmp_path):
        return published_folder(web[0], web[1], tmp_path.name)

    @pytest.mark.skip(reason="Python's server answers /a/b/c with the folder's own list, or sends to it")
    def test_a_missing_key_is_not_found_by_every_verb_that_reads(self, backend):
        pass


class TestWithRanges(TestWithoutRanges):
    @pytest.fixture
    def backend(self, ranged, tmp_path):
        return published_folder(ranged[0], ranged[1], tmp_path.name)


@pytest.fixture
def published(web, tmp_path):
    """A store in the server's folder, with more than a handful of entries: (the store, its URL)."""
    folder, url = web
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(700_000))
    (source / "b.txt").write_text("text\n" * 1000)
    target = folder / f"store-{tmp_path.name}"
    store = artifactstore.open(target)
    store.put(source, "some/name")
    store.alias("some/name:v1", "good")
    for number in range(40):
        store.put({"number": number}, "value")
    yield store, f"{url}/{target.name}"
    shutil.rmtree(target)


def test_a_store_on_a_web_server_is_opened_named_and_read(published, tmp_path):
    there, url = published
    store = artifactstore.open(url, cache=None)
    assert store.url == url
    assert [name.name for name in store.names()] == ["some/name", "value"]
    assert [version.version for version in store.versions("value")] == [version.version for version in there.versions("value")]
    assert store.get("value:v7") == {"number": 6}
    out = store.get("some/name:good", tmp_path / "out")
    assert (out / "a.bin").read_bytes() == (tmp_path / "source" / "a.bin").read_bytes()
    assert store.artifact("some/name").digest == there.artifact("some/name").digest
    assert store.verify(level="full").ok
    there.put({"number": 40}, "value")
    assert store.get("value") == {"number": 40}
    assert [name.name for name in pickle.loads(pickle.dumps(store)).names()] == ["some/name", "value"]


def test_a_pack_that_is_missing_on_the_web_is_found_by_verify(published):
    there, url = published
    (pack,) = LocalBackend(there.url).list("packs/")
    LocalBackend(there.url).delete(pack.key)
    report = artifactstore.open(url, cache=None).verify()
    assert not report.ok
    assert any(pack.key in str(finding) for finding in report.findings)


def test_a_store_is_copied_from_the_web_into_a_folder(published, tmp_path):
    _, url = published
    artifactstore.open(url, cache=None).maintenance.sync(tmp_path / "copy")
    assert artifactstore.open(tmp_path / "copy").get("value") == {"number": 39}


def test_every_change_is_refused_before_any_work(published, tmp_path):
    there, url = published
    store = artifactstore.open(url, cache=None)
    before = sorted(item.key for item in LocalBackend(there.url).list(""))
    for call in (
        lambda: store.put(tmp_path / "not even there", "x"),
        lambda: store.alias("value:v1", "x"),
        lambda: artifactstore.create(f"{url}-new"),
        lambda: there.maintenance.sync(url),
    ):
        with pytest.raises(RefusedError, match="read-only"):
            call()
    backend = connect(url)
    for verb in (lambda: backend.write("a", b""), lambda: backend.create("a", b""), lambda: backend.delete("store.json")):
        with pytest.raises(RefusedError, match="is read-only"):
            verb()
    assert sorted(item.key for item in LocalBackend(there.url).list("")) == before


def test_no_store_is_told_from_no_server(web):
    with pytest.raises(NotFoundError, match="no store at http"):
        artifactstore.open(f"{web[1]}/nothing").names()
    with pytest.raises(NotAppliedError, match="no connection to 127"):
        HttpBackend("http://127.0.0.1:9/x").read("store.json")
    with pytest.raises(UnsupportedError, match="cannot list"):
        list(connect(web[1]).list(""))


def test_a_server_without_ranges_is_asked_once_for_what_many_ranges_need(web):
    folder, url = web
    (folder / "pack").write_bytes(bytes(range(256)) * 100)
    with between(url) as server:
        backend = HttpBackend(server.url)
        wanted = [(offset, 10) for offset in range(0, 5000, 100)]
        assert backend.read_ranges("pack", wanted) == [(bytes(range(256)) * 100)[offset : offset + 10] for offset, _ in wanted]
        assert len(server.seen) == 1


def test_a_server_with_ranges_is_asked_for_no_more_than_these(ranged):
    folder, url = ranged
    (folder / "pack").write_bytes(bytes(range(256)) * 100)
    with between(url) as server:
        assert HttpBackend(server.url).read_ranges("pack", [(5, 2), (300, 1), (9, 0)]) == [b"\5\6", b",", b""]
        assert sorted(headers["Range"] for _, _, headers in server.seen) == ["bytes=300-300", "bytes=5-6"]


@pytest.mark.parametrize(("status", "words"), [(401, "headers"), (403, "only a 404 marks its end"), (400, "400"), (418, "418")])
def test_a_no_is_an_error_and_never_a_missing_key(web, status, words):
    with between(web[1]) as server:
        server.rule = lambda *_: (status, {}, b"")
        for verb in (lambda: HttpBackend(server.url).read("a"), lambda: HttpBackend(server.url).read_ranges("a", [(0, 1)])):
            with pytest.raises(BackendError, match=words) as caught:
                verb()
            assert not isinstance(caught.value, NotFoundError)
            assert not caught.value.transient


def test_a_busy_server_is_a_transient_failure_and_waited_for(published):
    _, url = published
    base, _, name = url.rpartition("/")
    with between(base) as server:
        server.rule = lambda *_: (503, {"Retry-After": "9"}, b"")
        with pytest.raises(ThrottledError) as caught:
            HttpBackend(f"{server.url}/{name}").read("store.json")
        assert caught.value.retry_after == 9
        left = [3]

        def rule(*_):
            left[0] -= 1
            return (502, {}, b"") if left[0] >= 0 else None

        server.rule = rule
        assert artifactstore.open(f"{server.url}/{name}", cache=None).get("value") == {"number": 39}
        assert left[0] < 0


@pytest.mark.parametrize("status", [404, 410])
def test_a_definite_no_such_thing_is_a_missing_key(web, status):
    with between(web[1]) as server:
        server.rule = lambda *_: (status, {}, b"a page of its own")
        backend = HttpBackend(server.url)
        for verb in (lambda: backend.read("a"), lambda: backend.read_ranges("a", [(0, 1)]), lambda: backend.size("a")):
            with pytest.raises(NotFoundError):
                verb()


def test_a_body_that_is_cut_is_never_taken_for_less_data(ranged):
    folder, url = ranged
    (folder / "pack").write_bytes(os.urandom(100_000))
    with between(url) as server:
        server.cut = 50_000
        for verb in (
            lambda: HttpBackend(server.url).read("pack"),
            lambda: HttpBackend(server.url).read_ranges("pack", [(0, 90_000)]),
        ):
            with pytest.raises(BackendError, match="connection broke") as caught:
                verb()
            assert caught.value.transient


def test_of_many_ranges_those_that_came_are_kept(ranged):
    folder, url = ranged
    (folder / "pack").write_bytes(b"0123456789")
    with between(url) as server:
        backend = HttpBackend(server.url)
        backend.read_ranges("pack", [(0, 1)])
        server.rule = lambda _method, _path, headers: (503, {}, b"") if headers.get("Range") == "bytes=3-4" else None
        with pytest.raises(RangesFailedError) as caught:
            backend.read_ranges("pack", [(0, 2), (3, 2), (8, 2)])
        assert caught.value.found == {0: b"01", 2: b"89"}


def test_redirects_are_followed_but_not_in_circles(published):
    _, url = published
    base, _, name = url.rpartition("/")
    with between(base) as server:
        server.rule = lambda _method, path, _headers: (302, {"Location": base + path}, b"")
        assert artifactstore.open(f"{server.url}/{name}", cache=None).get("value") == {"number": 39}
        server.rule = lambda _method, path, _headers: (302, {"Location": path}, b"")
        with pytest.raises(BackendError, match="without end"):
            HttpBackend(f"{server.url}/{name}").read("store.json")


def test_a_credential_goes_to_its_server_alone_and_into_no_message(published):
    _, url = published
    base, _, name = url.rpartition("/")
    secret = "Bearer nobody-may-see-this"
    with between(base) as other, between(base) as server:
        server.rule = lambda _method, path, _headers: (302, {"Location": other.url + path}, b"")
        options = {"headers": {"Authorization": secret}}
        store = artifactstore.open(f"{server.url}/{name}", storage_options=options, cache=None)
        assert store.get("value") == {"number": 39}
        assert all(headers.get("Authorization") == secret for _, _, headers in server.seen)
        assert other.seen
        assert not any("Authorization" in headers for _, _, headers in other.seen)
        server.rule = lambda *_: (403, {}, secret.encode())
        with pytest.raises(BackendError) as caught:
            store.get("value")
        assert secret not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(InvalidInputError, match="headers"):
            pickle.dumps(connect(server.url, storage_options=options))


def test_a_page_of_html_instead_of_a_store_is_no_store(web):
    with between(web[1]) as server:
        server.rule = lambda *_: (200, {"Content-Type": "text/html"}, b"<html>please log in</html>")
        with pytest.raises((CorruptionError, artifactstore.errors.FormatError)):
            artifactstore.open(server.url, cache=None).names()


def test_a_size_that_a_server_does_not_tell_is_found_by_reading(web):
    folder, url = web
    (folder / "pack").write_bytes(b"12345")
    with between(url) as server:
        server.rule = lambda method, _path, _headers: (405, {}, b"") if method == "HEAD" else None
        assert HttpBackend(server.url).size("pack") == 5


@pytest.mark.parametrize(
    "url", ["http://", "https:///x", "https://host/x?sig=SECRET", "https://host/x#y", "https://a b/x", "https://h/a b"]
)
def test_what_is_no_place_on_the_web_is_refused_without_repeating_a_signature(url):
    with pytest.raises(InvalidInputError) as caught:
        connect(url)
    assert "SECRET" not in str(caught.value)


def test_a_bucket_that_everybody_may_read_is_a_store_on_the_web(s3_url, s3_server, tmp_path):
    """A real server of ranges: what was written by S3 is read without it."""
    from moto.s3.models import s3_backends

    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(3_000_000))
    put = artifactstore.open(s3_url, cache=None).put(source, "some/name")
    bucket = s3_url.removeprefix("s3://").partition("/")[0]
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3_backends["123456789012"]["aws"].put_bucket_policy(bucket, json.dumps({"Statement": [allowed]}).encode())
    store = artifactstore.open(f"{s3_server}/{s3_url.removeprefix('s3://')}", cache=None)
    assert store.artifact("some/name").digest == put.digest
    assert (store.get("some/name", tmp_path / "out") / "a.bin").read_bytes() == (source / "a.bin").read_bytes()
    with store.open_file("some/name", "a.bin") as file:
        file.seek(2_000_000)
        assert file.read(1000) == (source / "a.bin").read_bytes()[2_000_000:2_001_000]
    assert store.verify(level="full").ok
    backend = HttpBackend(store.url)
    assert backend.read_ranges("store.json", [(2, 5)]) == [backend.read("store.json")[2:7]]
    assert backend._ranges_known
