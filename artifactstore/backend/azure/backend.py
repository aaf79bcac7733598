"""Azure Blob Storage, ADLS Gen2 and OneLake, by single requests of adlfs's own client.

adlfs's own verbs are not used: they ask for properties first, cache listings, try to create containers and take a
prefix for a directory. Neither are the client's convenience methods that send several requests or retry by
themselves: `RetryingBackend` retries, and knows which requests must not be sent twice.
"""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

from artifactstore.backend.azure.errors import Request, explain, host_of
from artifactstore.backend.azure.urls import AzureLocation
from artifactstore.backend.base import Buffer, Stored, check_key, check_prefix
from artifactstore.backend.buffers import content_md5, flat, gather
from artifactstore.backend.errors import check_ranges, not_found_message, range_beyond_end
from artifactstore.backend.remote.fsspec_backend import RemoteBackend, make_filesystem
from artifactstore.backend.remote.multipart import upload_multipart
from artifactstore.errors import ArtifactStoreError, BackendError, InvalidInputError, NotFoundError

__all__ = ["AzureBackend"]

# For each request: one attempt, with time-outs (seconds).
_ONCE: Final[Mapping[str, Any]] = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 60}
_RawReply = tuple[list[bytes], Mapping[str, str]]  # body in pieces, reply headers
_FOLDER: Final = "hdi_isfolder"  # marks a directory of a hierarchical namespace, which is a blob without content


class AzureBackend(RemoteBackend):
    """Blobs in a container under a prefix; `create` is a Put Blob with `If-None-Match: *`, decided by the service.

    Args:
        location: container and prefix, as parsed by `parse_azure_url`.
        options: for `adlfs.AzureBlobFileSystem`.
        single_writer: the caller promises that nothing else writes: a service that ignores conditions is then accepted.

    Attributes:
        url: URL of the store location.
    """

    concurrency = 32

    def __init__(self, location: AzureLocation, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        super().__init__(location.url, options, single_writer=single_writer)
        self.exclusive = True
        self._location = location

    def _connect(self) -> tuple[Any, str]:
        # Account options from the URL take precedence, except `anon`, which the caller may override.
        options = {"anon": False, **self._location.options, **self._options}
        return make_filesystem("abfs", options), f"{self._location.container}/{self._location.root}"

    def _explain(self, error: Exception, action: str, key: str) -> tuple[ArtifactStoreError, Exception | None]:
        host = host_of(self._connected[1]) if self._connected is not None else ""
        failure = explain(error, Request(self.url, self._location.container, action, key, host))
        if failure is not None:
            return failure, None
        if isinstance(error, ValueError) and self._connected is None:
            # adlfs repeats its arguments in the message, so the error gets a text of its own.
            return BackendError(
                f"{self.url}: cannot connect with these options; check account_name, account_key, sas_token and "
                "connection_string, in storage_options and as AZURE_STORAGE_…"
            ), None
        return super()._explain(error, action, key)

    def _blob(self, key: str) -> Any:
        return self._filesystem()[0].service_client.get_blob_client(self._location.container, self._location.root + key)

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
        self._clock.note(headers.get("Date"))
        if str(headers.get(f"x-ms-meta-{_FOLDER}", "")).lower() == "true":
            raise NotFoundError(not_found_message(key, self.url))
        return [chunk async for chunk in stream], headers

    def _check_reply(self, came: _RawReply, key: str, span: tuple[int, int] | None = None) -> bytes:
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
        return self._check_reply(self._call(lambda: self._run(self._get, key), "read", key), key)

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
                key, ranges, lambda wanted: self._get(key, wanted), lambda came, wanted: self._check_reply(came, key, wanted)
            )

        return self._call(call, "read", key)

    # -- writing

    def _put(self, key: str, raw: bytes, action: str, *, overwrite: bool) -> None:
        checked = _md5_header(raw)

        async def put() -> None:
            # Up to 64 MiB are one request.
            reply = await self._blob(key).upload_blob(raw, length=len(raw), overwrite=overwrite, headers=checked, **_ONCE)
            self._clock.note(reply.get("date"))

        self._call(lambda: self._run(put), action, key)

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

        self._call(lambda: self._run(stage), "write", key)
        return name

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:  # noqa: ARG002 - the protocol's name
        """Commit the blocks as one blob, replacing any existing one."""
        from azure.storage.blob import BlobBlock  # noqa: PLC0415 - loaded by the connection

        async def commit() -> None:
            await self._blob(key).commit_block_list([BlobBlock(block_id=name) for name in parts], **_ONCE)

        self._call(lambda: self._run(commit), "write", key)

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
            self._refuse_existing(key)
        self._put(key, raw, "create", overwrite=False)

    # -- listing, deleting, looking

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`: one request for each 5,000; directories are skipped.

        Raises:
            BackendError: the listing could not be completed.
        """
        check_prefix(prefix)
        token = None
        while True:
            items, token = self._page(prefix, token)
            for item in items:
                if str((item.metadata or {}).get(_FOLDER, "")).lower() == "true":
                    continue
                key = item.name[len(self._location.root) :]
                try:
                    check_key(key)
                except InvalidInputError:
                    continue  # not an object of the store
                yield Stored(key, item.size, item.last_modified.astimezone(UTC))
            if not token:
                return

    def _page(self, prefix: str, token: str | None) -> tuple[Sequence[Any], str | None]:
        async def page() -> tuple[Sequence[Any], str | None]:
            container = self._filesystem()[0].service_client.get_container_client(self._location.container)
            pages = container.list_blobs(self._location.root + prefix, include=["metadata"], **_ONCE).by_page(token)
            items = [item async for item in await anext(pages)]
            return items, pages.continuation_token

        return self._call(lambda: self._run(page), "list", prefix)  # type: ignore[no-any-return]

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        check_key(key)

        async def drop() -> None:
            await self._blob(key).delete_blob(**_ONCE)

        with contextlib.suppress(NotFoundError):
            self._call(lambda: self._run(drop), "delete", key)

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """
        check_key(key)

        async def look() -> Any:
            return await self._blob(key).get_blob_properties(**_ONCE)

        found = self._call(lambda: self._run(look), "stat", key)
        if str((found.metadata or {}).get(_FOLDER, "")).lower() == "true":
            raise NotFoundError(not_found_message(key, self.url))
        return int(found.size)


def _md5_header(raw: bytes) -> dict[str, str]:
    """Return the headers that make the service reject a damaged body; it stores the checksum, too.

    The client would compute it on its event loop, where all other requests wait meanwhile: 1.5 seconds a GB.
    """
    return {"Content-MD5": content_md5(raw)}
