"""Access on Azure, by tokens (SAS) that allow what a role needs and no more, judged by Azurite."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

import artifactstore
from artifactstore.errors import BackendError
from tests.servers.azurite import ACCOUNT, ACCOUNT_KEY

READER = "rl"
WRITER = "rlacw"  # no d: nothing can be deleted


@pytest.fixture
def allow(azure_url: str, azurite_server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the environment hold a token with some permissions instead of the account's key."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    container = azure_url.removeprefix("abfs://").partition("/")[0]

    def act(permissions: str) -> None:
        sas = generate_container_sas(
            ACCOUNT,
            container,
            account_key=ACCOUNT_KEY,
            permission=ContainerSasPermissions.from_string(permissions),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING", f"BlobEndpoint={azurite_server};SharedAccessSignature={sas};AccountName={ACCOUNT};"
        )

    return act


def test_a_reader_reads_everything_and_writes_nothing(azure_url, allow, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/large.bin").write_bytes(bytes(range(256)) * 4000)
    artifactstore.open(azure_url).put(tmp_path / "data", "data")
    allow(READER)
    store = artifactstore.open(azure_url)
    store.get("data", to=tmp_path / "got")
    assert (tmp_path / "got/large.bin").read_bytes() == (tmp_path / "data/large.bin").read_bytes()
    assert [one.name for one in store.names()] == ["data"]
    assert store.verify(level="full").ok
    with pytest.raises(BackendError, match=r"AuthorizationPermissionMismatch; the identity needs the role") as caught:
        store.put({"a": 1}, "more")
    assert not caught.value.transient
    assert "sig=" not in str(caught.value)
    assert [one.name for one in artifactstore.open(azure_url, mode="r").names()] == ["data"]


def test_a_writer_needs_no_right_to_delete(azure_url, allow, tmp_path):
    allow(WRITER)
    store = artifactstore.open(azure_url)
    made = store.put({"a": 1}, "value")
    store.alias("value", "production")
    (tmp_path / "large.bin").write_bytes(bytes(range(256)) * 8000)
    store.put(tmp_path / "large.bin", "large")
    again = artifactstore.open(azure_url)
    assert again.get("value:production") == {"a": 1}
    assert again.artifact("value").digest == made.digest
    assert again.verify(level="full").ok
    place = again._session.backend
    with pytest.raises(BackendError):
        place.delete("store.json")
    assert place.read("store.json")
