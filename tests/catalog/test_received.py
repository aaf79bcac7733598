"""What another store said: it counts once, behind the history that it was planned for, and never above the store's own word."""

import pytest

from .telling import Fact, Story, aliased, condemned, digest, edge, held, named, received, relocated, removed, stored, versioned

THERE = "d" * 32


@pytest.fixture
def story() -> Story:
    story = Story()
    assert story.tell(stored("raw"), stored("far"), versioned("raw")) is None
    return story


def test_received_facts_speak_with_their_own_voice(story: Story) -> None:
    fact = received(versioned("far", "y", reason="theirs"), edge("used", "r", "far"), seq=7)
    assert story.tell(fact, reason="ours") is None
    (row,) = story.state.names["y"]
    assert (row["actor"], row["time"], row["from"], row["entry"]) == ("eve", "2020-01-01T00:00:00.000000Z", THERE, 7)
    assert row["reason"] == "theirs"
    assert story.state.used_by_runs[digest("far")] == ["r"]


def test_the_reason_for_receiving_is_not_the_reason_for_what_is_received(story: Story) -> None:
    story.tell(received(versioned("far", "y")), reason="ours")
    story.tell(received(versioned("raw", "y"), reason="of their transaction"), reason="ours")
    assert [row.get("reason") for row in story.state.names["y"]] == [None, "of their transaction"]


def test_another_stores_layout_means_nothing_here(story: Story) -> None:
    inner = [
        stored("new"),
        condemned("m-raw", packs=("p-raw",)),
        relocated("raw", "m-raw", "new"),
        {"fact": "moved_to", "url": "x"},
        received(versioned("far", "z")),
    ]
    before = {
        key: dict(getattr(story.state, key))
        for key in ("holders", "manifests", "condemned_manifests", "condemned_packs", "names")
    }
    assert story.tell(received(*inner)) is None
    assert {key: dict(getattr(story.state, key)) for key in before} == before
    assert story.state.header["moved_to"] is None


@pytest.mark.parametrize("inner", [stored("raw"), relocated("raw", "m-raw", "new"), received(versioned("far", "z"), seq=4)])
def test_another_stores_layout_is_not_asked_whether_it_was_received(story: Story, inner: Fact) -> None:
    """It speaks of nothing that is counted, as what a later version says does: that was received up to the same entry."""
    told = {"fact": "of tomorrow"}
    assert story.tell(received(told, seq=5)) is None
    assert story.tell(received({**inner, "name": "y"}, versioned("far", "y"), seq=5)) is None
    assert story.tell(received(told, seq=5)) == "received"


def test_only_a_version_may_come_without_its_content(story: Story) -> None:
    gone = [digest("new")]
    assert story.tell(received({"fact": "held", "hold": named("h"), "digest": digest("new")}, gone=gone)) == "holder"
    assert story.tell(received(versioned("new", "y"), gone=gone)) is None


def test_what_is_received_needs_its_content(story: Story) -> None:
    assert story.tell(received(versioned("new", "y"))) == "holder"
    assert story.tell(received({"fact": "held", "hold": named("h"), "digest": digest("new")})) == "holder"
    assert story.tell(stored("new"), received(versioned("new", "y"))) is None
    assert story.tell(condemned("m-new", packs=("p-new",)), base=story.state.head) is None
    assert story.tell(received(versioned("new", "z"))) == "holder"


def test_a_version_without_content_is_taken_for_removed_until_its_removal_is_told(story: Story) -> None:
    assert story.tell(received(versioned("new", "y"), gone=[digest("new")])) is None
    (row,) = story.state.names["y"]
    assert row["removed"]["gone"]
    assert story.tell(received(versioned("far", "y"))) is None
    assert story.tell(received(removed("new", name="y", version=1), actor="bob", reason="by law")) is None
    assert (row["removed"]["actor"], row["removed"]["reason"]) == ("bob", "by law")
    assert "gone" not in row["removed"]
    assert "removed" not in story.state.names["y"][1]


def test_what_was_received_counts_once(story: Story) -> None:
    fact = received(versioned("far", "y"), {"fact": "measured", "digest": digest("far"), "metrics": {"m": 1.0}}, seq=50)
    assert story.tell(fact) is None
    assert story.tell(fact) == "received"
    assert story.tell({**fact, "seq": 49}) == "received"
    assert story.tell({**fact, "store": "e" * 32, "facts": fact["facts"][1:]}) is None
    assert story.tell(received(versioned("raw", "y"), seq=51)) is None
    assert story.versions("y") == [digest("far"), digest("raw")]


def test_two_transactions_of_one_entry_are_received_together(story: Story) -> None:
    first, second = (received(versioned(word, "y"), seq=50) for word in ("far", "raw"))
    assert story.tell(first, second) is None
    assert story.versions("y") == [digest("far"), digest("raw")]


def test_a_name_that_went_on_meanwhile_is_not_received_into(story: Story) -> None:
    def onto(versions: int, moves: int) -> Fact:
        return received(versioned("far"), expect={"x": {"versions": versions, "moves": moves}})

    assert story.tell(onto(0, 0)) == "expect"
    assert story.tell(onto(1, 1)) == "expect"
    story.tell(aliased(version=1))
    assert story.tell(onto(1, 0)) == "expect"
    assert story.tell(onto(1, 1)) is None
    assert story.tell(onto(1, 1)) == "expect"


def test_a_received_removal_is_stopped_by_a_hold_here(story: Story) -> None:
    story.tell(received(versioned("raw", "y")))
    story.tell(held("raw"))
    assert story.tell(received(removed("raw"))) == "held"
    assert story.tell(received(removed(name="y", version=1))) == "held"
    assert story.tell(received(versioned("raw", "z"), removed("raw", name="z", version=1))) == "held"
    assert story.tell(received(versioned("raw", "z"), removed(name="z", digest=digest("raw")))) == "held"
    assert story.tell(received(versioned("far", "y")), received(removed("far"))) is None
    assert story.tell(received(removed(name="unheard", version=3))) is None


def test_a_hold_whose_end_is_received_stops_no_removal_behind_it(story: Story) -> None:
    end = {"fact": "released", "hold": named("hold")}
    story.tell(received(versioned("far", "y"), held("far")))
    assert story.tell(received(removed(name="y", version=1)), received(end)) == "held"
    assert story.tell(received(end), received(removed(name="y", version=1))) is None
    story.tell(held("far"), received(versioned("far", "z")))
    assert story.tell(received(end), received(removed(name="z", version=1))) == "held"


def test_a_received_removal_leaves_alone_what_was_put_here(story: Story) -> None:
    story.tell(versioned("raw", None), received(versioned("raw", "y")))
    assert story.tell(received(removed("raw"))) is None
    assert story.tell(received(removed(name="x", version=1))) is None
    assert "removed" not in story.state.names["x"][0]
    assert "removed" not in story.state.names["y"][0]
    assert digest("raw") in story.state.unnamed
    assert story.tell(received(removed(name="y", version=1))) is None
    assert "removed" in story.state.names["y"][0]


def test_a_received_put_without_a_name_ends_by_a_received_removal(story: Story) -> None:
    story.tell(received(versioned("far", None)))
    assert digest("far") in story.state.unnamed
    story.tell(received(removed("far")))
    assert digest("far") not in story.state.unnamed


def test_a_received_alias_of_what_is_not_here_moves_nothing(story: Story) -> None:
    story.tell(aliased(version=1))
    assert story.tell(received(aliased(version=8))) is None
    assert story.state.aliases["x"]["best"][-1]["version"] == 1
    story.tell(received(aliased()))
    assert story.state.aliases["x"]["best"][-1]["version"] is None


def test_holds_of_two_stores_do_not_meet(story: Story) -> None:
    story.tell(received(versioned("far", "y")))
    story.tell(held("raw"), received(held("far")))
    story.tell(received({"fact": "released", "hold": named("hold")}))
    assert [row["digest"] for row in story.state.holds.values()] == [digest("raw")]
    story.tell(received(held("far", "other")))
    assert story.tell(removed(name="y", version=1)) == "held"
    story.tell({"fact": "released", "hold": named("other")})  # its owner here decides
    assert story.tell(removed(name="y", version=1)) is None


def test_a_taint_that_was_set_here_is_not_cleared_from_elsewhere(story: Story) -> None:
    tainted, cleared = ({"fact": kind, "digest": digest("raw")} for kind in ("tainted", "cleared"))
    story.tell(tainted)
    story.tell(received(tainted))
    story.tell(received(cleared))
    assert digest("raw") in story.state.tainted
    story.tell(received(tainted))
    story.tell(cleared)
    assert not story.state.tainted
    story.tell(received(tainted))
    assert digest("raw") in story.state.tainted
    story.tell(received(cleared))
    assert not story.state.tainted


def test_what_was_measured_here_stands_above_what_was_measured_elsewhere(story: Story) -> None:
    def measured(**metrics: float) -> Fact:
        return {"fact": "measured", "digest": digest("raw"), "metrics": metrics}

    story.tell(measured(auc=0.5))
    story.tell(received(measured(auc=0.9, loss=1.0)))
    assert story.state.metrics[digest("raw")] == {"auc": 0.5, "loss": 1.0}
    story.tell(received(measured(auc=0.9, loss=2.0)))
    assert story.state.metrics[digest("raw")] == {"auc": 0.5, "loss": 2.0}
    story.tell(measured(loss=3.0))
    story.tell(received(measured(loss=4.0)))
    assert story.state.metrics[digest("raw")] == {"auc": 0.5, "loss": 3.0}


def test_what_was_described_here_is_not_described_from_elsewhere(story: Story) -> None:
    def described(name: str, text: str) -> Fact:
        return {"fact": "described", "name": name, "version": 1, "metadata": {"text": text}}

    story.tell(received(versioned("far", "y")))
    story.tell(received(described("x", "theirs"), described("y", "theirs")))
    assert [story.state.names[name][0].get("metadata") for name in "xy"] == [None, {"text": "theirs"}]
    story.tell(described("y", "ours"))
    story.tell(received(described("y", "theirs again")))
    assert story.state.names["y"][0]["metadata"] == {"text": "ours"}


def test_a_run_of_this_store_gets_no_edges_from_elsewhere(story: Story) -> None:
    def run(kind: str, one: str, **more: str) -> Fact:
        return {"fact": kind, "run": one, **more}

    story.tell(run("started", "mine", name="n"))
    theirs = [
        edge("used", "mine", "raw"),
        edge("produced", "mine", "raw"),
        run("finished", "mine", status="failed"),
        run("started", "theirs", name="n"),
        edge("used", "theirs", "raw"),
        run("finished", "theirs", status="finished"),
    ]
    story.tell(received(*theirs))
    assert "status" not in story.state.runs["mine"]
    assert story.state.runs["theirs"]["status"] == "finished"
    assert (story.state.used_by_runs, story.state.produced_by) == ({digest("raw"): ["theirs"]}, {})


def test_names_that_were_changed_on_the_way_are_remembered(story: Story) -> None:
    story.tell(received(versioned("far", "y.from-there"), renamed={"y": "y.from-there"}))
    assert story.state.renamed[THERE] == {"y": "y.from-there"}


def test_an_unknown_kind_is_carried_and_counts_once(story: Story) -> None:
    fact = received({"fact": "of tomorrow", "x": 1})
    assert story.tell(fact) is None
    assert story.tell(fact) == "received"
