"""The index of the audit trail answers as a fold of the whole journal does, whatever is asked for, and goes on where it ended."""

import itertools
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.catalog.audit import Event, Walk
from artifactstore.errors import CorruptionError
from artifactstore.journal.chain import entry_key
from artifactstore.work.queries.log import wanted_by
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
