"""URLs of S3 and of servers that speak its API: `s3://bucket/prefix`."""

from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, require
from artifactstore.backend.remote.bucket_urls import bucket_path, check_endpoint
from artifactstore.backend.s3.policies import policy

__all__ = ["DRIVER"]


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    path = bucket_path(scheme, rest, access_points=True)
    require("s3", "s3fs", "s3")
    from artifactstore.backend.s3.backend import S3Backend  # noqa: PLC0415 - loads fsspec

    check_endpoint(options, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return S3Backend(f"s3://{path}", options, single_writer=single_writer)


DRIVER: Final = BackendDriver(
    "s3",
    _connect,
    permissions={
        "read": "s3:GetObject on the prefix's objects",
        "list": "s3:ListBucket on the bucket",
        "write": "s3:PutObject on the prefix's objects (and kms:GenerateDataKey where the bucket is encrypted with a KMS key)",
        "delete": "s3:DeleteObject on the prefix's objects",
    },
    policy=policy,
)
