"""URLs of Azure Blob Storage, ADLS Gen2 and OneLake: `abfss://container@account.dfs.core.windows.net/prefix`, `az://container/prefix`."""

import os
from typing import Any, Final

from artifactstore.backend.azure.policies import BLOBS, policy
from artifactstore.backend.base import Backend
from artifactstore.backend.driver import BackendDriver, require

__all__ = ["DRIVER"]


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    from artifactstore.backend.azure.urls import parse_azure_url  # noqa: PLC0415 - only needed here

    location = parse_azure_url(scheme, rest, options, os.environ)
    require(scheme, "adlfs", "azure")
    from artifactstore.backend.azure.backend import AzureBackend  # noqa: PLC0415 - loads fsspec

    return AzureBackend(location, options, single_writer=single_writer)


DRIVER: Final = BackendDriver(
    "azure",
    _connect,
    permissions={
        "read": f"the data action {BLOBS}/read",
        "list": f"the data action {BLOBS}/read on the container",
        "write": f"the data actions {BLOBS}/write and {BLOBS}/add/action",
        "delete": f"the data action {BLOBS}/delete",
    },
    policy=policy,
)
