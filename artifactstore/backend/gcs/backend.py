"""Google Cloud Storage by single requests of its JSON API, through gcsfs's session and with gcsfs's credentials.

gcsfs's own verbs are not used: they retry by themselves, even requests that must not be sent twice, query the kind of
bucket, cache listings, and turn a missing bucket into a missing file.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

from artifactstore.backend.base import Buffer, Stored, check_key, check_prefix
from artifactstore.backend.buffers import LARGE, content_crc32c, content_md5, flat, gather, joined
from artifactstore.backend.errors import check_ranges, not_found_message
from artifactstore.backend.gcs.errors import AmbiguousNotFoundError, DeniedError, ExpiredError, Refusal, Request, explain
from artifactstore.backend.gcs.resumable_upload import Upload
from artifactstore.backend.remote.fsspec_backend import RemoteBackend, make_filesystem
from artifactstore.backend.remote.http_client import Reply, exchange, range_body
from artifactstore.backend.remote.multipart import upload_multipart
from artifactstore.backend.remote.secrets import hide
from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError, NotFoundError

__all__ = ["GcsBackend"]

_T = TypeVar("_T")
_FIELDS: Final = "items(name,size,updated),nextPageToken"


class GcsBackend(RemoteBackend):
    """Objects in a bucket under a prefix; `create` is an upload with `ifGenerationMatch=0`, decided by the service.

    Args:
        url: `gs://bucket/prefix`.
        options: for `gcsfs.GCSFileSystem`.
        single_writer: the caller promises that nothing else writes: a service that ignores conditions is then accepted.

    Attributes:
        url: as passed.
    """

    concurrency = 32

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        super().__init__(url, options, single_writer=single_writer)
        self.exclusive = True
        self._bucket, _, root = self.url.removeprefix("gs://").partition("/")
        self._root = f"{root}/" if root else ""
        self._bucket_seen = False
        self._uploads: dict[str, Upload] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_uploads": {}}

    def _connect(self) -> tuple[Any, str]:
        return make_filesystem("gs", self._options), f"{self._bucket}/{self._root}"

    def _explain(self, error: Exception, action: str, key: str) -> tuple[ArtifactStoreError, Exception | None]:
        failure = explain(error, Request(self.url, self._bucket, action, key, lambda text: hide(text, self._options)))
        if failure is not None:
            return failure, None
        if self._connected is None and not isinstance(error, ImportError):
            # The libraries repeat their arguments in messages, so the error gets a text of its own.
            return BackendError(
                f"{self.url}: cannot connect with these options ({type(error).__name__}); check token, project and "
                "endpoint_url in storage_options, and GOOGLE_APPLICATION_CREDENTIALS"
            ), None
        return super()._explain(error, action, key)

    def _call(self, call: Callable[[], _T], action: str, key: str) -> _T:
        used = self._connected
        try:
            return super()._call(call, action, key)
        except ExpiredError:
            # Nothing was done. An identity's token can be refreshed; a token passed as an option cannot.
            if "token" in self._options:
                raise
            if self._connected is used:
                self._connected = None
        return super()._call(call, action, key)

    # -- requests

    async def _send(self, method: str, url: str, *, headers: Mapping[str, str], **more: Any) -> Reply:
        """Send one request, once; return any reply."""
        filesystem = self._filesystem()[0]
        session = await filesystem._set_session()  # noqa: SLF001 - creates the session, or returns the existing one
        complete = {"User-Agent": "artifactstore", "Accept-Encoding": "identity", **headers}
        # In a thread of its own: requesting a new token blocks.
        await asyncio.to_thread(filesystem.credentials.apply, complete)
        params = filesystem._get_params(more.pop("params", {}))  # noqa: SLF001 - adds the project that pays, where given
        return await exchange(session, method, url, headers=complete, params=params, allow_redirects=False, **more)

    async def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
        """Send one request, once, and return its reply if it is a success."""
        location = self._filesystem()[0]._location  # noqa: SLF001 - of the service, the emulator or the endpoint option
        reply = await self._send(method, f"{location}{path}", headers=headers or {}, **more)
        self._clock.note(reply.headers.get("Date"))
        if not 200 <= reply.status < 300:
            raise Refusal(reply)
        self._bucket_seen = True
        return reply

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{quote(self._bucket, safe='')}/o/{quote(self._root + key, safe='')}"

    def _object_request(self, call: Callable[[], _T], action: str, key: str) -> _T:
        """Send a request about one object; a 404 that does not say what is missing is resolved."""
        try:
            return self._call(call, action, key)
        except AmbiguousNotFoundError:
            if not self._bucket_seen:
                self._page("", {"maxResults": 1})  # raises if the bucket is missing, or listing is denied
        raise NotFoundError(not_found_message(key, self.url))

    async def _get(self, key: str, wanted: tuple[int, int] | None = None) -> Reply:
        headers = {} if wanted is None else {"Range": f"bytes={wanted[0]}-{wanted[0] + wanted[1] - 1}"}
        return await self._ask("GET", self._object(key), params={"alt": "media"}, headers=headers)

    # -- reading

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, by one request.

        Raises:
            NotFoundError: there is definitely no such key.
            BackendError: anything else.
        """
        check_key(key)
        reply = self._object_request(lambda: self._run(self._get, key), "read", key)
        sums = dict(one.strip().partition("=")[::2] for one in reply.headers.get("X-Goog-Hash", "").split(","))
        if "md5" in sums and sums["md5"] != content_md5(reply.body):
            raise BackendError(f"{key} in {self.url} was damaged in transit: it does not match its MD5", transient=True)
        return reply.body  # type: ignore[no-any-return]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; by one request each, many at a time.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end, or anything else; a `RangesFailedError` holds the ranges that were read.
        """
        check_key(key)
        check_ranges(ranges)

        def call() -> list[bytes]:
            return self._ranges(
                key,
                ranges,
                lambda wanted: self._get(key, wanted),
                lambda reply, wanted: range_body(reply, wanted, key, self.url),
            )

        return self._object_request(call, "read", key)

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """
        check_key(key)

        async def look() -> int:
            reply = await self._ask("GET", self._object(key), params={"fields": "size"})
            return int(json.loads(reply.body)["size"])

        return self._object_request(lambda: self._run(look), "stat", key)  # type: ignore[no-any-return]

    # -- writing

    def _put(self, key: str, raw: bytes | memoryview, action: str, **condition: str) -> None:
        crc = content_crc32c(raw) if len(raw) >= LARGE else None
        name, digest = ("md5Hash", content_md5(raw)) if crc is None else ("crc32c", crc)
        edge = secrets.token_hex(16)
        about = json.dumps({"name": self._root + key, name: digest, "contentType": "application/octet-stream"})
        head = f"--{edge}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n--{edge}\r\n"
        body = joined((f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), raw, f"\r\n--{edge}--".encode()))

        async def put() -> Any:
            reply = await self._ask(
                "POST",
                self._upload_path,
                params={"uploadType": "multipart", "fields": name, **condition},
                headers={"Content-Type": f"multipart/related; boundary={edge}"},
                data=body,
            )
            return _parsed(reply)

        kept = self._written(lambda: self._run(put), action, key).get(name, digest)
        if kept != digest:
            # The service rejects such a body; a server that does not has stored something else.
            raise BackendError(f"{key} in {self.url}: the server stored other bytes than were sent")

    @property
    def _upload_path(self) -> str:
        return f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o"

    def _written(self, call: Callable[[], _T], action: str, key: str) -> _T:
        try:
            return self._call(call, action, key)
        except AmbiguousNotFoundError:  # in a write only the bucket can be missing
            raise BackendError(f"the bucket {self._bucket} does not exist: create it, or check the URL {self.url}") from None

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there: one request up to 64 MiB, a resumable upload beyond.

        Raises:
            BackendError: nothing of it is visible.
        """
        check_key(key)
        whole, rest = gather(data)
        if rest is None:
            try:
                self._put(key, whole, "write")
            except DeniedError:
                # An identity that may create but not delete may not replace either, and need not if only the first reply was lost.
                if self._stored_md5(key) != content_md5(whole):
                    raise
        else:
            upload_multipart(self, key, whole, rest, lambda call: call())

    def _stored_md5(self, key: str) -> str | None:
        """Return the MD5 of the stored object; None where unknown."""

        async def look() -> Any:
            return _parsed(await self._ask("GET", self._object(key), params={"fields": "md5Hash"})).get("md5Hash")

        try:
            return self._object_request(lambda: self._run(look), "stat", key)  # type: ignore[no-any-return]
        except ArtifactStoreError:
            return None

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if nothing is there: one conditional request, sent once.

        Raises:
            AlreadyExistsError: `key` exists, whoever wrote it.
            BackendError: the outcome is unknown, except for a `NotAppliedError`.
        """
        check_key(key)
        raw = bytes(flat(data))
        if self._single_writer:
            self._refuse_existing(key)
        self._put(key, raw, "create", ifGenerationMatch="0")

    # -- multipart upload (`MultipartUploads`): Google's resumable upload

    def start_upload(self, key: str) -> str:
        """Return the id of a new resumable upload."""

        async def start() -> Upload:
            about = {"name": self._root + key, "contentType": "application/octet-stream"}
            reply = await self._ask(
                "POST",
                self._upload_path,
                params={"uploadType": "resumable"},
                headers={"Content-Type": "application/json; charset=UTF-8"},
                data=json.dumps(about).encode(),
            )
            return Upload(reply.headers.get("Location", ""))

        upload = self._written(lambda: self._run(start), "write", key)
        name = secrets.token_hex(8)  # not the session URL itself, which alone is enough to write
        self._uploads[name] = upload
        return name

    def send_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> str:
        """Send a part; a short last part is sent by `finish_upload`, which knows that it is the last."""
        state = self._uploads[upload]
        state.count(number, data)
        self._written(lambda: self._run(state.send, self._send, number, data), "write", key)
        return str(number)

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:  # noqa: ARG002 - the protocol's name
        """Complete the object from its parts, replacing any existing one."""
        state = self._uploads[upload]
        self._written(lambda: self._run(state.finish, self._send, f"{key} in {self.url}"), "write", key)
        del self._uploads[upload]

    def drop_upload(self, key: str, upload: str) -> None:
        """Abort an upload and drop its parts."""
        state = self._uploads.pop(upload)
        self._call(lambda: self._run(state.drop, self._send), "write", key)

    # -- listing, deleting

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`: one request for each 1,000.

        Raises:
            BackendError: the listing could not be completed.
        """
        check_prefix(prefix)
        more: Mapping[str, Any] | None = {}
        while more is not None:
            page = self._page(prefix, more)
            for item in page.get("items", ()):
                key = item["name"][len(self._root) :]
                try:
                    check_key(key)
                except InvalidInputError:
                    continue  # not an object of the store
                yield Stored(key, int(item["size"]), datetime.fromisoformat(item["updated"]).astimezone(UTC))
            token = page.get("nextPageToken")
            if token and more.get("pageToken") == token:
                raise BackendError(f"{prefix or 'the listing'} in {self.url}: the server returns the same page again and again")
            more = {"pageToken": token} if token else None

    def _page(self, prefix: str, more: Mapping[str, Any]) -> Any:
        async def page() -> Any:
            path = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
            return _parsed(await self._ask("GET", path, params={"prefix": self._root + prefix, "fields": _FIELDS, **more}))

        return self._call(lambda: self._run(page), "list", prefix)

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        check_key(key)

        async def drop() -> None:
            await self._ask("DELETE", self._object(key))

        with contextlib.suppress(NotFoundError):
            self._object_request(lambda: self._run(drop), "delete", key)


def _parsed(reply: Reply) -> Any:
    try:
        found = json.loads(reply.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BackendError(
            "the reply is not from Google Cloud Storage; check for a proxy between here and the service", transient=True
        )
    return found
