"""Google Cloud Storage by single requests of its JSON API, through gcsfs's session and with gcsfs's credentials.

gcsfs's own verbs are not used: they retry by themselves, even requests that must not be sent twice, query the kind of
bucket, cache listings, and turn a missing bucket into a missing file.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from artifactstore.backend.base import Backend, Buffer, Stored, check_key
from artifactstore.backend.buffers import LARGE, content_crc32c, content_md5, flat, gather, joined
from artifactstore.backend.errors import AmbiguousNotFoundError, not_found_message
from artifactstore.backend.gcs import batch
from artifactstore.backend.gcs.errors import DeniedError, Refusal, explain
from artifactstore.backend.gcs.resumable_upload import Upload
from artifactstore.backend.remote.fsspec_backend import refuse_existing
from artifactstore.backend.remote.fsspec_client import FsspecClient, make_filesystem
from artifactstore.backend.remote.http_client import Reply, exchange, range_body
from artifactstore.backend.remote.multipart import upload_multipart
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError
from artifactstore.runtime.threads import Pool

__all__ = ["GcsBackend"]

_FIELDS: Final = "items(name,size,updated),nextPageToken"
_BATCHES: Final = 8  # at a time: the service works on the calls of each one at once


class GcsBackend(Backend):
    """Objects in a bucket under a prefix; `create` is an upload with `ifGenerationMatch=0`, decided by the service.

    Args:
        url: `gs://bucket/prefix`.
        options: for `gcsfs.GCSFileSystem`.
        single_writer: the caller promises that nothing else writes: a service that ignores conditions is then accepted.

    Attributes:
        url: as passed.
        client: the connection.
    """

    concurrency = 32

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        self.url = url.rstrip("/")
        self._single_writer = single_writer
        self._bucket, _, root = self.url.removeprefix("gs://").partition("/")
        self._root = f"{root}/" if root else ""
        self._bucket_seen = False
        self._bulk = True
        self._uploads: dict[str, Upload] = {}
        given = dict(options or {})
        self.client = FsspecClient(
            self.url,
            given,
            partial(make_filesystem, "gs", given),
            bucket=self._bucket,
            explain=explain,
            renew=None if "token" in given else _renew_token,  # a token passed as an option cannot be renewed
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_uploads": {}}

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - the last reply is as fresh as possible
        """Return the time by the service's clock, as its replies show it."""
        return self.client.clock.now()

    # -- requests

    async def _send(self, method: str, url: str, *, headers: Mapping[str, str], **more: Any) -> Reply:
        """Send one request, once; return any reply."""
        filesystem = self.client.filesystem
        session = await filesystem._set_session()  # noqa: SLF001 - creates the session, or returns the existing one
        complete = {"User-Agent": "artifactstore", "Accept-Encoding": "identity", **headers}
        # In a thread of its own: requesting a new token blocks.
        await asyncio.to_thread(filesystem.credentials.apply, complete)
        params = filesystem._get_params(more.pop("params", {}))  # noqa: SLF001 - adds the project that pays, where given
        return await exchange(session, method, url, headers=complete, params=params, allow_redirects=False, **more)

    async def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
        """Send one request, once, and return its reply if it is a success."""
        location = self.client.filesystem._location  # noqa: SLF001 - of the service, the emulator or the endpoint option
        reply = await self._send(method, f"{location}{path}", headers=headers or {}, **more)
        self.client.clock.note(reply.headers.get("Date"))
        if not 200 <= reply.status < 300:
            raise Refusal(reply)
        self._bucket_seen = True
        return reply

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{quote(self._bucket, safe='')}/o/{quote(self._root + key, safe='')}"

    def _object_request(self, action: str, key: str, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        """Send a request about one object; a 404 that does not say what is missing is resolved."""
        try:
            return self.client.request(action, key, function, *arguments)
        except AmbiguousNotFoundError:
            raise self._missing(key) from None

    def _missing(self, key: str) -> NotFoundError:
        """Return the error for an ambiguous 404.

        Raises:
            BackendError: the bucket is missing, or listing is denied.
        """
        if not self._bucket_seen:
            self._page("", {"maxResults": 1})
        return NotFoundError(not_found_message(key, self.url))

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
        reply = self._object_request("read", key, self._get, key)
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
        try:
            return self.client.read_ranges(key, ranges, self.concurrency, partial(self._get, key), partial(self._range_body, key))
        except AmbiguousNotFoundError:
            raise self._missing(key) from None

    def _range_body(self, key: str, reply: Reply, wanted: tuple[int, int]) -> bytes:
        return range_body(reply, wanted, key, self.url)

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

        return self._object_request("stat", key, look)  # type: ignore[no-any-return]

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

        kept = self._written(action, key, put).get(name, digest)
        if kept != digest:
            # The service rejects such a body; a server that does not has stored something else.
            raise BackendError(f"{key} in {self.url}: the server stored other bytes than were sent")

    @property
    def _upload_path(self) -> str:
        return f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o"

    def _written(self, action: str, key: str, function: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        try:
            return self.client.request(action, key, function, *arguments)
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
            return self._object_request("stat", key, look)  # type: ignore[no-any-return]
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
            refuse_existing(self, key)
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

        upload = self._written("write", key, start)
        name = secrets.token_hex(8)  # not the session URL itself, which alone is enough to write
        self._uploads[name] = upload
        return name

    def send_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> str:
        """Send a part; a short last part is sent by `finish_upload`, which knows that it is the last."""
        state = self._uploads[upload]
        state.count(number, data)
        self._written("write", key, state.send, self._send, number, data)
        return str(number)

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:  # noqa: ARG002 - the protocol's name
        """Complete the object from its parts, replacing any existing one."""
        state = self._uploads[upload]
        self._written("write", key, state.finish, self._send, f"{key} in {self.url}")
        del self._uploads[upload]

    def drop_upload(self, key: str, upload: str) -> None:
        """Abort an upload and drop its parts."""
        state = self._uploads.pop(upload)
        self.client.request("write", key, state.drop, self._send)

    # -- listing, deleting

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`: one request for each 1,000.

        Raises:
            BackendError: the listing could not be completed.
        """
        return self.client.list_pages(prefix, self._stored)

    def _stored(self, prefix: str, token: str | None) -> tuple[Iterable[Stored], str | None]:
        page = self._page(prefix, {"pageToken": token} if token else {})
        root = len(self._root)
        found = (
            Stored(item["name"][root:], int(item["size"]), datetime.fromisoformat(item["updated"]).astimezone(UTC))
            for item in page.get("items", ())
        )
        return found, page.get("nextPageToken")

    def _page(self, prefix: str, more: Mapping[str, Any]) -> Any:
        async def page() -> Any:
            path = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
            return _parsed(await self._ask("GET", path, params={"prefix": self._root + prefix, "fields": _FIELDS, **more}))

        return self.client.request("list", prefix, page)

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        check_key(key)

        async def drop() -> None:
            await self._ask("DELETE", self._object(key))

        with contextlib.suppress(NotFoundError):
            self._object_request("delete", key, drop)

    def delete_many(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        """Remove objects by one request for each 100; one by one where the server does not have that request."""
        for key in keys:
            check_key(key)
        if not self._bulk or len(keys) < 2:
            return super().delete_many(keys)
        groups = [keys[at : at + batch.MOST] for at in range(0, len(keys), batch.MOST)]
        with Pool(min(_BATCHES, len(groups)), "artifactstore-delete") as pool:
            return {key: error for found in pool.map(self._delete_group, groups) for key, error in found.items()}

    def _delete_group(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        try:
            replies = self.client.request("delete", "", self._drop_many, keys)
        except ArtifactStoreError as error:
            if isinstance(error, BackendError) and error.transient:
                return dict.fromkeys(keys, error)
            replies = None
        if replies is None:
            self._bulk = False  # single deletions name what is wrong
            return super().delete_many(keys)
        found: dict[str, ArtifactStoreError] = {}
        for key, reply in zip(keys, replies, strict=True):
            if 200 <= reply.status < 300:
                self._bucket_seen = True  # the answer of the whole does not say that
            elif (failure := self._failure(key, reply)) is not None:
                found[key] = failure
        return found

    async def _drop_many(self, keys: Sequence[str]) -> Sequence[Reply] | None:
        """Send one request for up to 100 deletions; return the reply to each, or None where it was not understood."""
        filesystem = self.client.filesystem
        payer = filesystem._get_params({})  # noqa: SLF001 - the project that pays, where given
        query = f"?{urlencode(payer)}" if payer else ""
        edge, body = batch.body_of([f"{self._object(key)}{query}" for key in keys])
        location = filesystem._location  # noqa: SLF001 - as above
        headers = {"Content-Type": f"multipart/mixed; boundary={edge}"}
        reply = await self._send("POST", f"{location}/batch/storage/v1", headers=headers, data=body)
        self.client.clock.note(reply.headers.get("Date"))
        if not 200 <= reply.status < 300:
            raise Refusal(reply)
        replies = batch.replies_in(reply, len(keys))
        if replies and all(one.status == 401 for one in replies):
            raise Refusal(replies[0])  # the credentials are renewed once, as for a single request
        return replies

    def _failure(self, key: str, reply: Reply) -> ArtifactStoreError | None:
        """Return the error for an unsuccessful reply to one deletion of many; None if the object is gone."""

        async def refuse() -> None:
            raise Refusal(reply)

        try:
            self._object_request("delete", key, refuse)
        except NotFoundError:
            return None
        except ArtifactStoreError as error:
            return error
        return None


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


def _renew_token(client: FsspecClient) -> bool:
    """Reconnect: an identity gets a new token."""
    client.disconnect()
    return True
