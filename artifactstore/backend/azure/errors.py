"""Explanations of Azure's errors and its client's failures; none of their text, which may contain signatures."""

from collections.abc import Mapping
from typing import Any, Final

from artifactstore.backend.errors import KeptError, NotAppliedError, Request, UnreachableError, not_found_message
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, NotFoundError

__all__ = ["code_of", "explain"]

_ADVICE: Final[Mapping[str, str]] = {
    "AuthenticationFailed": "check AZURE_STORAGE_ACCOUNT_KEY or the SAS token, and this machine's clock",
    "InvalidAuthenticationInfo": "check the SAS token or the identity in use",
    "NoAuthenticationInformation": "no credentials were sent: set AZURE_STORAGE_ACCOUNT_KEY or log in (az login, a managed identity)",
    "AuthorizationFailure": "the account's firewall or the SAS token does not allow this",
    "AuthorizationPermissionMismatch": "the identity needs the role 'Storage Blob Data Contributor' ('… Reader' to read)",
    "AuthorizationProtocolMismatch": "the SAS token allows https only",
    "AuthorizationSourceIPMismatch": "the SAS token does not allow this IP address",
    "InsufficientAccountPermissions": "the account's key or SAS token does not allow this",
    "KeyBasedAuthenticationNotPermitted": "the account does not accept keys: log in with an identity (az login, a managed identity)",
    "UnauthorizedBlobOverwrite": "the SAS token may create blobs, but not replace them",
    "PublicAccessNotPermitted": "the account allows no anonymous access: set credentials",
    "BlobArchived": "it is in the archive tier: rehydrate it first (`az storage blob set-tier --tier Hot`); a store's blobs must be in "
    "an online tier",
    "BlobBeingRehydrated": "it is being rehydrated from the archive tier, which takes hours: try again later",
    "AccountIsDisabled": "the storage account is disabled",
    "BlobImmutableDueToPolicy": "it is immutable until its retention ends or its legal hold is lifted",
    "LeaseIdMissing": "another client holds a lease on it: break the lease",
    "SnapshotsPresent": "it has snapshots: delete them first",
    "RequestBodyTooLarge": "the blob is too large for the service",
    "AccountLimitExceeded": "the account is full: ask for more",
    "401": "no usable credentials: log in (az login, a managed or workload identity), or set AZURE_STORAGE_ACCOUNT_KEY",
    "403": "check the credentials and what they allow",
}
_NO_CONTAINER: Final = frozenset({"ContainerNotFound", "FilesystemNotFound", "ContainerDisabled"})
_MISSING: Final = frozenset({"BlobNotFound", "PathNotFound"})
_EXISTS: Final = frozenset({"BlobAlreadyExists", "PathAlreadyExists"})
# Codes that also mean that a blob exists: a new blob has nothing to replace, lock or lease.
_STANDS: Final = frozenset({"UnauthorizedBlobOverwrite", "BlobImmutableDueToPolicy", "LeaseIdMissing"})
_MET: Final = frozenset({"ConditionNotMet", "TargetConditionNotMet"})
# The service found the body damaged and stored nothing of it.
_DAMAGED: Final = frozenset({"Md5Mismatch", "Crc64Mismatch", "ChecksumMismatch"})
_BUSY: Final = frozenset({
    "ServerBusy", "OperationTimedOut", "InternalError", "TooManyRequests", "ContainerBeingDeleted", "AccountBeingCreated",
})  # fmt: skip
_FULL: Final = frozenset({"AccountLimitExceeded", "InsufficientStorage"})


def code_of(error: Exception) -> str:
    """Return the service's error code, empty where there is none."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    code = headers.get("x-ms-error-code") or getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def explain(error: Exception, request: Request) -> ArtifactStoreError | None:
    """Return the error to raise; None where this is not an Azure failure."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "AzureError" not in names:
        return _connecting(error, request)
    name = type(error).__name__
    if names & {"IncompleteReadError", "ServiceResponseError", "HttpResponseError"}:
        response = getattr(error, "response", None)
        status = int(getattr(error, "status_code", 0) or getattr(response, "status_code", 0) or 0)
        if "ClientAuthenticationError" in names and not status:  # of azure-identity: no request was sent
            return _no_credentials(request, name)
        if status >= 300:
            return of_reply(status, code_of(error), request)
        return BackendError(f"{request}: the connection broke in mid-reply ({name})", transient=True)
    if "ServiceRequestError" in names:
        return UnreachableError(
            f"{request}: no connection to {_host_of(request.filesystem) or 'the service'}; check the network and the account's name"
        )
    if "ClientAuthenticationError" in names or "Credential" in name:
        return _no_credentials(request, name)
    return BackendError(f"{request} ({name})", transient=bool(names & {"ServiceResponseTimeoutError", "StreamClosedError"}))


def _connecting(error: Exception, request: Request) -> BackendError | None:
    if isinstance(error, ValueError) and request.filesystem is None:
        # adlfs repeats its arguments in the message, so the error gets a text of its own.
        return BackendError(
            f"{request.url}: cannot connect with these options; check account_name, account_key, sas_token and "
            "connection_string, in storage_options and as AZURE_STORAGE_…"
        )
    return None


def _no_credentials(request: Request, name: str) -> BackendError:
    return BackendError(
        f"{request}: no usable credentials ({name}); log in (az login, a managed or workload identity), or set "
        "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING"
    )


def of_reply(status: int, code: str, request: Request) -> ArtifactStoreError:
    """Return the error for a reply of the service, also for one of the replies inside of a batch.

    Args:
        status: of the reply.
        code: the service's error code, "" where it gives none.
        request: what was asked for.
    """
    url, key = request.url, request.key
    summary = f"{request}: {code or f'status {status}'}"
    creating = request.action == "create"
    if code in _NO_CONTAINER:
        return BackendError(f"the container {request.bucket} does not exist: create it, or check the URL {url} and the account")
    if status == 404:
        if code in _MISSING and key:
            return NotFoundError(not_found_message(key, url))
        return BackendError(
            f"{summary}; this is not the service's reply for a missing blob: check the URL, the account and the credentials"
        )
    if code in _EXISTS or (creating and (code in _STANDS or code in _MET or (status == 412 and not code))):
        return AlreadyExistsError(f"{key} exists in {url}")
    if code == "InvalidRange" or status == 416:
        return BackendError(f"{request}: the range ends beyond the end of the object")
    if code in _DAMAGED:
        return NotAppliedError(f"{request}: the body was damaged in transit ({code}); the service rejected it")
    if code in _FULL:
        return BackendError(f"{summary}; {_ADVICE.get(code, 'free some space or ask for more')}")
    if code == "BlobImmutableDueToPolicy":
        return KeptError(f"{summary}; {_ADVICE[code]}")
    if code in _BUSY or status >= 500 or status in {408, 429}:
        return BackendError(summary, transient=True)
    advice = _ADVICE.get(code) or _ADVICE.get(str(status))
    return BackendError(f"{summary}; {advice}" if advice else summary)


def _host_of(filesystem: Any) -> str:
    """Return the host that an adlfs filesystem connects to; never the rest of its URL, which may contain a signature."""
    return str(getattr(getattr(filesystem, "service_client", None), "primary_hostname", "")).partition("/")[0]
