import pytest

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


def test_an_edge_is_kept_once(story: Story) -> None:
    for _ in range(2):
        story.tell(edge("used", "r", "raw"), edge("produced", "r", "clean"))
    assert story.state.used_in == {digest("raw"): ["r"]}
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
