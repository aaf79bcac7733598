"""The client that the remote backends own: how often a request is sent, how its failure reads, and what a listing yields."""

import inspect
import itertools
import pickle
import threading
import traceback
from contextlib import suppress
from typing import Any

import fsspec
import pytest
from fsspec.asyn import get_loop

from artifactstore.backend.azure.backend import AzureBackend
from artifactstore.backend.azure.urls import parse_azure_url
from artifactstore.backend.base import Stored
from artifactstore.backend.errors import ExpiredError, RangesFailedError, Request, ThrottledError
from artifactstore.backend.gcs.backend import GcsBackend
from artifactstore.backend.readonly.http import HttpBackend
from artifactstore.backend.remote import event_loop
from artifactstore.backend.remote.fsspec_backend import FsspecBackend
from artifactstore.backend.remote.fsspec_client import FsspecClient
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError, UnsupportedError

URL = "x://bucket/p"
ACCOUNT = {"AZURE_STORAGE_ACCOUNT_NAME": "account"}


class Service:
    """Connections of a client to a service; each request ends as the next outcome says."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.connections = 0
        self.sent = 0

    def connect(self) -> tuple[Any, str]:
        self.connections += 1
        filesystem = fsspec.AbstractFileSystem(skip_instance_cache=True)
        filesystem.loop = get_loop()
        return filesystem, ""

    async def send(self, *_: Any) -> Any:
        self.sent += 1
        outcome = self.outcomes.pop(0) if self.outcomes else b"ok"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def client(service: Service, **more: Any) -> FsspecClient:
    return FsspecClient(URL, {}, service.connect, **more)


def expired(error: Exception, _request: Request) -> BackendError | None:
    return ExpiredError("expired") if isinstance(error, KeyError) else None


def renewing(times: list[int], *, outcome: bool = True) -> Any:
    def renew(one: FsspecClient) -> bool:
        one.disconnect()
        times.append(1)
        return outcome

    return renew


@pytest.mark.parametrize("how", ["request", "ranges"])
@pytest.mark.parametrize("renewed", [True, False, None])
@pytest.mark.parametrize("failures", [1, 2])
def test_expired_credentials_are_renewed_once_and_only_if_others_are_there(how, renewed, failures):
    times: list[int] = []
    service = Service(*[KeyError("a token")] * failures)
    one = client(service, explain=expired, renew=None if renewed is None else renewing(times, outcome=renewed))

    def ask() -> bytes:
        if how == "request":
            return bytes(one.request("read", "a", service.send))
        return one.read_ranges("a", [(0, 2)], 4, service.send, lambda came, _: came)[0]

    if renewed and failures == 1:
        assert ask() == b"ok"
    else:
        with pytest.raises(ExpiredError, match="expired"):
            ask()
    assert service.sent == (2 if renewed else 1)
    assert len(times) == (0 if renewed is None else 1)
    assert service.connections == (2 if renewed else 1)


def test_credentials_that_another_thread_renewed_are_used_without_renewing_them_again():
    times: list[int] = []
    service = Service()
    one = client(service, explain=expired, renew=renewing(times))

    async def send() -> bytes:
        service.sent += 1
        if service.sent == 1:
            one.disconnect()
            one.connection()  # as another thread does while this request is on its way
            raise KeyError
        return b"ok"

    assert one.request("read", "a", send) == b"ok"
    assert (service.sent, times) == (2, [])


FAILURES = [
    (FileNotFoundError("secret"), NotFoundError, False),
    (IsADirectoryError("secret"), NotFoundError, False),
    (FileExistsError("secret"), AlreadyExistsError, False),
    (ImportError("paramiko"), UnsupportedError, False),
    (TypeError("unexpected keyword argument 'colour'"), InvalidInputError, False),
    (TimeoutError("secret"), BackendError, True),
    (ConnectionResetError(104, "reset"), BackendError, True),
    (PermissionError(13, "denied"), BackendError, False),
    (OSError(5, "input/output error"), BackendError, False),
    (ValueError("secret"), BackendError, False),
]


@pytest.mark.parametrize("how", ["request", "call", "ranges"])
@pytest.mark.parametrize(("error", "kind", "transient"), FAILURES, ids=[type(error).__name__ for error, _, _ in FAILURES])
def test_a_failure_reads_alike_by_every_way_and_carries_nothing_of_the_librarys(how, error, kind, transient):
    service = Service(error)
    one = FsspecClient(URL, {"colour": 1, "password": "secret"}, service.connect)

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        {
            "request": lambda: one.request("read", "a", service.send),
            "call": lambda: one.call("read", "a", fail),
            "ranges": lambda: one.read_ranges("a", [(0, 2)], 4, service.send, lambda came, _: came),
        }[how]()
    assert getattr(caught.value, "transient", False) is transient
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_the_services_own_reading_of_a_failure_comes_first_and_knows_the_request():
    seen: list[Request] = []

    def explain(_error: Exception, request: Request) -> BackendError | None:
        seen.append(request)
        return ThrottledError(str(request)) if len(seen) == 1 else None

    service = Service(ValueError("a"), ValueError("b"))
    one = FsspecClient(URL, {"password": "hunter22"}, service.connect, bucket="bucket", explain=explain)
    with pytest.raises(ThrottledError, match=r"^cannot write k in x://bucket/p$"):
        one.request("write", "k", service.send)
    with pytest.raises(BackendError, match=r"^cannot list x://bucket/p \(ValueError\)$"):
        one.request("list", "", service.send)
    assert [(one.url, one.bucket, one.action, one.key) for one in seen] == [
        (URL, "bucket", "write", "k"),
        (URL, "bucket", "list", ""),
    ]
    assert "hunter22" not in seen[0].hide("the password hunter22 is wrong")
    assert seen[0].filesystem is one.filesystem


def test_before_there_is_a_connection_the_service_reads_a_failure_without_one():
    seen: list[Request] = []

    def connect() -> tuple[Any, str]:
        raise ValueError

    one = FsspecClient(URL, {}, connect, explain=lambda _, request: seen.append(request))
    with pytest.raises(BackendError):
        one.request("read", "a", Service().send)
    assert [request.filesystem for request in seen] == [None]


def test_of_many_ranges_those_that_came_are_kept():
    service = Service(b"one", ConnectionResetError(104, "reset"), b"three")
    with pytest.raises(RangesFailedError) as caught:
        client(service).read_ranges("a", [(0, 3), (3, 3), (6, 5)], 1, service.send, lambda came, _: came)
    assert caught.value.found == {0: b"one", 2: b"three"}
    assert service.sent == 3


@pytest.mark.parametrize(("key", "ranges"), [("/a", [(0, 1)]), ("a/../b", [(0, 1)]), ("a", [(-1, 1)]), ("a", [(0, -1)])])
def test_no_request_is_sent_for_what_cannot_be_read(key, ranges):
    service = Service()
    with pytest.raises(InvalidInputError):
        client(service).read_ranges(key, ranges, 4, service.send, lambda came, _: came)
    assert (service.sent, service.connections) == (0, 0)


PAGES = {None: (["a", "../b", "c d"], 1), 1: ([], 2), 2: (["e/f", ""], None)}


def test_a_listing_has_the_keys_of_all_pages_and_leaves_out_what_no_store_writes():
    asked: list[Any] = []

    def page(prefix: str, token: Any) -> tuple[list[Stored], Any]:
        asked.append((prefix, token))
        return [Stored(key, 1, None) for key in PAGES[token][0]], PAGES[token][1]

    assert [item.key for item in client(Service()).list_pages("", page)] == ["a", "e/f"]
    assert asked == [("", None), ("", 1), ("", 2)]
    with pytest.raises(InvalidInputError, match="not a prefix"):
        list(client(Service()).list_pages("no-slash", page))


@pytest.mark.parametrize("kind", ["azure", "gcs", "s3"])
def test_a_listing_whose_next_page_is_the_same_again_ends_with_an_error(kind, monkeypatch):
    numbers = itertools.count()
    backend: Any
    page: Any
    if kind == "azure":
        backend, name, page = AzureBackend(parse_azure_url("az", "container/p", {}, ACCOUNT)), "_page", lambda *_: ([], "again")
    elif kind == "gcs":
        backend, name, page = GcsBackend("gs://bucket/p"), "_page", lambda *_: {"nextPageToken": "again"}
    else:
        backend, name, page = (
            S3Backend("s3://bucket/p"),
            "_page",
            lambda *_: {"IsTruncated": True, "NextContinuationToken": "again"},
        )
    monkeypatch.setattr(backend, name, lambda *given: next(numbers) < 9 and page(*given))
    with pytest.raises(BackendError, match="the same page again and again, so the rest cannot be listed"):
        list(backend.list(""))
    assert next(numbers) == 2


def backends(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "s3": S3Backend("s3://bucket/p", options),
        "gcs": GcsBackend("gs://bucket/p", options),
        "azure": AzureBackend(parse_azure_url("az", "container/p", options, ACCOUNT), options),
        "http": HttpBackend("http://127.0.0.1:9/p", options),
        "fsspec": FsspecBackend("local:///p", options),
    }


@pytest.mark.parametrize("kind", backends({}))
def test_a_backend_is_pickled_with_its_url_and_options_and_never_with_a_secret(kind):
    backend = backends({"timeout": 7})[kind]
    copy = pickle.loads(pickle.dumps(backend))
    assert repr(copy) == repr(backend) == f"{type(backend).__name__}({backend.url!r})"
    assert (copy.exclusive, copy.concurrency) == (backend.exclusive, backend.concurrency)
    one = getattr(copy, "client", None) or copy._client
    assert one.options == {"timeout": 7}
    with pytest.raises(InvalidInputError, match=r"cannot be pickled.*password") as caught:
        pickle.dumps(backends({"password": "hunter22"})[kind])
    assert "hunter22" not in str(caught.value)


def test_between_a_verb_of_a_backend_and_its_request_there_are_two_calls(monkeypatch):
    """Each layer above is one that every request of every store passes."""
    service = Service()
    seen: list[list[str]] = []
    real = vars(event_loop)["wait"]

    def waiting(*args: Any) -> Any:
        seen.append([frame.function for frame in inspect.stack() if "artifactstore/backend" in frame.filename])
        return real(*args)

    one = client(service)
    monkeypatch.setattr(event_loop, "wait", waiting)
    one.request("read", "a", service.send)
    one.read_ranges("a", [(0, 2)], 4, service.send, lambda came, _: came)
    assert seen == [["run_coroutine", "request"], ["run_coroutine", "request", "read_ranges"]]


def test_only_filesystems_without_a_loop_let_one_thread_at_a_time_in():
    for serial in (True, False):
        service = Service()
        one = client(service)
        one.filesystem.async_impl = not serial
        inside, most = 0, 0
        both = threading.Barrier(2, timeout=0.2 if serial else 30)

        def enter(one: FsspecClient = one, both: threading.Barrier = both) -> None:
            nonlocal inside, most
            with one.turn():
                inside += 1
                most = max(most, inside)
                with suppress(threading.BrokenBarrierError):
                    both.wait()
                inside -= 1

        threads = [threading.Thread(target=enter) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == (1 if serial else 2)
