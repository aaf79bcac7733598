"""Gates in the fold: what moves a gated alias, what does not, and that no writer goes around them.

Each condition has facts that meet it, and every way in which they do not; a cheat appends its move with a verdict that claims yes.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from artifactstore.catalog.gates.conditions import Answer, Case
from artifactstore.catalog.gates.evaluate import evaluate, gates_of
from artifactstore.catalog.gates.recorded import rollback_targets
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import Fact

from .telling import Story, digest, edge, named, received, removed, stored, versioned

ALIAS = "production"
STORE = "5" * 32


@pytest.fixture
def story() -> Story:
    made = Story()
    made.state.header["store"] = STORE
    return made


def gate(*rules: Fact, names: str = "x", alias: str = ALIAS, **more: Any) -> Fact:
    return {"fact": "gated", "names": names, "alias": alias, "rules": {"all": list(rules), **more}}


def lift(names: str = "x", alias: str = ALIAS) -> Fact:
    return {"fact": "gated", "names": names, "alias": alias, "rules": None}


def measured(word: str, on: str | None = None, by: str | None = None, **metrics: float) -> Fact:
    fact: Fact = {"fact": "measured", "digest": digest(word), "metrics": metrics}
    fact |= {} if on is None else {"on": digest(on)}
    return fact | ({} if by is None else {"by": by})


def started(run: str, **more: Any) -> Fact:
    return {"fact": "started", "run": run, "name": "train", **more}


def finished(run: str, status: str = "finished", **more: Any) -> Fact:
    return {"fact": "finished", "run": run, "status": status, **more}


def tainted(word: str, **more: Any) -> Fact:
    return {"fact": "tainted", "digest": digest(word), **more}


def approved(word: str = "model", verdict: str = "approved", **more: Any) -> Fact:
    return {"fact": "approved", "digest": digest(word), "verdict": verdict, **more}


def signed(changed: Fact | None = None, word: str = "model", verdict: str = "approved") -> Fact:
    """A signed approval; `changed`: fields of the payload that differ from the fact's."""
    payload = {
        "store": STORE,
        "digest": digest(word),
        "ref": "x:v1",
        "meaning": "approval",
        "verdict": verdict,
        "role": "qa",
        "name": "Quinn",
        "time": "2026-01-01T00:00:00.000000Z",
        "head": 3,
        "entry": digest("entry"),
    } | (changed or {})
    envelope = {
        "payload": base64.b64encode(canonical_json(payload)).decode(),
        "payloadType": "application/vnd.artifactstore.approval+json",
        "signatures": [{"keyid": "k", "sig": "c2ln"}],
    }
    return approved(word, verdict, role="qa", signature=envelope)


def put(word: str, name: str = "x", **more: Any) -> list[Fact]:
    return [stored(word), {**versioned(word, name), **more}]


def tell(story: Story, *facts: Fact, **more: Any) -> str | None:
    """Append with the format that the facts need."""
    needs = 2 if story.state.header["format"] == 2 or any(fact["fact"] in {"gated", "retained"} for fact in facts) else 1
    return story.append(story.txn(*facts, **more), format=needs)[0]


def verdict(
    story: Story, number: int = 1, name: str = "x", alias: str = ALIAS, *, say: Callable[[Any], bool] = lambda _: True
) -> Fact:
    """The verdict that a writer would record; `say`: what it found on content and keys."""
    row = story.state.names[name][number - 1]
    gates = gates_of(story.state, name, alias)
    case = Case(name, number, row["digest"], alias, "2026-01-01T00:59:00.000000Z", "why")
    conditions = evaluate(story.state, gates, case, lambda rule, _seen: Answer(ok=say(rule), text="said"))
    return {
        "ok": True,
        "ref": f"{name}:v{number}",
        "digest": row["digest"],
        "alias": alias,
        "at": story.state.head,
        "gates": [{key: one[key] for key in ("names", "alias", "version", "entry")} for one in gates],
        "conditions": conditions,
    }


def move(story: Story, number: int = 1, **more: Any) -> str | None:
    """Move the alias as an honest writer does, or as a cheat whose verdict claims that all is well."""
    return tell(
        story, {"fact": "aliased", "name": "x", "alias": ALIAS, "version": number, "verdict": verdict(story, number)}, **more
    )


# -- each condition

CODE = {"commit": "a" * 40, "branch": "main", "describe": "v1.2-0-gaaaa", "author": "Ann Lee <ann@lab.org>"}


def made(
    *, run: str = "r", inputs: Sequence[str] = ("raw",), code: Fact | None = None, end: Fact | None = None
) -> list[list[Fact]]:
    """A model that a run made from some data."""
    raw = [fact for word in inputs for fact in put(word, f"data/{word}")]
    code_edge = [] if code is None else [stored("code"), {**edge("used", run, "code"), "role": "code", "code": code}]
    uses = [edge("used", run, word) | {"name": f"data/{word}"} for word in inputs]
    return [
        raw,
        [started(run)],
        [*uses, *code_edge, *put("model"), edge("produced", run, "model")],
        [end or finished(run)],
    ]


WELL: dict[str, tuple[Fact, list[list[Fact]]]] = {
    "metric": ({"metric": "auc", "is": ">= 0.9"}, [put("model"), [measured("model", auc=0.9)]]),
    "metric on data": ({"metric": "auc", "is": ">= 0.9", "on": "data/test"}, [put("test", "data/test"), put("model"), [measured("model", "test", auc=0.9)], [measured("model", auc=0.1)]]),
    "baseline": ({"metric": "auc", "is": ">= -0.01", "of": "base:v1"}, [put("base", "base"), [measured("base", auc=0.92)], put("model"), [measured("model", auc=0.91)]]),
    "no holder yet": ({"metric": "auc", "is": ">= 0", "of": ALIAS}, [put("model"), [measured("model", auc=0.1)]]),
    "run": ({"run": "finished"}, made()),
    "lineage": ({"lineage": "complete"}, made()),
    "reads": ({"reads": "tracked"}, made()),
    "committed": ({"code": "committed"}, made(code={**CODE, "dirty": True})),
    "clean": ({"code": "clean", "branch": "ma*", "tag": "v1.*"}, made(code=CODE)),
    "taint": ({"taint": "none"}, [*made(), [tainted("other")]]),
    "criteria": ({"criteria": "criteria"}, [put("criteria", "criteria"), put("model"), [started("eval")], [measured("model", by="eval", auc=1.0)]]),
    "age": ({"age": "<= 1"}, [put("model")]),
    "approvals": ({"approvals": 2, "role": "qa", "meaning": "review"}, [put("model")]),
    "evaluated": ({"evaluated": "apart", "metric": "auc"}, [*made(), put("test", "data/test"), [measured("model", "test", auc=1.0)]]),
    "format": ({"format": "safe"}, [put("model")]),
}  # fmt: skip
BROKEN: dict[str, list[list[list[Fact]]]] = {
    "metric": [[put("model")], [put("model"), [measured("model", auc=0.89)]], [put("model"), [measured("model", f1=0.95)]],
               [put("model"), [measured("model", auc=0.95)], [measured("model", auc=0.1)]],
               [put("model"), [measured("model", auc=0.95)], [{**measured("model"), "not_finite": {"auc": "nan"}}]],
               [put("model"), put("other", "y"), [measured("other", auc=0.95)]]],
    "metric on data": [[put("test", "data/test"), put("model"), [measured("model", auc=0.95)]],
                       [put("test", "data/test"), put("easy", "data/easy"), put("model"), [measured("model", "easy", auc=0.95)]],
                       [put("test", "data/test"), put("model"), [measured("model", "test", auc=0.95)], [measured("model", "test", auc=0.5)]],
                       [put("model"), [measured("model", "test", auc=0.95)]]],
    "baseline": [[put("base", "base"), [measured("base", auc=0.93)], put("model"), [measured("model", auc=0.91)]],
                 [put("base", "base"), put("model"), [measured("model", auc=0.91)]], [put("model"), [measured("model", auc=0.91)]]],
    "run": [[put("model")], made(end=finished("r", "failed")), made()[:-1],
            [*made(), [started("s")], [edge("produced", "s", "model")], [finished("s", "failed")]],
            # A run that only passes the model on has not made it.
            [*made(end=finished("r", "failed")), [started("s")], [edge("used", "s", "model"), edge("produced", "s", "model")], [finished("s")]]],
    "lineage": [[put("model")], [*made(), [removed(name="data/raw", version=1)]],
                [[started("r")], [edge("used", "r", "unknown"), *put("model"), edge("produced", "r", "model")], [finished("r")]],
                [put("raw", "data/raw"), [started("p")], [edge("used", "p", "gone"), stored("mid"), versioned("mid", "mid"), edge("produced", "p", "mid")],
                 [started("r")], [edge("used", "r", "mid"), *put("model"), edge("produced", "r", "model")], [finished("r")]]],
    "reads": [[put("model")], made(end=finished("r", around=[{"path": "/tmp/x.csv", "size": 1}])), made(end=finished("r", around_more=3))],
    "committed": [[put("model")], made(), made(code={"kind": "modules"})],
    "clean": [made(), made(code={**CODE, "dirty": True}), made(code={**CODE, "branch": "feature"}), made(code={**CODE, "describe": "v1.2-3-gaaaa"}),
              made(code={**CODE, "describe": "v2.0-0-gaaaa"}), made(code={key: CODE[key] for key in ("commit", "describe")}),
              [*made(run="a", code=CODE, end=finished("a")), [started("b")], [{**edge("used", "b", "code"), "role": "code", "code": {**CODE, "dirty": True}}, edge("produced", "b", "model")], [finished("b")]]],
    "taint": [[*made(), [tainted("raw")]], [put("model"), [tainted("model")]],
              [put("raw", "r"), [started("p")], [edge("used", "p", "raw"), stored("mid"), versioned("mid", "mid"), edge("produced", "p", "mid")],
               [started("r")], [edge("used", "r", "mid"), *put("model"), edge("produced", "r", "model")], [tainted("raw")]]],
    "criteria": [[put("model"), [started("eval")], [measured("model", by="eval", auc=1.0)]],
                 [put("model"), [started("eval")], [measured("model", by="eval", auc=1.0)], put("criteria", "criteria")],
                 [put("criteria", "criteria"), put("model"), [measured("model", auc=1.0)]], [put("criteria", "criteria"), put("model")],
                 [put("criteria", "criteria"), put("model"), [started("eval")], put("criteria 2", "criteria"), [measured("model", by="eval", auc=1.0)]]],
    "evaluated": [[*made(), [measured("model", auc=1.0)]], made()],
}  # fmt: skip


def play(story: Story, entries: list[list[Fact]]) -> None:
    for facts in entries:
        assert tell(story, *facts) is None, facts


@pytest.mark.parametrize("what", WELL)
def test_a_version_that_meets_a_condition_is_let_pass(story: Story, what: str) -> None:
    rule, entries = WELL[what]
    play(story, entries)
    assert tell(story, gate(rule)) is None
    if what == "approvals":
        for actor in ("quinn", "rosa"):
            assert tell(story, approved(role="qa", meaning="review"), actor=actor) is None
    assert move(story) is None
    assert story.state.aliases["x"][ALIAS][-1]["version"] == 1


@pytest.mark.parametrize(("what", "which"), [(what, which) for what, ways in BROKEN.items() for which in range(len(ways))])
def test_a_version_that_does_not_is_not_whatever_its_verdict_claims(story: Story, what: str, which: int) -> None:
    play(story, BROKEN[what][which])
    assert tell(story, gate(WELL[what][0])) is None
    assert move(story) == "gate"
    assert ALIAS not in story.state.aliases.get("x", {})


def test_age_is_counted_by_entries(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"age": "<= 2"}))
    late = {"time": "2026-01-03T12:00:00.000000Z"}
    fact = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "verdict": verdict(story)}
    assert story.append(story.txn(fact), format=2, **late) == ["gate"]


@pytest.mark.parametrize(
    "change", [measured("model", auc=0.99), {"fact": "described", "name": "x", "version": 1, "metadata": {"a": 1}}]
)
def test_what_was_approved_and_changed_since_is_not_approved(story: Story, change: Fact) -> None:
    play(story, [put("model")])
    tell(story, gate({"approvals": 1}))
    tell(story, approved(), actor="quinn")
    tell(story, change)
    assert move(story) == "gate"
    tell(story, approved(), actor="quinn")
    assert move(story) is None


def test_a_version_put_after_the_approval_of_its_content_is_not_approved(story: Story) -> None:
    play(story, [[stored("model"), versioned("model", "y")]])
    tell(story, approved(), actor="quinn")
    play(story, [[versioned("model", "x")]])
    tell(story, gate({"approvals": 1}))
    assert move(story) == "gate"


@pytest.mark.parametrize("author", ["ann", "runner", "Ann Lee <ann@lab.org>", "ANN LEE", "ann@lab.org", "carl"])
def test_no_author_approves_their_own(story: Story, author: str) -> None:
    raw, start, work, end = made(code={**CODE, "committer": "Carl <carl@lab.org>"})
    play(story, [raw])
    tell(story, *start, actor="runner")
    play(story, [work, end])
    tell(story, gate({"approvals": 1}))
    assert tell(story, approved(), actor=author) is None
    assert move(story) == "gate"
    tell(story, approved(), actor="quinn")
    assert move(story) is None


def test_one_person_is_one_approval(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"approvals": 2}))
    for actor in ("quinn", "Quinn", "quinn"):
        tell(story, approved(), actor=actor)
    assert move(story) == "gate"


@pytest.mark.parametrize(
    "more", [{"role": "dev"}, {}, {"role": "qa", "meaning": "authorship"}, {"role": "qa", "alias": "staging"}]
)
def test_an_approval_for_something_else_does_not_count(story: Story, more: Fact) -> None:
    play(story, [put("model")])
    tell(story, gate({"approvals": 1, "role": "qa", "meaning": "approval"}))
    tell(story, approved(**more), actor="quinn")
    assert move(story) == "gate"


def test_a_rejection_stands_until_its_actor_withdraws_it(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"format": "safe"}))
    tell(story, approved(verdict="rejected"), actor="quinn")
    assert move(story) == "gate"
    tell(story, approved(), actor="rosa")
    assert move(story) == "gate"
    tell(story, approved(), actor="quinn")
    assert move(story) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"store": "6" * 32},
        {"digest": digest("other")},
        {"meaning": "review"},
        {"verdict": "rejected"},
        {"role": "dev"},
        {"alias": "staging"},
    ],
)
def test_a_transplanted_signature_counts_nowhere(story: Story, changed: Fact) -> None:
    play(story, [put("model")])
    tell(story, gate({"approvals": 1, "role": "qa", "signed": True}))
    tell(story, signed(changed), actor="quinn")
    assert move(story) == "gate"
    tell(story, signed(), actor="rosa")
    assert move(story) is None


def test_an_unsigned_approval_is_no_signed_one(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"approvals": 1, "signed": True}))
    tell(story, approved(), actor="quinn")
    assert move(story) == "gate"


def test_approvals_of_another_store_mean_nothing_unless_signed(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"approvals": 1}))
    tell(story, received(approved(), actor="quinn"))
    assert move(story) == "gate"


def test_measures_of_another_store_count(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"metric": "auc", "is": ">= 0.9"}))
    tell(story, received(measured("model", auc=0.95)))
    assert verdict(story)["conditions"][0]["text"] == "auc in another store is 0.95, asked is >= 0.9"
    assert move(story) is None


# -- going around


def test_no_writer_goes_around_a_gate(story: Story) -> None:
    play(story, [put("model"), put("model 2")])
    tell(story, gate({"metric": "auc", "is": ">= 0.9"}))
    tell(story, measured("model 2", auc=0.99))
    plain = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1}
    good = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 2}
    honest = verdict(story, 2)
    assert tell(story, plain) == "gate"
    assert tell(story, good) == "gate", "without a verdict"
    assert tell(story, {**plain, "verdict": honest}) == "gate", "the verdict of another version"
    assert tell(story, {**plain, "verdict": {**honest, "digest": digest("model"), "ok": True}}) == "gate"
    assert tell(story, {**good, "verdict": {**honest, "gates": []}}) == "gate", "without its gates"
    assert tell(story, {**good, "verdict": {**honest, "alias": "staging"}}) == "gate"
    assert tell(story, {**good, "verdict": 3}) == "gate"
    assert tell(story, measured("model", auc=1.0), {**plain, "verdict": verdict(story, 1)}) == "gate", (
        "measured in the same transaction"
    )
    assert tell(story, lift(), plain) == "gate", "lifted in the same transaction"
    assert tell(story, {**plain, "rollback": {"quotes": 1}}) == "gate"
    assert tell(story, {**plain, "rollback": {"quotes": None}}) == "gate"
    assert tell(story, {**plain, "rollback": 7}) == "gate"
    assert tell(story, received(plain)) is None, "an import goes on, and the alias stays"
    assert ALIAS not in story.state.aliases.get("x", {})
    assert tell(story, {**good, "verdict": honest}) is None
    assert tell(story, *put("model 3"), {"fact": "aliased", "name": "x", "alias": ALIAS, "digest": digest("model 3")}) == "gate"
    assert story.state.aliases["x"][ALIAS][-1]["version"] == 2


def test_a_verdict_is_for_its_version_though_both_would_pass(story: Story) -> None:
    play(story, [put("model"), put("model 2"), [measured("model", auc=0.95)], [measured("model 2", auc=0.99)]])
    tell(story, gate({"metric": "auc", "is": ">= 0.9"}))
    fact = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "verdict": verdict(story, 2)}
    assert tell(story, fact) == "gate"


def test_a_gate_of_another_alias_or_name_asks_nothing(story: Story) -> None:
    play(story, [put("model"), put("other", "y")])
    tell(story, gate({"metric": "auc", "is": ">= 0.9"}, names="x*"))
    assert tell(story, {"fact": "aliased", "name": "x", "alias": "staging", "version": 1}) is None
    assert tell(story, {"fact": "aliased", "name": "y", "alias": ALIAS, "version": 1}) is None


def test_all_gates_that_match_hold(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"metric": "auc", "is": ">= 0.9"}, names="*"))
    tell(story, gate({"metric": "f1", "is": ">= 0.5"}))
    tell(story, measured("model", auc=0.95))
    assert move(story) == "gate"
    tell(story, measured("model", f1=0.6))
    assert move(story) is None


def test_a_verdict_by_gates_that_changed_since_is_none(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"metric": "auc", "is": ">= 0.9"}))
    tell(story, measured("model", auc=0.95))
    old = verdict(story)
    tell(story, gate({"metric": "auc", "is": ">= 0.8"}))
    fact = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "verdict": old}
    assert tell(story, fact) == "gate"
    tell(story, lift())
    assert tell(story, {**fact, "verdict": None}) is None


def test_what_content_said_counts_for_exactly_what_it_was_about(story: Story) -> None:
    play(story, [*made(), put("test", "data/test"), put("leak", "data/leak"), [measured("model", "test", auc=1.0)]])
    tell(story, gate({"evaluated": "apart", "metric": "auc"}))
    old = verdict(story)
    tell(story, measured("model", "leak", auc=1.0))
    assert tell(story, {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "verdict": old}) == "gate"


def test_a_condition_that_nobody_judged_is_not_met_by_its_negation(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"not": {"format": "safe"}}))
    silent = {**verdict(story, 1), "conditions": []}
    assert tell(story, {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "verdict": silent}) == "gate"
    unsafe = verdict(story, say=lambda _: False)
    assert tell(story, {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "verdict": unsafe}) is None


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        ({"any": [{"metric": "f1", "is": "> 1"}, {"metric": "auc", "is": "> 0"}]}, True),
        ({"any": [{"metric": "f1", "is": "> 1"}, {"metric": "auc", "is": "> 1"}]}, False),
        ({"not": {"metric": "auc", "is": "> 1"}}, True),
        ({"not": {"metric": "auc", "is": "> 0"}}, False),
        ({"all": [{"metric": "auc", "is": "> 0"}, {"metric": "f1", "is": "> 0"}]}, False),
        ({"all": [{"metric": "auc", "is": "> 0"}, {"not": {"any": [{"metric": "f1", "is": "> 0"}]}}]}, True),
    ],
)
def test_conditions_compose(story: Story, rule: Fact, passes: bool) -> None:  # noqa: FBT001
    play(story, [put("model"), [measured("model", auc=0.5)]])
    tell(story, gate(rule))
    assert move(story) == (None if passes else "gate")


def test_a_reason_can_be_asked_for(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"format": "safe"}, reason=True))
    assert move(story) == "gate"
    assert move(story, reason=" ") == "gate"
    assert move(story, reason="CR-1") is None


@pytest.mark.parametrize(
    "rules", [{}, {"all": [{"metric": "auc"}]}, {"all": 3}, {"none": []}, {"all": [{"approvals": 0}]}, {"any": [7]}]
)
def test_rules_that_mean_nothing_are_no_gate(story: Story, rules: Any) -> None:
    assert tell(story, {"fact": "gated", "names": "x", "alias": ALIAS, "rules": rules}) == "gate"
    assert not story.state.gates


def test_a_gate_in_an_entry_of_the_first_format_is_none(story: Story) -> None:
    assert story.append(story.txn(gate({"format": "safe"})), format=1) == ["format"]
    assert not story.state.gates
    assert story.append(story.txn(gate({"format": "safe"})), format=2) == [None]
    assert story.append(story.txn(lift()), format=1) == ["format"]


def test_ending_an_alias_asks_no_gate(story: Story) -> None:
    play(story, [put("model")])
    tell(story, gate({"format": "safe"}))
    assert move(story) is None
    assert tell(story, {"fact": "aliased", "name": "x", "alias": ALIAS, "version": None}) is None


# -- rollback


def versions(story: Story, count: int) -> None:
    for number in range(1, count + 1):
        play(story, [put(f"model {number}")])
    tell(story, gate({"metric": "auc", "is": "> 0"}))
    for number in range(1, count + 1):
        tell(story, measured(f"model {number}", auc=number))


def back(story: Story) -> int | None:
    """Roll back as a writer does; returns the version that the alias means then, None if nothing was left."""
    found = rollback_targets(story.state, "x", ALIAS)
    if not found:
        return None
    number, entry = found[0]
    fact = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": number, "rollback": {"quotes": entry}}
    assert tell(story, fact) is None
    return number


def test_rolling_back_again_goes_further_back_never_forth(story: Story) -> None:
    versions(story, 4)
    for number in (1, 2, 3):
        assert move(story, number) is None
    assert [back(story), back(story), back(story)] == [2, 1, None]
    assert move(story, 4) is None
    assert [back(story), back(story)] == [1, None]
    assert move(story, 3) is None
    assert [back(story), back(story)] == [1, None]


def test_what_is_tainted_or_removed_is_passed_over(story: Story) -> None:
    versions(story, 4)
    for number in (1, 2, 3, 4):
        assert move(story, number) is None
    tell(story, tainted("model 3"))
    tell(story, removed(name="x", version=2))
    assert [back(story), back(story)] == [1, None]


def test_a_rollback_asks_no_metric_and_forgives_no_taint(story: Story) -> None:
    versions(story, 2)
    assert move(story, 1) is None
    entry = story.state.head
    assert move(story, 2) is None
    tell(story, gate({"metric": "auc", "is": "> 100"}))
    fact = {"fact": "aliased", "name": "x", "alias": ALIAS, "version": 1, "rollback": {"quotes": entry}}
    tell(story, tainted("model 1"))
    assert tell(story, fact) == "gate"
    tell(story, {"fact": "cleared", "digest": digest("model 1")})
    assert tell(story, {**fact, "rollback": {"quotes": entry + 1}}) == "gate", "that entry made it mean v2"
    assert tell(story, fact) is None


# -- holds and retention


def test_a_hold_is_not_released_before_its_time(story: Story) -> None:
    play(story, [put("model")])
    tell(story, {"fact": "held", "hold": named("h"), "digest": digest("model"), "until": "2026-01-01T00:00:30.000000Z"})
    assert tell(story, {"fact": "released", "hold": named("h")}) == "held"
    assert tell(story, {"fact": "released", "hold": named("other")}) == "missing"
    while story.state.head < 30:
        tell(story, measured("model", auc=1.0))
    assert tell(story, removed(name="x", version=1)) == "held"
    assert tell(story, {"fact": "released", "hold": named("h")}, removed(name="x", version=1)) is None


@pytest.mark.parametrize("target", [{"name": "x", "version": 1}, {"digest": digest("model")}])
def test_a_version_is_kept_for_its_days(story: Story, target: Fact) -> None:
    play(story, [put("model")])
    assert tell(story, {"fact": "retained", "names": "x", "rules": {"at_least_days": 1}}) is None
    assert tell(story, {"fact": "removed", **target}) == "retained"
    late = {"time": "2026-01-02T00:01:00.000000Z"}
    assert story.append(story.txn({"fact": "removed", **target}), format=2, **late) == [None]


def test_retention_of_other_names_keeps_nothing(story: Story) -> None:
    play(story, [put("model")])
    tell(story, {"fact": "retained", "names": "y*", "rules": {"at_least_days": 1}})
    tell(story, {"fact": "retained", "names": "x", "rules": {"at_least_days": 1}})
    tell(story, {"fact": "retained", "names": "x", "rules": None})
    assert tell(story, removed(name="x", version=1)) is None
