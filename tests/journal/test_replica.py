"""The marks of a copy: whose they are, how far it is, and whether it may be written to."""

import itertools

import pytest

from artifactstore.errors import CorruptionError
from artifactstore.journal.replica import ReplicaStatus, end_key, mark_body, read_replica_status, target_key
from artifactstore.model.digest import Digest

from .making import Memory

OWN, OTHER = "a" * 32, "b" * 32


def digest(seq: int) -> Digest:
    return Digest.of(str(seq).encode())


def name(place: Memory, seq: int, store: str = OWN) -> None:
    place.create(target_key(seq, digest(seq)), mark_body(store, seq, digest(seq)))


def end(place: Memory, seq: int, store: str = OWN) -> None:
    place.create(end_key(seq), mark_body(store, seq, digest(seq)))


def test_a_place_without_marks_is_a_store_of_its_own():
    standing = read_replica_status(Memory(), OWN)
    assert standing == ReplicaStatus()
    assert standing.writable
    assert standing.reached(0)


@pytest.mark.parametrize("order", [*itertools.permutations([3, 12, 7])])
def test_the_highest_head_that_was_named_counts(order: tuple[int, ...]):
    place = Memory()
    for seq in order:
        name(place, seq)
    standing = read_replica_status(place, OWN)
    assert standing.target == (12, digest(12).hex)
    assert [standing.reached(head) for head in (0, 7, 11, 12, 13)] == [False, False, False, True, True]
    assert not standing.writable
    end(place, 12)
    released = read_replica_status(place, OWN)
    assert released.released == 12
    assert released.writable
    assert released.reached(0)


def test_marks_of_another_store_mean_nothing():
    """A copy that lost the race for an empty place leaves them behind."""
    place = Memory()
    name(place, 9, OTHER)
    assert read_replica_status(place, OWN) == ReplicaStatus()
    name(place, 4)
    assert read_replica_status(place, OWN).target == (4, digest(4).hex)
    end(place, 9, OTHER)
    assert read_replica_status(place, OWN).released is None
    assert not read_replica_status(place, OWN).writable
    end(place, 4)
    assert read_replica_status(place, OWN).released == 4


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"{}"])
@pytest.mark.parametrize("key", [target_key(4, digest(4)), end_key(4)])
def test_a_mark_that_cannot_be_read_is_damage_and_no_permission(key: str, raw: bytes):
    place = Memory()
    place.create(key, raw)
    with pytest.raises(CorruptionError, match=key):
        read_replica_status(place, OWN)


def test_other_keys_beside_them_are_passed_over():
    place = Memory()
    for key in ("replica/4-end.json", "replica/000000000004.json", f"replica/000000000004-{'g' * 64}.json", "replica/x/y"):
        place.create(key, b"not read")
    assert read_replica_status(place, OWN) == ReplicaStatus()
