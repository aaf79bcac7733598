"""S3 and what speaks like it, by single requests of s3fs's own client.

Not by s3fs's verbs: `cat_file` asks for the size first and then reads large objects in parts that need not belong
together; its listings are cached; a parameter that an old botocore does not know, such as the condition of
`create`, is dropped without a word; and failures are translated until a missing bucket is a missing file.
"""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

from artifactstore.backend.base import Buffer, Stored, check_key, check_prefix
from artifactstore.backend.buffers import flat, gather
from artifactstore.backend.failures import check_ranges, past_the_end
from artifactstore.backend.options import hide
from artifactstore.backend.remote import RemoteBackend, make_filesystem
from artifactstore.backend.s3_failures import Request, explain
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)

__all__ = ["S3Backend"]

_HEAD: Final = "looked at"
_CONFIG: Final[Mapping[str, Any]] = {
    # One try a request: RetryingBackend tries again, and knows which requests must not be sent twice.
    "retries": {"total_max_attempts": 1, "mode": "standard"},
    "max_pool_connections": 64,
    "read_timeout": 60,
    "connect_timeout": 10,
    # Newer botocores send a checksum as a trailer, which some servers refuse or store as if it were data (boto/boto3#4392).
    # Content-MD5, which `_put` sends, every server knows.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class S3Backend(RemoteBackend):
    """Objects in a bucket under a prefix; `create` is a PUT with `If-None-Match: *`, decided by the server.

    Args:
        url: `s3://bucket/prefix`.
        options: for `s3fs.S3FileSystem`.
        single_writer: the caller promises that nothing else writes: servers without conditional writes will do.

    Attributes:
        url: as given.
    """

    concurrency = 32

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, single_writer: bool = False) -> None:
        super().__init__(url, options, single_writer=single_writer)
        self.exclusive = True
        self._bucket, _, root = self.url.removeprefix("s3://").partition("/")
        self._root = f"{root}/" if root else ""

    def _connect(self) -> tuple[Any, str]:
        options = {**self._options, "config_kwargs": {**_CONFIG, **self._options.get("config_kwargs", {})}}
        return make_filesystem("s3", options), f"{self._bucket}/{self._root}"

    def _explain(self, error: Exception, action: str, key: str) -> tuple[ArtifactStoreError, Exception | None]:
        request = Request(self.url, self._bucket, action, key, action == _HEAD, lambda text: hide(text, self._options))
        failure = explain(error, request)
        return (failure, None) if failure is not None else super()._explain(error, action, key)

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key}

    async def _send(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """Send one request, once; `set_session` makes the client if there is none or if it was closed."""
        filesystem = self._filesystem()[0]
        await filesystem.set_session()
        method = getattr(await filesystem.get_s3(self._bucket), verb)
        # Adds what the options ask of every request (encryption, who pays), and drops what this botocore does not know.
        complete = filesystem._get_s3_method_kwargs(method, **arguments)  # noqa: SLF001
        if missing := arguments.keys() - complete.keys():
            raise UnsupportedError(
                f"the installed botocore does not know {', '.join(sorted(missing))}: install s3fs and botocore anew"
            )
        return await method(**complete)

    async def _get(self, key: str, extra: Mapping[str, str]) -> tuple[bytes, int]:
        """Return an object's bytes, or a range of them, and how many the server announced."""
        reply = await self._send("get_object", {**self._where(key), **extra})
        body = reply["Body"]
        try:
            return await body.read(), reply["ContentLength"]
        finally:
            body.close()

    def read(self, key: str) -> bytes:
        """Return all bytes of an object, by one request.

        Raises:
            NotFoundError: there is definitely no such key.
            BackendError: anything else.
        """
        check_key(key)
        data, announced = self._call(lambda: self._run(self._get, key, {}), "read", key)
        if len(data) != announced:
            raise self._broken(key, len(data), announced)
        return data  # type: ignore[no-any-return]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each (offset, length), in the order asked for; by one request each, many at a time.

        Raises:
            NotFoundError: no such key.
            BackendError: a range ends behind the object's end, or anything else.
        """
        check_key(key)
        check_ranges(ranges)

        async def all_of_them() -> list[bytes]:
            turn = asyncio.Semaphore(self.concurrency)

            async def one(offset: int, length: int) -> bytes:
                if length == 0:
                    return b""
                async with turn:
                    data, announced = await self._get(key, {"Range": f"bytes={offset}-{offset + length - 1}"})
                if len(data) < announced:
                    raise self._broken(key, len(data), announced)
                if len(data) != length:  # the server gives what there is
                    raise past_the_end(key, offset, length, None, self.url)
                return data

            tasks = [asyncio.ensure_future(one(offset, length)) for offset, length in ranges]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

        return self._call(lambda: self._run(all_of_them), "read", key)

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        """Store an object, replacing what was there: one request up to 64 MiB, a multipart upload beyond.

        Raises:
            BackendError: nothing of it is visible.
        """
        check_key(key)
        whole, rest = gather(data)
        if rest is None:
            self._call(lambda: self._put(key, whole), "written", key)
        else:
            self._upload(key, whole, rest)

    def _put(self, key: str, raw: bytes, **condition: str) -> None:
        self._run(self._send, "put_object", {**self._where(key), "Body": raw, "ContentMD5": _md5(raw), **condition})

    def _upload(self, key: str, whole: bytes, rest: Iterator[memoryview] | None) -> None:
        """Upload in parts of 64 MiB; a failure, also one of the caller's iterator, leaves nothing behind."""
        where = self._where(key)

        def call(verb: str, **arguments: Any) -> Any:
            return self._call(lambda: self._run(self._send, verb, {**where, **arguments}), "written", key)

        upload = call("create_multipart_upload")["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while True:
                number = len(parts) + 1
                reply = call("upload_part", UploadId=upload, PartNumber=number, Body=whole, ContentMD5=_md5(whole))
                parts.append({"PartNumber": number, "ETag": reply["ETag"]})
                if rest is None:
                    break
                whole, rest = gather(rest)
            call("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # If this fails too, the bucket's rule for unfinished uploads removes the parts; the first failure is the news.
            with contextlib.suppress(ArtifactStoreError):
                call("abort_multipart_upload", UploadId=upload)
            raise

    def create(self, key: str, data: bytes) -> None:
        """Store an object only if nothing is there: one conditional request, sent once.

        Raises:
            AlreadyExistsError: `key` exists, whoever wrote it.
            UnsupportedError: the server knows no conditional writes, and nobody promised to be the only writer.
            BackendError: the outcome is unknown, except for a `NotLandedError`.
        """
        check_key(key)
        raw = bytes(flat(data))
        if not self._single_writer:
            self._call(lambda: self._put(key, raw, IfNoneMatch="*"), "created", key)
            return
        try:
            self.size(key)
        except NotFoundError:
            try:
                self._call(lambda: self._put(key, raw, IfNoneMatch="*"), "created", key)
            except UnsupportedError:
                self._call(lambda: self._put(key, raw), "created", key)
        else:
            raise AlreadyExistsError(f"{key} exists in {self.url}")

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key starts with `prefix`: one request for each 1,000.

        Raises:
            BackendError: the listing could not be completed.
        """
        check_prefix(prefix)
        more: dict[str, str] = {}
        while True:
            page = self._page(prefix, more)
            for item in page.get("Contents", ()):
                key = item["Key"][len(self._root) :]
                try:
                    check_key(key)
                except InvalidInputError:
                    continue  # not ours
                yield Stored(key, item["Size"], item["LastModified"].astimezone(UTC))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, prefix: str, more: Mapping[str, str]) -> Any:
        arguments = {"Bucket": self._bucket, "Prefix": self._root + prefix, **more}
        return self._call(lambda: self._run(self._send, "list_objects_v2", arguments), "listed", prefix)

    def delete(self, key: str) -> None:
        """Remove an object; a missing key is no error.

        Raises:
            BackendError: it may still be there.
        """
        check_key(key)
        with contextlib.suppress(NotFoundError):  # some servers say so, S3 itself does not
            self._call(lambda: self._run(self._send, "delete_object", self._where(key)), "deleted", key)

    def size(self, key: str) -> int:
        """Return an object's size in bytes.

        Raises:
            NotFoundError: no such key.
            BackendError: anything else.
        """
        check_key(key)
        try:
            reply = self._call(lambda: self._run(self._send, "head_object", self._where(key)), _HEAD, key)
        except NotFoundError:
            # A reply to HEAD has no body, so this may be a missing bucket: GET says which.
            return len(self.read(key))
        return int(reply["ContentLength"])

    def _broken(self, key: str, got: int, announced: int) -> BackendError:
        return BackendError(
            f"{key} in {self.url}: {got:,} of {announced:,} bytes came, then the connection ended", transient=True
        )


def _md5(raw: bytes) -> str:
    """The checksum with which the server refuses what was damaged on its way; nothing rests on MD5 being hard to forge."""
    return base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()
