"""Explanations of S3's errors and botocore's failures; none of their text that may contain secrets."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.errors import (
    AmbiguousNotFoundError,
    ExpiredError,
    NotAppliedError,
    Request,
    ThrottledError,
    UnreachableError,
    not_found_message,
    retry_after_seconds,
)
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, NotFoundError, UnsupportedError

__all__ = ["explain"]

_NEEDED: Final[Mapping[str, str]] = {
    "read": "s3:GetObject",
    "stat": "s3:GetObject",
    "write": "s3:PutObject",
    "create": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "list": "s3:ListBucket",
}
_EXPIRED: Final = "log in again, or set new credentials; those of a profile, a process or a service are refreshed automatically"
_ADVICE: Final[Mapping[str, str]] = {
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, or the profile",
    "ExpiredToken": f"the session's token has expired: {_EXPIRED}",
    "ExpiredTokenException": f"the session's token has expired: {_EXPIRED}",
    "TokenRefreshRequired": f"the session's token has expired: {_EXPIRED}",
    "InvalidToken": f"the session's token is not valid here: {_EXPIRED}",
    "RequestTimeTooSkewed": "set this machine's clock",
    "RequestExpired": "set this machine's clock",
    "AllAccessDisabled": "the provider has disabled all access",
    "AccountProblem": "the provider reports a problem with the account: ask its support",
    "NotSignedUp": "the account is not signed up for this service",
    "InvalidObjectState": "it is archived (Glacier or a similar tier): restore it first (`aws s3api restore-object`); a store's objects "
    "must be in a storage class with immediate access",
    "EntityTooLarge": "the object is too large for the server",
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
# Errors by which servers reject the conditional header, other than 501.
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


def explain(error: Exception, request: Request) -> ArtifactStoreError | None:
    """Return the error to raise; None where this is not a failure of S3."""
    reply = getattr(error, "response", None)
    if isinstance(reply, Mapping) and "Error" in reply:
        return _of_reply(reply, request)
    return _of_connection(error, request)


def _of_reply(reply: Mapping[str, Any], request: Request) -> ArtifactStoreError:
    url, key = request.url, request.key
    code = str(reply["Error"].get("Code") or "")
    message = request.hide(str(reply["Error"].get("Message") or ""))  # Ceph's gateway omits it
    about = reply.get("ResponseMetadata", {})
    headers = about.get("HTTPHeaders") or {}
    status = int(about.get("HTTPStatusCode", 0)) or (int(code) if code.isdigit() else 0)
    code = code or str(status)  # an HTML page has none
    summary = f"{request}: {code}{f' ({message})' if message else ''}"
    if (host := about.get("RedirectedTo")) and status < 500:
        return BackendError(
            f"{summary}; the reply came from {host}, where the server redirected this request: set AWS_ENDPOINT_URL to that, or AWS_REGION to the bucket's"
        )
    if code == "NoSuchBucket":
        return BackendError(f"the bucket {request.bucket} does not exist: create it, or check the URL {url} and the endpoint")
    if code == "NoSuchKey" or (code == "404" and request.action == "stat"):
        return NotFoundError(not_found_message(key, url))
    if status == 404:
        kind = BackendError if code.startswith("NoSuch") else AmbiguousNotFoundError
        return kind(f"{summary}; not what S3 says of a missing key: check AWS_ENDPOINT_URL")
    if code == "PreconditionFailed" or status == 412:
        return AlreadyExistsError(f"{key} exists in {url}")
    if code in _CLASHES or status == 409:
        return NotAppliedError(f"{request}: another writer is writing the same key ({code}); the same bytes may be sent again")
    if code in {"InvalidRange", "416"}:
        return BackendError(f"{request}: the range ends beyond the end of the object")
    if code == "NotImplemented" or status == 501 or (request.action == "create" and code in _ODD_HEADER):
        return UnsupportedError(
            f"{summary}: the server does not implement this request; without conditional writes concurrent writers would overwrite each other: "
            "pass single_writer=True if nothing else ever writes to it, or use another server"
        )
    if code in _STALE:
        return ExpiredError(f"{summary}; {_ADVICE[code]}")
    if code in _FULL:
        return BackendError(f"{summary}; {_ADVICE[code]}")
    if code in _THROTTLED or status in {429, 503}:
        return ThrottledError(summary, retry_after=retry_after_seconds(headers.get("retry-after")))
    if code in _BUSY or status >= 500:
        return BackendError(summary, transient=True)
    if code in _ELSEWHERE or 300 <= status < 400:
        return BackendError(f"{summary}; {_region_advice(reply, headers)}")
    if code in {"RequestTimeTooSkewed", "RequestExpired"}:
        return BackendError(f"{summary}; {_skew(headers)}{_ADVICE[code]}")
    advice = _ADVICE.get(code)
    if code.startswith("KMS."):
        advice = "cannot use the object's encryption key (KMS): check that it is enabled and that these credentials may use it"
    if advice is None and status in {401, 403}:
        advice = (
            f"check the credentials and whether they allow {_NEEDED.get(request.action, 'this')} on {url} "
            "(without s3:ListBucket a missing key gives the same error)"
        )
    return BackendError(f"{summary}; {advice}" if advice else summary)


def _region_advice(reply: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    """Return where the bucket is, as far as the server reports it."""
    error = reply["Error"]
    region = headers.get("x-amz-bucket-region") or error.get("Region")
    # Only the host: the rest of the URL may be signed.
    host = error.get("Endpoint") or urlsplit(str(headers.get("location", ""))).netloc.rpartition("@")[2]
    if region:
        return f"the bucket is in the region {region}: set AWS_REGION={region}, and the endpoint of that region if one is set"
    if host:
        return f"the server redirects to {host}: set AWS_ENDPOINT_URL to that"
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
    # botocore's EndpointConnectionError may also be a connection that broke; the wrapped aiohttp class tells which.
    if host := _redirect_host(error):
        return BackendError(
            f"{request}: the server redirects to {host}, which does not reply: set AWS_ENDPOINT_URL to where "
            "it is, or AWS_REGION to the bucket's"
        )
    if names & _NEVER_STOOD or "ClientConnectorError" in inner:
        asked = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", ""))).netloc.rpartition("@")[2]
        server = asked or f"the server of {request.url}"
        return UnreachableError(f"{request}: no connection to {server}; check the network and AWS_ENDPOINT_URL")
    if names & _BROKE or isinstance(error, TimeoutError | ConnectionError):
        return BackendError(f"{request}: the connection broke, or no reply arrived in time ({name})", transient=True)
    if "ParamValidationError" in names:
        return BackendError(f"{request}: not a valid S3 bucket or key; check the URL {request.url}")
    if "BotoCoreError" in names:
        return BackendError(f"{request}: {name}; check the options and the environment (AWS_*)")
    return None


def _redirect_host(error: Exception) -> str | None:
    """Return the host of a redirect that was followed in vain: aiohttp names a host other than the requested one."""
    known = getattr(error, "kwargs", {})
    host = getattr(known.get("error"), "host", None)
    asked = urlsplit(str(known.get("endpoint_url", ""))).hostname
    return str(host) if host and asked and host.lower() != asked.lower() else None
