"""Explanations of Google Cloud Storage's errors and its libraries' failures; none of their text that may contain secrets."""

import json
from collections.abc import Mapping
from typing import Final

from artifactstore.backend.errors import (
    AmbiguousNotFoundError,
    ExpiredError,
    KeptError,
    NotAppliedError,
    Request,
    ThrottledError,
    UnreachableError,
    not_found_message,
    retry_after_seconds,
)
from artifactstore.backend.remote.http_client import Reply
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, NotFoundError

__all__ = ["DeniedError", "Refusal", "explain"]

_NEEDED: Final[Mapping[str, str]] = {
    "read": "storage.objects.get",
    "stat": "storage.objects.get",
    "write": "storage.objects.create (and storage.objects.delete to replace an object)",
    "create": "storage.objects.create",
    "delete": "storage.objects.delete",
    "list": "storage.objects.list",
}
_LOGIN: Final = (
    "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, assign the "
    "machine or the pod an identity, or pass storage_options={'token': 'anon'} for a public bucket"
)
_ADVICE: Final[Mapping[str, str]] = {
    "retentionPolicyNotMet": "it is locked until its retention ends",
    "objectUnderActiveHold": "it is under a hold: release that first",
    "accountDisabled": "the project's billing or account is disabled",
    "userProjectMissing": "the requester pays for this bucket: pass storage_options={'requester_pays': True, 'project': …}",
    "uploadTooLarge": "the object is too large for the service",
}
# The service found the body damaged and stored nothing of it.
_DAMAGED: Final = ("doesn't match calculated", "does not match calculated")
_THROTTLED: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_BROKE: Final = frozenset({"ClientError", "TimeoutError", "IncompleteReadError"})
_NEVER_STOOD: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "ClientProxyConnectionError"})


class Refusal(Exception):  # noqa: N818 - internal: `explain` turns it into an error
    """An unsuccessful reply.

    Attributes:
        reply: the reply.
        reason: Google's error reason, empty where there is none.
        message: Google's error message.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply
        self.reason, self.message = _error_of(reply.body)


def _error_of(body: bytes) -> tuple[str, str]:
    try:
        error = json.loads(body)["error"]
        reasons = [str(one.get("reason", "")) for one in error.get("errors", ())]
        return next(iter(reasons), ""), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", body[:200].decode("utf-8", "replace") if not body.lstrip().startswith(b"<") else ""


class DeniedError(BackendError):
    """The credentials are valid, but do not allow this."""


def explain(error: Exception, request: Request) -> ArtifactStoreError | None:
    """Return the error to raise; None where this is not a failure of Google's."""
    if isinstance(error, Refusal):
        return _of_reply(error, request)
    names = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if names & {"GoogleAuthError", "NonRetryableError"} or (name == "HttpError" and getattr(error, "code", None) == 401):
        # From the login libraries; their transient failures are marked as such.
        passing = bool(getattr(error, "retryable", False)) or "TransportError" in names
        kind = UnreachableError if "TransportError" in names else BackendError
        return kind(f"{request}: no usable credentials ({name}); {_LOGIN}", transient=passing)
    if names & {"ClientConnectorCertificateError", "ClientConnectorSSLError", "ClientSSLError"}:
        return BackendError(f"{request}: the server's certificate is not trusted here")
    if names & _NEVER_STOOD:
        return UnreachableError(f"{request}: no connection to Google Cloud Storage; check the network and STORAGE_EMULATOR_HOST")
    if names & _BROKE or isinstance(error, TimeoutError | ConnectionError):
        return BackendError(f"{request}: the connection broke, or no reply arrived in time ({name})", transient=True)
    if request.filesystem is None and not isinstance(error, ImportError):
        # The libraries repeat their arguments in messages, so the error gets a text of its own.
        return BackendError(
            f"{request.url}: cannot connect with these options ({name}); check token, project and "
            "endpoint_url in storage_options, and GOOGLE_APPLICATION_CREDENTIALS"
        )
    return None


def _of_reply(refusal: Refusal, request: Request) -> ArtifactStoreError:
    status, reason, message = refusal.reply.status, refusal.reason, request.hide(refusal.message)
    key, url = request.key, request.url
    summary = f"{request}: {reason or f'status {status}'}{f' ({message})' if message else ''}"
    if status == 404:
        return _missing(message, summary, request)
    if status == 412 and request.action == "create":
        return AlreadyExistsError(f"{key} exists in {url}")
    if status == 416:
        return BackendError(f"{request}: the range ends beyond the end of the object")
    if status == 401:
        return ExpiredError(f"{summary}; the credentials are missing, invalid or expired: {_LOGIN}")
    if status in {429, 503} or reason in _THROTTLED:
        return ThrottledError(summary, retry_after=retry_after_seconds(refusal.reply.headers.get("Retry-After")))
    if status >= 500 or status == 408:
        return BackendError(summary, transient=True)
    if status == 400 and any(words in message for words in _DAMAGED):
        return NotAppliedError(f"{request}: the body was damaged in transit; the service rejected it")
    if 300 <= status < 400:
        return BackendError(
            f"{summary}; the server redirects elsewhere: check the endpoint (STORAGE_EMULATOR_HOST, endpoint_url)"
        )
    advice: str | None = _ADVICE.get(reason)
    if advice is None and status == 400 and "requester pays" in message:
        advice = _ADVICE["userProjectMissing"]
    if advice is None and status == 403:
        advice = (
            f"check the credentials and whether they allow {_NEEDED.get(request.action, 'this')} on {url} "
            "(without storage.objects.list a missing object gives the same error)"
        )
    if request.action == "delete" and reason in {"retentionPolicyNotMet", "objectUnderActiveHold"}:
        return KeptError(summary)
    kind = DeniedError if status == 403 else BackendError
    return kind(f"{summary}; {advice}" if advice else summary)


def _missing(message: str, summary: str, request: Request) -> ArtifactStoreError:
    if "bucket does not exist" in message or not request.key:
        return BackendError(f"the bucket {request.bucket} does not exist: create it, or check the URL {request.url}")
    if message.startswith("No such object"):
        return NotFoundError(not_found_message(request.key, request.url))
    return AmbiguousNotFoundError(f"{summary}; check that the bucket exists")
