"""A copy while others write or somebody changes things: what was named is what is copied, or nothing is said to be whole."""

from collections.abc import Callable
from typing import Any

import pytest

from artifactstore.backend.memory import MemoryBackend
from artifactstore.catalog.fold.state import State
from artifactstore.errors import ConflictError, CorruptionError, RefusedError
from artifactstore.journal.chain import encode_entry, entry_key, facts_key
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import end_key, mark_body, read_replica_status, target_key
from artifactstore.maintenance.sync.move import move, release
from artifactstore.maintenance.sync.replicate import replicate
from artifactstore.maintenance.sync.report import SyncReport
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, new_id
from tests.journal.making import CONFIG, TIME, Memory, Refused, appender_of, fill, journal_of, measured, txn


def nothing(_what: str, _total: int) -> Callable[[int], None]:
    return lambda _more: None


def copied(source: Journal, target: MemoryBackend, copy: Journal | None = None) -> int:
    return replicate(source, target, copy, watch=nothing, done=SyncReport("replica", "a", "b"))


def reopened(place: MemoryBackend) -> Journal | None:
    there = any(item.key == "store.json" for item in place.list(""))
    return Journal(place, CONFIG, State) if there else None


@pytest.fixture
def source() -> Memory:
    place = Memory()
    place.raws = fill(place, 5)  # type: ignore[attr-defined]
    return place


def other_entry(source: Any, seq: int) -> bytes:
    """An entry that follows the one before, with another content."""
    previous = Digest.of(source.raws[seq - 2])
    return encode_entry(seq, previous, writer="1" * 32, time=TIME, txns=[txn(seq, measured("changed"))])


@pytest.mark.parametrize("seq", [2, 4, 5])
@pytest.mark.parametrize("moment", ["before", "while its head is named", "behind store.json"])
def test_an_entry_that_was_changed_after_it_was_read_is_not_copied(source: Memory, seq: int, moment: str):
    class Target(Memory):
        def create(self, key: str, data: bytes) -> None:
            super().create(key, data)
            if key.startswith({"while its head is named": "replica/", "behind store.json": "store.json"}.get(moment, "-")):
                source.write(entry_key(seq), other_entry(source, seq))

    journal, target = journal_of(source), Target()
    journal.catch_up()
    if moment == "before":
        source.write(entry_key(seq), other_entry(source, seq))
    with pytest.raises(CorruptionError, match=r"journal|entries"):
        copied(journal, target)
    copy = reopened(target)
    if copy is not None:
        assert copy.catch_up() < seq + (seq < 5)
        with pytest.raises(RefusedError, match="finish the copy"):
            release(copy)


def test_an_entry_that_another_wrote_at_the_target_is_told(source: Memory):
    journal, target = journal_of(source), Memory()

    class Written(Memory):
        def create(self, key: str, data: bytes) -> None:
            if key == entry_key(3):
                super().create(key, other_entry(source, 3))
            super().create(key, data)

    target = Written()
    with pytest.raises(ConflictError, match="entry 3 is the first that differs"):
        copied(journal, target)


def test_an_object_of_another_size_at_the_target_is_told(source: Memory):
    raw, one = canonical_json([measured("b")]), new_id()
    source.write(facts_key(one), raw)
    spilled = {**txn(6), "facts": [], "spilled": {"id": one, "digest": str(Digest.of(raw))}}
    source.write(entry_key(6), encode_entry(6, Digest.of(source.raws[4]), writer="0" * 32, time=TIME, txns=[spilled]))  # type: ignore[attr-defined]

    class Racing(Memory):
        """Whoever asks whether an object is there hears no, and somebody writes it then."""

        def create(self, key: str, data: bytes) -> None:
            if key == facts_key(one):
                super().create(key, data[:-1])
            super().create(key, data)

    with pytest.raises(CorruptionError, match="has another size"):
        copied(journal_of(source), Racing())
    target = Memory()
    assert copied(journal_of(source), target) == 6
    assert target.read(facts_key(one)) == raw


def test_a_place_that_named_the_head_of_another_history_takes_no_entry_of_this(source: Memory):
    target, other = Memory(), Digest.of(b"another fifth entry")
    target.create(target_key(5, other), mark_body(CONFIG.store, 5, other))
    with pytest.raises(ConflictError, match="from another history of this store"):
        copied(journal_of(source), target)
    assert not [item.key for item in target.list("journal/")]


def test_a_copy_is_released_at_the_head_that_it_named_and_not_before(source: Memory):
    target = Memory()
    copied(journal_of(source), target)
    last = target.read(entry_key(5))
    target.delete(entry_key(5))
    with pytest.raises(RefusedError, match="has entry 4 of 5"):
        release(journal_of(target))
    target.write(entry_key(5), other_entry(source, 5))
    with pytest.raises(ConflictError, match="of another history as its target head"):
        release(journal_of(target))
    target.write(entry_key(5), last)
    assert not any(item.key == end_key(5) for item in target.list("replica/"))
    assert release(journal_of(target))
    assert read_replica_status(target, CONFIG.store).released == 5
    assert not release(journal_of(target))


def test_a_store_that_moved_moves_nowhere_else(source: Memory):
    first, second = Memory(), Memory()
    journal = journal_of(source)

    def moved(target: MemoryBackend) -> SyncReport:
        done = SyncReport("move", "a", "b")
        move(journal, appender_of(journal), target, lambda: reopened(target), watch=nothing, done=done)
        return done

    assert moved(first).released
    with pytest.raises(RefusedError, match=f"has moved to {first.url}"):
        moved(second)
    assert not [*second.list("")]
    assert not moved(first).released  # run again it finds all done
    with pytest.raises(Refused, match="moved"):
        appender_of(journal).commit([measured()], birth=journal.head, alive_at=journal.head, refuse=Refused)
    copy = reopened(first)
    assert copy is not None
    copy.catch_up()
    assert copy.fold.header["moved_to"] is None
    assert appender_of(copy).commit([measured()], birth=5, alive_at=5, refuse=Refused).seq == 6
