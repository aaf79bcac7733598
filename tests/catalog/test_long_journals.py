"""What the fold does in a journal of many entries: it forgets verdicts by the window alone, and finds what it knows in long lists."""

import copy
import random
from typing import Any

from artifactstore.catalog.comparison import OPERATORS, Comparison
from artifactstore.catalog.find import find
from artifactstore.catalog.fold.sorted_metrics import SortedMetrics
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import node_of
from artifactstore.model.facts import WINDOW
from tests.catalog.telling import digest, named

STORED = {"fact": "stored", "manifest_digest": digest("m"), "size": 1, "files": 1, "packs": []}
CLEAN_UP = 1024  # entries between two clean-ups of the verdicts


def entry(seq: int, txns: list[tuple[str, list[dict[str, Any]]]], *, birth: int | None = None) -> Any:
    made = [
        {
            "txn": txn, "birth": seq - 1 if birth is None else birth, "base": seq - 1, "adoptable": True, "actor": "ana",
            "identity": "os", "host": "h", "tool": "t", "time": "2026-01-01T00:00:00.000000Z", "facts": facts,
        }
        for txn, facts in txns
    ]  # fmt: skip
    return {"format": 1, "seq": seq, "previous": "", "writer": named("w"), "time": "2026-01-01T00:00:00.000000Z", "txns": made}


def test_verdicts_are_forgotten_by_the_window_alone_also_those_that_changed():
    """A transaction that was void may take effect later, and one that took effect is void when it comes again."""
    dice, state, expected = random.Random(1), State(), dict[str, list[Any]]()
    void = [{"fact": "versioned", "name": "x", "digest": digest("nowhere"), "kind": "data"}]
    late: list[str] = []
    for seq in range(1, WINDOW + 3 * CLEAN_UP + 1):
        txn = late.pop(dice.randrange(len(late))) if late and dice.random() < 0.2 else named(str(seq))
        facts: list[dict[str, Any]] = void if txn == named(str(seq)) and dice.random() < 0.3 else []
        (outcome,) = state.apply(entry(seq, [(txn, facts)]))
        if outcome is None:
            expected[txn] = [seq, None]
        else:
            expected.setdefault(txn, [seq, str(outcome)])
        if dice.random() < 0.3:
            late.append(txn)
            del late[:-400]
        if seq % CLEAN_UP == 0:
            expected = {one: found for one, found in expected.items() if found[0] >= seq - WINDOW}
            assert state.verdicts == expected
    assert any(found[1] is not None for found in expected.values())
    assert state.verdicts == expected


def test_an_edge_counts_once_whichever_list_of_it_is_the_longer():
    """A run with many inputs, a data set of many runs, both, and the same artifact as input and as output."""
    dice, state = random.Random(2), State()
    known: set[tuple[str, str, str]] = set()
    stored = [{**STORED, "digest": digest(word), "manifest": named(word)} for word in map(str, range(12))]
    state.apply(entry(1, [(named("t1"), stored)]))
    for seq in range(2, 600):
        run = "busy" if dice.random() < 0.3 else f"run{dice.randrange(30)}"
        kind, word = dice.choice(["used", "used", "produced"]), str(dice.choice([0, 0, dice.randrange(12)]))
        known.add((kind, run, digest(word)))
        (outcome,) = state.apply(entry(seq, [(named(f"t{seq}"), [{"fact": kind, "run": run, "digest": digest(word)}])]))
        assert outcome is None
    edges = [(one["fact"], run, one["digest"]) for run, some in state.edges.items() for one in some]
    assert len(edges) == len({*edges})
    assert {*edges} == known
    for kind, table in (("used", state.used_by_runs), ("produced", state.produced_by)):
        pairs = [(kind, run, one) for one, runs in table.items() for run in runs]
        assert len(pairs) == len({*pairs})
        assert {*pairs} == {one for one in known if one[0] == kind}


def test_metrics_in_order_choose_what_a_look_at_each_chooses():
    """Whatever was measured, measured again, taken back or asked for in between."""
    dice, index = random.Random(3), SortedMetrics()
    table: dict[str, dict[str, float]] = {}
    asked = 0
    for step in range(2500):
        key = f"{'run:' if dice.random() < 0.2 else ''}k{dice.randrange(150)}"
        if dice.random() < 0.05:
            table.pop(key, None)
        else:
            table[key] = {**table.get(key, {}), dice.choice(["auc", "loss"]): dice.choice([0, 0.5, 1, 1.0, 2**53 + 1, -1e300])}
        index.touch(key)
        if dice.random() < 0.2:
            for op in OPERATORS:
                test = Comparison(op, dice.choice([0, 0.5, 1, float(2**53), -1e300, 7]))
                metric = dice.choice(["auc", "loss", "none"])
                found = [*index.chosen(table, metric, test)]
                true = {key for key, row in table.items() if metric in row and test(row[metric])}
                assert len(found) == len({*found})
                assert {key for key in found if not key.startswith("run:")} == {
                    key for key in true if not key.startswith("run:")
                }, step
                asked += bool(found)
    assert asked > 300


def test_a_search_by_a_metric_sees_what_was_measured_since():
    state = State()
    content = [{**STORED, "digest": digest(word), "manifest": named(word)} for word in "ab"]
    named_ = [{"fact": "versioned", "name": word, "digest": digest(word), "kind": "model"} for word in "ab"]
    state.apply(entry(1, [(named("t1"), [*content, *named_])]))
    for seq, (word, value) in enumerate([("a", 0.5), ("b", 0.9), ("a", 0.95), ("b", 0.1)], 2):
        state.apply(entry(seq, [(named(f"t{seq}"), [{"fact": "measured", "digest": digest(word), "metrics": {"auc": value}}])]))
        true = [one for one in "ab" if state.metrics.get(digest(one), {}).get("auc", 0) >= 0.8]
        assert [version.name for version in find(state, metrics={"auc": ">= 0.8"})] == true


def test_the_words_for_a_commit_are_those_of_its_newest_run_whenever_they_are_asked_for():
    dice, state = random.Random(4), State()
    words = ["a", "b", "c"]
    content = [{**STORED, "digest": digest(word), "manifest": named(word)} for word in words]
    unnamed = [{"fact": "versioned", "name": None, "digest": digest(word), "kind": "code"} for word in words]
    state.apply(entry(1, [(named("t1"), [*content, *unnamed])]))
    seen = set()
    for seq in range(2, 160):
        fact: dict[str, Any] = {"fact": "used", "run": f"r{dice.randrange(60)}", "digest": digest(dice.choice(words))}
        if dice.random() < 0.4:
            fact["code"] = {"commit": f"{seq:04d}{0:036d}", "branch": dice.choice(["main", "x"]), "dirty": dice.random() < 0.5}
        state.apply(entry(seq, [(named(f"t{seq}"), [fact])]))
        anew = State.load(copy.deepcopy(state.dump()))
        for word in words if dice.random() < 0.5 else words[:1]:
            found = node_of(state, digest(word))
            assert found == node_of(anew, digest(word))
            seen.add(found.about)
    assert len(seen) > 10
