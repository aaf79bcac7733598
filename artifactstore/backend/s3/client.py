"""S3 client settings: no more than every server supports, and nothing that may block for ever.

Not every S3-compatible server supports all that botocore sends these days. What no server needs is left out: the wait for
`100 Continue` (a round trip a PUT, and a hang where the server doesn't support it), retry counters, checksums as trailers.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from artifactstore.backend.remote.fsspec_client import FsspecClient
from artifactstore.backend.s3.bulk_delete import sign_body

__all__ = ["client_options", "renew_credentials", "strip_optional_headers"]

_CONFIG: Final[Mapping[str, Any]] = {
    # One attempt per request: RetryingBackend retries, and knows which requests must not be sent twice.
    "retries": {"total_max_attempts": 1, "mode": "standard"},
    "max_pool_connections": 64,
    "read_timeout": 60,  # seconds without a byte
    "connect_timeout": 10,
    # Newer botocores send a checksum as a trailer, which some servers refuse or store as if it were data (boto/boto3#4392).
    # Every server supports Content-MD5, and the digest that signs a body where it is signed; CRC32C goes as a header, to Amazon only.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "user_agent": "artifactstore",
}
_CRC: Final = "x-amz-checksum-crc32c"
_NEEDLESS: Final = ("Expect", "amz-sdk-invocation-id", "amz-sdk-request")


def client_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for s3fs's class; the caller's `config_kwargs` take precedence."""
    return {**options, "config_kwargs": {**_CONFIG, **options.get("config_kwargs", {})}}


def _leave_out(request: Any, **_: Any) -> None:
    for name in _NEEDLESS:
        if name in request.headers:
            del request.headers[name]  # none of them is signed


def _note_host(params: Any, context: Any, **_: Any) -> None:
    context["artifactstore_host"] = urlsplit(params["url"]).netloc


def _leave_unsigned(params: Any, context: Any, **_: Any) -> None:
    """Skip the SHA-256 of a body that goes over TLS with a checksum, as botocore does where it made the checksum itself."""
    if _CRC in params["headers"]:
        context["checksum"] = {"request_algorithm": {"algorithm": "crc32c", "in": "header", "name": _CRC}}


def _note_redirect(http_response: Any, parsed: Any, context: Any, **_: Any) -> None:
    """Record in a reply that it came from another host: aiohttp follows redirects, without the signature meant for the first."""
    host = urlsplit(str(http_response.url)).netloc
    if host != context.get("artifactstore_host", host):
        parsed.setdefault("ResponseMetadata", {})["RedirectedTo"] = host


def strip_optional_headers(client: Any) -> Any:
    """Configure a botocore client to leave out the headers that no server needs; returns it."""
    if not getattr(client, "_artifactstore_plain", False):
        client.meta.events.register("before-send.s3", _leave_out)
        client.meta.events.register("before-call.s3", _note_host)
        client.meta.events.register("before-call.s3", _leave_unsigned)
        client.meta.events.register("after-call.s3", _note_redirect)
        client.meta.events.register("before-sign.s3.DeleteObjects", sign_body)
        client._artifactstore_plain = True  # noqa: SLF001 - our own marker
    return client


def renew_credentials(client: FsspecClient) -> bool:
    """Reconnect, with what a file, a process or a service hands out now; return whether the credentials are other ones."""

    async def held() -> tuple[Any, Any]:
        filesystem = client.filesystem
        await filesystem.set_session()
        found = await filesystem.session.get_credentials()
        frozen = await found.get_frozen_credentials() if found else None
        return (frozen.access_key, frozen.token) if frozen else (None, None)

    def ask() -> bool:
        old = client.run(held)
        client.disconnect()
        return bool(client.run(held) != old)

    return client.call("reconnect to", "", ask)
