"""What each fact changed: values before and after it, of committed, void and received facts; whose clock was behind."""

from typing import Any

import pytest

from artifactstore.catalog.audit import Event, Filter, Subject, Walk

from .telling import Fact, Story, aliased, digest, held, named, received, removed, stored, versioned

RULES = {"all": [{"metric": "auc", "is": ">= 0.9"}]}
KEEP = {"keep_last": 3}


def events(story: Story, wanted: Filter | None = None) -> list[Event]:
    return [*Walk("0" * 32).events(story.entries, wanted or Filter())]


def changes(story: Story, *kinds: str) -> list[tuple[Any, Any]]:
    return [(one.before, one.after) for one in events(story) if one.fact in kinds]


@pytest.fixture
def story() -> Story:
    made = Story()
    for word in ("a", "b"):
        made.tell(stored(word), versioned(word))
    return made


def tell(story: Story, fact: Fact) -> None:
    """Append a fact to a store that has rules."""
    story.append(story.txn(fact, reason="why"), format=2)


def gated(rules: Any) -> Fact:
    return {"fact": "gated", "names": "y*", "alias": "live", "rules": rules}


def retained(rules: Any) -> Fact:
    return {"fact": "retained", "names": "x*", "rules": rules}


def measured(**metrics: float) -> Fact:
    return {"fact": "measured", "digest": digest("a"), "metrics": metrics}


def described(**metadata: Any) -> Fact:
    return {"fact": "described", "name": "x", "version": 1, "metadata": metadata}


def tainted(**more: Any) -> Fact:
    return {"fact": "tainted", "digest": digest("a"), **more}


HOLD = {"digest": digest("a"), "reason": "why"}
GONE = {"digest": digest("a"), "versions": ["x:v1"]}
CLEARED, RELEASED = {"fact": "cleared", "digest": digest("a")}, {"fact": "released", "hold": named("hold")}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([aliased(version=1), aliased(version=2), aliased(), aliased(version=1)], [(None, 1), (1, 2), (2, None), (None, 1)]),
        ([aliased(digest=digest("a")), aliased("other", version=2)], [(None, 1), (None, 2)]),
        ([aliased(version=1), aliased(version=2, expect=2), aliased(version=2)], [(None, 1), (1, 1), (1, 2)]),
        ([aliased(version=1), aliased(version=9)], [(None, 1), (1, 1)]),
        ([gated(RULES), gated({"any": [{"run": "finished"}]}), gated(None)],
         [(None, RULES), (RULES, {"any": [{"run": "finished"}]}), ({"any": [{"run": "finished"}]}, None)]),
        ([gated(RULES), gated({"all": [{"no": "rule"}]})], [(None, RULES), (RULES, RULES)]),
        ([retained(KEEP), retained(None)], [(None, KEEP), (KEEP, None)]),
        ([described(a=1), described(b=2), described()], [(None, {"a": 1}), ({"a": 1}, {"b": 2}), ({"b": 2}, None)]),
        ([{"fact": "described", "name": "x", "metadata": {"owner": one}} for one in "pq"], [(None, {"owner": "p"}), ({"owner": "p"}, {"owner": "q"})]),
        ([measured(auc=0.5), measured(auc=0.6, f1=0.1), measured(f1=0.2)],
         [({}, {"auc": 0.5}), ({"auc": 0.5}, {"auc": 0.6, "f1": 0.1}), ({"f1": 0.1}, {"f1": 0.2})]),
        ([measured(auc=0.5), {**measured(), "not_finite": {"auc": "nan"}}], [({}, {"auc": 0.5}), ({"auc": 0.5}, {"auc": "nan"})]),
        ([{"fact": "measured", "run": "r", "metrics": {"loss": one}} for one in (2.0, 1.0)], [(None, None)] * 2),
        ([tainted(), CLEARED, tainted(spread=False)],
         [(None, {"reason": "why"}), ({"reason": "why"}, None), (None, {"reason": "why", "spread": False})]),
        ([held("a"), RELEASED], [(None, HOLD), (HOLD, None)]),
        ([{**held("a"), "until": "2030-01-01T00:00:00.000000Z"}], [(None, HOLD | {"until": "2030-01-01T00:00:00.000000Z"})]),
        ([held("a"), removed(name="x", version=1), RELEASED, removed(name="x", version=1)], [(None, HOLD), (GONE, GONE), (HOLD, None), (GONE, None)]),
        ([removed("a")], [(GONE, None)]),
        ([{"fact": "approved", "digest": digest("a"), "verdict": one} for one in ("approved", "rejected")], [(None, "approved"), ("approved", "rejected")]),
        ([stored("c"), versioned("c"), {"fact": "started", "run": "r", "name": "n"}], [(None, None)] * 3),
    ],
)  # fmt: skip
def test_a_fact_has_the_value_before_and_after_it(story: Story, facts: list[Fact], expected: Any):
    for fact in facts:
        tell(story, fact)
    assert [(one.before, one.after) for one in events(story)[4:]] == expected


def test_a_version_begins_with_the_metadata_that_it_was_put_with_and_the_same_content_again_does_not_change_it():
    story = Story()
    story.tell(stored("a"), versioned("a", metadata={"a": 1}))
    story.tell(versioned("a", metadata={"a": 2}))
    story.tell(described(b=3))
    assert changes(story, "described") == [({"a": 1}, {"b": 3})]


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ([aliased(version=1)], aliased(version=2), (1, 2)),
        ([aliased(version=1)], aliased(digest=digest("no such")), (1, 1)),
        ([described(a=1)], described(a=2), ({"a": 1}, {"a": 1})),
        ([measured(auc=0.5)], measured(auc=0.6, f1=0.1), ({"auc": 0.5}, {"auc": 0.5, "f1": 0.1})),
        ([tainted()], tainted(spread=False), ({"reason": "why"}, {"reason": "why"})),
        ([tainted()], CLEARED, ({"reason": "why"}, {"reason": "why"})),
        ([gated(RULES)], gated(None), (RULES, RULES)),
        ([{**gated(RULES), "names": "x", "alias": "best"}], aliased(version=2), (None, None)),
        ([held("a")], RELEASED, (None, None)),
    ],
)
def test_a_received_fact_changes_what_the_fold_lets_it_change(story: Story, own: list[Fact], other: Fact, expected: Any):
    for fact in own:
        tell(story, fact)
    tell(story, received(other, reason="theirs"))
    (event,) = [one for one in events(story) if one.origin is not None]
    assert (event.before, event.after) == expected


def test_moves_of_aliases_are_those_of_the_fold(story: Story):
    story.append(
        story.txn(aliased(version=1), aliased("other", version=2)), story.txn(aliased(version=2)), story.txn(aliased(version=7))
    )
    story.tell(received(aliased(version=1), aliased("theirs", version=2)))
    story.tell(aliased(), aliased(version=2))
    for alias, moves in story.state.aliases["x"].items():
        found = [one for one in events(story) if one.alias == alias and one.before != one.after]
        assert [one.after for one in found] == [one["version"] for one in moves]
        assert [one.before for one in found] == [None, *(one.after for one in found)][:-1]


def test_the_seconds_are_shown_that_a_clock_was_behind_the_entry_before(story: Story):
    story.tell(aliased(version=1), time="2025-01-01T00:00:00.000000Z")
    assert [one.clock for one in events(story)][-1] == 365 * 86400 + 2
    assert events(story)[0].clock is None
    story.append(story.txn(aliased(version=2), time="2099-01-01T00:00:00.000000Z"), time="2099-01-01T00:00:00.000000Z")
    story.tell(aliased(version=1))  # a reset: the clock before was ahead
    assert [one.clock for one in events(story)][-2:] == [None, None]
    story.tell(received(aliased(version=2)), time="2027-01-01T00:00:00.000000Z")
    assert [one.clock for one in events(story)][-2:] == [None, None]


# -- one artifact


def about(story: Story, word: str) -> list[str]:
    rows = story.state.versions_by_digest.get(digest(word), ())
    subject = Subject(digest(word), {(name, number) for name, number, _ in rows})
    return [one.fact for one in events(story, Filter(subject=subject))]


def test_all_facts_that_speak_of_an_artifact_are_found_and_no_others():
    """Each kind of fact once about `a`, and once about `b`."""
    for mine in "ab":
        story = Story()
        story.tell(stored("a"), versioned("a"))
        story.tell(stored("b"), versioned("b"))
        wanted: list[str] = []
        for word, number in (("a", 1), ("b", 2)):
            hold = named(f"hold {word}")
            facts: list[Fact] = [
                aliased(version=number),
                {"fact": "described", "name": "x", "version": number, "metadata": {"a": 1}},
                {"fact": "measured", "digest": digest(word), "metrics": {"auc": 1.0}},
                {"fact": "measured", "digest": digest("c"), "metrics": {"auc": 1.0}, "on": digest(word)},
                {"fact": "tainted", "digest": digest(word)},
                {"fact": "cleared", "digest": digest(word)},
                {"fact": "approved", "digest": digest(word), "verdict": "approved"},
                {"fact": "signed", "digest": digest(word), "type": "oms", "bundle": {}, "key": "k"},
                {"fact": "held", "digest": digest(word), "hold": hold},
                {"fact": "released", "hold": hold},
                {"fact": "refused", "action": "promote", "reasons": ["no"], "name": "x", "version": number},
                {"fact": "used", "run": "r", "digest": digest(word)},
                {"fact": "produced", "run": "r", "digest": digest(word)},
                aliased("gone", version=number),
                aliased("gone"),
                {"fact": "removed", "name": "x", "version": number},
                received({"fact": "approved", "digest": digest(word), "verdict": "rejected"}),
            ]
            for fact in facts:
                story.tell(fact, reason="why")
            kinds = [one["fact"] if one["fact"] != "received" else "approved" for one in facts]
            # The alias of `a` is moved away to `b`: that speaks of both.
            wanted += kinds if word == mine else ["aliased"] if mine == "a" else []
        assert about(story, mine) == ["stored", "versioned", *wanted]


def test_what_is_about_the_name_and_moves_without_effect_are_about_its_versions(story: Story):
    story.tell({"fact": "described", "name": "x", "metadata": {"owner": "ann"}})
    story.tell({"fact": "described", "name": "y", "metadata": {"owner": "ann"}})
    story.tell({"fact": "refused", "action": "rollback", "reasons": ["nothing left"], "name": "x", "alias": "live"})
    story.tell(aliased(version=1, expect=2))
    story.tell(versioned("a", "other"))
    assert about(story, "a") == ["stored", "versioned", "described", "refused", "aliased", "versioned"]
    assert about(story, "b") == ["stored", "versioned", "described", "refused"]
