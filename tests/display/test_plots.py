"""Plots of runs: what can be drawn is in its place, what can't is counted, and nothing in a name is markup."""

import itertools
import math
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import artifactstore
from artifactstore import InvalidInputError
from artifactstore.catalog.runs.info import RunInfo
from artifactstore.catalog.runs.table import RunTable
from artifactstore.catalog.series import Point
from artifactstore.display.plots.axis import axis_of, ticks_between
from artifactstore.display.plots.chart import Chart
from artifactstore.display.plots.plots import Values, curves, parallel, points
from artifactstore.errors import UnsupportedError
from tests.cli.test_hostile_text import EVIL, is_clean

SVG = "{http://www.w3.org/2000/svg}"
START = datetime(2026, 11, 30, 12, tzinfo=UTC)


def info(i: int, params: dict[str, Any], metrics: dict[str, float], **more: Any) -> RunInfo:
    return RunInfo(
        f"{i:032x}", more.pop("name", "sweep"), "finished", START + timedelta(minutes=i), params=params, metrics=metrics, **more
    )


def table(many: int = 10) -> RunTable:
    made = [
        info(i, {"lr": 10.0 ** -(i % 5), "depth": i % 3, "opt": "ab"[i % 2], "seed": 7}, {"auc": i / many}) for i in range(many)
    ]
    return RunTable(made)


def shapes(chart: Chart, look: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(chart.svg()).iter() if one.get("class") == look]


def texts(chart: Chart) -> list[str]:
    return [one.text or "" for one in ET.fromstring(chart.svg()).iter(f"{SVG}text")]


def tips(chart: Chart) -> list[str]:
    return [one.text or "" for one in ET.fromstring(chart.svg()).iter(f"{SVG}title")]


# -- axes


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]), (0.61, 0.84, ["0.65", "0.70", "0.75", "0.80"]), (0, 59, ["0", "10", "20", "30", "40", "50"]),
        (-3, 3, ["-3", "-2", "-1", "0", "1", "2", "3"]), (0, 12345, ["0", "5,000", "10,000"]), (0, 4e9, ["0", "1e9", "2e9", "3e9", "4e9"]), (0, 5e-6, ["0.000000", "1e-6", "2e-6", "3e-6", "4e-6", "5e-6"]),
    ],
)  # fmt: skip
def test_ticks_are_at_round_numbers(low: float, high: float, labels: list[str]):
    found = [label for _, label in ticks_between(low, high)]
    assert found[0] in {labels[0], "0"}
    assert found[1:] == labels[1:]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.floats(allow_nan=True, allow_infinity=True)
        | st.integers()
        | st.none()
        | st.booleans()
        | st.datetimes(timezones=st.just(UTC)),
        max_size=8,
    ),
    st.booleans(),
)
def test_every_value_has_a_place_on_its_axis_or_none(values: list[Any], log: bool):  # noqa: FBT001
    try:
        axis = axis_of("x", values, log=log, margin=0.04)
    except InvalidInputError:
        assert log
        return
    for value in values:
        place = axis.at(value)
        assert place is None or -1e-9 <= place <= 1 + 1e-9
        if isinstance(value, float) and not math.isfinite(value):
            assert place is None or axis.kind == "category"
    assert all(-1e-9 <= place <= 1 + 1e-9 and label for place, label in axis.ticks)
    assert len(axis.ticks) <= 40
    assert axis.extent


def test_a_logarithmic_axis_has_powers_of_ten():
    axis = axis_of("lr", [1e-5, 1e-1, 0.0, -1.0], log=True)
    assert [label for _, label in axis.ticks] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert axis.at(1e-3) == pytest.approx(0.5)
    assert axis.at(0.0) is axis.at(-1.0) is None
    for values, message in ((["a"], "has texts"), ([START], "is a time"), ([-1, 0], "no positive number")):
        with pytest.raises(InvalidInputError, match=message):
            axis_of("lr", values, log=True)


def test_times_and_texts_have_axes_of_their_own():
    axis = axis_of("started", [START - timedelta(hours=1), START + timedelta(days=3, hours=-1)])
    days = [f"{day} {hour}" for day in ("11-30", "12-01", "12-02", "12-03") for hour in ("00:00", "12:00")]
    assert [label for _, label in axis.ticks] == days[1:-1]
    axis = axis_of("started", [START, START + timedelta(seconds=0.8)])
    assert [label for _, label in axis.ticks] == ["12:00:00", "12:00:00"], "never less than two"
    axis = axis_of("opt", ["b", "a", None, True])
    assert [label for _, label in axis.ticks] == ["True", "a", "b"]
    assert axis.at("a") == 0.5
    with pytest.raises(InvalidInputError, match="41 different texts"):
        axis_of("t", [str(i) for i in range(41)])


# -- points


def test_each_run_is_a_point_that_is_named_under_the_pointer():
    chart = table().plot("lr", "auc", color="opt", log="lr", svg=True)
    assert isinstance(chart, Chart)
    dots = shapes(chart, "p")
    assert len(dots) == 10
    assert len({one.get("fill") for one in dots}) == 2
    heights = [float(one.get("cy") or 0) for one in dots]
    assert heights == sorted(heights, reverse=True), "a larger value is further up"
    assert "sweep 00000000 · lr: 0.1 · auc: 0.1 · opt: b" in tips(chart)
    assert {"auc by lr", "lr (log)", "auc", "opt", "a", "b", "0.01"} <= {*texts(chart)}
    assert str(chart).splitlines()[1] == "  10 runs"


def test_what_has_no_value_is_left_out_and_counted():
    nan = float("nan")
    made = [
        info(0, {"lr": 0.1}, {"auc": 0.5}),
        info(1, {"lr": 0.1}, {}),
        info(2, {"lr": nan}, {"auc": 0.5}),
        info(3, {"lr": -1.0}, {"auc": 0.5}),
        info(4, {"lr": "x"}, {"auc": math.inf}),
    ]
    chart = RunTable(made).plot("lr", "auc", svg=True)
    assert len(shapes(chart, "p")) == 2
    assert "2 of 5 runs" in str(chart)
    assert any("without a value of auc" in text for text in texts(chart))
    assert len(shapes(RunTable(made).plot("lr", "auc", log=["lr"], svg=True), "p")) == 1
    assert str(RunTable([]).plot("started", "id", svg=True)).splitlines()[1] == "  0 runs"


def test_by_default_the_first_metric_is_drawn_over_time():
    assert table().plot(svg=True).title == "auc by started"
    with pytest.raises(InvalidInputError, match="no run has a metric"):
        RunTable([info(0, {"a": 1}, {})]).plot(svg=True)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("plot", {"x": "lrr"}, "no run has a column 'lrr'; the nearest are params.lr"), ("plot", {"y": "aucc", "svg": True}, "metrics.auc"), ("plot", {"color": "detph"}, "params.depth"),
    ("plot", {"log": "detph"}, "params.depth"), ("plot", {"x": "lr", "y": "auc", "log": "depth"}, "is not plotted"), ("plot", {"log": 5}, "log= must be"), ("plot", {"x": 5}, "must be a str"),
    ("parallel", {"columns": ["lr"]}, "two columns or more"), ("parallel", {"columns": "lr"}, "a list of columns"), ("parallel", {"columns": ["lr", "nope"]}, "no run has a column"),
    ("curves", {"metric": "lr"}, "is not a metric"), ("curves", {"metric": "aucc"}, "metrics.auc"), ("curves", {"metric": "auc", "log": "lr"}, "only 'auc' to scale"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "given_", "message"), WRONG)
def test_a_wrong_column_is_one_clear_error(method: str, given_: dict[str, Any], message: str):
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        getattr(table(), method)(**given_)


def test_of_many_runs_some_are_drawn_with_the_extremes_and_the_chart_says_so():
    many = table(5_000)
    chart = many.plot("lr", "auc", svg=True)
    assert 1990 <= len(shapes(chart, "p")) <= 2000
    assert {"sweep 00000000 · lr: 1 · auc: 0", f"sweep 00000000 · lr: {10.0**-4:g} · auc: 0.9998"} <= {*tips(chart)}
    assert any(" of them are drawn, the extremes included" in text for text in texts(chart))
    assert len(chart.svg()) < 500_000
    lines = many.parallel(["lr", "depth", "auc"])
    assert 490 <= len(shapes(lines, "l")) <= 500
    assert len(lines.svg()) < 200_000


# -- parallel coordinates


def test_parallel_coordinates_have_an_axis_for_each_column_and_a_line_for_each_run():
    chart = table().parallel(["lr", "opt", "auc"], log=["lr"])
    lines = shapes(chart, "l")
    assert len(lines) == 10
    assert all((one.get("d") or "").count("L") == 2 for one in lines)
    assert len(shapes(chart, "axis")) == 3
    assert len({one.get("stroke") for one in lines}) == 10, "the last column gives the colour"
    assert {"lr (log)", "opt", "auc"} <= {*texts(chart)}
    assert table().parallel().title == "auc by lr, depth, opt", "what does not differ is left out"


# -- curves


def curve_table(many: int, steps: int, value: Any = lambda i, step: step + i) -> RunTable:
    def read(runs: Any) -> dict[str, dict[str, list[Point]]]:
        return {run: {"loss": [Point(step, value(int(run, 16), step), START) for step in range(steps)]} for run in runs}

    return RunTable([info(i, {"lr": i}, {"loss": 0.5}) for i in range(many)], read=read)


def test_curves_are_drawn_step_by_step():
    chart = curve_table(3, 20).curves("loss")
    lines = shapes(chart, "l")
    assert len(lines) == 3
    assert [(one.get("d") or "").count("L") for one in lines] == [19] * 3
    assert len({one.get("stroke") for one in lines}) == 3
    assert [text for text in texts(chart) if text.startswith("sweep ")] == ["sweep 00000000"] * 3
    assert chart.title == "loss by step"
    shaded = curve_table(20, 5).curves("loss", color="lr", log="loss")
    assert "loss (log)" in texts(shaded)
    assert "sweep 00000000 · lr: 3" in tips(shaded)
    assert len(shapes(curve_table(20, 5)[:4].curves("loss"), "l")) == 4, "a part of a table is a table"


def test_a_curve_is_broken_where_it_is_not_finite_and_keeps_its_peaks_when_it_is_thinned():
    chart = curve_table(1, 10, lambda _, step: math.nan if step in {3, 4} else step).curves("loss")
    assert [part.count("L") for part in (shapes(chart, "l")[0].get("d") or "").split("M")[1:]] == [2, 4]
    assert "2 values are left out: not finite" in str(chart)
    peak = curve_table(1, 100_000, lambda _, step: 1000.0 if step == 77_777 else 0.0).curves("loss")
    (line,) = shapes(peak, "l")
    heights = [float(pair.split(" ")[1]) for pair in re.split("[ML]", line.get("d") or "")[1:]]
    assert min(heights) < heights[0] - 200
    assert len(line.get("d") or "") < 10_000
    alone = curve_table(1, 1).curves("loss")
    assert (shapes(alone, "l")[0].get("d") or "").endswith("h.1"), "one value is a dot"
    none = curve_table(2, 3, lambda *_: math.inf).curves("loss")
    assert shapes(none, "l") == []
    assert "2 logged no finite value of it" in str(none)


def test_curves_of_many_runs_are_the_first_ones():
    chart = curve_table(2_000, 50).curves("loss")
    assert len(shapes(chart, "l")) == 100
    assert "the first 100 that logged it are drawn: choose others with where=, sort= and limit=" in str(chart)
    assert len(chart.svg()) < 1_000_000
    with pytest.raises(UnsupportedError, match=r"take it from store.runs\(\)"):
        table().curves("auc")


# -- all of them


def hostile_charts() -> Iterator[Chart]:
    texts_ = [EVIL, EVIL + "2", EVIL]
    numbers: list[Any] = [1.0, math.nan, 2.0]
    kinds: tuple[list[Any], list[Any]] = (texts_, numbers)
    for x, y, colour in itertools.product(kinds, repeat=3):
        yield points(Values(EVIL, x), Values(EVIL + "y", y), texts_, Values(EVIL + "z", colour))
        yield parallel([Values(EVIL, x), Values(EVIL, y), Values(EVIL, colour)], texts_)
    yield curves(EVIL, [(EVIL, [(1.0, 2.0), (None, math.inf)]), (EVIL, [])], colour=Values(EVIL, texts_), total=2, logged=2)
    yield curves(EVIL, [(EVIL, [(1.0, 2.0), (2.0, 3.0)])], total=1, logged=1)


def test_nothing_in_a_name_is_markup():
    for chart in hostile_charts():
        for shown in (chart.svg(), chart.html(), chart._repr_html_(), str(chart), repr(chart)):
            assert is_clean(shown)
        ET.fromstring(chart.svg())
    made = [info(i, {EVIL: EVIL}, {EVIL + "m": float(i)}, name=EVIL) for i in range(3)]
    assert is_clean(RunTable(made).plot(f"params.{EVIL}", f"metrics.{EVIL}m", svg=True).svg())


def test_a_chart_is_readable_in_light_and_dark_and_loads_nothing():
    chart = table().plot(svg=True)
    assert "prefers-color-scheme:dark" in chart.svg()
    assert "max-width:100%" in chart.svg()
    assert not re.search(r"<script|\son\w+=|https?://(?!www\.w3\.org/2000/svg)", chart.html())
    assert "default-src 'none'" in chart.html()


def test_a_chart_is_written_as_a_file(tmp_path: Path):
    chart = table().plot(svg=True)
    assert chart.save(tmp_path / "a.svg").read_text() == chart.svg()
    assert chart.save(str(tmp_path / "a.HTML")).read_text().startswith("<!doctype html>")
    for wrong in (tmp_path / "a.png", tmp_path / "gone" / "a.svg"):
        with pytest.raises(InvalidInputError):
            chart.save(wrong)


@pytest.fixture
def agg(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    yield plt
    plt.close("all")


@pytest.mark.slow
def test_with_matplotlib_axes_come_back(agg: Any):
    axes = table().plot("lr", "auc", color="depth", log=["lr", "depth"])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale(), axes.get_yscale()) == ("lr", "auc", "log", "linear")
    assert axes.get_title() == "6 of 10 runs have all values", "no depth of 0 on a logarithmic scale"
    assert len(axes.collections[0].get_offsets()) == 6
    axes = table().plot(color="opt")
    assert [one.get_text() for one in axes.get_legend().get_texts()] == ["a", "b"]
    odd = RunTable([info(0, {"$x_$": "$\\frac$"}, {"a": 1.0})]).plot("params.$x_$", "a", color="params.$x_$")
    odd.figure.canvas.draw()
    assert agg is not None


def test_without_matplotlib_a_chart_comes_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert isinstance(table().plot(), Chart)


def test_the_runs_of_a_store_are_plotted(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    for lr in (0.1, 0.01):
        with store.run("train", params={"lr": lr}, code=False) as run:
            for step in range(5):
                run.log(loss=lr * step, step=step)
            run.put({"lr": lr}, "m", metrics={"auc": lr})
    with store.run("idle", code=False):
        pass
    runs = store.runs()
    for table_ in (runs, runs[:], store.runs(sort="-lr"), store.runs(where="lr > 0", columns="lr,auc")):
        assert len(shapes(table_.curves("loss"), "l")) == 2
    assert "2 of 3 runs" in str(runs.curves("loss"))
    assert len(shapes(runs.parallel(["lr", "auc"]), "l")) == 2
    assert len(shapes(store.at(int(store.head.partition(":")[0])).runs().curves("loss"), "l")) == 2
    copy = artifactstore.open(tmp_path / "copy", cache=None)
    copy.put(b"x", "own")
    store.maintenance.sync(copy.url)
    again = artifactstore.open(copy.url, cache=None)
    assert len(shapes(again.runs().curves("loss"), "l")) == 2, "what was received is read, too"
    assert [point.value for point in again.runs("train")[0].history("loss")] == [0.1 * step for step in range(5)]
