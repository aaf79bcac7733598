"""Explanations of failures: from an error's text to a permission, an option or a variable.

Pure: takes errors and names, returns text. Backend errors already contain advice; this module adds
the name of the missing permission, which depends on the verb.
"""

import re
from typing import Final

from artifactstore.backend.registry import driver_of
from artifactstore.errors import ArtifactStoreError, BackendError, NotFoundError, RefusedError, UnsupportedError

__all__ = ["backend_kind", "explain", "is_denied", "is_unreachable", "permission"]

_DENIED: Final = re.compile(
    r"AccessDenied|\b403\b|Forbidden|denied|not permitted|not authori[sz]ed|AuthorizationPermissionMismatch|AuthorizationFailure"
    r"|InsufficientAccountPermissions|AllAccessDisabled",
    re.IGNORECASE,
)
# Errors of the credentials themselves: no other verb would succeed.
_UNKNOWN: Final = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|AuthenticationFailed|no usable credentials|NoCredentials|PartialCredentials|Unauthori[sz]ed|\b401\b"
    r"|log in again|RequestTimeTooSkewed|certificate|host key",
    re.IGNORECASE,
)
_NOWHERE: Final = re.compile(
    r"no connection|connection broke|no answer|no reply|cannot connect|bucket \S+ does not exist|container \S+ does not exist|another region|PermanentRedirect"
    r"|AuthorizationHeaderMalformed|not what S3 says|reply is not a listing|not a valid S3 bucket or key",
    re.IGNORECASE,
)
# (error pattern, meaning, fix), most specific first.
_RULES: Final = (
    (
        r"checksum|x-amz-trailer|aws-chunked|trailing|x-amz-sdk|XAmzContentSHA256|content-sha256",
        "the server refuses the checksums that newer clients append to an upload",
        ("storage_options={'config_kwargs': {'request_checksum_calculation': 'when_required', 'response_checksum_validation': "
        "'when_required'}}, or AWS_REQUEST_CHECKSUM_CALCULATION=when_required (the default here: look for an option that overrides it)"),
    ),
    (
        r"another region|PermanentRedirect|AuthorizationHeaderMalformed|\b301\b|IllegalLocationConstraint",
        "the bucket is not in the region that the request was signed for",
        ("set AWS_REGION to the bucket's region (aws s3api get-bucket-location --bucket BUCKET), or "
        "storage_options={'client_kwargs': {'region_name': 'eu-west-1'}}"),
    ),
    (
        r"RequestTimeTooSkewed|time is too skewed",
        "this machine's clock and the server's differ by more than the server allows (15 minutes on S3)",
        "set this machine's clock: let it follow a time server (timedatectl set-ntp true)",
    ),
    (
        r"bucket \S+ does not exist|container \S+ does not exist|NoSuchBucket",
        "there is no such bucket or container, or the endpoint belongs to another server",
        "create it, or check the URL's first part and the endpoint (AWS_ENDPOINT_URL)",
    ),
    (
        r"not what S3 says|reply is not a listing|ResponseParserError|not well-formed|UnsupportedOperation|\b405\b",
        "the endpoint does not speak S3: it is a web page, a proxy, or another service's port",
        "check AWS_ENDPOINT_URL (scheme, host and port of the S3 API, not of the console)",
    ),
    (
        r"no connection|no answer|no reply|cannot connect|connection broke|Could not connect|Name or service",
        "nothing replies at this address",
        ("check the network, AWS_ENDPOINT_URL or the account's name, and a proxy (HTTPS_PROXY, NO_PROXY); a server without host "
        "names for buckets needs storage_options={'config_kwargs': {'s3': {'addressing_style': 'path'}}}, one that wants them "
        "needs 'virtual' there"),
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed",
        "the server does not know these credentials, or the secret does not belong to the key",
        ("check which credentials are used (see the check `credentials`): AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or the account key; an endpoint of another server gives the same error"),
    ),
    (
        r"ExpiredToken|InvalidToken|log in again",
        "the session's token has expired",
        "log in again (aws sso login, az login), or use a role that renews itself",
    ),
    (
        r"no usable credentials|NoCredentials|PartialCredentials|DefaultAzureCredential",
        "no credentials were found",
        ("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; give the machine a role; or, for a public bucket, "
        "storage_options={'anon': True}"),
    ),
    (
        r"certificate",
        "the server's certificate is not signed by an authority that this machine trusts",
        "set AWS_CA_BUNDLE to the file of your authority's certificate",
    ),
)  # fmt: skip


def backend_kind(url: str) -> str:
    """Return a URL's kind of backend: s3, azure, gcs, sftp, folder, memory or other."""
    driver = driver_of(url)
    return "other" if driver is None else driver.name


def permission(url: str, verb: str) -> str:
    """Return the name of the permission that a verb needs on this kind of backend."""
    driver = driver_of(url)
    return (driver.permissions if driver is not None else {}).get(verb, f"the permission to {verb} objects")


def is_denied(error: ArtifactStoreError | None) -> bool:
    """Whether a permission is missing: the credentials are valid, but do not allow the request."""
    if not isinstance(error, BackendError | RefusedError) or error is None:
        return False
    return bool(_DENIED.search(str(error))) and not _NOWHERE.search(str(error)) and not _refused_credentials(str(error))


def _refused_credentials(text: str) -> bool:
    # A plain denial contains the advice "check the credentials", too.
    return bool(_UNKNOWN.search(text.replace("check the credentials and what they allow", "")))


def is_unreachable(error: ArtifactStoreError | None) -> bool:
    """Whether every other request would fail, too: no server, no bucket, no valid credentials."""
    return isinstance(error, BackendError) and not is_denied(error)


def explain(error: ArtifactStoreError, url: str, verb: str) -> tuple[str, str]:
    """Return (meaning, fix) of a failed verb."""
    text = str(error)
    if isinstance(error, UnsupportedError):
        return "the backend, or the software installed here, does not support this", text.rpartition("; ")[2] or text
    if isinstance(error, NotFoundError):
        return "an object that was just written cannot be found", "use another server: this one loses what it has acknowledged"
    if is_denied(error):
        if isinstance(error, RefusedError) or backend_kind(url) in {"folder", "memory"}:
            return f"this identity may not {verb} here", f"grant {permission(url, verb)}"
        return (
            f"the credentials are valid, but do not allow to {verb}",
            f"grant {permission(url, verb)}; `artifactstore doctor {url} --policy {_role(verb)}` prints a policy that does",
        )
    for pattern, means, fix in _RULES:
        if re.search(pattern, text, re.IGNORECASE):
            return means, fix
    return (
        f"the backend failed to {verb}",
        "the message above is all that it reported; try again, then ask its operator",
    )


def _role(verb: str) -> str:
    return {"write": "writer", "delete": "janitor"}.get(verb, "reader")
