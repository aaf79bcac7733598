"""A store published on the web: static files below a URL, read-only.

A web server cannot list, so entries are found by their numbers, until a definite
"not found". Any server of static files will do; one that supports ranges saves bytes.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.base import Stored, check_key, check_prefix
from artifactstore.backend.errors import Request, ThrottledError, UnreachableError, not_found_message, retry_after_seconds
from artifactstore.backend.readonly.base import ReadOnlySource
from artifactstore.backend.remote.fsspec_client import FsspecClient, make_filesystem
from artifactstore.backend.remote.http_client import Reply, exchange, range_body
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError, UnsupportedError

__all__ = ["HttpBackend"]

_GONE: Final = frozenset({404, 410})
_NEVER_STOOD: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "ClientProxyConnectionError"})
_UNTRUSTED: Final = frozenset({"ClientConnectorCertificateError", "ClientConnectorSSLError", "ClientSSLError"})


class HttpBackend(ReadOnlySource):
    """Files below a URL, read by GET.

    Args:
        url: `https://host/folder`, without a question mark.
        options: for fsspec's `HTTPFileSystem`: `headers`, `client_kwargs` …

    Attributes:
        url: as passed.
        client: the connection.
    """

    concurrency = 16
    listable = False

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self._scheme = url.partition(":")[0]
        given = dict(options or {})
        connect = partial(make_filesystem, self._scheme, given)
        self.client = FsspecClient(self.url, given, connect, explain=_explain)
        self._ranges_known: bool | None = None  # whether the server honours ranges

    async def _ask(self, method: str, key: str, action: str, **headers: str) -> Reply:
        """Send one request, following redirects; return its reply if it is a success, else raise."""
        filesystem = self.client.filesystem
        session = await filesystem.set_session()
        more = dict(filesystem.kwargs)
        # Without compression: a range of compressed bytes would not be a range of the object.
        complete = {"Accept-Encoding": "identity", **more.pop("headers", {}), **headers}
        reply = await exchange(session, method, f"{self.url}/{key}", headers=complete, allow_redirects=True, **more)
        if self._scheme == "https" and not reply.url.startswith("https:"):
            raise BackendError(f"cannot {action} {key} in {self.url}: the server redirects to an unencrypted address")
        if reply.status in {200, 206}:
            return reply
        raise self._refused(reply, action, key)

    def _refused(self, reply: Reply, action: str, key: str) -> ArtifactStoreError:
        what = f"cannot {action} {key} in {self.url}: status {reply.status}"
        if reply.status in _GONE:
            return NotFoundError(not_found_message(key, self.url))
        if reply.status == 416:
            return BackendError(f"{what}: the range ends beyond the end of the object")
        if reply.status in {429, 503}:
            return ThrottledError(what, retry_after=retry_after_seconds(reply.headers.get("Retry-After")))
        if reply.status >= 500 or reply.status == 408:
            return BackendError(what, transient=True)
        if reply.status in {401, 403}:
            return BackendError(
                f"{what}; pass what the server requires as storage_options={{'headers': {{…}}}}. A server that replies like this for "
                "missing files, too, as a bucket without list permission does, cannot serve a store: only a 404 marks its end"
            )
        return BackendError(what)

    # -- the verbs

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, by one request.

        Raises:
            NotFoundError: the server replies 404 or 410.
            BackendError: anything else.
        """
        check_key(key)
        # A cache on the way may keep a stale "not found", at which the history would seem to end.
        reply = self.client.request("read", key, self._get_whole, key)
        return reply.body  # type: ignore[no-any-return]

    async def _get_whole(self, key: str) -> Reply:
        reply = await self._ask("GET", key, "read", **{"Cache-Control": "no-cache"})
        if reply.status != 200:
            raise BackendError(f"{key} in {self.url}: the server returned a part of the file instead of all of it")
        if "Content-Length" not in reply.headers and "chunked" not in reply.headers.get("Transfer-Encoding", "").lower():
            raise BackendError(f"{key} in {self.url}: the server does not report the length, so truncation could not be detected")
        return reply

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; without range support, out of the whole file.

        Raises:
            NotFoundError: the server replies 404 or 410.
            BackendError: a range ends beyond the object's end, or anything else; a `RangesFailedError` holds the ranges that were read.
        """
        whole: list[Reply] = []
        # One request at a time until the server is known to honour ranges: else each would transfer the whole file.
        first = asyncio.Lock()

        async def one(wanted: tuple[int, int]) -> Reply:
            if self._ranges_known:
                return await ask(wanted)
            async with first:
                return whole[0] if whole else await ask(wanted)

        async def ask(wanted: tuple[int, int]) -> Reply:
            offset, length = wanted
            reply = await self._ask("GET", key, "read", Range=f"bytes={offset}-{offset + length - 1}")
            self._ranges_known = reply.status == 206
            if reply.status == 200:
                whole.append(reply)
            elif "Content-Encoding" in reply.headers:
                raise BackendError(f"{key} in {self.url}: the server compresses ranges despite 'Accept-Encoding: identity'")
            return reply

        def judge(reply: Reply, wanted: tuple[int, int]) -> bytes:
            return range_body(reply, wanted, key, self.url)

        return self.client.read_ranges(key, ranges, self.concurrency, one, judge)

    def size(self, key: str) -> int:
        """Return an object's size in bytes, by HEAD; if the server does not report it, by reading the object.

        Raises:
            NotFoundError: the server replies 404 or 410.
            BackendError: anything else.
        """
        check_key(key)

        async def look() -> str | None:
            try:
                reply = await self._ask("HEAD", key, "stat")
            except BackendError as error:
                if error.transient:
                    raise
                return None  # some servers do not support HEAD
            return None if "Content-Encoding" in reply.headers else reply.headers.get("Content-Length")

        size = self.client.request("stat", key, look)
        return len(self.read(key)) if size is None else int(size)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Refuse.

        Raises:
            UnsupportedError: always.
        """
        check_prefix(prefix)
        raise UnsupportedError(f"cannot list {self.url}: a web server does not provide listings")


def _explain(error: Exception, request: Request) -> ArtifactStoreError | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if names & _UNTRUSTED:
        return BackendError(f"{request}: the server's certificate is not trusted here")
    if names & _NEVER_STOOD:
        return UnreachableError(f"{request}: no connection to {urlsplit(request.url).netloc}; check the network and the URL")
    if "TooManyRedirects" in names:
        return BackendError(f"{request}: the server redirects without end")
    if "ClientError" in names or isinstance(error, TimeoutError | ConnectionError):
        return BackendError(f"{request}: the connection broke, or no reply arrived in time ({name})", transient=True)
    return None
