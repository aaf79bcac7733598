"""Clean-up through the public API: what goes, what stays, and what stops it."""

import json
import os
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import CorruptionError, FormatError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.backend.memory import MemoryBackend
from artifactstore.catalog.fold import state as state_module
from artifactstore.catalog.fold.tables import Tables
from artifactstore.journal.chain import encode_entry, entry_key, inbox_folder
from artifactstore.maintenance.gc import execute
from artifactstore.model.digest import Digest
from artifactstore.store import Store
from artifactstore.work.session.fork import ScratchStore
from artifactstore.work.session.session import Session
from artifactstore.work.views.maintenance import Maintenance

from .places import objects

NO_GRACE = timedelta(0)
_count = iter(range(10**6))


@pytest.fixture
def store() -> Store:
    return artifactstore.create(f"memory://gc-{next(_count)}", cache=None)


def content(seed: int, size: int = 150_000) -> bytes:
    return random.Random(seed).randbytes(size)


def keys(store: Store, *prefixes: str) -> set[str]:
    return {item.key for item in connect(store.url).list("") if item.key.startswith(prefixes or "")}


def everything(store: Store) -> dict[str, bytes]:
    return objects(store.url)


def assert_same_content(store: Store, expected: dict[str, bytes]) -> None:
    assert store.verify(level="full").findings == []
    for ref, data in expected.items():
        assert store.get(ref) == data


def whole_key(store: Store, one: str) -> str:
    return next(key for key in everything(store) if one in key)


# -- what goes and what stays


def _by_version(store: Store) -> None:
    store.put(content(1), "a")


def _by_unnamed_put(store: Store) -> None:
    store.put(content(1))


def _by_second_name(store: Store) -> None:
    store.put(content(1), "a")
    store.put(content(1), "b")
    store.registry.remove("a:v1", "gone")


def _by_second_version(store: Store) -> None:
    store.put(content(1), "a")
    store.put(content(2), "a")
    store.put(content(1), "a")
    store.registry.remove("a:v1", "gone")


def _by_hold(store: Store) -> None:
    store.put(content(1), "a")
    digest = store.artifact("a").digest
    store.registry.remove("a:v1", "gone")
    store.registry.hold(digest, "evidence")


def _by_put_again(store: Store) -> None:
    store.put(content(1), "a")
    store.registry.remove(store.artifact("a").digest, "gone")
    store.put(content(1), "a")


def _by_run(store: Store) -> None:
    with store.run("r", code=False) as run:
        run.put(content(1), "a")


STAYS: list[Callable[[Store], None]] = [
    _by_version,
    _by_unnamed_put,
    _by_second_name,
    _by_second_version,
    _by_hold,
    _by_put_again,
    _by_run,
]


@pytest.mark.parametrize(("make", "grace"), [*product(STAYS, [timedelta(days=7), NO_GRACE])])
def test_what_something_means_stays(make: Callable[[Store], None], grace: timedelta, store: Store):
    make(store)
    before = everything(store)
    for _ in range(2):
        done = store.maintenance.gc(grace=grace)
        assert (done.packs, done.litter) == ((), ())
    assert {**everything(store), **before} == everything(store), "nothing that was there is gone"
    facts = [fact for entry in _entries(store) for txn in entry["txns"] for fact in txn["facts"] if fact["fact"] == "stored"]
    assert any(store.get(fact["digest"]) == content(1) for fact in facts if fact["size"] == len(content(1)))
    assert store.verify(level="full").findings == []


def _entries(store: Store) -> list[dict[str, Any]]:
    return [json.loads(raw) for _, raw in sorted(objects(store.url, "journal/0").items())]


def _removed_version(store: Store) -> str:
    store.put(content(1), "a")
    store.registry.remove("a:v1", "gone")
    return "a:v1"


def _removed_digest_of_two_names(store: Store) -> str:
    store.put(content(1), "a")
    store.put(content(1), "b")
    store.registry.remove(store.artifact("a").digest, "gone")
    return "b:v1"


def _removed_unnamed(store: Store) -> str:
    digest = store.put(content(1)).digest
    store.registry.remove(digest, "gone")
    return digest


def _removed_of_run(store: Store) -> str:
    with store.run("r", code=False) as run:
        digest = run.put(content(1)).digest
    store.registry.remove(digest, "gone")
    return digest


def _released(store: Store) -> str:
    store.put(content(1), "a")
    digest = store.artifact("a").digest
    store.registry.remove("a:v1", "gone")
    hold = store.registry.hold(digest, "evidence")
    assert store.maintenance.gc(grace=NO_GRACE).packs == ()
    store.registry.release(hold.id, "settled")
    return "a:v1"


GOES: list[Callable[[Store], str]] = [
    _removed_version,
    _removed_digest_of_two_names,
    _removed_unnamed,
    _removed_of_run,
    _released,
]


@pytest.mark.parametrize("make", GOES)
def test_what_was_removed_goes_and_the_rest_stays(make: Callable[[Store], str], store: Store):
    store.put(content(7), "other")
    ref = make(store)
    before = everything(store)
    plan = store.maintenance.gc(dry_run=True)
    assert everything(store) == before, "a dry run writes nothing"
    assert plan.dry_run
    assert len(plan.packs) == len(plan.manifests) == 1
    assert plan.bytes == sum(len(before[whole_key(store, one)]) for one in (*plan.packs, *plan.manifests))
    for one in (*plan.packs, *plan.manifests, ref):
        assert plan.why(one).startswith("dead: "), plan.why(one)
        assert "removed" in plan.why(one)
    done = store.maintenance.gc(reason="tidy")
    assert replace(done, dry_run=True) == plan
    assert not keys(store, "packs/", "manifests/") & {whole_key_of(one) for one in (*done.packs, *done.manifests)}
    assert_same_content(store, {"other": content(7)})
    condemned = [
        fact for entry in _entries(store) for txn in entry["txns"] for fact in txn["facts"] if fact["fact"] == "condemned"
    ]
    assert [one["manifests"] for one in condemned] == [list(done.manifests)]
    again = store.maintenance.gc()
    assert (again.packs, again.manifests, again.bytes) == ((), (), 0)
    with pytest.raises(NotFoundError):
        artifactstore.open(store.url, cache=None).get(ref)


@pytest.mark.parametrize("make", [*STAYS[:3], *GOES[:3]])
def test_tables_on_disk_are_judged_as_those_in_memory(
    make: Callable[[Store], Any], store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(state_module, "_SPILL_CHECK", 1)
    monkeypatch.setattr(Tables, "SPILL", 0)
    make(store)
    store.put(content(8), "other")
    monkeypatch.undo()
    plan = store.maintenance.gc(dry_run=True, grace=NO_GRACE)
    monkeypatch.setattr(state_module, "_SPILL_CHECK", 1)
    monkeypatch.setattr(Tables, "SPILL", 0)
    done = artifactstore.open(store.url, cache=None).maintenance.gc(grace=NO_GRACE)
    assert replace(done, dry_run=True) == plan
    assert_same_content(artifactstore.open(store.url, cache=None), {"other": content(8)})


def test_older_snapshots_go_and_what_a_later_version_points_to_stays(tmp_path: Path):
    store = artifactstore.create(tmp_path / "s", cache=None)
    for index in range(3):
        store.put(b"%d" % index, "a")
        store.maintenance.snapshot()
    folds = sorted(keys(store, "segments/folds/"))
    assert len(folds) == 3
    backend = connect(store.url)
    for name in ("a" * 64, "b" * 64):
        backend.write(f"segments/folds/{name}.sqlite", b"x")
        path = tmp_path / "s" / f"segments/folds/{name}.sqlite"
        stamp = (datetime.now(UTC) - timedelta(days=2)).timestamp()
        os.utime(path, (stamp, stamp))
    backend.write(f"segments/next-1-{'b' * 64}.json", b"{}")
    done = store.maintenance.gc(grace=NO_GRACE)
    assert len(done.litter) == 5, done.litter
    left = keys(store, "segments/")
    assert f"segments/folds/{'b' * 64}.sqlite" in left
    assert f"segments/folds/{'a' * 64}.sqlite" not in left
    assert len(left) == 4
    again = artifactstore.open(store.url, cache=None)
    assert again.get("a") == b"2"
    assert again.verify(level="full").findings == []


def whole_key_of(one: str) -> str:
    return f"packs/{one[:2]}/{one}.pack"


def test_a_pack_that_two_artifacts_share_stays_until_both_go(store: Store):
    base = content(1, 3_000_000)
    store.put(base, "a")
    store.put(base + b"tail" * 20_000, "a")
    store.registry.remove("a:v1", "gone")
    done = store.maintenance.gc()
    assert len(done.manifests) == 1
    assert done.packs == ()
    assert store.get("a") == base + b"tail" * 20_000
    shared = store.maintenance.gc(dry_run=True)
    pack = next(key for key in keys(store, "packs/"))
    assert shared.why(pack).startswith("kept: pack ")
    assert "a:v2" in shared.why(pack)
    store.registry.remove("a:v2", "gone")
    assert len(store.maintenance.gc().packs) == 2
    assert keys(store, "packs/", "manifests/") == set()


def test_why_leads_from_a_pack_to_what_became_of_it(store: Store):
    store.put(content(1), "churn/raw")
    with store.run("train", code=False) as run:
        run.get("churn/raw")
        run.put(content(2), "churn/model")
    store.alias("churn/model:v1", "production")
    plan = store.maintenance.gc(dry_run=True)
    (pack, *_), manifest = sorted(keys(store, "packs/")), store.maintenance
    words = {plan.why(key) for key in keys(store, "packs/")}
    raw = next(one for one in words if "churn/raw:v1" in one)
    assert raw.startswith(f"kept: pack {raw.split()[2]} ← manifest ")
    assert "used by run train" in raw
    assert "that made churn/model:v1 <production>" in raw
    assert plan.why("churn/raw:v1") in raw.replace(f"pack {raw.split()[2]} ← ", "")
    assert plan.why(store.artifact("churn/raw").digest) == plan.why("churn/raw:v1")
    for nowhere in ("0" * 32, "churn/none", f"packs/00/{'0' * 32}.pack", "blake3:" + "0" * 64):
        with pytest.raises(NotFoundError):
            plan.why(nowhere)
    assert pack
    assert manifest


# -- orphans, by the store's own clock


@pytest.mark.parametrize(
    ("age", "grace", "goes"), [(0, 7, False), (6, 7, False), (8, 7, True), (8, 9, False), (0, 0, True), (-1, 7, False)]
)
def test_an_orphan_is_judged_by_the_clock_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int, grace: int, goes: Any
):
    store = artifactstore.create(tmp_path / "s", cache=None)
    store.put(content(1), "a")
    orphans = [f"packs/ab/ab{'0' * 30}.pack", f"manifests/cd/cd{'0' * 30}.parquet"]
    for key in orphans:
        path = tmp_path / "s" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        stamp = (datetime.now(UTC) - timedelta(days=age, seconds=1)).timestamp()
        os.utime(path, (stamp, stamp))
    dry = store.maintenance.gc(dry_run=True, grace=timedelta(days=grace))
    done = store.maintenance.gc(grace=timedelta(days=grace))
    assert (dry.packs, dry.manifests, dry.spared) == (done.packs, done.manifests, done.spared)
    assert (len(done.packs), len(done.manifests), done.spared) == ((1, 1, 0) if goes else (0, 0, 10))
    assert keys(store) & {*orphans} == (set() if goes else {*orphans})
    for key in orphans:
        assert done.why(key).startswith("dead: " if goes else "spared: ")
    assert not keys(store, "journal/inbox/"), "the object whose time was looked at is gone"
    assert_same_content(store, {"a": content(1)})


def test_what_has_no_time_is_spared(store: Store, monkeypatch: pytest.MonkeyPatch):
    connect(store.url).write(f"packs/ab/ab{'0' * 30}.pack", b"12345")
    real = MemoryBackend.list
    monkeypatch.setattr(MemoryBackend, "list", lambda self, prefix: (replace(one, modified=None) for one in real(self, prefix)))
    done = store.maintenance.gc(grace=NO_GRACE)
    assert (done.packs, done.spared) == ((), 5)


# -- litter


def test_temporary_files_stay_a_day_whatever_the_grace(tmp_path: Path):
    store = artifactstore.create(tmp_path / "s", cache=None)
    store.put(content(1), "a")
    ages = {f".tmp-{index:032x}": hours for index, hours in enumerate((0, 5, 23, 25, 24 * 6, 24 * 8))}
    for name, hours in ages.items():
        path = tmp_path / "s" / "packs" / name
        path.write_bytes(b"123")
        stamp = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
        os.utime(path, (stamp, stamp))
    for grace, oldest in ((timedelta(days=7), 24 * 7), (NO_GRACE, 24)):
        done = store.maintenance.gc(grace=grace)
        assert {path.name for path in (tmp_path / "s" / "packs").glob(".tmp-*")} == {
            name for name, hours in ages.items() if hours < oldest
        }
        assert all(done.why(key).startswith("dead: a temporary file") for key in done.litter)


def test_folders_of_the_inbox_go_when_their_window_has_passed(store: Store, monkeypatch: pytest.MonkeyPatch):
    from artifactstore.maintenance.gc import litter

    for index in range(40):
        store.put(b"%d" % index, "a")
    monkeypatch.setattr(litter, "WINDOW", 5)
    backend = connect(store.url)
    old, new = f"{inbox_folder(3)}{'a' * 32}-3.json", f"{inbox_folder(40)}{'b' * 32}-40.json"
    for key in (old, new, f"{inbox_folder(0)}clock-{'c' * 32}"):
        backend.write(key, b"x")
    done = store.maintenance.gc()
    assert set(done.litter) == {old, f"{inbox_folder(0)}clock-{'c' * 32}"}
    assert keys(store, "journal/inbox/") == {new}


def test_facts_of_large_transactions_are_never_deleted(store: Store):
    with store.batch():
        for index in range(4):
            store.put(b"%d" % index, f"n/{index}", metadata={"text": "x" * 400_000})
    for index in range(4):
        store.registry.remove(f"n/{index}:v1", "gone")
    before = keys(store, "facts/")
    assert before
    assert len(store.maintenance.gc(grace=NO_GRACE).manifests) == 4
    assert keys(store, "facts/") == before
    assert artifactstore.open(store.url, cache=None).verify(level="full").findings == []


# -- what stops it


def _unreadable_manifests() -> list[Callable[[bytes], bytes | None]]:
    return [
        lambda _raw: None,
        lambda _raw: b"",
        lambda _raw: b"garbage",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:50] + bytes([raw[50] ^ 1]) + raw[51:],
    ]


@pytest.mark.parametrize("damage", _unreadable_manifests())
@pytest.mark.parametrize("size", [10, 150_000])
def test_an_unreadable_manifest_that_stays_stops_it(store: Store, damage: Callable[[bytes], bytes | None], size: int):
    store.put(content(1, size), "kept")
    (key,) = keys(store, "manifests/")
    store.put(content(2), "a")
    store.registry.remove("a:v1", "gone")
    backend = connect(store.url)
    raw = damage(backend.read(key))
    backend.delete(key)
    if raw is not None:
        backend.write(key, raw)
    before = everything(store)
    for dry_run in (True, False):
        with pytest.raises(CorruptionError, match=r"nothing was condemned or deleted"):
            artifactstore.open(store.url, cache=None).maintenance.gc(dry_run=dry_run, grace=NO_GRACE)
        assert {k: v for k, v in everything(store).items() if not k.startswith("journal/inbox/")} == before


def test_a_missing_pack_that_stays_stops_it(store: Store):
    store.put(content(1), "kept")
    (key,) = keys(store, "packs/")
    store.put(content(2), "a")
    store.registry.remove("a:v1", "gone")
    connect(store.url).delete(key)
    before = everything(store)
    with pytest.raises(CorruptionError, match="kept:v1"):
        artifactstore.open(store.url, cache=None).maintenance.gc()
    assert everything(store) == before
    store.registry.remove("kept:v1", "it is lost")
    assert len(store.maintenance.gc().manifests) == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"garbage", None])
@pytest.mark.parametrize("cached", [False, True])
def test_a_damaged_journal_stops_it(tmp_path: Path, damage: bytes | None, cached: Any):
    options: dict[str, Any] = {"cache": tmp_path / "cache"} if cached else {"cache": None}
    store = artifactstore.create(tmp_path / "s", **options)
    for index in range(6):
        store.put(content(index, 100), f"n/{index}")
    store.registry.remove("n/3:v1", "gone")
    store.maintenance.gc(dry_run=True)
    path = tmp_path / "s" / entry_key(3)
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    before = everything(store)
    for again in (store, artifactstore.open(store.url, **options)):
        with pytest.raises(CorruptionError):
            again.maintenance.gc(grace=NO_GRACE)
    assert everything(store) == before


def _append(store: Store, facts: list[dict[str, Any]], form: int = 1) -> None:
    backend = connect(store.url)
    head = max(int(key.rpartition("/")[2].partition(".")[0]) for key in keys(store, "journal/0"))
    before = backend.read(entry_key(head))
    digest, time = Digest.of(before), json.loads(before)["time"]
    txn: dict[str, Any] = {"txn": f"{next(_count):032x}", "birth": head, "base": head, "adoptable": False, "actor": "x"}
    txn |= {"identity": "claimed", "host": "h", "tool": "t", "time": time, "facts": facts}
    raw = encode_entry(head + 1, digest, writer="0" * 32, time=time, txns=[txn], format=form)
    backend.create(entry_key(head + 1), raw)


def test_a_higher_format_stops_it_and_a_harmless_new_kind_does_not(store: Store):
    store.put(content(1), "a")
    store.registry.remove("a:v1", "gone")
    _append(store, [{"fact": "sung", "digest": "blake3:" + "0" * 64}])
    assert len(artifactstore.open(store.url, cache=None).maintenance.gc(dry_run=True).packs) == 1
    _append(store, [{"fact": "kept_for_ever", "digest": "blake3:" + "0" * 64}], form=99)
    before = everything(store)
    with pytest.raises(FormatError):
        artifactstore.open(store.url, cache=None).maintenance.gc()
    assert everything(store) == before


@pytest.mark.parametrize("what", ["manifests", "packs", "both"])
def test_a_false_condemnation_makes_no_clean_up_delete_what_is_needed(store: Store, what: str):
    store.put(content(1), "a")
    store.put(content(2), "gone")
    store.registry.remove("gone:v1", "old")
    (stored,) = (f for e in _entries(store)[:1] for t in e["txns"] for f in t["facts"] if f["fact"] == "stored")
    ids = {"manifests": [stored["manifest"]], "packs": stored["packs"]}
    _append(store, [{"fact": "condemned", **(ids if what == "both" else {"manifests": [], "packs": [], what: ids[what]})}])
    before = everything(store)
    for dry_run in (True, False):
        with pytest.raises(CorruptionError, match=r"000000000004.json condemns content that a:v1 needs"):
            artifactstore.open(store.url, cache=None).maintenance.gc(dry_run=dry_run, grace=NO_GRACE)
    assert everything(store) == before
    again = artifactstore.open(store.url, cache=None)
    again.registry.remove("a:v1", "lost")
    assert len(again.maintenance.gc(grace=NO_GRACE).packs) == 2
    again.put(content(1), "a")
    assert again.maintenance.gc(grace=NO_GRACE).packs == ()
    assert_same_content(artifactstore.open(store.url, cache=None), {"a": content(1)})


@pytest.mark.parametrize(
    "options",
    [
        {"grace": timedelta(seconds=-1)},
        {"grace": 7},
        {"grace": "7d"},
        {"grace": None},
        {"grace": False},
        {"grace": 0.5},
        {"dry_run": 1},
        {"dry_run": "yes"},
        {"reason": ""},
        {"reason": 5},
    ],
)
def test_bad_input_is_refused_before_anything_happens(store: Store, options: dict[str, Any]):
    _removed_version(store)
    before = everything(store)
    with pytest.raises(InvalidInputError):
        store.maintenance.gc(**options)
    assert everything(store) == before


@pytest.mark.parametrize("by", ["names", "", None, 3, ["name"]])
def test_usage_by_something_unknown_is_refused(store: Store, by: Any):
    store.put(b"1", "a")
    with pytest.raises(InvalidInputError):
        store.maintenance.usage(by)


def test_a_store_that_may_not_be_written_is_refused(tmp_path: Path):
    store = artifactstore.create(tmp_path / "s", cache=None)
    _removed_version(store)
    before = everything(store)
    readers = [artifactstore.open(store.url, "r", cache=None), store.at(1)]
    for reader in readers:
        with pytest.raises(RefusedError):
            reader.maintenance.gc()
    assert len(readers[0].maintenance.gc(dry_run=True).packs) == 1
    store.maintenance.sync(tmp_path / "copy")
    copy = artifactstore.open(tmp_path / "copy", cache=None)
    with pytest.raises(RefusedError, match="copy"):
        copy.maintenance.gc()
    assert len(copy.maintenance.gc(dry_run=True).manifests) == len(objects(str(tmp_path / "copy"), "manifests/"))
    with store.batch():
        with pytest.raises(RefusedError, match="batch"):
            store.maintenance.gc()
        store.put(b"2", "b")
    assert {key: raw for key, raw in everything(store).items() if key in before} == before
    store.maintenance.sync(tmp_path / "new", move=True)
    with pytest.raises(RefusedError, match="new"):
        artifactstore.open(store.url, cache=None).maintenance.gc()
    assert len(artifactstore.open(tmp_path / "new", cache=None).maintenance.gc().packs) == 1


def test_no_store_is_not_found(tmp_path: Path):
    with pytest.raises(NotFoundError):
        artifactstore.open(tmp_path / "none", cache=None).maintenance.gc()
    assert not (tmp_path / "none").exists()


# -- usage


def test_usage_counts_what_only_one_needs_and_what_others_share(store: Store):
    base = content(1, 3_000_000)
    store.put(base, "a")
    store.put(base + content(2, 200_000), "a")
    with store.run("r", code=False) as run:
        run.put(content(3), "c", kind="model")
    store.put(content(4))
    rows = {row.what: row for row in store.maintenance.usage()}
    assert {"a", "c", ""} <= {*rows}
    assert (rows["a"].versions, rows["a"].size, rows["a"].shared) == (2, 6_200_000, 0)
    assert 3_200_000 <= rows["a"].unique < 3_300_000
    assert (rows["c"].unique, rows["c"].shared) == (150_000, 0)
    versions = {row.what: row for row in store.maintenance.usage("version")}
    one, two = versions["a:v1"], versions["a:v2"]
    assert one.shared == two.shared > 2_800_000
    assert one.unique + one.shared == 3_000_000
    kinds = {row.what: row for row in store.maintenance.usage("kind")}
    assert kinds["model"].unique == 150_000
    assert {row.what: row for row in store.maintenance.usage("run")}[run.id].unique >= 150_000
    assert all(row.external == 0 for row in rows.values())


def test_usage_counts_what_one_digest_takes_under_two_names_as_shared(store: Store):
    store.put(content(1), "a")
    store.put(content(1), "b")
    rows = store.maintenance.usage()
    assert [(row.what, row.unique, row.shared) for row in rows] == [("a", 0, 150_000), ("b", 0, 150_000)]


# -- the clock of this machine plays no part


def test_the_local_clock_plays_no_part(store: Store, monkeypatch: pytest.MonkeyPatch):
    connect(store.url).write(f"packs/ab/ab{'0' * 30}.pack", b"12345")
    assert "now(" not in Path(execute.__file__).read_text().replace("_now(", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.maintenance.gc().packs == ()


def test_a_fork_frees_nothing_of_its_origin(tmp_path: Path):
    store = artifactstore.create(tmp_path / "s", cache=None)
    _removed_version(store)
    before = everything(store)
    core = store._session.core()
    fork = ScratchStore(tmp_path / "scratch", store.url, core.config.store, core.journal.catch_up(), {})
    session = Session(store.url, cache=None, fork=fork)
    for dry_run in (True, False):
        with pytest.raises(RefusedError, match="fork"):
            Maintenance(session).gc(dry_run=dry_run)
    assert everything(store) == before


def test_another_clean_up_in_the_middle_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch):
    """What was listed, or is about to be read, may be gone a moment later because another one has condemned it."""
    store.put(content(1), "a")
    store.put(content(2), "b")
    store.put(content(3), "gone")
    store.registry.remove("gone:v1", "old")
    real = vars(execute)["check_kept"]
    done: list[int] = []

    def check_kept(*args: Any) -> None:
        if not done:
            done.append(1)
            other = artifactstore.open(store.url, cache=None)
            other.registry.remove("b:v1", "gone")
            other.maintenance.gc(grace=NO_GRACE)
        real(*args)

    monkeypatch.setattr(execute, "check_kept", check_kept)
    store.maintenance.gc(grace=NO_GRACE)
    assert_same_content(artifactstore.open(store.url, cache=None), {"a": content(1)})
    assert len(keys(store, "manifests/")) == 1
