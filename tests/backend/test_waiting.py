"""Requests that nobody waits for any more are dropped, though the server never answers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress

import pytest
from fsspec.asyn import get_loop

from artifactstore.backend.connect import connect
from artifactstore.backend.remote import event_loop
from artifactstore.backend.remote.event_loop import run_coroutine
from artifactstore.errors import BackendError
from artifactstore.runtime.threads import Pool

PATIENCE = 600  # seconds that the client waits for a reply; no test waits as long


class Silent:
    """A server that takes what comes and never answers."""

    def __init__(self) -> None:
        self.asked, self.left = threading.Semaphore(0), threading.Semaphore(0)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        told = False
        try:
            while connection.recv(2**16):
                if not told:
                    told = True
                    self.asked.release()
        except OSError:
            pass
        self.left.release()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def options(server: Silent) -> dict[str, object]:
    return {"key": "k", "secret": "s", "endpoint_url": server.url, "config_kwargs": {"read_timeout": PATIENCE}}


def test_a_pool_that_is_left_by_an_error_drops_what_is_under_way(silent: Silent) -> None:
    place = connect("s3://bucket/store", storage_options=options(silent))
    working = list[Future[object]]()

    def interrupted() -> None:
        with Pool(2) as pool:
            working.append(pool.submit(place.read, "a"))
            working.append(pool.submit(place.read_ranges, "b", [(0, 5), (9, 5)]))
            for _ in range(3):
                assert silent.asked.acquire(timeout=60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for one in working:
        assert isinstance(one.exception(timeout=0), BackendError)
    for _ in range(3):
        assert silent.left.acquire(timeout=60)  # the connections are closed, too


@pytest.mark.slow
def test_ctrl_c_in_a_large_put_ends_the_program_though_no_reply_comes(silent: Silent, s3_url: str) -> None:
    code = f"""
import os, sys, artifactstore
from artifactstore.backend.wrappers.retrying import RetryingBackend
store = artifactstore.create(sys.argv[1] + "/store", cache=None)
from artifactstore.backend.connect import connect
slow = connect("s3://bucket/store", storage_options={options(silent)!r})
write = RetryingBackend.write
def hanging(self, key, data):
    return (slow.inner.write if key.startswith("packs/") else lambda k, d: write(self, k, d))(key, data)
RetryingBackend.write = hanging
print("ready", flush=True)
store.put(os.urandom(50_000_000), "x")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, s3_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert silent.asked.acquire(timeout=120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in said
    assert "never retrieved" not in said
    assert "Unclosed" not in said


def test_what_a_coroutine_returns_or_raises_comes_through() -> None:
    async def answer(number: int) -> int:
        await asyncio.sleep(0.3)  # longer than one look
        if number < 0:
            raise TimeoutError("its own")
        return number + 1

    assert run_coroutine(get_loop(), answer, 4) == 5
    with pytest.raises(TimeoutError, match="its own"):
        run_coroutine(get_loop(), answer, -1)


def test_no_task_is_freed_by_the_thread_that_waits_for_it() -> None:
    """Python loses a Ctrl-C that comes while asyncio's weak reference to a task is cleared."""
    freed: list[int] = []
    kept: list[object] = []

    async def answer(number: int) -> int:
        kept.append(weakref.ref(asyncio.current_task(), lambda _: freed.append(threading.get_ident())))
        await asyncio.sleep(0)
        if number % 3 == 0:
            raise TimeoutError("its own")
        return number

    for number in range(300):
        with suppress(TimeoutError):
            run_coroutine(get_loop(), answer, number)
    run_coroutine(get_loop(), asyncio.sleep, 0)
    assert threading.get_ident() not in freed
    assert len(freed) > 200


def test_what_is_wrong_before_a_coroutine_begins_is_raised_where_it_was_asked_for() -> None:
    async def answer(number: int) -> int:
        return number

    with pytest.raises(TypeError, match="positional argument"):
        run_coroutine(get_loop(), answer)


def test_a_coroutine_that_is_cancelled_on_its_loop_is_an_error_and_no_answer() -> None:
    async def cancelled() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(60)

    with pytest.raises(CancelledError):
        run_coroutine(get_loop(), cancelled)
    assert not event_loop._TASKS


def test_a_loop_that_can_not_serve_is_told() -> None:
    async def answer() -> int:
        return 1

    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        run_coroutine(closed, answer)

    async def within() -> None:
        run_coroutine(asyncio.get_running_loop(), answer)

    with pytest.raises(RuntimeError, match="within the event loop"):
        asyncio.run(within())
