"""Clean-up that is killed, robs puts, runs on real services, or may not delete: nothing that is needed is lost."""

import json
import random
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

import artifactstore
from artifactstore import BackendError, CondemnedBeforeCommitError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.s3 import bulk_delete
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.cli import main
from artifactstore.errors import ArtifactStoreError
from artifactstore.maintenance.doctor.policies import policy_for
from artifactstore.maintenance.gc import execute
from artifactstore.store import Store
from artifactstore.work.put import known_content

from .killed import upkeep_killed
from .places import objects
from .test_gc import content

NO_GRACE = timedelta(0)


def furnish(url: str, gone: int = 3) -> dict[str, bytes]:
    """A store with dead artifacts, orphans, and what stays; returns what stays."""
    store = artifactstore.create(url, cache=None)
    for index in range(gone):
        store.put(content(index, 100_000), "gone")
        store.put(b"%d" % index, "small")
    stays = {f"n/{index}:v1": content(100 + index, 100_000) for index in range(2)}
    for ref, data in stays.items():
        store.put(data, ref.partition(":")[0])
    for version in range(1, gone + 1):
        store.registry.remove(f"gone:v{version}", "old")
        store.registry.remove(f"small:v{version}", "old")
    connect(url).write(f"packs/ab/ab{'0' * 30}.pack", b"x")
    return stays


def assert_clean(url: str, stays: dict[str, bytes]) -> None:
    store = artifactstore.open(url, cache=None)
    assert store.verify(level="full").findings == []
    for ref, data in stays.items():
        assert store.get(ref) == data
    held = set(objects(url, "packs/", "manifests/"))
    assert len(held) == 2 * len(stays), held


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_clean_up_killed_at_each_change_is_finished_by_the_next(tmp_path: Path, after: Any):
    stays = furnish(str(tmp_path / "origin"))
    at = 0
    killed = True
    while killed:
        at += 1
        url = str(tmp_path / f"s{at}")
        shutil.copytree(tmp_path / "origin", url)
        killed = upkeep_killed(url, "gc", at, after=after, grace=0)
        store = artifactstore.open(url, "r", cache=None)
        assert store.verify(level="full").findings == []
        for ref, data in stays.items():
            assert store.get(ref) == data
        artifactstore.open(url, cache=None).maintenance.gc(grace=NO_GRACE)
        assert_clean(url, stays)
        shutil.rmtree(url)
    assert at > 12, "each change of it"


# -- robbed puts


def _robbing(monkeypatch: pytest.MonkeyPatch, url: str, times: int) -> list[int]:
    """Let a clean-up take what a put has uploaded, some times, just before it commits."""
    done: list[int] = []
    real = known_content.store_manifest

    def store_manifest(*args: Any, **kwargs: Any) -> Any:
        made = real(*args, **kwargs)
        if len(done) < times:
            done.append(1)
            cleaner = artifactstore.open(url, cache=None)
            # By another entry, as by another process: the orphans of this put are old enough.
            assert cleaner.maintenance.gc(grace=NO_GRACE).manifests
        return made

    monkeypatch.setattr("artifactstore.work.put.put.store_manifest", store_manifest)
    return done


def _in_batch(store: Store) -> None:
    with store.batch():
        store.put(content(5), "a")
        store.put(content(6), "b")


def _in_run(store: Store) -> None:
    with store.run("r", code=False) as run:
        run.put(content(5), "a")


PUTS: dict[str, Callable[[Store], Any]] = {
    "put": lambda store: store.put(content(5), "a"),
    "unnamed": lambda store: store.put(content(5)),
    "small": lambda store: store.put(b"small", "a"),
    "batch": _in_batch,
    "run": _in_run,
}


@pytest.mark.parametrize("put", PUTS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_put_that_is_robbed_stores_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: str, times: int):
    store = artifactstore.create(tmp_path / "s", cache=None)
    store.put(b"first", "first")
    done = _robbing(monkeypatch, store.url, times)
    PUTS[put](store)
    assert len(done) == times
    again = artifactstore.open(store.url, cache=None)
    assert again.verify(level="full").findings == []
    wanted = b"small" if put == "small" else content(5)
    assert any(again.get(one) == wanted for one in ([row.ref for row in again.find()] or [])) or put == "unnamed"
    again.maintenance.gc(grace=NO_GRACE)
    assert artifactstore.open(store.url, cache=None).verify(level="full").findings == []


def test_a_put_that_is_robbed_again_and_again_commits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = artifactstore.create(tmp_path / "s", cache=None)
    store.put(b"first", "first")
    _robbing(monkeypatch, store.url, 99)
    with pytest.raises(CondemnedBeforeCommitError, match="put again"):
        store.put(content(5), "a")
    assert [one.name for one in store.names()] == ["first"]
    monkeypatch.undo()
    store.put(content(5), "a")
    assert store.get("a") == content(5)


def test_what_a_put_would_share_may_be_condemned_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = content(5, 2_000_000)
    store = artifactstore.create(tmp_path / "s", cache=None)
    store.put(base, "a")
    store.registry.remove("a:v1", "gone")
    done = _robbing(monkeypatch, store.url, 1)
    store.put(base + b"more" * 10_000, "a")  # shares the packs of a version that nothing names
    assert done
    assert artifactstore.open(store.url, cache=None).verify(level="full").findings == []
    assert store.get("a") == base + b"more" * 10_000


def test_writers_readers_and_clean_ups_at_once_lose_nothing(tmp_path: Path):
    url = str(tmp_path / "s")
    artifactstore.create(url, cache=None).put(b"first", "first")
    errors: list[BaseException] = []
    over = threading.Event()
    told: dict[str, bytes] = {}

    def write(seed: int) -> None:
        store, dice = artifactstore.open(url, cache=None), random.Random(seed)
        for index in range(8):
            data = content(dice.randrange(6), 90_000)
            ref = store.put(data, f"w{seed}").ref
            told[ref] = data
            if index % 3 == 2:
                told.pop(ref)
                store.registry.remove(ref, "old")

    def clean() -> None:
        store = artifactstore.open(url, cache=None)
        while not over.is_set():
            store.maintenance.gc(grace=NO_GRACE)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    writers = [threading.Thread(target=guarded, args=(lambda seed=seed: write(seed),)) for seed in range(3)]
    cleaners = [threading.Thread(target=guarded, args=(clean,)) for _ in range(2)]
    for thread in (*writers, *cleaners):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in cleaners:
        thread.join()
    assert [error for error in errors if not isinstance(error, CondemnedBeforeCommitError)] == []
    store = artifactstore.open(url, cache=None)
    assert store.verify(level="full").findings == []
    assert {ref: store.get(ref) for ref in told} == told


# -- services, and rights


def test_many_objects_are_deleted_by_few_requests(s3_url: str, monkeypatch: pytest.MonkeyPatch):
    backend = S3Backend(s3_url)
    sent: list[str] = []
    real = S3Backend._send

    async def send(self: S3Backend, verb: str, arguments: Any) -> Any:
        sent.append(verb)
        return await real(self, verb, arguments)

    stays = furnish(s3_url, gone=1)
    for index in range(210):
        backend.write(f"packs/{index % 256:02x}/{index % 256:02x}{index:030x}.pack", b"")
    monkeypatch.setattr(S3Backend, "_send", send)
    monkeypatch.setattr(bulk_delete, "MOST", 100)  # the service's limit is 1,000
    store = artifactstore.open(s3_url, cache=None)
    done = store.maintenance.gc(grace=NO_GRACE)
    assert len(done.packs) == 212
    assert sent.count("delete_objects") == 3
    assert sent.count("delete_object") == 1, "the object whose time was looked at"
    assert_clean(s3_url, stays)


def test_object_lock_keeps_bytes_and_breaks_nothing(s3_url: str):
    assert s3_url
    client = boto3.client("s3")
    bucket = f"locked-{random.randrange(10**9)}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    url = f"s3://{bucket}/store"
    stays = furnish(url, gone=1)
    store = artifactstore.open(url, cache=None)
    with pytest.raises(RefusedError, match="Object Lock") as refused:
        store.maintenance.gc(grace=NO_GRACE)
    assert "could not be deleted" in str(refused.value)
    assert_clean(url, stays)
    assert store.maintenance.gc(grace=NO_GRACE).packs == ()


DENIED = BackendError("cannot delete: access denied; check the credentials")


def test_without_the_right_to_delete_nothing_is_condemned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stays = furnish(str(tmp_path / "s"))
    before = objects(str(tmp_path / "s"))
    monkeypatch.setattr(LocalBackend, "delete_many", lambda _self, keys: dict.fromkeys(keys, DENIED))
    store = artifactstore.open(tmp_path / "s", cache=None)
    with pytest.raises(RefusedError, match="nothing was condemned"):
        store.maintenance.gc(grace=NO_GRACE)
    after = objects(str(tmp_path / "s"))
    assert {key: raw for key, raw in after.items() if not key.startswith("journal/inbox/")} == before
    monkeypatch.undo()
    store.maintenance.gc(grace=NO_GRACE)
    assert_clean(str(tmp_path / "s"), stays)


@pytest.mark.parametrize(("transient", "kind"), [(False, RefusedError), (True, BackendError)])
def test_what_could_not_be_deleted_is_told_and_goes_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transient: Any, kind: type[ArtifactStoreError]
):
    stays = furnish(str(tmp_path / "s"))
    real = LocalBackend.delete_many

    def some(self: LocalBackend, keys: Any) -> Any:
        kept = [key for key in keys if key.startswith("packs/")]
        failed = real(self, [key for key in keys if key not in kept])
        return failed | {key: BackendError(f"cannot delete {key}: no", transient=transient) for key in kept}

    monkeypatch.setattr(LocalBackend, "delete_many", some)
    store = artifactstore.open(tmp_path / "s", cache=None)
    with pytest.raises(kind, match=r"4 objects of .* could not be deleted") as told:
        store.maintenance.gc(grace=NO_GRACE)
    assert not isinstance(told.value, RefusedError) or told.value.reasons[0].startswith("cannot delete packs/")
    monkeypatch.undo()
    assert len(store.maintenance.gc(grace=NO_GRACE).packs) == 4
    assert_clean(str(tmp_path / "s"), stays)


def test_many_ids_take_several_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stays = furnish(str(tmp_path / "s"), gone=4)
    monkeypatch.setattr(execute, "_BATCH", 3)
    store = artifactstore.open(tmp_path / "s", cache=None)
    head = store.maintenance.gc(dry_run=True).head
    done = store.maintenance.gc(grace=NO_GRACE)
    assert (len(done.manifests), len(done.packs)) == (8, 5)
    assert store.maintenance.gc(dry_run=True).head - head == 5
    assert_clean(str(tmp_path / "s"), stays)


@pytest.mark.parametrize(
    "service",
    ["memory", "s3_url", *(pytest.param(name, marks=pytest.mark.slow) for name in ("azure_url", "gcs_url", "sftp_url"))],
)
def test_the_clean_up_of_a_service(request: pytest.FixtureRequest, service: str):
    any_url = "memory://cleaned" if service == "memory" else f"{request.getfixturevalue(service)}/cleaned"
    stays = furnish(any_url)
    store = artifactstore.open(any_url, cache=None)
    plan = store.maintenance.gc(dry_run=True, grace=NO_GRACE)
    done = store.maintenance.gc(grace=NO_GRACE)
    assert {*plan.manifests} == {*done.manifests}
    assert_clean(any_url, stays)
    assert not objects(any_url, "journal/inbox/")


def test_a_writer_without_the_right_to_delete_is_refused_and_a_janitor_is_not(iam: Any, acting: Any):
    url = f"s3://{iam.bucket()}/team/models"
    users = {role: iam.user(policy_for(url, role).document) for role in ("writer", "janitor")}
    acting(users["writer"])
    stays = furnish(url, gone=1)
    with pytest.raises(RefusedError, match="nothing was condemned"):
        artifactstore.open(url, cache=None).maintenance.gc(grace=NO_GRACE)
    assert len(objects(url, "packs/")) == 4
    acting(users["janitor"])
    assert len(artifactstore.open(url, cache=None).maintenance.gc(grace=NO_GRACE).packs) == 2
    assert_clean(url, stays)


def test_the_commands_tell_it_by_their_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    url = str(tmp_path / "s")
    stays = furnish(url)

    def called(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--store", url])
        return (code, *capsys.readouterr())

    code, out, _ = called("gc", "--dry-run", "--grace", "0", "--json")
    plan = json.loads(out)
    assert (code, len(plan["packs"]), plan["dry_run"]) == (0, 4, True)
    code, out, err = called("gc", "--dry-run", "--grace", "0")
    assert {*plan["packs"]} <= {*out.split()}
    assert "would be freed" in err
    code, out, _ = called("gc", "--dry-run", "--why", "n/0:v1")
    assert (code, out[:15]) == (0, "kept: manifest ")
    assert called("gc", "--why", "n/0:v1")[0] == 2
    assert [called("gc", "--grace", one)[0] for one in ("soon", "-1d", "7")] == [2, 2, 2]
    assert called("gc", "--dry-run", "--why", "n/9")[0] == 3
    monkeypatch.setattr(LocalBackend, "delete_many", lambda _self, keys: dict.fromkeys(keys, DENIED))
    code, _, err = called("gc", "--grace", "0")
    assert code == 6
    assert "nothing was condemned" in err
    monkeypatch.undo()
    monkeypatch.delenv("ARTIFACTSTORE_URL", raising=False)
    assert called("repack", "--below", "2")[0] == 2
    assert called("repack", "nothing/*")[0] == 3
    assert called("usage", "--by", "size")[0] == 2
    code, out, _ = called("usage", "--json")
    assert {row["what"] for row in json.loads(out)} == {"n/0", "n/1"}
    assert called("gc", "--grace", "0h")[0] == 0
    assert_clean(url, stays)
