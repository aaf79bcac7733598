"""Deltas: whoever seals publishes what the fold has gained; a newcomer reads these and the tail, and believes nothing else."""

import json
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import ArtifactStoreError, BackendError, CorruptionError
from artifactstore.backend.connect import connect
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.layer import Layer, write_layer
from artifactstore.catalog.spill.layered import LayeredTables
from artifactstore.journal import segments as segments_module
from artifactstore.journal import snapshots as snapshots_module
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import list_derived
from artifactstore.journal.snapshots import Snapshot, published, snapshots_of
from artifactstore.maintenance import extend
from artifactstore.maintenance import snapshot as snapshot_module
from artifactstore.maintenance.snapshot import open_snapshot
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store
from artifactstore.testing.backends import CountingBackend
from artifactstore.work.cleaning.own_history import own_history
from artifactstore.work.session.caches import FoldCache
from tests.journal.making import txn

Change = Callable[[Path, Snapshot, list[Snapshot]], None]


def _often(patch: pytest.MonkeyPatch) -> None:
    """Seal and publish after a few entries, and take snapshots for quicker than entries, however few these are."""
    patch.setattr(segments_module, "STRIDE", 3)
    patch.setattr(extend, "STRIDE", 5)
    patch.setattr(extend, "TOGETHER", 3)
    patch.setattr(snapshots_module, "_ENTRY", 2**40)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    _often(monkeypatch)


def _fill(store: Store, count: int, begin: int = 0) -> None:
    for k in range(begin, begin + count):
        with store.run(f"run {k % 3}") as run:
            run.log(loss=k / 7)
            store.put(f"content {k % 17}".encode(), f"name/{k % 5}", metrics={"m": k})
        if k % 4 == 1:
            store.alias(f"name/{k % 5}", "best", reason="tried")
        if k % 7 == 3:
            store.remove(f"name/{k % 5}:v1", reason="old") if "removed" not in str(store.versions(f"name/{k % 5}")[0]) else None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a chain of some deltas, with others that they were made of, and with a tail."""
    path = tmp_path_factory.mktemp("deltas") / "store"
    with pytest.MonkeyPatch.context() as patch:
        _often(patch)
        _fill(artifactstore.open(path, cache=None), 15)
    return path


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "store"))


def _chain(path: Path) -> list[Snapshot]:
    """The deltas that a newcomer reads, the oldest first."""
    return [*snapshots_of(list_derived(connect(str(path))), State.LAYOUT)[0].members]


def _state(path: Path) -> State:
    """What a new process that keeps nothing finds."""
    with artifactstore.open(path, mode="r", cache=None)._session.state() as state:
        return state


def _truth(path: Path) -> State:
    """The same by folding every entry."""
    core = artifactstore.open(path, mode="r", cache=None)._session.core()
    journal = Journal(core.backend, core.config, partial(State, core.config.store))
    journal.catch_up()
    return journal.fold  # type: ignore[no-any-return]


def _same(one: State, other: State) -> bool:
    return canonical_json(one.dump()) == canonical_json(other.dump()) and [*one.runs] == [*other.runs]


def test_a_newcomer_folds_what_came_behind_the_last_delta_alone(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = _chain(copied)
    assert len(chain) > 1
    assert chain[0].since == 0
    assert all(one.since == before.seq for before, one in pairwise(chain))
    folded: list[int] = []
    apply = State.apply

    def noting(self: State, entry: Any, *more: Any) -> Any:
        folded.append(entry["seq"])
        return apply(self, entry, *more)

    monkeypatch.setattr(State, "apply", noting)
    state = _state(copied)
    assert isinstance(state.base, LayeredTables)
    assert folded == list(range(chain[-1].seq + 1, state.head + 1))
    assert _same(state, _truth(copied))


def test_deltas_of_one_length_become_one(copied: Path) -> None:
    chain = _chain(copied)
    every = published(list_derived(connect(str(copied))), State.LAYOUT)
    assert len(every) > len(chain)
    lengths = [one.seq - (one.since or 0) for one in chain]
    assert max(lengths) > 2 * min(lengths)
    assert len([one for one in lengths if one < 2 * min(lengths)]) < extend.TOGETHER + 1


def test_who_begins_with_deltas_answers_and_writes_as_others_do(copied: Path, tmp_path: Path) -> None:
    newcomer, other = artifactstore.open(copied, cache=None), artifactstore.open(copied, cache=tmp_path / "cache")
    for store in (newcomer, other):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshots_module, "_ENTRY", 0)
            plain = artifactstore.open(copied, cache=None)
            assert [*store.names()] == [*plain.names()]
            for name in map(str, plain._session.core().journal.fold.names):
                assert str(store.versions(name)) == str(plain.versions(name))
            assert str(store.runs()) == str(plain.runs())
            assert str(store.find(metrics={"m": "> 11"})) == str(plain.find(metrics={"m": "> 11"}))
            assert str(store.log(limit=20)) == str(plain.log(limit=20))
    _fill(newcomer, 9, 50)
    assert _same(_state(copied), _truth(copied))
    assert newcomer.verify(level="full").ok
    again = artifactstore.open(copied, cache=tmp_path / "cache")
    assert [*again.names()] == [*newcomer.names()]
    _fill(again, 9, 70)
    assert _same(_state(copied), _truth(copied))


def test_the_past_begins_with_deltas_too(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, chain = artifactstore.open(copied, mode="r", cache=None), _chain(copied)
    for at in {1, *(one.seq + more for one in chain for more in (-1, 0, 1))}:
        with store.at(at)._session.state() as state:
            found = canonical_json(state.dump())
        plain = State(store._session.core().config.store)
        for entry in store._session.core().journal.entries(1, at):
            plain.apply(entry)
        assert found == canonical_json(plain.dump()), at


# -- what is not believed


def _truncated(path: Path, one: Snapshot, _chain: list[Snapshot]) -> None:
    file = path / one.content
    file.write_bytes(file.read_bytes()[:-7])


def _flipped(path: Path, one: Snapshot, _chain: list[Snapshot]) -> None:
    file = path / one.content
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def _empty(path: Path, one: Snapshot, _chain: list[Snapshot]) -> None:
    (path / one.content).write_bytes(b"")


def _gone(path: Path, one: Snapshot, _chain: list[Snapshot]) -> None:
    (path / one.content).unlink()


def _pointer_gone(path: Path, one: Snapshot, _chain: list[Snapshot]) -> None:
    (path / one.key).unlink()


def _swapped(path: Path, one: Snapshot, chain: list[Snapshot]) -> None:
    other = next(found for found in chain if found != one)
    first, second = (path / one.content).read_bytes(), (path / other.content).read_bytes()
    (path / one.content).write_bytes(second)
    (path / other.content).write_bytes(first)


def _renamed(**fields: Any) -> Change:
    def change(path: Path, one: Snapshot, _chain: list[Snapshot]) -> None:
        (path / one.key).rename(path / replace(one, **{name: change(one) for name, change in fields.items()}).key)

    return change


def _forged(path: Path, one: Snapshot, chain: list[Snapshot]) -> None:
    """The same with another row, which nobody vouches for, and a pointer to the entry that vouches for the true one."""
    layer = Layer((path / one.content).read_bytes())
    tables = {table: [*layer.rows(table)] for table in layer.tables()}
    tables["runs"] = [(key, row.replace(b'"name":"run', b'"name":"no run')) for key, row in tables["runs"]]
    order, small = layer.order(), json.dumps(layer.small()).encode()
    data = write_layer(layer.span, tables, counts=layer.counts, order=order, small=small)
    false = Snapshot(one.layout, one.seq, one.entry, str(Digest.of(data)), len(data), one.since)
    (path / false.content).write_bytes(data)
    (path / false.key).write_bytes(b"{}")


CHANGES: dict[str, Change] = {
    "truncated": _truncated,
    "flipped": _flipped,
    "empty": _empty,
    "gone": _gone,
    "its pointer is gone": _pointer_gone,
    "swapped": _swapped,
    "of an earlier entry": _renamed(seq=lambda one: one.seq - 1),
    "of a later entry": _renamed(seq=lambda one: one.seq + 1),
    "on an earlier one": _renamed(since=lambda one: max(0, one.since - 1)),
    "on the empty journal": _renamed(since=lambda one: 0),
    "vouched for by another entry": _renamed(entry=lambda one: one.entry - 1),
    "forged": _forged,
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_but_what_is_vouched_for_is_believed(made: Path, tmp_path: Path, change: str) -> None:
    true, chain = _truth(made), _chain(made)
    for at, one in enumerate(chain):
        path = Path(shutil.copytree(made, tmp_path / str(at)))
        CHANGES[change](path, one, chain)
        assert _same(_state(path), true), at
    # Others go on from there, and what they publish is right.
    store = artifactstore.open(path, cache=None)
    for k in range(7):
        store.put(f"more {k}".encode(), "more")
    assert _chain(path)[-1].seq > chain[-1].seq
    assert _same(_state(path), _truth(path))
    damage = [found for found in store.verify().findings if found.severity == "damage"]
    assert bool(damage) == (change in {"truncated", "flipped", "empty", "swapped", "on the empty journal"}), damage


def test_a_delta_of_another_store_is_not_believed(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    _fill(artifactstore.open(other, cache=None), 6)
    true = _truth(copied)
    for one in _chain(other):
        (copied / "segments/deltas" / Path(one.content).name).write_bytes((other / one.content).read_bytes())
        (copied / one.key).write_bytes(b"{}")
    assert _same(_state(copied), true)
    assert [one for one in artifactstore.open(copied, cache=None).verify().findings if one.severity == "damage"] == []


def _vouch(store: Store, data: bytes, since: int, seq: int) -> None:
    """Record a delta as a malicious writer may."""
    core = store._session.core_to_write()
    one = Snapshot(State.LAYOUT, seq, 0, str(Digest.of(data)), len(data), since)
    core.backend.write(one.content, data)
    head = core.journal.catch_up()
    done = core.appender.commit([one.fact], birth=head, alive_at=head, refuse=AssertionError)
    core.backend.write(Snapshot(State.LAYOUT, seq, done.seq, one.digest, len(data), since).key, b"{}")


def test_a_false_delta_that_somebody_vouches_for_is_found_by_verify_and_not_extended(copied: Path) -> None:
    store, chain = artifactstore.open(copied, cache=None), _chain(copied)
    layer = Layer((copied / chain[-1].content).read_bytes())
    tables = {table: [*layer.rows(table)] for table in layer.tables()}
    tables["names"] = [(key, row.replace(b'"kind":"', b'"kind":"no ')) for key, row in tables["names"]]
    small = json.dumps(layer.small()).encode()
    data = write_layer(layer.span, tables, counts=layer.counts, order=layer.order(), small=small)
    (copied / chain[-1].key).unlink()
    _vouch(store, data, layer.span.since, layer.span.seq)
    false, true = _state(copied), _truth(copied)
    assert not _same(false, true)
    report = store.verify()
    assert not report.ok
    (finding,) = [one for one in report.findings if one.severity == "damage"]
    assert "names of" in finding.what
    assert "recorded it in entry" in finding.what
    # Whoever deletes has folded the entries, and whoever has done so, too, publishes nothing on it.
    own, _ = own_history(store._session)
    own.catch_up()
    assert _same(own.fold, _truth(copied))
    before = _chain(copied)[-1].seq

    def put() -> None:
        for k in range(9):
            store.put(f"anew {k}".encode(), tables["names"][k % len(tables["names"])][0])

    with pytest.warns(UserWarning, match="differ from the journal"):
        put()
    assert _chain(copied)[-1].seq == before


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "no layer": lambda _: b"nothing",
    "no line": lambda data: data.replace(b"\n", b" "),
    "another format": lambda data: data.replace(b'"format":2', b'"format":1', 1),
    "another layout": lambda data: data.replace(b'"layout":%d' % State.LAYOUT, b'"layout":10', 1),
    "a block outside": lambda data: data.replace(b'"order":[', b'"order":[9999999', 1),
    "a block that is no text": lambda data: data.replace(b'"small":[', b'"small":["x",', 1),
    "a huge block": lambda data: (
        data[: data.index(b'"small":[')] + b'"small":[0,9,99999999999],"digests' + data[data.index(b'"digests') + 9 :]
    ),
    "no small tables": lambda data: data.replace(b'"small":', b'"large":', 1),
    "damaged blocks": lambda data: data[: data.index(b"\n") + 1] + bytes(len(data) - data.index(b"\n") - 1),
    "endless lists": lambda data: b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_layer_that_somebody_vouches_for_is_passed_over(copied: Path, how: str) -> None:
    store, chain = artifactstore.open(copied, cache=None), _chain(copied)
    data = BROKEN[how]((copied / chain[-1].content).read_bytes())
    (copied / chain[-1].key).unlink()
    _vouch(store, data, chain[-1].since or 0, chain[-1].seq)
    assert _same(_state(copied), _truth(copied))


def test_a_pointer_that_says_another_span_is_refused(copied: Path) -> None:
    """What it leads to is vouched for, as something else."""
    chain, backend = _chain(copied), connect(str(copied))
    false = replace(chain[-1], since=0, below=())
    with pytest.raises(CorruptionError, match="other entries than its pointer says"):
        open_snapshot(backend, "blake3", false)
    with pytest.raises(CorruptionError, match="is not on what is before it"):
        open_snapshot(backend, "blake3", replace(chain[-1], below=()))


def test_what_nobody_vouches_for_is_not_even_read(copied: Path) -> None:
    chain = _chain(copied)
    _forged(copied, chain[-1], chain)
    (copied / chain[-1].key).unlink()
    forged = _chain(copied)[-1]
    assert forged.seq == chain[-1].seq
    core = artifactstore.open(copied, cache=None)._session.core()
    counting = CountingBackend(core.backend)
    journal = Journal(
        counting, core.config, partial(State, core.config.store), open_snapshot=partial(open_snapshot, counting, "blake3")
    )
    journal.catch_up()
    assert isinstance(journal.fold.base, LayeredTables)
    assert forged.content not in [key for _, key in counting.calls]


def test_every_delta_of_a_chain_must_be_vouched_for(copied: Path) -> None:
    """A fact that has no effect speaks for a false delta, and a true one is on that."""
    store, chain = artifactstore.open(copied, cache=None), _chain(copied)
    layer = Layer((copied / chain[0].content).read_bytes())
    tables = {table: [*layer.rows(table)] for table in layer.tables()}
    tables["runs"] = [(key, row.replace(b'"name":"run', b'"name":"no run')) for key, row in tables["runs"]]
    small = json.dumps(layer.small()).encode()
    data = write_layer(layer.span, tables, counts=layer.counts, order=layer.order(), small=small)
    journal = store._session.core_to_write().journal
    head = journal.catch_up()
    false = Snapshot(State.LAYOUT, layer.span.seq, head + 1, str(Digest.of(data)), len(data), 0)
    void = txn(head + 1, facts=[false.fact])
    void["base"] = head + 7  # not between its birth and its entry
    raw = encode_entry(head + 1, journal.digest, writer="0" * 32, time="2030-01-01T00:00:00.000000Z", txns=[void])
    (copied / entry_key(head + 1)).write_bytes(raw)
    (copied / false.content).write_bytes(data)
    (copied / false.key).write_bytes(b"{}")
    (copied / chain[0].key).unlink()
    assert _chain(copied)[0].digest == false.digest
    assert _same(_state(copied), _truth(copied))


# -- publishing


@pytest.mark.slow
def test_whatever_fails_on_the_way_no_harm_is_done_and_a_later_writer_publishes(made: Path, tmp_path: Path) -> None:
    """Each request of a writer that seals fails in turn: that one alone, or also all behind it, as if it were killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "STRIDE", 1000)
        due = Path(shutil.copytree(made, tmp_path / "due"))
        store = artifactstore.open(due, cache=None)
        for k in range(6):
            store.put(f"more {k}".encode(), "more")
    for lasting in (False, True):
        for at in range(60):
            path = Path(shutil.copytree(due, tmp_path / f"{at}-{lasting}"))
            core = artifactstore.open(path, cache=None)._session.core_to_write()
            core.journal.catch_up()
            calls = _failing(core.backend, at, lasting=lasting)
            with suppress(ArtifactStoreError):
                core.seal()
            assert _same(_state(path), _truth(path)), at
            if calls[0] <= at:
                break
            other = artifactstore.open(path, cache=None)
            for k in range(6):
                other.put(f"later {k}".encode(), "more")
            assert _chain(path)[-1].seq > _chain(due)[-1].seq
            assert _same(_state(path), _truth(path)), at
            shutil.rmtree(path)
        else:
            pytest.fail("a writer that seals makes more requests than were tried")
        assert at >= 6  # the listing, the segment, what there is, the delta, its fact and its pointer


def _failing(backend: Any, at: int, *, lasting: bool) -> list[int]:
    """Make the backend's call number `at` fail, and with `lasting` all behind it."""
    calls = [0]

    def failing(verb: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            calls[0] += 1
            if calls[0] == at + 1 or (lasting and calls[0] > at):
                raise BackendError("killed", transient=False)
            return verb(*args, **more)

        return call

    for verb in ("read", "read_ranges", "write", "create", "list"):
        setattr(backend, verb, failing(getattr(backend, verb)))
    return calls


def test_of_two_that_seal_at_once_one_publishes(copied: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "STRIDE", 1000)
        store = artifactstore.open(copied, cache=None)
        for k in range(8):
            store.put(f"more {k}".encode(), "more")
    first, second = (artifactstore.open(copied, cache=None)._session.core_to_write() for _ in range(2))
    for core in (first, second):
        core.journal.catch_up()
    before = {one.key for one in published(list_derived(first.backend), State.LAYOUT)}
    listed = [*list_derived(first.backend)]
    both = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "list_derived", lambda _: listed)  # each sees what was there before the other
        for core in (first, second):
            core.seal()
            both.append({one.key for one in published(list_derived(core.backend), State.LAYOUT)} - before)
    assert [len(one) for one in both] == [1, 1]
    assert _same(_state(copied), _truth(copied))


def test_a_writer_on_a_slow_line_leaves_it_to_the_next(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = artifactstore.open(copied, cache=None)
    before = _chain(copied)
    with monkeypatch.context() as patch:
        patch.setattr(extend, "_PATIENCE", 1e-9)
        for k in range(12):
            store.put(f"more {k}".encode(), "more")
        assert _chain(copied) == before
    for k in range(4):
        store.put(f"yet more {k}".encode(), "more")
    assert _chain(copied)[-1].seq > before[-1].seq
    assert _same(_state(copied), _truth(copied))


@pytest.mark.parametrize(("limit", "value"), [("_WHOLE", 10), ("_READING", 1e-9)])
def test_what_takes_long_to_read_is_not_read_by_a_put(
    copied: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(segments_module, "STRIDE", 1000)
        store = artifactstore.open(copied, cache=None)
        store.put(b"some", "some")
        whole = store.maintenance.snapshot()
    before, opened = _chain(copied), list[Any]()
    monkeypatch.setattr(extend, limit, value)
    monkeypatch.setattr(extend, "open_snapshot", lambda *args: opened.append(args))
    other = artifactstore.open(copied, cache=None)
    for k in range(9):
        other.put(f"more {k}".encode(), "more")
    assert opened == []
    chain = _chain(copied)
    assert whole.digest not in [one.digest for one in chain[1:]]
    assert (chain == before) == (limit == "_READING")
    assert _same(_state(copied), _truth(copied))


def test_threads_publish_while_others_append(copied: Path) -> None:
    store = artifactstore.open(copied, cache=None)

    def work(at: int) -> None:
        for k in range(6):
            store.put(f"{at} {k}".encode(), f"thread/{at}")

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert _same(_state(copied), _truth(copied))
    assert store.verify().ok


def test_who_may_only_read_publishes_nothing(copied: Path) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    store = artifactstore.open(copied, mode="r", cache=None)
    store.names()
    store.get("name/1")
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_where_an_entry_is_missing_nothing_is_published_and_nothing_is_made_worse(copied: Path) -> None:
    store = artifactstore.open(copied, cache=None)
    store.names()
    chain = _chain(copied)
    (copied / entry_key(chain[-1].seq - 2)).unlink()
    try:
        for k in range(6):
            store.put(f"more {k}".encode(), "more")
    except CorruptionError:
        pass
    assert {one.digest for one in published(list_derived(connect(str(copied))), State.LAYOUT)} >= {one.digest for one in chain}
    damage = [found.rule for found in artifactstore.open(copied, cache=None).verify().findings if found.severity == "damage"]
    assert "chain" in damage


def test_a_whole_snapshot_is_something_that_deltas_are_on(copied: Path) -> None:
    store = artifactstore.open(copied, cache=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "STRIDE", 1000)
        store.put(b"some", "some")
        done = store.maintenance.snapshot()
    for item in published(list_derived(connect(str(copied))), State.LAYOUT):
        if item.since is not None:
            (copied / item.key).unlink()
    _fill(store, 6, 20)
    chain = _chain(copied)
    assert (chain[0].digest, chain[0].since, len(chain) > 1) == (done.digest, None, True)
    state = _state(copied)
    assert isinstance(state.base, LayeredTables)
    assert state.base.bottom is not None
    assert _same(state, _truth(copied))
    copy_ = state.base.copy()
    copy_.close()
    assert store.verify().ok


# -- clean-up and repair


def _collected(path: Path) -> set[str]:
    store = artifactstore.open(path, cache=None)
    before = {str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()}
    store.maintenance.gc(grace=timedelta(0))
    return before - {str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()}


def test_clean_up_takes_what_newer_deltas_replace_and_spares_what_they_are_on(copied: Path) -> None:
    chain = _chain(copied)
    every = published(list_derived(connect(str(copied))), State.LAYOUT)
    old = [one for one in every if one.digest not in {kept.digest for kept in chain}]
    assert old
    gone = _collected(copied)
    assert {one for one in gone if "delta" in one} == {key for one in old for key in (one.key, one.content)}
    assert [one.digest for one in _chain(copied)][: len(chain)] == [one.digest for one in chain]
    assert _same(_state(copied), _truth(copied))


def test_clean_up_spares_what_a_damaged_delta_replaces(copied: Path) -> None:
    chain, backend = _chain(copied), connect(str(copied))
    _flipped(copied, chain[0], chain)
    rest = snapshots_of(list_derived(backend), State.LAYOUT, {chain[0].key})[0]
    assert rest.below
    _collected(copied)
    assert snapshots_of(list_derived(backend), State.LAYOUT, {chain[0].key})[0] == rest
    assert _same(_state(copied), _truth(copied))


@pytest.mark.parametrize("change", ["truncated", "flipped", "empty"])
def test_repair_derives_damaged_deltas_again(copied: Path, change: str) -> None:
    true = {one.content: (copied / one.content).read_bytes() for one in _chain(copied)}
    for one in _chain(copied):
        CHANGES[change](copied, one, _chain(copied))
    store = artifactstore.open(copied, cache=None)
    assert not store.verify().ok
    done = store.maintenance.repair()
    assert {one.key for one in done.restored} == {*true}
    assert {key: (copied / key).read_bytes() for key in true} == true
    assert store.verify().ok
    assert store.maintenance.repair().restored == ()


# -- between processes


def test_what_a_newcomer_has_read_is_kept_for_the_next_process(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(FoldCache, "FILED", 10)
    monkeypatch.setattr(FoldCache, "STEP", 1)
    true = _truth(copied)
    read: list[str] = []
    opened = snapshot_module.open_snapshot

    def noting(*args: Any) -> Any:
        read.append("read")
        return opened(*args)

    monkeypatch.setattr(snapshot_module, "open_snapshot", noting)
    for k in range(4):
        with artifactstore.open(copied, mode="r", cache=cache)._session.state() as state:
            assert _same(state, true)
            assert isinstance(state.base, LayeredTables)
            assert {f"blake3:{path.name}" for path in cache.glob("stores/*/layers/*")} == {
                one.digest for one in state.base.layers
            }
        assert len(read) == 1, k
    # What follows is kept beside them, until it is much; then all is one file.
    writer = artifactstore.open(copied, cache=cache)
    for k in range(3):
        writer.put(f"more {k}".encode(), "more")
    with artifactstore.open(copied, mode="r", cache=cache)._session.state() as state:
        assert _same(state, _truth(copied))
        assert isinstance(state.base, LayeredTables)
    monkeypatch.setattr(FoldCache, "BEHIND", 1)
    for k in range(3):
        writer.put(f"yet more {k}".encode(), "more")
    artifactstore.open(copied, cache=cache).names()
    with artifactstore.open(copied, mode="r", cache=cache)._session.state() as state:
        assert _same(state, _truth(copied))
        assert not isinstance(state.base, LayeredTables)


@pytest.mark.parametrize("change", ["gone", "empty", "line", "block"])
def test_kept_deltas_that_were_damaged_are_read_again(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    cache, true = tmp_path / "cache", _truth(copied)
    monkeypatch.setattr(FoldCache, "STEP", 1)
    assert _same(_kept(copied, cache), true)
    path = next(cache.glob("stores/*/layers/*"))
    data = path.read_bytes()
    if change == "gone":
        path.unlink()
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "line":
        path.write_bytes(data.replace(b'"name/0"', b'"name/9"', 1).replace(b'"seq":', b'"seq": ', 1))
    else:
        path.write_bytes(data[:-40] + bytes(40))
    assert _same(_kept(copied, cache), true)


def _kept(path: Path, cache: Path) -> State:
    with artifactstore.open(path, mode="r", cache=cache)._session.state() as state:
        return state


# -- what it costs


@pytest.mark.slow
def test_publishing_costs_a_tenth_of_what_appending_does_and_an_append_alone_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With puts of the smallest contents, whose entries are all that is written, at the shipped distances."""
    monkeypatch.undo()
    store = artifactstore.open(f"memory://{tmp_path.name}-cost", cache=None)
    store.put(b"first", "first")
    core = store._session.core_to_write()
    counting = CountingBackend(core.backend)
    core.journal.backend = core.journal.cached_backend = counting
    spent = [0, 0]
    done: list[Snapshot] = []
    real = extend.Publisher.extend

    def measured(self: extend.Publisher, sealed: Any) -> Snapshot | None:
        before = counting.requests, counting.bytes_read + counting.bytes_written
        made = real(self, sealed)
        spent[0] += counting.requests - before[0]
        spent[1] += counting.bytes_read + counting.bytes_written - before[1]
        done.extend([made] if made is not None else [])
        return made

    monkeypatch.setattr(extend.Publisher, "extend", measured)
    requests = set[int]()
    for k in range(extend.STRIDE + 300):
        before = counting.requests
        store.put(b"content %d" % k, f"name/{k % 50}")
        requests.add(counting.requests - before)
    assert len(done) == 1
    assert min(requests) == 3  # the head twice, and the entry, as ever
    assert len(requests) < 8  # those that seal, or publish, too
    total = counting.bytes_read + counting.bytes_written
    assert spent[0] <= 0.1 * counting.requests
    assert spent[1] <= 0.1 * total
