"""Deletion of up to 1,000 objects by one request (`DeleteObjects`): its body, its reply, and servers that do not have it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from artifactstore.backend.buffers import content_md5
from artifactstore.backend.errors import KeptError, Request, ThrottledError
from artifactstore.errors import ArtifactStoreError, BackendError

__all__ = ["MOST", "body_of", "failures", "hidden", "is_denied", "is_unavailable", "sign_body"]

MOST: Final = 1000  # keys of one request
_TRANSIENT: Final = frozenset({"InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"})
_THROTTLED: Final = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"})
_FOREIGN: Final = (
    "NotImplemented", "MethodNotAllowed", "MalformedXML", "MissingContentMD5", "InvalidRequest", "InvalidArgument", "405", "501",
)  # fmt: skip


def body_of(keys: Sequence[str], root: str) -> dict[str, Any]:
    """Return the body of the request: keys of the store below a prefix."""
    return {"Objects": [{"Key": root + key} for key in keys]}


def sign_body(request: Any, **_: Any) -> None:
    """Add the checksum that S3 asks for with this request: as MD5, which every server knows; newer botocores send CRC32 alone."""
    if "Content-MD5" not in request.headers and isinstance(request.data, bytes | bytearray):
        request.headers["Content-MD5"] = content_md5(bytes(request.data))


def failures(reply: Mapping[str, Any], keys: Sequence[str], root: str, url: str) -> dict[str, ArtifactStoreError]:
    """Return the objects that a reply reports as not deleted, or not at all, each with its error."""
    found: dict[str, ArtifactStoreError] = {}
    for one in reply.get("Errors", ()):
        key, code = str(one.get("Key", "")).removeprefix(root), str(one.get("Code", ""))
        if code != "NoSuchKey":
            found[key] = _failure(f"cannot delete {key} in {url}: {code}", code)
    done = {str(one.get("Key", "")).removeprefix(root) for one in reply.get("Deleted", ())}
    for key in keys:
        if key not in done and key not in found and reply.get("Deleted"):
            found[key] = BackendError(f"cannot delete {key} in {url}: the reply does not mention it", transient=True)
    return found


def _failure(text: str, code: str) -> BackendError:
    if code in _THROTTLED:
        return ThrottledError(text)
    if code in _TRANSIENT:
        return BackendError(text, transient=True)
    if code == "AccessDenied":
        return BackendError(f"{text}; check whether these credentials allow s3:DeleteObject there")
    return KeptError(text) if "Lock" in code or "Retention" in code else BackendError(text)


def is_denied(reply: Mapping[str, Any]) -> bool:
    """Return whether a reply refuses all objects for lack of permission."""
    return {str(one.get("Code", "")) for one in reply.get("Errors", ())} == {"AccessDenied"}


def hidden(reply: Mapping[str, Any], root: str) -> list[str]:
    """Return the objects that were only hidden by a delete marker: the bucket keeps their bytes as old versions."""
    return [str(one.get("Key", "")).removeprefix(root) for one in reply.get("Deleted", ()) if one.get("DeleteMarker")]


def is_unavailable(error: ArtifactStoreError, request: Request) -> bool:
    """Return whether a failure means that the server does not have the request, or understands it otherwise."""
    text = str(error).removeprefix(str(request))
    return any(code in text for code in _FOREIGN)
