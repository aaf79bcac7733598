"""What S3's refusals and botocore's failures mean; no text of theirs that may show more than it should."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend import failures
from artifactstore.backend.failures import NotLandedError, ThrottledError, UnreachableError, no_such_key, seconds_of
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, NotFoundError, UnsupportedError

__all__ = ["ExpiredError", "Request", "UnclearError", "explain"]

_NEEDED: Final[Mapping[str, str]] = {
    "read": "s3:GetObject",
    "looked at": "s3:GetObject",
    "written": "s3:PutObject",
    "created": "s3:PutObject",
    "deleted": "s3:DeleteObject",
    "listed": "s3:ListBucket",
}
_EXPIRED: Final = "log in again, or set new credentials; those of a profile, a process or a service are taken anew by themselves"
_ADVICE: Final[Mapping[str, str]] = {
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, or the profile",
    "ExpiredToken": f"the session's token has expired: {_EXPIRED}",
    "ExpiredTokenException": f"the session's token has expired: {_EXPIRED}",
    "TokenRefreshRequired": f"the session's token has expired: {_EXPIRED}",
    "InvalidToken": f"the session's token is not valid here: {_EXPIRED}",
    "RequestTimeTooSkewed": "set this machine's clock",
    "RequestExpired": "set this machine's clock",
    "AllAccessDisabled": "the provider has disabled all access to it",
    "AccountProblem": "the provider reports a problem with the account: ask its support",
    "NotSignedUp": "the account is not signed up for this service",
    "InvalidObjectState": "it is archived (Glacier or a tier like it): restore it first (`aws s3api restore-object`); a store's objects "
    "must stay in a class that answers at once",
    "EntityTooLarge": "the server takes no object of this size",
    "QuotaExceeded": "free some space or ask for more",
    "XMinioStorageFull": "free some space",
    "InsufficientStorage": "free some space",
}
_STALE: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"})
_ELSEWHERE: Final = frozenset({
    "PermanentRedirect", "TemporaryRedirect", "Redirect", "301", "302", "303", "307", "308",
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
})  # fmt: skip
_CLASHES: Final = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_BUSY: Final = frozenset(
    {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "RequestLimitExceeded", "BadDigest"}
)
_THROTTLED: Final = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "ServiceUnavailable",
        "429",
        "503",
    }
)
# How servers say that they don't know the header with the condition, other than by 501.
_ODD_HEADER: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotSupported", "MethodNotAllowed", "BadRequest", "400"})
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


class ExpiredError(BackendError):
    """The credentials were good once: nothing was done, and new ones may help."""


class UnclearError(BackendError):
    """A 404 that doesn't say what is missing: the key, the bucket, or S3 itself."""


@dataclass(frozen=True, slots=True)
class Request(failures.Request):
    """What was tried.

    Attributes:
        bodiless: whether it was a HEAD, whose reply can't say what exactly is missing.
        hide: blots secrets out of a server's words.
    """

    bodiless: bool
    hide: Callable[[str], str]


def explain(error: Exception, request: Request) -> ArtifactStoreError | None:
    """Return the error to raise; None where this is no failure of S3."""
    reply = getattr(error, "response", None)
    if isinstance(reply, Mapping) and "Error" in reply:
        return _of_reply(reply, request)
    return _of_connection(error, request)


def _of_reply(reply: Mapping[str, Any], request: Request) -> ArtifactStoreError:
    url, key = request.url, request.key
    code = str(reply["Error"].get("Code") or "")
    message = request.hide(str(reply["Error"].get("Message") or ""))  # Ceph's gateway leaves it out
    about = reply.get("ResponseMetadata", {})
    headers = about.get("HTTPHeaders") or {}
    status = int(about.get("HTTPStatusCode", 0)) or (int(code) if code.isdigit() else 0)
    code = code or str(status)  # a page of HTML has none
    said = f"{request}: {code}{f' ({message})' if message else ''}"
    if (host := about.get("RedirectedTo")) and status < 500:
        return BackendError(
            f"{said}; so says {host}, where the server sent this request on: set AWS_ENDPOINT_URL to that, or AWS_REGION to the bucket's"
        )
    if code == "NoSuchBucket":
        return BackendError(f"the bucket {request.bucket} does not exist: create it, or check the URL {url} and the endpoint")
    if code == "NoSuchKey" or (code == "404" and request.bodiless):
        return NotFoundError(no_such_key(key, url))
    if status == 404:
        kind = BackendError if code.startswith("NoSuch") else UnclearError
        return kind(f"{said}; not what S3 says of a missing key: is AWS_ENDPOINT_URL right?")
    if code == "PreconditionFailed" or status == 412:
        return AlreadyExistsError(f"{key} exists in {url}")
    if code in _CLASHES or status == 409:
        return NotLandedError(f"{request}: another writer is at the same key ({code}); the same bytes may be sent again")
    if code in {"InvalidRange", "416"}:
        return BackendError(f"{request}: a range lies behind its end")
    if code == "NotImplemented" or status == 501 or (request.action == "created" and code in _ODD_HEADER):
        return UnsupportedError(
            f"{said}: the server does not know this kind of request; of two writers neither would notice the other "
            "there: pass single_writer=True if nothing else ever writes to it, or use another server"
        )
    if code in _STALE:
        return ExpiredError(f"{said}; {_ADVICE[code]}")
    if code in _FULL:
        return BackendError(f"{said}; {_ADVICE[code]}")
    if code in _THROTTLED or status in {429, 503}:
        return ThrottledError(said, retry_after=seconds_of(headers.get("retry-after")))
    if code in _BUSY or status >= 500:
        return BackendError(said, transient=True)
    if code in _ELSEWHERE or 300 <= status < 400:
        return BackendError(f"{said}; {_elsewhere(reply, headers)}")
    if code in {"RequestTimeTooSkewed", "RequestExpired"}:
        return BackendError(f"{said}; {_skew(headers)}{_ADVICE[code]}")
    advice = _ADVICE.get(code)
    if code.startswith("KMS."):
        advice = "the key that encrypts it (KMS) can't be used: check that it is enabled and that these credentials may use it"
    if advice is None and status in {401, 403}:
        advice = (
            f"check the credentials and whether they allow {_NEEDED.get(request.action, 'this')} on {url} "
            "(without s3:ListBucket a missing key looks like this, too)"
        )
    return BackendError(f"{said}; {advice}" if advice else said)


def _elsewhere(reply: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    """Where the bucket is, as far as the server says it."""
    error = reply["Error"]
    region = headers.get("x-amz-bucket-region") or error.get("Region")
    # Only a host: what follows it may be signed.
    host = error.get("Endpoint") or urlsplit(str(headers.get("location", ""))).netloc.rpartition("@")[2]
    if region:
        return f"the bucket is in the region {region}: set AWS_REGION={region}, and the endpoint of that region if one is set"
    if host:
        return f"the server says that it is found at {host}: set AWS_ENDPOINT_URL to that"
    return "the bucket is in another region, or elsewhere: set AWS_REGION or AWS_ENDPOINT_URL"


def _skew(headers: Mapping[str, Any]) -> str:
    try:
        behind = (parsedate_to_datetime(str(headers["date"])) - datetime.now(UTC)).total_seconds()
    except (KeyError, TypeError, ValueError):
        return ""
    return f"the server's clock is {abs(behind):,.0f} s {'ahead of' if behind > 0 else 'behind'} this machine's: "


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
    if host := _sent_to(error):
        return BackendError(
            f"{request}: the server says that it is found at {host}, and nothing answers there: set AWS_ENDPOINT_URL to where "
            "it is, or AWS_REGION to the bucket's"
        )
    if names & _NEVER_STOOD or "ClientConnectorError" in inner:
        asked = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", ""))).netloc.rpartition("@")[2]
        server = asked or f"the server of {request.url}"
        return UnreachableError(f"{request}: no connection to {server}; check the network and AWS_ENDPOINT_URL")
    if names & _BROKE or isinstance(error, TimeoutError | ConnectionError):
        return BackendError(f"{request}: the connection broke, or no answer came in time ({name})", transient=True)
    if "ParamValidationError" in names:
        return BackendError(f"{request}: no bucket or key that S3 could have; check the URL {request.url}")
    if "BotoCoreError" in names:
        return BackendError(f"{request}: {name}; check the options and the environment (AWS_*)")
    return None


def _sent_to(error: Exception) -> str | None:
    """The host to which a redirect led that was followed in vain: aiohttp names another one than was asked."""
    known = getattr(error, "kwargs", {})
    host = getattr(known.get("error"), "host", None)
    asked = urlsplit(str(known.get("endpoint_url", ""))).hostname
    return str(host) if host and asked and host.lower() != asked.lower() else None
