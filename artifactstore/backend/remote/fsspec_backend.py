"""A backend on any fsspec filesystem: reads from all, writes only if the caller promises to be the only writer.

The only module that knows fsspec. fsspec's generic "create" is exists-then-write, with which two writers overwrite each
other now and then, so a class without a native condition (`backend.s3` has one) is never trusted with concurrent writers.
"""

import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, TypeVar

import fsspec

from artifactstore.backend.base import Backend, Buffer, Clock, Stored, check_key, check_prefix, moment
from artifactstore.backend.buffers import flat, gather
from artifactstore.backend.errors import check_ranges, not_found_message, range_beyond_end
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

__all__ = ["RemoteBackend", "known_schemes", "make_filesystem", "open_url"]

_T = TypeVar("_T")
# Filesystems of the parent process of a fork: their loops have no thread here, and closing one would block.
_ORPHANED: Final[list[Any]] = []


def known_schemes() -> frozenset[str]:
    """Return the schemes that fsspec has a class for, installed or not."""
    return frozenset(fsspec.available_protocols())


def make_filesystem(scheme: str, options: Mapping[str, Any]) -> Any:
    """Create fsspec's filesystem for a scheme: unshared, without cached listings."""
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
    except TypeError as error:
        raise InvalidInputError(
            f"storage_options for {scheme}:// contain an unknown key; expected options of fsspec's class, got {', '.join(options) or 'none'}"
        ) from error


def open_url(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return an unshared fsspec filesystem for a URL, and the URL's path there."""
    return fsspec.core.url_to_fs(url, **{"skip_instance_cache": True, "use_listings_cache": False, **options})  # type: ignore[no-any-return]


class RemoteBackend(Backend):
    """Objects on an fsspec filesystem.

    The first request connects, and again in a forked child. Pickles carry the URL and the
    options, and are refused where an option is a secret.

    Args:
        url: scheme and path, without credentials.
        options: for fsspec's class.
        single_writer: the caller promises that nothing else writes; required for any write.

    Attributes:
        url: as passed.
        exclusive: whether `create` works: only with `single_writer`.
    """

    concurrency = 4

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        self.url = url.rstrip("/") if not url.endswith("://") else url
        self.exclusive = single_writer
        self._options = dict(options or {})
        self._single_writer = single_writer
        self._connected: tuple[int, Any, str] | None = None
        self._lock = os.getpid(), threading.RLock()
        self._clock = Clock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - the last reply is as fresh as possible
        """Return the time by the service's clock, where its replies show it."""
        return self._clock.now()

    def __getstate__(self) -> dict[str, Any]:
        if names := secret_names(self._options):
            raise InvalidInputError(
                f"{self.url} cannot be pickled: storage_options may contain a secret ({', '.join(names)}); "
                "set it in the environment of each process, or open the store there"
            )
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_connected": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = os.getpid(), threading.RLock()

    # -- the connection

    def _connect(self) -> tuple[Any, str]:
        """Return the filesystem and the prefix of all keys."""
        return fsspec.core.url_to_fs(self.url, skip_instance_cache=True, **self._options)  # type: ignore[no-any-return]

    def _filesystem(self) -> tuple[Any, str]:
        connected = self._connected
        if connected is None or connected[0] != os.getpid():
            if connected is not None:
                _ORPHANED.append(connected[1])
            # Without a lock, which a fork could leave locked: two threads may connect at once, and one connection is dropped.
            connected = (os.getpid(), *self._connect())
            self._connected = connected
        return connected[1], connected[2]

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a coroutine function on the filesystem's own event loop."""
        return run_coroutine(self._filesystem()[0].loop, function, *arguments)

    def _ranges(
        self,
        key: str,
        ranges: Sequence[tuple[int, int]],
        ask: Callable[[tuple[int, int]], Awaitable[_T]],
        judge: Callable[[_T, tuple[int, int]], bytes],
    ) -> list[bytes]:
        """Read ranges of an object, many at a time on the loop; replies are converted to bytes in the calling thread."""
        came = self._run(gather_ranges, ask, ranges, self.concurrency)
        return collect_ranges(came, ranges, judge, self._range_error(key))

    def _call(self, call: Callable[[], _T], action: str, key: str) -> _T:
        """Run a request; its failures become our errors, with only such text of theirs as is known to be harmless."""
        try:
            return call()
        except ArtifactStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - fsspec's classes raise what their libraries raise
            failure, cause = self._explain(error, action, key)
        raise failure from cause  # outside the handler: a cause that may contain credentials is not even the context

    def _range_error(self, key: str) -> Callable[[Exception], BaseException]:
        """Return a converter from a failed read of a part of an object to our error."""
        return lambda error: error if isinstance(error, ArtifactStoreError) else self._explain(error, "read", key)[0]

    def _refuse_existing(self, key: str) -> None:
        """Check before a write, which is enough for a single writer.

        Raises:
            AlreadyExistsError: the key exists.
        """
        with suppress(NotFoundError):
            self.size(key)
            raise AlreadyExistsError(f"{key} exists in {self.url}")

    def _explain(self, error: Exception, action: str, key: str) -> tuple[ArtifactStoreError, Exception | None]:
        """Return the error to raise, and its cause if that is safe to show."""
        what = f"cannot {action} {f'{key} in ' if key else ''}{self.url}"
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return NotFoundError(not_found_message(key, self.url)), None
        if isinstance(error, FileExistsError):
            return AlreadyExistsError(f"{key} exists in {self.url}"), None
        if isinstance(error, ImportError):
            missing = hide(str(error), self._options)
            return UnsupportedError(f"{what}: a library is missing: {missing}"), None
        if (option := unknown_option(error, self._options)) is not None:
            scheme = self.url.partition("://")[0]
            return InvalidInputError(f"storage_options: {scheme}:// has no option {option!r}: check its spelling"), None
        if isinstance(error, TimeoutError | ConnectionError):
            return BackendError(f"{what}: no reply arrived ({type(error).__name__})", transient=True), None
        if isinstance(error, PermissionError):
            return BackendError(f"{what}: permission denied; check the credentials and what they allow"), None
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return BackendError(f"{what} ({type(error).__name__}{hide(reason, self._options)})"), None

    # -- the verbs

    def _call_serially(self, call: Callable[[], _T], action: str, key: str) -> _T:
        """Like `_call`, for this class's own verbs: one thread at a time, and missing objects are distinguished from other failures.

        Only fsspec classes with a loop of their own are thread-safe: others share one connection.
        """
        with self._turn():
            try:
                return self._call(call, action, key)
            except BackendError as error:
                if error.transient or not key or self._may_exist(key):
                    raise
        raise NotFoundError(not_found_message(key, self.url))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        filesystem = self._filesystem_or_none()
        if filesystem is None or getattr(filesystem, "async_impl", False):
            yield
            return
        if self._lock[0] != os.getpid():
            self._lock = os.getpid(), threading.RLock()  # a fork may have copied it while locked
        with self._lock[1]:
            yield

    def _filesystem_or_none(self) -> Any:
        """Return the filesystem, or None where it cannot be created: the request itself reports why."""
        try:
            return self._filesystem()[0]
        except Exception:  # noqa: BLE001 - fsspec's classes raise what their libraries raise
            return None

    def _may_exist(self, key: str) -> bool:
        """Whether a key exists, or may: some classes raise errors of their own for a missing key, a listing does not."""
        if self._filesystem_or_none() is None:
            return True
        filesystem, path = self._path(key)
        try:
            return bool(filesystem.info(path)["type"] == "file")
        except FileNotFoundError:
            return False
        except Exception:  # noqa: BLE001 - as above
            return True

    def _path(self, key: str) -> tuple[Any, str]:
        filesystem, root = self._filesystem()
        return filesystem, f"{root.rstrip('/')}/{key}"

    def read(self, key: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFoundError: no such key.
            BackendError: it cannot be read.
        """
        check_key(key)

        def call() -> bytes:
            filesystem, path = self._path(key)
            return bytes(filesystem.cat_file(path))

        return self._call_serially(call, "read", key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end, or it cannot be read.
        """
        check_key(key)
        check_ranges(ranges)

        def call() -> Sequence[bytes]:
            filesystem, path = self._path(key)
            starts = [offset for offset, _ in ranges]
            ends = [offset + length for offset, length in ranges]
            return filesystem.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")  # type: ignore[no-any-return]

        found = [bytes(data) for data in self._call_serially(call, "read", key)]
        for (offset, length), data in zip(ranges, found, strict=True):
            if len(data) != length:  # fsspec clips silently
                self.size(key)  # raises if it is not an object
                raise range_beyond_end(key, offset, length, None, self.url)
        return found

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there; as atomic and durable as fsspec's class makes it.

        Raises:
            UnsupportedError: the caller did not pass `single_writer=True`.
            BackendError: it cannot be written.
        """
        self._check_writable(key)
        whole, rest = gather(data)

        def call() -> None:
            filesystem, path = self._path(key)
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            if rest is None:
                filesystem.pipe_file(path, whole)
                return
            with filesystem.open(path, "wb") as file:
                for piece in chain((whole,), rest):
                    file.write(piece)

        with self._turn():
            self._call(call, "write", key)

    def create(self, key: str, data: bytes) -> None:
        """Store an object if the key does not exist, which only a single writer can know.

        Raises:
            AlreadyExistsError: `key` exists.
            UnsupportedError: the caller did not pass `single_writer=True`.
            BackendError: it cannot be written.
        """
        self._check_writable(key)
        raw = bytes(flat(data))
        self._refuse_existing(key)
        self.write(key, raw)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`.

        Raises:
            BackendError: the listing could not be completed.
        """
        check_prefix(prefix)

        def call() -> Mapping[str, Mapping[str, Any]]:
            filesystem, path = self._path(prefix)
            filesystem.invalidate_cache()
            if prefix and filesystem.info(path.rstrip("/"))["type"] != "directory":
                return {}  # some classes list a file as its own content
            return filesystem.find(path.rstrip("/"), detail=True)  # type: ignore[no-any-return]

        try:
            with self._turn():
                found = self._call(call, "list", prefix)
        except NotFoundError:
            return
        before = len(self._path("")[1].lstrip("/"))
        for name, info in found.items():
            key = name.lstrip("/")[before:]
            try:
                check_key(key)
            except InvalidInputError:
                continue  # not an object of the store
            if key.startswith(prefix):
                yield Stored(key, int(info["size"]), _modified(info))

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            UnsupportedError: the caller did not pass `single_writer=True`.
            BackendError: it may still be there.
        """
        self._check_writable(key)

        def call() -> None:
            filesystem, path = self._path(key)
            filesystem.rm_file(path)

        try:
            self._call_serially(call, "delete", key)
        except NotFoundError:
            return

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: `stat` fails.
        """
        check_key(key)

        def call() -> Mapping[str, Any]:
            filesystem, path = self._path(key)
            filesystem.invalidate_cache()
            return filesystem.info(path)  # type: ignore[no-any-return]

        info = self._call_serially(call, "stat", key)
        if info["type"] != "file":
            raise NotFoundError(not_found_message(key, self.url))
        return int(info["size"])

    def _check_writable(self, key: str) -> None:
        check_key(key)
        if not self._single_writer:
            raise UnsupportedError(
                f"{self.url} is read-only: this backend has no exclusive create, so concurrent writers would overwrite each other; "
                "pass single_writer=True if nothing else ever writes to it"
            )


def _modified(info: Mapping[str, Any]) -> datetime | None:
    """Return the modification time, under whichever name fsspec's class reports it."""
    for name in ("LastModified", "last_modified", "mtime", "modified", "updated"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return moment(value)
    return None
