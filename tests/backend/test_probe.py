"""The question that is asked of a server before it is written to."""

import uuid

import pytest

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.exclusive_create_probe import probe
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.remote.fsspec_backend import FsspecBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.errors import BackendError, UnsupportedError
from artifactstore.model.facts import CONFIG_KEY
from artifactstore.testing.backends import CountingBackend, FaultyBackend

CONFIG = b'{"format":1}'


def foreign(**wanted):
    """A remote place, kept in memory, and what may be wrong with it."""

    class Server(MemoryBackend):
        def create(self, key, data):
            if wanted.get("ignores"):
                self.write(key, data)
            else:
                super().create(key, data)

    inner = Server(f"memory://{uuid.uuid4().hex}")
    inner.write(CONFIG_KEY, CONFIG)

    class Remote(FsspecBackend):
        def create(self, key, data):
            inner.create(key, data)

    return CountingBackend(FaultyBackend(Remote(inner.url), wanted.get("script", ""))), inner


def test_a_server_that_keeps_its_promise_is_asked_once_and_nothing_changes():
    backend, inner = foreign()
    probe(backend, CONFIG)
    assert backend.calls == [("create", CONFIG_KEY)]
    assert inner.read(CONFIG_KEY) == CONFIG


def test_a_server_that_ignores_the_condition_is_refused_and_nothing_is_damaged():
    backend, inner = foreign(ignores=True)
    with pytest.raises(UnsupportedError, match=r"ignores conditions silently.*single_writer=True"):
        probe(backend, CONFIG)
    assert inner.read(CONFIG_KEY) == CONFIG
    assert [item.key for item in inner.list("")] == [CONFIG_KEY]


def test_a_failure_on_the_way_is_no_answer():
    backend, _ = foreign(script="fail lost-reply 409 ok")
    pauses: list[float] = []
    probe(backend, CONFIG, sleep=pauses.append)
    assert pauses == [0.1]  # the second was a refusal: an answer, and not lost
    backend, _ = foreign(script="denied")
    with pytest.raises(BackendError):
        probe(backend, CONFIG)
    backend, _ = foreign(script="fail " * 100)
    with pytest.raises(BackendError):
        probe(backend, CONFIG, sleep=pauses.append)


def test_folders_and_memory_are_not_asked(tmp_path):
    for place in (LocalBackend(tmp_path), MemoryBackend(f"memory://{uuid.uuid4().hex}")):
        inside: Backend = CountingBackend(place)
        backend = Wrapper(inside)
        probe(backend, CONFIG)
        assert not list(place.list(""))


def test_s3_is_asked_and_answers(s3_url):
    backend = connect(s3_url)
    backend.create(CONFIG_KEY, CONFIG)
    probe(backend, CONFIG)
    assert backend.read(CONFIG_KEY) == CONFIG


def test_an_s3_that_ignores_the_condition_is_found_out_and_will_do_for_one_writer(faulty_s3):
    proxy, url = faulty_s3
    proxy.plan = lambda _: "unconditional"
    backend = connect(url)
    backend.create(CONFIG_KEY, CONFIG)
    with pytest.raises(UnsupportedError):
        probe(backend, CONFIG)
    assert any(request.conditional for request in proxy.log)
    probe(connect(url, single_writer=True), CONFIG)
