"""Reports of data checks: each tool's own JSON, its own objects where it is installed, and what gates make of them."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import InvalidInputError, NotFoundError, RefusedError, Store
from artifactstore.integrations.data_checks import attach, summary

GREAT = {
    "success": False,
    "results": [
        {"success": False, "expectation_config": {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "amount"}}},
        {"success": True, "expectation_config": {"type": "expect_column_to_exist", "kwargs": {"column": "amount"}}},
        {"success": False, "expectation_config": {"type": "expect_table_row_count_to_equal", "kwargs": {}, "severity": "info"}},
    ],
    "statistics": {"evaluated_expectations": 3, "successful_expectations": 1, "unsuccessful_expectations": 2, "success_percent": 33.3},
}  # fmt: skip
PANDERA = {
    "SCHEMA": {"COLUMN_NOT_IN_DATAFRAME": [{"schema": None, "column": "gone", "check": "column_in_dataframe", "error": "x"}]},
    "DATA": {"DATAFRAME_CHECK": [{"schema": None, "column": "amount", "check": "isin", "error": "x"}] * 2},
}
FRICTIONLESS = {
    "valid": False, "stats": {"tasks": 1, "errors": 2, "warnings": 1, "seconds": 0.2}, "warnings": [], "errors": [],
    "tasks": [{"name": "x", "valid": False, "stats": {"errors": 2, "rows": 4}, "errors": [{"type": "constraint-error", "fieldName": "amount"}] * 2}],
}  # fmt: skip
EVIDENTLY = {
    "metrics": [
        {"id": "1", "metric_id": "DriftedColumnsCount(drift_share=0.5)", "value": {"count": 1.0, "share": 0.25}},
        {"id": "2", "metric_id": "ValueDrift(column=age)", "value": 0.03},
    ],
    "tests": [{"name": "Share of drifted columns", "status": "FAIL"}, {"name": "Drift of age", "status": "SUCCESS"}],
}
EVIDENTLY_OLD = {
    "metrics": [
        {"metric": "DatasetDriftMetric", "result": {"number_of_drifted_columns": 1, "share_of_drifted_columns": 0.5, "dataset_drift": True}},
        {"metric": "ColumnDriftMetric", "result": {"column_name": "age", "drift_score": 0.17, "drift_detected": True, "current": {"x": [1]}}},
        {"metric": "ColumnDriftMetric", "result": {"column_name": "plan", "drift_score": float("nan"), "drift_detected": False}},
    ]
}  # fmt: skip
KNOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "great_expectations": (GREAT, {"checks": 3, "failed": 2, "failed_share": 0.666666666667, "columns": {"amount": 1}, "critical": 1}),
    "pandera": (PANDERA, {"checks": None, "failed": 3, "failed_share": None, "columns": {"amount": 2, "gone": 1}}),
    "frictionless": (FRICTIONLESS, {"failed": 2, "warnings": 1, "rows": 4, "columns": {"amount": 2}}),
    "evidently": (EVIDENTLY, {"checks": 2, "failed": 1, "failed_share": 0.5, "drift": {"count": 1.0, "share": 0.25}}),
    "evidently_old": (EVIDENTLY_OLD, {"checks": 2, "failed": 1, "columns": {"age": 1}, "drift": {"count": 1, "share": 0.5}}),
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.open(tmp_path / "store", cache=None)
    made.put({"rows": [1]}, "churn/today")
    made.put({"w": [1]}, "churn/model", kind="model")
    return made


@pytest.mark.parametrize("form", ["dict", "text", "bytes", "file"])
@pytest.mark.parametrize("tool", KNOWN)
def test_each_report_has_fields_for_gates(tool: str, form: str, tmp_path: Path) -> None:
    raw, expected = KNOWN[tool]
    (tmp_path / "r.json").write_text(json.dumps(raw))
    given = {"dict": raw, "text": json.dumps(raw), "bytes": json.dumps(raw).encode(), "file": tmp_path / "r.json"}[form]
    found = summary(given)
    assert found["tool"] == tool.removesuffix("_old")
    assert {key: found[key] for key in expected} == expected
    assert json.dumps(found["report"], allow_nan=False)


def test_a_report_is_evidence_that_a_gate_reads(store: Store) -> None:
    rule = {"report": "pandera", "field": "failed", "is": "== 0"}
    store.registry.gates([{"names": "churn/*", "alias": "live", "all": [rule]}], reason="x")
    made = attach(store, PANDERA, "churn/model", data="churn/today", reason="nightly")
    assert (made.ref, made.kind, made.reason) == ("churn/model/pandera:v1", "report", "nightly")
    used = {one.ref: one.role for one in made.inputs}
    assert (used["churn/model:v1"], used["churn/today:v1"]) == ("model", "data")
    with pytest.raises(RefusedError, match="failed is 3"):
        store.promote("churn/model:v1", "live", reason="x")
    attach(store, {}, "churn/model", tool="pandera")
    assert store.promote("churn/model:v1", "live", reason="x").ok
    assert attach(store, GREAT, "churn/model", role="quality", name="checks/one").ref == "checks/one:v1"


@pytest.mark.parametrize(
    ("given", "options", "match"),
    [
        ({}, {}, "it has nothing"), ({"a": 1}, {}, "it has 'a'"), ("{", {}, "not JSON"), (3, {}, "got int"), ([1], {}, "got list"),
        (Path("/nowhere/r.json"), {}, "cannot read"), ({}, {"tool": "deequ"}, "expected one of"), (GREAT, {"tool": "pandera"}, "not as that tool"),
        ({"success": 1, "statistics": {}, "results": []}, {}, "evaluated_expectations"), ({"DATA": [1]}, {}, "pandera"), (None, {}, "NoneType"),
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused_before_anything_is_recorded(
    store: Store, given: Any, options: dict[str, Any], match: str
) -> None:
    before = store.head
    with pytest.raises(InvalidInputError, match=match):
        attach(store, given, "churn/model", **options)
    with pytest.raises(NotFoundError):
        attach(store, GREAT, "churn/none")
    assert store.head == before


def test_the_tools_themselves_write_what_is_read(store: Store, tmp_path: Path) -> None:
    warnings.simplefilter("ignore")
    pandera = pytest.importorskip("pandera.pandas")
    frictionless = pytest.importorskip("frictionless")
    gx = pytest.importorskip("great_expectations")
    import pandas as pd

    frame = pd.DataFrame({"amount": [1.0, -2.0, None, 4.0], "plan": ["a", "b", "q", "a"]})
    columns = {"amount": pandera.Column(float, pandera.Check.ge(0)), "plan": pandera.Column(str), "gone": pandera.Column(int)}
    with pytest.raises(pandera.errors.SchemaErrors) as caught:
        pandera.DataFrameSchema(columns).validate(frame, lazy=True)
    found = store.get(attach(store, caught.value, "churn/model"))
    assert (found["tool"], found["failed"], found["columns"]) == ("pandera", 3, {"amount": 2, "gone": 1})

    frame.to_csv(tmp_path / "x.csv", index=False)
    fields = [{"name": "amount", "type": "number"}, {"name": "plan", "type": "string", "constraints": {"enum": ["a", "b"]}}]
    schema = frictionless.Schema.from_descriptor({"fields": fields})
    resource = frictionless.Resource(path="x.csv", basepath=str(tmp_path), schema=schema)
    found = store.get(attach(store, frictionless.validate(resource), "churn/model"))
    assert (found["tool"], found["failed"], found["rows"], found["columns"]) == ("frictionless", 1, 4, {"plan": 1})

    asset = gx.get_context(mode="ephemeral").data_sources.add_pandas("p").add_dataframe_asset("a")
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame})
    wanted = [gx.expectations.ExpectColumnValuesToNotBeNull(column="amount"), gx.expectations.ExpectColumnToExist(column="plan")]
    result = batch.validate(gx.ExpectationSuite("s", expectations=wanted))
    found = store.get(attach(store, result, "churn/model"))
    assert (found["tool"], found["checks"], found["failed"], found["columns"]) == ("great_expectations", 2, 1, {"amount": 1})
