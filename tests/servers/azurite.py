"""Azurite, the emulator of Azure's blob service, for as long as the tests run."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.place import SERVERS, free_port, running

ACCOUNT = "devstoreaccount1"
# The key that every Azurite has, from its documentation: no secret, but treated as one by the tests.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a blob service on this machine."""
    program = SERVERS / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        pytest.skip(f"Azurite is not installed: npm install --prefix {program.parents[2]} azurite")
    folder = tmp_path_factory.mktemp("azurite")
    port = free_port()
    command = [str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--skipApiVersionCheck", "--disableTelemetry",
               "--inMemoryPersistence", "--silent"]  # fmt: skip
    with running(command, port, folder / "log"):
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"


@pytest.fixture
def azure_service(azurite_server: str) -> Iterator[Any]:
    """The service's own client, synchronous, for what a store would never do."""
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient(azurite_server, credential=ACCOUNT_KEY) as client:
        yield client


@pytest.fixture
def azure_url(azurite_server: str, azure_service: Any, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place on Azurite: a container of its own and a prefix; the environment leads there."""
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={azurite_server};",
    )
    container = f"test-{uuid.uuid4().hex}"
    azure_service.create_container(container)
    return f"abfs://{container}/some/prefix"
