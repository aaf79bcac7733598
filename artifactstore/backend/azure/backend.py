"""Azure Blob Storage, ADLS Gen2 and OneLake, by single requests of adlfs's own client.

adlfs's own verbs are not used: they ask for properties first, cache listings, try to create containers and take a
prefix for a directory. Neither are the client's convenience methods that send several requests or retry by
themselves: `RetryingBackend` retries, and knows which requests must not be sent twice.
"""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from artifactstore.backend.azure.errors import explain, of_reply
from artifactstore.backend.azure.urls import AzureLocation
from artifactstore.backend.base import Backend, Buffer, Stored, check_key
from artifactstore.backend.buffers import content_md5, flat, gather
from artifactstore.backend.errors import Request, not_found_message, range_beyond_end
from artifactstore.backend.remote.fsspec_backend import refuse_existing
from artifactstore.backend.remote.fsspec_client import FsspecClient, make_filesystem
from artifactstore.backend.remote.multipart import upload_multipart
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError
from artifactstore.runtime.threads import Pool

__all__ = ["AzureBackend"]

# For each request: one attempt, with time-outs (seconds).
_ONCE: Final[Mapping[str, Any]] = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 60}
_RawReply = tuple[list[bytes], Mapping[str, str]]  # body in pieces, reply headers
_BATCH: Final = 256  # blobs of one deletion, the service's limit
_BATCHES: Final = 4  # at a time
_REDIRECT: Final = 300  # the first status that is not a success
_DENIED: Final = frozenset({401, 403})
_FOLDER: Final = "hdi_isfolder"  # marks a directory of a hierarchical namespace, which is a blob without content


class AzureBackend(Backend):
    """Blobs in a container under a prefix; `create` is a Put Blob with `If-None-Match: *`, decided by the service.

    Args:
        location: container and prefix, as parsed by `parse_azure_url`.
        options: for `adlfs.AzureBlobFileSystem`.
        single_writer: the caller promises that nothing else writes: a service that ignores conditions is then accepted.

    Attributes:
        url: URL of the store location.
        client: the connection.
    """

    concurrency = 32

    def __init__(self, location: AzureLocation, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        self.url = location.url.rstrip("/")
        self._single_writer = single_writer
        self._location = location
        self._bulk = not location.onelake  # whether the service takes batches, as far as is known
        given = dict(options or {})
        # Account options from the URL take precedence, except `anon`, which the caller may override.
        connect = partial(make_filesystem, "abfs", {"anon": False, **location.options, **given})
        self.client = FsspecClient(self.url, given, connect, bucket=location.container, explain=explain)

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - the last reply is as fresh as possible
        """Return the time by the service's clock, as its replies show it."""
        return self.client.clock.now()

    def _blob(self, key: str) -> Any:
        return self.client.filesystem.service_client.get_blob_client(self._location.container, self._location.root + key)

    # -- reading

    async def _get(self, key: str, span: tuple[int, int] | None = None) -> _RawReply:
        """Return an object's bytes, or a range of them (offset, length), in pieces, and the reply's headers; by one request.

        Uses the generated client, since `download_blob` sends a second request for empty and for large blobs.
        """
        wanted = {} if span is None else {"range": f"bytes={span[0]}-{span[0] + span[1] - 1}"}
        response, stream = await self._blob(key)._client.blob.download(  # noqa: SLF001
            cls=lambda reply, stream, _: (reply.http_response, stream), **wanted, **_ONCE
        )
        headers = response.headers
        self.client.clock.note(headers.get("Date"))
        if str(headers.get(f"x-ms-meta-{_FOLDER}", "")).lower() == "true":
            raise NotFoundError(not_found_message(key, self.url))
        return [chunk async for chunk in stream], headers

    def _check_reply(self, key: str, came: _RawReply, span: tuple[int, int] | None = None) -> bytes:
        """Return the received bytes, if they are complete."""
        data, headers = b"".join(came[0]), came[1]
        announced = int(headers["Content-Length"])
        if len(data) != announced:
            raise BackendError(
                f"{key} in {self.url}: {len(data):,} of {announced:,} bytes received, then the connection ended", transient=True
            )
        checksum = headers.get("Content-MD5") if span is None else None
        if checksum and checksum != content_md5(data):
            raise BackendError(f"{key} in {self.url} was damaged in transit: it does not match its MD5", transient=True)
        if span is not None and len(data) != span[1]:  # the service returns as many bytes as exist
            raise range_beyond_end(key, *span, None, self.url)
        return data

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, by one request.

        Raises:
            NotFoundError: there is definitely no such key.
            BackendError: anything else.
        """
        check_key(key)
        return self._check_reply(key, self.client.request("read", key, self._get, key))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; by one request each, many at a time.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end, or anything else; a `RangesFailedError` holds the ranges that were read.
        """
        return self.client.read_ranges(key, ranges, self.concurrency, partial(self._get, key), partial(self._check_reply, key))

    # -- writing

    def _put(self, key: str, raw: bytes, action: str, *, overwrite: bool) -> None:
        checked = _md5_header(raw)

        async def put() -> None:
            # Up to 64 MiB are one request.
            reply = await self._blob(key).upload_blob(raw, length=len(raw), overwrite=overwrite, headers=checked, **_ONCE)
            self.client.clock.note(reply.get("date"))

        self.client.request(action, key, put)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there: one request up to 64 MiB, blocks and their commit beyond.

        Raises:
            BackendError: nothing of it is visible.
        """
        check_key(key)
        whole, rest = gather(data)
        if rest is None:
            self._put(key, bytes(whole), "write", overwrite=True)
        else:
            upload_multipart(self, key, whole, rest, lambda request: request())

    def start_upload(self, key: str) -> str:  # noqa: ARG002 - the protocol's name
        """Return a new upload id, which prefixes all block ids: blocks of an attempt that died are never mixed in."""
        return secrets.token_hex(16)

    def send_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> str:
        """Stage a block, with its MD5; returns its id. Every block id of a blob has the same length."""
        name, raw = f"{upload}-{number:05}", bytes(data)
        checked = _md5_header(raw)

        async def stage() -> None:
            await self._blob(key).stage_block(name, raw, length=len(raw), headers=checked, **_ONCE)

        self.client.request("write", key, stage)
        return name

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:  # noqa: ARG002 - the protocol's name
        """Commit the blocks as one blob, replacing any existing one."""
        from azure.storage.blob import BlobBlock  # noqa: PLC0415 - loaded by the connection

        async def commit() -> None:
            await self._blob(key).commit_block_list([BlobBlock(block_id=name) for name in parts], **_ONCE)

        self.client.request("write", key, commit)

    def drop_upload(self, key: str, upload: str) -> None:
        """Do nothing: uncommitted blocks are invisible, and the service drops them after a week."""

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
        self._put(key, raw, "create", overwrite=False)

    # -- listing, deleting, looking

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`: one request for each 5,000; directories are skipped.

        Raises:
            BackendError: the listing could not be completed.
        """
        return self.client.list_pages(prefix, self._page)

    def _page(self, prefix: str, token: str | None) -> tuple[Iterable[Stored], str | None]:
        async def page() -> tuple[Sequence[Any], str | None]:
            container = self.client.filesystem.service_client.get_container_client(self._location.container)
            pages = container.list_blobs(self._location.root + prefix, include=["metadata"], **_ONCE).by_page(token)
            items = [item async for item in await anext(pages)]
            return items, pages.continuation_token

        items, following = self.client.request("list", prefix, page)
        root = len(self._location.root)
        found = (
            Stored(item.name[root:], item.size, item.last_modified.astimezone(UTC))
            for item in items
            if not _is_folder(item.metadata)
        )
        return found, following

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        check_key(key)

        async def drop() -> None:
            await self._blob(key).delete_blob(**_ONCE)

        with contextlib.suppress(NotFoundError):
            self.client.request("delete", key, drop)

    def delete_many(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        """Remove objects by one request for each 256; one by one where the service takes no batches, or these credentials send none."""
        for key in keys:
            check_key(key)
        if not self._bulk or len(keys) < 2:
            return super().delete_many(keys)
        groups = [keys[at : at + _BATCH] for at in range(0, len(keys), _BATCH)]
        with Pool(min(_BATCHES, len(groups)), "artifactstore-delete") as pool:
            return {key: error for found in pool.map(self._delete_group, groups) for key, error in found.items()}

    def _delete_group(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        async def drop() -> Sequence[tuple[int, str]]:
            container = self.client.filesystem.service_client.get_container_client(self._location.container)
            names = [self._location.root + key for key in keys]
            replies = await container.delete_blobs(*names, raise_on_any_failure=False, **_ONCE)
            return [(int(one.status_code), str(one.headers.get("x-ms-error-code", ""))) async for one in replies]

        try:
            replies = self.client.request("delete", "", drop)
        except ArtifactStoreError as error:
            if isinstance(error, BackendError) and error.transient:
                return dict.fromkeys(keys, error)
            replies = ()
        if len(replies) != len(keys) or all(status in _DENIED for status, _ in replies):
            # It was refused as a whole, or these credentials may send no batches: some may delete blobs all the same.
            self._bulk = False
            return super().delete_many(keys)
        request = partial(Request, self.url, self._location.container, "delete")
        errors = {
            key: of_reply(reply[0], reply[1], request(key))
            for key, reply in zip(keys, replies, strict=True)
            if reply[0] >= _REDIRECT
        }
        return {key: error for key, error in errors.items() if not isinstance(error, NotFoundError)}

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """
        check_key(key)

        async def look() -> Any:
            return await self._blob(key).get_blob_properties(**_ONCE)

        found = self.client.request("stat", key, look)
        if _is_folder(found.metadata):
            raise NotFoundError(not_found_message(key, self.url))
        return int(found.size)


def _md5_header(raw: bytes) -> dict[str, str]:
    """Return the headers that make the service reject a damaged body; it stores the checksum, too.

    The client would compute it on its event loop, where all other requests wait meanwhile: 1.5 seconds a GB.
    """
    return {"Content-MD5": content_md5(raw)}


def _is_folder(metadata: Mapping[str, str] | None) -> bool:
    return str((metadata or {}).get(_FOLDER, "")).lower() == "true"
