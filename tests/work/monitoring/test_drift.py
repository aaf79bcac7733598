"""Drift reports: what they hold, who may ask for them, how rules are judged, and what is recorded."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore import Drift, InvalidInputError, NotFoundError, RefusedError, Store
from artifactstore.cli import main

from .conftest import table

RULES = {"psi.max": "<= 0.2", "amount.ks": "<= 0.2", "missing.max": "<= 0.1", "new_categories": "== 0"}


def test_a_report_is_an_artifact_that_a_run_made_from_both_tables_and_the_model(store: Store) -> None:
    found = store.registry.drift("churn/train", "churn/today", RULES, model="churn/model:production", reason="nightly")
    assert found.ok
    assert isinstance(found, Drift)
    made = store.artifact(str(found.ref))
    assert (made.ref, made.kind, made.reason) == ("churn/model/drift:v1", "report", "nightly")
    assert store.get(made) == found.to_json()
    used = {one.ref: one.role for one in made.inputs}
    assert used == {"churn/train:v1": "reference", "churn/today:v1": "current", "churn/model:v1": "model"}
    assert store.runs("drift")[0].params["rules"] == RULES


def test_a_gate_asks_for_the_newest_report(store: Store) -> None:
    rule = {"report": "drift", "field": "psi.max", "is": "<= 0.2"}
    rules = [
        rule,
        {"report": "drift", "field": "columns.plan.psi", "is": "< 0.2"},
        {"report": "drift", "field": "breaches", "is": "== 0"},
    ]
    store.registry.gates([{"names": "churn/*", "alias": "live", "all": rules}], reason="CR-1")
    with pytest.raises(RefusedError, match="no run made a report"):
        store.promote("churn/model:v1", "live", reason="x")
    store.registry.drift("churn/train", "churn/shifted", RULES, model="churn/model:v1")
    with pytest.raises(RefusedError) as caught:
        store.promote("churn/model:v1", "live", reason="x")
    assert [text.partition(" is ")[0] for text in caught.value.reasons] == ["drift: psi.max", "drift: breaches"]
    store.registry.drift("churn/train", "churn/today", RULES, model="churn/model:v1")
    assert store.promote("churn/model:v1", "live", reason="x").ok
    store.registry.drift("churn/train", "churn/shifted", RULES, model="churn/model:v1")
    assert not store.registry.check("churn/model:v1", "live"), "what it found the first time counts again"
    assert store.verify().ok


def test_breaches_are_named_with_their_values(store: Store) -> None:
    found = store.registry.drift("churn/train", "churn/shifted", RULES)
    assert not found
    assert len(found.breaches) == 2
    assert found.breaches[0].startswith("psi.max is 0.8")
    assert found.breaches[1].startswith("amount.ks is 0.3")
    assert found["rules"][0] == {"field": "psi.max", "is": "<= 0.2", "value": found["psi"]["max"], "ok": False}
    assert found["breaches"] == 2
    assert found["psi"]["column"] == "amount"


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"psi.mx": "<= 1"}, None), ({"pis.max": "<= 1"}, "no drift report has 'pis.max'"), ({"amnt.ks": "< 1"}, "'amnt.ks'"),
        ({"psi.max": "small"}, "a rule for psi.max"), (["psi.max"], "is not a rule"), ({3: "< 1"}, "no drift report has 3"),
        ({"amount.kss": "< 1"}, "no drift report has"), ("psi.max ~ 3", "is not a rule"), ({"psi.max": None}, "a rule for psi.max"),
    ],
)  # fmt: skip
def test_a_rule_about_nothing_is_refused_or_meets_nothing(store: Store, rules: Any, match: str | None) -> None:
    if match is None:
        assert store.registry.drift("churn/train", "churn/today", rules).breaches == ("psi.mx was not measured, asked is <= 1",)
        return
    with pytest.raises(InvalidInputError, match=match):
        store.registry.drift("churn/train", "churn/today", rules)
    assert len(store.runs()) == 1


def test_rules_are_a_dict_or_texts_and_a_column_may_be_called_anything() -> None:
    data = {"a.b": [1.0, 2.0], "psi": [1.0, 2.0], "x <= y": [1, 2]}
    store = artifactstore.open("memory://drift-rules", cache=None)
    rules = ["psi.max <= 0.1", "a.b.psi<=0", "psi.ks == 0", "psi <= 0", "x <= y.psi <= 0"]
    with pytest.raises(InvalidInputError, match="no drift report has 'x'"):
        store.registry.drift(data, data, rules, record=False)
    found = store.registry.drift(data, data, [*rules[:4], "a.b.current.mean > 1"], record=False)
    assert [one.value for one in found.rules] == [0.0, 0.0, 0.0, 0.0, 1.5]
    assert store.registry.drift(data, data, {"x <= y.psi": "<= 0"}, record=False).ok


def test_tables_in_memory_files_profiles_and_references_are_sides(store: Store, tmp_path: Path) -> None:
    frame = table(1, 300)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    frame.to_csv(tmp_path / "t.csv", index=False)
    expected = store.registry.drift("churn/train", "churn/today", record=False)
    for side in (frame, tmp_path / "t.parquet", tmp_path / "t.csv", store.artifact("churn/today"), store.get("churn/today")):
        found = store.registry.drift("churn/train", side, record=False)
        assert found["psi"] == expected["psi"], type(side)
    by_profile = store.registry.drift("churn/train", "churn/today", exact=False, record=False)
    assert by_profile["approximate"]
    assert store.registry.drift(store.artifact("churn/train").profile, frame, record=False)["approximate"]
    with pytest.raises(InvalidInputError, match="not a file of a table"):
        store.registry.drift("churn/train", tmp_path / "none.parquet")
    store.put(b"text", "churn/text")
    with pytest.raises(InvalidInputError):
        store.registry.drift("churn/train", "churn/text")
    with pytest.raises(NotFoundError):
        store.registry.drift("churn/train", "churn/nothing")


def test_a_store_for_reading_answers_and_records_nothing(store: Store) -> None:
    before = store.head
    reader = artifactstore.open(store.url, "r", cache=None)
    assert reader.registry.drift("churn/train", "churn/today", RULES).ref is None
    assert store.registry.drift("churn/train", "churn/today", record=False).ref is None
    assert store.head == before
    with pytest.raises(RefusedError):
        reader.registry.drift("churn/train", "churn/today", model="churn/model")
    with pytest.raises(RefusedError, match="record=False"):
        store.registry.drift("churn/train", "churn/today", name="x", record=False)
    assert not store.registry.drift("churn/train", "churn/shifted", RULES).artifact.name  # type: ignore[union-attr]


def test_a_report_shows_itself(store: Store) -> None:
    left = table(3).assign(plan="z|`<script>").drop(columns="age")
    found = store.registry.drift("churn/train", left, RULES, record=False)
    text = str(found)
    assert "NO " in text
    assert "columns that the current table lacks: age" in text
    assert "z|`<script>" in text
    assert "z\\|'&lt;script>" in found.to_markdown()
    assert "<script" not in found._repr_html_().replace("&lt;script", "")
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_labels_become_fields_that_rules_and_gates_can_ask(store: Store) -> None:
    old = pd.DataFrame({"score": [0.1, 0.9, 0.8, 0.3], "churned": [0, 1, 1, 0]})
    new = pd.DataFrame({"score": [0.1, 0.9, 0.2, 0.7], "churned": [0, 1, 1, 0]})
    found = store.registry.drift(old, new, {"auc.current": ">= 0.8", "auc.change": ">= -0.5"}, labels={"churned": "score"})
    assert [one.value for one in found.rules] == [0.75, -0.25]
    assert "auc: 1 to 0.75" in str(found)
    with pytest.raises(InvalidInputError, match="labels="):
        store.registry.drift(old, new, labels=["churned"])  # type: ignore[arg-type]


def test_the_command_answers_by_its_exit_code(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--store", store.url]
    assert main(["drift", "churn/train", "churn/today", "--rule", "psi.max <= 0.2", "--model", "churn/model", *where]) == 0
    out, err = capsys.readouterr()
    assert "psi.max is 0.0" in out
    assert "report: churn/model/drift:v1" in err
    words = [
        "drift",
        "churn/train",
        "churn/shifted",
        "--rule",
        "psi.max <= 0.2",
        "--no-record",
        "--markdown",
        str(tmp_path / "d.md"),
    ]
    assert main([*words, "--json", *where]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["ref"], answer["columns"]["amount"]["status"]) == (False, None, "compared")
    assert "| ❌ | psi.max" in (tmp_path / "d.md").read_text()
    pq.write_table(store.open_table("churn/today").to_table(), tmp_path / "now.parquet")
    assert main(["drift", "churn/train", str(tmp_path / "now.parquet"), "--column", "age", *where]) == 0
    for wrong in (["churn/train"], [], ["a", "b", "--serving", "c"], ["churn/train", "churn/today", "--since", "2h"]):
        assert main(["drift", *wrong, *where]) == 2, wrong
    assert main(["drift", "churn/train", "churn/none", *where]) == 3
