"""What is marked as damaged is stored again when it is put, and shares nothing with new content."""

import itertools
import math
import random
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import CorruptionError
from artifactstore.catalog.fold.judge import Void
from artifactstore.catalog.fold.state import State
from artifactstore.journal.inbox import Inbox
from artifactstore.journal.ticket import Committed, Ticket
from artifactstore.model.digest import Digest
from artifactstore.store import Store
from tests.maintenance.facts import tell

CONTENT = random.Random(3).randbytes(4_000_000).replace(b"\0", b"1")  # rows: enough chunks for some hooks


def damage(root: Path, what: str) -> None:
    """Lose the stored bytes of everything that is there."""
    for path in root.glob("manifests/*/*" if "manifest" in what else "packs/*/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink() if "missing" in what else path.write_bytes(data)


def mark(store: Store, *digests: str) -> None:
    """Say of some digests what `repair` says of what it finds lost."""
    with store._session.state() as state:
        facts = [{"fact": "damaged", "digest": one, "manifest": holder} for one in digests for holder in state.holders[one]]
    tell(store, *facts)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=None)


@pytest.mark.parametrize(
    ("what", "cached", "name", "again"),
    list(
        itertools.product(
            ["missing pack", "flipped pack", "missing manifest"], [False, True], ["n", "other", None], [False, True]
        )
    ),
)
def test_lost_content_is_stored_again_by_the_next_put(tmp_path: Path, what: str, cached, name: str | None, again):
    cache = tmp_path / "cache" if cached else None
    root = tmp_path / "store"
    store = artifactstore.open(root, cache=cache)
    first = store.put(CONTENT, "n")
    damage(root, what)
    mark(store, first.digest)
    store = artifactstore.open(root, cache=cache) if again else store
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = store.put(CONTENT, name)
        assert made.uploaded > len(CONTENT) * 0.99
        assert made.digest == first.digest
        assert artifactstore.open(root, cache=None).get(made.digest) == CONTENT
        assert store.put(CONTENT, name).uploaded == 0


@pytest.mark.parametrize("what", ["missing pack", "flipped pack"])
@pytest.mark.parametrize("name", ["n", "other"])
def test_new_content_shares_no_chunk_with_what_is_lost(store: Store, what: str, name: str):
    first = store.put(CONTENT, "n")
    damage(Path(store.url), what)
    mark(store, first.digest)
    with store._session.state() as state:
        assert state.hooks[first.digest]
    changed = CONTENT[:150_000] + b"x" + CONTENT[150_001:]
    made = store.put(changed, name)
    assert made.uploaded > len(changed) * 0.99
    assert store.get(made.digest) == changed


def test_what_has_a_sound_holder_beside_a_damaged_one_is_unchanged(store: Store):
    first = store.put(CONTENT, "n")
    damage(Path(store.url), "missing pack")
    mark(store, first.digest)
    store.put(CONTENT, "n")
    assert len(store.log(fact="damaged")) == 1
    assert store.put(CONTENT, "n").uploaded == 0
    assert store.put(CONTENT + b"x", "n").uploaded < len(CONTENT)


@pytest.mark.parametrize("digest", ["its own", "another's", "unknown"])
def test_the_fact_counts_only_of_a_manifest_that_holds_the_digest(store: Store, digest: str):
    first, other = store.put(CONTENT, "n"), store.put(b"x" * 100_000, "m")
    with store._session.state() as state:
        holder = state.holders[first.digest][0]
    about = {"its own": first.digest, "another's": other.digest, "unknown": str(Digest.of(b"?"))}[digest]
    tell(store, {"fact": "damaged", "digest": about, "manifest": holder})
    with store._session.state() as state:
        assert (holder in state.damaged) == (digest == "its own")
        assert state.intact(other.digest)


def test_the_fact_has_no_power_over_others(store: Store):
    made = store.put(CONTENT, "n")
    mark(store, made.digest)
    store.alias("n:v1", "best")
    store.registry.hold("n:v1", reason="kept")
    assert store.get("n:best") == CONTENT
    with store._session.state() as state:
        assert state.header["format"] == 1
        assert state.alive(made.digest)


def test_a_condemned_manifest_is_not_remembered_as_damaged(store: Store):
    made = store.put(CONTENT, "n")
    mark(store, made.digest)
    with store._session.state() as state:
        (holder,) = state.damaged
    tell(store, {"fact": "condemned", "manifests": [holder], "packs": []})
    with store._session.state() as state:
        assert state.damaged == {}


def txn(state: State, *facts: dict[str, Any], base: int) -> dict[str, Any]:
    return {
        "txn": "1" * 32,
        "actor": "a",
        "identity": "os",
        "birth": base,
        "base": state.head,
        "checked": base,
        "facts": list(facts),
    }


def test_a_put_that_was_posted_and_lost_meanwhile_stores_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Any writer may append what was posted: its put looks at what became of the content."""
    made, real = store.put(CONTENT, "n"), Inbox.post
    writer = artifactstore.open(store.url, cache=None)
    writer._session.core_to_write().appender._turns._until = math.inf  # it has lost a race lately

    def post(self: Inbox, record: Any) -> None:
        real(self, record)
        monkeypatch.setattr(Inbox, "post", real)
        damage(Path(store.url), "missing pack")
        mark(artifactstore.open(store.url, cache=None), made.digest)

    monkeypatch.setattr(Inbox, "post", post)
    assert writer.put(CONTENT, "m").version == 1
    again = artifactstore.open(store.url, cache=None)
    assert again.get("m") == CONTENT
    assert [one.seq for one in again.log(fact="versioned")] == [1, 3], "it took effect once, its content came later"


def test_a_put_whose_content_is_lost_again_and_again_fails(store: Store, monkeypatch: pytest.MonkeyPatch):
    real = Ticket.land

    def land(self: Ticket, seq: int, fold: Any) -> None:
        real(self, seq, fold)
        if self.facts[0]["fact"] == "stored":
            mark(artifactstore.open(store.url, cache=None), self.facts[0]["digest"])
            self.committed = Committed(self.txn, seq, Void("holder", "it was found lost"))

    monkeypatch.setattr(Ticket, "land", land)
    with pytest.raises(CorruptionError, match=r"took effect.*it was found lost.*put it again"):
        store.put(CONTENT, "m")


@pytest.mark.parametrize("since", ["before", "after"])
@pytest.mark.parametrize("relies", ["on a chunk", "on the content", "on nothing"])
def test_a_writer_that_relied_on_what_was_found_lost_meanwhile_stores_again(store: Store, relies: str, since: str):
    made = store.put(CONTENT, "n")
    with store._session.state() as state:
        holder, head = state.holders[made.digest][0], state.head
        packs = list(state.manifests[holder][2])
    mark(store, made.digest)
    other = str(Digest.of(b"other"))
    stored = {"fact": "stored", "digest": other, "manifest": "2" * 32, "manifest_digest": other, "size": 1, "files": 1}
    given: dict[str, list[dict[str, Any]]] = {
        "on a chunk": [{**stored, "packs": ["3" * 32, *packs]}],
        "on the content": [{"fact": "versioned", "name": "m", "digest": made.digest, "kind": "data"}],
        "on nothing": [{**stored, "packs": ["3" * 32]}],
    }
    with store._session.state() as state:
        found: Any = txn(state, *given[relies], base=head if since == "before" else state.head)
        (void,) = state.predict([found], "")
        assert (void is not None) == (since == "before" and relies != "on nothing")
        assert void is None or void.code == "holder"
