"""Metadata under dotted keys: found by an index, and exactly what a walk of all versions finds."""

import copy
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.catalog import find as finding
from artifactstore.catalog.find import find
from artifactstore.catalog.fold import metadata_index
from artifactstore.catalog.fold import state as fold
from artifactstore.catalog.fold.state import State
from artifactstore.work.session.caches import FoldCache

from .telling import Story, received, removed, stored, versioned

LID = "lid://3f1/work"


def _told(*metadata: Any) -> Story:
    story = Story()
    for number, one in enumerate(metadata):
        story.tell(stored(f"w{number}"), versioned(f"w{number}", f"n{number}", metadata=one))
    return story


def _found(state: State, **conditions: Any) -> list[str]:
    return [f"{one.name}:v{one.version}" for one in find(state, **conditions)]


def _walked(monkeypatch: pytest.MonkeyPatch, state: State, **conditions: Any) -> list[str]:
    with monkeypatch.context() as patch:
        patch.setattr(finding, "candidates", lambda *_: None)
        return _found(state, **conditions)


@pytest.mark.parametrize(
    ("metadata", "wanted", "meant"),
    [
        ({"s.id": "a"}, "a", True),
        ({"s": {"id": "a"}}, "a", True),
        ({"s.id": "a", "s": {"id": "b"}}, "a", True),
        ({"s.id": "a", "s": {"id": "b"}}, "b", True),
        ({"s.id": "a", "s": {"id": "b"}}, "c", False),
        ({"s.id": "a"}, None, False),
        ({"s.id": None}, None, True),
        ({}, None, True),
        ({"s": {}}, "a", False),
        ({"s": "id"}, "id", False),
        ({"s.id": ["a", "b"]}, ["a", "b"], True),
        ({"s.id": ["a", "b"]}, "a", False),
        ({"s": {"id": ["a"]}}, ["a"], True),
        ({"s.id": 3}, 3, True),
        ({"s.id": 3}, 3.0, True),
        ({"s.id": 3.0}, 3, True),
        ({"s.id": 0.5}, 0.5, True),
        ({"s.id": "3"}, 3, False),
        ({"s.id": 3}, "3", False),
        ({"s.id": 3}, {"3", 3}, True),
        ({"s.id": "3"}, {"3", 3}, True),
        ({"s.id": "b"}, {"a", "b"}, True),
        ({"s.id": "c"}, {"a", "b"}, False),
        ({"s.id": "c"}, set(), False),
        ({"s.id": 1}, True, False),
        ({"s.id": True}, True, True),
        ({"s.id": True}, 1, False),
        ({"s.id": {"x": 1}}, {"x": 1}, True),
        ({"s.id": 2**70}, 2**70, True),
        ({"s.id": "long" * 100}, "long" * 100, True),
        ({"s.id": "long" * 100}, "long" * 100 + "er", False),
        ({"s.id": "\ud800"}, "\ud800", True),
        ({"s.id": ""}, "", True),
        ({"s.id": "=\0\n"}, "=\0\n", True),
    ],
)
def test_a_dotted_key_is_one_as_it_is_and_leads_inside(
    metadata: Any, wanted: Any, meant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, found = _told(metadata).state, ["n0:v1"] if meant else []
    assert _found(state, metadata={"s.id": wanted}) == found
    assert _walked(monkeypatch, state, metadata={"s.id": wanted}) == found


DEEP = [
    {"a.b.c": "x"},
    {"a": {"b.c": "x"}},
    {"a.b": {"c": "x"}},
    {"a": {"b": {"c": "x"}}},
    {"a": {"b": {"c": {"d": "x"}}}},
    {".": "x"},
    {"": {"": "x"}},
    {".a": {"": "x"}},
]


def test_every_way_to_divide_a_key_leads_to_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _told(*DEEP).state
    for key, numbers in (("a.b.c", (0, 1, 2, 3)), ("a.b.c.d", (4,)), (".", (5, 6)), (".a.", (7,)), ("a.b", ()), ("c", ())):
        meant = [f"n{number}:v1" for number in numbers]
        assert _found(state, metadata={key: "x"}) == meant
        assert _walked(monkeypatch, state, metadata={key: "x"}) == meant


def test_drawn_metadata_is_found_as_a_walk_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On disk and in memory; versions that are described anew, removed and received among them."""
    monkeypatch.setattr(metadata_index, "_MOST", 8)
    monkeypatch.setattr(metadata_index, "_KEYS", 2)
    dice = random.Random(5)
    keys, leaves = ("s", "s.id", "id", "t.u.v", "u", "v", "t.u"), ("a", "b", 1, 1.0, True, None, ["a"], "c" * 300)

    def drawn(depth: int) -> Any:
        some = dice.sample(keys, dice.randrange(4))
        return {key: drawn(depth - 1) if depth and dice.random() < 0.4 else dice.choice(leaves) for key in some}

    for spilled in (False, True):
        with monkeypatch.context() as patch:
            if spilled:
                patch.setattr(State, "SPILL", 0)
                patch.setattr(State, "SETTLE", 0)
                patch.setattr(fold, "_SPILL_CHECK", 1)
            story = Story()
            for number in range(60):
                fact = versioned(f"w{number}", f"n{number % 7}", metadata=drawn(2))
                story.tell(stored(f"w{number}"), received(fact) if number % 5 == 4 else fact)
                if number % 3 == 2:
                    name = f"n{dice.randrange(7)}"
                    story.tell({"fact": "described", "name": name, "version": 1, "metadata": drawn(2)})
            story.tell(removed(name="n1", version=1))
            some = 0
            for key, value in itertools.product(("s.id", "t.u.v", "t.u", "s.s.id", "s.u", "id"), leaves):
                wanted: dict[str, Any] = {key: value}
                if dice.random() < 0.3:
                    wanted["s.id"] = dice.choice(leaves)
                found = _found(story.state, metadata=wanted)
                assert found == _walked(monkeypatch, story.state, metadata=wanted)
                some += bool(found) and metadata_index.candidates(story.state.by_metadata, wanted) is not None
            assert some > 5


def test_what_a_version_was_said_to_be_before_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _told({"s.id": "a"}, {"s.id": "a"}).state
    story = Story()
    story.state = state
    story.tell({"fact": "described", "name": "n0", "version": 1, "metadata": {"s.id": "b"}})
    assert _found(state, metadata={"s.id": "a"}) == ["n1:v1"]
    assert _found(state, metadata={"s.id": "b"}) == ["n0:v1"]
    story.tell({"fact": "described", "name": "n0", "version": 1, "metadata": {"s.id": "a"}})
    assert len(state.by_metadata["s.id=a"]) == 2


def test_other_conditions_hold_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    story = _told(*({"s.id": f"{number % 3}"} for number in range(9)))
    story.tell({"fact": "measured", "digest": story.state.names["n4"][0]["digest"], "metrics": {"auc": 0.9}})
    story.tell({"fact": "used", "run": "r", "digest": story.state.names["n0"][0]["digest"]})
    story.tell({"fact": "produced", "run": "r", "digest": story.state.names["n7"][0]["digest"]})
    for more, meant in (
        ({}, ["n1:v1", "n4:v1", "n7:v1"]),
        ({"name": "n[47]"}, ["n4:v1", "n7:v1"]),
        ({"metrics": {"auc": ">= 0.5"}}, ["n4:v1"]),
        ({"uses": story.state.names["n0"][0]["digest"]}, ["n7:v1"]),
        ({"run": "r"}, ["n7:v1"]),
        ({"kind": "model"}, []),
    ):
        assert _found(story.state, metadata={"s.id": "1"}, **more) == meant
        assert _walked(monkeypatch, story.state, metadata={"s.id": "1"}, **more) == meant


def test_a_foreign_id_is_found_without_reading_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _told(*({"nextflow.lid": f"{LID}/{number}", "mlflow.experiment_id": "0"} for number in range(50))).state
    read = []

    def noted(_state: State, name: str, numbers: Any) -> list[Any]:
        read.append((name, numbers))
        return []

    monkeypatch.setattr(finding, "versions", noted)
    assert _found(state, metadata={"nextflow.lid": f"{LID}/33", "mlflow.experiment_id": "0"}) == []
    assert read == [("n33", [1])]


def test_a_value_of_very_many_versions_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_index, "_MOST", 10)
    state = _told(*({"s.of": "all", "s.id": f"{number}"} for number in range(30))).state
    assert state.by_metadata["s.of=all"] == []
    assert len(_found(state, metadata={"s.of": "all"})) == 30
    assert _found(state, metadata={"s.of": "all", "s.id": "7"}) == ["n7:v1"]


def test_a_configuration_of_hundreds_of_keys_is_not_indexed_and_still_found() -> None:
    state = _told({f"optim.p{number}": f"{number}" for number in range(300)}, {"optim.p200": "200"}).state
    assert len(state.by_metadata) == metadata_index._KEYS + 2
    assert _found(state, metadata={"optim.p200": "200"}) == ["n0:v1", "n1:v1"]


def test_a_trial_leaves_no_trace_in_the_index() -> None:
    story = _told({"s.id": "a"})
    before = copy.deepcopy(story.state.dump())
    fact = versioned("w0", "other", metadata={"s.id": "a", "s": {"id": "b"}})
    assert story.state.predict([story.txn(fact)], "") == [None]  # type: ignore[list-item]
    assert story.state.dump() == before


def test_a_fold_that_was_kept_before_the_index_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version kept its tables without the index: nothing would be found in them."""
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    store.put(b"1", "a", metadata={"nextflow.lid": LID})
    monkeypatch.setattr(State, "LAYOUT", 11)
    assert artifactstore.open(store.url, cache=tmp_path / "cache").find(metadata={"nextflow.lid": LID})[0].ref == "a:v1"
    cache = FoldCache(tmp_path / "cache", store._session.core().config.store)
    assert cache.load() is not None
    monkeypatch.undo()
    assert cache.load() is None
    assert artifactstore.open(store.url, cache=tmp_path / "cache").find(metadata={"nextflow.lid": LID})[0].ref == "a:v1"


def test_the_index_comes_with_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifactstore.journal.snapshots._ENTRY", 2**40)
    store = artifactstore.open(tmp_path / "store", cache=None)
    for number in range(5):
        store.put(b"%d" % number, f"n{number}", metadata={"nextflow.lid": f"{LID}/{number}"})
    store.maintenance.snapshot()
    newcomer = artifactstore.open(store.url, cache=tmp_path / "cache")
    assert [one.ref for one in newcomer.find(metadata={"nextflow.lid": f"{LID}/3"})] == ["n3:v1"]
    with newcomer._session.query_state() as state:
        assert state.base is not None
