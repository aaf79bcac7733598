import multiprocessing
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from artifactstore.backend.buffers import writable
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.wrappers import retry_policy
from artifactstore.backend.wrappers.retry_policy import retry_seconds
from artifactstore.catalog.fold import judge as judge_module
from artifactstore.catalog.fold import state as state_module
from artifactstore.catalog.fold.state import State
from artifactstore.errors import (
    BackendError,
    ConflictError,
    CorruptionError,
    FormatError,
    InvalidInputError,
    OutcomeUnknownError,
    UnsupportedError,
)
from artifactstore.journal import append as append_module
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import MAX_ENTRY, encode_entry, entry_key, facts_key
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, new_id
from artifactstore.model.facts import WINDOW, is_adoptable, parse_entry

from .making import AUTHOR, CONFIG, TIME, Memory, Refused, appender_of, digest, fill, journal_of, measured, txn, with_config


@pytest.fixture
def backend() -> Memory:
    return Memory()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.2")


def _commit(appender: Appender, *facts: dict[str, Any], **more: Any) -> Any:
    head = appender.journal.catch_up()
    return appender.commit(list(facts) or [measured()], birth=head, alive_at=head, refuse=Refused, **more)


def _effective(backend: Memory) -> list[str]:
    journal = journal_of(backend)
    journal.catch_up()
    return [
        one["txn"]
        for entry in journal.entries()
        for one in entry["txns"]
        if journal.fold.verdict(one["txn"]) == (entry["seq"], None)
    ]


def _stranger(backend: Memory, *txns: dict[str, Any]) -> None:
    """Another process appends."""
    journal = journal_of(backend)
    head = journal.catch_up()
    backend.write(
        entry_key(head + 1), encode_entry(head + 1, journal.digest, writer="1" * 32, time=TIME, txns=txns or [txn(head + 1)])
    )


# -- the plain way


def test_a_commit_tells_its_entry_and_costs_one_create(backend: Memory) -> None:
    appender = appender_of(journal_of(backend))
    head = appender.journal.catch_up()
    backend.log.clear()
    done = appender.commit([measured()], birth=head, alive_at=head, refuse=Refused, reason="why not")
    assert done.seq == 1
    # Is the last entry (here: store.json) still there? Then the entry itself, which proves that there was no next one.
    assert backend.log == [("read", "store.json"), ("create", entry_key(1))]
    (entry,) = journal_of_entries(backend)
    (one,) = entry["txns"]
    assert (one["txn"], one["actor"], one["reason"], one["adoptable"]) == (done.txn, "ann", "why not", True)


def journal_of_entries(backend: Memory) -> list[Any]:
    journal = journal_of(backend)
    journal.catch_up()
    return list(journal.entries())


@pytest.mark.parametrize(
    ("fact", "adoptable"),
    [
        ({"fact": "started", "run": "r", "name": "train"}, True),
        ({"fact": "started", "run": "r", "name": "train", "claimed": True}, False),
        ({"fact": "removed", "digest": digest("a")}, False),
        ({"fact": "of tomorrow"}, False),
    ],
)
def test_only_what_a_clean_up_alone_can_void_is_adoptable(backend: Memory, fact: dict[str, Any], *, adoptable: bool) -> None:
    _commit(appender_of(journal_of(backend)), fact)
    assert journal_of_entries(backend)[0]["txns"][0]["adoptable"] is adoptable


def test_a_version_that_expects_how_many_there_are_is_not_adoptable() -> None:
    version = {"fact": "versioned", "name": "x", "digest": digest("a"), "kind": "data"}
    assert is_adoptable([version])
    assert not is_adoptable([{**version, "expect": 0}])


def test_the_fold_shares_nothing_with_the_caller(backend: Memory) -> None:
    journal = journal_of(backend)
    metadata = {"note": "first"}
    fact = {"fact": "stored", "digest": digest("a"), "manifest": new_id(), "manifest_digest": digest("m"), "size": 1, "files": 1}
    versioned = {"fact": "versioned", "name": "x", "digest": digest("a"), "kind": "data", "metadata": metadata}
    _commit(appender_of(journal), {**fact, "packs": []}, versioned)
    metadata["note"] = "changed later"
    assert journal.fold.names["x"][0]["metadata"] == {"note": "first"}


@pytest.mark.parametrize(
    "fact",
    [
        {"fact": "measured", "digest": digest("a"), "metrics": {"m": "much"}},
        {"fact": "versioned", "name": 5, "digest": digest("a"), "kind": "data"},
        {"fact": "removed"},
        {"fact": "condemned", "manifests": ["x"], "packs": []},
        {"fact": None},
    ],
)
def test_a_fact_that_readers_would_choke_on_is_never_written(backend: Memory, fact: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        _commit(appender_of(journal_of(backend)), fact)
    assert not backend.script
    assert journal_of(backend).catch_up() == 0


def test_a_reason_must_be_text(backend: Memory) -> None:
    with pytest.raises(InvalidInputError, match="reason"):
        _commit(appender_of(journal_of(backend)), reason=5)


# -- spilled facts


@pytest.mark.slow
def test_big_facts_get_an_object_of_their_own(backend: Memory) -> None:
    facts = [measured(str(n)) for n in range(12000)]
    journal = journal_of(backend)
    done = _commit(appender_of(journal), *facts)
    (entry,) = journal_of_entries(backend)
    assert entry["txns"][0]["facts"] == facts
    assert len(backend.read(entry_key(1))) < 2000
    assert backend.read(facts_key(entry["txns"][0]["spilled"]["id"])) == canonical_json(facts)
    other = journal_of(backend)
    other.catch_up()
    assert other.fold.dump() == journal.fold.dump()
    assert done.seq == 1


def test_spilled_facts_are_durable_before_the_entry(backend: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_module, "SPILL", 10)
    failures = [BackendError("503", transient=True), BackendError("503", transient=True)]
    real = Memory.write

    def write(self: Memory, key: str, data: Any) -> None:
        if failures:
            raise failures.pop()
        real(self, key, data)

    monkeypatch.setattr(Memory, "write", write)
    _commit(appender_of(journal_of(backend)))
    assert len(_effective(backend)) == 1
    failures[:] = [BackendError("403")]
    with pytest.raises(BackendError, match="403"):
        _commit(appender_of(journal_of(backend)))
    assert len(_effective(backend)) == 1


def test_more_than_one_write_may_carry_is_spilled_in_pieces(backend: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_module, "SPILL", 10)
    monkeypatch.setattr(append_module, "writable", partial(writable, limit=7))
    _commit(appender_of(journal_of(backend)))
    assert journal_of_entries(backend)[0]["txns"][0]["facts"] == [measured()]


# -- doubts


def test_a_lost_reply_is_not_a_conflict(backend: Memory) -> None:
    backend.script = ["lost"]
    done = _commit(appender_of(journal_of(backend)))
    assert done.seq == 1
    assert _effective(backend) == [done.txn]


def test_a_lost_reply_before_someone_elses_entry_is_not_a_conflict(backend: Memory) -> None:
    class Busy(Memory):
        def create(self, key: str, data: bytes) -> None:
            try:
                super().create(key, data)
            except BackendError:
                _stranger(self)
                raise

    busy = Busy()
    busy.script = ["lost"]
    done = _commit(appender_of(journal_of(busy)))
    assert done.seq == 1
    assert _effective(busy)[0] == done.txn


def test_a_lost_race_goes_on_behind_the_winner(backend: Memory) -> None:
    appender = appender_of(journal_of(backend))
    appender.journal.catch_up()
    _stranger(backend)
    assert appender.commit([measured()], birth=0, alive_at=0, refuse=Refused).seq == 2


@pytest.mark.parametrize("script", [["refused"], ["refused", "lost"], ["late"], ["lost", "lost"], ["late", "refused", "late"]])
def test_whatever_goes_wrong_it_takes_effect_once(backend: Memory, script: list[str]) -> None:
    backend.script = list(script)
    done = _commit(appender_of(journal_of(backend)))
    for key, data in backend.later:
        backend.create(key, data) if key not in backend._objects else None
    assert _effective(backend) == [done.txn]


def test_no_answer_at_all_is_an_unknown_outcome(backend: Memory) -> None:
    backend.script = ["late"] * 100000
    with pytest.raises(OutcomeUnknownError) as caught:
        _commit(appender_of(journal_of(backend)))
    txn_id, birth = caught.value.txn.split("-")
    assert (len(txn_id), birth) == (32, "0")
    key, data = backend.later[0]
    backend.script = []
    backend.create(key, data)
    assert _effective(backend) == [txn_id]


def test_when_nothing_was_sent_the_failure_is_definite(backend: Memory) -> None:
    appender = appender_of(journal_of(backend))
    appender.journal.catch_up()
    backend.deaf = True
    with pytest.raises(BackendError, match="no answer") as caught:
        appender.commit([measured()], birth=0, alive_at=0, refuse=Refused)
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_a_forbidden_create_is_a_definite_failure(backend: Memory) -> None:
    backend.script = ["forbidden"]
    with pytest.raises(BackendError, match="403") as caught:
        _commit(appender_of(journal_of(backend)))
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert _effective(backend) == []


def test_a_place_that_failed_for_good_after_it_wrote_has_committed(backend: Memory) -> None:
    backend.script = ["broken"]
    done = _commit(appender_of(journal_of(backend)))
    assert _effective(backend) == [done.txn]


def test_a_permanent_failure_after_a_doubt_leaves_the_doubt(backend: Memory) -> None:
    backend.script = ["late", "forbidden"]
    with pytest.raises(OutcomeUnknownError):
        _commit(appender_of(journal_of(backend)))


def test_damage_met_after_a_doubt_leaves_the_doubt(backend: Memory) -> None:
    class Torn(Memory):
        def create(self, key: str, data: bytes) -> None:
            self.later.append((key, data))
            self.write(entry_key(1), b"{")
            raise BackendError("timed out", transient=True)

    torn = Torn()
    with pytest.raises(OutcomeUnknownError) as caught:
        _commit(appender_of(journal_of(torn)))
    assert isinstance(caught.value.__cause__, CorruptionError)


def test_a_number_that_is_taken_and_cannot_be_read_ends_with_the_patience(backend: Memory) -> None:
    class Hiding(Memory):
        def create(self, key: str, data: bytes) -> None:
            self.log.append(("create", key))
            super().write("taken/" + key, data)
            Memory.create(self, "taken/" + key, data)

    hiding = Hiding()
    with pytest.raises(OutcomeUnknownError, match="exists and cannot be read"):
        _commit(appender_of(journal_of(hiding)))


def test_a_place_without_exclusive_creation_is_named(backend: Memory) -> None:
    class Weak(Memory):
        def create(self, key: str, data: bytes) -> None:
            raise UnsupportedError("no condition here")

    with pytest.raises(UnsupportedError):
        _commit(appender_of(journal_of(Weak())))


def test_a_newer_format_stops_appending(backend: Memory) -> None:
    raws = fill(backend, 2)
    appender = appender_of(journal_of(backend))
    appender.journal.catch_up()
    backend.write(entry_key(3), canonical_json({"format": 9, "previous": str(Digest.of(raws[1])), "seq": 3}))
    with pytest.raises(FormatError):
        appender.commit([measured()], birth=2, alive_at=2, refuse=Refused)


@pytest.mark.slow
@pytest.mark.parametrize("later", [WINDOW - 1, WINDOW, 2 * WINDOW + 700])
def test_a_commit_is_found_however_late_its_caller_looks(backend: Memory, later: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sleepy(Memory):
        def create(self, key: str, data: bytes) -> None:
            super().create(key, data)
            previous = Digest.of(data)
            for seq in range(2, later + 2):
                raw = encode_entry(seq, previous, writer="1" * 32, time=TIME, txns=[])
                self.write(entry_key(seq), raw)
                previous = Digest.of(raw)
            raise BackendError("the reply got lost", transient=True)

    # Writing and reading thousands of entries may take a loaded machine long: patience is not what is looked at here.
    monkeypatch.setattr(retry_policy, "retry_seconds", lambda: float("inf"))
    sleepy = Sleepy()
    done = _commit(appender_of(journal_of(sleepy)))
    assert done.seq == 1


def test_what_never_landed_in_its_window_gets_a_new_id(backend: Memory) -> None:
    appender = appender_of(journal_of(backend))
    fill(backend, WINDOW + 5, make=lambda seq: [])
    done = appender.commit([measured()], birth=3, alive_at=3, refuse=Refused)
    assert done.seq == WINDOW + 6
    assert journal_of_entries(backend)[-1]["txns"][0]["birth"] == WINDOW + 5


def test_patience_counts_from_the_first_failure_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "300")
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        moment[0] += seconds

    backend = Memory()
    backend.script = ["refused"] * 10000
    appender = Appender(journal_of(backend), AUTHOR, sleep=sleep)
    appender.journal.catch_up()
    with pytest.raises(OutcomeUnknownError):
        appender.commit([measured()], birth=0, alive_at=0, refuse=Refused)
    assert 300 <= sum(pauses) <= 305
    assert pauses[:-1] == sorted(pauses[:-1])  # the last is what is left of the time


def test_the_patience_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "soon")
    with pytest.raises(InvalidInputError, match="soon"):
        retry_seconds()
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "-1")
    assert retry_seconds() == 0
    monkeypatch.delenv("ARTIFACTSTORE_RETRY_SECONDS")
    assert retry_seconds() == 300


# -- refusals


def test_refuse_turns_the_folds_word_into_the_callers_error(backend: Memory) -> None:
    with pytest.raises(Refused) as caught:
        _commit(appender_of(journal_of(backend)), {"fact": "versioned", "name": "x", "digest": digest("a"), "kind": "data"})
    assert caught.value.void.code == "holder"
    assert caught.value.void.fact["name"] == "x"
    assert journal_of(backend).catch_up() == 0


def test_a_clean_up_planned_before_the_head_is_refused(backend: Memory) -> None:
    appender = appender_of(journal_of(backend))
    appender.journal.catch_up()
    _stranger(backend)
    with pytest.raises(Refused) as caught:
        appender.commit([{"fact": "condemned", "manifests": [], "packs": [new_id()]}], birth=0, alive_at=0, refuse=Refused)
    assert caught.value.void.code == "alone"
    done = _commit(appender, {"fact": "condemned", "manifests": [], "packs": [new_id()]})
    assert done.seq == 2


def test_what_was_judged_behind_a_clean_up_says_so(backend: Memory) -> None:
    """Written with the base that it was made on, it would be void for the clean-up in between."""
    appender = appender_of(journal_of(backend))
    appender.journal.catch_up()
    _stranger(backend, txn(1, {"fact": "condemned", "manifests": [], "packs": [new_id()]}))
    assert appender.commit([measured()], birth=0, alive_at=0, refuse=Refused).seq == 2
    (written,) = parse_entry(backend.read(entry_key(2)), "entry 2")["txns"]
    assert (written["birth"], written["base"]) == (0, 1)
    fresh = journal_of(backend)
    fresh.catch_up()
    assert fresh.fold.verdict(written["txn"]) == (2, None)


@pytest.mark.parametrize(("head", "birth"), [(3, 0), (4, 0), (5, 5), (6, 6)])
def test_a_transaction_keeps_its_id_up_to_the_last_entry_of_its_window(
    backend: Memory, monkeypatch: pytest.MonkeyPatch, head: int, birth: int
) -> None:
    """It may be under way to each of them: under two ids it could take effect twice."""
    for module in (append_module, judge_module, state_module):
        monkeypatch.setattr(module, "WINDOW", 5)
    appender = appender_of(journal_of(backend))
    for _ in range(head):
        _stranger(backend)
    assert appender.commit([measured()], birth=0, alive_at=0, refuse=Refused).seq == head + 1
    (written,) = parse_entry(backend.read(entry_key(head + 1)), "entry")["txns"]
    assert written["birth"] == birth


def test_a_condemned_pack_is_refused_whenever_it_was_condemned(backend: Memory) -> None:
    appender, pack = appender_of(journal_of(backend)), new_id()
    _commit(appender, {"fact": "condemned", "manifests": [], "packs": [pack]})
    stored = {
        "fact": "stored",
        "digest": digest("a"),
        "manifest": new_id(),
        "manifest_digest": digest("m"),
        "size": 1,
        "files": 1,
    }
    with pytest.raises(Refused) as caught:
        _commit(appender, {**stored, "packs": [pack]})
    assert caught.value.void.code == "condemned"


def test_an_own_transaction_that_landed_void_is_a_conflict(backend: Memory) -> None:
    """Another branch of the same number can't bring it; a fold that knows more than this one may."""
    appender = appender_of(journal_of(backend))
    journal = appender.journal
    journal.catch_up()

    class Landing(Memory):
        pass

    real = journal.backend.create

    def create(key: str, data: bytes) -> None:
        raw = data.replace(b'"base":0', b'"base":1')  # as if it had been judged otherwise
        backend.write(key, raw)
        raise BackendError("timed out", transient=True)

    journal.backend.create = create  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="has no effect there"):
        appender.commit([measured()], birth=0, alive_at=0, refuse=Refused)
    journal.backend.create = real  # type: ignore[method-assign]


# -- many at once


def test_threads_share_entries(backend: Memory) -> None:
    class Slow(Memory):
        def create(self, key: str, data: bytes) -> None:
            time.sleep(0.002)
            super().create(key, data)

    slow = Slow()
    appender = appender_of(journal_of(slow))
    appender.journal.catch_up()
    done: list[Any] = []

    def work() -> None:
        for _ in range(20):
            head = appender.journal.head
            done.append(appender.commit([measured()], birth=head, alive_at=head, refuse=Refused))

    _together([work] * 16)
    assert len(done) == 320
    assert len({one.txn for one in done}) == 320
    assert sorted(_effective(slow)) == sorted(one.txn for one in done)
    assert journal_of(slow).catch_up() < 200


@pytest.mark.parametrize(
    "kinds",
    [["condemned", "measured"], ["condemned", "measured", "measured"], ["measured", "condemned"], ["void", "condemned"]],
)
def test_a_clean_up_that_others_wait_with_gets_an_entry_of_its_own(kinds: list[str]) -> None:
    """All wait behind an entry that has landed and whose reply is under way; each was made on the head behind it."""

    class Slow(Memory):
        def create(self, key: str, data: bytes) -> None:
            super().create(key, data)
            if key == entry_key(1):
                landed.set()
                assert go.wait(30)

    landed, go = threading.Event(), threading.Event()
    slow = Slow()
    appender = appender_of(journal_of(slow))
    appender.journal.catch_up()
    first = threading.Thread(target=_commit, args=(appender,))
    first.start()
    assert landed.wait(30)
    told: list[Any] = [None] * len(kinds)

    def commit(number: int) -> None:
        fact = {
            "measured": measured(),
            "condemned": {"fact": "condemned", "manifests": [], "packs": [new_id()]},
            "void": {"fact": "versioned", "name": "x", "digest": digest("nowhere"), "kind": "data"},
        }[kinds[number]]
        try:
            told[number] = appender.commit([fact], birth=1, alive_at=1, refuse=Refused).seq
        except Refused as refused:
            told[number] = refused.void.code

    assert appender.journal.catch_up() == 1
    threads = []
    for number in range(len(kinds)):
        threads.append(threading.Thread(target=commit, args=(number,)))
        threads[-1].start()
        while len(appender._pending) < number + 2:
            time.sleep(0.001)
    go.set()
    for thread in [first, *threads]:
        thread.join(30)
    # Behind another's entry it was planned on a state that is no more: it is refused, and they never are.
    expected = {"condemned": [2, 3, 3][: len(kinds)], "measured": [2, "alone"], "void": ["holder", 2]}[kinds[0]]
    assert told == expected
    journal = journal_of(slow)
    assert journal.catch_up() == max(one for one in expected if isinstance(one, int))
    assert len(journal.fold.condemned_packs) == (kinds[0] != "measured")


def test_many_that_wait_together_make_no_entry_too_large() -> None:
    class Slow(Memory):
        def create(self, key: str, data: bytes) -> None:
            assert len(data) <= MAX_ENTRY
            super().create(key, data)
            if key == entry_key(1):
                assert go.wait(30)

    go, slow = threading.Event(), Slow()
    appender = appender_of(journal_of(slow))
    fact = {"fact": "of tomorrow", "text": "x" * 900_000}  # as much as just needs no object of its own
    works = [lambda: _commit(appender)] + [lambda: _commit(appender, fact)] * 6
    threads = [threading.Thread(target=work) for work in works]
    for number, thread in enumerate(threads):
        thread.start()
        while len(appender._pending) < number + 1:
            time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(_effective(slow)) == 7
    assert journal_of(slow).catch_up() < 7


def test_an_entry_that_was_read_before_it_is_accepted_is_folded_once(backend: Memory) -> None:
    """Another thread may have read it already, and what follows it."""
    appender = appender_of(journal_of(backend))
    _commit(appender)
    raw = backend.read(entry_key(1))
    _stranger(backend)
    assert appender.journal.catch_up() == 2
    before, last = appender.journal.fold.dump(), appender.journal.digest
    appender.journal.accept(raw, parse_entry(raw, "entry 1"))
    assert (appender.journal.fold.dump(), appender.journal.digest) == (before, last)
    assert _commit(appender).seq == 3


def test_readers_that_catch_up_meanwhile_do_not_disturb(backend: Memory) -> None:
    mine, theirs = appender_of(journal_of(backend)), appender_of(journal_of(backend))
    stop = threading.Event()

    def read() -> None:
        before = 0
        while not stop.is_set():
            head = mine.journal.catch_up()
            assert head >= before
            before = head

    def write(appender: Appender) -> None:
        for _ in range(60):
            _commit(appender)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        _together([lambda: write(mine), lambda: write(mine), lambda: write(theirs)])
    finally:
        stop.set()
        reader.join()
    assert len(_effective(backend)) == 180
    fresh = journal_of(backend)
    fresh.catch_up()
    mine.journal.catch_up()
    assert fresh.fold.dump() == mine.journal.fold.dump()


def test_an_interrupted_leader_leaves_the_others_theirs(backend: Memory) -> None:
    class Interrupted(Memory):
        hit = False

        def create(self, key: str, data: bytes) -> None:
            if not self.hit:
                self.hit = True
                time.sleep(0.05)
                raise KeyboardInterrupt
            super().create(key, data)

    place = Interrupted()
    appender = appender_of(journal_of(place))
    appender.journal.catch_up()
    outcomes: list[Any] = []

    def work() -> None:
        try:
            outcomes.append(appender.commit([measured()], birth=0, alive_at=0, refuse=Refused))
        except KeyboardInterrupt:
            outcomes.append(None)

    _together([work] * 4)
    committed = [one.txn for one in outcomes if one is not None]
    assert len(committed) == 3
    assert sorted(_effective(place)) == sorted(committed)


def test_a_no_is_only_told_when_no_entry_in_flight_can_say_yes(backend: Memory) -> None:
    """An entry with both moves is in flight when the first mover is interrupted: alone, the second looks void."""
    stored = {
        "fact": "stored",
        "digest": digest("a"),
        "manifest": new_id(),
        "manifest_digest": digest("m"),
        "size": 1,
        "files": 1,
    }
    versioned = {"fact": "versioned", "name": "x", "digest": digest("a"), "kind": "data"}
    _commit(appender_of(journal_of(backend)), {**stored, "packs": []}, versioned)
    move = {"fact": "aliased", "name": "x", "alias": "best", "version": 1}

    class Place(Memory):
        hit = False
        both = threading.Event()

        def create(self, key: str, data: bytes) -> None:
            if not self.hit and key == entry_key(2):
                self.hit = True
                assert self.both.wait(10)
                raise BackendError("503", transient=True)
            if self.hit and len(self.later) == 0 and data.count(b'"aliased"') == 2:
                self.later.append((key, data))
                raise KeyboardInterrupt
            if self.later:
                self.write(*self.later[0])  # it lands now, just before
            super().create(key, data)

    place = Place()
    place.url = backend.url
    appender = appender_of(journal_of(place))
    appender.journal.catch_up()
    told: dict[str, Any] = {}

    def first() -> None:
        try:
            appender.commit([{**move, "expect": None}], birth=1, alive_at=1, refuse=Refused)
        except KeyboardInterrupt:
            told["first"] = "interrupted"

    def second() -> None:
        told["second"] = appender.commit([{**move, "expect": 1}], birth=1, alive_at=1, refuse=Refused)

    leader = threading.Thread(target=first)
    leader.start()
    while not appender._pending:
        time.sleep(0.001)
    follower = threading.Thread(target=second)
    follower.start()
    while len(appender._pending) < 2:
        time.sleep(0.001)
    place.both.set()
    leader.join(10)
    follower.join(10)
    assert told["first"] == "interrupted"
    assert told["second"].seq == 2


def _together(works: list[Any]) -> None:
    failures: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures


def _append_many(folder: str, count: int) -> None:
    appender = Appender(Journal(with_config(LocalBackend(folder)), CONFIG, State), AUTHOR)
    for _ in range(count):
        head = appender.journal.catch_up()
        appender.commit([measured()], birth=head, alive_at=head, refuse=Refused)


@pytest.mark.slow
def test_processes_append_to_one_folder_without_loss(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(str(tmp_path), 30)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    journal = Journal(with_config(LocalBackend(tmp_path)), CONFIG, State)
    journal.catch_up()
    txns = [one["txn"] for entry in journal.entries() for one in entry["txns"]]
    assert len(txns) == len(set(txns)) == 180
    assert all(found[1] is None for found in journal.fold.verdicts.values())
