"""What S3 must do beyond the contract: how its refusals are read, how many requests there are, and what nobody may see."""

import gc
import logging
import os
import pickle
import threading
import traceback

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from artifactstore.backend.connect import connect
from artifactstore.backend.errors import ExpiredError, NotAppliedError, ThrottledError
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.backend.s3.responses import range_body
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)

SECRET = "testing-secret-that-nobody-may-see"


@pytest.fixture
def backend(s3_url):
    return S3Backend(s3_url)


def refusal(code, status, message="in the server's words"):
    reply = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(reply, "Anything")


def failing(monkeypatch, *errors):
    """Let requests fail, one error each; None lets one through."""
    rest = list(errors)
    real = S3Backend._send

    async def send(self, verb, arguments):
        error = rest.pop(0) if rest else None
        if error is not None:
            raise error
        return await real(self, verb, arguments)

    monkeypatch.setattr(S3Backend, "_send", send)


VERBS = {
    "read": lambda backend: backend.read("a"),
    "read_ranges": lambda backend: backend.read_ranges("a", [(0, 1)]),
    "write": lambda backend: backend.write("a", b"1"),
    "create": lambda backend: backend.create("a", b"1"),
    "list": lambda backend: list(backend.list("")),
    "delete": lambda backend: backend.delete("a"),
    "size": lambda backend: backend.size("a"),
}


FAILURES = [
    (refusal("AccessDenied", 403), BackendError, False),
    (refusal("403", 403, ""), BackendError, False),
    (refusal("InvalidAccessKeyId", 403), BackendError, False),
    (refusal("ExpiredToken", 400), ExpiredError, False),
    (refusal("PermanentRedirect", 301), BackendError, False),
    (refusal("NoSuchBucket", 404), BackendError, False),
    (refusal("QuotaExceeded", 507), BackendError, False),
    (refusal("SlowDown", 503), ThrottledError, True),
    (refusal("InternalError", 500), BackendError, True),
    (refusal("503", 503, ""), ThrottledError, True),
    (refusal("TooManyRequests", 429), ThrottledError, True),
    (refusal("RequestTimeout", 400), BackendError, True),
    (refusal("NotImplemented", 501), UnsupportedError, None),
    (ReadTimeoutError(endpoint_url=f"http://u:{SECRET}@h"), BackendError, True),
    (EndpointConnectionError(endpoint_url=f"http://u:{SECRET}@h"), BackendError, True),
    (ConnectTimeoutError(endpoint_url=f"http://u:{SECRET}@h"), NotAppliedError, True),
    (TimeoutError(), BackendError, True),
    (ConnectionResetError(104, "reset"), BackendError, True),
    (NoCredentialsError(), BackendError, False),
    (ParamValidationError(report=f"bad {SECRET}"), BackendError, False),
    (ValueError(SECRET), BackendError, False),
]


def name_of(error):
    reply = getattr(error, "response", None) or {"Error": {"Code": type(error).__name__}}
    return reply["Error"]["Code"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("failure", FAILURES, ids=[name_of(error) for error, _, _ in FAILURES])
def test_every_failure_is_read_alike_by_every_verb(monkeypatch, verb, failure):
    error, kind, transient = failure
    backend = S3Backend("s3://bucket/prefix")
    failing(monkeypatch, error)
    with pytest.raises(kind) as caught:
        VERBS[verb](backend)
    if kind is BackendError:
        assert type(caught.value) is BackendError
    if transient is not None:
        assert caught.value.transient is transient
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert caught.value.__context__ is None
    assert backend.url in str(caught.value)


def test_a_timeout_while_creating_is_not_known_to_have_failed(backend, monkeypatch):
    failing(monkeypatch, ReadTimeoutError(endpoint_url="http://h"))
    with pytest.raises(BackendError) as caught:
        backend.create("a", b"1")
    assert not isinstance(caught.value, NotAppliedError)


def test_a_412_says_that_the_key_exists(backend, monkeypatch):
    failing(monkeypatch, refusal("PreconditionFailed", 412))
    with pytest.raises(AlreadyExistsError):
        backend.create("a", b"1")


@pytest.mark.slow
def test_a_409_says_that_nothing_landed_and_is_sent_again_by_the_wrapper(s3_url, monkeypatch):
    clash = refusal("ConditionalRequestConflict", 409)
    failing(monkeypatch, clash)
    with pytest.raises(NotAppliedError) as caught:
        S3Backend(s3_url).create("a", b"1")
    assert caught.value.transient
    failing(monkeypatch, clash, clash)
    backend = connect(s3_url)
    backend.create("a", b"1")
    assert backend.read("a") == b"1"


def test_a_server_that_gives_no_reason_is_not_quoted_as_if_it_had(backend, monkeypatch):
    failing(monkeypatch, refusal("AccessDenied", 403, None))  # Ceph's gateway leaves the message out
    with pytest.raises(BackendError, match="AccessDenied; check the credentials") as caught:
        backend.read("a")
    assert "None" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"endpont_url": "http://user:hidden@h"}, "endpont_url"), ({"client_kwargs": {"endpoint": "x"}}, "client_kwargs.endpoint")],
)
def test_an_option_that_nobody_knows_is_named(s3_url, options, name):
    with pytest.raises(InvalidInputError, match=f"storage_options.*{name}") as caught:
        connect(s3_url, storage_options=options).read("a")
    assert "hidden" not in str(caught.value)


def test_only_a_definite_answer_means_that_a_key_is_missing(backend, monkeypatch):
    failing(monkeypatch, refusal("NoSuchUpload", 404))
    with pytest.raises(BackendError, match="AWS_ENDPOINT_URL"):
        backend.read("a")
    # A 404 of no code may mean the key, the bucket, or that S3 is elsewhere: a listing by the same server knows.
    for read in (lambda: backend.read("a"), lambda: backend.read_ranges("a", [(0, 1)])):
        failing(monkeypatch, refusal("404", 404, "Not Found"), refusal("404", 404, "Not Found"))
        with pytest.raises(BackendError, match="AWS_ENDPOINT_URL"):
            read()
        failing(monkeypatch, refusal("404", 404, "Not Found"))
        with pytest.raises(NotFoundError):
            read()
    backend.write("there", b"1")
    failing(monkeypatch, refusal("404", 404, "Not Found"))
    with pytest.raises(BackendError, match="but the key is listed") as caught:
        backend.read("there")
    assert caught.value.transient
    failing(monkeypatch, refusal("NoSuchKey", 404))
    with pytest.raises(NotFoundError):
        backend.read("a")
    # A HEAD says no more than 404; what is missing is asked for by a GET.
    failing(monkeypatch, refusal("404", 404), refusal("NoSuchBucket", 404))
    with pytest.raises(BackendError, match="does not exist: create it"):
        backend.size("a")


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_bucket_is_said(s3_url, verb):
    with pytest.raises(BackendError, match="the bucket no-such-bucket does not exist: create it") as caught:
        VERBS[verb](S3Backend("s3://no-such-bucket/x"))
    assert not caught.value.transient


@pytest.mark.slow
def test_every_verb_is_one_request(faulty_s3):
    proxy, url = faulty_s3
    backend = S3Backend(url)
    for verb, call in (
        ("write", "PUT"),
        ("read", "GET"),
        ("size", "HEAD"),
        ("list", "GET"),
        ("delete", "DELETE"),
        ("create", "PUT"),
    ):
        VERBS[verb](backend)
        assert [one.verb for one in proxy.log] == [call]
        proxy.log.clear()
    backend.write("b", bytes(64 * 2**20))
    backend.write("c", (bytes(2**20) for _ in range(64)))
    assert len(backend.read("c")) == 64 * 2**20
    assert [one.verb for one in proxy.log] == ["PUT", "PUT", "GET"]


@pytest.mark.slow
def test_a_listing_is_a_request_for_each_thousand(faulty_s3):
    from moto.s3.models import s3_backends

    proxy, url = faulty_s3
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    for number in range(2001):
        s3_backends["123456789012"]["aws"].put_object(bucket, f"{prefix}/{number}", b"")
    assert sum(1 for _ in S3Backend(url).list("")) == 2001
    assert ["list-type=2" in one.path for one in proxy.log] == [True] * 3


def test_ranges_are_read_at_the_same_time(faulty_s3):
    proxy, url = faulty_s3
    backend = S3Backend(url)
    backend.write("a", bytes(100))
    proxy.plan, proxy.most = lambda _: "slow", 0
    backend.read_ranges("a", [(number, 1) for number in range(40)])
    assert proxy.most == backend.concurrency


def test_what_came_is_put_together_where_it_was_asked_for_and_not_on_the_loop(backend, monkeypatch):
    """One thread serves all connections: what it need not do keeps it from reading."""
    data, threads = os.urandom(3 * 2**20), []

    def judge(came, *others):
        threads.append(threading.current_thread())
        return range_body(came, *others)

    monkeypatch.setattr("artifactstore.backend.s3.backend.range_body", judge)
    backend.write("a", data)
    assert backend.read_ranges("a", [(0, 2**20), (5, 0), (2**20, 2**21)]) == [data[: 2**20], b"", data[2**20 :]]
    assert threads == [threading.current_thread()] * 2


@pytest.mark.slow
def test_an_upload_whose_source_breaks_leaves_nothing_behind(backend, s3_url):
    def pieces():
        for _ in range(66):
            yield bytes(2**20)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        backend.write("a", pieces())
    with pytest.raises(NotFoundError):
        backend.read("a")
    client = boto3.client("s3")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_url.split("/")[2])
    client.close()


def test_a_store_is_only_what_lies_under_its_prefix(s3_url):
    outer, inner, sibling = S3Backend(s3_url), S3Backend(f"{s3_url}/deeper"), S3Backend(f"{s3_url}-2")
    inner.write("a", b"1")
    sibling.write("b", b"2")
    assert [item.key for item in outer.list("")] == ["deeper/a"]
    assert [item.key for item in inner.list("")] == ["a"]
    assert [item.key for item in S3Backend(s3_url.rpartition("/some/")[0]).list("some/")] == [
        "some/prefix-2/b",
        "some/prefix/deeper/a",
    ]


def test_what_is_not_ours_is_left_out_of_a_listing(backend):
    backend.write("a/b", b"1")
    client = boto3.client("s3")
    _, _, bucket, prefix = backend.url.split("/", 3)
    for key in ("a/", "a//b", "with blank", "ünïcode"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=b"")
    client.close()
    assert [item.key for item in backend.list("")] == ["a/b"]


def test_with_one_writer_a_server_without_conditions_will_do(s3_url, monkeypatch):
    backend = S3Backend(s3_url, single_writer=True)
    failing(monkeypatch, None, None, refusal("NotImplemented", 501))  # HEAD, GET, and the PUT with the condition
    backend.create("a", b"1")
    assert backend.read("a") == b"1"
    with pytest.raises(AlreadyExistsError):
        backend.create("a", b"2")


def test_without_that_promise_a_server_without_conditions_is_refused(backend, monkeypatch):
    failing(monkeypatch, refusal("NotImplemented", 501))
    with pytest.raises(UnsupportedError, match="single_writer=True"):
        backend.create("a", b"1")
    assert not list(backend.list(""))


def test_a_botocore_that_drops_the_condition_is_refused(backend, monkeypatch):
    filesystem = backend.client.filesystem
    real = filesystem._get_s3_method_kwargs
    monkeypatch.setattr(
        filesystem,
        "_get_s3_method_kwargs",
        lambda *args, **named: {name: value for name, value in real(*args, **named).items() if name != "IfNoneMatch"},
    )
    with pytest.raises(UnsupportedError, match="IfNoneMatch"):
        backend.create("a", b"1")
    assert not list(backend.list(""))


@pytest.mark.parametrize("where", ["environment", "endpoint_url", "client_kwargs"])
def test_the_endpoint_may_be_given_in_each_of_its_ways(s3_url, s3_server, monkeypatch, where):
    options: dict[str, dict[str, object]] = {
        "environment": {},
        "endpoint_url": {"endpoint_url": s3_server},
        "client_kwargs": {"client_kwargs": {"endpoint_url": s3_server}},
    }
    if where != "environment":
        monkeypatch.delenv("AWS_ENDPOINT_URL")
    backend = S3Backend(s3_url, options[where])
    backend.write("a", b"1")
    assert backend.read("a") == b"1"
    assert pickle.loads(pickle.dumps(backend)).read("a") == b"1"


def test_secrets_in_the_options_are_shown_by_nothing(s3_url, s3_server, caplog):
    options = {"key": "AKIATESTINGTESTING", "secret": SECRET, "client_kwargs": {"endpoint_url": s3_server}}
    for backend in (S3Backend(s3_url, options), connect(s3_url, storage_options=options)):
        with caplog.at_level(logging.INFO):
            backend.write("a", b"1")
        with pytest.raises(InvalidInputError, match="may contain a secret") as caught:
            pickle.dumps(backend)
        assert "key" in str(caught.value)
        for text in (repr(backend), str(backend), backend.url, str(caught.value), caplog.text):
            assert SECRET not in text
            assert "AKIATESTINGTESTING" not in text


def test_a_server_that_repeats_a_secret_is_not_quoted(s3_url, monkeypatch):
    backend = S3Backend(s3_url, {"secret": SECRET, "key": "AKIATESTINGTESTING"})
    failing(monkeypatch, refusal("Odd", 400, f"your secret {SECRET} is odd"))
    with pytest.raises(ArtifactStoreError, match=r"your secret \[redacted\] is odd") as caught:
        backend.read("a")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "options",
    [
        {"token": "x"},
        {"endpoint_url": "http://user:pass@host"},
        {"client_kwargs": {"aws_secret_access_key": "x"}},
        {"session": object()},
        {"password": "x"},
        {"loop": object()},
    ],
)
def test_options_that_may_hold_a_secret_are_not_pickled(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        pickle.dumps(S3Backend("s3://bucket/x", options))


def test_a_server_that_is_not_there_is_a_transient_failure_and_certainly_got_nothing(s3_url):
    backend = S3Backend(s3_url, {"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(NotAppliedError, match="no connection"):
        backend.create("a", b"1")
    del backend
    gc.collect()
