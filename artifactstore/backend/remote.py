"""A place that fsspec knows: reading from any, writing only where the caller promises to be the only writer.

The one module that knows fsspec. Its generic "create" is exists-then-write, on which two writers overwrite each
other now and then, so a class without a native condition (`s3.py` has one) is never trusted with a race.
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
from artifactstore.backend.failures import check_ranges, no_such_key, past_the_end
from artifactstore.backend.options import hide, secret_names, unknown_option
from artifactstore.backend.ranges import keep_or_raise, together
from artifactstore.backend.waiting import run_on
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
# Filesystems of the process that forked this one: their loops have no thread here, and closing one would wait for it.
_PARENTS: Final[list[Any]] = []


def known_schemes() -> frozenset[str]:
    """The schemes that fsspec has a class for, installed or not."""
    return frozenset(fsspec.available_protocols())


def make_filesystem(scheme: str, options: Mapping[str, Any]) -> Any:
    """Make fsspec's filesystem for a scheme: one of its own, shared with nobody, without listings kept."""
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
    except TypeError as error:
        raise InvalidInputError(
            f"storage_options for {scheme}:// has a key that it doesn't know; given are {', '.join(options) or 'none'}"
        ) from error


def open_url(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return fsspec's filesystem for a URL, of one's own, and the URL's path there."""
    return fsspec.core.url_to_fs(url, **{"skip_instance_cache": True, "use_listings_cache": False, **options})  # type: ignore[no-any-return]


class RemoteBackend(Backend):
    """Objects behind one of fsspec's filesystems.

    The connection is made by the first request, and made anew in a forked child. Pickles carry the URL and the
    options, and are refused where an option is a secret.

    Args:
        url: scheme and place, without credentials.
        options: for fsspec's class.
        single_writer: the caller promises that nothing else writes; without it nothing can be written.

    Attributes:
        url: as given.
        exclusive: whether `create` works: only with the promise.
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

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - the last reply is as fresh as it gets
        """Return the time by the service's clock, where its replies say it."""
        return self._clock.now()

    def __getstate__(self) -> dict[str, Any]:
        if names := secret_names(self._options):
            raise InvalidInputError(
                f"{self.url} can't be pickled: storage_options hold what may be a secret ({', '.join(names)}); "
                "set it in the environment of each process, or open the store there"
            )
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_connected": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = os.getpid(), threading.RLock()

    # -- the connection

    def _connect(self) -> tuple[Any, str]:
        """Return the filesystem and what stands before its keys."""
        return fsspec.core.url_to_fs(self.url, skip_instance_cache=True, **self._options)  # type: ignore[no-any-return]

    def _filesystem(self) -> tuple[Any, str]:
        connected = self._connected
        if connected is None or connected[0] != os.getpid():
            if connected is not None:
                _PARENTS.append(connected[1])
            # Without a lock, which a fork could leave locked: two threads may connect at once, and one connection is dropped.
            connected = (os.getpid(), *self._connect())
            self._connected = connected
        return connected[1], connected[2]

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a coroutine function on the filesystem's own loop."""
        return run_on(self._filesystem()[0].loop, function, *arguments)

    def _ranges(
        self,
        key: str,
        ranges: Sequence[tuple[int, int]],
        ask: Callable[[tuple[int, int]], Awaitable[_T]],
        judge: Callable[[_T, tuple[int, int]], bytes],
    ) -> list[bytes]:
        """Ask for ranges of an object, many at a time on the loop; what came is made bytes of in the calling thread."""
        came = self._run(together, ask, ranges, self.concurrency)
        return keep_or_raise(came, ranges, judge, self._failure(key))

    def _call(self, call: Callable[[], _T], action: str, key: str) -> _T:
        """Run what talks to the place; its failures become ours, with no more of their text than is known to be harmless."""
        try:
            return call()
        except ArtifactStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - fsspec's classes raise whatever their libraries do
            failure, cause = self._explain(error, action, key)
        raise failure from cause  # outside of the handler: a cause that may show credentials is not even the context

    def _failure(self, key: str) -> Callable[[Exception], BaseException]:
        """What makes an error of ours of a failure to read a part of an object."""
        return lambda error: error if isinstance(error, ArtifactStoreError) else self._explain(error, "read", key)[0]

    def _refuse_existing(self, key: str) -> None:
        """Look before a write, which is enough for a single writer.

        Raises:
            AlreadyExistsError: something is there.
        """
        with suppress(NotFoundError):
            self.size(key)
            raise AlreadyExistsError(f"{key} exists in {self.url}")

    def _explain(self, error: Exception, action: str, key: str) -> tuple[ArtifactStoreError, Exception | None]:
        """Return the error to raise, and its cause if that is fit to be seen."""
        what = f"{key or 'the listing'} in {self.url} can't be {action}"
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return NotFoundError(no_such_key(key, self.url)), None
        if isinstance(error, FileExistsError):
            return AlreadyExistsError(f"{key} exists in {self.url}"), None
        if isinstance(error, ImportError):
            missing = hide(str(error), self._options)
            return UnsupportedError(f"{what}: a library is missing: {missing}"), None
        if (option := unknown_option(error, self._options)) is not None:
            scheme = self.url.partition("://")[0]
            return InvalidInputError(f"storage_options: {scheme}:// knows no {option!r}: check how it is written"), None
        if isinstance(error, TimeoutError | ConnectionError):
            return BackendError(f"{what}: no answer came ({type(error).__name__})", transient=True), None
        if isinstance(error, PermissionError):
            return BackendError(f"{what}: permission denied; check the credentials and what they allow"), None
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return BackendError(f"{what} ({type(error).__name__}{hide(reason, self._options)})"), None

    # -- the verbs

    def _alone(self, call: Callable[[], _T], action: str, key: str) -> _T:
        """As `_call`, for this class's own verbs: one thread at a time, and what is missing is told from what fails.

        Of fsspec's classes only those with a loop of their own are fit for threads: others share one connection.
        """
        with self._turn():
            try:
                return self._call(call, action, key)
            except BackendError as error:
                if error.transient or not key or self._is_there(key):
                    raise
        raise NotFoundError(no_such_key(key, self.url))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        filesystem = self._filesystem_or_none()
        if filesystem is None or getattr(filesystem, "async_impl", False):
            yield
            return
        if self._lock[0] != os.getpid():
            self._lock = os.getpid(), threading.RLock()  # a fork may have copied it while it was held
        with self._lock[1]:
            yield

    def _filesystem_or_none(self) -> Any:
        """The filesystem, or None where it can't be made: the request itself says why."""
        try:
            return self._filesystem()[0]
        except Exception:  # noqa: BLE001 - fsspec's classes raise whatever their libraries do
            return None

    def _is_there(self, key: str) -> bool:
        """Whether a key exists, or may: some classes have words of their own for what is missing, a listing has not."""
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
            BackendError: it can't be read.
        """
        check_key(key)

        def call() -> bytes:
            filesystem, path = self._path(key)
            return bytes(filesystem.cat_file(path))

        return self._alone(call, "read", key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends behind the object's end, or it can't be read.
        """
        check_key(key)
        check_ranges(ranges)

        def call() -> Sequence[bytes]:
            filesystem, path = self._path(key)
            starts = [offset for offset, _ in ranges]
            ends = [offset + length for offset, length in ranges]
            return filesystem.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")  # type: ignore[no-any-return]

        found = [bytes(data) for data in self._alone(call, "read", key)]
        for (offset, length), data in zip(ranges, found, strict=True):
            if len(data) != length:  # fsspec clips without a word
                self.size(key)  # of what is no object it may give nothing
                raise past_the_end(key, offset, length, None, self.url)
        return found

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there; as whole and as durable as fsspec's class for this place makes it.

        Raises:
            UnsupportedError: nobody promised to be the only writer.
            BackendError: it can't be written.
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
            self._call(call, "written", key)

    def create(self, key: str, data: bytes) -> None:
        """Store an object if nothing is there, which only a single writer can know.

        Raises:
            AlreadyExistsError: `key` exists.
            UnsupportedError: nobody promised to be the only writer.
            BackendError: it can't be written.
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
                return {}  # some classes list a file as if it lay in itself
            return filesystem.find(path.rstrip("/"), detail=True)  # type: ignore[no-any-return]

        try:
            with self._turn():
                found = self._call(call, "listed", prefix)
        except NotFoundError:
            return
        before = len(self._path("")[1].lstrip("/"))
        for name, info in found.items():
            key = name.lstrip("/")[before:]
            try:
                check_key(key)
            except InvalidInputError:
                continue  # not ours
            if key.startswith(prefix):
                yield Stored(key, int(info["size"]), _modified(info))

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is no error.

        Raises:
            UnsupportedError: nobody promised to be the only writer.
            BackendError: it may still be there.
        """
        self._check_writable(key)

        def call() -> None:
            filesystem, path = self._path(key)
            filesystem.rm_file(path)

        try:
            self._alone(call, "deleted", key)
        except NotFoundError:
            return

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: it can't be looked at.
        """
        check_key(key)

        def call() -> Mapping[str, Any]:
            filesystem, path = self._path(key)
            filesystem.invalidate_cache()
            return filesystem.info(path)  # type: ignore[no-any-return]

        info = self._alone(call, "looked at", key)
        if info["type"] != "file":
            raise NotFoundError(no_such_key(key, self.url))
        return int(info["size"])

    def _check_writable(self, key: str) -> None:
        check_key(key)
        if not self._single_writer:
            raise UnsupportedError(
                f"{self.url} can be read only: of two writers neither would notice the other there; "
                "pass single_writer=True if nothing else ever writes to it"
            )


def _modified(info: Mapping[str, Any]) -> datetime | None:
    """The time of the last change, under whichever of its names fsspec's class gives it."""
    for name in ("LastModified", "last_modified", "mtime", "modified", "updated"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return moment(value)
    return None
