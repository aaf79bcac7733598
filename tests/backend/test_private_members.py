"""The canary: members of s3fs, gcsfs and adlfs that are private there and that backends rely on.

When one of these fails with a newer release, the backend named beside it has to follow.
"""

import asyncio
import inspect
from typing import Any

import pytest


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_s3fs_has_what_the_s3_backend_uses():
    filesystem = pytest.importorskip("s3fs").S3FileSystem
    assert parameters(filesystem._get_s3_method_kwargs)[:2] == ["self", "method"]  # adds what the options require of each request
    assert inspect.iscoroutinefunction(filesystem.set_session)
    assert inspect.iscoroutinefunction(filesystem.get_s3)
    assert parameters(filesystem.get_s3) == ["self", "bucket"]


@pytest.mark.slow
def test_gcsfs_has_what_the_gcs_backend_uses():
    filesystem = pytest.importorskip("gcsfs").GCSFileSystem
    assert inspect.iscoroutinefunction(filesystem._set_session)

    async def connected() -> Any:
        options = {"token": "anon", "endpoint_url": "http://127.0.0.1:9", "project": "p", "requester_pays": "q"}
        return filesystem(**options, skip_instance_cache=True, asynchronous=True, loop=asyncio.get_running_loop())

    made = asyncio.run(connected())
    assert made._location == "http://127.0.0.1:9"
    assert made._get_params({"a": "b"}) == {"a": "b", "userProject": "q"}
    headers: dict[str, str] = {}
    made.credentials.apply(headers)
    assert headers == {}


def test_adlfs_has_what_the_azure_backend_uses():
    filesystem = pytest.importorskip("adlfs").AzureBlobFileSystem
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    made = filesystem(account_name="a", account_key=key, skip_instance_cache=True)
    blob = made.service_client.get_blob_client("container", "key")
    download = blob._client.blob.download  # the generated client: one request for any size
    assert {"range", "cls"} <= {*parameters(download)} | {"cls"}
    assert "kwargs" in parameters(download)
