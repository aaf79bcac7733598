"""A bucket in which nothing can be changed or removed for a day (Object Lock, COMPLIANCE): a store works on it as on any."""

import os
from collections import defaultdict

import pytest
from botocore.exceptions import ClientError

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.maintenance.doctor.policies import policy_for
from artifactstore.testing.backends import FaultyBackend
from artifactstore.work.views.maintenance import examine_url


@pytest.fixture
def locked(iam, acting):
    url = f"s3://{iam.bucket(lock=True)}/ml"
    acting(iam.user(policy_for(url, "writer").document))
    return url


def versions(iam, url: str) -> dict[str, list[bytes]]:
    """Every version of every key, as bytes."""
    bucket, s3 = url.split("/")[2], iam.s3
    found = defaultdict(list)
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        assert not page.get("DeleteMarkers")
        for one in page.get("Versions", ()):
            body = s3.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
            found[one["Key"]].append(body)
    return found


def use(url: str, folder) -> None:
    """What a writer does all day."""
    store = artifactstore.open(url)
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(os.urandom(100_000))
    store.put(folder, "d", reason="first")
    store.alias("d:v1", "good")
    store.put(folder, "d")
    (folder / "3.bin").write_bytes(b"edited")
    assert store.put(folder, "d").version == 2
    store.alias("d:v2", "good", expect=1)
    store.put({"a": 1}, "settings")
    again = artifactstore.open(url, cache=None)
    assert again.artifact("d:good").version == 2
    assert again.get("settings:latest") == {"a": 1}
    assert again.verify(level="full").ok


@pytest.mark.slow
def test_a_store_lives_in_a_locked_bucket_and_overwrites_nothing_with_other_bytes(locked, iam, tmp_path):
    use(locked, tmp_path / "data")
    found = versions(iam, locked)
    kinds = {key.split("/")[1] for key in found}
    assert {"store.json", "journal", "manifests", "packs"} <= kinds
    for key, bodies in found.items():
        assert len({*bodies}) == 1, f"{key} was overwritten with other bytes"
        assert len(bodies) == 1, f"{key} was written {len(bodies)} times though nothing failed"
    bucket = locked.split("/")[2]
    key = next(key for key in found if "/packs/" in key)
    one = iam.s3.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][0]
    with pytest.raises(ClientError, match="AccessDenied"):  # the administrator, who may do anything: the lock is real
        iam.s3.delete_object(Bucket=bucket, Key=key, VersionId=one["VersionId"])


@pytest.mark.slow
def test_an_upload_that_is_sent_again_after_a_lost_reply_makes_an_equal_version(locked, iam, monkeypatch):
    from artifactstore.work.session import session

    real = connect

    def lossy(*arguments, **named):
        backend = real(*arguments, **named)
        # Every third write lands, and its reply is lost; what tries again is around it, as for a real network.
        return RetryingBackend(FaultyBackend(vars(backend)["inner"], "ok ok lost-reply " * 10, verbs=("write",)), seconds=5)

    monkeypatch.setattr(session, "connect", lossy)
    store = artifactstore.open(locked)
    for number in range(6):
        store.put(bytes([number]) * 100_000, "n")
    found = versions(iam, locked)
    assert any(len(bodies) > 1 for bodies in found.values())  # the faults were there
    assert all(len({*bodies}) == 1 for bodies in found.values())
    assert store.verify(level="full").ok


@pytest.mark.slow
def test_every_upload_carries_the_checksum_that_a_locked_bucket_demands(locked, iam):
    """Without one, the same server refuses: so the store's uploads, which it takes, carry one."""
    bucket = locked.split("/")[2]
    client = iam.s3
    client.meta.events.register("before-sign.s3.PutObject", _strip)
    with pytest.raises(ClientError, match="Content-MD5"):
        client.put_object(Bucket=bucket, Key="ml/without", Body=b"x")
    connect(locked).write("packs/00/with.pack", b"x")
    backend = connect(locked)
    backend.create("journal/000000000/000000000001.json", b"x")
    backend.write("packs/00/large.pack", (b"x" * 2**20 for _ in range(66)))
    assert backend.size("packs/00/large.pack") == 66 * 2**20


def _strip(request, **_):
    for name in list(request.headers):
        if "checksum" in name.lower() or name.lower() == "content-md5":
            del request.headers[name]


@pytest.mark.slow
def test_doctor_says_that_the_bucket_is_locked_and_that_a_store_works_there(locked, iam, acting):
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}
    acting(iam.user(everything))
    found = examine_url(locked, quick=True)
    assert found.ok, [one for one in found.checks if one.status == "fail"]
    assert "COMPLIANCE for 1 days" in found["retention"].happened
