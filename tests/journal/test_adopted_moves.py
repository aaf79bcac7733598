"""Moves of aliases are appended for their writers, as long as nothing that they depend on has changed since; then never."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from artifactstore.backend.base import Buffer
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import INBOX, encode_entry, entry_key, inbox_key
from artifactstore.journal.inbox import RECENT
from artifactstore.model.encoding import canonical_json, format_time, new_id
from artifactstore.model.facts import is_adoptable

from .making import TIME, Memory, Refused, appender_of, digest, journal_of, measured, txn

Fact = dict[str, Any]
GATED = {"fact": "gated", "names": "*", "alias": "best", "rules": {"all": [{"run": "finished"}]}}


def _stored(word: str) -> Fact:
    fact = {"fact": "stored", "digest": digest(word), "manifest": new_id(), "manifest_digest": digest("m"), "size": 1, "files": 1}
    return {**fact, "packs": []}


def _versioned(word: str) -> Fact:
    return {"fact": "versioned", "name": "x", "digest": digest(word), "kind": "data"}


def _moved(version: int | None, alias: str = "best", **more: Any) -> Fact:
    return {"fact": "aliased", "name": "x", "alias": alias, "version": version, **more}


def _commit(appender: Appender, *facts: Fact) -> Any:
    head = appender.journal.catch_up()
    return appender.commit(list(facts) or [measured()], birth=head, alive_at=head, refuse=Refused)


def _filled(backend: Memory) -> Appender:
    """Two versions of x, and best at the first of them: two entries."""
    appender = appender_of(journal_of(backend))
    _commit(appender, _stored("a"), _versioned("a"), _stored("b"), _versioned("b"))
    _commit(appender, _moved(1))
    return appender


def _post(backend: Memory, *facts: Fact, age: timedelta = timedelta(), **more: Any) -> dict[str, Any]:
    record = txn(3, *facts, **{"time": format_time(datetime.now(UTC) - age), **more})
    backend.write(inbox_key(record["txn"], record["birth"], record["base"]), canonical_json(record))
    return record


def _adopted(backend: Memory) -> list[str]:
    """Let another writer append, and return what it appended for others."""
    appender = appender_of(journal_of(backend))
    appender._turns._until = math.inf
    done = _commit(appender)
    return [one["txn"] for one in json.loads(backend.read(entry_key(done.seq)))["txns"][1:]]


MOVES: dict[str, Fact] = {
    "plain": {},
    "expecting": {"expect": 1},
    "ending": {"version": None},
    "ending, expecting": {"version": None, "expect": 1},
}
SINCE: dict[str, tuple[list[Fact], bool]] = {
    "nothing": ([], True),
    "another alias moved": ([_moved(2, "other")], True),
    "moved elsewhere": ([_moved(2)], False),
    "moved elsewhere and back": ([_moved(2), _moved(1)], False),
    "moved to where it is": ([_moved(1)], False),
    "ended": ([_moved(None)], False),
    "gated": ([GATED], False),
    "gated, and the gate lifted": ([GATED, {**GATED, "rules": None}], False),
    "a gate of another alias": ([{**GATED, "alias": "other"}], True),
    "cleaned up": ([{"fact": "condemned", "manifests": [], "packs": [new_id()]}], False),
    "something measured": ([measured()], True),
}


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("move", MOVES)
def test_a_move_is_adopted_only_if_nothing_that_it_depends_on_has_changed(move: str, since: str) -> None:
    backend = Memory()
    writer = _filled(backend)
    theirs = _post(backend, {**_moved(2), **MOVES[move]})
    happened, adopted = SINCE[since]
    for fact in happened:
        _commit(writer, fact)
    assert _adopted(backend) == ([theirs["txn"]] if adopted else [])
    assert _adopted(backend) == []


@pytest.mark.parametrize("removed", [{"digest": digest("b")}, {"name": "x", "version": 2}])
def test_a_move_to_a_version_that_was_removed_is_not_adopted(removed: Fact) -> None:
    backend = Memory()
    writer = _filled(backend)
    _post(backend, _moved(2))
    _commit(writer, {"fact": "removed", **removed})
    _commit(writer, _stored("b"), _versioned("b"))  # a version of its own
    assert _adopted(backend) == []


@pytest.mark.parametrize("age", [timedelta(), RECENT / 2, -RECENT / 2, RECENT * 2, -RECENT * 2, timedelta(days=300)])
def test_a_move_whose_writer_may_be_gone_is_left_alone(age: timedelta) -> None:
    backend = Memory()
    _filled(backend)
    move = _post(backend, _moved(2), age=age)
    put = _post(backend, measured("theirs"), age=age)
    assert set(_adopted(backend)) == ({move["txn"], put["txn"]} if abs(age) < RECENT else {put["txn"]})


def test_of_two_moves_of_one_alias_an_entry_takes_one() -> None:
    backend = Memory()
    _filled(backend)
    posted = sorted(_post(backend, _moved(2))["txn"] for _ in range(3))
    other = _post(backend, _moved(1, "other"))["txn"]
    adopted = _adopted(backend)
    assert len(adopted) == 2
    assert other in adopted
    assert set(adopted) - {other} < set(posted)
    assert _adopted(backend) == []


def test_an_own_move_comes_before_those_of_others_which_are_made_again() -> None:
    backend = Memory()
    _filled(backend)
    _post(backend, _moved(2))
    appender = appender_of(journal_of(backend))
    appender._turns._until = math.inf
    done = _commit(appender, _moved(1))
    assert [one["txn"] for one in json.loads(backend.read(entry_key(done.seq)))["txns"]] == [done.txn]


def test_a_put_with_an_alias_is_adopted_whole() -> None:
    backend = Memory()
    _filled(backend)
    put = [_stored("c"), _versioned("c"), {"fact": "aliased", "name": "x", "alias": "best", "digest": digest("c")}]
    theirs = _post(backend, *put)
    assert _adopted(backend) == [theirs["txn"]]
    journal = journal_of(backend)
    journal.catch_up()
    assert [move["version"] for move in journal.fold.aliases["x"]["best"]] == [1, 3]


@pytest.mark.parametrize(
    ("facts", "adoptable"),
    [
        ([_moved(1)], True),
        ([_moved(1, expect=None)], True),
        ([_moved(None)], True),
        ([{**_moved(None), "digest": digest("a")}], False),
        ([_versioned("a"), {**_moved(None), "digest": digest("a")}], True),
        ([{**_moved(None), "digest": digest("a")}, _versioned("a")], False),
        ([_versioned("b"), {**_moved(None), "digest": digest("a")}], False),
        ([{**_versioned("a"), "name": "y"}, {**_moved(None), "digest": digest("a")}], False),
        ([_moved(1), {"fact": "removed", "digest": digest("a")}], False),
    ],
)
def test_a_move_to_the_newest_version_of_some_content_is_its_own_writers(facts: list[Fact], *, adoptable: bool) -> None:
    """Another put of that content would make it mean another version."""
    assert is_adoptable(facts) is adoptable


class Racing(Memory):
    """A store where another writer appends just before, so often, facts that it takes from a list."""

    def __init__(self) -> None:
        super().__init__()
        self.theirs: list[list[Fact] | str] = []

    def create(self, key: str, data: bytes) -> None:
        if key.startswith("journal/0") and self.theirs:
            journal = journal_of(self)
            seq, made = journal.catch_up() + 1, self.theirs.pop(0)
            txns = [json.loads(self.read(one)) for one in _postings(self)] if made == "adopted" else [txn(seq, *made)]
            raw = encode_entry(seq, journal.digest, writer="1" * 32, time=TIME, txns=txns, format=journal.fold.header["format"])
            super().create(entry_key(seq), raw)
        super().create(key, data)

    def write(self, key: str, data: Buffer | Any) -> None:
        self.log.append(("write", key))
        super().write(key, data)


def _postings(backend: Memory) -> list[str]:
    return [item.key for item in backend.list(INBOX) if item.key.endswith(".json")]


def test_a_move_that_lost_a_race_is_posted_and_success_when_another_writer_appended_it() -> None:
    backend = Racing()
    writer = _filled(backend)
    backend.theirs = [[measured("1")], "adopted"]
    done = _commit(writer, _moved(2, expect=1))
    assert _postings(backend) == [inbox_key(done.txn, 2, 3)]
    entry = json.loads(backend.read(entry_key(done.seq)))
    assert (done.seq, entry["writer"]) == (4, "1" * 32)
    assert entry["txns"][0]["adoptable"] is True


def test_a_move_is_posted_again_when_its_alias_was_moved_since() -> None:
    backend = Racing()
    writer = _filled(backend)
    backend.theirs = [[measured("1")], [_moved(2)], [measured("2")], [_moved(1)], [measured("3")]]
    done = _commit(writer, _moved(2))
    assert _postings(backend) == [inbox_key(done.txn, 2, base) for base in (3, 4, 6)]
    assert done.seq == 8


def test_a_move_that_what_happened_since_refuses_has_failed_for_ever() -> None:
    backend = Racing()
    writer = _filled(backend)
    backend.theirs = [[measured("1")], [_moved(2)]]
    with pytest.raises(Refused):
        _commit(writer, _moved(2, expect=1))
    assert len(_postings(backend)) == 1
    _commit(writer, _moved(1))  # now it would be valid again
    assert _adopted(backend) == []


def test_a_move_of_a_gated_alias_is_not_posted_and_asks_others_to_wait() -> None:
    backend = Racing()
    writer = _filled(backend)
    _commit(writer, GATED)
    _commit(writer, {**GATED, "rules": None})
    backend.theirs = [[measured(f"{k}")] for k in range(3)]
    done = _commit(writer, _moved(2))
    assert _postings(backend) == []
    assert [item.key for item in backend.list(INBOX)] == [inbox_key(done.txn, 4, 7, yields=True)]
