"""Properties of a backend beyond the seven verbs: the credentials in use, and how long deleted objects are retained.

For `doctor` only: no store relies on these properties, most of which need permissions that a store does not need.
"""

from collections.abc import Callable
from typing import Any

from artifactstore.backend.base import Backend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.errors import ArtifactStoreError

__all__ = ["credentials_in_use", "retention"]


def _innermost(backend: Backend) -> Backend:
    while isinstance(backend, Wrapper):
        backend = backend.inner
    return backend


def _s3(backend: Backend) -> Any:
    inner = _innermost(backend)
    return inner if type(inner).__name__ == "S3Backend" else None  # by name: a folder must not load fsspec


def credentials_in_use(backend: Backend) -> str | None:
    """Return which kind of credentials a request would carry, never a part of them; None where unknown."""
    inner = _s3(backend)
    if inner is None:
        return _google(_innermost(backend))
    options = inner.client.options
    if options.get("anon"):
        return "none (anonymous requests)"
    if options.get("key") or options.get("client_kwargs", {}).get("aws_access_key_id"):
        return "a key in storage_options" + (" with a session token" if options.get("token") else "")

    async def method() -> str | None:
        filesystem = inner.client.filesystem
        await filesystem.set_session()
        found = await filesystem.session.get_credentials()
        return None if found is None else str(found.method)

    try:
        how = inner.client.run(method)
    except Exception as error:  # noqa: BLE001 - botocore's providers raise anything; the request itself is more informative
        return f"unknown: looking for them failed ({type(error).__name__})"
    return "none were found" if how is None else _METHODS.get(how, how)


def _google(inner: Any) -> str | None:
    """Return the kind of Google credentials, by the class that its library uses."""
    if type(inner).__name__ != "GcsBackend":
        return None
    try:
        found = inner.client.filesystem.credentials.credentials
    except Exception as error:  # noqa: BLE001 - Google's library raises anything; the request itself is more informative
        return f"unknown: looking for them failed ({type(error).__name__})"
    kind = type(found).__module__
    return "none were found (anonymous requests)" if found is None else _GOOGLE.get(kind, kind.rpartition(".")[2])


_GOOGLE = {
    "google.oauth2.service_account": "a service account's key",
    "google.oauth2.credentials": "a user's login (gcloud), or a token",
    "google.auth.compute_engine.credentials": "the machine's identity",
    "google.auth.identity_pool": "workload identity federation",
    "google.auth.impersonated_credentials": "an impersonated service account",
}
_METHODS = {
    "env": "keys in the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "a profile of the credentials file",
    "config-file": "a profile of the config file",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a role by web identity (IRSA, OIDC)",
    "sso": "single sign-on",
    "custom-process": "a process of the profile",
    "iam-role": "the machine's role",
    "container-role": "the container's role",
}


def retention(backend: Backend) -> dict[str, str] | None:
    """Return S3's versioning and Object Lock settings: `on`, `off` or why they are unknown; None for other backends."""
    inner = _s3(backend)
    if inner is None:
        return None
    bucket = {"Bucket": inner._bucket}  # noqa: SLF001 - the same storey

    def asked(verb: str, read: Callable[[Any], str]) -> str:
        try:
            return read(inner.client.request("query", "", inner._send, verb, bucket))  # noqa: SLF001
        except ArtifactStoreError as error:
            return "off" if "ObjectLockConfigurationNotFound" in str(error) else "unknown: this identity may not read the setting"

    return {
        "versioning": asked("get_bucket_versioning", lambda reply: "on" if reply.get("Status") == "Enabled" else "off"),
        "object_lock": asked("get_object_lock_configuration", _rule),
    }


def _rule(reply: Any) -> str:
    found = reply.get("ObjectLockConfiguration", {})
    rule = found.get("Rule", {}).get("DefaultRetention", {})
    if found.get("ObjectLockEnabled") != "Enabled":
        return "off"
    if not rule:
        return "on, without a default retention"
    time = f"{rule['Days']} days" if "Days" in rule else f"{rule.get('Years', '?')} years"
    return f"on, {rule.get('Mode', '?')} for {time}"
