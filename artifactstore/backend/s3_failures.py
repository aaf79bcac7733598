"""What S3's refusals and botocore's failures mean; no text of theirs that may show more than it should."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.backend.failures import NotLandedError, no_such_key
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, NotFoundError, UnsupportedError

__all__ = ["Request", "explain"]

_ADVICE: Final[Mapping[str, str]] = {
    "403": "check the credentials and what they allow (without s3:ListBucket a missing key looks like this, too)",
    "AccessDenied": "check the credentials and what they allow (without s3:ListBucket a missing key looks like this, too)",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, or the profile",
    "ExpiredToken": "the session's token has expired: log in again",
    "InvalidToken": "the session's token is not valid here: log in again",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "301": "the bucket is in another region: set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
    "EntityTooLarge": "the server takes no object of this size",
    "QuotaExceeded": "free some space or ask for more",
    "XMinioStorageFull": "free some space",
    "InsufficientStorage": "free some space",
}
_CLASHES: Final = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_BUSY: Final = frozenset(
    {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestLimitExceeded", "BadDigest"}
)
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"})
_CREDENTIALS: Final = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound", "NoAuthTokenError",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "LoginRefreshRequired",
})  # fmt: skip
_NEVER_STOOD: Final = frozenset({"ConnectTimeoutError", "ProxyConnectionError"})
_BROKE: Final = frozenset({
    "EndpointConnectionError", "ConnectionClosedError", "ReadTimeoutError", "HTTPClientError", "ResponseStreamingError",
    "IncompleteReadError", "ResponseParserError", "ClientError", "ClientPayloadError", "ServerDisconnectedError",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """What was tried.

    Attributes:
        url: the backend's.
        bucket: its bucket.
        action: completes "… can't be".
        key: which object, empty for a listing.
        bodiless: whether it was a HEAD, whose reply can't say what exactly is missing.
        hide: blots secrets out of a server's words.
    """

    url: str
    bucket: str
    action: str
    key: str
    bodiless: bool
    hide: Callable[[str], str]

    def __str__(self) -> str:
        return f"{self.key or 'the listing'} in {self.url} can't be {self.action}"


def explain(error: Exception, request: Request) -> ArtifactStoreError | None:
    """Return the error to raise; None where this is no failure of S3."""
    reply = getattr(error, "response", None)
    if isinstance(reply, Mapping) and "Error" in reply:
        return _of_reply(reply, request)
    return _of_connection(error, request)


def _of_reply(reply: Mapping[str, Any], request: Request) -> ArtifactStoreError:
    url, key = request.url, request.key
    code = str(reply["Error"].get("Code", ""))
    message = request.hide(str(reply["Error"].get("Message", "")))
    status = int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or (int(code) if code.isdigit() else 0)
    said = f"{request}: {code}{f' ({message})' if message else ''}"
    if code == "NoSuchBucket":
        return BackendError(f"the bucket {request.bucket} does not exist: create it, or check the URL {url} and the endpoint")
    if code == "NoSuchKey" or (code == "404" and request.bodiless):
        return NotFoundError(no_such_key(key, url))
    if status == 404:
        return BackendError(f"{said}; not what S3 says of a missing key: is AWS_ENDPOINT_URL right?")
    if code == "PreconditionFailed" or status == 412:
        return AlreadyExistsError(f"{key} exists in {url}")
    if code in _CLASHES or status == 409:
        return NotLandedError(f"{request}: another writer is at the same key ({code}); the same bytes may be sent again")
    if code in {"InvalidRange", "416"}:
        return BackendError(f"{request}: a range lies behind its end")
    if code == "NotImplemented" or status == 501:
        return UnsupportedError(
            f"{request}: the server does not know this kind of request ({code}); of two writers neither would notice the other "
            "there: pass single_writer=True if nothing else ever writes to it, or use another server"
        )
    if code in _FULL:
        return BackendError(f"{said}; {_ADVICE[code]}")
    if code in _BUSY or status >= 500 or status == 429:
        return BackendError(said, transient=True)
    advice = _ADVICE.get(code) or _ADVICE.get(str(status))
    return BackendError(f"{said}; {advice}" if advice else said)


def _of_connection(error: Exception, request: Request) -> ArtifactStoreError | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if names & _CREDENTIALS:
        return BackendError(
            f"{request}: no usable credentials ({name}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or pass storage_options={'anon': True} for a public bucket"
        )
    if names & {"SSLError"}:
        return BackendError(f"{request}: the server's certificate is not trusted here; set AWS_CA_BUNDLE to your authority's")
    inner = {kind.__name__ for kind in type(getattr(error, "kwargs", {}).get("error")).__mro__}
    # botocore's EndpointConnectionError may also be a connection that broke; aiohttp's class inside tells.
    if names & _NEVER_STOOD or "ClientConnectorError" in inner:
        return NotLandedError(f"{request}: no connection to the server of {request.url}; check the network and AWS_ENDPOINT_URL")
    if names & _BROKE or isinstance(error, TimeoutError | ConnectionError):
        return BackendError(f"{request}: the connection broke, or no answer came in time ({name})", transient=True)
    if "ParamValidationError" in names:
        return BackendError(f"{request}: no bucket or key that S3 could have; check the URL {request.url}")
    if "BotoCoreError" in names:
        return BackendError(f"{request}: {name}; check the options and the environment (AWS_*)")
    return None
