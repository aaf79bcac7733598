"""S3 and compatible servers, by single requests of s3fs's own client.

s3fs's own verbs are not used: `cat_file` asks for the size first and then reads large objects in parts that need not
belong together; its listings are cached; a parameter that an old botocore does not know, such as the condition of
`create`, is dropped silently; and failures are translated until a missing bucket is a missing file.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from artifactstore.backend.base import Backend, Buffer, Stored, check_key, split_bucket
from artifactstore.backend.buffers import LARGE, flat, gather
from artifactstore.backend.errors import AmbiguousNotFoundError, KeptError, Request, UnconfirmedWriteError, not_found_message
from artifactstore.backend.remote.fsspec_backend import refuse_existing
from artifactstore.backend.remote.fsspec_client import FsspecClient, make_filesystem
from artifactstore.backend.remote.multipart import upload_multipart
from artifactstore.backend.remote.request_body import send_watched
from artifactstore.backend.remote.secrets import secret_names
from artifactstore.backend.s3 import bulk_delete as bulk
from artifactstore.backend.s3.checksums import ReplyTraits, checks_crc, checksum_of, md5_of
from artifactstore.backend.s3.client import client_options, renew_credentials, strip_optional_headers
from artifactstore.backend.s3.errors import explain
from artifactstore.backend.s3.responses import complete_body, next_page, parse_listing, range_body
from artifactstore.errors import (
    ArtifactStoreError,
    BackendError,
    NotFoundError,
    UnsupportedError,
)
from artifactstore.runtime.threads import Pool

__all__ = ["S3Backend"]

_RawReply = tuple[list[bytes], Mapping[str, Any]]  # body in pieces, rest of the reply
_PIECE: Final = 2**20  # bytes of a body that are read at a time, if available
_HEAD: Final = "stat"
_BULKS: Final = 4  # concurrent requests that delete 1,000 objects each


class S3Backend(Backend):
    """Objects in a bucket under a prefix; `create` is a PUT with `If-None-Match: *`, decided by the server.

    Args:
        url: `s3://bucket/prefix`.
        options: for `s3fs.S3FileSystem`.
        single_writer: the caller promises that nothing else writes: servers without conditional writes are then accepted.

    Attributes:
        url: as passed.
        client: the connection.
    """

    concurrency = 32

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        self.url = url.rstrip("/")
        self._single_writer = single_writer
        self._bucket, root = split_bucket(self.url.removeprefix("s3://"))
        self._root = f"{root}/" if root else ""
        given = dict(options or {})
        self._wire = client_options(given)
        self._reply_traits = ReplyTraits()
        self._bulk = True  # whether the server deletes many objects by one request, as far as is known
        self._locked: bool | None = None
        self.client = FsspecClient(
            self.url,
            given,
            partial(make_filesystem, "s3", self._wire),
            bucket=self._bucket,
            explain=explain,
            renew=None if secret_names(given) else renew_credentials,  # those in options cannot be renewed
        )

    def storage_time(self, *, fresh: bool = False) -> datetime | None:  # noqa: ARG002 - the last reply is as fresh as possible
        """Return the time by the server's clock, as its replies show it."""
        return self.client.clock.now()

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key}

    async def _connected(self) -> tuple[Any, Any]:
        """Return the filesystem and its botocore client; `set_session` creates that if there is none or it was closed."""
        filesystem = self.client.filesystem
        await filesystem.set_session()
        return filesystem, await filesystem.get_s3(self._bucket)

    async def _send(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """Send one request, once."""
        filesystem, client = await self._connected()
        method = getattr(strip_optional_headers(client), verb)
        # Adds what the options require of every request (encryption, requester pays), and drops what this botocore does not know.
        complete = filesystem._get_s3_method_kwargs(method, **arguments)  # noqa: SLF001
        if missing := arguments.keys() - complete.keys():
            raise UnsupportedError(
                f"the installed botocore does not know {', '.join(sorted(missing))}: reinstall s3fs and botocore"
            )
        if "Body" in complete:
            timeout = float(self._wire["config_kwargs"]["read_timeout"])
            reply = await send_watched(lambda body: method(**{**complete, "Body": body}), complete["Body"], timeout)
        else:
            reply = await method(**complete)
        self._reply_traits.note_headers(reply)
        self.client.clock.note((reply.get("ResponseMetadata", {}).get("HTTPHeaders") or {}).get("date"))
        return reply

    async def _checks(self) -> bool:
        return checks_crc((await self._connected())[1].meta.endpoint_url)

    async def _get(self, key: str, wanted: tuple[int, int] | None = None) -> _RawReply:
        """Return an object's bytes, or a range of them (offset, length), in pieces, and the rest of the reply."""
        span = {} if wanted is None else {"Range": f"bytes={wanted[0]}-{wanted[0] + wanted[1] - 1}"}
        reply = await self._send("get_object", {**self._where(key), **span})
        body, pieces = reply["Body"], []
        try:
            while piece := await body.read(_PIECE):
                pieces.append(piece)
        finally:
            body.close()
        self._refuse_foreign(reply, key)
        return pieces, reply

    def _refuse_foreign(self, reply: Mapping[str, Any], key: str) -> None:
        if self._reply_traits.is_foreign(reply):
            raise BackendError(
                f"{key} in {self.url}: the reply is not from the storage server (it has no ETag); a proxy or captive portal "
                "answers in its place: log in to the network, or check AWS_ENDPOINT_URL",
                transient=True,
            )

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, by one request.

        Raises:
            NotFoundError: there is definitely no such key.
            BackendError: anything else.
        """
        check_key(key)
        try:
            data, reply = self.client.request("read", key, self._get, key, convert=_joined)
        except AmbiguousNotFoundError as error:
            raise self._missing(key, error) from None
        whole = complete_body(data, reply, f"{key} in {self.url}", lambda: self._head_size(key))
        return self._read_again(key, whole) if self._reply_traits.needs_check(reply, md5_of(whole)) else whole

    def _read_again(self, key: str, first: bytes) -> bytes:
        """Read once more after an ETag mismatch: bytes damaged in transit come out differently now."""
        data: bytes
        data, reply = self.client.request("read", key, self._get, key, convert=_joined)
        if not self._reply_traits.needs_check(reply, md5_of(data)):
            return complete_body(data, reply, f"{key} in {self.url}", lambda: self._head_size(key))
        if data != first:
            raise BackendError(
                f"{key} in {self.url}: two reads returned different bytes, neither matching its ETag", transient=True
            )
        self._reply_traits.note_mismatch()
        return data  # the stored bytes are the same each time: digests judge them

    def _head_size(self, key: str) -> int | None:
        """Return an object's size by HEAD; None where the server does not report it."""
        reply = self.client.request(_HEAD, key, self._send, "head_object", self._where(key))
        self._refuse_foreign(reply, key)
        size = reply.get("ContentLength")
        return None if size is None else int(size)

    def _missing(self, key: str, not_found: AmbiguousNotFoundError) -> ArtifactStoreError:
        """Resolve a 404 that is not S3's: a listing by the same server shows whether the key exists."""
        try:
            page = self._page(key, {"MaxKeys": 1})
        except ArtifactStoreError as error:
            # Only a successful listing proves anything.
            return BackendError(str(not_found), transient=isinstance(error, BackendError) and error.transient)
        if any(item.get("Key") == self._root + key for item in page.get("Contents", ())):
            return BackendError(f"{not_found}; but the key is listed", transient=True)
        return NotFoundError(not_found_message(key, self.url))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; by one request each, many at a time.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends beyond the object's end, or anything else; a `RangesFailedError` holds the ranges that were read.
        """
        try:
            return self.client.read_ranges(key, ranges, self.concurrency, partial(self._get, key), partial(self._range_body, key))
        except AmbiguousNotFoundError as error:
            raise self._missing(key, error) from None

    def _range_body(self, key: str, came: _RawReply, wanted: tuple[int, int]) -> bytes:
        data, reply = _joined(came)
        return range_body(data, reply, wanted, key, self.url)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there: one request up to 64 MiB, a multipart upload beyond.

        Raises:
            BackendError: nothing of it is visible.
        """
        check_key(key)
        whole, rest = gather(data)
        if rest is None:
            self._put(key, whole, "write")
        else:
            upload_multipart(self, key, whole, rest, lambda call: call())

    def _put(self, key: str, raw: bytes | memoryview, action: str, **condition: str) -> None:
        crc = len(raw) >= LARGE and not self._reply_traits.silent and self.client.request(action, key, self._checks)
        checksum = checksum_of(raw, crc=crc)
        arguments = {**self._where(key), "Body": raw, **checksum, **condition}
        reply = self.client.request(action, key, self._send, "put_object", arguments)
        if self._reply_traits.confirms(reply, checksum):
            return
        try:
            self._confirm(key, raw, reply)
            self._reply_traits.silent |= crc
        except BackendError as error:
            if not condition or not error.transient:
                raise
            raise UnconfirmedWriteError(str(error), md5=self._reply_traits.etag_md5(reply)) from None

    def _confirm(self, key: str, raw: bytes | memoryview, reply: Mapping[str, Any]) -> None:
        """Verify a PUT whose success reply is unusual: a proxy's own page comes with a 200, too.

        Not every server checks the Content-MD5, so bytes may also have been damaged in transit.
        """
        try:
            found: bytes | None = self.read(key)
        except NotFoundError:
            found = None
        if found == raw:
            if self._reply_traits.matches(reply, md5_of(raw)) is False:
                self._reply_traits.note_mismatch()
            return
        what = "the object does not exist" if found is None else "the object has other bytes"
        raise BackendError(
            f"{key} in {self.url}: the server reported success, but {what}; check for a proxy that damages data or replies in the "
            "server's place: check the network and AWS_ENDPOINT_URL",
            transient=True,
        )

    # -- multipart upload (`MultipartUploads`)

    def _ask(self, verb: str, key: str, **arguments: Any) -> Any:
        return self.client.request("write", key, self._send, verb, {**self._where(key), **arguments})

    def start_upload(self, key: str) -> str:
        """Return the id of a new multipart upload."""
        return str(self._ask("create_multipart_upload", key)["UploadId"])

    def send_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> str:
        """Send a part, with its MD5; returns its ETag."""
        checksum = checksum_of(data, crc=False)
        reply = self._ask("upload_part", key, UploadId=upload, PartNumber=number, Body=data, **checksum)
        if self._reply_traits.refutes(reply, checksum):
            raise BackendError(f"part {number} of {key} in {self.url} was damaged in transit", transient=True)
        return str(reply["ETag"])

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Complete the object from its parts, replacing any existing one."""
        listed = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(parts, 1)]
        reply = self._ask("complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": listed})
        if not reply.get("ETag"):
            raise BackendError(
                f"cannot write {key} in {self.url}: the reply is not from the storage server (no ETag)", transient=True
            )

    def drop_upload(self, key: str, upload: str) -> None:
        """Abort an upload and drop its parts."""
        self._ask("abort_multipart_upload", key, UploadId=upload)

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if nothing is there: one conditional request, sent once.

        Raises:
            AlreadyExistsError: `key` exists, whoever wrote it.
            UnsupportedError: the server does not support conditional writes, and the caller did not pass `single_writer=True`.
            BackendError: the outcome is unknown, except for a `NotAppliedError`.
        """
        check_key(key)
        raw = bytes(flat(data))
        if not self._single_writer:
            self._put(key, raw, "create", IfNoneMatch="*")
            return
        refuse_existing(self, key)
        try:
            self._put(key, raw, "create", IfNoneMatch="*")
        except UnsupportedError:
            self._put(key, raw, "create")

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`: one request for each 1,000, or for each page of the server's size.

        Raises:
            BackendError: the listing could not be completed.
        """
        return self.client.list_pages(prefix, self._stored)

    def _stored(self, prefix: str, more: Mapping[str, Any] | None) -> tuple[Iterable[Stored], Mapping[str, Any] | None]:
        page = self._page(prefix, more or {})
        return parse_listing(page, self._root), next_page(page, f"{prefix or 'the listing'} in {self.url}")

    def _page(self, prefix: str, more: Mapping[str, Any]) -> Any:
        arguments = {"Bucket": self._bucket, "Prefix": self._root + prefix, **more}
        return self.client.request("list", prefix, self._send, "list_objects_v2", arguments)

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is not an error.

        Raises:
            BackendError: it may still be there.
        """
        check_key(key)
        with contextlib.suppress(NotFoundError, AmbiguousNotFoundError):  # some servers report a missing key, S3 itself does not
            self.client.request("delete", key, self._send, "delete_object", self._where(key))

    def delete_many(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        """Remove objects by one request for each 1,000; one by one where the server does not have that request.

        In a bucket with Object Lock an object that was only hidden counts as still there: its bytes stay until its retention ends.
        """
        for key in keys:
            check_key(key)
        if not self._bulk or len(keys) < 2:
            return super().delete_many(keys)
        groups = [keys[at : at + bulk.MOST] for at in range(0, len(keys), bulk.MOST)]
        with Pool(min(_BULKS, len(groups)), "artifactstore-delete") as pool:
            return {key: error for found in pool.map(self._delete_group, groups) for key, error in found.items()}

    def _delete_group(self, keys: Sequence[str]) -> dict[str, ArtifactStoreError]:
        request = Request(self.url, self._bucket, "delete", "")
        try:
            arguments = {"Bucket": self._bucket, "Delete": bulk.body_of(keys, self._root)}
            reply = self.client.request("delete", "", self._send, "delete_objects", arguments)
        except ArtifactStoreError as error:
            if isinstance(error, UnsupportedError) or bulk.is_unavailable(error, request):
                self._bulk = False
                return super().delete_many(keys)
            return dict.fromkeys(keys, error)
        found = bulk.failures(reply, keys, self._root, self.url)
        if len(found) == len(keys) and bulk.is_denied(reply):
            # Some servers ask for another permission than for single deletions, which a janitor may have.
            alone = super().delete_many(keys[:1])
            if not alone:
                self._bulk = False
                return super().delete_many(keys[1:])
        hidden = bulk.hidden(reply, self._root)
        if hidden and self._is_locked():
            text = f"{self.url} has Object Lock: the object is hidden, and its bytes stay until their retention ends"
            found |= dict.fromkeys(hidden, KeptError(text))
        return found

    def _is_locked(self) -> bool:
        """Whether the bucket has Object Lock; False where these credentials may not read the setting."""
        if self._locked is None:
            try:
                reply = self.client.request("query", "", self._send, "get_object_lock_configuration", {"Bucket": self._bucket})
                self._locked = reply.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
            except ArtifactStoreError:
                self._locked = False
        return self._locked

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """
        check_key(key)
        size = None
        with contextlib.suppress(NotFoundError):
            size = self._head_size(key)
        # A 404 to HEAD has no body, so the bucket may be missing: GET tells. It also returns a size that HEAD left out.
        return len(self.read(key)) if size is None else size


def _joined(came: _RawReply) -> tuple[bytes, Mapping[str, Any]]:
    return b"".join(came[0]), came[1]
