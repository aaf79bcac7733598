"""Imports: one store takes another's content and history in, and its own word stands above what it is told."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import (
    ConflictError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
)
from artifactstore.backend.connect import connect
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import read_records
from artifactstore.content.transfer import transfer as real_transfer
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from artifactstore.work.put.known_content import store_manifest
from artifactstore.work.sync import import_store
from tests.work.falsified import append

from .facts import clean_up, live, removed, run, state_of, tell
from .killed import sync_killed
from .places import entries, fill, objects

RANDOM = random.Random(7)
BIG = RANDOM.randbytes(400_000)
LARGE = b"".join(b"%d,%d\n" % (i, RANDOM.randrange(1000)) for i in range(60_000))


@pytest.fixture
def source(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "source", cache=None)


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "target", cache=None)


def history(store: Store, name: str) -> list[tuple[Any, ...]]:
    return [(one.digest, one.actor, one.time, one.reason, one.kind, one.metadata, one.removed) for one in store.versions(name)]


def moves(store: Store, name: str) -> dict[str, list[Any]]:
    found = state_of(store).aliases.get(name, {})
    return {
        alias: [(one["version"], one["actor"], one["time"], one.get("reason")) for one in all_] for alias, all_ in found.items()
    }


def assert_same(a: Store, b: Store, *names: str) -> None:
    for name in names or [one.name for one in a.names()]:
        assert history(a, name) == history(b, name)
        assert moves(a, name) == moves(b, name)
    assert_whole(b)


def assert_whole(store: Store) -> None:
    state = state_of(store)
    for digest in live(state):
        assert state.alive(digest), digest
    assert store.verify(level="full").findings == []


def reopened(store: Store) -> Store:
    return artifactstore.open(store.url, cache=None)


# -- what comes


def test_content_and_history_come_by_their_own_actor_at_their_own_time(source, target, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "ann")
    source = reopened(source)
    source.put(BIG, "churn/model", kind="model", metadata={"depth": 3}, metrics={"auc": 0.9}, reason="first")
    source.put(BIG + b"x", "churn/model", reason="second")
    source.put(BIG + b"x", "churn/model", metadata={"depth": 4})
    source.alias("churn/model:v1", "production", reason="CR-1")
    source.put({"no": "name"})
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "bob")
    done = source.maintenance.sync(target.url, reason="quarterly")
    assert (done.kind, done.versions, done.artifacts, done.left_out) == ("import", 2, 3, [])
    target = reopened(target)
    assert_same(source, target)
    assert target.get("churn/model:production") == BIG
    assert dict(target.versions("churn/model")[0].metrics) == {"auc": 0.9}
    one = target.versions("churn/model")[0]
    assert one.actor == "ann"
    store = source._session.core().config.store
    assert one.origin == f"{store}:1"
    assert state_of(target).unnamed == {} or all(row["from"] == store for row in state_of(target).unnamed.values())
    told = target.log(name="churn/model")
    assert [(event.fact, event.actor, event.origin) for event in told] == [
        ("versioned", "ann", f"{store}:1"),
        ("versioned", "ann", f"{store}:2"),
        ("described", "ann", f"{store}:3"),
        ("aliased", "ann", f"{store}:4"),
    ]
    (first, *_) = target.log(fact="received")
    assert (first.actor, first.reason, first.origin) == ("bob", "quarterly", None)
    assert first.fields["entry"] == str(source._session.core().journal.digest) or first.fields["seq"] == 1


def test_a_received_fact_names_the_entry_that_anybody_can_check(source, target):
    from artifactstore.model.digest import Digest

    source.put(b"one", "n")
    source.put(b"two", "n")
    source.maintenance.sync(target.url)
    for event in reopened(target).log(fact="received"):
        seq = event.fields["seq"]
        raw = connect(source.url).read(f"journal/000000000/{seq:012d}.json")
        assert str(Digest.of(raw)) == event.fields["entry"]


def test_only_missing_chunks_move_and_frames_stay_as_they_are(source, target):
    edited = LARGE[:100_000] + BIG[:60_000] + LARGE[100_000:]
    target.put(LARGE, "own")
    source.put(edited, "theirs", kind="data")
    source.put(edited + b"more", "theirs")
    before = {key: len(raw) for key, raw in objects(target.url, "packs/").items()}
    done = source.maintenance.sync(target.url)
    new = {key: raw for key, raw in objects(target.url, "packs/").items() if key not in before}
    assert 60_000 < sum(map(len, new.values())) < 160_000  # of the 690,000 bytes that the source holds
    assert done.bytes < 200_000
    frames = {}
    for raw in objects(source.url, "packs/").values():
        for frame in read_records(raw, len(raw), "pack"):
            frames[frame.digest] = raw[frame.offset : frame.offset + frame.stored]
    moved = [(frame, raw) for raw in new.values() for frame in read_records(raw, len(raw), "pack")]
    assert moved
    for frame, raw in moved:
        assert raw[frame.offset : frame.offset + frame.stored] == frames[frame.digest]
    assert_same(source, reopened(target), "theirs")


def test_folders_links_and_modes_come_as_they_are(source, target, tmp_path):
    folder = tmp_path / "folder"
    (folder / "empty").mkdir(parents=True)
    (folder / "big.bin").write_bytes(BIG)
    (folder / "none").write_bytes(b"")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("big.bin")
    for i in range(300):
        (folder / f"{i}.txt").write_text(f"{i}")
    made = source.put(folder, "code", kind="code")
    source.maintenance.sync(target.url)
    target = reopened(target)
    assert target.artifact("code").digest == made.digest
    target.get("code", tmp_path / "back")
    assert (tmp_path / "back/link").readlink() == Path("big.bin")
    assert (tmp_path / "back/run.sh").stat().st_mode & 0o100
    assert_same(source, target)


def test_the_second_import_moves_and_appends_nothing(source, target):
    fill(source.url)
    source.maintenance.sync(target.url)
    before = objects(target.url)
    done = source.maintenance.sync(target.url)
    assert (done.objects, done.bytes, done.entries, done.artifacts, done.versions) == (0, 0, 0, 0, 0)
    assert (done.left_out, done.renamed) == ([], {})
    assert objects(target.url) == before
    assert_same(source, reopened(target))


def test_a_name_that_grew_brings_its_new_versions_alone(source, target):
    source.put(b"one", "n")
    source.put(b"two", "n")
    source.maintenance.sync(target.url)
    source.put(b"three", "n", metrics={"m": 3})
    source.put(b"one", "n")
    source.alias("n:v4", "best")
    target.put(b"in between", "own")
    done = source.maintenance.sync(target.url)
    assert (done.versions, done.artifacts, done.entries) == (2, 1, 1)
    assert_same(source, reopened(target), "n")


def test_a_dry_run_counts_and_writes_nothing(source, target, tmp_path):
    fill(source.url)
    before = objects(target.url)
    planned = source.maintenance.sync(target.url, dry_run=True)
    assert objects(target.url) == before
    done = source.maintenance.sync(target.url)
    assert (planned.versions, planned.artifacts, planned.entries) == (done.versions, done.artifacts, done.entries)
    assert planned.dry_run
    assert 0 < planned.bytes <= done.bytes
    fresh = source.maintenance.sync(tmp_path / "nothing", names=["aba"], dry_run=True)
    assert fresh.versions == 3
    assert not (tmp_path / "nothing").exists()


def test_a_large_history_comes_in_transactions_that_readers_can_hold(source, target):
    for i in range(7):
        with source.batch():
            for k in range(3):
                source.put(b"%d %d" % (i, k), f"n/{k}", metadata={"text": "x" * 100_000})
    source.maintenance.sync(target.url)
    assert len(entries(target.url)) > 1
    assert all(len(raw) < 4 * 2**20 for raw in entries(target.url).values())
    assert_same(source, reopened(target))


def test_the_facts_of_one_huge_transaction_come_together(source, target):
    fill(source.url)  # with facts that lie beside their entry
    assert objects(source.url, "facts/")
    source.maintenance.sync(target.url)
    assert objects(target.url, "facts/")
    assert_same(source, reopened(target))


# -- a selection


def test_a_selection_brings_its_names_their_marks_and_the_runs_that_made_them(source, target):
    raw, model, other = (
        source.put(data, name).digest for data, name in ((b"raw", "raw"), (b"model", "churn/model"), (b"o", "other"))
    )
    tell(source, *run("r1", [raw], [model]))
    tell(source, *run("r2", [model], [other]))
    tell(source, {"fact": "tainted", "digest": other})
    tell(source, {"fact": "tainted", "digest": model})
    tell(source, {"fact": "measured", "digest": model, "metrics": {"auc": 0.5}, "by": "r1"})
    source.put({"unnamed": True})
    done = source.maintenance.sync(target.url, names=["churn/*"])
    assert done.versions == 1
    assert done.left_out == []
    state = state_of(reopened(target))
    assert [*state.names] == ["churn/model"]
    assert [*state.runs] == ["r1"]
    assert (state.produced_by, state.used_by_runs) == ({model: ["r1"]}, {raw: ["r1"]})
    assert (state.runs["r1"]["status"], state.metrics["run:r1"]) == ("finished", {"loss": 0.5})
    assert [*state.tainted] == [model]
    assert state.metrics[model] == {"auc": 0.5}
    assert not state.unnamed
    assert not state.alive(raw)
    # Later all of it: what was left out then comes now, and nothing twice.
    source.maintenance.sync(target.url)
    full = state_of(reopened(target))
    there = state_of(source)
    assert (full.produced_by, full.used_by_runs, full.metrics) == (there.produced_by, there.used_by_runs, there.metrics)
    assert {*full.tainted} == {*there.tainted}
    assert {*full.unnamed} == {*there.unnamed}
    assert_same(source, reopened(target))
    assert source.maintenance.sync(target.url).entries == 0


def test_a_selection_makes_a_new_store_in_an_empty_place(source, tmp_path):
    fill(source.url)
    done = source.maintenance.sync(tmp_path / "new", names=["aba", "name/*"])
    assert done.kind == "import"
    made = artifactstore.open(tmp_path / "new", cache=None)
    assert [one.name for one in made.names()] == ["aba", "name/0", "name/1"]
    assert_same(source, made, "aba", "name/0", "name/1")
    made.put(b"mine", "own")
    assert source.maintenance.sync(tmp_path / "new", names=["aba"]).entries == 0


# -- what can't stand


def test_a_name_with_another_history_is_left_out_or_comes_under_another_name(source, target):
    source.put(b"theirs", "n")
    source.put(b"theirs too", "n")
    source.put(b"free", "m")
    target.put(b"ours", "n")
    done = source.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["n"]
    assert "n:v1 is a different artifact" in done.left_out[0].why
    assert "n.from-" in done.left_out[0].why
    assert len(reopened(target).versions("n")) == 1
    assert_same(source, reopened(target), "m")
    label = source._session.core().config.store[:8]
    done = source.maintenance.sync(target.url, on_conflict="rename")
    assert done.renamed == {"n": f"n.from-{label}"}
    assert done.left_out == []
    assert history(reopened(target), f"n.from-{label}") == history(source, "n")
    # From then on it goes on under that name, whatever is said.
    source.put(b"theirs three", "n")
    source.alias("n:v3", "best")
    done = source.maintenance.sync(target.url)
    assert (done.versions, done.renamed, done.left_out) == (1, {"n": f"n.from-{label}"}, [])
    assert history(reopened(target), f"n.from-{label}") == history(source, "n")
    assert moves(reopened(target), f"n.from-{label}") == moves(source, "n")
    assert source.maintenance.sync(target.url, on_conflict="rename").entries == 0


def test_a_name_that_went_on_here_after_an_import_is_left_out_from_then_on(source, target):
    source.put(b"one", "n")
    source.maintenance.sync(target.url)
    reopened(target).put(b"ours", "n")
    assert source.maintenance.sync(target.url).left_out == []  # theirs is the beginning of ours
    source.put(b"theirs", "n")
    done = source.maintenance.sync(target.url, on_conflict="rename", label="dev")
    assert done.renamed == {"n": "n.from-dev"}
    assert [one.digest for one in reopened(target).versions("n.from-dev")] == [one.digest for one in source.versions("n")]
    assert_whole(reopened(target))


def test_a_taken_label_is_said(source, target):
    for store, data in ((source, b"theirs"), (target, b"ours")):
        store.put(data, "n")
    target.put(b"ours", "n.from-dev")
    (left,) = source.maintenance.sync(target.url, on_conflict="rename", label="dev").left_out
    assert "choose another label" in left.why
    source.put(b"a", "x" * 195)
    target.put(b"b", "x" * 195)
    done = source.maintenance.sync(target.url, on_conflict="rename", label="other")
    assert [one.what for one in done.left_out] == ["x" * 195]
    assert "200 bytes" in done.left_out[0].why


def test_names_that_meet_under_one_new_name_do_not_mix(source, target):
    source.put(b"theirs", "n")
    source.put(b"of that very name", "n.from-dev")
    target.put(b"ours", "n")
    done = source.maintenance.sync(target.url, on_conflict="rename", label="dev")
    assert done.renamed == {"n": "n.from-dev", "n.from-dev": "n.from-dev.from-dev"}
    assert reopened(target).get("n.from-dev") == b"theirs"
    assert reopened(target).get("n.from-dev.from-dev") == b"of that very name"
    assert source.maintenance.sync(target.url).entries == 0


def test_an_alias_that_was_moved_here_stays_and_is_told(source, target):
    source.put(b"one", "n")
    source.put(b"two", "n")
    source.maintenance.sync(target.url)
    mine = reopened(target)
    mine.alias("n:v1", "production", reason="ours")
    mine.alias("n:v1", "only-here")
    source.alias("n:v2", "production")
    source.alias("n:v2", "best")
    done = source.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["n:production"]
    mine = reopened(target)
    assert (mine.artifact("n:production").version, mine.artifact("n:best").version) == (1, 2)
    assert mine.artifact("n:only-here").version == 1


def test_versions_that_both_have_are_one(source, target):
    for store in (source, target):
        store.put(b"the same", "n", metadata={"by": store.url})
    source.put(b"more", "n")
    done = source.maintenance.sync(target.url)
    assert (done.versions, done.left_out) == (1, [])
    mine = reopened(target)
    assert [one.origin is None for one in mine.versions("n")] == [True, False]
    assert mine.versions("n")[0].metadata == {"by": target.url}


def test_a_run_of_the_same_id_is_left_out_or_renamed(source, target):
    a, b = source.put(b"a", "a").digest, target.put(b"b", "b").digest
    tell(source, *run("nightly", [], [a], claimed=True))
    tell(target, *run("nightly", [], [b], claimed=True))
    done = source.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["run nightly"]
    assert state_of(reopened(target)).produced_by == {b: ["nightly"]}
    source.maintenance.sync(target.url, on_conflict="rename", label="dev")
    state = state_of(reopened(target))
    assert state.produced_by == {b: ["nightly"], a: ["nightly.from-dev"]}
    assert state.runs["nightly.from-dev"]["status"] == "finished"
    assert source.maintenance.sync(target.url).entries == 0


# -- what ends


def test_what_was_removed_and_cleaned_up_there_comes_as_removed(source, target):
    source.put(b"kept", "n")
    source.put(BIG, "n")
    source.put(b"newest", "n")
    tell(source, removed("n", 2), reason="by law")
    clean_up(source)
    done = source.maintenance.sync(target.url)
    assert (done.versions, done.artifacts) == (3, 2)
    mine = reopened(target)
    assert history(mine, "n") == history(source, "n")
    with pytest.raises(NotFoundError, match="by law"):
        mine.get("n:v2")
    assert_whole(mine)


def test_what_is_removed_there_later_is_removed_here_and_its_content_stays_until_clean_up_here(source, target):
    source.put(BIG, "n")
    source.put(b"newest", "n")
    source.maintenance.sync(target.url)
    before = {key for key in objects(target.url) if not key.startswith("journal/")}
    tell(source, {"fact": "removed", "digest": source.versions("n")[0].digest})
    clean_up(source)
    assert source.maintenance.sync(target.url).entries == 1
    mine = reopened(target)
    assert [one.removed for one in mine.versions("n")] == [True, False]
    assert before <= set(objects(target.url))
    assert state_of(mine).condemned_packs == {}
    clean_up(mine)
    assert_whole(mine)
    # And what comes back there comes back here.
    source.put(BIG, "n")
    assert source.maintenance.sync(target.url).artifacts == 1
    assert_same(source, reopened(target), "n")


def test_a_removal_elsewhere_does_not_touch_what_was_put_here(source, target):
    for store in (source, target):
        store.put(b"shared", "n")
    target.put(b"shared", "own")
    source.put(b"next", "n")
    tell(source, {"fact": "removed", "digest": source.versions("n")[0].digest})
    done = source.maintenance.sync(target.url)
    assert [(one.what, "is kept" in one.why) for one in done.left_out] == [("n:v1", True)]
    mine = reopened(target)
    assert mine.get("n:v1") == mine.get("own") == b"shared"
    assert mine.get("n:v2") == b"next"


@pytest.mark.parametrize("at_once", [False, True])
def test_a_removal_of_what_retention_keeps_here_stops_its_name_until_its_time(source, target, at_once):
    target.registry.retention({"names": "n*", "at_least_days": 30}, reason="procedure 9")
    digest = source.put(b"one", "n").digest
    if not at_once:
        source.maintenance.sync(target.url)
    source.put(b"one", "again")  # so that its content comes, although its version is removed
    tell(source, removed("n", 1))
    source.put(b"two", "n")
    source.put(b"free", "m")
    done = source.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["n"]
    assert "must be kept for 30 days here" in done.left_out[0].why
    mine = reopened(target)
    assert mine.get("n:v1") == b"one"
    assert mine.get("m") == b"free"
    assert mine.verify(level="full").ok
    mine.registry.retention({"names": "n*", "at_least_days": 0}, reason="procedure 10")
    assert not source.maintenance.sync(target.url).left_out
    again = reopened(target)
    assert not [one for one in again.versions("n") if one.digest == digest and not one.removed]
    assert history(source, "n") == history(again, "n")


def test_another_stores_removal_has_no_effect_before_retention_allows_it(source, target):
    digest = source.put(b"one", "n").digest
    source.maintenance.sync(target.url)
    mine = reopened(target)
    mine.registry.retention({"names": "n", "at_least_days": 30}, reason="procedure 9")
    forged = {
        "fact": "received",
        "store": source._session.core().config.store,
        "seq": 99,
        "entry": digest,
        "time": "2026-01-01T00:00:00.000000Z",
    }
    forged |= {"txn": "a" * 32, "actor": "eve", "identity": "claimed", "host": "h", "tool": "t"}
    with pytest.raises(RuntimeError, match="retained"):
        append(mine, [{**forged, "facts": [{"fact": "removed", "name": "n", "version": 1, "digest": digest}]}])
    assert reopened(target).get("n") == b"one"


def test_a_removal_of_what_is_held_here_stops_its_name_until_the_hold_ends(source, target):
    digest = source.put(b"one", "n").digest
    source.maintenance.sync(target.url)
    hold = {"fact": "held", "hold": "a" * 32, "digest": digest}
    tell(reopened(target), hold)
    tell(source, removed("n", 1))
    source.put(b"two", "n")
    source.put(b"free", "m")
    done = source.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["n"]
    assert "under a hold here" in done.left_out[0].why
    assert len(reopened(target).versions("n")) == 1
    assert_same(source, reopened(target), "m")
    tell(reopened(target), {"fact": "released", "hold": "a" * 32})
    assert source.maintenance.sync(target.url).left_out == []
    assert_same(source, reopened(target), "n")


def test_holds_come_while_they_stand(source, target):
    digest = source.put(b"one", "n").digest
    gone = source.put(b"two", "n").digest
    tell(source, {"fact": "held", "hold": "a" * 32, "digest": digest})
    tell(source, {"fact": "held", "hold": "b" * 32, "digest": gone})
    tell(source, {"fact": "released", "hold": "b" * 32})
    tell(source, removed("n", 2))
    clean_up(source)
    source.maintenance.sync(target.url)
    mine = reopened(target)
    assert {hold: row["digest"] for hold, row in state_of(mine).holds.items()} == {f"received/{'a' * 32}": digest}
    assert_whole(mine)
    tell(source, {"fact": "released", "hold": "a" * 32})
    source.maintenance.sync(target.url)
    assert state_of(reopened(target)).holds == {}
    assert source.maintenance.sync(target.url).entries == 0


def test_a_hold_that_ended_there_does_not_stop_the_removal_behind_it(source, target):
    digest = source.put(b"one", "n").digest
    tell(source, {"fact": "held", "hold": "a" * 32, "digest": digest})
    source.maintenance.sync(target.url)
    tell(source, {"fact": "released", "hold": "a" * 32})
    tell(source, removed("n", 1))
    assert source.maintenance.sync(target.url).left_out == []
    assert_same(source, reopened(target))


def test_void_transactions_are_not_received(source, target):
    one = source.put(b"one", "n")
    core = source._session.core()
    from artifactstore.journal.chain import encode_entry, entry_key

    head = core.journal.catch_up()
    origin = {"actor": "eve", "identity": "os", "host": "h", "tool": "t", "time": "2026-01-01T00:00:00.000000Z"}
    fact = {"fact": "versioned", "name": "void", "digest": f"blake3:{'0' * 64}", "kind": "data"}
    measured = {"fact": "measured", "digest": one.digest, "metrics": {"loss": 0.5}}  # all or nothing
    txn = {"txn": "e" * 32, "birth": head, "base": head, "adoptable": True, **origin, "facts": [fact, measured]}
    raw = encode_entry(head + 1, core.journal.digest, writer="0" * 32, time=core.journal.fold.header["time"], txns=[txn])
    source._session.backend.create(entry_key(head + 1), raw)
    source = reopened(source)
    assert source.log()[-1].outcome.startswith("void")
    assert source.maintenance.sync(target.url).versions == 1
    assert [one.name for one in reopened(target).names()] == ["n"]
    assert reopened(target).artifact("n").metrics == {}


# -- three stores


def test_what_was_received_is_passed_on_under_its_first_voice(source, target, tmp_path):
    source.put(b"one", "n", reason="at the source")
    source.maintenance.sync(target.url)
    middle = reopened(target)
    middle.put(b"two", "n", reason="in the middle")
    end = artifactstore.create(tmp_path / "end", cache=None)
    middle.maintenance.sync(end.url)
    end = reopened(end)
    first, second = (store._session.core().config.store for store in (source, middle))
    assert [(one.origin or "").partition(":")[0] for one in end.versions("n")] == [first, second]
    assert [one.reason for one in end.versions("n")] == ["at the source", "in the middle"]
    told = end.log(fact="received")
    assert [via["store"] for via in told[0].fields["via"]] == [second]
    assert "via" not in told[1].fields
    # What the first store says directly is not taken in twice, and goes on from where it was.
    assert source.maintenance.sync(end.url).entries == 0
    assert middle.maintenance.sync(end.url).entries == 0


def test_an_import_back_brings_what_is_new_and_nothing_of_its_own(source, target):
    source.put(b"one", "n", metrics={"m": 1})
    source.put(b"unnamed")
    tell(source, *run("r", [], [source.artifact("n").digest]))
    source.maintenance.sync(target.url)
    middle = reopened(target)
    middle.put(b"two", "n")
    done = middle.maintenance.sync(source.url)
    assert (done.versions, done.artifacts, done.left_out) == (1, 1, [])
    home = reopened(source)
    assert [one.origin is None for one in home.versions("n")] == [True, False]
    assert [event.fact for event in home.log() if event.origin] == ["versioned"]
    assert all("from" not in row for row in state_of(home).unnamed.values())
    assert home.maintenance.sync(target.url).entries == 0


def test_a_fork_of_an_own_name_comes_back_under_another_name(source, target):
    source.put(b"one", "n")
    source.maintenance.sync(target.url)
    middle = reopened(target)
    middle.put(b"theirs", "n")
    source.put(b"ours", "n")
    home = reopened(source)
    done = middle.maintenance.sync(home.url, on_conflict="rename", label="back")
    assert done.renamed == {"n": "n.from-back"}
    home = reopened(source)
    assert [home.get(f"n.from-back:v{k}") for k in (1, 2)] == [b"one", b"theirs"]
    assert middle.maintenance.sync(home.url).entries == 0
    assert_whole(home)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_stores_that_import_from_each_other_at_random_stay_whole(seed, tmp_path):
    dice = random.Random(seed)
    urls = [f"memory://{tmp_path.name}-{seed}-{k}" for k in range(3)]
    stores = [artifactstore.create(url, cache=None) for url in urls]
    words = [b"a", b"b", BIG[:70_000], BIG[:90_000]]
    for _ in range(45):
        one, other = dice.sample(stores, 2)
        act = dice.choice(
            ["put", "put", "put", "alias", "remove", "remove", "clean", "hold", "mark", "run", "sync", "sync", "sync"]
        )
        _act(act, one, dice, words)
        if act == "sync":
            _sync_and_check(one, other, dice)
    for store in stores:
        assert_whole(store)


def _act(act: str, store: Store, dice: random.Random, words: list[bytes]) -> None:
    state = state_of(store)
    rows = [(name, k, row) for name, all_ in state.names.items() for k, row in enumerate(all_, 1) if "removed" not in row]
    if act == "put":
        store.put(dice.choice(words), dice.choice(["x", "y", "z", None]), metrics={"m": dice.random()})
    elif act == "clean":
        clean_up(store)
    elif not rows or act == "sync":
        return
    name, k, row = dice.choice(rows) if rows else ("", 0, {})
    try:
        if act == "alias":
            store.alias(f"{name}:v{k}", dice.choice(["best", "new"]))
        elif act == "remove":
            tell(store, dice.choice([removed(name, k), {"fact": "removed", "digest": row["digest"]}]))
        elif act == "hold":
            own = [hold for hold in state.holds if "/" not in hold]
            release = {"fact": "released", "hold": dice.choice(own)} if own else None
            tell(store, release or {"fact": "held", "hold": f"{dice.getrandbits(128):032x}", "digest": row["digest"]})
        elif act == "mark":
            tell(store, {"fact": dice.choice(["tainted", "cleared"]), "digest": row["digest"]})
        elif act == "run":
            tell(store, *run(f"{dice.getrandbits(30)}", [dice.choice(rows)[2]["digest"]], [row["digest"]]))
    except Exception as error:
        if "held" not in str(error):
            raise


def _sync_and_check(source: Store, target: Store, dice: random.Random) -> None:
    names = dice.choice([None, None, ["x"], ["[xy]*"]])
    if names is not None and not any(one.name.startswith(("x", "y") if len(names[0]) > 1 else "x") for one in source.names()):
        names = None
    before = {one.name: [row["digest"] for row in state_of(target).names[one.name]] for one in target.names()}
    options: dict[str, Any] = {"names": names, "on_conflict": dice.choice(["leave", "rename"]), "label": "l"}
    done = source.maintenance.sync(target, **options)
    assert_whole(target)
    left = {one.what.partition(":")[0] for one in done.left_out}
    here, there = state_of(target), state_of(source)
    for name, digests in before.items():
        assert [row["digest"] for row in here.names[name]][: len(digests)] == digests
    for name, rows in there.names.items():
        mine = done.renamed.get(name, name)
        if mine in left or name in left or (names is not None and not ImportFilter(tuple(names)).wants(name)):
            continue
        pairs = list(zip(rows, here.names[mine], strict=False))
        assert len(pairs) == len(rows)
        for theirs, ours in pairs:
            assert ours["digest"] == theirs["digest"]
            told = "removed" in theirs and not theirs["removed"].get("gone")
            assert not told or "removed" in ours or "from" not in ours, (name, theirs, ours)
    again = source.maintenance.sync(target, **options)
    for _ in range(2 if done.left_out else 0):  # what was held when its removal came, and is no more at the end
        again = source.maintenance.sync(target, **options)
    assert (again.entries, again.objects) == (0, 0), again


# -- while others write


def _at_the_first_transfer(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    todo = [act]

    def transfer(*args: Any, **kwargs: Any) -> Any:
        found = real_transfer(*args, **kwargs)
        if todo:
            todo.pop()()
        return found

    monkeypatch.setattr("artifactstore.work.sync.import_store.transfer", transfer)


def test_a_put_under_the_same_name_meanwhile_makes_a_new_plan(source, target, monkeypatch):
    source.put(b"theirs", "n")
    source.put(b"free", "m")
    _at_the_first_transfer(monkeypatch, lambda: reopened(target).put(b"ours", "n"))
    done = source.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["n"]
    mine = reopened(target)
    assert (mine.get("n:v1"), mine.get("m")) == (b"ours", b"free")
    assert len(mine.versions("n")) == 1


def test_a_put_under_another_name_meanwhile_disturbs_nothing(source, target, monkeypatch):
    source.put(b"theirs", "n")
    _at_the_first_transfer(monkeypatch, lambda: reopened(target).put(b"ours", "own"))
    assert source.maintenance.sync(target.url).versions == 1
    assert len(entries(target.url)) == 2


def test_the_same_import_by_two_at_once_counts_once(source, target, monkeypatch):
    source.put(BIG, "n", metrics={"m": 1})
    source.put(b"", "n")
    _at_the_first_transfer(monkeypatch, lambda: reopened(source).maintenance.sync(target.url))
    done = source.maintenance.sync(target.url)
    assert (done.versions, done.left_out) == (0, [])
    assert_same(source, reopened(target))


def test_clean_up_here_that_takes_what_was_brought_makes_it_come_again(source, target, monkeypatch):
    source.put(BIG, "n")

    def condemn() -> None:
        mine = reopened(target)
        packs = [key.rpartition("/")[2].removesuffix(".pack") for key in objects(target.url, "packs/")]
        tell(mine, {"fact": "condemned", "manifests": [], "packs": packs})
        for key in objects(target.url, "packs/"):
            connect(target.url).delete(key)

    _at_the_first_transfer(monkeypatch, condemn)
    assert source.maintenance.sync(target.url).versions == 1
    assert_same(source, reopened(target))


def test_clean_up_here_that_takes_what_was_counted_on_makes_it_come_again(source, target, monkeypatch):
    source.put(BIG, "n")
    source.put(b"other", "m")
    target.put(BIG, "old")
    tell(target, removed("old", 1))
    _at_the_first_transfer(monkeypatch, lambda: clean_up(reopened(target)))
    assert source.maintenance.sync(target.url).artifacts == 2
    assert_same(source, reopened(target), "n", "m")


def test_clean_up_there_meanwhile_makes_a_new_plan(source, target, monkeypatch):
    source.put(b"first", "m")
    source.put(BIG, "n")

    def clean() -> None:
        tell(reopened(source), removed("n", 1))
        clean_up(reopened(source))

    _at_the_first_transfer(monkeypatch, clean)
    done = source.maintenance.sync(target.url)
    assert done.left_out == []
    assert_same(reopened(source), reopened(target))


def test_a_source_that_was_put_back_from_a_copy_is_not_believed_twice(source, target, tmp_path):
    import shutil

    source.put(b"one", "n")
    shutil.copytree(source.url, tmp_path / "copy")
    source.put(b"two", "n")
    source.maintenance.sync(target.url)
    shutil.rmtree(source.url)
    shutil.copytree(tmp_path / "copy", source.url)
    back = reopened(source)
    back.put(b"another two", "n")
    back.put(b"first", "m")
    done = back.maintenance.sync(target.url)
    assert [one.what for one in done.left_out] == ["n"]
    assert reopened(target).get("n:v2") == b"two"


# -- damage and kills


def test_a_damaged_source_stops_the_import_and_what_came_before_stays(source, target, monkeypatch):
    monkeypatch.setattr(import_store, "_ARTIFACTS", 1)
    source.put(b"first", "m")
    source.put(BIG, "n")
    source.put(b"last", "o")
    (victim,) = objects(source.url, "packs/")
    raw = bytearray(connect(source.url).read(victim))
    raw[1000] ^= 1
    connect(source.url).write(victim, bytes(raw))
    with pytest.raises(CorruptionError, match="packs/"):
        source.maintenance.sync(target.url)
    assert [one.name for one in reopened(target).names()] == ["m"]
    assert_whole(reopened(target))
    raw[1000] ^= 1
    connect(source.url).write(victim, bytes(raw))
    source.maintenance.sync(target.url)
    assert_same(source, reopened(target))


def test_chunks_that_do_not_give_their_file_are_not_taken_in(source, target):
    good = source.put(LARGE, "good")
    forged = copy.deepcopy(source._session.with_manifest(good.digest, lambda manifest: manifest))
    assert len(forged.chunks) > 3
    forged.digests[0] = bytes(32)
    content, digest = forged.identify()
    stored, _ = store_manifest(source._session, forged, content, digest)
    tell(source, stored, {"fact": "versioned", "name": "forged", "digest": str(digest), "kind": "data"})
    with pytest.raises(CorruptionError, match="do not match its digest"):
        source.maintenance.sync(target.url, names=["forged"])
    assert reopened(target).names() == []
    source.maintenance.sync(target.url, names=["good"])
    assert_whole(reopened(target))


def test_content_that_is_not_what_its_digest_says_is_not_taken_in(source, target):
    """A manifest of something else, which somebody says is this artifact's: sound in itself."""
    one, other = source.put(b"one", "one"), source.put(b"other", "other")
    state = state_of(source)
    before, there = (str(state.current_manifest(made.digest)) for made in (one, other))
    raw, to = source._session.backend.read(manifest_key(there)), new_id()
    source._session.backend.write(manifest_key(to), raw)
    fact = {"fact": "relocated", "digest": one.digest, "from": before, "to": to, "packs": state.manifests[there][2]}
    tell(source, {**fact, "manifest_digest": str(Digest.of(raw))})
    with pytest.warns(UserWarning, match="read from an earlier manifest"):
        artifactstore.open(source.url, cache=None).maintenance.sync(target.url, names=["one"])
    assert reopened(target).get("one") == b"one"
    source.maintenance.sync(target.url, names=["other"])
    assert reopened(target).get("other") == b"other"
    assert_whole(reopened(target))


def test_a_pack_that_is_missing_there_is_damage(source, target):
    source.put(BIG, "n")
    (victim,) = objects(source.url, "packs/")
    connect(source.url).delete(victim)
    with pytest.raises(CorruptionError, match=victim):
        source.maintenance.sync(target.url)


@pytest.mark.slow
def test_an_import_killed_at_any_change_is_finished_by_the_next_run(tmp_path, monkeypatch):
    source = fill(str(tmp_path / "source"))
    source.put(LARGE, "large")
    tell(source, removed("name/1", 1))
    tell(source, *run("r", [], [source.artifact("aba").digest]))
    again = artifactstore.create(tmp_path / "whole", cache=None)
    source.maintenance.sync(again.url)
    changes = len(objects(again.url)) - 1  # all but `store.json`
    assert changes > 12
    for at in range(1, changes + 1):
        target = artifactstore.create(tmp_path / f"target-{at}", cache=None)
        target.put(b"own", "own")
        assert sync_killed(source.url, target.url, at, after=bool(at % 2))
        half = reopened(target)
        assert_whole(half)
        assert half.get("own") == b"own"
        source.maintenance.sync(target.url)
        assert_same(source, reopened(target))
        assert state_of(reopened(target)).produced_by == state_of(source).produced_by
        assert source.maintenance.sync(target.url).entries == 0
    assert not sync_killed(source.url, str(tmp_path / f"target-{changes}"), 1, after=False)


# -- newcomers' errors


def test_stores_with_different_digests_do_not_meet(source, tmp_path):
    source.put(b"x", "n")
    other = artifactstore.create(tmp_path / "other", digest="sha256", cache=None)
    with pytest.raises(UnsupportedError, match=r"blake3 digests and .* sha256"):
        source.maintenance.sync(other.url)


def test_what_makes_no_sense_is_said_before_any_work(source, target, tmp_path):
    source.put(b"x", "n")
    before = objects(target.url)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"names": ["m*"]}, NotFoundError, "no name of the source matches 'm\\*'; it has n"),
        ({"names": []}, InvalidInputError, "leave it out for everything"),
        ({"names": "n"}, InvalidInputError, "a list of names"),
        ({"names": [3]}, InvalidInputError, "a list of names"),
        ({"on_conflict": "merge"}, InvalidInputError, "'leave' or 'rename'"),
        ({"label": "a b"}, InvalidInputError, "label= must consist of.*got 'a b'"),
        ({"lable": "x"}, InvalidInputError, "no option lable"),
        ({"reason": 3}, InvalidInputError, "reason must be a str"),
        ({"move": True}, InvalidInputError, "is another store"),
        ({"release": True}, InvalidInputError, "is another store"),
    ]
    for options, error, words in wrong:
        with pytest.raises(error, match=words):
            source.maintenance.sync(target.url, **options)
    with pytest.raises(InvalidInputError, match=r"same location|both the source"):
        source.maintenance.sync(source.url)
    (tmp_path / "link").symlink_to(source.url)
    with pytest.raises(InvalidInputError, match="same location"):
        source.maintenance.sync(tmp_path / "link")
    with pytest.raises(InvalidInputError, match="target is inside the source"):
        source.maintenance.sync(Path(source.url) / "inner")
    with pytest.raises(InvalidInputError, match="source is inside the target"):
        source.maintenance.sync(tmp_path)
    with pytest.raises(InvalidInputError, match=r"copies? .*whole|becomes a copy"):
        source.maintenance.sync(tmp_path / "fresh", label="x")
    assert not (tmp_path / "fresh").exists()
    with pytest.raises(RefusedError, match="mode='r'"):
        source.maintenance.sync(artifactstore.open(target.url, "r", cache=None))
    source.maintenance.sync(tmp_path / "copy")
    with pytest.raises(RefusedError, match="only sync writes to it"):
        target.maintenance.sync(tmp_path / "copy")
    with pytest.raises(NotFoundError, match="no store at"):
        artifactstore.open(tmp_path / "nothing", cache=None).maintenance.sync(target.url)
    target.maintenance.sync(tmp_path / "moved", move=True)
    with pytest.raises(RefusedError, match="has moved to"):
        source.maintenance.sync(target.url)
    assert {key: raw for key, raw in objects(target.url).items() if key in before} == before


def test_writers_that_never_stop_are_told_of(source, target, monkeypatch):
    source.put(b"theirs", "n")

    def transfer(*args: Any, **kwargs: Any) -> Any:
        reopened(target).alias(f"own:v{1}", f"a{len(entries(target.url))}")
        reopened(target).put(b"%d" % len(entries(target.url)), "n")
        return real_transfer(*args, **kwargs)

    target.put(b"own", "own")
    target.put(b"theirs", "own")
    monkeypatch.setattr(import_store, "_TRIES", 1)
    monkeypatch.setattr("artifactstore.work.sync.import_store.transfer", transfer)
    tell(target, removed("own", 2))
    clean_up(target)
    with pytest.raises(ConflictError, match="run it again"):
        source.maintenance.sync(target.url)
