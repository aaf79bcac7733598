"""URLs of Google Cloud Storage: `gs://bucket/prefix`."""

from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, Policy, require
from artifactstore.backend.remote.bucket_urls import bucket_path, check_endpoint

__all__ = ["DRIVER"]


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    path = bucket_path(scheme, rest)
    require("gs", "gcsfs", "gcs")
    from artifactstore.backend.gcs.backend import GcsBackend  # noqa: PLC0415 - loads fsspec

    check_endpoint(options)
    return GcsBackend(f"gs://{path}", options, single_writer=single_writer)


def _policy(url: str, role: str) -> Policy:
    from artifactstore.backend.gcs.policies import policy  # noqa: PLC0415 - only doctor needs it

    return policy(url, role)


DRIVER: Final = BackendDriver(
    "gcs",
    _connect,
    permissions={
        "read": "storage.objects.get",
        "list": "storage.objects.list",
        "write": "storage.objects.create",
        "delete": "storage.objects.delete",
    },
    policy=_policy,
)
