"""A backend on any fsspec filesystem: reads from all, writes only if the caller promises to be the only writer.

fsspec's generic "create" is exists-then-write, with which two writers overwrite each other now and then, so a class
without a native condition (`backend.s3` has one) is never trusted with concurrent writers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from artifactstore.backend.base import Backend, Buffer, Stored, check_key, check_prefix, moment
from artifactstore.backend.buffers import flat, gather
from artifactstore.backend.errors import check_ranges, not_found_message, range_beyond_end
from artifactstore.backend.remote.fsspec_client import FsspecClient, open_url
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError, UnsupportedError

__all__ = ["FsspecBackend", "refuse_existing"]

_T = TypeVar("_T")


def refuse_existing(backend: Backend, key: str) -> None:
    """Check before a `create`, which is enough for a single writer.

    Raises:
        AlreadyExistsError: the key exists.
    """
    with suppress(NotFoundError):
        backend.size(key)
        raise AlreadyExistsError(f"{key} exists in {backend.url}")


class FsspecBackend(Backend):
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
        self._single_writer = single_writer
        given = dict(options or {})
        self._client = FsspecClient(self.url, given, partial(open_url, self.url, given))

    def _call(self, action: str, key: str, function: Callable[[], _T]) -> _T:
        """Use the filesystem; tell a missing object from other failures."""
        with self._client.turn():
            try:
                return self._client.call(action, key, function)
            except BackendError as error:
                if error.transient or not key or self._may_exist(key):
                    raise
        raise NotFoundError(not_found_message(key, self.url))

    def _may_exist(self, key: str) -> bool:
        """Whether a key exists, or may: some classes raise errors of their own for a missing key, a listing does not."""
        try:
            filesystem, path = self._path(key)
        except Exception:  # noqa: BLE001 - fsspec's classes raise what their libraries raise; the request itself reports why
            return True
        try:
            return bool(filesystem.info(path)["type"] == "file")
        except FileNotFoundError:
            return False
        except Exception:  # noqa: BLE001 - as above
            return True

    def _path(self, key: str) -> tuple[Any, str]:
        filesystem, root = self._client.connection()
        return filesystem, f"{root.rstrip('/')}/{key}"

    # -- the verbs

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

        return self._call("read", key, call)

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

        found = [bytes(data) for data in self._call("read", key, call)]
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

        with self._client.turn():
            self._client.call("write", key, call)

    def create(self, key: str, data: bytes) -> None:
        """Store an object if the key does not exist, which only a single writer can know.

        Raises:
            AlreadyExistsError: `key` exists.
            UnsupportedError: the caller did not pass `single_writer=True`.
            BackendError: it cannot be written.
        """
        self._check_writable(key)
        raw = bytes(flat(data))
        refuse_existing(self, key)
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
            with self._client.turn():
                found = self._client.call("list", prefix, call)
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
            self._call("delete", key, call)
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

        info = self._call("stat", key, call)
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
