"""Imports into and out of places of every kind: the same history and content, whatever lies between."""

import random
from pathlib import Path

import pytest

import artifactstore
from artifactstore.store import Store

BIG = random.Random(3).randbytes(700_000)


def _filled(url: str) -> Store:
    store = artifactstore.create(url, cache=None)
    with store.run("train", params={"depth": 3}) as run:
        store.put(BIG, "theirs/data")
        run.log(loss=0.5)
    store.put(BIG + b"more", "theirs/data", reason="second")
    store.put({"k": 1}, "theirs/params", metadata={"m": "x" * 100}, metrics={"auc": 0.9})
    store.alias("theirs/data:v1", "production", reason="CR-1")
    return store


def _told(store: Store) -> list[tuple[object, ...]]:
    return [
        (one.ref, one.digest, one.actor, one.time, one.reason, one.metadata, one.metrics, one.aliases, one.removed)
        for name in store.names("theirs/")
        for one in store.versions(name.name)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3_url", "azure_url", "gcs_url", "sftp_url"])
def test_a_store_is_imported_into_a_place_of_each_kind_and_out_of_it(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    source, url = _filled(str(tmp_path / "source")), request.getfixturevalue(kind)
    artifactstore.create(url, cache=None).put(b"own", "own/word")
    done = source.maintenance.sync(url)
    assert (done.kind, done.versions, done.left_out) == ("import", 3, [])
    assert source.maintenance.sync(url).bytes == 0  # nothing moves twice
    there = artifactstore.open(url, cache=None)
    assert _told(there) == _told(source)
    assert there.get("theirs/data:production") == BIG
    assert there.verify(level="full").findings == []
    assert [one.name for one in there.lineage("theirs/data:v1").runs] == ["train"]

    back = artifactstore.create(tmp_path / "back", cache=None)
    back.put(BIG, "own/copy")  # of whose chunks none has to come
    there.maintenance.sync(back.url)
    back = artifactstore.open(back.url, cache=None)
    assert _told(back) == _told(source)
    assert back.get("theirs/params") == {"k": 1}
    assert back.get("own/word") == b"own"
    assert back.verify(level="full").findings == []
    origins = {one.origin for one in back.versions("theirs/data")}
    assert origins == {one.origin for one in there.versions("theirs/data")}  # under its first voice


@pytest.mark.slow
def test_what_lies_in_s3_is_imported_into_azure(s3_url: str, azure_url: str):
    source = _filled(s3_url)
    artifactstore.create(azure_url, cache=None)
    source.maintenance.sync(azure_url, names=["theirs/data"])
    there = artifactstore.open(azure_url, cache=None)
    assert [one.name for one in there.names()] == ["theirs/data"]
    assert there.get("theirs/data:v2") == BIG + b"more"
    assert there.verify(level="full").findings == []
