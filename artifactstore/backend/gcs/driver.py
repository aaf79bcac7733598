"""URLs of Google Cloud Storage: `gs://bucket/prefix`."""

from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, require
from artifactstore.backend.gcs.policies import policy
from artifactstore.backend.remote.bucket_urls import bucket_path, check_endpoint

__all__ = ["DRIVER"]


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    path = bucket_path(scheme, rest)
    require("gs", "gcsfs", "gcs")
    from artifactstore.backend.gcs.backend import GcsBackend  # noqa: PLC0415 - loads fsspec

    check_endpoint(options)
    return GcsBackend(f"gs://{path}", options, single_writer=single_writer)


DRIVER: Final = BackendDriver(
    "gcs",
    _connect,
    permissions={
        "read": "storage.objects.get",
        "list": "storage.objects.list",
        "write": "storage.objects.create",
        "delete": "storage.objects.delete",
    },
    policy=policy,
)
