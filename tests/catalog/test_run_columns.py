"""The columns of a table of runs: every parameter and metric has one, however alike most runs are."""

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

from artifactstore.catalog.lineage import RunInfo
from artifactstore.catalog.runs import RunTable

PARAMS: tuple[dict[str, Any], ...] = (
    {"a": 1},
    {"a": {"b": 2}},
    {"a": {}},
    {"a": {"repr": "x"}},
    {"b": 1, "a": 3},
    {},
    {"a": {"b": {"c": 1}}, "d": [1]},
)
PATHS = {"params.a", "params.a.b", "params.a.b.c", "params.b", "params.d", "metrics.auc", "metrics.f1"}


def run(number: int, params: dict[str, Any]) -> RunInfo:
    metrics = {"auc": 1.0} if number % 2 else {}
    outputs = {"f1": 0.5, "auc": 0.1} if number % 3 else {}
    return RunInfo(str(number), "train", "finished", datetime.now(UTC), params=params, metrics=metrics, output_metrics=outputs)


def test_each_field_of_any_run_is_a_column_in_any_order_of_the_runs():
    for order in permutations(PARAMS, 4):
        runs = [run(number, params) for number, params in enumerate((*order, *PARAMS, *order))]
        assert set(RunTable(runs).paths()) == PATHS
    apart = [RunTable([run(number, params)]).paths() for number, params in enumerate(PARAMS)]
    together = RunTable([run(number, params) for number, params in enumerate(PARAMS)]).paths()
    assert set(together) == {path for paths in apart for path in paths}
