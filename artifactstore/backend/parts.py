"""Objects too large for one request: parts that are sent, and tried again, each on its own."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from artifactstore.backend.buffers import gather
from artifactstore.errors import ArtifactStoreError, BackendError

__all__ = ["InParts", "send_in_parts"]

_T = TypeVar("_T")


@runtime_checkable
class InParts(Protocol):
    """A place that takes an object in parts; nothing is visible before `finish_upload`."""

    def start_upload(self, key: str) -> str:
        """Return the id of a new upload."""

    def send_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> str:
        """Send part `number`, from 1; the same part may be sent again. Returns what `finish_upload` wants to know of it."""

    def finish_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Make the object of its parts, replacing what was there."""

    def drop_upload(self, key: str, upload: str) -> None:
        """Forget an upload and its parts."""

    def size(self, key: str) -> int:
        """The backend's own."""


def send_in_parts(
    place: InParts,
    key: str,
    whole: bytes | memoryview,
    rest: Iterator[memoryview] | None,
    carry: Callable[[Callable[[], _T]], _T],
) -> None:
    """Upload; a failure, also one of the caller's iterator, leaves nothing behind.

    Args:
        place: where to.
        key: under which key.
        whole: the first part.
        rest: what comes after it.
        carry: runs one request, as often as it sees fit.
    """
    upload: str = carry(lambda: place.start_upload(key))  # type: ignore[assignment,arg-type,return-value]
    total = 0
    parts: list[str] = []
    try:
        while True:
            number, part = len(parts) + 1, whole
            parts.append(carry(lambda: place.send_part(key, upload, number, part)))  # type: ignore[arg-type,return-value] # noqa: B023 - called before the next turn
            total += len(part)
            if rest is None:
                break
            whole, rest = gather(rest)
        carry(_Finish(place, key, upload, parts, total))  # type: ignore[arg-type]
    except BaseException:
        # If this fails too, the place's own rule for unfinished uploads removes the parts; the first failure is the news.
        with contextlib.suppress(ArtifactStoreError):
            place.drop_upload(key, upload)
        raise


@dataclass(slots=True)
class _Finish:
    """The last request: called again until it succeeds."""

    place: InParts
    key: str
    upload: str
    parts: Sequence[str]
    total: int
    tries: int = 0

    def __call__(self) -> None:
        self.tries += 1
        try:
            self.place.finish_upload(self.key, self.upload, self.parts)
        except BackendError as error:
            # The first try may have done it and lost its reply: then the upload is gone and the object is there.
            if error.transient or self.tries == 1 or self.place.size(self.key) != self.total:
                raise
