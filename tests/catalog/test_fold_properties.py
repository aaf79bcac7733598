import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore.catalog.fold.state import State
from artifactstore.model.encoding import canonical_json
from artifactstore.model.schema import parse_txn

from .telling import Story, aliased, condemned, digest, edge, held, named, received, relocated, removed, stored, versioned

WORDS = st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["x", "y"])
RUNS = st.sampled_from(["r", "s"])
MANIFESTS = st.sampled_from(["m-a", "m-b", "n"])
PACKS = st.sampled_from(["p-a", "p-b", "q"])
NUMBERS = st.integers(0, 3)
WHICH = st.one_of(
    st.builds(lambda k: {"version": k}, NUMBERS),
    st.builds(lambda w: {"digest": digest(w)}, WORDS),
    st.just({}),
    st.just({"version": None}),
)


def _alias(name: str, which: dict[str, Any], expect: Any) -> dict[str, Any]:
    return aliased(name=name, **which, **({} if expect == "any" else {"expect": expect}))


def _removal(name: str, which: dict[str, Any]) -> dict[str, Any]:
    return removed(**{**which, "name": name})


SIMPLE = st.one_of(
    st.builds(stored, WORDS, MANIFESTS, st.lists(PACKS, max_size=2), hooks=st.sampled_from(["", "00" * 8])),
    st.builds(versioned, WORDS, st.one_of(NAMES, st.none())),
    st.builds(lambda w, n, k: versioned(w, n, metadata={"s.id": f"{k}"}), WORDS, NAMES, NUMBERS),
    st.builds(_alias, NAMES, WHICH, st.sampled_from(["any", None, 1, 2])),
    st.builds(removed, WORDS),
    st.builds(_removal, NAMES, WHICH.filter(lambda w: w.get("version", 1) is not None)),
    st.builds(relocated, WORDS, MANIFESTS, MANIFESTS, st.tuples(PACKS)),
    st.builds(held, WORDS, st.sampled_from(["h", "i"])),
    st.builds(lambda h: {"fact": "released", "hold": named(h)}, st.sampled_from(["h", "i"])),
    st.builds(edge, st.sampled_from(["used", "produced"]), RUNS, WORDS),
    st.builds(lambda r: {"fact": "started", "run": r, "name": "n"}, RUNS),
    st.builds(lambda r: {"fact": "finished", "run": r, "status": "failed"}, RUNS),
    st.builds(lambda kind, w: {"fact": kind, "digest": digest(w)}, st.sampled_from(["tainted", "cleared"]), WORDS),
    st.builds(lambda w: {"fact": "measured", "digest": digest(w), "metrics": {"m": 1.0}}, WORDS),
    st.builds(
        lambda n, w, k: {"fact": "described", "name": n, **w, "metadata": {"k": 1, "s": {"id": k, "t": {}}}},
        st.one_of(NAMES, st.none()),
        WHICH.filter(lambda w: w.get("version", 1) is not None),
        NUMBERS,
    ),
    st.just({"fact": "of tomorrow", "x": 1}),
)
FACTS = st.one_of(
    SIMPLE,
    SIMPLE,
    SIMPLE,
    st.builds(condemned, MANIFESTS, packs=st.tuples(PACKS)),
    st.builds(
        lambda facts, seq, gone: received(*facts, seq=seq, **({"gone": [digest(gone)]} if gone else {})),
        st.lists(SIMPLE, max_size=3),
        st.integers(1, 9),
        st.one_of(st.none(), WORDS),
    ),
)
TXNS = st.lists(st.one_of(SIMPLE, FACTS), min_size=1, max_size=3)
JOURNALS = st.lists(st.lists(TXNS, min_size=1, max_size=2), max_size=12)


def _told(journal: list[list[list[dict[str, Any]]]]) -> Story:
    story = Story()
    for entry in journal:
        story.append(*(story.txn(*facts) for facts in entry))
    return story


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(JOURNALS, TXNS, TXNS)
def test_a_prediction_comes_true_and_leaves_the_state_as_it_was(journal: Any, first: Any, second: Any) -> None:
    story = _told(journal)
    txns: list[Any] = [story.txn(*first), story.txn(*second)]
    before = copy.deepcopy(story.state.dump())
    predicted = story.state.predict(txns, "2026-01-01T00:00:00.000000Z")
    assert story.state.dump() == before
    assert story.append(*txns) == [None if void is None else void.code for void in predicted]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(JOURNALS)
def test_every_fold_of_the_same_entries_is_the_same(journal: Any) -> None:
    story = _told(journal)
    again, resumed = State(), State()
    for k, entry in enumerate(copy.deepcopy(story.entries)):
        again.apply(copy.deepcopy(entry))
        resumed.apply(entry)
        if k % 3 == 0:
            resumed = State.load(json.loads(json.dumps(resumed.dump())))
            resumed.predict(entry["txns"], "")
    assert canonical_json(again.dump()) == canonical_json(story.state.dump())
    assert canonical_json(resumed.dump()) == canonical_json(story.state.dump())


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(JOURNALS)
def test_holders_are_uncondemned_and_nothing_condemned_is_taken_again(journal: Any) -> None:
    state = _told(journal).state
    for one, holders in state.holders.items():
        assert all(state.manifests[manifest][0] == one for manifest in holders)
        assert not set(holders) & set(state.condemned_manifests), one
    for name, aliases in state.aliases.items():
        for moves in aliases.values():
            assert all(move["version"] is None or 1 <= move["version"] <= len(state.names[name]) for move in moves)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(JOURNALS, st.lists(SIMPLE, min_size=1, max_size=4))
def test_what_is_received_changes_nothing_that_was_said_here(journal: Any, facts: Any) -> None:
    story = _told(journal)
    before = _own_words(story.state)
    story.tell(received(*facts, seq=100))
    after = _own_words(story.state)
    for name, rows in before["names"].items():
        assert after["names"][name][: len(rows)] == rows
    assert {key: after[key] for key in before if key != "names"} == {key: before[key] for key in before if key != "names"}


def _own_words(state: State) -> dict[str, Any]:
    """What a state holds that no other store has told it."""
    tables = copy.deepcopy(state.dump())
    own = {key: tables[key] for key in ("marks", "holders", "manifests", "condemned_manifests", "condemned_packs", "stored")}
    del own["marks"]["head"], own["marks"]["time"]
    own["names"] = {name: [row if "from" not in row else None for row in rows] for name, rows in tables["names"].items()}
    own["unnamed"] = {key: row for key, row in tables["unnamed"].items() if "from" not in row}
    own["runs"] = {key: row for key, row in tables["runs"].items() if "from" not in row}
    own["holds"] = {key: one for key, one in tables["holds"].items() if not key.startswith("received/")}
    own["tainted"] = {key: seqs[0] for key, seqs in tables["tainted"].items() if seqs[0] is not None}
    hearsay = tables["hearsay"]
    own["metrics"] = {
        key: {metric: value for metric, value in metrics.items() if metric not in hearsay.get(key, ())}
        for key, metrics in tables["metrics"].items()
        if set(metrics) - set(hearsay.get(key, ()))
    }
    return own


@given(TXNS)
def test_what_is_drawn_here_is_what_readers_accept(facts: Any) -> None:
    parse_txn(canonical_json(Story().txn(*facts)))


def test_a_state_of_another_version_is_refused() -> None:
    tables = State().dump()
    del tables["holders"]
    with pytest.raises(KeyError):
        State.load(tables)
