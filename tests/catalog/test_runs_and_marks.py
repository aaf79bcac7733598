import pytest

from artifactstore.catalog.lineage import reachable, restrict, shortest_path

from .telling import Fact, Story, digest, edge, held, removed, stored, versioned


@pytest.fixture
def story() -> Story:
    story = Story()
    assert story.tell(stored("raw"), stored("clean"), stored("model"), versioned("raw"), versioned("model", "m")) is None
    return story


def test_what_was_made_from_something_is_held_with_it(story: Story) -> None:
    story.tell(edge("used", "r1", "raw"), edge("produced", "r1", "clean"))
    story.tell(edge("used", "r2", "clean"), edge("produced", "r2", "model"))
    story.tell(held("model"))
    assert story.tell(removed("raw")) == "held"
    assert story.tell(removed(name="x", version=1)) == "held"
    assert story.tell(removed("clean")) == "held"
    story.tell({"fact": "released", "hold": next(iter(story.state.holds))})
    assert story.tell(removed("raw")) is None


def test_a_circle_of_runs_ends(story: Story) -> None:
    story.tell(edge("used", "r", "raw"), edge("produced", "r", "clean"), edge("used", "s", "clean"), edge("produced", "s", "raw"))
    story.tell(held("model"))
    assert story.tell(removed("raw")) is None


def test_a_lineage_goes_as_many_steps_as_it_is_asked_for(story: Story) -> None:
    """raw -> r1 -> clean -> r2 -> model, and raw is read by r2 as well."""
    story.tell(edge("used", "r1", "raw"), edge("produced", "r1", "clean"))
    story.tell(edge("used", "r2", "clean"), edge("used", "r2", "raw"), edge("produced", "r2", "model"))
    raw, clean, model = map(digest, ("raw", "clean", "model"))
    up = [{model: 0}, {"r2": 1}, {clean: 2, raw: 2}, {"r1": 3}]
    down = [{raw: 0}, {"r1": 1, "r2": 1}, {clean: 2, model: 2}]
    for start, steps, going_up in (
        (model, up, True),
        (raw, down, False),
        ("r2", [{"r2": 0}, {clean: 1, raw: 1}, {"r1": 2}], True),
    ):
        for count in range(7):
            graph = reachable(story.state, start, up=going_up, steps=count)
            depths = {node: depth for step in steps[: count + 1] for node, depth in step.items()}
            assert {one: node.depth for one, node in graph.nodes.items()} == depths
            assert {one for edge in graph.edges for one in edge[:2]} <= {*depths}
        assert set(reachable(story.state, start, up=going_up).nodes) == {one for step in steps for one in step}
    whole = reachable(story.state, model, up=True)
    assert {edge[:2] for edge in whole.edges} == {(raw, "r1"), ("r1", clean), (clean, "r2"), (raw, "r2"), ("r2", model)}
    assert set(restrict(whole, up=True, chosen=[clean]).nodes) == {model, "r2", clean}
    assert set(restrict(whole, up=True, chosen=["r1"]).nodes) == {model, "r2", clean, "r1"}
    assert shortest_path(story.state, raw, model) == [raw, "r2", model]
    assert shortest_path(story.state, model, raw) == []


def test_an_edge_is_kept_once(story: Story) -> None:
    for _ in range(2):
        story.tell(edge("used", "r", "raw"), edge("produced", "r", "clean"))
    assert story.state.used_by_runs == {digest("raw"): ["r"]}
    assert story.state.produced_by == {digest("clean"): ["r"]}


def test_a_run_starts_once_and_finishes_once(story: Story) -> None:
    start: Fact = {"fact": "started", "run": "r", "name": "train"}
    assert story.tell(start) is None
    assert story.tell({**start, "name": "other"}) is None
    assert story.tell({"fact": "finished", "run": "r", "status": "failed"}) is None
    assert story.tell({"fact": "finished", "run": "r", "status": "finished"}) is None
    assert (story.state.runs["r"]["name"], story.state.runs["r"]["status"]) == ("train", "failed")
    assert story.tell(start) == "run"
    assert story.tell({"fact": "finished", "run": "unheard", "status": "failed"}) is None


def test_the_newest_measure_counts(story: Story) -> None:
    story.tell({"fact": "measured", "digest": digest("model"), "metrics": {"auc": 0.5, "f1": 0.1}})
    story.tell({"fact": "measured", "digest": digest("model"), "metrics": {"auc": 0.9}})
    story.tell({"fact": "measured", "run": "r", "metrics": {"loss": 1.0}})
    assert story.state.metrics == {digest("model"): {"auc": 0.9, "f1": 0.1}, "run:r": {"loss": 1.0}}


def test_a_taint_lasts_until_it_is_cleared(story: Story) -> None:
    story.tell({"fact": "tainted", "digest": digest("raw")})
    ((own, told),) = story.state.tainted.values()
    assert (own and own["seq"], own and own["spread"], told) == (2, True, None)
    story.tell({"fact": "cleared", "digest": digest("raw")})
    assert story.state.tainted == {}


def test_an_unknown_kind_changes_nothing(story: Story) -> None:
    before = {**story.state.dump()}
    before.pop("marks"), before.pop("verdicts")
    assert story.tell({"fact": "of tomorrow", "digest": digest("raw"), "power": 9000}) is None
    after = {**story.state.dump()}
    after.pop("marks"), after.pop("verdicts")
    assert after == before
