"""The client that each remote backend owns: one fsspec filesystem, its event loop, and the meaning of its failures.

The only module that knows fsspec. A service adds two functions of its own: how its failures read, and how its credentials
are renewed.
"""

import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import fsspec

from artifactstore.backend.base import Clock, Stored, check_key, check_prefix
from artifactstore.backend.errors import ExpiredError, Request, check_ranges, not_found_message
from artifactstore.backend.remote.concurrent_ranges import collect_ranges, gather_ranges
from artifactstore.backend.remote.event_loop import run_coroutine
from artifactstore.backend.remote.secrets import hide, secret_names, unknown_option
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)

__all__ = ["FsspecClient", "known_schemes", "make_filesystem", "open_url"]

_T = TypeVar("_T")
# Filesystems of the parent process of a fork: their loops have no thread here, and closing one would block.
_ORPHANED: Final[list[Any]] = []
Explain = Callable[[Exception, Request], ArtifactStoreError | None]


def known_schemes() -> frozenset[str]:
    """Return the schemes that fsspec has a class for, installed or not."""
    return frozenset(fsspec.available_protocols())


def make_filesystem(scheme: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Create fsspec's filesystem for a scheme, unshared and without cached listings, and return it with an empty path."""
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options), ""
    except TypeError as error:
        raise InvalidInputError(
            f"storage_options for {scheme}:// contain an unknown key; expected options of fsspec's class, got {', '.join(options) or 'none'}"
        ) from error


def open_url(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return an unshared fsspec filesystem for a URL, and the URL's path there."""
    return fsspec.core.url_to_fs(url, **{"skip_instance_cache": True, **options})  # type: ignore[no-any-return]


class FsspecClient:
    """A connection to one fsspec filesystem, made by the first request, and again in a forked child.

    Pickles carry the options, and are refused where an option is a secret.

    Args:
        url: of the backend, for messages; without credentials.
        options: of the caller, for messages and pickles.
        connect: returns the filesystem, and the path of the URL there.
        bucket: of the URL, for messages.
        explain: returns the error for a failure of the service, None for other failures.
        renew: reconnects after an `ExpiredError`; returns whether the credentials are new ones. None = they cannot be renewed.

    Attributes:
        url: as passed.
        options: as passed.
        clock: of the service, as its replies show it.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any],
        connect: Callable[[], tuple[Any, str]],
        *,
        bucket: str = "",
        explain: Explain | None = None,
        renew: "Callable[[FsspecClient], bool] | None" = None,
    ) -> None:
        self.url = url
        self.options = options
        self.clock = Clock()
        self._connect = connect
        self._bucket = bucket
        self._explain = explain
        self._renew = renew
        self._connected: tuple[int, Any, str] | None = None
        self._lock = os.getpid(), threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        if names := secret_names(self.options):
            raise InvalidInputError(
                f"{self.url} cannot be pickled: storage_options may contain a secret ({', '.join(names)}); "
                "set it in the environment of each process, or open the store there"
            )
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_connected": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = os.getpid(), threading.RLock()

    # -- the connection

    def connection(self) -> tuple[Any, str]:
        """Return the filesystem, and the path of the URL there; connect if this process has not yet."""
        connected = self._connected
        if connected is None or connected[0] != os.getpid():
            if connected is not None:
                _ORPHANED.append(connected[1])
            # Without a lock, which a fork could leave locked: two threads may connect at once, and one connection is dropped.
            connected = (os.getpid(), *self._connect())
            self._connected = connected
        return connected[1], connected[2]

    @property
    def filesystem(self) -> Any:
        """The filesystem."""
        return self.connection()[0]

    def disconnect(self) -> None:
        """Drop the connection: the next request makes a new one."""
        self._connected = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let one thread at a time use the filesystem's own verbs: only classes with a loop are thread-safe, others share one connection."""
        try:
            filesystem = self.filesystem
        except Exception:  # noqa: BLE001 - fsspec's classes raise what their libraries raise; the request itself reports why
            filesystem = None
        if filesystem is None or getattr(filesystem, "async_impl", False):
            yield
            return
        if self._lock[0] != os.getpid():
            self._lock = os.getpid(), threading.RLock()  # a fork may have copied it while locked
        with self._lock[1]:
            yield

    # -- requests

    def request(
        self,
        action: str,
        key: str,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *arguments: Any,
        convert: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Run a coroutine function on the filesystem's event loop; after expired credentials once more, if they can be renewed.

        Args:
            action: for messages: "cannot <action> …".
            key: for messages; empty where the request is not about an object.
            function: sends requests, each once.
            *arguments: of the function.
            convert: converts its result, in the calling thread.

        Raises:
            ArtifactStoreError: of whichever class the failure is.
        """
        renewed = False
        while True:
            used = None
            try:
                loop, used = self.filesystem.loop, self._connected
                came = run_coroutine(loop, function, *arguments)
                return came if convert is None else convert(came)
            except Exception as error:  # noqa: BLE001 - fsspec's classes raise what their libraries raise
                failure = self.explain(action, key, error)
            # Raised outside the handler: a cause that may contain credentials is not even the context.
            if renewed or not isinstance(failure, ExpiredError) or not self._renewed(used):
                raise failure
            renewed = True

    def _renewed(self, used: Any) -> bool:
        """Whether credentials other than those of the connection `used` are available now; nothing was done with the expired ones."""
        return self._renew is not None and (self._connected is not used or self._renew(self))

    def run(self, function: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any) -> _T:
        """Run a coroutine function on the filesystem's event loop; its failures are raised as they are."""
        return run_coroutine(self.filesystem.loop, function, *arguments)

    def call(self, action: str, key: str, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call a function that uses the filesystem; its failures become our errors.

        Raises:
            ArtifactStoreError: of whichever class the failure is.
        """
        try:
            return function(*arguments)
        except Exception as error:  # noqa: BLE001 - fsspec's classes raise what their libraries raise
            failure = self.explain(action, key, error)
        raise failure

    def read_ranges(
        self,
        key: str,
        ranges: Sequence[tuple[int, int]],
        limit: int,
        ask: Callable[[tuple[int, int]], Awaitable[_T]],
        judge: Callable[[_T, tuple[int, int]], bytes],
    ) -> list[bytes]:
        """Read ranges of an object, many at a time; replies are converted to bytes in the calling thread.

        Args:
            key: the object's key.
            ranges: (offset, length) of each.
            limit: number of concurrent requests.
            ask: requests a range.
            judge: converts a reply to the bytes of the range, or raises a `BackendError`.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end, or anything else; a `RangesFailedError` holds the ranges that were read.
        """
        check_key(key)
        check_ranges(ranges)
        convert = partial(collect_ranges, ranges=ranges, judge=judge, explain=partial(self.explain, "read", key))
        return self.request("read", key, gather_ranges, ask, ranges, limit, convert=convert)  # type: ignore[no-any-return]

    def list_pages(self, prefix: str, page: Callable[[str, Any], tuple[Iterable[Stored], Any]]) -> Iterator[Stored]:
        """Yield the objects of a listing that comes in pages.

        Args:
            prefix: the prefix of all keys.
            page: requests one page by the prefix and a token, None for the first; returns its objects and the next page's token, or None.

        Raises:
            BackendError: the listing could not be completed.
        """
        check_prefix(prefix)
        token = None
        while True:
            found, following = page(prefix, token)
            for item in found:
                try:
                    check_key(item.key)
                except InvalidInputError:
                    continue  # not an object of the store
                yield item
            if not following:
                return
            if following == token:
                raise BackendError(
                    f"{prefix or 'the listing'} in {self.url}: the server returns the same page again and again, so the rest cannot be listed"
                )
            token = following

    def explain(self, action: str, key: str, error: Exception) -> ArtifactStoreError:
        """Return the error to raise for a failure, with only such text of its own as is known to be harmless."""
        if isinstance(error, ArtifactStoreError):
            return error
        connected = None if self._connected is None else self._connected[1]
        what = Request(self.url, self._bucket, action, key, partial(hide, options=self.options), connected)
        failure = None if self._explain is None else self._explain(error, what)
        if failure is not None:
            return failure
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return NotFoundError(not_found_message(key, self.url))
        if isinstance(error, FileExistsError):
            return AlreadyExistsError(f"{key} exists in {self.url}")
        if isinstance(error, ImportError):
            return UnsupportedError(f"{what}: a library is missing: {hide(str(error), self.options)}")
        if (option := unknown_option(error, self.options)) is not None:
            scheme = self.url.partition("://")[0]
            return InvalidInputError(f"storage_options: {scheme}:// has no option {option!r}: check its spelling")
        if isinstance(error, TimeoutError | ConnectionError):
            return BackendError(f"{what}: no reply arrived ({type(error).__name__})", transient=True)
        if isinstance(error, PermissionError):
            return BackendError(f"{what}: permission denied; check the credentials and what they allow")
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return BackendError(f"{what} ({type(error).__name__}{hide(reason, self.options)})")
