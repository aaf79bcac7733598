"""The columns of a table of runs: every parameter and metric has one, however alike most runs are."""

from datetime import UTC, datetime
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.runs.info import RunInfo
from artifactstore.catalog.runs.table import RunTable, Selection
from artifactstore.errors import InvalidInputError
from artifactstore.work.session.caches import FoldCache
from artifactstore.work.views.runs import _ends

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


@pytest.mark.parametrize("filed", ["in memory", "in a file"])
def test_what_is_chosen_before_records_are_made_is_what_would_be_chosen_of_all_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filed: str
) -> None:
    if filed == "in a file":
        monkeypatch.setattr(FoldCache, "FILED", 0)
    url, cache = str(tmp_path / "store"), tmp_path / "cache"
    store = artifactstore.open(url, cache=cache)
    with store.batch():
        store.put({"n": 0}, "shared")
    for number, (params, outputs) in enumerate(product((*PARAMS[:3], {"lr": 1}, {"lr": "x", "auc": 2}), range(2))):
        with store.run("odd" if number % 2 else "even", params=params, code=False) as run:
            if number % 3:
                run.log(loss=number / 7)
            made = [run.put({"n": 0 if one else number * 10 + one}, f"out-{one}") for one in range(outputs + 1)]
            for one in made[: number % 3]:
                store.registry.measure(one.ref, {"f1": number / 3 + len(made), "loss": 1.0})
    whole = [store.lineage(one.id).runs[-1] for one in store.runs()]
    assert any(len(one.output_metrics) > 1 for one in whole)
    orders = (None, "-f1", "lr", "-params.lr", "started", "-seconds", "-a.b")
    wheres = ((), "metrics.loss >= 0.5", "f1 < 9", ("status = finished", "params.lr = 1"), "name ~ dd")
    store = artifactstore.open(url, "r", cache=cache)
    store.names()
    assert bool([*cache.rglob("fold-*.sqlite")]) == (filed == "in a file")
    for sort, where, limit, name in product(orders, wheres, (None, 2), (None, "odd", "e*")):
        rows = [one for one in whole if name is None or one.name.startswith(name[0])]
        wanted = Selection(where, sort, limit, ("id", "name")).of(rows)
        found = store.runs(name, where=where, sort=sort, limit=limit, columns=("id", "name"))
        assert [*found] == [*wanted]
        assert found.paths() == wanted.paths()
        assert found.known("loss") == wanted.known("loss")
    for sort, limit in product((None, "started", "-started"), (0, 1, 2, 100)):
        few = store.runs(sort=sort, limit=limit)
        assert [*few] == [*Selection((), sort, limit).of(whole)]
        assert few.known("loss") == store.runs().known("loss")
        with pytest.raises(InvalidInputError, match="no run has a column"):
            few.values("lost")


@pytest.mark.parametrize("why", ["in order", "received", "reset"])
def test_the_first_and_the_last_runs_are_found_without_a_look_at_the_others(why: str) -> None:
    state = State()
    state.runs.update({str(n): {"time": f"2026-01-0{1 + n // 3}T00:00:00.000000Z"} for n in range(12)})
    if why == "received":
        state.received["store"] = {}
    elif why == "reset":
        state.header["resets"] = [[1, "", ""]]
    ends = _ends(state, Selection((), "-started", 2))
    assert ends == (["9", "10", "11"] if why == "in order" else None)
    assert _ends(state, Selection((), "-started", 4)) == (["6", "7", "8", "9", "10", "11"] if why == "in order" else None)
    assert _ends(state, Selection((), None, 2)) == ["0", "1"]
    for chosen in (Selection(("a = 1",), None, 2), Selection((), "name", 2), Selection((), None, 2, ("a",)), Selection()):
        assert _ends(state, chosen) is None
