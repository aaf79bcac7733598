"""What Google Cloud Storage must do beyond the contract: its refusals in words, requests sent once, a whole store in it."""

import json
import os
import traceback
import uuid

import pytest

import artifactstore
from artifactstore.backend.buffers import content_crc32c
from artifactstore.backend.connect import connect
from artifactstore.backend.errors import KeptError, NotAppliedError, RangesFailedError, ThrottledError
from artifactstore.backend.gcs.backend import GcsBackend
from artifactstore.errors import (
    AlreadyExistsError,
    BackendError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)
from tests.servers.between import between
from tests.servers.gcs import make_bucket


@pytest.fixture
def place(gcs_url, gcs_server, monkeypatch):
    """A backend without retries, and what stands between it and the server."""
    with between(gcs_server) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield GcsBackend(gcs_url), server


def refusing(status, reason="", message="", headers=None, when=lambda _method, _path: True):
    body = json.dumps(
        {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
    ).encode()
    return lambda method, path, _: (status, headers or {}, body) if when(method, path) else None


VERBS = {
    "read": lambda backend: backend.read("a"),
    "ranges": lambda backend: backend.read_ranges("a", [(0, 1)]),
    "size": lambda backend: backend.size("a"),
    "write": lambda backend: backend.write("a", b"1"),
    "create": lambda backend: backend.create("b", b"1"),
    "list": lambda backend: list(backend.list("")),
    "delete": lambda backend: backend.delete("a"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "permission"),
    [
        ("read", "storage.objects.get"), ("ranges", "storage.objects.get"), ("size", "storage.objects.get"),
        ("write", "storage.objects.create"), ("create", "storage.objects.create"), ("list", "storage.objects.list"),
        ("delete", "storage.objects.delete"),
    ],
)  # fmt: skip
def test_a_missing_permission_is_named_by_each_verb(place, verb, permission):
    backend, server = place
    server.rule = refusing(403, "forbidden", "somebody does not have access")
    with pytest.raises(BackendError, match=permission.replace(".", r"\.")) as caught:
        VERBS[verb](backend)
    assert not caught.value.transient
    assert "somebody does not have access" in str(caught.value)


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_bucket_that_is_missing_is_no_missing_key(gcs_url, verb):
    backend = GcsBackend(f"gs://missing-{uuid.uuid4().hex}/prefix")
    with pytest.raises(BackendError, match=r"the bucket missing-.* does not exist"):
        VERBS[verb](backend)


def test_a_missing_object_is_told_from_a_missing_bucket_by_googles_own_words(place):
    backend, server = place
    server.rule = refusing(404, "notFound", "No such object: bucket/some/prefix/a")
    for verb in ("read", "ranges", "size"):
        with pytest.raises(NotFoundError):
            VERBS[verb](backend)
    backend.delete("a")
    assert len(server.seen) == 4  # one request each
    server.rule = refusing(404, "notFound", "The specified bucket does not exist.")
    with pytest.raises(BackendError, match="does not exist: create it"):
        backend.read("a")


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [(429, "rateLimitExceeded", ThrottledError), (503, "backendError", ThrottledError), (403, "userRateLimitExceeded", ThrottledError),
     (500, "internalError", BackendError), (408, "requestTimeout", BackendError)],
)  # fmt: skip
def test_a_busy_service_is_a_transient_failure(place, status, reason, kind):
    backend, server = place
    server.rule = refusing(status, reason, "try later", {"Retry-After": "7"})
    for verb in VERBS.values():
        with pytest.raises(kind) as caught:
            verb(backend)
        assert caught.value.transient
        if kind is ThrottledError:
            assert caught.value.retry_after == 7


def test_a_create_is_sent_once_whatever_comes_back(place):
    backend, server = place
    server.rule = refusing(503, "backendError")
    with pytest.raises(BackendError) as caught:
        connect(backend.url).create("a", b"1")
    assert not isinstance(caught.value, NotAppliedError)
    assert len([path for method, path, _ in server.seen if method == "POST"]) == 1


def test_an_upload_whose_answer_was_lost_counts_for_who_may_not_replace_it(place):
    backend, server = place
    backend.write("a", b"mine")
    server.rule = refusing(403, "forbidden", "no storage.objects.delete", when=lambda method, _path: method == "POST")
    backend.write("a", b"mine")
    for key, data in (("a", b"other"), ("b", b"mine")):
        with pytest.raises(BackendError, match=r"storage\.objects\.delete"):
            backend.write(key, data)
    assert backend.read("a") == b"mine"


def test_a_create_asks_for_generation_0_and_a_write_for_none_and_both_send_their_md5(place):
    backend, server = place
    backend.create("a", b"1")
    backend.write("a", b"2")
    create, write = [path for _, path, _ in server.seen]
    assert "ifGenerationMatch=0" in create
    assert "ifGenerationMatch" not in write
    with pytest.raises(AlreadyExistsError):
        backend.create("a", b"1")
    assert backend.read("a") == b"2"


def test_a_reading_store_is_patient_with_a_busy_service(place):
    backend, server = place
    backend.write("a", b"1")
    left = [2]

    def rule(method, _path, _headers):
        if method != "GET" or not left[0]:
            return None
        left[0] -= 1
        return 503, {}, b""

    server.rule = rule
    assert connect(backend.url).read("a") == b"1"
    assert left == [0]


def test_a_body_that_was_damaged_on_its_way_is_noticed(place):
    backend, server = place
    backend.write("a", b"first bytes")
    server.change = lambda answer, _headers: (answer[0], answer[1], answer[2].replace(b"first", b"worst"))
    with pytest.raises(BackendError, match="MD5") as caught:
        backend.read("a")
    assert caught.value.transient
    server.rule = refusing(400, "invalid", 'Provided MD5 hash "x" doesn\'t match calculated MD5 hash "y".')
    with pytest.raises(NotAppliedError, match="damaged in transit"):
        backend.create("b", b"1")


def test_a_server_that_keeps_other_bytes_is_noticed(place):
    backend, server = place
    server.change = lambda answer, _headers: (answer[0], answer[1], b'{"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}')
    with pytest.raises(BackendError, match="other bytes than were sent"):
        backend.write("a", b"1")
    backend.write("a", bytes(2**20))  # what is large has another checksum, which takes a tenth of the time
    server.change = lambda answer, _headers: (answer[0], answer[1], b'{"crc32c": "AAAAAA=="}')
    with pytest.raises(BackendError, match="other bytes than were sent"):
        backend.write("a", bytes(2**20))


def test_a_large_body_has_the_crc_that_the_service_finds(place):
    """The server reckons it itself, as the service does; an emulator's own code, and not that of this library."""
    backend, server = place
    told: list[bytes] = []

    def look(answer, _headers):
        told.append(answer[2])
        return answer

    server.change = look
    data = os.urandom(2**20 + 7)
    backend.write("a", memoryview(data))
    assert json.loads(told[0])["crc32c"] == content_crc32c(data)
    assert backend.read("a") == data


def test_a_body_that_is_cut_is_never_taken_for_less_data(place):
    backend, server = place
    backend.write("a", os.urandom(100_000))
    server.cut = 50_000
    for call in (lambda: backend.read("a"), lambda: backend.read_ranges("a", [(0, 90_000)])):
        with pytest.raises(BackendError, match="connection broke") as caught:
            call()
        assert caught.value.transient


def test_of_many_ranges_those_that_came_are_kept(place):
    backend, server = place
    backend.write("a", b"0123456789")
    server.rule = lambda _method, _path, headers: (503, {}, b"") if headers.get("Range") == "bytes=3-4" else None
    with pytest.raises(RangesFailedError) as caught:
        backend.read_ranges("a", [(0, 2), (3, 2), (8, 2)])
    assert caught.value.found == {0: b"01", 2: b"89"}
    server.rule = lambda *_: None
    server.change = lambda answer, _headers: (answer[0], {**answer[1], "Content-Range": "bytes 1-2/10"}, answer[2])
    with pytest.raises(BackendError, match="got others"):
        backend.read_ranges("a", [(0, 2)])


def test_an_endless_listing_ends(place):
    backend, server = place
    server.change = lambda answer, _headers: (answer[0], answer[1], b'{"items": [], "nextPageToken": "same"}')
    with pytest.raises(BackendError, match="same page again"):
        list(backend.list(""))
    server.change = lambda answer, _headers: (answer[0], answer[1], b"<html>a portal</html>")
    with pytest.raises(BackendError, match="not from Google Cloud Storage"):
        list(backend.list(""))


def test_a_connection_that_never_stood_can_be_tried_again(gcs_url, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    for verb in VERBS.values():
        with pytest.raises(NotAppliedError, match="no connection"):
            verb(GcsBackend(gcs_url))


def test_credentials_that_are_not_accepted_say_what_to_do_and_are_asked_for_anew_once(place):
    backend, server = place
    server.rule = refusing(401, "authError", "Invalid Credentials")
    with pytest.raises(BackendError, match="gcloud auth application-default login"):
        backend.read("a")
    assert len(server.seen) == 2
    connected = backend.client.filesystem
    server.rule = lambda *_: None
    backend.write("a", b"1")
    assert backend.client.filesystem is connected


def test_a_token_reaches_no_error_no_repr_and_no_pickle(gcs_url, gcs_server, monkeypatch):
    import pickle

    monkeypatch.setenv("FETCH_RAW_TOKEN_EXPIRY", "false")
    token = "ya29.a-token-that-nobody-may-see"
    with between(gcs_server) as server:
        server.rule = lambda _method, _path, headers: (
            403,
            {},
            json.dumps({"error": {"message": f"no: {headers['authorization']}"}}).encode(),
        )
        backend = connect(gcs_url, storage_options={"token": token, "endpoint_url": server.url})
        with pytest.raises(BackendError, match="no: Bearer") as caught:
            backend.read("a")
        assert server.seen[0][2]["authorization"] == f"Bearer {token}"
    shown = "".join(traceback.format_exception(caught.value)) + repr(backend)
    assert token not in shown
    with pytest.raises(InvalidInputError, match="token") as refused:
        pickle.dumps(backend)
    assert token not in str(refused.value)


def test_a_service_accounts_file_that_is_broken_is_told_without_its_content(gcs_url, tmp_path, monkeypatch):
    (tmp_path / "key.json").write_text('{"type": "service_account", "private_key": "SECRET"}')
    with pytest.raises(BackendError, match="cannot connect with these options") as caught:
        GcsBackend(gcs_url, {"token": str(tmp_path / "key.json")}).read("a")
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.slow
def test_an_upload_in_parts_goes_on_where_a_part_was_cut(place):
    backend, server = place
    hand_on, half = server.answer, 32 * 2**20

    def halved(method, path, headers, body):
        """Of the first part only a half gets through."""
        if method == "PUT" and len(server.seen) == 1:
            return hand_on(method, path, {**headers, "Content-Range": f"bytes 0-{half - 1}/*"}, body[:half])
        return hand_on(method, path, headers, body)

    server.answer = halved
    pieces = [os.urandom(2**20) for _ in range(70)]
    backend.write("a", iter(pieces))
    spans = [headers["Content-Range"] for method, _, headers in server.seen if method == "PUT"]
    end, total = 64 * 2**20, 70 * 2**20
    assert spans == [f"bytes 0-{half - 1}/*", f"bytes {half}-{end - 1}/*", f"bytes {end}-{total - 1}/{total}"]
    assert backend.read("a") == b"".join(pieces)


def test_an_upload_that_the_caller_breaks_off_is_dropped(place):
    backend, server = place

    def broken():
        for _ in range(70):
            yield bytes(2**20)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        backend.write("a", broken())
    assert "DELETE" in [method for method, _, _ in server.seen]
    assert not backend._uploads
    with pytest.raises(NotFoundError):
        backend.read("a")


def test_a_server_that_ignores_the_condition_is_found_out(careless_gcs_url):
    backend = connect(careless_gcs_url)
    backend.create("a", b"1")
    backend.create("a", b"2")  # what makes it unfit
    assert backend.read("a") == b"2"
    backend.delete("a")
    with pytest.raises(UnsupportedError, match="ignores conditions silently"):
        artifactstore.open(careless_gcs_url, cache=None).put(b"1", "name")
    store = artifactstore.open(careless_gcs_url, cache=None, single_writer=True)
    store.put(b"1", "name")
    assert store.get("name") == b"1"


def batches(server):
    return [path for method, path, _ in server.seen if method == "POST" and path.startswith("/batch/")]


def test_many_objects_are_deleted_by_one_request_for_each_100(place):
    backend, server = place
    keys = [f"packs/{k:02}/{k:032}.pack" for k in range(12)]
    for key in keys:
        backend.write(key, b"x")
    server.seen.clear()
    missing = [f"packs/00/missing-{k}" for k in range(205)]
    assert backend.delete_many([*keys[1:], *missing]) == {}
    assert len(server.seen) == len(batches(server)) == 3
    assert [item.key for item in backend.list("packs/")] == keys[:1]


def multipart(*parts, edge="batch_x", ids=True):
    """The reply to a batch in the form that Google documents."""
    body = "".join(
        f"--{edge}\r\nContent-Type: application/http\r\n{f'Content-ID: <response-{number}>' if ids else 'X-Other: 1'}\r\n\r\n"
        f"HTTP/1.1 {status}\r\nContent-Type: application/json; charset=UTF-8\r\n{more}Content-Length: {len(text)}\r\n\r\n{text}\r\n"
        for number, status, text, more in parts
    )
    return 200, {"Content-Type": f'multipart/mixed; boundary="{edge}"'}, f"{body}--{edge}--\r\n".encode()


def refusal(status, reason, message):
    return json.dumps({"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}})


def test_what_a_batch_could_not_delete_is_named(place):
    backend, server = place
    parts = [
        (5, "429 Too Many Requests", refusal(429, "rateLimitExceeded", "slow down"), "Retry-After: 9\r\n"),
        (1, "204 No Content", "", ""),
        (2, "404 Not Found", refusal(404, "notFound", "No such object: b/some/prefix/b"), ""),
        (4, "403 Forbidden", refusal(403, "forbidden", "x does not have storage.objects.delete access"), ""),
        (3, "403 Forbidden", refusal(403, "retentionPolicyNotMet", "it is retained"), ""),
    ]
    server.rule = lambda _method, path, _headers: multipart(*parts) if path.startswith("/batch/") else None
    failed = backend.delete_many(["a", "b", "c", "d", "e"])
    assert sorted(failed) == ["c", "d", "e"], "whatever the order of the parts"
    assert isinstance(failed["c"], KeptError)
    assert "storage.objects.delete" in str(failed["d"])
    assert isinstance(failed["e"], ThrottledError)
    assert failed["e"].retry_after == 9
    assert len(server.seen) == 1


def test_objects_of_a_missing_bucket_are_not_taken_for_deleted(gcs_url):
    failed = GcsBackend(f"gs://missing-{uuid.uuid4().hex}/prefix").delete_many(["a", "b"])
    assert sorted(failed) == ["a", "b"]
    assert all("does not exist" in str(error) for error in failed.values())


@pytest.mark.parametrize(
    "answer",
    [
        (405, {}, b""),
        (404, {}, b"Not Found"),
        (200, {}, b"{}"),
        multipart((1, "204 No Content", "", "")),
        multipart((1, "204 No Content", "", ""), (1, "204 No Content", "", ""), (2, "204 No Content", "", "")),
        multipart((1, "204 No Content", "", ""), (2, "204 No Content", "", ""), (7, "204 No Content", "", "")),
        multipart((1, "204 No Content", "", ""), (2, "gone", "", ""), (3, "204 No Content", "", "")),
        (200, {"Content-Type": "multipart/mixed"}, b"--\r\n"),
    ],
    ids=["no such method", "no such path", "other type", "too few", "twice", "unknown", "no status", "no boundary"],
)
def test_where_no_batches_are_understood_objects_are_deleted_one_by_one(place, answer):
    backend, server = place
    keys = ["a", "b", "c"]
    for _ in range(2):
        for key in keys:
            backend.write(key, b"x")
        server.rule = lambda _method, path, _headers: answer if path.startswith("/batch/") else None
        assert backend.delete_many(keys) == {}
        assert list(backend.list("")) == []
    assert len(batches(server)) == 1, "it is not asked for again"


def test_parts_without_names_count_in_their_order(place):
    backend, server = place
    parts = [(0, "204 No Content", "", ""), (0, "503 Service Unavailable", refusal(503, "backendError", "later"), "")]
    server.rule = lambda _method, path, _headers: multipart(*parts, ids=False) if path.startswith("/batch/") else None
    failed = backend.delete_many(["a", "b"])
    assert list(failed) == ["b"]
    assert failed["b"].transient


def test_a_busy_batch_is_asked_for_again(place):
    backend, server = place
    for key in ("a", "b"):
        backend.write(key, b"x")
    answers = iter([refusing(503, "backendError")("POST", "", {})])
    server.rule = lambda _method, path, _headers: next(answers, None) if path.startswith("/batch/") else None
    assert connect(backend.url).delete_many(["a", "b"]) == {}
    assert len(batches(server)) == 2
    assert list(backend.list("")) == []


@pytest.mark.parametrize("url", ["gs://", "gs:///x", "gs://b//x", "gs://b/x?y", "gcs://key@b/x", "gs://b/../x"])
def test_what_is_no_place_is_refused(url):
    with pytest.raises(InvalidInputError):
        connect(url)


def test_both_schemes_mean_the_same(gcs_url):
    connect(gcs_url).write("a", b"1")
    other = connect(gcs_url.replace("gs://", "gcs://"))
    assert other.read("a") == b"1"
    assert other.url == gcs_url


def test_a_store_in_google_cloud_storage_has_the_digests_of_one_in_a_folder(gcs_url, gcs_server, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(300_000))
    (source / "b.txt").write_text("text\n" * 1000)
    digests = set()
    for url in (gcs_url, f"gs://{make_bucket(gcs_server)}", str(tmp_path / "store")):
        store = artifactstore.open(url, cache=None)
        digests.add(store.put(source, "some/name").digest)
        store.alias("some/name:v1", "good", reason="it is")
        assert (store.get("some/name:good", tmp_path / f"out{len(url)}") / "a.bin").read_bytes() == (
            source / "a.bin"
        ).read_bytes()
        assert store.verify(level="full").ok
    assert len(digests) == 1
