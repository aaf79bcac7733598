"""What waits in the inbox is adopted as it is or left alone; whatever is put there, no reader and no writer suffers."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from artifactstore.backend.base import Buffer, Stored
from artifactstore.errors import BackendError, OutcomeUnknownError
from artifactstore.journal import append as append_module
from artifactstore.journal import inbox as inbox_module
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import INBOX, INBOX_FOLDER, MAX_ENTRY, encode_entry, entry_key, facts_key, inbox_key
from artifactstore.journal.inbox import Inbox
from artifactstore.journal.journal import Journal
from artifactstore.journal.ticket import Committed
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, new_id

from .making import TIME, Memory, Refused, appender_of, digest, fill, journal_of, measured, txn


@pytest.fixture
def backend() -> Memory:
    return Memory()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.2")


def _appender(backend: Memory, *, contended: bool = True) -> Appender:
    """Return a writer that has lost a race lately."""
    appender = appender_of(journal_of(backend))
    appender.journal.catch_up()
    if contended:
        appender._turns._until = math.inf
    return appender


def _commit(appender: Appender, *facts: dict[str, Any]) -> Any:
    head = appender.journal.head
    return appender.commit(list(facts) or [measured()], birth=head, alive_at=head, refuse=Refused)


def _post(backend: Memory, record: dict[str, Any], key: str | None = None) -> bytes:
    raw = canonical_json(record)
    backend.write(key or inbox_key(record["txn"], record["birth"], record["base"]), raw)
    return raw


def _entry(backend: Memory, seq: int) -> Any:
    return json.loads(backend.read(entry_key(seq)))


def _posted(backend: Memory) -> list[str]:
    return [item.key for item in backend.list(INBOX)]


def _stored(word: str = "a", **more: Any) -> dict[str, Any]:
    fact = {"fact": "stored", "digest": digest(word), "manifest": new_id(), "manifest_digest": digest("m"), "size": 1, "files": 1}
    return {**fact, "packs": [], **more}


def _versioned(word: str = "a", name: str = "x") -> dict[str, Any]:
    return {"fact": "versioned", "name": name, "digest": digest(word), "kind": "data"}


def test_an_alone_writer_never_uses_the_inbox(backend: Memory) -> None:
    appender = _appender(backend, contended=False)
    for seq in range(1, 20):
        backend.log.clear()
        assert _commit(appender).seq == seq
        assert backend.log == [("read", entry_key(seq - 1) if seq > 1 else "store.json"), ("create", entry_key(seq))]
    assert _posted(backend) == []


def test_what_waits_is_adopted_byte_for_byte_under_the_name_of_who_posted_it(backend: Memory) -> None:
    fill(backend, 2)
    theirs = txn(3, _stored(), _versioned(), actor="bob", reason="nightly", unknown={"kept": 1})
    raw = _post(backend, theirs)
    appender = _appender(backend)
    done = _commit(appender)
    own, adopted = _entry(backend, 3)["txns"]
    assert (own["txn"], own["actor"]) == (done.txn, "ann")
    assert canonical_json(adopted) == raw
    assert _entry(backend, 3)["writer"] == appender._writer
    assert appender.journal.verdict(theirs["txn"]) == (3, None)
    assert appender.journal.fold.names["x"][0]["actor"] == "bob"


def test_it_is_adopted_once(backend: Memory) -> None:
    _post(backend, txn(1, _stored(), _versioned()))
    appender = _appender(backend)
    assert [len(_entry(backend, _commit(appender).seq)["txns"]) for _ in range(3)] == [2, 1, 1]


def test_of_two_postings_of_one_the_later_is_adopted(backend: Memory) -> None:
    fill(backend, 2)
    theirs = txn(1, _stored(), _versioned())
    _post(backend, theirs)
    _post(backend, {**theirs, "base": 2})
    appender = _appender(backend)
    _commit(appender)
    assert [one["base"] for one in _entry(backend, 3)["txns"]] == [2, 2]


def test_facts_of_their_own_object_are_adopted_only_if_they_are_durable(backend: Memory) -> None:
    facts = [measured(f"{k}") for k in range(5)]
    raw, one = canonical_json(facts), new_id()
    spilled = txn(1, spilled={"id": one, "digest": str(Digest.of(raw))})
    _post(backend, {**spilled, "facts": []})
    appender = _appender(backend)
    assert len(_entry(backend, _commit(appender).seq)["txns"]) == 1
    other = new_id()
    backend.write(facts_key(other), canonical_json([measured("another")]))
    _post(backend, {**txn(2, spilled={"id": other, "digest": str(Digest.of(raw))}), "facts": []})
    appender._turns._until = math.inf
    assert len(_entry(backend, _commit(appender).seq)["txns"]) == 1
    appender._turns._until = math.inf
    backend.write(facts_key(one), raw)
    again = {**txn(3, spilled={"id": one, "digest": str(Digest.of(raw))}), "facts": []}
    _post(backend, again)
    assert _entry(backend, _commit(appender).seq)["txns"][1] == again
    assert appender.journal.fold.metrics[digest("4")] == {"m": 1.0}


def _refused() -> Iterator[tuple[str, Callable[[Memory], None]]]:
    """Everything that may be in the inbox and must not come into an entry."""
    good = txn(1, _stored(), _versioned())

    def changed(**fields: Any) -> Callable[[Memory], None]:
        return raw(canonical_json({**good, **fields}))

    def raw(data: bytes) -> Callable[[Memory], None]:
        return lambda backend: backend.write(inbox_key(good["txn"], 0, 0), data)

    def under(key: str) -> Callable[[Memory], None]:
        return lambda backend: backend.write(key, canonical_json(good))

    whole = canonical_json(good)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    yield "nothing", raw(b"")
    yield "no JSON", raw(b"{" + whole)
    yield "a list", raw(b"[]")
    yield "half", raw(whole[: len(whole) // 2])
    yield "other spaces", raw(json.dumps(good, sort_keys=True).encode())
    yield "another order", raw(json.dumps(dict(reversed(good.items())), separators=(",", ":")).encode())
    yield "a key twice", raw(whole[:-1] + b',"txn":"' + b"0" * 32 + b'"}')
    yield "not a number", raw(whole.replace(b'"size":1', b'"size":NaN'))
    yield "no UTF-8", raw(whole.replace(b"ann", b"\xff\xfe"))
    yield "half a character", raw(whole.replace(b"ann", rb"\ud800"))
    yield "too deep", raw(json.dumps({**good, "deep": deep}, separators=(",", ":"), sort_keys=True).encode())
    yield "too large", changed(reason="x" * inbox_module.LARGEST)
    yield "another id", changed(txn=new_id())
    yield "another base", changed(base=1)
    yield "another birth", changed(birth=INBOX_FOLDER)
    yield "a negative birth", changed(birth=-1)
    yield "not adoptable", changed(adoptable=False)
    yield "adoptable as a number", changed(adoptable=1)
    yield "without facts", changed(facts=[])
    yield "without an actor", raw(canonical_json({key: value for key, value in good.items() if key != "actor"}))
    yield "a time that is none", changed(time="yesterday")
    yield "facts here and there", changed(spilled={"id": new_id(), "digest": digest("a")})
    yield "facts that are nowhere", changed(facts=[], spilled={"id": new_id(), "digest": digest("a")})
    for name, fact in {
        "an alias of the newest version": {"fact": "aliased", "name": "x", "alias": "best", "digest": digest("b")},
        "an alias of a version that is not there": {"fact": "aliased", "name": "x", "alias": "best", "version": 7},
        "a removal": {"fact": "removed", "digest": digest("a")},
        "a hold": {"fact": "held", "hold": new_id(), "digest": digest("a")},
        "an approval": {"fact": "approved", "digest": digest("a"), "verdict": "approved"},
        "a clean-up": {"fact": "condemned", "manifests": [], "packs": []},
        "a relocation": {
            "fact": "relocated",
            "digest": digest("a"),
            "from": new_id(),
            "to": new_id(),
            "manifest_digest": digest("m"),
            "packs": [],
        },
        "a move": {"fact": "moved_to", "url": "elsewhere"},
        "a gate": {"fact": "gated", "names": "*", "alias": "best", "rules": None},
        "a claimed run": {"fact": "started", "run": "r", "name": "train", "claimed": True},
        "a kind of tomorrow": {"fact": "of tomorrow"},
        "a fact without a kind": {"name": "x"},
        "a kind that is no text": {"fact": 5},
        "a field of another type": {**_versioned(), "kind": 7},
        "a metric that is text": {**measured(), "metrics": {"m": "1"}},
    }.items():
        yield name, changed(facts=[_stored(), _versioned(), fact])
        yield f"{name} alone", changed(facts=[fact])
    yield "a version without content", changed(facts=[_versioned("never stored")])
    yield "a name of upper case", under(inbox_key(good["txn"].upper(), 0, 0))
    yield "a name with zeros", under(f"{INBOX}00/{good['txn']}-00.json")
    yield "a name of another kind", under(f"{INBOX}0/{good['txn']}-0.txt")
    yield "a name of the future", under(inbox_key(good["txn"], 0, 10**11))
    yield "a folder in the folder", under(f"{INBOX}0/0/{good['txn']}-0.json")
    yield "a clock", under(f"{INBOX}0/clock-{new_id()}")


@pytest.mark.parametrize(("name", "put"), list(_refused()), ids=lambda one: one if isinstance(one, str) else "")
def test_what_must_not_be_adopted_stays_where_it_is(backend: Memory, name: str, put: Callable[[Memory], None]) -> None:
    del name
    put(backend)
    good = txn(1, measured("good"))
    _post(backend, good)
    appender = _appender(backend)
    for _ in range(2):
        _commit(appender)
    assert [[one["txn"] for one in _entry(backend, seq)["txns"]][1:] for seq in (1, 2)] == [[good["txn"]], []]
    fresh = journal_of(backend)
    assert fresh.catch_up() == 2
    assert fresh.fold.dump() == appender.journal.fold.dump()


def test_what_clean_up_made_void_is_not_adopted(backend: Memory) -> None:
    stale = txn(1, _stored(packs=["d" * 32]), _versioned())
    fill(backend, 1, make=lambda seq: [txn(seq, {"fact": "condemned", "manifests": [], "packs": ["d" * 32]})])
    _post(backend, stale)
    _post(backend, {**txn(1, measured()), "base": 0})
    appender = _appender(backend)
    _commit(appender)
    assert len(_entry(backend, 2)["txns"]) == 1


def _with_content(seq: int) -> list[dict[str, Any]]:
    return [txn(seq, _stored("a", manifest="a" * 32, packs=["b" * 32]), _versioned("a", "first"))]


_MARK = {"fact": "damaged", "digest": digest("a"), "manifest": "a" * 32}
_ROBBERY = {"fact": "condemned", "manifests": [], "packs": ["b" * 32]}


@pytest.mark.parametrize("loss", [_MARK, _ROBBERY], ids=["marked", "condemned"])
@pytest.mark.parametrize("relies", ["on the content", "on a chunk", "on nothing"])
def test_what_relies_on_content_that_was_lost_since_is_not_adopted(backend: Memory, relies: str, loss: dict[str, Any]) -> None:
    fill(backend, 2, make=lambda seq: _with_content(1) if seq == 1 else [txn(2, loss)])
    theirs = {
        "on the content": [_versioned("a", "second")],
        "on a chunk": [_stored("c", packs=["b" * 32]), _versioned("c")],
        "on nothing": [_stored("c", packs=["e" * 32]), _versioned("c")],
    }[relies]
    _post(backend, {**txn(2, *theirs), "base": 1})
    appender = _appender(backend)
    _commit(appender)
    adopted = relies == "on nothing" and loss is _MARK  # what a clean-up precedes is checked anew by its own writer
    assert len(_entry(backend, 3)["txns"]) == 1 + adopted


@pytest.mark.parametrize("loss", [_MARK, _ROBBERY], ids=["marked", "condemned"])
@pytest.mark.parametrize("relies", ["on the content", "on nothing"])
@pytest.mark.parametrize("when", ["before its entry", "after its entry"])
def test_a_writer_is_told_that_what_it_posted_was_lost_meanwhile(
    backend: Memory, monkeypatch: pytest.MonkeyPatch, when: str, relies: str, loss: dict[str, Any]
) -> None:
    """It took effect, by whose hand so ever; success without content would be a lie."""
    fill(backend, 1, make=_with_content)
    real = Inbox.post

    def post(self: Inbox, record: Any) -> None:
        real(self, record)
        monkeypatch.setattr(Inbox, "post", real)
        other = appender_of(journal_of(backend))
        other.journal.catch_up()
        if when == "after its entry":
            other._turns._until = math.inf
            _commit(other)
            other._turns._until = None
        _commit(other, loss)

    monkeypatch.setattr(Inbox, "post", post)
    appender = _appender(backend)
    if relies == "on nothing":
        assert _commit(appender, _stored("c"), _versioned("c")).lost is None
        return
    done = _commit(appender, _versioned("a", "second"))
    assert done.seq == (2 if when == "after its entry" else 3)
    assert (done.lost is not None) == (when == "before its entry")
    assert done.lost is None or done.lost.code == "holder"


def test_a_clean_up_adopts_nothing(backend: Memory) -> None:
    _post(backend, txn(1, measured()))
    appender = _appender(backend)
    _commit(appender, {"fact": "condemned", "manifests": [], "packs": ["d" * 32]})
    assert len(_entry(backend, 1)["txns"]) == 1
    assert appender.journal.fold.header["condemned"] == 1


def test_an_entry_stays_below_its_limit(backend: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "READ", 20)
    for k in range(15):
        _post(backend, txn(1, {**measured(f"{k}"), "note": "x" * 400_000}))
    appender = _appender(backend)
    sizes = []
    for _ in range(4):
        _commit(appender, {**measured(), "note": "y" * 900_000})
        raw = backend.read(entry_key(appender.journal.head))
        assert len(raw) <= MAX_ENTRY
        sizes.append(len(json.loads(raw)["txns"]) - 1)
    assert sum(sizes) == 15
    assert max(sizes) > 4


def test_readers_are_not_stopped_by_what_only_a_whole_entry_shows(backend: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a check of single transactions ever weaker than readers are, the entry is looked at as a whole before it is written."""
    monkeypatch.setattr(
        Inbox,
        "_checked",
        lambda _self, raw, waiting: inbox_module.Posted(waiting.key, {**txn(1), "facts": [measured()]}, json.loads(raw), 1),
    )
    _post(backend, txn(1, {**_versioned(), "kind": 7}))
    appender = _appender(backend)
    _commit(appender)
    assert len(_entry(backend, 1)["txns"]) == 1
    assert journal_of(backend).catch_up() == 1


class Beaten(Memory):
    """Before each own create of an entry, as long as there are some left, another writer comes first."""

    def __init__(self, times: int, make: Callable[[int], Iterable[dict[str, Any]]] = lambda seq: [txn(seq)]) -> None:
        super().__init__()
        self.times = times
        self.make = make

    def create(self, key: str, data: bytes) -> None:
        if key.startswith("journal/0") and self.times:
            self.times -= 1
            journal = journal_of(self)
            seq = journal.catch_up() + 1
            raw = encode_entry(seq, journal.digest, writer="1" * 32, time=TIME, txns=list(self.make(seq)))
            super().create(entry_key(seq), raw)
        super().create(key, data)


def test_after_a_lost_race_what_may_be_adopted_is_posted_once() -> None:
    backend = Beaten(1)
    appender = _appender(backend, contended=False)
    done = _commit(appender, _stored(), _versioned())
    assert done.seq == 2
    (key,) = _posted(backend)
    assert key == inbox_key(done.txn, 0, 1)
    posted = json.loads(backend.read(key))
    assert posted == {**_entry(backend, 2)["txns"][0], "base": 1}
    assert (posted["actor"], posted["adoptable"]) == ("ann", True)
    backend.times = 3
    _commit(appender, _stored("b"), _versioned("b"))
    assert len(_posted(backend)) == 2


def test_what_an_adopter_appended_is_success() -> None:
    backend: Memory

    def adopted(seq: int) -> list[dict[str, Any]]:
        return [json.loads(backend.read(key)) for key in _posted(backend)] or [txn(seq)]

    backend = Beaten(2, adopted)
    appender = _appender(backend, contended=False)
    done = _commit(appender, _stored(), _versioned())
    assert done.seq == 2
    assert _entry(backend, 2)["writer"] == "1" * 32
    assert appender.journal.head == 2


def test_a_void_copy_in_a_strangers_entry_is_not_the_end_of_it() -> None:
    """Another writer appends an old posting behind a clean-up: its writer goes on, with the same id, and succeeds."""
    backend: Memory

    def foul(seq: int) -> list[dict[str, Any]]:
        if seq < 3:
            return [txn(seq, *([{"fact": "condemned", "manifests": [], "packs": ["d" * 32]}] if seq == 2 else ()))]
        return [min((json.loads(backend.read(key)) for key in _posted(backend)), key=lambda one: one["base"])]

    backend = Beaten(3, foul)
    appender = _appender(backend, contended=False)
    done = _commit(appender, _stored(), _versioned())
    assert done.seq == 4
    assert _entry(backend, 3)["txns"][0]["txn"] == done.txn
    bases = {json.loads(backend.read(key))["base"] for key in _posted(backend)}
    assert bases == {1, 2}
    assert appender.journal.fold.verdict(done.txn) == (4, None)
    assert len(appender.journal.fold.names["x"]) == 1


def test_giving_up_what_was_posted_leaves_its_outcome_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead(Beaten):
        def create(self, key: str, data: bytes) -> None:
            if key.startswith("journal/0") and _posted(self):
                raise BackendError("403", transient=False)
            super().create(key, data)

    backend = Dead(1)
    appender = _appender(backend, contended=False)
    with pytest.raises(OutcomeUnknownError) as caught:
        _commit(appender, _stored(), _versioned())
    one, _, birth = caught.value.txn.partition("-")
    alive = Memory()
    alive.url = backend.url
    other = _appender(alive)
    _commit(other)
    assert other.journal.verdict(one) == (2, None)
    assert int(birth) == 0
    del monkeypatch


@pytest.mark.parametrize("fails", ["write", "list", "read"])
@pytest.mark.parametrize("transient", [False, True])
def test_an_inbox_that_cannot_be_used_stops_no_writer(fails: str, *, transient: bool) -> None:
    class Closed(Beaten):
        def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
            if fails == "write" and key.startswith(INBOX):
                raise BackendError("no", transient=transient)
            super().write(key, data)

        def list(self, prefix: str) -> Iterator[Stored]:
            if fails == "list" and prefix.startswith(INBOX):
                raise BackendError("no", transient=transient)
            return super().list(prefix)

        def read(self, key: str) -> bytes:
            if fails == "read" and key.startswith(INBOX):
                raise BackendError("no", transient=transient)
            return super().read(key)

    backend = Closed(2)
    Memory.write(backend, inbox_key("a" * 32, 0, 0), b"{}")
    appender = _appender(backend, contended=False)
    assert _commit(appender, _stored(), _versioned()).seq == 3
    assert len(appender.journal.fold.names["x"]) == 1


def test_a_post_that_certainly_failed_leaves_a_definite_failure() -> None:
    class Shut(Beaten):
        def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
            raise BackendError("403", transient=False)

        def create(self, key: str, data: bytes) -> None:
            if not self.times:
                raise BackendError("403", transient=False)
            super().create(key, data)

    backend = Shut(1)
    appender = _appender(backend, contended=False)
    with pytest.raises(BackendError, match="403") as caught:
        _commit(appender, _stored(), _versioned())
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_what_depends_on_an_own_earlier_one_is_not_posted_before_that_was_seen(backend: Memory) -> None:
    """Of two threads' transactions only the one that is valid by itself can be appended by others."""
    appender = _appender(backend)
    fill(backend, 1)
    appender.journal.catch_up()
    first, second = (_ticket(appender, *facts) for facts in ([_stored()], [_versioned()]))
    good, now, voids = appender._judge([first, second], 1)
    assert voids == [None, None]
    appender._post(good, 1, now)
    assert [json.loads(backend.read(key))["txn"] for key in _posted(backend)] == [first.txn]


def _ticket(appender: Appender, *facts: dict[str, Any]) -> Any:
    made: list[Any] = []

    def note(ticket: Any) -> None:
        made.append(ticket)
        ticket.committed = Committed("", 0)

    appender._wait_or_lead = note  # type: ignore[method-assign]
    _commit(appender, *facts)
    made[0].committed = None
    return made[0]


def test_an_old_birth_is_renewed_before_it_is_posted(backend: Memory) -> None:
    """Writers look at new folders alone; what certainly never landed may get a new id."""
    fill(backend, 2 * INBOX_FOLDER)
    appender = _appender(backend)
    ticket = _ticket(appender, measured())
    ticket.record["birth"] = 0
    old = ticket.txn
    appender._post([ticket], 2 * INBOX_FOLDER, TIME)
    assert ticket.record["birth"] == 2 * INBOX_FOLDER
    assert ticket.txn != old
    assert _posted(backend) == [inbox_key(ticket.txn, 2 * INBOX_FOLDER, 2 * INBOX_FOLDER)]
    ticket.record["birth"], known = 0, ticket.txn
    appender._post([ticket], 2 * INBOX_FOLDER, TIME)
    assert ticket.txn == known, "once posted it may land with this id"


def test_what_was_posted_gets_a_new_id_when_its_window_has_passed(backend: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_module, "WINDOW", 3)
    appender = _appender(backend)
    ticket = _ticket(appender, measured())
    appender._post([ticket], 0, TIME)
    old = ticket.txn
    for head, renewed in ((2, False), (3, True)):
        appender._look_for(ticket, head)
        assert (ticket.txn != old, ticket.posted < 0) == (renewed, renewed)


@pytest.mark.parametrize("times", [0, 2, 3, 6])
def test_after_some_lost_races_others_are_asked_to_wait(times: int) -> None:
    """Only where nothing else helps: what no other writer may append."""
    backend = Beaten(0)
    appender = _appender(backend, contended=False)
    _commit(appender, _stored(), _versioned())
    backend.times = times
    done = _commit(appender, {"fact": "removed", "name": "x", "version": 1})
    assert done.seq == times + 2
    asked = [key for key in _posted(backend) if key.endswith(".yield")]
    assert asked == ([inbox_key(done.txn, 1, 4, yields=True)] if times >= 3 else [])
    assert all(backend.read(key) == b"" for key in asked)
    assert [key for key in _posted(backend) if key.endswith(".json")] == []


def test_who_is_asked_to_wait_waits_a_round_and_no_longer(backend: Memory) -> None:
    fill(backend, 1)
    backend.write(inbox_key("e" * 32, 0, 1, yields=True), b"")
    appender = _appender(backend)
    waits: list[float] = []

    def in_vain(requests: float, first: float) -> bool:
        assert first
        waits.append(requests)
        return False

    appender._turns._wait = in_vain  # type: ignore[method-assign]
    _commit(appender, {"fact": "removed", "digest": digest("a")})
    assert waits == [3.5]
    waits.clear()
    _commit(appender, {"fact": "removed", "digest": digest("b")})
    assert waits == [3.5]  # it has appended since: the other may be alive after all


@pytest.mark.parametrize("fact", [measured(), {"fact": "removed", "digest": digest("a")}])
def test_a_writer_that_appends_all_the_time_and_looks_at_no_inbox_starves_no_other(backend: Memory, fact: dict[str, Any]) -> None:
    """It never lost a race, so it does not know that anyone waits: whoever waits must make it lose one."""
    fill(backend, 1)
    busy = _appender(backend, contended=False)
    appender = _appender(backend)
    entries = 0

    def meanwhile(seconds: float) -> None:
        nonlocal entries
        assert seconds >= 0
        entries += 1
        assert entries < 20, "starved"
        if not busy._turns.expected:
            _commit(busy)

    appender._turns._sleep = meanwhile
    appender._turns.look = lambda head: meanwhile(0)  # type: ignore[method-assign]
    done = _commit(appender, fact)
    assert _entry(backend, done.seq)["txns"][0]["txn"] == done.txn


@pytest.mark.parametrize(("passed", "taken"), [(3, 3), (5, 3), (6, 1)])
def test_a_writer_that_others_passed_takes_along_what_waits_unless_that_was_in_vain(
    backend: Memory, passed: int, taken: int
) -> None:
    """Where many wait, one that appends alone makes all others race, and each of them would append alone then."""
    fill(backend, 1)
    for k in range(2):
        _post(backend, txn(2, _stored(f"{k}"), _versioned(f"{k}", f"n{k}")))
    appender = _appender(backend)
    appender._turns._passed, appender._turns._crowd = passed, 64.0
    done = _commit(appender)
    assert len(_entry(backend, done.seq)["txns"]) == taken


def test_ten_thousand_objects_of_a_stranger_cost_a_bounded_number_of_reads(backend: Memory) -> None:
    for k in range(10_000):
        backend.write(inbox_key(f"{k:032x}", 0, 0), b"{}")
    appender = _appender(backend)
    waits: list[float] = []

    def in_vain(requests: float, first: float) -> bool:
        assert first
        waits.append(requests)
        assert len(waits) < 10
        return False

    appender._turns._wait = in_vain  # type: ignore[method-assign]
    backend.log.clear()
    _commit(appender)
    assert sum(key.startswith(INBOX) for _, key in backend.log) <= inbox_module.READ
    assert len(waits) <= 3


def test_the_journal_of_a_process_is_shared_by_what_it_adopts_and_what_it_reads(backend: Memory) -> None:
    """Two writers that take turns end with the same fold as a reader."""
    one, other = _appender(backend), _appender(backend)
    for k in range(6):
        _post(backend, txn(one.journal.catch_up() + 1, _stored(f"{k}"), _versioned(f"{k}", f"n{k}")))
        _commit(one if k % 2 else other, measured(f"{k}"))
    reader: Journal = journal_of(backend)
    reader.catch_up()
    one.journal.catch_up()
    other.journal.catch_up()
    assert one.journal.fold.dump() == other.journal.fold.dump() == reader.fold.dump()
    assert len(reader.fold.names) == 6
