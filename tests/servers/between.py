"""A server that stands before another one: hands requests on, and answers by itself where a test says so."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Between:
    """What stands between.

    Attributes:
        behind: the server that requests are handed on to.
        url: where this one listens.
        rule: looks at (method, path, headers) and gives an answer, or None to hand the request on.
        change: looks at the answer of the server behind and the request's headers, and gives the answer that is sent.
        seen: (method, path, headers) of each request.
        cut: after how many bytes of a body the connection is cut; None = never.
    """

    behind: str
    url: str = ""
    rule: Callable[[str, str, dict[str, str]], Answer | None] = lambda _method, _path, _headers: None
    change: Callable[[Answer, dict[str, str]], Answer] = lambda answer, _headers: answer
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    cut: int | None = None

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.seen.append((method, path, headers))
        own = self.rule(method, path, headers)
        if own is not None:
            return own
        passed = {name: value for name, value in headers.items() if name.lower() not in {"host", "connection", "content-length"}}
        request = urllib.request.Request(self.behind + path, data=body or None, method=method, headers=passed)
        try:
            with urllib.request.build_opener(Straight).open(request) as reply:
                here = {name: value.replace(self.behind, self.url) for name, value in reply.headers.items()}
                return self.change((reply.status, here, reply.read()), headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()


class Straight(urllib.request.HTTPRedirectHandler):
    """Redirects are the client's business."""

    def redirect_request(self, *_: Any) -> None:
        return None


@contextmanager
def between(behind: str) -> Iterator[Between]:
    """Run one until the block ends."""
    state = Between(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = state.answer(self.command, self.path, dict(self.headers), body)
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection"} or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if state.cut is not None and len(data) > state.cut:
                self.wfile.write(data[: state.cut])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            return  # a client that went away

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
