"""A proxy between client and server that does to requests and replies what networks and busy servers do.

Faults are values that can be written down: a script such as `"ok lost-reply 503"` says what happens to the first
requests, and a seed draws a script that is the same every time. Each request is logged with what was done to it.

| word | what happens |
|---|---|
| ok | nothing |
| reset | the connection breaks before the server hears of it |
| cut-request | the server gets half of the body, then the connection breaks |
| cut-reply | the server does it; half of its reply arrives |
| lost-reply | the server does it; no reply arrives |
| late | the client's connection breaks; the request reaches the server some time after |
| sent-twice | the server gets it twice; the client sees the second answer (a proxy that tries again) |
| duplicate | the server gets it twice; the client sees the first answer |
| slow | the reply takes a moment |
| unconditional | the server does not hear of the condition (If-None-Match) |
| truncated | half of the body, with a Content-Length that fits |
| flipped | one bit of the reply's body is another |
| flipped-request | one bit of the request's body is another |
| swallowed | a 200 as the server would give it, without the server hearing of it; no ETag |
| swallowed-tagged | the same, with the ETag of the body |
| page | a 200 with a page of HTML, as a captive portal gives it |
| failed-200 | the server is not asked; 200 whose body is an error (what CompleteMultipartUpload may answer) |
| away | a 307 to where the server really is |
| 500 503 slowdown 429 409 403 expired skewed redirect moved | the answer of that kind; the server does not hear of it |
"""

import asyncio
import contextlib
import hashlib
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import pytest

__all__ = ["BENIGN", "DAMAGE", "LIES", "Exchange", "FaultProxy", "scripted", "seeded", "seeds"]

# What a client that tries again must survive without anybody noticing. The others are refusals or lies that it must report.
BENIGN: Final = (
    "reset", "cut-request", "cut-reply", "lost-reply", "late", "sent-twice", "duplicate", "slow",
    "500", "503", "slowdown", "429", "409",
)  # fmt: skip
DAMAGE: Final = ("truncated", "flipped", "flipped-request")
LIES: Final = ("swallowed", "swallowed-tagged", "page", "failed-200")
_ERRORS: Final[Mapping[str, tuple[int, str, str]]] = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "ServiceUnavailable", "Please reduce your request rate."),
    "slowdown": (503, "SlowDown", "Please reduce your request rate."),
    "429": (429, "TooManyRequests", "Too many requests."),
    "409": (409, "ConditionalRequestConflict", "A conflicting conditional operation is in progress."),
    "403": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "skewed": (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
    "away": (307, "TemporaryRedirect", "Please re-send this request to the specified temporary endpoint."),
    "redirect": (307, "TemporaryRedirect", "Please re-send this request to the specified temporary endpoint."),
    "moved": (301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using another endpoint."),
}


@dataclass(slots=True)
class Exchange:
    """One request, and what became of it.

    Attributes:
        number: from 0, in the order of arrival.
        verb: GET, PUT …
        path: with its query.
        headers: of the request, lower case.
        sent: bytes of the request's body.
        fault: the word.
        status: of the reply that the client got, 0 if none.
        done: the server's own status, 0 if it was not asked.
    """

    number: int
    verb: str
    path: str
    headers: Mapping[str, str]
    sent: int
    fault: str
    status: int = 0
    done: int = 0

    @property
    def conditional(self) -> bool:
        return "if-none-match" in self.headers

    def __str__(self) -> str:
        return f"{self.number}: {self.verb} {self.path} +{self.sent} {self.fault} -> {self.status} ({self.done})"


Plan = Callable[[Exchange], str]


def scripted(script: str, only: Callable[[Exchange], bool] = lambda _: True) -> Plan:
    """Play a script over the requests that `only` picks, one word each; all is well when it ends."""
    words = iter(script.split())
    return lambda request: next(words, "ok") if only(request) else "ok"


def seeded(seed: int, share: float = 0.2, faults: tuple[str, ...] = BENIGN) -> Plan:
    """Draw for each request whether something happens to it, and what; `share` of them suffer."""
    draw = random.Random(seed)
    return lambda _: draw.choice(faults) if draw.random() < share else "ok"


def seeds(count: int) -> list[int]:
    """The seeds that a test runs with: the first few, or as many as `$ARTIFACTSTORE_TEST_SEEDS` says (`100`, or `300-400`)."""
    first, _, last = os.environ.get("ARTIFACTSTORE_TEST_SEEDS", str(count)).rpartition("-")
    return list(range(int(first or 0), int(last)))


@dataclass(slots=True)
class _Message:
    """A request or a reply: its first line, its headers as they came, its body."""

    first: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.headers}

    def wire(self, *, body: bytes | None = None, close: bool = False) -> bytes:
        """Return it as bytes, perhaps with another body and a length that fits to it."""
        lines, framed = [self.first], self.body if body is None else body
        for name, value in self.headers:
            known = name.lower()
            if known in {b"connection", b"transfer-encoding"} or (known == b"content-length" and body is not None):
                continue
            lines.append(name + b": " + value)
        if body is not None or "transfer-encoding" in self.names:
            lines.append(b"Content-Length: %d" % len(framed))
        lines.append(b"Connection: close" if close else b"Connection: keep-alive")
        return b"\r\n".join(lines) + b"\r\n\r\n" + framed


async def _read_message(reader: asyncio.StreamReader, *, reply_to: str = "") -> _Message | None:
    """Read one message; None where the connection ended before one began."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *rest = head[:-4].split(b"\r\n")
    message = _Message(first, [(name, value.strip()) for name, _, value in (line.partition(b":") for line in rest)], b"")
    status = first.split(b" ")[1] if reply_to else b""
    if reply_to == "HEAD" or status in {b"204", b"304"} or status.startswith(b"1"):
        return message
    if "chunked" in message.names.get("transfer-encoding", "").lower():
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        message.body = b"".join(pieces)
    elif "content-length" in message.names:
        message.body = await reader.readexactly(int(message.names["content-length"]))
    elif reply_to:
        message.body = await reader.read()
    return message


class FaultProxy:
    """Listens on a loopback port for as long as its `with` block lasts, in a thread of its own.

    Args:
        target: the server's URL.
        plan: says what happens to each request.
        late: seconds after which a `late` request reaches the server.

    Attributes:
        log: what went through.
        most: the most requests that were under way at the same time.
        plan: may be changed at any time.
    """

    def __init__(self, target: str, plan: Plan = lambda _: "ok", *, late: float = 0.3) -> None:
        self.plan = plan
        self.log: list[Exchange] = []
        self.most = self._under_way = 0
        self._host, self._port = urlsplit(target).hostname, urlsplit(target).port
        self._late = late
        self._taken = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        async def end() -> None:
            self._server.close()
            for task in (own := self._tasks.copy()):
                task.cancel()
            await asyncio.gather(*own, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def settle(self) -> None:
        """Wait until every late request has reached the server."""
        deadline = time.monotonic() + 30
        while any(one.fault == "late" and not one.done for one in self.log) and time.monotonic() < deadline:
            time.sleep(0.01)

    def take(self) -> list[str]:
        """Return what went through since the last time, as `PUT journal`, `GET ?segments` for a listing …"""
        told = [f"{one.verb} {_kind(one.path)}" for one in self.log[self._taken :]]
        self._taken = len(self.log)
        return told

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Let everything through for as long as the block lasts."""
        plan, self.plan = self.plan, lambda _: "ok"
        try:
            yield
        finally:
            self.plan = plan

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read_message(reader)) is not None and await self._exchange(request, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError, RuntimeError):
                writer.transport.abort()

    async def _ask(self, data: bytes, verb: str, *, end: bool = False) -> _Message | None:
        """Send bytes to the server, on a connection of its own; `end` breaks it instead of waiting for a reply."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=2**20)
        try:
            writer.write(data)
            await writer.drain()
            if end:
                return None
            reply = await _read_message(reader, reply_to=verb)
            while reply is not None and reply.first.split(b" ")[1] == b"100":
                reply = await _read_message(reader, reply_to=verb)
        except ConnectionError:
            return None
        else:
            return reply
        finally:
            writer.transport.abort() if end else writer.close()

    async def _exchange(self, request: _Message, writer: asyncio.StreamWriter) -> bool:
        """Carry one request; False if the connection is over."""
        verb, path, _ = request.first.decode("latin-1").split(" ")
        one = Exchange(len(self.log), verb, path, request.names, len(request.body), "ok")
        one.fault = self.plan(one)
        self.log.append(one)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._do(one, request, writer)
        finally:
            self._under_way -= 1

    async def _do(self, one: Exchange, request: _Message, writer: asyncio.StreamWriter) -> bool:
        verb, fault = one.verb, one.fault
        if fault == "reset":
            return False
        if fault == "unconditional":
            request.headers = [(name, value) for name, value in request.headers if name.lower() != b"if-none-match"]
        if fault in _ERRORS:
            return await self._answer(one, self._error(fault, one), writer)
        if fault in {"swallowed", "swallowed-tagged", "page", "failed-200"}:
            return await self._answer(one, self._lie(fault, request), writer)
        if fault == "cut-request":
            wire = request.wire(close=True)
            await self._ask(wire[: len(wire) - (len(request.body) + 1) // 2 - (0 if request.body else 1)], verb, end=True)
            return False
        if fault == "late":
            self._tasks.add(task := asyncio.ensure_future(self._land_late(request, one)))
            task.add_done_callback(self._tasks.discard)
            return False
        body = _flip(request.body, one.number) if fault == "flipped-request" else None
        reply = await self._ask(request.wire(body=body if request.body else None, close=True), verb)
        one.done = int(reply.first.split(b" ")[1]) if reply else 0
        if reply is None or fault == "lost-reply":
            return False
        if fault in {"duplicate", "sent-twice"}:
            second = await self._ask(request.wire(close=True), verb)
            reply = second if fault == "sent-twice" and second is not None else reply
        if fault == "slow":
            await asyncio.sleep(0.2)
        return await self._pass_on(one, reply, writer)

    async def _pass_on(self, one: Exchange, reply: _Message, writer: asyncio.StreamWriter) -> bool:
        one.status = int(reply.first.split(b" ")[1])
        wire = reply.wire()
        if one.fault == "cut-reply":
            writer.write(wire[: len(wire) - (len(reply.body) + 1) // 2 - (0 if reply.body else 3)])
            await writer.drain()
            return False
        if one.fault == "truncated" and one.verb != "HEAD":
            wire = reply.wire(body=reply.body[: len(reply.body) // (2 + one.number % 3)])
        elif one.fault == "flipped" and reply.body:
            wire = reply.wire(body=_flip(reply.body, one.number))
        writer.write(wire)
        await writer.drain()
        return True

    async def _land_late(self, request: _Message, one: Exchange) -> None:
        await asyncio.sleep(self._late)
        reply = await self._ask(request.wire(close=True), one.verb)
        one.done = int(reply.first.split(b" ")[1]) if reply else -1

    async def _answer(self, one: Exchange, wire: bytes, writer: asyncio.StreamWriter) -> bool:
        one.status = int(wire.split(b" ", 2)[1])
        writer.write(wire)
        await writer.drain()
        return True

    def _error(self, fault: str, one: Exchange) -> bytes:
        status, code, message = _ERRORS[fault]
        extra = {"moved": "<Region>eu-west-7</Region>", "redirect": "<Endpoint>other.example:9000</Endpoint>"}.get(fault, "")
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>".encode()
        headers = {"x-amz-bucket-region": "eu-west-7"} if fault == "moved" else {}
        if fault == "redirect":
            headers = {"Location": f"http://other.example:9000{one.path}"}
        if fault == "away":
            headers = {"Location": f"http://{self._host}:{self._port}{one.path}"}
        if fault == "skewed":
            headers = {"Date": formatdate(time.time() + 3600, usegmt=True)}
        return _reply(status, b"" if one.verb == "HEAD" else body, {"Content-Type": "application/xml", **headers})

    def _lie(self, fault: str, request: _Message) -> bytes:
        if fault == "page":
            return _reply(200, b"<html><body>Please log in to the network.</body></html>", {"Content-Type": "text/html"})
        if fault == "failed-200":
            body = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"
            return _reply(200, body, {"Content-Type": "application/xml"})
        tag = {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'} if fault == "swallowed-tagged" else {}
        return _reply(200, b"", tag)


def _kind(path: str) -> str:
    """The folder of a store in which a key or a listed prefix lies; tests put their stores below `/prefix/`."""
    listed = re.search(r"[?&]prefix=[^&]*?prefix%2F([a-z]*)", path)
    if listed is not None:
        return f"?{listed[1]}"
    return path.rpartition("/prefix/")[2].partition("/")[0].partition("?")[0]


def _flip(body: bytes, number: int) -> bytes:
    """Change one bit, each time another."""
    at = number * 7919 % max(1, len(body))
    return body[:at] + bytes([body[at] ^ 0x04]) + body[at + 1 :] if body else body


def _reply(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def faulty_s3(s3_server: str, s3_url: str, monkeypatch: pytest.MonkeyPatch, isolated: Path) -> Iterator[tuple[FaultProxy, str]]:
    """A proxy before the S3 server in this process, and an empty place behind it; the environment leads to the proxy."""
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "30")
        yield proxy, s3_url
