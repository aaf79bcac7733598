"""The index of the audit trail answers as a fold of the whole journal does, whatever is asked for, and goes on where it ended."""

import itertools
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.catalog import audit
from artifactstore.catalog.audit import Event, Transaction, Walk, newest
from artifactstore.errors import CorruptionError
from artifactstore.journal.chain import entry_key
from artifactstore.work.queries import trail as trail_module
from artifactstore.work.queries.log import Following, transactions, wanted_by
from artifactstore.work.queries.trail import Trail
from artifactstore.work.session.caches import FoldCache
from tests.catalog.telling import received
from tests.maintenance.test_tampering import made
from tests.work.registry.test_verify import force


@pytest.fixture(scope="module", params=range(3))
def store(request: pytest.FixtureRequest) -> Store:
    """A store with facts of all kinds, some spilled, some without effect, and some of another store."""
    seed: int = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("artifactstore.journal.append.SPILL", 640)
        found = made(seed, 10)
        alias = {"fact": "aliased", "name": "n", "alias": "a1", "version": 1}
        force(found, "eve", {**alias, "name": "m", "alias": "live"})
        force(found, "eve", {"fact": "released", "hold": "0" * 32})
        force(found, "eve", received(alias, {"fact": "approved", "digest": found.artifact("m:v1").digest, "verdict": "rejected"}))
        with found.run("train", code=False) as run:
            run.get("m:v1")
            run.log(loss=0.5, step=1)
            run.log(loss=0.4, step=2)
        found.put(b"last", "n")
    return found


def folded(store: Store, limit: int | None = None, last: int | None = None, **conditions: Any) -> list[Event]:
    """The same by reading everything again."""
    core = store._session.core()
    found = [*Walk(core.config.store).events(core.journal.entries(last=last), wanted_by(store._session, conditions))]  # type: ignore[arg-type]
    return found if limit is None else found[-limit:] if limit else []


def test_whatever_is_asked_for_is_answered_as_by_a_fold(store: Store):
    events = folded(store)
    assert {"received", "refused", "measured", "held", "released"} & {one.fact for one in events}
    assert any(one.outcome != "committed" for one in events)
    assert any(one.origin is not None for one in events)
    dice = random.Random(1)
    values: dict[str, list[Any]] = {
        "name": [None, "n", "m", "*", "[mn]", "none"],
        "alias": [None, "live", "a1", "none"],
        "actor": [None, events[0].actor, "eve", "none"],
        "fact": [None, "aliased", "approved", "released", "measured", "none"],
        "ref": [None, None, "n:v1", "m:v1", store.artifact("n").digest],
        "since": [None, None, events[len(events) // 2].time],
        "until": [None, None, events[-3].time, events[0].time],
        "txn": [None, None, None, dice.choice(events).txn],
        "limit": [None, 0, 1, 3, 10_000],
    }
    some = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    for conditions in [{}, *({key: one} for key, row in values.items() for one in row), *dice.sample(some, 60)]:
        assert list(store.log(**conditions)) == folded(store, **conditions), conditions


def test_the_past_and_what_comes_are_indexed(store: Store):
    head = int(store.head.partition(":")[0])
    for last in (1, head // 2, head):
        view = store.at(last)
        assert list(view.log()) == folded(store, last=last)
        assert list(view.log(ref="n:v1")) == folded(view, last=last, ref="n:v1")
    writer = artifactstore.open(store.url, cache=None)
    for number in range(3):
        writer.put(bytes([number]), "n", metadata={"k": number})
        writer.registry.describe("n", {"k": -number - 1})
        assert list(store.log()) == folded(store)
        assert store.log(fact="described")[-1].before == {"k": number}
    assert list(writer.log(actor="eve")) == folded(store, actor="eve")


def test_entries_of_segments_are_read_from_them(tmp_path: Path):
    """One in a row and many; and where only segments have them."""
    store = artifactstore.create(tmp_path / "store", cache=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("artifactstore.journal.segments.STRIDE", 8)
        for number in range(40):
            store.put(b"%d" % number, f"n{number % 3}")
        reader = artifactstore.open(tmp_path / "store", "r", cache=None)
        assert list(reader.log()) == folded(store)
        assert list(reader.log(name="n1")) == folded(store, name="n1")
        assert list(reader.log(ref="n1:v2")) == folded(store, ref="n1:v2")


def test_an_entry_that_has_changed_since_is_not_shown(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    for number in range(4):
        store.put(b"%d" % number, f"n{number}", reason="mine")
    assert len(store.log(name="n1")) == 1
    path = tmp_path / "store" / entry_key(2)
    raw = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(raw.replace(b'"mine"', b'"ours"'))
    with pytest.raises(CorruptionError, match=r"000000000002.json has changed"):
        store.log(name="n1")
    path.write_bytes(raw)
    assert store.log(name="n1")[0].reason == "mine"
    path.unlink()
    with pytest.raises(CorruptionError):
        store.log(name="n1", since=store.log(name="n0")[0].time - timedelta(days=1))


def described(store: Store, last: int | None = None, **conditions: Any) -> list[Transaction]:
    """The transactions in words, by reading everything again."""
    core = store._session.core()
    wanted = wanted_by(store._session, conditions)  # type: ignore[arg-type]
    return [*Walk(core.config.store).transactions(core.journal.entries(last=last), wanted)]


def test_transactions_are_described_as_by_a_fold(store: Store):
    events = folded(store)
    dice = random.Random(2)
    values: dict[str, list[Any]] = {
        "name": [None, "n", "[mn]", "none"],
        "actor": [None, "eve"],
        "fact": [None, "aliased", "versioned", "held", "released", "measured", "finished", "received"],
        "ref": [None, None, "n:v1", "m:v1"],
        "since": [None, None, events[len(events) // 2].time],
        "txn": [None, None, dice.choice(events).txn],
    }
    some = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    for conditions in [{}, *({key: one} for key, row in values.items() for one in row), *dice.sample(some, 25)]:
        true = described(store, **conditions)
        assert list(store.log(**conditions).transactions) == true, conditions
        for limit in (0, 1, 4, None):
            found, older = transactions(store._session, conditions, limit)  # type: ignore[arg-type]
            assert list(found) == (true if limit is None else true[max(0, len(true) - limit) :]), (conditions, limit)
            assert older == len(true) - len(found)
            assert list(store.log(**conditions, limit=limit).transactions) == newest(true, limit), (conditions, limit)
    for last in (1, events[-1].seq // 2, events[-1].seq - 1):
        view = store.at(last)
        assert list(view.log().transactions) == described(view, last)
        assert list(view.log(ref="n:v1", limit=2).transactions) == newest(described(view, last, ref="n:v1"), 2)


def test_what_is_followed_is_what_comes_and_the_newest_before(tmp_path: Path):
    writer = artifactstore.create(tmp_path / "store", cache=None)
    for number in range(5):
        writer.put(b"%d" % number, f"n{number % 2}")
    following = Following(_others(tmp_path)._session, {"name": "n0"}, 2)
    seen = [*following.step()]
    assert seen == described(writer, name="n0")[-2:]
    for number in range(5, 9):
        assert not following.step()
        writer.put(b"%d" % number, f"n{number % 2}")
        writer.alias("n0:v1", "best")
        seen += following.step()
    assert seen == described(writer, name="n0")[1:]


def _others(folder: Path) -> Store:
    return artifactstore.open(folder / "store", cache=folder / "cache")


def test_a_later_process_goes_on_where_an_earlier_one_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However many facts came since, and whatever was done to what the earlier one has left."""
    monkeypatch.setattr(trail_module, "_STEP", 25)
    monkeypatch.setattr(FoldCache, "FILED", -1)
    monkeypatch.setattr(FoldCache, "STEP", 2)
    read: list[int] = []
    plain = Walk.folded

    def noted(entries: Iterable[Any]) -> Iterator[Any]:
        for one in entries:
            read.append(one["seq"])
            yield one

    monkeypatch.setattr(Walk, "folded", lambda self, some: plain(self, noted(some)))
    writer = artifactstore.create(tmp_path / "store", cache=None)
    dice = random.Random(3)
    marks = itertools.count()
    for turn in range(30):
        for _ in range(dice.choice([0, 1, 1, 2, 7])):
            name = f"n{dice.randrange(3)}"
            match dice.randrange(6):
                case 0:
                    with writer.run("train", code=False) as run:
                        run.log(loss=dice.random())
                case 1 if writer.exists(name):
                    writer.registry.describe(name, {"k": next(marks)})
                case 2 if writer.exists(name):
                    writer.registry.measure(name, {"auc": dice.random()})
                case 3 if writer.exists(name):
                    writer.alias(name, "best")
                case _:
                    writer.put(b"%d" % next(marks), name)
        writer.put(b"same", f"same{turn % 7}")
        writer.registry.measure(f"same{turn % 7}", {"auc": turn})
        if not turn:
            writer.put(b"0", "n0")
        store = _others(tmp_path)
        before = 0 if turn and turn % 5 == 0 else _indexed(tmp_path)  # what was harmed counts as nothing
        read.clear()
        found = list(store.log())
        head = store._session.core().journal.head
        assert read == [*range(before + 1, head + 1)]  # no entry is folded again
        assert found == folded(store)
        assert list(store.log(fact="described", limit=2)) == folded(store, 2, fact="described")
        assert list(store.log(ref="n0").transactions) == described(store, ref="n0")
        assert list(store.log(fact="measured").transactions) == described(store, fact="measured")
        assert _indexed(tmp_path) == head
        if turn % 5 == 4:
            _harm(tmp_path, turn // 5)


def test_an_index_of_another_history_is_made_anew(tmp_path: Path):
    """A copy was put back, and others went on from there: the store is the same, its entries are not."""
    store = artifactstore.create(tmp_path / "store", cache=None)
    for number in range(6):
        store.put(b"%d" % number, f"n{number}")
    core = store._session.core()
    caches = [FoldCache(tmp_path / f"cache{more}", f"{core.config.store}/log") for more in range(4)]
    everything = audit.Filter()
    for cache in caches:
        assert Trail(core.journal, cache).events(everything, 6, None) == folded(store)
    for number in (5, 6):
        (tmp_path / "store" / entry_key(number)).unlink()
    for more, cache in enumerate(caches):
        artifactstore.open(tmp_path / "store", cache=None).put(b"other %d" % more, f"other{more}")
        again = artifactstore.open(tmp_path / "store", cache=None)
        journal = again._session.core().journal
        head = journal.catch_up()
        assert Trail(journal, cache).events(everything, head, None) == folded(again)


def _indexed(folder: Path) -> int:
    """The entry that the index in the cache ends with, or 0."""
    for path in (folder / "cache" / "stores").glob("*/log/fold.json"):
        found = FoldCache(folder / "cache", f"{path.parent.parent.name}/log").load()
        if found is not None:
            return found[0].head
    return 0


def _harm(folder: Path, way: int) -> None:
    """Damage or remove a file of the index, in one way or another; what is left must count as nothing, or as it is."""
    (place,) = (folder / "cache" / "stores").glob("*/log")
    columns = max((path for path in place.glob("index-*") if not path.suffix), key=lambda path: path.stat().st_mtime)
    values = columns.with_suffix(".values")
    chosen = [columns, columns, values, values, place / "fold.json"][way % 5]
    if way in {1, 3}:
        chosen.unlink()
    else:
        raw = bytearray(chosen.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        chosen.write_bytes(raw)


def test_many_facts_are_read_when_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trail_module, "_TOGETHER", 4)
    monkeypatch.setattr(trail_module, "_FEW", 4)
    monkeypatch.setattr(trail_module, "_BLOCKS", 2)
    store = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    for number in range(12):
        store.put(b"%d" % number, f"n{number % 3}", reason="mine")
    events = folded(store)
    for conditions in ({}, {"name": "n1"}, {"fact": "versioned"}, {"ref": "n1:v2"}):
        wanted = folded(store, **conditions)  # type: ignore[arg-type]
        log = store.log(**conditions)  # type: ignore[arg-type]
        assert (len(log), list(log), list(log[::-1]), list(log[1:4])) == (len(wanted), wanted, wanted[::-1], wanted[1:4])
        assert [log[at] for at in (-1, 0, len(log) // 2)] == [wanted[at] for at in (-1, 0, len(log) // 2)]
        with pytest.raises(IndexError):
            log[len(log)]
    log, trail = store.log(), store._session.core().trail
    for number in range(12):
        store.put(b"later %d" % number, "n0")
        store.log(limit=1)
    with trail._lock:  # another thread indexes
        assert list(log) == events
    trail._begin()  # as after an error
    assert list(log[::-1]) == events[::-1]
    assert len(store.log()) == 2 * len(events)
    newest, path = folded(store)[-1], tmp_path / "store" / entry_key(6)
    raw = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(raw.replace(b'"mine"', b'"ours"'))
    late = artifactstore.open(tmp_path / "store", "r", cache=tmp_path / "cache").log()
    assert list(late[:8]) == events[:8]
    with pytest.raises(CorruptionError, match=r"000000000006.json has changed"):
        list(late)
    assert late[-1] == newest


def test_a_hash_of_an_index_cannot_be_known_beforehand(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    store.put(b"a", "n")
    assert store.log(ref="n:v1")
    one = store._session.core().trail._parts.first.seed
    other = Trail(store._session.core().journal)
    assert one != other._parts.first.seed
    later = artifactstore.open(tmp_path / "store", "r", cache=tmp_path / "cache")
    assert later.log(ref="n:v1") == store.log(ref="n:v1")
    assert later._session.core().trail._parts.first.seed == later._session.core().trail._parts.rest.seed == one


def test_a_move_speaks_of_the_version_that_it_leaves(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    for number in range(3):
        store.put(b"%d" % number, "n")
        store.alias(f"n:v{number + 1}", "live")
    for number, moves in ((1, [1, 2]), (2, [2, 3]), (3, [3])):
        found = store.log(ref=f"n:v{number}", fact="aliased")
        assert [one.version for one in found] == moves
        assert list(found) == folded(store, ref=f"n:v{number}", fact="aliased")


def test_facts_are_read_while_another_thread_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trail_module, "_FEW", 1)
    monkeypatch.setattr(trail_module, "_TOGETHER", 1)
    store = artifactstore.create(tmp_path / "store", cache=None)
    for number in range(20):
        store.put(b"%d" % number, "n")
    events, log = folded(store), store.log()
    writer = artifactstore.open(tmp_path / "store", cache=None)

    def write() -> None:
        for number in range(20):
            writer.put(b"more %d" % number, "n")
            store.log(limit=1)

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        while not written.done():
            assert list(log) == events
        written.result()
    assert list(store.log()) == folded(store)


def test_a_question_waits_for_that_of_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put(b"a", "n")
    store.log()
    events, trail = folded(store), store._session.core().trail
    monkeypatch.setattr("artifactstore.work.queries.log._walk", lambda _: pytest.fail("the journal was folded anew"))
    asking, found = threading.Event(), []

    def ask() -> None:
        asking.set()
        found.append(list(store.log()))

    with trail._lock:
        thread = threading.Thread(target=ask)
        thread.start()
        asking.wait()
        time.sleep(0.05)
    thread.join()
    assert found == [events]
    monkeypatch.undo()
    monkeypatch.setattr(trail_module, "_PATIENCE", 0.01)
    with trail._lock:
        assert list(store.log()) == events
