"""HTTP requests over connections that stay open, with proxies and TLS; a body is sent and received in blocks, never as a whole."""

import contextlib
import http.client
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

from artifactstore.backend.errors import UnreachableError
from artifactstore.errors import BackendError
from artifactstore.integrations.oci.registry.credentials import Login
from artifactstore.runtime.records import dataclass

__all__ = ["BLOCK", "Body", "Connections", "Origin", "Reply", "origin_of"]

BLOCK: Final = 2**20
_SILENCE: Final = 60.0  # seconds without a byte
_PACE: Final = 10e6  # bytes a second at which a server is expected to take a body in, at least
_IDLE: Final = 8  # connections to one host that are kept
_REST: Final = 64 * 1024  # bytes of a body that is not wanted, but read so that its connection can be used again
_PORTS: Final = {"http": 80, "https": 443}
_AGENT: Final = "artifactstore"
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})

Origin = tuple[str, str, int]  # scheme, host, port


@dataclass(frozen=True, slots=True)
class Body:
    """What a request sends; it may be sent any number of times.

    Attributes:
        size: in bytes.
        blocks: yields them.
    """

    size: int
    blocks: Callable[[], Iterable[bytes]]


def origin_of(url: str | SplitResult) -> Origin:
    """Return what an URL's credentials belong to.

    Raises:
        BackendError: it is not an HTTP URL.
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else url
        scheme, host, user, port = parts.scheme, parts.hostname, parts.username, parts.port
    except ValueError:
        scheme, host, user, port = "", None, None, None
    if scheme not in _PORTS or not host or user is not None:
        raise BackendError("the registry answers with an address that is not one of HTTP: it cannot be followed")
    return scheme, host.lower(), port or _PORTS[scheme]


class Reply:
    """A reply whose body is yet to be read; leaving the block gives its connection back.

    Attributes:
        status: of HTTP.
        headers: names in lower case.
        url: that answered.
    """

    def __init__(self, raw: http.client.HTTPResponse, url: str, back: Callable[[bool], None]) -> None:
        self._raw = raw
        self._back = back
        self._left = False
        self.status = raw.status
        self.url = url
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in raw.getheaders()}
        self.challenges: list[str] = raw.headers.get_all("WWW-Authenticate") or []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._left:
            return  # a refusal is read here, and again where it is reported: its connection is given back once
        self._left, whole = True, False
        with contextlib.suppress(OSError, http.client.HTTPException):
            if kind is None and not self._raw.isclosed():
                self._raw.read(_REST)
            whole = self._raw.isclosed() and not self._raw.will_close
        self._raw.close()
        self._back(whole)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body.

        Raises:
            BackendError: the connection ended too early; transient.
        """
        while block := self._read(BLOCK):
            yield block
        if self._raw.length:  # `read(size)` ends without an error where the server ends too early
            raise BackendError(f"the reply of {_shown(self.url)} ended {self._raw.length:,} bytes too early", transient=True)

    def body(self, limit: int) -> bytes:
        """Return at most `limit` bytes of the body, and one more if it is longer."""
        found = bytearray()
        for block in self.blocks():
            found += block
            if len(found) > limit:
                return bytes(found[: limit + 1])
        return bytes(found)

    def _read(self, size: int) -> bytes:
        try:
            return self._raw.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise BackendError(f"the reply of {_shown(self.url)} broke off: {_reason(error)}", transient=True) from error


class Connections:
    """Connections to a registry and to the hosts that it refers to. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._context: ssl.SSLContext | None = None

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None) -> Reply:
        """Send one request; follow no redirect.

        Raises:
            BackendError: no reply; transient unless it is about TLS.
        """
        parts = urlsplit(url)
        origin = origin_of(parts)
        target = parts.path or "/"
        target += f"?{parts.query}" if parts.query else ""
        proxy = _proxy(origin)
        if proxy is not None and origin[0] == "http":
            target = f"http://{parts.netloc}{target}"
            if proxy[2] is not None:
                headers = {**headers, "Proxy-Authorization": proxy[2].basic}
        sent = {"Host": parts.netloc, "User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
        if body is not None or method in {"POST", "PUT", "PATCH"}:
            sent["Content-Length"] = str(0 if body is None else body.size)
        while True:
            connection, used = self._take(origin, proxy)
            try:
                raw = _exchange(connection, method, target, sent, body)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if used and body is None and not isinstance(error, TimeoutError):
                    continue  # the server had closed it meanwhile; what has a body may have arrived, and its sender looks
                raise _failure(error, method, url, fresh=not used) from error
            except BaseException:
                connection.close()  # the body's source failed: half of a request was sent
                raise

            def back(whole: bool, connection: http.client.HTTPConnection = connection) -> None:  # noqa: FBT001 - of this module alone
                self._give_back(origin, connection, whole=whole)

            return Reply(raw, url, back)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (one for some in idle.values() for one in some):
            connection.close()

    def _take(self, origin: Origin, proxy: "tuple[str, int, Login | None] | None") -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if idle := self._idle.get(origin):
                return idle.pop(), True
        scheme, host, port = origin
        there = (host, port) if proxy is None else proxy[:2]
        if scheme == "http":
            return http.client.HTTPConnection(*there, timeout=_SILENCE, blocksize=BLOCK), False
        if self._context is None:
            self._context = ssl.create_default_context()
        secure = http.client.HTTPSConnection(*there, timeout=_SILENCE, blocksize=BLOCK, context=self._context)
        if proxy is not None:
            login = {} if proxy[2] is None else {"Proxy-Authorization": proxy[2].basic}
            secure.set_tunnel(host, port, login)
        return secure, False

    def _give_back(self, origin: Origin, connection: http.client.HTTPConnection, *, whole: bool) -> None:
        with self._lock:
            idle = self._idle.setdefault(origin, [])
            if whole and len(idle) < _IDLE:
                idle.append(connection)
                return
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Body | None
) -> http.client.HTTPResponse:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    if body is not None:
        for block in body.blocks():
            try:
                connection.send(block)
            except (BrokenPipeError, ConnectionResetError) as error:
                try:
                    return connection.getresponse()  # a server that refuses does not wait for the rest
                except (OSError, http.client.HTTPException):
                    raise error from None
    if connection.sock is None:  # closed while it was sent
        return connection.getresponse()
    # A registry that keeps its blobs in an object store copies a large one before it answers: minutes for tens of gigabytes.
    connection.sock.settimeout(_SILENCE + (body.size / _PACE if body is not None else 0.0))
    reply = connection.getresponse()
    if connection.sock is not None:
        connection.sock.settimeout(_SILENCE)
    return reply


def _proxy(origin: Origin) -> tuple[str, int, Login | None] | None:
    """Return the proxy that the environment asks for: host, port, credentials; never one for this machine itself."""
    scheme, host, port = origin
    if host in _LOCAL or host.startswith("127."):
        return None
    text = urllib.request.getproxies().get(scheme)
    if not text or urllib.request.proxy_bypass(f"{host}:{port}") or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise BackendError(f"{scheme}_proxy names a proxy that cannot be used: expected http://HOST:PORT")
    login = None if parts.username is None else Login(unquote(parts.username), unquote(parts.password or ""))
    return parts.hostname, parts.port or 80, login


def _shown(url: str) -> str:
    """Return an URL for a message: its query may be a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _failure(error: Exception, method: str, url: str, *, fresh: bool) -> BackendError:
    what = f"cannot {method} {_shown(url)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return BackendError(
            f"{what}: its certificate is not trusted ({error.verify_message}); name its authority by $SSL_CERT_FILE"
        )
    if isinstance(error, ssl.SSLError) and error.reason in {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
    }:
        return BackendError(f"{what}: this server speaks no TLS; if that is meant so, pass plain_http=True")
    if (
        fresh
        and isinstance(error, OSError)
        and not isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | ssl.SSLError)
    ):
        return UnreachableError(f"{what}: {_reason(error)}")
    return BackendError(f"{what}: {_reason(error)}", transient=True)
