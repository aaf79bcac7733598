"""Multipart uploads of objects too large for one request: parts are sent, and retried, individually."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from artifactstore.backend.buffers import gather
from artifactstore.errors import ArtifactStoreError, BackendError

__all__ = ["MultipartUploads", "upload_multipart"]

_T = TypeVar("_T")


@runtime_checkable
class MultipartUploads(Protocol):
    """A backend that supports multipart uploads; nothing is visible before `finish_upload`."""

    def start_upload(self, key: str) -> str:
        """Return the id of a new upload."""

    def send_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> str:
        """Send part `number`, from 1; the same part may be sent again. Returns the token that `finish_upload` needs."""

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Complete the object from its parts, replacing any existing one."""

    def drop_upload(self, key: str, upload: str) -> None:
        """Abort an upload and drop its parts."""

    def size(self, key: str) -> int:
        """Return the backend's `size`."""


def upload_multipart(
    backend: MultipartUploads,
    key: str,
    whole: bytes | memoryview,
    rest: Iterator[memoryview] | None,
    retried: Callable[[Callable[[], _T]], _T],
) -> None:
    """Upload in parts; a failure, also of the caller's iterator, leaves nothing behind.

    Args:
        backend: the backend.
        key: the object's key.
        whole: the first part.
        rest: the remaining data.
        retried: runs one request, with retries.
    """
    upload: str = retried(lambda: backend.start_upload(key))  # type: ignore[assignment,arg-type,return-value]
    total = 0
    parts: list[str] = []
    try:
        while True:
            number, part = len(parts) + 1, whole
            parts.append(retried(lambda: backend.send_part(key, upload, number, part)))  # type: ignore[arg-type,return-value] # noqa: B023 - called before the next turn
            total += len(part)
            if rest is None:
                break
            whole, rest = gather(rest)
        retried(_CompleteUpload(backend, key, upload, parts, total))  # type: ignore[arg-type]
    except BaseException:
        # If this fails too, the service's own rule for unfinished uploads removes the parts; the first failure is the one to raise.
        with contextlib.suppress(ArtifactStoreError):
            backend.drop_upload(key, upload)
        raise


@dataclass(slots=True)
class _CompleteUpload:
    """The last request: called again until it succeeds."""

    backend: MultipartUploads
    key: str
    upload: str
    parts: Sequence[str]
    total: int
    tries: int = 0

    def __call__(self) -> None:
        self.tries += 1
        try:
            self.backend.finish_upload(self.key, self.upload, self.parts)
        except BackendError as error:
            # The first try may have succeeded with its reply lost: then the upload is gone and the object exists.
            if error.transient or self.tries == 1 or self.backend.size(self.key) != self.total:
                raise
