"""Large tables on disk: the same fold as in memory, at every step; files that others use are never changed."""

import copy
import json
import multiprocessing
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

import artifactstore
from artifactstore import CorruptionError, Name, Store
from artifactstore.catalog.fold import state as fold
from artifactstore.catalog.fold.name_columns import kept_columns
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.fold.tables import LARGE
from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.catalog.spill.table import SpilledTable, get_many, keys_with_prefix
from artifactstore.model.encoding import canonical_json
from artifactstore.work.session.caches import FoldCache
from tests.catalog.test_fold_properties import JOURNALS, TXNS, _told


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put everything on disk at once, and write it there at each entry."""
    monkeypatch.setattr(State, "SPILL", 0)
    monkeypatch.setattr(State, "SETTLE", 0)
    monkeypatch.setattr(fold, "_SPILL_CHECK", 1)


def _plain(story: Any) -> State:
    """The fold of the same entries in memory."""
    made = State()
    made.spill_if_large = lambda: None  # type: ignore[method-assign]
    for entry in copy.deepcopy(story.entries):
        made.apply(entry)
    return made


@pytest.mark.slow
@pytest.mark.usefixtures("always")
def test_a_fold_on_disk_says_what_one_in_memory_says_and_a_trial_leaves_no_trace() -> None:
    @settings(max_examples=400, deadline=None)
    @given(JOURNALS, TXNS)
    def check(journal: Any, next_one: Any) -> None:
        story = _told(journal)
        plain, spilled = _plain(story), story.state
        assert spilled.base is not None or not any(getattr(plain, table) for table in LARGE)
        assert canonical_json(spilled.dump()) == canonical_json(plain.dump())
        for table in LARGE:
            assert {*getattr(spilled, table)} == {*getattr(plain, table)}
            assert len(getattr(spilled, table)) == len(getattr(plain, table))
        txn: Any = story.txn(*next_one)
        told = spilled.predict([copy.deepcopy(txn)], "")
        assert [void and void.code for void in told] == [void and void.code for void in plain.predict([txn], "")]
        assert canonical_json(spilled.dump()) == canonical_json(plain.dump())

    check()


def test_a_table_behaves_as_a_dict_does(tmp_path: Path) -> None:
    for seed in range(60):
        dice = random.Random(seed)
        plain: dict[str, Any] = {f"k{n}": [n] for n in range(dice.randrange(8))}
        base = SqliteTables.empty()
        base.write("runs", plain.items(), ())
        table = SpilledTable(base, "runs")
        plain = copy.deepcopy(plain)
        for _ in range(60):
            key = f"k{dice.randrange(12)}"
            act = dice.randrange(10)
            base.recording = act < 7
            if act == 0:
                plain.setdefault(key, []).append(act)
                if key not in table:
                    table[key] = []
                table[key].append(act)
            elif act == 1 and key in plain:
                plain[key] = table[key] = [dice.random()]
            elif act == 2 and key in plain and key not in {one for one in plain if one == key and dice.random() < 0.5}:
                plain[key].append("more")
                table[key].append("more")
            elif act == 3 and dice.random() < 0.2:
                base = base if base.own else base.copy()
                with base.transaction():
                    table.write_to(base)
                table.reopen(base, written=True)
            elif act == 4 and dice.random() < 0.2:
                base = base if base.own else base.copy()
                with base.transaction():
                    table.write_to(base)
                table.reopen(base, written=True)
                base = base.publish_as(tmp_path / f"{seed}-{dice.random()}.sqlite", {"runs": len(table)})
                table.reopen(base, written=False)
            elif act == 8:
                assert table.load()
            elif act == 9 and not base.own and (delta := json.loads(json.dumps(table.delta()))) is not None:
                table = SpilledTable(base, "runs")
                table.restore(delta)
            assert table.get(key) == plain.get(key)
            assert (key in table) == (key in plain)
            assert len(table) == len(plain)
            if plain and key in plain:
                assert table[key] == plain[key]
        assert dict(table) == plain
        assert [*table] == [*plain]
        assert [*table.items()] == [*plain.items()]
        assert [*table.values()] == [*plain.values()]
        assert sorted(keys_with_prefix(table, "k1")) == sorted(key for key in plain if key.startswith("k1"))


@pytest.mark.parametrize("examples", [40, pytest.param(250, marks=pytest.mark.slow)])
def test_a_fold_from_the_cache_is_the_fold_after_each_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    """Each entry is folded by a process of its own: by turns its file of tables is written, and what differs from it."""
    monkeypatch.setattr(FoldCache, "FILED", -1)
    monkeypatch.setattr(FoldCache, "STEP", 3)
    monkeypatch.setattr(FoldCache, "SHARE", 10**9)
    cache = FoldCache(tmp_path, "x")

    @settings(max_examples=examples, deadline=None)
    @given(JOURNALS)
    def check(journal: Any) -> None:
        story = _told(journal)
        plain = State()
        cache.save(State(), "")
        for entry in story.entries:
            plain.apply(copy.deepcopy(entry))
            loaded = cache.load()
            assert loaded is not None
            state, last = loaded
            assert (state.head, last) == (entry["seq"] - 1, str(entry["seq"] - 1) if entry["seq"] > 1 else "")
            state.apply(copy.deepcopy(entry))
            assert state.base is not None
            assert not state.base.own
            cache.save(state, str(entry["seq"]))
            again = cache.load()
            assert again is not None
            assert canonical_json(again[0].dump()) == canonical_json(plain.dump())
            assert [*again[0].runs] == [*plain.runs]

    check()


def test_the_differences_are_written_until_they_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FoldCache, "FILED", 10)
    monkeypatch.setattr(FoldCache, "STEP", 4)
    store = artifactstore.open(tmp_path / "store", cache=None)
    for n in range(30):
        store.put(b"%d" % n, f"n{n % 7}")
    files = []
    for n in range(12):
        artifactstore.open(tmp_path / "store", cache=tmp_path / "cache").put(b"later %d" % n, f"later/n{n}")
        assert len(artifactstore.open(tmp_path / "store", cache=tmp_path / "cache").names()) == 7 + n + 1
        files.append([*(tmp_path / "cache").rglob("fold-*.sqlite")])
    assert 1 < len({path for some in files for path in some}) < 6
    kept = FoldCache(tmp_path / "cache", store._session.core().config.store).load()
    assert kept is not None
    assert store._session.core().journal.catch_up() - kept[0].head <= 4 + 1


@pytest.mark.slow
def test_what_was_taken_away_is_gone_until_it_comes_again() -> None:
    base = SqliteTables.empty()
    base.write("hooks", [("a", 1), ("b", 2)], ())
    table = SpilledTable(base, "hooks")
    del table["a"]
    assert ("a" in table, len(table), [*table]) == (False, 1, ["b"])
    with pytest.raises(KeyError):
        del table["a"]
    with pytest.raises(KeyError):
        _ = table["a"]
    table["c"] = 3
    assert table.pop("c") == 3
    with base.transaction():
        table.write_to(base)
    table.reopen(base, written=True)
    assert dict(table) == {"b": 2}
    table["a"] = 5
    assert dict(table) == {"a": 5, "b": 2}


def test_a_write_that_fails_leaves_everything_as_it_was() -> None:
    base = SqliteTables.empty()
    base.write("hooks", [("a", 1)], ())
    table = SpilledTable(base, "hooks")
    table["b"] = 2
    table["c"] = object()
    with pytest.raises(TypeError), base.transaction():
        table.write_to(base)
    table["c"] = 3
    assert dict(table) == {"a": 1, "b": 2, "c": 3}
    assert [*SpilledTable(base, "hooks")] == ["a"]


def test_damage_is_told_and_the_file_goes(tmp_path: Path) -> None:
    base = SqliteTables.empty()
    base.write("hooks", [(f"key{n}", "v" * 100) for n in range(2000)], ())
    base = base.publish_as(tmp_path / "kept.sqlite", {})
    raw = bytearray((tmp_path / "kept.sqlite").read_bytes())
    at = raw.find(b"v" * 100) + 50
    raw[at] ^= 1
    (tmp_path / "worse.sqlite").write_bytes(raw)
    worse = SqliteTables(tmp_path / "worse.sqlite", own=False)
    with pytest.raises(CorruptionError, match="open the store again"):
        [*SpilledTable(worse, "hooks").items()]
    assert not (tmp_path / "worse.sqlite").exists()


@pytest.mark.slow
def test_rows_asked_for_together_are_those_asked_for_one_by_one() -> None:
    for seed in range(40):
        dice = random.Random(seed)
        base = SqliteTables.empty()
        plain: dict[str, list[int]] = {f"k{n}": [n, -n] for n in range(dice.choice([0, 3, 1200]))}
        base.write("edges", plain.items(), ())
        table = SpilledTable(base, "edges")
        for _ in range(8):
            key = f"k{dice.randrange(1500)}"
            if dice.random() < 0.3 and key in plain:
                del plain[key], table[key]
            else:
                base.recording = dice.random() < 0.5
                plain[key] = table[key] = [dice.randrange(9)]
                assert table.get(f"k{dice.randrange(1500)}") is not Ellipsis
        base.recording = False
        wanted = [f"k{dice.randrange(1500)}" for _ in range(700)]
        assert table.get_many(wanted) == get_many(plain, wanted)


def test_a_forked_child_leaves_its_parents_file() -> None:
    base = SqliteTables.empty()
    base.write("hooks", [("a", 1)], ())
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system can't fork")
    child = multiprocessing.get_context("fork").Process(target=base._end)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert base.path.exists()
    path = base.path
    del base
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("always")
def test_a_store_works_on_disk_from_one_process_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache, place = tmp_path / "cache", tmp_path / "store"
    writer = artifactstore.create(place, cache=cache)
    for n in range(40):
        with writer.run("r", code=False):
            if n:
                writer.get("x")
            writer.put(b"%d" % n, "x", metrics={"auc": n / 40})
            writer.put(b"y%d" % n, f"many/{n}")
    writer.alias("x:v7", "good")
    reader = artifactstore.open(place, cache=cache)
    assert len(reader.names()) == 41
    assert isinstance(reader._session.core().journal.fold.names, SpilledTable)
    plain = artifactstore.open(place, cache=None)
    monkeypatch.setattr(State, "SPILL", 10**9)
    assert not isinstance(plain._session.core().journal.fold.names, SpilledTable)
    for store in (reader, plain):
        assert store.get("x:good") == b"6"
        assert [one.ref for one in store.find(metrics={"auc": ">= 0.95"})] == ["x:v39", "x:v40"]
    for what in ("names", "versions", "find", "runs"):
        arguments = ("x",) if what == "versions" else ()
        assert [*getattr(reader, what)(*arguments)] == [*getattr(plain, what)(*arguments)]
    assert str(reader.lineage("x").upstream()) == str(plain.lineage("x").upstream())
    assert reader.artifact(plain.artifact("x:v3").digest[:20]).digest == plain.artifact("x:v3").digest
    # Both go on, each with what the other wrote; a file that the other has open is never changed.
    for n in range(200):
        (reader if n % 2 else writer).put(b"z%d" % n, "z")
    for store in (reader, writer, plain):
        store._session.core().journal.catch_up()
    dumps = {canonical_json(store._session.core().journal.fold.dump()) for store in (reader, writer, plain)}
    assert len(dumps) == 1
    files = [*cache.glob("stores/*/fold-*.sqlite")]
    assert 1 <= len(files) <= 2


@pytest.mark.usefixtures("always")
def test_a_kept_fold_whose_file_is_gone_or_damaged_is_made_anew(tmp_path: Path) -> None:
    cache, place = tmp_path / "cache", tmp_path / "store"
    writer = artifactstore.create(place, cache=cache)
    for n in range(10):
        writer.put(b"%d" % n, f"x{n}")
    for damage in ("gone", "short"):
        for path in cache.glob("stores/*/fold-*.sqlite"):
            if damage == "gone":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:100])
        again = artifactstore.open(place, cache=cache)
        try:
            assert len(again.names()) == 10
        except CorruptionError:
            assert len(artifactstore.open(place, cache=cache).names()) == 10


CHANGES: dict[str, Callable[[Store], object]] = {
    "nothing": lambda store: store.names(),
    "a new name": lambda store: store.put(b"anew", "between"),
    "the first name": lambda store: store.put(b"first", "0"),
    "a new version": lambda store: store.put(b"longer than before", "a"),
    "an old content again": lambda store: store.put(b"1", "c"),
    "an unnamed put": lambda store: store.put(b"unnamed"),
    "described": lambda store: store.registry.describe("b", {"owner": "ada"}),
    "an alias": lambda store: store.alias("c", "best"),
    "an alias moved": lambda store: store.alias("a:v2", "best"),
    "an alias ended": lambda store: store.registry.unalias("a", "best", "over"),
    "tainted": lambda store: store.registry.taint("a:v2", "wrong"),
    "no longer tainted": lambda store: store.registry.untaint("bad:v1", "it was right"),
    "removed": lambda store: store.registry.remove("a:v2", "wrong"),
    "removed, the only one": lambda store: store.registry.remove("b:v1", "wrong"),
}


def test_the_kept_list_of_names_with_any_change_is_the_list_of_a_new_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FoldCache, "FILED", 0)
    kept, place = tmp_path / "kept", tmp_path / "store"
    writer = artifactstore.create(place, cache=None)
    for name, content in (("a", b"1"), ("a", b"22"), ("b", b"333"), ("bad", b"4444"), ("c", b"55555"), ("other/d", b"6")):
        writer.put(content, name)
    writer.alias("a:v1", "best")
    writer.registry.taint("bad:v1", "wrong")
    artifactstore.open(place, "r", cache=kept).names()
    assert len([*kept.rglob("fold-*.sqlite")]) == 1

    def listed(url: Path, cache: Path | None) -> list[Name]:
        reader = artifactstore.open(url, "r", cache=cache)
        with reader._session.query_state() as state:
            assert state.listed == (cache is not None)
            assert (kept_columns(state) is not None) == (cache is not None)
        return [*reader.names()]

    for number, (change, make) in enumerate(CHANGES.items()):  # each alone
        url, cache = shutil.copytree(place, tmp_path / f"{number}"), shutil.copytree(kept, tmp_path / f"cache-{number}")
        make(artifactstore.open(url, cache=cache))
        assert listed(url, cache) == listed(url, None), change
    for change, make in CHANGES.items():  # one after the other
        make(artifactstore.open(place, cache=kept))
        found = listed(place, kept)
        assert found == listed(place, None), change
        assert [one.name for one in found] == sorted({one.name for one in found})


def test_a_file_that_may_be_changed_has_no_list_of_names_and_a_damaged_list_is_found(tmp_path: Path) -> None:
    kept = SqliteTables.empty().publish_as(tmp_path / "kept.sqlite", {}, b"the list")
    assert kept.listing() == b"the list"
    assert kept.copy().listing() is None
    raw = (tmp_path / "kept.sqlite").read_bytes()
    for old, new in ((b"the list", b"the lust"), (b"the list", b"th\0 list")):
        (tmp_path / "worse.sqlite").write_bytes(raw.replace(old, new))
        with pytest.raises(CorruptionError, match="open the store again"):
            SqliteTables(tmp_path / "worse.sqlite", own=False).listing()
