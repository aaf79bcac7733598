"""A store that somebody publishes on the web: files below a URL, to be read by anybody who may.

A web server lists nothing, so nobody is asked what there is: entries are found by their numbers, until a definite
"not found". Any server of static files will do; one that knows ranges saves bytes.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.base import Stored, check_key, check_prefix
from artifactstore.backend.failures import ThrottledError, UnreachableError, check_ranges, no_such_key, seconds_of
from artifactstore.backend.reading import ReadingBackend
from artifactstore.backend.remote import RemoteBackend, make_filesystem
from artifactstore.backend.web import Reply, exchange, of_range
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError, UnsupportedError

__all__ = ["HttpBackend"]

_GONE: Final = frozenset({404, 410})
_NEVER_STOOD: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "ClientProxyConnectionError"})
_UNTRUSTED: Final = frozenset({"ClientConnectorCertificateError", "ClientConnectorSSLError", "ClientSSLError"})


class HttpBackend(ReadingBackend, RemoteBackend):
    """Files below a URL, read by GET.

    Args:
        url: `https://host/folder`, without a question mark.
        options: for fsspec's `HTTPFileSystem`: `headers`, `client_kwargs` …

    Attributes:
        url: as given.
    """

    concurrency = 16
    listable = False

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options)
        self._scheme = url.partition(":")[0]
        self._ranges_known: bool | None = None  # whether the server honours them

    def _connect(self) -> tuple[Any, str]:
        return make_filesystem(self._scheme, self._options), self.url

    def _explain(self, error: Exception, action: str, key: str) -> tuple[ArtifactStoreError, Exception | None]:
        what = f"{key} in {self.url} can't be {action}"
        names = {kind.__name__ for kind in type(error).__mro__}
        name = type(error).__name__
        if names & _UNTRUSTED:
            return BackendError(f"{what}: the server's certificate is not trusted here"), None
        if names & _NEVER_STOOD:
            return UnreachableError(f"{what}: no connection to {urlsplit(self.url).netloc}; check the network and the URL"), None
        if "TooManyRedirects" in names:
            return BackendError(f"{what}: the server sends from one address to the next without end"), None
        if "ClientError" in names or isinstance(error, TimeoutError | ConnectionError):
            return BackendError(f"{what}: the connection broke, or no answer came in time ({name})", transient=True), None
        return super()._explain(error, action, key)

    async def _ask(self, method: str, key: str, action: str, **headers: str) -> Reply:
        """Send one request; redirects are followed. The answer is a yes, or this raises."""
        filesystem = self._filesystem()[0]
        session = await filesystem.set_session()
        more = dict(filesystem.kwargs)
        # As the bytes lie there: a range of compressed bytes would be no range of ours.
        complete = {"Accept-Encoding": "identity", **more.pop("headers", {}), **headers}
        reply = await exchange(session, method, f"{self.url}/{key}", headers=complete, allow_redirects=True, **more)
        if self._scheme == "https" and not reply.url.startswith("https:"):
            raise BackendError(f"{key} in {self.url} can't be {action}: the server sends to an address without encryption")
        if reply.status in {200, 206}:
            return reply
        raise self._refused(reply, action, key)

    def _refused(self, reply: Reply, action: str, key: str) -> ArtifactStoreError:
        what = f"{key} in {self.url} can't be {action}: status {reply.status}"
        if reply.status in _GONE:
            return NotFoundError(no_such_key(key, self.url))
        if reply.status == 416:
            return BackendError(f"{what}: a range lies behind its end")
        if reply.status in {429, 503}:
            return ThrottledError(what, retry_after=seconds_of(reply.headers.get("Retry-After")))
        if reply.status >= 500 or reply.status == 408:
            return BackendError(what, transient=True)
        if reply.status in {401, 403}:
            return BackendError(
                f"{what}; pass what the server asks for as storage_options={{'headers': {{…}}}}. A server that says so of what is "
                "missing, too, as a bucket without the right to list does, can't hold a store: only a 404 tells where it ends"
            )
        return BackendError(what)

    # -- the verbs

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, by one request.

        Raises:
            NotFoundError: the server says 404 or 410.
            BackendError: anything else.
        """
        check_key(key)
        # A cache on the way may keep a "not found", behind which the history would seem to end.
        reply = self._call(lambda: self._run(self._get_whole, key), "read", key)
        return reply.body  # type: ignore[no-any-return]

    async def _get_whole(self, key: str) -> Reply:
        reply = await self._ask("GET", key, "read", **{"Cache-Control": "no-cache"})
        if reply.status != 200:
            raise BackendError(f"{key} in {self.url}: a part came where all was asked for")
        if "Content-Length" not in reply.headers and "chunked" not in reply.headers.get("Transfer-Encoding", "").lower():
            raise BackendError(
                f"{key} in {self.url}: the server says nowhere how many bytes it has, so a cut could not be noticed"
            )
        return reply

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; from a server without ranges, out of the whole.

        Raises:
            NotFoundError: the server says 404 or 410.
            BackendError: a range ends behind the object's end, or anything else; a `RangesFailedError` says what came.
        """
        check_key(key)
        check_ranges(ranges)

        whole: list[Reply] = []
        # One request at a time until it is known that the server honours ranges: else each would bring the whole.
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
                raise BackendError(f"{key} in {self.url}: the server compresses ranges, though it was asked not to")
            return reply

        def call() -> list[bytes]:
            return self._ranges(key, ranges, one, lambda reply, wanted: of_range(reply, wanted, key, self.url))

        return self._call(call, "read", key)

    def size(self, key: str) -> int:
        """Return an object's size in bytes, by HEAD; where the server does not tell, by reading it.

        Raises:
            NotFoundError: the server says 404 or 410.
            BackendError: anything else.
        """
        check_key(key)

        async def look() -> str | None:
            try:
                reply = await self._ask("HEAD", key, "looked at")
            except BackendError as error:
                if error.transient:
                    raise
                return None  # some servers know no HEAD
            return None if "Content-Encoding" in reply.headers else reply.headers.get("Content-Length")

        size = self._call(lambda: self._run(look), "looked at", key)
        return len(self.read(key)) if size is None else int(size)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Refuse.

        Raises:
            UnsupportedError: always.
        """
        check_prefix(prefix)
        raise UnsupportedError(f"{self.url} can't be listed: a web server tells nobody what it has")
