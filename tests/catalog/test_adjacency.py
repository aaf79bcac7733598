"""What a walk remembers of the graph, beside a walk of the tables after each entry."""

import json
import random
from collections import deque
from itertools import pairwise
from typing import Any

import pytest

from artifactstore.catalog.find import find
from artifactstore.catalog.fold import adjacency
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import descendants, node_of, reachable, shortest_path

from .telling import Fact, Story, aliased, digest, edge, held, received, removed, stored, versioned

WORDS = [f"w{number}" for number in range(12)]
RUNS = [f"r{number}" for number in range(6)]


def drawn(dice: random.Random) -> Fact:
    """Draw a fact that may change what a lineage shows; some have no effect."""
    word, run, name = dice.choice(WORDS), dice.choice(RUNS), dice.choice("xy")
    used = {**edge("used", run, word), "role": dice.choice(["code", "data"]), "name": name, "version": dice.randrange(1, 4)}
    facts: list[Fact] = [
        versioned(word, name),
        versioned(word, None, kind=dice.choice(["code", "data"])),
        aliased(dice.choice(["a", "b"]), name, version=dice.randrange(1, 4)),
        aliased("a", name),
        {"fact": "tainted", "digest": digest(word)},
        {"fact": "cleared", "digest": digest(word)},
        {"fact": "started", "run": run, "name": f"{run}-name"},
        {"fact": "finished", "run": run, "status": dice.choice(["finished", "failed"])},
        edge("used", run, word),
        used,
        {**used, "code": {"commit": f"{dice.randrange(3):040x}", "branch": "main", "dirty": dice.random() < 0.5}},
        edge("produced", run, word),
        edge("produced", run, word),
        removed(word),
    ]
    fact = dice.choice(facts)
    return received(fact) if dice.random() < 0.1 else fact


def walked(state: State, start: str, *, up: bool) -> tuple[dict[str, int], list[Any], dict[Any, str]]:
    """Walk the tables: nodes with their distances, edges, and what artifacts were read as."""
    depths, edges, read_as = {start: 0}, [], {}
    todo = deque([start])
    while todo:
        one = todo.popleft()
        is_run = one in state.runs or one in state.edges
        wanted = "used" if up == is_run else "produced"
        around = [one] if is_run else (state.produced_by if up else state.used_by_runs).get(one, [])
        for run in around:
            for row in state.edges.get(run, ()):
                if row["fact"] != wanted or (not is_run and row["digest"] != one):
                    continue
                other = row["digest"] if is_run else run
                ends = (other, one) if up else (one, other)
                edges.append((*ends, row.get("role")))
                if row.get("name") is not None and row.get("version") is not None:
                    read_as[ends] = f"{row['name']}:v{row['version']}"
                if other not in depths:
                    depths[other] = depths[one] + 1
                    todo.append(other)
    return depths, edges, read_as


def check(state: State, starts: list[str]) -> None:
    fresh = State.load(json.loads(json.dumps(state.dump(), default=list)))
    for start in starts:
        for up in (True, False):
            graph = reachable(state, start, up=up)
            depths, edges, read_as = walked(fresh, start, up=up)
            assert graph.nodes == {one: node_of(fresh, one, depth) for one, depth in depths.items()}
            assert [*graph.nodes] == [*depths]
            assert (graph.edges, graph.read_as) == (edges, read_as)
            one, two = reachable(state, start, up=up, steps=2), reachable(fresh, start, up=up, steps=2)
            assert one == two
            assert {*one.nodes} == {node for node, depth in depths.items() if depth <= 2}
        assert descendants(state, start) == {*walked(fresh, start, up=False)[0]} - {start}
        for end in starts:
            way = shortest_path(state, start, end)
            depths = walked(fresh, start, up=False)[0]
            assert len(way) == (depths[end] + 1 if end in depths else 0)
            assert way == shortest_path(fresh, start, end)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spilled", [False, True])
def test_a_walk_remembers_nothing_that_a_fact_has_changed(seed: int, *, spilled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if spilled:
        monkeypatch.setattr(State, "SPILL", 20)
        monkeypatch.setattr("artifactstore.catalog.fold.state._SPILL_CHECK", 8)
    if seed % 2:
        monkeypatch.setattr(adjacency, "_MOST", 4)
    dice = random.Random(seed)
    story = Story()
    story.tell(*map(stored, WORDS))
    for number in range(45):
        facts = [drawn(dice) for _ in range(3)]
        txn: Any = story.txn(*facts)
        story.state.predict([txn], "2026-01-01T00:00:00.000000Z")
        if number % 2:
            check(story.state, [dice.choice(RUNS)])
        story.append(*(story.txn(fact) for fact in facts))
        check(story.state, [digest(dice.choice(WORDS)), dice.choice(RUNS), digest(dice.choice(WORDS))])


def test_what_was_found_stays_as_it_was() -> None:
    story = Story()
    story.tell(stored("raw"), stored("model"), versioned("raw", "x"), edge("used", "r", "raw"), edge("produced", "r", "model"))
    graph = reachable(story.state, digest("model"), up=True)
    story.tell(aliased("best", "x", version=1), stored("late"), edge("used", "r", "late"))
    assert [node.aliases for node in graph.nodes.values()] == [(), (), ()]
    graph.edges = []
    assert (graph.count, len(graph.nodes), graph.edges) == (3, 3, [])
    later = reachable(story.state, digest("model"), up=True)
    later.edges = []
    assert (len(later.nodes), later.edges) == (4, [])
    later = reachable(story.state, digest("model"), up=True)
    assert len(later.edges) == later.count - 1
    assert [node.aliases for node in later.nodes.values()] == [(), (), ("x:best",), ()]


def test_a_second_walk_reads_only_what_facts_have_changed() -> None:
    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            read.append(key)
            return super().get(key, default)

    read: list[str] = []
    story = Story()
    story.tell(*(stored(word) for word in WORDS))
    for before, after in pairwise(WORDS):
        story.tell(edge("used", f"r-{after}", before), edge("produced", f"r-{after}", after))
    story.state.edges = Noting(story.state.edges)
    assert len(descendants(story.state, digest("w0"))) == 22
    assert len(read) >= 11
    read.clear()
    assert len(descendants(story.state, digest("w0"))) == 22
    assert read == []
    story.tell(stored("late"), edge("produced", "r-w3", "late"))
    read.clear()
    assert len(descendants(story.state, digest("w0"))) == 23
    assert set(read) == {"r-w3"}


def test_a_removal_reads_only_what_was_made_of_its_target() -> None:
    class Hidden(dict[str, Any]):
        def __iter__(self) -> Any:
            raise AssertionError("the whole table was read")

        items = values = keys = __iter__

    story = Story()
    story.tell(*(stored(word) for word in WORDS), versioned("w1", "x"), versioned("w5", "y"))
    story.tell(edge("used", "r", "w1"), edge("produced", "r", "w2"), edge("used", "s", "w5"), edge("produced", "s", "w6"))
    story.tell(edge("used", "r", "w7"), held("w6"), held("w7", "other"))
    for table in ("produced_by", "used_by_runs", "edges", "versions_by_digest"):
        setattr(story.state, table, Hidden(getattr(story.state, table)))
    assert story.tell(removed("w1")) is None
    assert story.tell(removed("w5")) == "held"


def test_versions_are_found_by_what_they_were_made_from() -> None:
    story = Story()
    story.tell(stored("raw"), stored("model"), versioned("raw", "x"), versioned("model", "y"))
    assert [*find(story.state, uses=digest("raw"))] == []
    story.tell(edge("used", "r", "raw"), edge("produced", "r", "model"))
    assert [one.name for one in find(story.state, uses=digest("raw"))] == ["y"]


def test_an_artifact_whose_digest_names_a_run_later_is_that_run() -> None:
    story = Story()
    story.tell(stored("raw"), stored("model"), edge("used", "r", "raw"), edge("produced", "r", "model"))
    assert [*reachable(story.state, digest("model"), up=True).nodes] == [digest("model"), "r", digest("raw")]
    story.tell(edge("used", digest("model"), "raw"))
    assert [*reachable(story.state, digest("model"), up=True).nodes] == [digest("model"), digest("raw")]


def test_the_words_of_a_code_ask_only_its_newest_runs() -> None:
    story = Story()
    story.tell(stored("code"), versioned("code", None, kind="code"), stored("history"), versioned("history", None, kind="code"))
    for number in range(30):
        about = {"code": {"commit": f"{number:010d}", "branch": "main"}}
        story.tell({**edge("used", f"r{number}", "code"), **about}, edge("used", f"r{number}", "history"))
    assert node_of(story.state, digest("code")).about == f"code {29:010d} main"
    read: list[str] = []

    class Noting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            read.append(key)
            return super().get(key, default)

    story.state.edges = Noting(story.state.edges)
    assert node_of(story.state, digest("history")).about == ""
    assert len(set(read)) < 15
