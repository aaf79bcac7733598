import contextlib
import copy
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import pytest

from artifactstore.backend.base import Stored
from artifactstore.catalog.fold.state import State
from artifactstore.errors import BackendError, CorruptionError, FormatError
from artifactstore.journal import fetch as fetch_module
from artifactstore.journal import journal as journal_module
from artifactstore.journal.chain import encode_entry, entry_key, facts_key
from artifactstore.journal.fetch import fetch_run, last_listed
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import list_segments
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, new_id
from artifactstore.model.facts import Config

from .making import TIME, Memory, digest, fill, journal_of, measured, txn


class Kept:
    """A kept fold."""

    def __init__(self) -> None:
        self.kept: tuple[str, str] | None = None

    def load(self) -> tuple[Any, str] | None:
        return None if self.kept is None else (State.load(json.loads(self.kept[0])), self.kept[1])

    def save(self, fold: Any, digest: str) -> None:
        self.kept = (json.dumps(fold.dump()), digest)

    def is_due(self, fold: Any, saved: int) -> bool:
        return bool(fold.head - saved > saved // 64)

    def see(self, entry: Any) -> None:
        """Keep nothing but folds."""

    def note(self, fold: Any) -> None:
        """Keep nothing but folds."""


class Trips:
    """A logical clock: what runs in a pool at the same time takes one trip."""

    now = 0


class TripPool:
    def __init__(self, workers: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], *args: Any) -> "TripFuture":
        start = Trips.now
        value = call(*args)
        end, Trips.now = Trips.now, start
        return TripFuture(value, end)

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [future.result() for future in [self.submit(call, item) for item in items]]


class TripFuture:
    def __init__(self, value: Any, end: int) -> None:
        self.value, self.end = value, end

    def result(self) -> Any:
        Trips.now = max(Trips.now, self.end)
        return self.value


class Remote(Memory):
    """A place where each request is a round trip."""

    concurrency = 16

    def read(self, key: str) -> bytes:
        Trips.now += 1
        return super().read(key)

    def list(self, prefix: str) -> Iterator[Stored]:
        Trips.now += 1
        return super().list(prefix)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> type[Trips]:
    monkeypatch.setattr(fetch_module, "Pool", TripPool)
    monkeypatch.setattr(journal_module, "Pool", TripPool)
    Trips.now = 0
    return Trips


def _counted(journal: Journal, trips: type[Trips]) -> int:
    trips.now = 0
    journal.catch_up()
    return trips.now


# -- round trips


@pytest.mark.parametrize(("entries", "expected"), [(0, 2), (1, 2), (255, 2), (300, 3), (999, 5)])
def test_the_head_is_found_in_few_round_trips(trips, entries: int, expected: int) -> None:
    backend = Remote()
    fill(backend, entries)
    journal = journal_of(backend)
    assert _counted(journal, trips) == expected
    assert journal.head == entries
    assert _counted(journal, trips) == 1


@pytest.mark.slow
@pytest.mark.parametrize("behind", [0, 3, 700])
def test_segments_and_a_tail_take_three_or_four_round_trips(trips, behind: int) -> None:
    backend = Remote()
    raws = fill(backend, 5000 - behind)
    sealer = journal_of(backend)
    sealer.catch_up()
    sealer.seal()
    fill_on(backend, raws, behind)
    journal = journal_of(backend)
    assert _counted(journal, trips) == (3 if behind < 255 else 5)
    assert journal.head == 5000
    assert _counted(journal, trips) == 1


@pytest.mark.parametrize("entries", [1, 300, 5000])
def test_with_a_kept_fold_the_head_is_found_in_one_round_trip(trips, entries: int) -> None:
    backend, kept = Remote(), Kept()
    fill(backend, entries)
    journal_of(backend, kept).catch_up()
    journal = journal_of(backend, kept)
    assert _counted(journal, trips) == 1
    assert journal.head == entries
    assert len(journal.fold.verdicts) > 0


def fill_on(backend: Memory, raws: list[bytes], more: int) -> None:
    previous = Digest.of(raws[-1])
    for seq in range(len(raws) + 1, len(raws) + more + 1):
        raw = encode_entry(seq, previous, writer="0" * 32, time=TIME, txns=[txn(seq)])
        backend.write(entry_key(seq), raw)
        previous = Digest.of(raw)


@pytest.mark.parametrize("entries", [0, 1, 998, 999, 1000, 1001, 3500])
def test_listings_show_the_last_entry_over_folders(entries: int) -> None:
    backend = Memory()
    fill(backend, entries)
    assert last_listed(backend, 1) == entries
    assert last_listed(backend, entries + 1) == entries


# -- damage


@pytest.mark.slow
@pytest.mark.parametrize("missing", [[1], [2], [9], range(300, 700), [999], range(990, 1000)])
def test_a_hole_is_damage_however_long_it_is(missing: Iterable[int]) -> None:
    backend = Memory()
    fill(backend, 1100)
    for seq in missing:
        backend.delete(entry_key(seq))
    with pytest.raises(CorruptionError, match=f"{entry_key(min(missing))} is missing"):
        journal_of(backend).catch_up()


@pytest.mark.parametrize("missing", [2, 4, 5, 6])
def test_a_hole_before_an_entry_that_was_read_with_it_is_damage_although_no_listing_shows_more(missing: int) -> None:
    """Without a listing entries are asked for in ones, twos, fours …"""
    backend = Memory()
    raws = fill(backend, 7)
    assert list(fetch_run(backend, 1, 0)) == raws
    backend.delete(entry_key(missing))
    with pytest.raises(CorruptionError, match=f"{entry_key(missing)} is missing"):
        list(fetch_run(backend, 1, 0))


def test_an_entry_that_appears_between_two_reads_is_no_hole() -> None:
    backend = Memory()
    raws = fill(backend, 9)
    backend.delete(entry_key(4))

    class Appearing(Memory):
        def read(self, key: str) -> bytes:
            try:
                return backend.read(key)
            except KeyError:
                backend.write(key, raws[3]) if key == entry_key(4) else None
                raise

        def list(self, prefix: str) -> Iterator[Stored]:
            return backend.list(prefix)

    assert journal_of(Appearing()).catch_up() == 9


def test_a_changed_entry_breaks_the_chain_behind_it() -> None:
    backend = Memory()
    raws = fill(backend, 5)
    backend.write(entry_key(3), raws[2].replace(b'"ann"', b'"eve"'))
    with pytest.raises(CorruptionError, match=r"broken between journal/000000000/000000000003\.json and"):
        journal_of(backend).catch_up()


def test_a_fork_is_seen_by_who_has_read_the_other_branch() -> None:
    backend = Memory()
    raws = fill(backend, 3)
    journal = journal_of(backend)
    journal.catch_up()
    other = encode_entry(3, Digest.of(raws[1]), writer="1" * 32, time=TIME, txns=[txn(3)])
    backend.write(entry_key(3), other)
    backend.write(entry_key(4), encode_entry(4, Digest.of(other), writer="1" * 32, time=TIME, txns=[txn(4)]))
    with pytest.raises(CorruptionError, match="one of the two was changed"):
        journal.catch_up()
    assert journal.head == 3


def test_another_store_json_does_not_fit() -> None:
    backend = Memory()
    fill(backend, 2)
    with pytest.raises(CorruptionError, match=r"between store\.json and"):
        journal_of(backend, config=Config.new("d" * 32, "blake3", {"small": (64, 128, 256)}, TIME)).catch_up()


def test_a_newer_format_stops_reading_and_leaves_what_was_read() -> None:
    backend = Memory()
    raws = fill(backend, 3)
    journal = journal_of(backend)
    journal.catch_up()
    backend.write(entry_key(4), canonical_json({"format": 4, "previous": str(Digest.of(raws[-1])), "seq": 4}))
    with pytest.raises(FormatError):
        journal.catch_up()
    assert journal.head == 3
    with pytest.raises(FormatError):
        journal_of(backend).catch_up()


def test_a_failing_backend_is_no_end_of_the_journal() -> None:
    backend = Memory()
    fill(backend, 3)
    journal = journal_of(backend)
    backend.deaf = True
    with pytest.raises(BackendError):
        journal.catch_up()
    backend.deaf = False
    assert journal.catch_up() == 3


def test_a_store_with_another_algorithm_chains_with_it() -> None:
    config = Config.new("d" * 32, "sha256", {"small": (64, 128, 256)}, TIME)
    backend = Memory()
    fill(backend, 400, config=config)
    journal = journal_of(backend, config=config)
    assert journal.catch_up() == 400
    journal.seal()
    assert len(list_segments(backend)) == 1
    assert journal_of(backend, config=config).catch_up() == 400
    assert sum(1 for _ in journal.entries()) == 400


# -- kept folds


def test_a_kept_fold_of_another_history_is_not_believed() -> None:
    backend, kept = Memory(), Kept()
    fill(backend, 5)
    journal_of(backend, kept).catch_up()
    other = Memory()
    fill(other, 7, make=lambda seq: [txn(seq, measured("b"))])
    journal = journal_of(other, kept)
    assert journal.catch_up() == 7
    assert set(journal.fold.metrics) == {digest("b")}


@pytest.mark.parametrize("behind", [0, 1, 3])
def test_a_kept_fold_of_another_history_of_the_same_length_is_not_believed(behind: int) -> None:
    backend, kept = Memory(), Kept()
    fill(backend, 5)
    journal_of(backend, kept).catch_up()
    other = Memory()
    raws = fill(other, 5 + behind, make=lambda seq: [txn(seq, measured("b"))])
    journal = journal_of(other, kept)
    assert journal.catch_up() == 5 + behind
    assert set(journal.fold.metrics) == {digest("b")}
    assert journal.digest == Digest.of(raws[-1])


def test_a_kept_fold_beyond_the_head_is_not_believed() -> None:
    backend, kept = Memory(), Kept()
    raws = fill(backend, 5)
    journal_of(backend, kept).catch_up()
    backend.delete(entry_key(5))
    journal = journal_of(backend, kept)
    assert journal.catch_up() == 4
    assert journal.digest == Digest.of(raws[3])


def test_a_kept_fold_gives_the_same_state() -> None:
    backend, kept = Memory(), Kept()
    fill(backend, 70)
    cold = journal_of(backend, kept)
    cold.catch_up()
    warm = journal_of(backend, kept)
    warm.catch_up()
    assert warm.fold.dump() == cold.fold.dump()


# -- spilled facts


def _spilled(backend: Memory, facts: list[dict[str, Any]]) -> str:
    raw, one = canonical_json(facts), new_id()
    backend.write(facts_key(one), raw)
    fill(backend, 1, make=lambda seq: [{**txn(seq), "facts": [], "spilled": {"id": one, "digest": str(Digest.of(raw))}}])
    return one


def test_spilled_facts_take_effect() -> None:
    backend = Memory()
    _spilled(backend, [measured("b")])
    journal = journal_of(backend)
    journal.catch_up()
    assert digest("b") in journal.fold.metrics
    assert [entry["txns"][0]["facts"] for entry in journal.entries()] == [[measured("b")]]


def test_missing_spilled_facts_are_damage() -> None:
    backend = Memory()
    one = _spilled(backend, [measured()])
    backend.delete(facts_key(one))
    with pytest.raises(CorruptionError, match=f"{facts_key(one)}.*is missing"):
        journal_of(backend).catch_up()


def test_changed_spilled_facts_are_damage() -> None:
    backend = Memory()
    one = _spilled(backend, [measured()])
    backend.write(facts_key(one), canonical_json([measured("evil")]))
    with pytest.raises(CorruptionError, match="does not match its digest"):
        journal_of(backend).catch_up()


# -- reading again


def test_entries_are_yielded_from_anywhere_to_anywhere() -> None:
    backend = Memory()
    fill(backend, 700)
    journal = journal_of(backend)
    journal.catch_up()
    journal.seal()
    for first, last in [(1, None), (5, 9), (300, 700), (690, None), (1, 699), (700, 700), (701, None)]:
        expected = list(range(first, (last or 700) + 1))
        assert [entry["seq"] for entry in journal.entries(first, last)] == expected
        assert [seq for seq, _ in journal.raw_entries(first, last)] == expected


def test_an_entry_deleted_since_is_damage_and_not_the_end() -> None:
    backend = Memory()
    fill(backend, 9)
    journal = journal_of(backend)
    journal.catch_up()
    backend.delete(entry_key(9))
    with pytest.raises(CorruptionError, match="is missing"):
        list(journal.entries())


def test_the_fold_shares_nothing_with_a_copy() -> None:
    backend = Memory()
    fill(backend, 3)
    journal = journal_of(backend)
    journal.catch_up()
    before = copy.deepcopy(journal.fold.dump())
    list(journal.entries())
    assert journal.fold.dump() == before


class Broken(Memory):
    """A place of which one entry cannot be read."""

    bad = 0

    def read(self, key: str) -> bytes:
        if key == entry_key(self.bad):
            raise BackendError("a bad sector", transient=False)
        return super().read(key)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_what_comes_before_an_entry_that_cannot_be_read_is_given_first(count: int):
    backend = Broken()
    for number in range(1, count + 1):
        backend.create(entry_key(number), str(number).encode())
    for known in (0, 1, count):
        backend.bad = 0
        assert [int(one) for one in fetch_run(backend, 1, known)] == [*range(1, count + 1)]
        for bad in range(1, count + 1):
            backend.bad = bad
            with pytest.raises(BackendError, match="a bad sector"):
                list(fetch_run(backend, 1, known))
            given: list[int] = []
            with contextlib.suppress(BackendError):
                given.extend(int(one) for one in fetch_run(backend, 1, known))
            assert given == [*range(1, bad)]


def test_a_hole_before_an_entry_that_cannot_be_read_is_no_end():
    for last, hole in ((one, hole) for one in (2, 3, 5, 8, 12) for hole in range(1, one)):
        backend = Broken()
        for number in range(1, last + 1):
            if number != hole:
                backend.create(entry_key(number), str(number).encode())
        for backend.bad in range(hole + 1, last + 1):
            given: list[int] = []
            with pytest.raises((BackendError, CorruptionError)):
                given.extend(int(one) for one in fetch_run(backend, 1, last))
            assert given == [*range(1, hole)]
            if (last, hole) == (3, 2):  # asked for together, before anything says that there are so many
                with pytest.raises(BackendError):
                    list(fetch_run(backend, 1, 0))
