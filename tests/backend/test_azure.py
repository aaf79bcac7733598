"""What Azure must do beyond the contract: how its URLs are read, how its refusals are told, and a whole store in it."""

import threading
import traceback
from email.generator import Generator
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.azure.urls import parse_azure_url
from artifactstore.backend.base import MAX_WRITE
from artifactstore.backend.buffers import content_md5
from artifactstore.backend.connect import connect
from artifactstore.backend.errors import KeptError
from artifactstore.backend.remote.fsspec_client import FsspecClient
from artifactstore.errors import BackendError, InvalidInputError, NotFoundError
from artifactstore.model.encoding import new_id
from tests.servers.azurite import ACCOUNT, ACCOUNT_KEY

HOST = "account.dfs.core.windows.net"
LAKE = "onelake.dfs.fabric.microsoft.com"
GUID = "0a1b2c3d-0000-1111-2222-333344445555"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "rest", "container", "root", "options"),
    [
        ("abfss", f"data@{HOST}/ml/store/", "data", "ml/store/", {"account_name": "account"}),
        ("abfs", f"data@{HOST}", "data", "", {"account_name": "account"}),
        ("az", "data@account.blob.core.windows.net/x", "data", "x/", {"account_name": "account"}),
        (
            "abfss",
            "data@account.dfs.core.chinacloudapi.cn/x",
            "data",
            "x/",
            {"account_name": "account", "account_host": "account.blob.core.chinacloudapi.cn"},
        ),
    ],
)
def test_every_form_of_a_url_names_account_container_and_prefix(scheme, rest, container, root, options):
    place = parse_azure_url(scheme, rest, {}, {})
    assert (place.container, place.root, dict(place.options), place.onelake) == (container, root, options, False)
    assert place.url == f"{scheme}://{rest}".rstrip("/")


@pytest.mark.parametrize("environ", [{"AZURE_STORAGE_ACCOUNT_NAME": "a"}, {"AZURE_STORAGE_CONNECTION_STRING": "x"}])
def test_the_account_may_come_from_the_environment_or_the_options(environ):
    assert parse_azure_url("az", "data/x", {}, environ).container == "data"
    assert parse_azure_url("az", "data/x", {"account_name": "a"}, {}).root == "x/"
    with pytest.raises(InvalidInputError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        parse_azure_url("az", "data/x", {}, {})


@pytest.mark.parametrize(("workspace", "item"), [("space", "lake.Lakehouse"), ("My%20Space", "lake.Lakehouse"), (GUID, GUID)])
def test_a_store_in_onelake_lies_below_files(workspace, item):
    place = parse_azure_url("abfss", f"{workspace}@{LAKE}/{item}/Files/ml/store", {}, {})
    assert place.onelake
    assert place.container == workspace.replace("%20", " ")
    assert place.root == f"{item}/Files/ml/store/"
    assert place.options["account_name"] == "onelake"
    assert place.options["account_host"] == "onelake.blob.fabric.microsoft.com"


@pytest.mark.parametrize(
    "rest",
    [
        f"space@{LAKE}",
        f"space@{LAKE}/lake.Lakehouse",
        f"space@{LAKE}/lake.Lakehouse/Files",
        f"space@{LAKE}/lake.Lakehouse/Tables/x",
        f"space@{LAKE}/{GUID}/Files/x",
        f"space@{LAKE}/folder/Files/x",
        "space@elsewhere.fabric.microsoft.com/lake.Lakehouse/Files/x",
    ],
)
def test_the_levels_that_fabric_manages_can_hold_no_store(rest):
    with pytest.raises(InvalidInputError):
        parse_azure_url("abfss", rest, {}, {})


@pytest.mark.parametrize(
    "rest", ["", f"@{HOST}/x", f"{HOST}/data/x", "data@host/x", "Data_@" + HOST, f"data@{HOST}/a\nb", f"data@{HOST}/x?sig=SECRET"]
)
def test_what_is_no_place_in_azure_is_refused_without_repeating_a_signature(rest):
    with pytest.raises(InvalidInputError) as caught:
        parse_azure_url("abfss", rest, {"account_name": "account"}, {})
    assert "SECRET" not in str(caught.value)


def test_a_missing_container_is_no_missing_key(azure_url):
    backend = connect("abfs://no-such-container/x")
    for call in (
        lambda: backend.read("a"),
        lambda: backend.size("a"),
        lambda: list(backend.list("")),
        lambda: backend.write("a", b""),
    ):
        with pytest.raises(BackendError, match="no-such-container") as caught:
            call()
        assert not isinstance(caught.value, NotFoundError)
        assert not caught.value.transient


def test_a_wrong_key_is_told_with_advice_and_never_shown(azurite_server, azure_url, monkeypatch):
    wrong = "d3Jvbmcga2V5IHRoYXQgbm9ib2R5IG1heSBzZWU="
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={wrong};BlobEndpoint={azurite_server};"
    backend = connect(azure_url, storage_options={"connection_string": text})
    with pytest.raises(BackendError, match=r"AuthorizationFailure|AuthenticationFailed") as caught:
        backend.read("a")
    told = "".join(traceback.format_exception(caught.value)) + repr(backend)
    assert wrong not in told
    assert ACCOUNT_KEY not in told


def deletions(monkeypatch):
    """Note the requests that delete."""
    made, real = [], FsspecClient.request

    def request(self, action, key, *arguments, **options):
        if action == "delete":
            made.append(key)
        return real(self, action, key, *arguments, **options)

    monkeypatch.setattr(FsspecClient, "request", request)
    return made


def test_many_blobs_are_deleted_by_one_request_for_each_256(azure_url, monkeypatch):
    # Azurite cuts a boundary at its first "=", and Python's boundaries begin with some.
    monkeypatch.setattr(Generator, "_make_boundary", classmethod(lambda _cls, _text=None: f"batch-{new_id()}"))
    backend = connect(azure_url)
    keys = [f"packs/{k:02}/{k:032}.pack" for k in range(20)]
    for key in keys:
        backend.write(key, b"x")
    made = deletions(monkeypatch)
    missing = [f"packs/00/missing-{k}" for k in range(240)]
    assert backend.delete_many([*keys[1:], *missing]) == {}
    assert len(made) == 2
    assert [item.key for item in backend.list("packs/")] == keys[:1]


@pytest.mark.parametrize("how", ["refused", "denied", "short"])
def test_where_no_batches_are_taken_blobs_are_deleted_one_by_one(azure_url, monkeypatch, how):
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob.aio import ContainerClient

    class Reply:
        status_code, headers = 403, {"x-ms-error-code": "AuthorizationPermissionMismatch"}

    async def batch(_self, *blobs, **_options):
        if how == "refused":
            error = HttpResponseError("no")
            error.status_code = 405
            raise error

        async def replies():
            for _ in blobs[: len(blobs) if how == "denied" else 1]:
                yield Reply()

        return replies()

    monkeypatch.setattr(ContainerClient, "delete_blobs", batch)
    backend = connect(azure_url)
    keys = [f"packs/{k}" for k in range(5)]
    for key in keys:
        backend.write(key, b"x")
    made = deletions(monkeypatch)
    assert backend.delete_many(keys) == {}
    assert sorted(made) == ["", *keys]
    assert backend.delete_many(keys) == {}
    assert len(made) == 11, "it is not asked for again"


def test_what_a_batch_could_not_delete_is_named(azure_url, monkeypatch):
    from azure.storage.blob.aio import ContainerClient

    class Reply:
        def __init__(self, status, code):
            self.status_code, self.headers = status, {"x-ms-error-code": code}

    async def batch(_self, *_blobs, **_options):
        async def replies():
            for one in ((202, ""), (404, "BlobNotFound"), (409, "BlobImmutableDueToPolicy"), (503, "ServerBusy")):
                yield Reply(*one)

        return replies()

    monkeypatch.setattr(ContainerClient, "delete_blobs", batch)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    failed = connect(azure_url).delete_many(["a", "b", "c", "d"])
    assert list(failed) == ["c", "d"]
    assert isinstance(failed["c"], KeptError)
    assert isinstance(failed["d"], BackendError)
    assert failed["d"].transient


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [[bytes(5)], [bytes(MAX_WRITE), bytes(5)]], ids=["one request", "blocks"])
def test_what_was_damaged_on_its_way_is_refused_by_its_md5(azure_url, monkeypatch, pieces):
    """The sum is made where the caller is: on the loop, all other requests would wait for it."""
    backend, threads = connect(azure_url), set()

    def wrong(data):
        threads.add(threading.current_thread())
        return content_md5(data + b"damaged")

    monkeypatch.setattr("artifactstore.backend.azure.backend.content_md5", wrong)
    with pytest.raises(BackendError, match="InvalidOperation"):  # Azurite's word; the service's is Md5Mismatch
        backend.write("packs/one", pieces)
    assert threads == {threading.current_thread()}
    with pytest.raises(NotFoundError):
        backend.read("packs/one")


def test_a_directory_of_a_hierarchical_namespace_is_no_object(azure_url, azure_service):
    container, _, root = azure_url.removeprefix("abfs://").partition("/")
    azure_service.get_blob_client(container, f"{root}/folder").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    backend = connect(azure_url)
    backend.write("folder/a", b"1")
    assert [item.key for item in backend.list("")] == ["folder/a"]
    for call in (lambda: backend.read("folder"), lambda: backend.size("folder")):
        with pytest.raises(NotFoundError):
            call()


def test_a_store_in_azure_holds_what_a_folder_holds(azure_url, tmp_path: Path):
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    (source / "in" / "a.txt").write_text("text\n" * 50_000)
    (source / "b.bin").write_bytes(bytes(range(256)) * 20_000)
    stores = [artifactstore.open(azure_url), artifactstore.open(tmp_path / "store")]
    digests = []
    for store in stores:
        digests.append(store.put(source, "scans/raw").digest)
        assert not store.put(source, "scans/raw").new
        store.put({"depth": 8}, "params")
        store.alias("scans/raw:v1", "good", expect=None)
        assert store.get("params") == {"depth": 8}
        back = store.get("scans/raw:good", to=tmp_path / f"back{len(digests)}")
        assert (back / "in" / "a.txt").read_bytes() == (source / "in" / "a.txt").read_bytes()
        report = store.verify(level="full")
        assert report.ok, report.findings
    assert digests[0] == digests[1]
    assert artifactstore.open(azure_url, "r").names()[0].name == "params"
