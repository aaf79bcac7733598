"""Who may do what on S3: users with exactly the policies that `doctor --policy` prints, on a server that judges each request."""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.cli import main
from artifactstore.errors import ArtifactStoreError, BackendError, RefusedError
from artifactstore.maintenance.doctor.policies import policy_for
from artifactstore.work.views.maintenance import examine_url


def without(policy: Any, *actions: str) -> dict[str, Any]:
    """The policy, with some actions taken away."""
    statements = []
    for statement in policy["Statement"]:
        left = [action for action in statement["Action"] if action not in actions]
        if left:
            statements.append({**statement, "Action": left})
    return {**policy, "Statement": statements}


@pytest.fixture
def place(iam):
    """A prefix in a bucket, and who a reader, a writer and a janitor of it are."""
    url = f"s3://{iam.bucket()}/team/models"
    return url, {role: iam.user(policy_for(url, role).document) for role in ("reader", "writer", "janitor")}


@pytest.fixture
def filled(place, acting, tmp_path: Path):
    url, users = place
    acting(users["writer"])
    store = artifactstore.open(url)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.bin").write_bytes(bytes(range(256)) * 1000)
    store.put(tmp_path / "data", "d", reason="first")
    store.alias("d:v1", "good")
    return place


def keys(iam, url: str) -> set[str]:
    bucket = url.split("/")[2]
    return {item["Key"] for item in iam.s3.list_objects_v2(Bucket=bucket).get("Contents", ())}


@pytest.mark.slow
def test_a_writer_makes_and_fills_a_store_without_the_right_to_delete(place, acting, tmp_path: Path, iam):
    url, users = place
    acting(users["writer"])
    store = artifactstore.open(url)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 5000)
    store.put(folder, "d", metrics={"auc": 0.5})
    (folder / "0.bin").write_bytes(b"edited")
    assert store.put(folder, "d").version == 2
    store.alias("d:v2", "good", reason="why not")
    with store.batch():
        store.put(b"one", "one")
        store.put({"two": 2}, "two")
    # A backend that sends one PUT for 66 MB in parts and breaks off in the middle aborts its upload, which is no deletion.
    backend = connect(url)

    def broken():
        for _ in range(66):
            yield b"x" * 2**20
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        backend.write("packs/00/broken.pack", broken())
    bucket = url.split("/")[2]
    assert not iam.s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert store.verify(level="full").ok
    assert artifactstore.open(url, cache=None).get("two:latest") == {"two": 2}
    with pytest.raises(BackendError, match=r"403|AccessDenied"):
        backend.delete("store.json")


@pytest.mark.slow
def test_a_writer_seals_segments_without_the_right_to_delete(place, acting, monkeypatch):
    from artifactstore.journal import segments

    monkeypatch.setattr(segments, "STRIDE", 8)
    url, users = place
    acting(users["writer"])
    store = artifactstore.open(url)
    for number in range(20):
        store.put(f"{number}".encode(), "n")
    assert [item.key for item in connect(url).list("segments/")]
    assert artifactstore.open(url, cache=None).artifact("n:latest").version == 20


def test_a_writer_publishes_a_snapshot_and_a_reader_begins_with_it(filled, acting, monkeypatch):
    from artifactstore.journal import snapshots
    from artifactstore.maintenance import snapshot

    url, users = filled
    acting(users["writer"])
    assert artifactstore.open(url, cache=None).maintenance.snapshot().new
    monkeypatch.setattr(snapshots, "_ENTRY", 2**40)
    opened, real = [], snapshot.open_snapshot

    def noting(*asked):
        opened.append(real(*asked))
        return opened[-1]

    monkeypatch.setattr(snapshot, "open_snapshot", noting)
    acting(users["reader"])
    assert artifactstore.open(url, mode="r", cache=None).names()
    assert [one is not None for one in opened] == [True]
    with pytest.raises(RefusedError):
        artifactstore.open(url, mode="r", cache=None).maintenance.snapshot()


@pytest.mark.slow
def test_a_reader_reads_everything_and_writes_nothing(filled, acting, tmp_path: Path, iam):
    url, users = filled
    acting(users["reader"])
    before = keys(iam, url)
    store = artifactstore.open(url, "r")
    assert [row.name for row in store.names()] == ["d"]
    assert store.artifact("d:good").version == 1
    store.get("d:latest", tmp_path / "back")
    assert (tmp_path / "back/a.bin").read_bytes() == bytes(range(256)) * 1000
    assert store.verify(level="full").ok
    assert [record.actor for record in store.log()]
    assert store.at(1).names()
    with pytest.raises(RefusedError, match="mode='r'"):
        store.put(b"x", "x")
    assert keys(iam, url) == before


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["put a folder", "put bytes", "alias", "batch", "create"])
def test_a_reader_who_tries_to_write_is_told_which_permission_is_missing(filled, acting, tmp_path: Path, iam, verb):
    url, users = filled
    acting(users["reader"])
    before = keys(iam, url)
    store = artifactstore.open(url)

    def batch():
        with store.batch():
            store.put(b"new", "n")

    elsewhere = url + "/elsewhere"
    calls = {
        "put a folder": lambda: store.put(tmp_path / "data", "other"),
        "put bytes": lambda: store.put(b"new", "n"),
        "alias": lambda: store.alias("d:v1", "better"),
        "batch": batch,
        "create": lambda: artifactstore.create(elsewhere),
    }
    with pytest.raises((RefusedError, BackendError), match=r"AccessDenied|denied|PutObject|403") as caught:
        calls[verb]()
    assert not isinstance(caught.value, BackendError) or not caught.value.transient
    assert keys(iam, url) == before


def test_a_janitor_may_delete(filled, acting):
    url, users = filled
    acting(users["janitor"])
    backend = connect(url)
    backend.write("segments/litter", b"x")
    backend.delete("segments/litter")
    assert "segments/litter" not in [item.key for item in backend.list("segments/")]


def test_a_policy_does_not_reach_beyond_its_prefix(filled, acting, iam):
    url, users = filled
    bucket = url.split("/")[2]
    iam.s3.put_object(Bucket=bucket, Key="team/secret", Body=b"x")
    acting(users["janitor"])
    neighbour = connect(f"s3://{bucket}/team")
    for call in (
        lambda: neighbour.read("secret"),
        lambda: neighbour.write("secret", b"y"),
        lambda: neighbour.delete("secret"),
        lambda: list(neighbour.list("")),
    ):
        with pytest.raises(BackendError, match=r"403|AccessDenied"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "role", "check", "permission"),
    [
        ("s3:GetObject", "reader", "store", "s3:GetObject"),
        ("s3:ListBucket", "reader", "missing-key", "s3:ListBucket"),
        ("s3:PutObject", "writer", "write", "s3:PutObject"),
        ("s3:DeleteObject", "janitor", "delete", "s3:DeleteObject"),
    ],
)
def test_doctor_names_each_permission_that_is_missing(filled, acting, iam, action, role, check, permission):  # noqa: PLR0917 - a table
    url, _ = filled
    acting(iam.user(without(policy_for(url, role).document, action)))
    found = examine_url(url, role=role, quick=True)
    assert not found.ok
    bad = [one for one in found.checks if one.status == "fail"]
    assert check in [one.name for one in bad], bad
    assert permission in found[check].fix
    assert "--policy" in found[check].fix


@pytest.mark.slow
@pytest.mark.parametrize("role", ["reader", "writer", "janitor"])
def test_each_printed_policy_is_enough_for_its_role_and_doctor_says_so(filled, acting, iam, role):
    url, users = filled
    acting(users[role])
    found = examine_url(url, quick=True)
    assert found.ok, [one for one in found.checks if one.status == "fail"]
    assert found.role == role
    assert found.reached
    left = [key for key in keys(iam, url) if ".doctor-" in key]
    assert [f"team/models/{key}" for key in found.left] == sorted(left)
    assert (found["delete"].status, bool(left)) == {
        "reader": ("skipped", False), "writer": ("ok", True), "janitor": ("ok", False),
    }[role]  # fmt: skip
    if role == "writer":
        assert "harmless" in found["cleanup"].means
        assert "may not delete" in found["cleanup"].means


@pytest.mark.slow
def test_what_doctor_could_not_remove_does_not_keep_a_store_from_being_made(place, acting):
    url, users = place
    acting(users["writer"])
    assert examine_url(url, quick=True).left
    assert artifactstore.open(url).put(b"x", "x").version == 1


def test_a_policy_with_a_condition_on_the_prefix_alone_is_found_out(filled, acting, iam):
    url, _ = filled
    policy = policy_for(url, "reader").document
    assert policy is not None
    narrow = {**policy, "Statement": [one for one in policy["Statement"] if one["Sid"] != "TellWhatIsMissing"]}
    acting(iam.user(narrow))
    found = examine_url(url, quick=True)
    assert found["missing-key"].status == "fail"
    assert "without a prefix" in found["missing-key"].fix
    assert found["list"].status == "ok"


def test_someone_who_may_do_nothing_is_told_so(filled, acting, iam, capsys):
    url, _ = filled
    acting(iam.user())
    assert main(["doctor", url, "--quick"]) == 4
    said = capsys.readouterr().out
    assert "s3:GetObject" in said
    assert "s3:ListBucket" in said
    with pytest.raises(ArtifactStoreError, match=r"403|AccessDenied"):
        artifactstore.open(url)


def test_what_the_bucket_lets_be_written_once_is_only_created_and_the_rest_is_not_among_it():
    """The statement for the bucket's policy denies every PUT without If-None-Match: segments and pointers are created, files written."""
    from artifactstore.journal.segments import Segment
    from artifactstore.journal.snapshots import Snapshot, content_key

    said = next(note for note in policy_for("s3://b/p", "writer").notes if "WriteHistoryOnce" in note)
    once = json.loads(said[said.index("{") :])["Resource"]
    digest = "0" * 64
    created = ["store.json", "journal/000000000/000000000001.json", Snapshot(7, 1, 2, f"blake3:{digest}", 1).key]
    created.append(Segment(1, 2, digest, f"segments/1-{1:012d}-{2:012d}-{digest}.parquet").key)
    for key in created:
        assert any(fnmatchcase(f"arn:aws:s3:::b/p/{key}", pattern) for pattern in once), key
    for key in (content_key(f"blake3:{digest}"), "packs/00/0.pack", "manifests/00/0.parquet"):
        assert not any(fnmatchcase(f"arn:aws:s3:::b/p/{key}", pattern) for pattern in once), key
