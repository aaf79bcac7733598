"""The request log of usual acts on S3, read as a critic: nothing is asked for in vain."""

import os
from collections import Counter
from pathlib import Path

import artifactstore


def test_usual_acts_ask_for_no_more_than_they_need(faulty_s3):
    proxy, url = faulty_s3
    store = artifactstore.open(url, cache=None)
    store.put(b"0", "name")
    made = Counter(proxy.take())
    assert made["PUT store.json"] == 2  # the store, and whether the server would let it be replaced
    assert made["PUT manifests"] == made["PUT journal"] == 1
    assert sum(made.values()) <= 17

    store.put(b"1", "name")
    asked = proxy.take()
    assert asked[0] == "GET journal"  # is there something new?
    assert asked[1] == "PUT manifests"
    assert asked[2:] == ["GET journal", "GET journal", "PUT journal"]  # is the last still the last, asked at once; the commit
    store.put(os.urandom(100_000), "large")
    assert [one for one in proxy.take() if one.startswith("PUT")] == ["PUT packs", "PUT manifests", "PUT journal"]
    assert not store.put(b"1", "name").new
    assert proxy.take() == ["GET journal"]
    store.names()
    assert proxy.take() == ["GET journal"]

    cold = artifactstore.open(url, cache=None)
    cold.names()
    assert Counter(proxy.take()) == {"GET store.json": 1, "GET ?segments": 1, "GET ?journal": 2, "GET journal": 4}
    cold.get("large")
    assert sorted(proxy.take()) == ["GET journal", "GET manifests", "GET packs"]
    cold.get("large")
    assert proxy.take() == ["GET journal", "GET packs"]
    assert {one.verb for one in proxy.log} == {"GET", "PUT"}  # no HEAD, nothing made or asked of the bucket


def test_many_files_and_large_ones_take_a_request_a_pack(faulty_s3, tmp_path: Path):
    proxy, url = faulty_s3
    store = artifactstore.open(url, cache=None)
    store.put(b"0", "name")
    for number in range(5000):
        path = tmp_path / "many" / f"{number % 20}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(16) * 4)
    (tmp_path / "large").write_bytes(os.urandom(100_000_000))
    proxy.take()
    store.put(tmp_path / "many", "many")
    assert len(proxy.take()) <= 10
    store.put(tmp_path / "large", "large")
    asked = Counter(proxy.take())
    assert asked.keys() == {"GET journal", "PUT packs", "PUT manifests", "PUT journal"}
    assert sum(asked.values()) - asked["PUT packs"] <= 5
    for name in ("many", "large"):
        store.get(name, tmp_path / f"{name}-back")
        assert sum(not one.endswith(" packs") for one in proxy.take()) <= 2
