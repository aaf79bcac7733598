"""Whole stores on S3 servers of other makers, and what is said of those that ignore the condition."""

import json
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.errors import AlreadyExistsError, UnsupportedError
from artifactstore.work.views.maintenance import examine_url
from tests.servers.proxy import FaultProxy, scripted
from tests.servers.s3_others import CARELESS, STRICT
from tests.warm import command
from tests.work.tree import tree


@pytest.mark.slow
@pytest.mark.parametrize("other_url", STRICT, indirect=True)
def test_a_server_that_keeps_the_condition_is_fit(other_url):
    found = examine_url(other_url, quick=True)
    assert found.ok, [one for one in found.checks if one.status == "fail"]
    assert found["create-race"].status == "ok"
    assert not list(connect(other_url).list(""))


@pytest.mark.slow
@pytest.mark.parametrize("other_url", STRICT, indirect=True)
def test_a_whole_store_has_the_digests_of_a_folder(other_url, folder: Path, tmp_path: Path):
    (folder / "big").write_bytes(bytes(range(256)) * 40_000)
    there, here = artifactstore.open(other_url), artifactstore.open(tmp_path / "store")
    for store in (there, here):
        store.put(folder, "data")
        store.put({"depth": 8}, "params")
        store.alias("data:v1", "production", expect=None)
    assert [one.digest for one in there.versions("data")] == [one.digest for one in here.versions("data")]
    assert tree(Path(artifactstore.open(other_url).get("data:production", to=tmp_path / "back"))) == tree(folder)
    assert there.verify(level="full").ok
    there.maintenance.sync(tmp_path / "copy")
    assert artifactstore.open(tmp_path / "copy", "r").get("params") == {"depth": 8}


@pytest.mark.slow
@pytest.mark.parametrize("other_url", CARELESS, indirect=True)
def test_nothing_is_written_where_the_condition_is_ignored(other_url):
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="single_writer=True"):
            artifactstore.open(other_url).put(b"1", "name")
    assert [one.key for one in connect(other_url).list("")] in ([], ["store.json"])


@pytest.mark.slow
@pytest.mark.parametrize("other_url", CARELESS, indirect=True)
def test_a_single_writer_may_and_everybody_may_read(other_url, folder: Path, tmp_path: Path):
    store = artifactstore.open(other_url, single_writer=True)
    store.put(folder, "data")
    store.put(b"1", "name")
    reader = artifactstore.open(other_url)
    assert reader.get("name") == b"1"
    assert tree(Path(reader.get("data", to=tmp_path / "back"))) == tree(folder)
    assert reader.verify(level="full").ok
    before = sorted((one.key, one.size) for one in connect(other_url).list(""))
    with pytest.raises(UnsupportedError, match="single_writer=True"):
        reader.put(b"2", "name")
    assert sorted((one.key, one.size) for one in connect(other_url).list("")) == before
    with pytest.raises(AlreadyExistsError):
        connect(other_url, single_writer=True).create("store.json", b"")


@pytest.mark.slow
@pytest.mark.parametrize("other_url", CARELESS, indirect=True)
def test_the_doctor_finds_that_the_condition_is_ignored(other_url):
    said = command("doctor", other_url, "--quick", "--json")
    assert said.returncode == 1, said.stderr
    checks = {one["name"]: one for one in json.loads(said.stdout)["checks"]}
    assert checks["create-existing"]["status"] == "fail"
    assert "single_writer=True" in checks["create-existing"]["fix"]


@pytest.mark.parametrize("other_url", STRICT, indirect=True)
def test_an_entry_that_is_damaged_on_its_way_is_right_in_the_end(other_url, s3_other, monkeypatch, request):
    server = s3_other(request.node.callspec.params["other_url"])
    with FaultProxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = artifactstore.open(other_url, cache=None)
        store.put(b"1", "name")
        proxy.plan = scripted("flipped-request lost-reply", lambda one: one.verb == "PUT" and "/journal/" in one.path)
        assert store.put(b"2", "name").version == 2
        proxy.plan = scripted("")
        assert artifactstore.open(other_url, cache=None).verify(level="full").ok
