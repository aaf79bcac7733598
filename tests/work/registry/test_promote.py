"""Promotion through gates: who passes, who is refused and why, what is recorded, and what racing movers get."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

import artifactstore
from artifactstore import ConflictError, InvalidInputError, NotFoundError, RefusedError, Store

from .conftest import evaluate, frame, run, train

PRODUCTION = {"names": "churn/*", "alias": "production"}


def gate(store: Store, *rules: Any, **more: Any) -> None:
    store.registry.gates([{**PRODUCTION, "all": list(rules), **more}], reason="CR-1")


def facts(store: Store, kind: str) -> list[Any]:
    return list(store.log(fact=kind))


def test_a_version_that_meets_its_gate_is_promoted_with_its_verdict(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.9"})
    verdict = churn.promote("churn/model:v1", "production", reason="CR-2")
    assert verdict.ok
    assert bool(verdict)
    assert (verdict.ref, verdict.alias) == ("churn/model:v1", "production")
    assert [one.text for one in verdict.conditions] == ["auc is 0.91, asked is >= 0.9"]
    (event,) = facts(churn, "aliased")
    assert event.fields["verdict"] == verdict.to_json()
    assert event.reason == "CR-2"
    assert churn.artifact("churn/model:production").ref == "churn/model:v1"
    assert churn.verify().ok


def test_a_version_that_does_not_is_refused_and_the_refusal_is_recorded(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.93"}, {"metric": "f1", "is": "> 0"}, {"run": "finished"})
    with pytest.raises(RefusedError) as caught:
        churn.promote("churn/model:v1", "production", reason="CR-2")
    assert caught.value.reasons == ("auc is 0.91, asked is >= 0.93", "f1 was not measured, asked is > 0")
    assert [one.ok for one in caught.value.verdict.conditions] == [False, False, True]
    (event,) = facts(churn, "refused")
    assert event.fields["action"] == "promote"
    assert event.fields["reasons"] == list(caught.value.reasons)
    assert event.fields["verdict"] == caught.value.verdict.to_json()
    assert (event.name, event.version, event.alias, event.reason) == ("churn/model", 1, "production", "CR-2")
    assert not churn.exists("churn/model:production")


def test_check_asks_and_writes_nothing(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.93"})
    before = churn.head
    assert not churn.registry.check("churn/model:v1", "production")
    assert churn.registry.check("churn/model:v2", "production")
    assert churn.registry.check("churn/model:v1", "staging").gates == ()
    reader = artifactstore.open(churn.url, "r", cache=None)
    assert not reader.registry.check("churn/model:v1", "production")
    assert churn.head == before


@pytest.mark.parametrize("door", ["alias", "put", "batch"])
def test_every_door_to_a_gated_alias_is_the_same(churn: Store, door: str) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.93"})

    def go() -> None:
        if door == "alias":
            churn.alias("churn/model:v1", "production")
        elif door == "put":
            churn.put({"w": [3]}, "churn/model", aliases=["production"])
        else:
            with churn.batch():
                churn.alias("churn/model:v1", "production")

    with pytest.raises(RefusedError):
        go()
    assert not churn.exists("churn/model:production")
    made = churn.alias("churn/model:v2", "production")
    assert made is not None
    assert made.ref == "churn/model:v2"
    assert "verdict" in facts(churn, "aliased")[0].fields


def test_without_a_gate_promote_is_an_alias_with_a_reason(churn: Store) -> None:
    assert churn.promote("churn/model:v1", "staging", reason="a trial").ok
    assert churn.promote("churn/model", "staging", reason="the newest", expect=1).ref == "churn/model:v2"
    assert [event.reason for event in facts(churn, "aliased")] == ["a trial", "the newest"]
    assert all("verdict" not in event.fields for event in facts(churn, "aliased"))


def test_a_difference_is_rounded_before_it_is_compared(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= -0.01", "of": "production"})
    churn.registry.measure("churn/model:v1", {"auc": 0.92})
    churn.registry.measure("churn/model:v2", {"auc": 0.91})
    churn.promote("churn/model:v1", "production", reason="the first")
    verdict = churn.promote("churn/model:v2", "production", reason="not worse")
    assert verdict.conditions[0].value == -0.01


# -- conditions on content


def test_data_apart_passes_and_shared_rows_do_not(churn: Store) -> None:
    gate(churn, {"evaluated": "apart", "metric": "auc"})
    assert churn.registry.check("churn/model:v1", "production")
    leak = pd.concat([frame(2000), frame(0).iloc[:3]], ignore_index=True)
    churn.put(leak, "churn/leak")
    evaluate(churn, "churn/model:v1", 0.99, on="churn/leak")
    verdict = churn.registry.check("churn/model:v1", "production")
    assert verdict.reasons == ("auc was measured on data that shares 3 rows with what it was made from",)
    assert verdict.conditions[0].judged == "content"


def test_the_training_data_itself_and_shared_files_are_not_apart(churn: Store, tmp_path: Path) -> None:
    gate(churn, {"evaluated": "apart", "metric": "auc"})
    evaluate(churn, "churn/model:v1", 0.99, on="churn/train")
    assert "is among what it was made from" in churn.registry.check("churn/model:v1", "production").reasons[0]
    for folder, names in (("a", ("one", "two")), ("b", ("two", "three"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(name)
    churn.put(tmp_path / "a", "img/train")
    churn.put(tmp_path / "b", "img/test")
    ref = train(churn, {"w": [9]}, data="img/train")
    evaluate(churn, ref, 0.9, on="img/test")
    assert "with 1 files that it was made from" in churn.registry.check(ref, "production").reasons[0]


def test_data_that_was_made_from_the_test_set_is_not_apart(churn: Store) -> None:
    gate(churn, {"evaluated": "apart", "metric": "auc"})
    with run(churn, "prepare") as one:
        one.get("churn/test")
        one.put(frame(5000), "churn/derived")
    ref = train(churn, {"w": [7]}, data="churn/derived")
    evaluate(churn, ref, 0.9)
    assert "is among what it was made from" in churn.registry.check(ref, "production").reasons[0]


def test_a_base_model_brings_what_it_was_trained_on(churn: Store) -> None:
    gate(churn, {"evaluated": "apart", "metric": "auc"})
    base = train(churn, {"base": 1}, data="churn/test", name="churn/base")
    with run(churn, "finetune") as one:
        one.get(base)
        one.get("churn/train")
        ref = one.put({"w": [8]}, "churn/model", kind="model").ref
    evaluate(churn, ref, 0.9)
    assert not churn.registry.check(ref, "production")


def test_a_measure_on_nothing_shows_nothing(churn: Store) -> None:
    gate(churn, {"evaluated": "apart", "metric": "auc"})
    churn.registry.measure("churn/model:v1", {"auc": 0.99})
    assert "on which data auc was measured is not recorded" in churn.registry.check("churn/model:v1", "production").reasons[0]


def test_a_report_is_the_newest_that_a_run_made_from_the_model(churn: Store) -> None:
    gate(churn, {"report": "drift", "field": "psi.max", "is": "<= 0.2"})
    assert "no run made a report" in churn.registry.check("churn/model:v1", "production").reasons[0]

    def report(value: Any, ref: str = "churn/model:v1", role: str = "drift", kind: str = "report") -> None:
        with run(churn, "drift") as one:
            one.get(ref)
            one.put({"psi": {"max": value}}, f"reports/{value}", kind=kind, role=role)

    report(0.1, ref="churn/model:v2")
    report(0.12, role="other")
    report(0.05, kind="data")
    assert not churn.registry.check("churn/model:v1", "production")
    report(0.15)
    assert churn.promote("churn/model:v1", "production", reason="no drift")
    report(0.3)
    assert churn.registry.check("churn/model:v1", "production").reasons == ("drift: psi.max is 0.3, asked is <= 0.2",)
    report("high")
    assert "is no number" in churn.registry.check("churn/model:v1", "production").reasons[0]


def test_what_runs_code_when_it_is_read_is_not_safe(churn: Store, tmp_path: Path) -> None:
    gate(churn, {"format": "safe"})
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/model.bin").write_bytes(b"\x80\x04\x95")
    (tmp_path / "named").mkdir()
    (tmp_path / "named/model.pkl").write_bytes(b"x")
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine/model.safetensors").write_bytes(b"x")
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    sources: list[tuple[Any, dict[str, Any], bool]] = [
        (estimator, {}, True),
        (estimator, {"format": "pickle"}, False),
        (tmp_path / "plain", {}, False),
        (tmp_path / "named", {}, False),
        (tmp_path / "fine", {}, True),
        (frame(3), {}, True),
    ]
    for source, options, safe in sources:
        ref = churn.put(source, "churn/thing", **options).ref
        assert churn.registry.check(ref, "production").ok is safe, (source, options)


# -- refusals beside gates


def test_tainted_and_removed_versions_are_refused(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": "> 0"})
    churn.registry.taint("churn/model:v1", "wrong labels")
    with pytest.raises(RefusedError, match="it is tainted: wrong labels"):
        churn.promote("churn/model:v1", "production", reason="x")
    churn.registry.remove("churn/model:v2", "GDPR")
    with pytest.raises(RefusedError, match="was removed"):
        churn.promote("churn/model:v2", "production", reason="x")
    assert len(facts(churn, "refused")) == 2


def test_an_expectation_that_fails_is_a_conflict_and_a_fact(churn: Store) -> None:
    churn.promote("churn/model:v1", "production", reason="x")
    for expect in (None, 2):
        with pytest.raises(ConflictError):
            churn.promote("churn/model:v2", "production", reason="x", expect=expect)
    assert [event.fields["action"] for event in facts(churn, "refused")] == ["promote", "promote"]


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda s: s.promote("churn/model:v1", "production", reason=" "), InvalidInputError, "must state why"),
        (lambda s: s.promote("churn/model:v1", "v3", reason="x"), InvalidInputError, "not a valid alias"),
        (lambda s: s.promote("churn/model:v1", "latest", reason="x"), InvalidInputError, "not a valid alias"),
        (lambda s: s.promote("churn/train:v1/data.parquet", "p", reason="x"), InvalidInputError, "whole artifact"),
        (lambda s: s.promote("churn/modle:v1", "p", reason="x"), NotFoundError, "churn/model"),
        (lambda s: s.promote("churn/model:v9", "p", reason="x"), NotFoundError, "newest version is v2"),
        (lambda s: s.promote(s.artifact("churn/model:v1").digest, "p", reason="x"), InvalidInputError, "bare digest"),
        (lambda s: s.promote("churn/model:v1", "p", reason="x", expect=0), InvalidInputError, "expect"),
        (lambda s: s.rollback("churn/model", "p", reason="x"), NotFoundError, "no alias 'p'"),
        (lambda s: s.rollback("churn/model", "p", reason=""), InvalidInputError, "must state why"),
        (lambda s: s.rollback("churn/model", "p", reason="x", to="v1"), InvalidInputError, "to='v1'"),
    ],
)
def test_bad_input_gets_one_clear_error(churn: Store, call: Callable[[Store], Any], kind: type[Exception], text: str) -> None:
    before = churn.head
    with pytest.raises(kind, match=text):
        call(churn)
    assert churn.head == before


def test_promote_is_not_for_batches(churn: Store) -> None:
    with churn.batch(), pytest.raises(InvalidInputError, match="batch"):
        churn.promote("churn/model:v1", "production", reason="x")


def test_a_read_only_store_refuses_before_any_work(churn: Store) -> None:
    reader = artifactstore.open(churn.url, "r", cache=None)
    for call in (
        lambda: reader.promote("churn/model:v1", "production", reason="x"),
        lambda: reader.rollback("churn/model", "production", reason="x"),
        lambda: reader.registry.approve("churn/model:v1", reason="x"),
        lambda: reader.registry.gates([], reason="x"),
        lambda: reader.registry.hold("churn/model:v1", "x"),
        lambda: reader.registry.remove("churn/model:v1", "x"),
        lambda: reader.registry.expire(reason="x"),
        lambda: reader.registry.describe("churn/model:v1", {}),
        lambda: reader.registry.measure("churn/model:v1", {"a": 1}),
    ):
        with pytest.raises(RefusedError):
            call()


# -- people


def test_authors_do_not_approve_and_others_do(churn: Store, person: Callable[[str], Store]) -> None:
    gate(churn, {"approvals": 2, "role": "qa"})
    mine = churn.registry.approve("churn/model:v1", reason="mine", role="qa")
    assert mine.status == "by an author"
    quinn, rosa = person("quinn"), person("rosa")
    approval = quinn.registry.approve("churn/model:v1", reason="looked at it", role="qa")
    assert (approval.status, approval.actor, approval.name, approval.meaning) == ("claimed", "quinn", "quinn", "approval")
    verdict = churn.registry.check("churn/model:v1", "production")
    assert verdict.conditions[0].value == 1
    assert "by an author" in verdict.reasons[0]
    rosa.registry.approve("churn/model:v1", reason="me, too", role="qa")
    assert churn.promote("churn/model:v1", "production", reason="CR")
    assert [one.status for one in churn.registry.approvals("churn/model:v1")] == ["by an author", "claimed", "claimed"]
    churn.registry.measure("churn/model:v1", {"auc": 0.99})
    assert {one.status for one in churn.registry.approvals("churn/model:v1")} == {"by an author", "stale"}


def test_a_rejection_refuses_until_it_is_withdrawn(churn: Store, person: Callable[[str], Store]) -> None:
    gate(churn, {"metric": "auc", "is": "> 0"})
    quinn = person("quinn")
    assert quinn.registry.reject("churn/model:v1", reason="bias in group B").verdict == "rejected"
    with pytest.raises(RefusedError, match="quinn has rejected it: bias in group B"):
        churn.promote("churn/model:v1", "production", reason="x")
    quinn.registry.approve("churn/model:v1", reason="it was the data")
    assert churn.promote("churn/model:v1", "production", reason="x")


def test_signatures_without_keys_say_what_to_pass(
    churn: Store, person: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARTIFACTSTORE_KEYS", raising=False)
    gate(churn, {"signature": "release"})
    assert "it has no signature" in churn.registry.check("churn/model:v1", "production").reasons[0]


# -- gates


def test_gates_are_versioned_listed_and_lifted(churn: Store, tmp_path: Path) -> None:
    file = tmp_path / "gates.toml"
    file.write_text('[[gate]]\nnames = "churn/*"\nalias = "production"\nall = [{ metric = "auc", is = ">= 0.9" }]\n')
    (first,) = churn.registry.gates(file, reason="CR-1")
    assert (first.names, first.alias, first.version, first.reason) == ("churn/*", "production", 1, "CR-1")
    before = churn.head
    churn.registry.gates(file, reason="again")
    assert churn.head == before, "nothing changed"
    (second,) = churn.registry.gates({**PRODUCTION, "all": [{"metric": "auc", "is": ">= 0.95"}]}, reason="CR-2")
    assert second.version == 2
    churn.registry.gates([{"names": "other", "alias": "live", "any": [{"run": "finished"}]}], reason="CR-3")
    assert len(churn.registry.gates()) == 2
    assert churn.registry.gates({**PRODUCTION, "all": []}, reason="CR-4")[0].names == "other"
    assert churn.promote("churn/model:v1", "production", reason="no gate any more")
    assert [event.reason for event in facts(churn, "gated")] == ["CR-1", "CR-2", "CR-3", "CR-4"]


FILES = {
    'x = 1\n[[gate]]\nnames = "a"\nalias = "b"\nall = []\n': r"gates.toml, line 1, column 1: there is no 'x'",
    '[[gate]]\nnames = "a"\nalias = "b"\nall = [\n  { metric = "auc", is = "=> 0.9" },\n]\n': r"line 5, column 21: is = '=> 0.9'",
    '[[gate]]\nnames = "a"\nalias = "b"\nall = [\n  { metrik = "auc" },\n]\n': r"line 5, column 5: no condition is called 'metrik'; the nearest is 'metric'",
    '[[gate]]\nnames = "a"\nalias = "b"\nall = [{ run = "done" }]\n': r"line 4, column 10: run = 'done': must be 'finished'",
    '[[gate]]\nnames = "a"\nalias = "v1"\nall = []\n': r"line 3, column 1: 'v1' is not a valid alias",
    '[[gate]]\nnames = "a b"\nalias = "c"\nall = []\n': r"line 2, column 1: names = 'a b'",
    '[[gate]]\nalias = "c"\nall = []\n': r"line 1, column 1: a gate needs names",
    '[[gate]]\nnames = "a"\nalias = "c"\nalle = []\n': r"line 4, column 1: a gate has no 'alle'",
    '[[gate]]\nnames = "a"\nalias = "c"\n': r"either all",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = []\n[[gate]]\nnames = "a"\nalias = "c"\nall = []\n': r"line 7, column 1: a has two gates",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [{ approvals = 0 }]\n': r"line 4, column 10: approvals = 0",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [{ approvals = 1, rolle = "qa" }]\n': r"line 4, column 25: the condition approvals has no 'rolle'; the nearest is 'role'",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [{ criteria = "x:v1/y" }]\n': r"whole artifact",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [{ metric = "auc", is = ">= 0.9" }, { metric = "auc", is = "< 0.8" }]\n': r"contradict each other",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [{ run = "finished" }, { not = { run = "finished" } }]\n': r"contradict each other",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [\n  { metric = "auc", is = ">= 0.9" }, # is = 1\n  { metric = "f1", is = "=> 0.9" },\n]\n': r"gates.toml, line 6, column 20: is = '=> 0.9'",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [\n  { any = [{ run = "finished" },\n    { not = { run = "done" } }] },\n]\n': r"gates.toml, line 6, column 15: run = 'done'",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [{ age = "<= 1" }]\n[[gate]]\nnames = "b"\nalias = "c"\n[[gate.all]]\nmetric = "m"\nis = "big"\n': r"gates.toml, line 10, column 1: is = 'big'",
    '[[gate]]\nnames = "a"\nalias = "c"\nall = [3]\n': r"gates.toml, line 4, column 8: a condition must be a table",
    "[[gate]\n": r"^gates.toml, line 1",
    "": r"expected at least one \[\[gate\]\]",
}  # fmt: skip


@pytest.mark.parametrize("text", FILES)
def test_a_wrong_file_names_line_and_column(churn: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "gates.toml").write_text(text)
    before = churn.head
    with pytest.raises(InvalidInputError, match=FILES[text]):
        churn.registry.gates(tmp_path / "gates.toml", reason="x")
    assert churn.head == before


def test_gates_change_only_with_a_reason(churn: Store) -> None:
    with pytest.raises(InvalidInputError, match="must state why"):
        churn.registry.gates({**PRODUCTION, "all": []})
    with pytest.raises(InvalidInputError, match="for a change"):
        churn.registry.gates(reason="x")
    with pytest.raises(InvalidInputError, match="no file of rules"):
        churn.registry.gates("none.toml", reason="x")


def test_a_store_has_the_second_format_from_its_first_gate_on(churn: Store) -> None:
    def formats() -> list[int]:
        return [entry["format"] for entry in churn._session.core().journal.entries()]

    churn.registry.approve("churn/model:v1", reason="x", meaning="review")
    churn.promote("churn/model:v1", "production", reason="x")
    churn.registry.hold("churn/model:v1", "x")
    assert set(formats()) == {1}
    before = len(formats())
    gate(churn, {"metric": "auc", "is": "> 0"})
    churn.put({"later": 1}, "later")
    assert formats()[before:] == [2, 2]
    assert artifactstore.open(churn.url, cache=None).get("later") == {"later": 1}
    assert json.loads((Path(churn.url) / "store.json").read_text())["format"] == 1


# -- rollback


def test_a_rollback_quotes_the_move_that_it_goes_back_to(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.9"})
    churn.promote("churn/model:v1", "production", reason="first")
    first = facts(churn, "aliased")[0].seq
    churn.promote("churn/model:v2", "production", reason="second")
    verdict = churn.rollback("churn/model", "production", reason="it crashes")
    assert (verdict.ref, verdict.quotes, verdict.ok) == ("churn/model:v1", first, True)
    assert churn.artifact("churn/model:production").ref == "churn/model:v1"
    with pytest.raises(RefusedError, match="nothing left to go back to"):
        churn.rollback("churn/model", "production", reason="again")
    assert churn.rollback("churn/model", "production", reason="forth", to=2).ref == "churn/model:v2"
    with pytest.raises(RefusedError, match="never was production"):
        churn.rollback("churn/model", "production", reason="x", to=9)
    assert [event.fields["action"] for event in facts(churn, "refused")] == ["rollback", "rollback"]


def test_the_past_answers_what_was_in_production_and_by_which_gate(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.9"})
    churn.promote("churn/model:v1", "production", reason="first")
    then = int(churn.head.partition(":")[0])
    gate(churn, {"metric": "auc", "is": ">= 0.95"})
    churn.promote("churn/model:v2", "production", reason="second")
    past = churn.at(then)
    assert past.artifact("churn/model:production").ref == "churn/model:v1"
    assert past.registry.gates()[0].version == 1
    assert past.registry.check("churn/model:v1", "production")
    assert not churn.registry.check("churn/model:v1", "production")


# -- races

MOVER = """
import sys, artifactstore
from artifactstore import ConflictError, RefusedError
url, ref, expect = sys.argv[1:]
store = artifactstore.open(url, cache=None)
sys.stdin.readline()
try:
    print("moved", store.promote(ref, "production", reason="race", expect=int(expect)).ref)
except (ConflictError, RefusedError) as error:
    print(type(error).__name__)
"""


def _race(url: str, *refs: str) -> list[str]:
    movers = [
        subprocess.Popen([sys.executable, "-c", MOVER, url, ref, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for ref in refs
    ]
    for one in movers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    return [one.communicate(timeout=120)[0].split()[0] for one in movers]


@pytest.mark.slow
def test_of_two_racing_movers_on_s3_exactly_one_wins(s3_url: str) -> None:
    store = artifactstore.create(s3_url, cache=None)
    for number in (1, 2, 3):
        with run(store, "train") as one:
            one.put({"w": number}, "churn/model", metrics={"auc": 0.9})
    gate(store, {"metric": "auc", "is": ">= 0.9"}, {"run": "finished"})
    store.promote("churn/model:v1", "production", reason="first")
    assert sorted(_race(s3_url, "churn/model:v2", "churn/model:v3")) == ["ConflictError", "moved"]
    again = artifactstore.open(s3_url, cache=None)
    assert again.artifact("churn/model:production").version in {2, 3}
    assert len(facts(again, "refused")) == 1


def test_of_two_racing_movers_exactly_one_wins(churn: Store) -> None:
    train(churn, {"w": [3]})
    evaluate(churn, "churn/model:v3", 0.99)
    gate(churn, {"metric": "auc", "is": ">= 0.9"})
    churn.promote("churn/model:v1", "production", reason="first")
    assert sorted(_race(churn.url, "churn/model:v2", "churn/model:v3")) == ["ConflictError", "moved"]
    again = artifactstore.open(churn.url, cache=None)
    assert again.artifact("churn/model:production").version in {2, 3}
    assert len(facts(again, "refused")) == 1


def test_a_gate_says_no_to_the_state_that_the_move_meets(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worse measure that lands between judgement and commit refuses the move."""
    gate(churn, {"metric": "auc", "is": ">= 0.9"})
    other = artifactstore.open(churn.url, cache=None)
    from artifactstore.work.registry import promote as module

    real: Any = getattr(module, "commit")  # noqa: B009 - not exported
    done: list[Any] = []

    def late(*args: Any, **more: Any) -> Any:
        if not done:
            done.append(other.registry.measure("churn/model:v1", {"auc": 0.1}))
        return real(*args, **more)

    monkeypatch.setattr(module, "commit", late)
    with pytest.raises(RefusedError, match=r"auc is 0\.1"):
        churn.promote("churn/model:v1", "production", reason="x")
    assert not churn.exists("churn/model:production")


# -- between stores


def test_another_stores_move_does_not_move_a_gated_alias(churn: Store, tmp_path: Path) -> None:
    mine = artifactstore.create(tmp_path / "mine", cache=None)
    mine.registry.gates({**PRODUCTION, "all": [{"approvals": 1}]}, reason="ours")
    churn.alias("churn/model:v1", "production")
    churn.alias("churn/model:v1", "staging")
    done = churn.maintenance.sync(mine)
    assert [(one.what, one.why) for one in done.left_out] == [("churn/model:production", "the alias is gated here: promote it")]
    mine = artifactstore.open(mine.url, cache=None)
    assert mine.exists("churn/model:staging")
    assert not mine.exists("churn/model:production")
    assert mine.artifact("churn/model:v1").metrics == {"auc": 0.91}
    churn.put({"w": [5]}, "churn/model")
    churn.maintenance.sync(mine)
    assert artifactstore.open(mine.url, cache=None).exists("churn/model:v3"), "the name goes on"


def test_gates_of_another_store_mean_nothing_here(churn: Store, tmp_path: Path) -> None:
    gate(churn, {"approvals": 1})
    mine = artifactstore.create(tmp_path / "mine", cache=None)
    churn.maintenance.sync(mine)
    mine = artifactstore.open(mine.url, cache=None)
    assert not mine.registry.gates()
    assert mine.promote("churn/model:v1", "production", reason="no gate here")


# -- forms


def test_a_verdict_is_text_json_markdown_and_junit(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.93"}, {"any": [{"run": "finished"}, {"reads": "tracked"}]})
    verdict = churn.registry.check("churn/model:v1", "production")
    assert "NO   auc is 0.91, asked is >= 0.93" in str(verdict)
    record = verdict.to_json()
    assert json.loads(json.dumps(record)) == record
    assert record["gates"] == [{"names": "churn/*", "alias": "production", "version": 1, "entry": record["gates"][0]["entry"]}]
    assert record["conditions"][0] == {
        "ok": False,
        "gate": 0,
        "rule": {"metric": "auc", "is": ">= 0.93"},
        "judged": "facts",
        "text": "auc is 0.91, asked is >= 0.93",
        "value": 0.91,
        "limit": ">= 0.93",
    }
    assert len(verdict.conditions[1].parts) == 2
    suite = ET.fromstring(verdict.to_junit())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "| ❌ | auc is 0.91" in verdict.to_markdown()
    assert "✅" in verdict.to_markdown()


def test_hostile_words_steer_no_form(churn: Store, person: Callable[[str], Store]) -> None:
    gate(churn, {"metric": "auc", "is": "> 0"})
    person("evil\x1b[2K|<script>").registry.reject("churn/model:v1", reason="a|b\x1b]0;x\x07<b>`")
    verdict = churn.registry.check("churn/model:v1", "production")
    forms = (verdict.to_markdown(), verdict.to_junit(), verdict._repr_html_())
    assert not any("<script" in text for text in forms)
    assert not any("\x1b" in text for text in (*forms, str(verdict)))
    ET.fromstring(verdict.to_junit())


def test_age_counts_from_the_put(churn: Store) -> None:
    gate(churn, {"age": "<= 1"})
    verdict = churn.registry.check("churn/model:v1", "production")
    assert verdict
    assert 0 <= verdict.conditions[0].value < 1
    assert churn.at(datetime.now(UTC) + timedelta(days=1)).registry.check("churn/model:v1", "production")


def test_check_of_a_removed_version_is_a_no(churn: Store) -> None:
    gate(churn, {"metric": "auc", "is": "> 0"})
    churn.registry.remove("churn/model:v1", "GDPR")
    verdict = churn.registry.check("churn/model:v1", "production")
    assert not verdict
    assert "was removed" in verdict.reasons[0]
    assert json.loads(json.dumps(verdict.to_json()))["digest"] == verdict.digest


@pytest.mark.parametrize(
    ("name", "alias", "text"), [("churn/modle", "production", "churn/model"), ("churn/model", "prod", "it has live")]
)
def test_a_rollback_of_what_is_not_there_names_what_is(churn: Store, name: str, alias: str, text: str) -> None:
    churn.alias("churn/model:v1", "live")
    with pytest.raises(NotFoundError, match=text):
        churn.rollback(name, alias, reason="x")


def test_a_change_of_gates_can_be_signed(churn: Store, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from artifactstore.signing.envelope import GATE, payload_of

    secret = tmp_path / "owner.pem"
    raw = Ed25519PrivateKey.generate().private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    secret.write_bytes(raw)
    secret.chmod(0o600)
    rules = {**PRODUCTION, "all": [{"metric": "auc", "is": "> 0"}]}
    (made,) = churn.registry.gates(rules, reason="CR-1", signer=str(secret))
    assert made.signed
    payload = payload_of(facts(churn, "gated")[0].fields["signature"], GATE)
    assert payload is not None
    assert (payload["names"], payload["alias"], payload["rules"]["all"]) == ("churn/*", "production", rules["all"])
    with pytest.raises(InvalidInputError, match="for a change"):
        churn.registry.gates(signer=str(secret))


DOORS: dict[str, Callable[[Store], Any]] = {
    "put with the alias": lambda store: store.put({"w": 3}, "churn/model", aliases=["production"], reason="r"),
    "copy with the alias": lambda store: store.put(
        store.artifact("churn/model:v2"), "churn/model", aliases=["production"], reason="r"
    ),
    "alias in a batch": lambda store: _in_batch(store, lambda: store.alias("churn/model:v1", "production", reason="r")),
    "put in a batch": lambda store: _in_batch(store, lambda: store.put({"w": 4}, "churn/model", aliases=["production"])),
}


def _in_batch(store: Store, call: Callable[[], Any]) -> None:
    with store.batch(reason="r"):
        store.put({"other": 1}, "churn/other")
        call()


@pytest.mark.parametrize("door", DOORS)
def test_a_gated_alias_that_part_of_a_transaction_wants_is_a_refused_fact(churn: Store, door: str) -> None:
    gate(churn, {"metric": "auc", "is": ">= 0.99"})
    with pytest.raises(RefusedError):
        DOORS[door](churn)
    (event,) = facts(churn, "refused")
    assert event.fields["action"] == "alias"
    assert (event.name, event.alias, event.reason) == ("churn/model", "production", "r")
    assert "churn/other" not in churn
    assert not churn.names("churn/model")[0].aliases


def test_a_lost_race_of_an_alias_in_a_batch_is_recorded(churn: Store) -> None:
    churn.alias("churn/model:v1", "latest-good")
    with pytest.raises(ConflictError), churn.batch(reason="r"):
        churn.alias("churn/model:v2", "latest-good", expect=2, reason="mine")
    (event,) = facts(churn, "refused")
    assert (event.fields["action"], event.alias, event.reason) == ("alias", "latest-good", "mine")
