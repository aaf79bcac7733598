"""The plots of runs: points, curves, parallel coordinates. Of many runs some are drawn, and the chart says so."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.display.graph.text_metrics import escaped
from artifactstore.display.plots.axis import Axis, axis_of, number_of
from artifactstore.display.plots.chart import Chart, Colours, drawing, hue, named, px, text, x_axis, y_axis

__all__ = ["CURVES", "Values", "curves", "parallel", "points"]

_POINTS: Final = 2000  # points that are drawn: a page of 0.4 MB
_LINES: Final = 500  # lines of parallel coordinates
CURVES: Final = 100  # curves that are drawn
_STEPS: Final = 400  # points of a curve
_HUED: Final = 8  # curves that have a colour and a name of their own
_LEGEND: Final = 130.0  # pixels
_TITLE: Final = 300  # characters under the pointer


@dataclass(frozen=True, slots=True)
class Values:
    """A column to plot.

    Attributes:
        label: its label.
        values: a value for each run, None where there is none.
        log: whether its axis is logarithmic.
    """

    label: str
    values: Sequence[Any]
    log: bool = False


def points(x: Values, y: Values, names: Sequence[str], colour: Values | None = None) -> Chart:
    """Draw a point for each run.

    Args:
        x: the horizontal column.
        y: the vertical column.
        names: the name of each run.
        colour: the column of the colours.
    """
    given = [x, y] if colour is None or colour.label in {x.label, y.label} else [x, y, colour]
    axes = [axis_of(one.label, one.values, log=one.log, margin=0.04) for one in (x, y)]
    shades = Colours(None if colour is None else axis_of(colour.label, colour.values, log=colour.log))
    rows, gone = _drawable(given, [*axes, *([shades.axis] if len(given) > 2 and shades.axis else [])])
    shown = _thinned(rows, _POINTS, [y.values, x.values])
    left, right, top, bottom = 76.0, 560.0, 8.0, 340.0
    parts = [
        *y_axis(axes[1], left, right, top, bottom),
        *x_axis(axes[0], left, right, top, bottom),
        *_side_label(axes[1], bottom),
    ]
    for i in shown:
        across, up = axes[0].at(x.values[i]), axes[1].at(y.values[i])
        assert across is not None
        assert up is not None
        fill = shades.of(None if colour is None else colour.values[i]) or hue(0)
        tip = _tip(names[i], given, i)
        parts.append(
            f'<circle class="p" cx="{px(left + across * (right - left))}" cy="{px(bottom - up * (bottom - top))}" r="4" fill="{fill}"><title>{tip}</title></circle>'
        )
    parts += shades.legend(right + 24, top + 6, _LEGEND)
    title = f"{y.label} by {x.label.removesuffix(' (UTC)')}"
    facts = _facts(len(names), rows, shown, gone, axes)
    wide = right + (24 + _LEGEND if shades.is_shown else 20)
    return Chart(title, facts, drawing(title, facts[:1] + facts[2:], wide, bottom + 44, parts))


def parallel(columns: Sequence[Values], names: Sequence[str]) -> Chart:
    """Draw a line for each run through its values of several columns; the last one gives the colour.

    Args:
        columns: the columns, from left to right.
        names: the name of each run.
    """
    axes = [axis_of(one.label, one.values, log=one.log) for one in columns]
    shades = Colours(axes[-1])
    rows, gone = _drawable(columns, axes)
    shown = _thinned(rows, _LINES, [columns[-1].values])
    step, left, top, bottom = max(110.0, min(170.0, 900.0 / len(axes))), 70.0, 34.0, 330.0
    places = [left + step * i for i in range(len(axes))]
    parts = []
    for i in shown:
        heights = [axis.at(one.values[i]) for axis, one in zip(axes, columns, strict=True)]
        line = "L".join(f"{px(x)} {px(bottom - (at or 0.0) * (bottom - top))}" for x, at in zip(places, heights, strict=True))
        parts.append(
            f'<path class="l" stroke="{shades.of(columns[-1].values[i])}" d="M{line}"><title>{_tip(names[i], columns, i)}</title></path>'
        )
    for x, axis in zip(places, axes, strict=True):
        parts += y_axis(axis, x, x, top, bottom, grid=False, limit=step - 24 if x > left else 60.0, outside=x == places[-1])
        parts.append(text("t", x, top - 14, axis.label + (" (log)" if axis.kind == "log" else ""), "middle", limit=step - 8))
    title = f"{columns[-1].label} by {', '.join(one.label for one in columns[:-1])}"
    facts = _facts(len(names), rows, shown, gone, axes)
    return Chart(title, facts, drawing(title, facts[:1] + facts[2:], places[-1] + 90, bottom + 12, parts))


def curves(
    metric: str,
    series: Sequence[tuple[str, Sequence[tuple[float | None, float]]]],
    *,
    log: bool = False,
    colour: Values | None = None,
    total: int,
    logged: int,
) -> Chart:
    """Draw the series of a metric of several runs.

    Args:
        metric: its name.
        series: the name of each run, and its (step, value) pairs; without a step a value is at its number.
        log: a logarithmic scale of values.
        colour: the column of the colours, a value for each run; None: a few runs have a hue each.
        total: the number of runs that were asked for.
        logged: the number of those that logged it, some of which may be left out.
    """
    known, missing = [], 0
    for number, (name, pairs) in enumerate(series):
        placed = [(float(i if step is None else step), value) for i, (step, value) in enumerate(pairs)]
        missing += sum(number_of(value) is None or (log and value <= 0) for _, value in placed)
        if any(number_of(value) is not None for _, value in placed):
            known.append((number, name, placed))
    across = axis_of("step", [step for _, _, pairs in known for step, _ in pairs])
    up = axis_of(metric, [value for _, _, pairs in known for _, value in pairs], log=log, margin=0.04)
    hues = colour is None and len(known) <= _HUED
    shades = Colours(None if colour is None else axis_of(colour.label, colour.values, log=colour.log))
    left, right, top, bottom = 76.0, 560.0, 8.0, 340.0
    parts = [*y_axis(up, left, right, top, bottom), *x_axis(across, left, right, top, bottom), *_side_label(up, bottom)]
    entries = []
    for place, (number, name, pairs) in enumerate(known):
        stroke = hue(place) if hues else shades.of(None if colour is None else colour.values[number]) or "#888888"
        entries.append((name, stroke))
        path = _path(pairs, across, up, (left, right, top, bottom))
        tip = escaped(_cut(name) + ("" if colour is None else f" · {colour.label}: {_value(colour.values[number])}"))
        parts.append(f'<path class="l" stroke="{stroke}" d="{path}"><title>{tip}</title></path>')
    parts += named(entries, right + 24, top + 10, _LEGEND) if hues else shades.legend(right + 24, top + 6, _LEGEND)
    title = f"{metric} by step"
    facts = [f"{len(known):,} of {total:,} runs" if len(known) < total else f"{total:,} run{'' if total == 1 else 's'}"]
    facts[0] += f", {up.label} {up.extent}, steps {across.extent}" if known else " logged it"
    if logged > len(series):
        facts.append(f"the first {len(series):,} that logged it are drawn: choose others with where=, sort= and limit=")
    if without := total - logged + len(series) - len(known):
        facts.append(f"{without:,} logged no finite value of it")
    if missing:
        facts.append(f"{missing:,} values are left out: not finite" + (", or not positive" if log else ""))
    wide = right + (24 + _LEGEND if hues or shades.is_shown else 20)
    return Chart(title, facts, drawing(title, facts[1:], wide, bottom + 44, parts))


def _path(pairs: Sequence[tuple[float, float]], across: Axis, up: Axis, frame: tuple[float, float, float, float]) -> str:
    """Return the path of a curve: broken where a value is not finite; of a long one the least and the largest of each part."""
    left, right, top, bottom = frame
    parts: list[str] = []
    pen = "M"
    for step, value in _envelope(pairs):
        x, y = across.at(step), up.at(value)
        if x is None or y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{px(left + x * (right - left))} {px(bottom - y * (bottom - top))}")
        pen = "L"
    return "".join(parts) + ("h.1" if len(parts) == 1 else "")


def _envelope(pairs: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    size = -(-len(pairs) // (_STEPS // 2))
    if size <= 2:
        yield from pairs
        return
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        finite = [i for i, (_, value) in enumerate(part) if number_of(value) is not None]
        if not finite:
            yield part[0]
            continue
        ends = {min(finite, key=lambda i: part[i][1]), max(finite, key=lambda i: part[i][1])}
        yield from (part[i] for i in sorted(ends))


def _drawable(columns: Sequence[Values], axes: Sequence[Axis]) -> tuple[list[int], dict[str, int]]:
    """Return the runs that have a value on each axis, and per column how many lack one."""
    gone: dict[str, int] = {}
    rows = []
    for i in range(len(columns[0].values)):
        lacking = [one.label for one, axis in zip(columns, axes, strict=True) if axis.at(one.values[i]) is None]
        if not lacking:
            rows.append(i)
        else:
            gone[lacking[0]] = gone.get(lacking[0], 0) + 1
    return rows, gone


def _thinned(rows: Sequence[int], most: int, by: Iterable[Sequence[Any]]) -> list[int]:
    """Return at most so many of the rows: evenly spaced, with the extremes of each of some columns."""
    if len(rows) <= most:
        return list(rows)
    ends: set[int] = set()
    for values in by:
        known = [i for i in rows if number_of(values[i]) is not None]
        key: Callable[[int], float] = lambda i, values=values: number_of(values[i]) or 0.0  # type: ignore[misc]  # noqa: E731
        ends |= {min(known, key=key), max(known, key=key)} if known else set()
    count = most - len(ends)
    return sorted(ends | {rows[len(rows) * k // count] for k in range(count)})


def _facts(total: int, rows: Sequence[int], shown: Sequence[int], gone: Mapping[str, int], axes: Sequence[Axis]) -> list[str]:
    first = f"{len(rows):,} of {total:,} runs" if len(rows) < total else f"{total:,} run{'' if total == 1 else 's'}"
    if gone:
        first += "; " + ", ".join(f"{count:,} without a value of {label} that can be drawn" for label, count in gone.items())
    facts = [first, ", ".join(f"{axis.label} {axis.extent}" for axis in axes)]
    if len(shown) < len(rows):
        facts.append(f"{len(shown):,} of them are drawn, the extremes included")
    return facts


def _side_label(axis: Axis, bottom: float) -> list[str]:
    shown = axis.label + (" (log)" if axis.kind == "log" else "")
    return [
        f'<g transform="translate(16 {px(bottom / 2)}) rotate(-90)">{text("t", 0, 0, shown, "middle", limit=bottom - 10)}</g>'
    ]


def _tip(name: str, columns: Sequence[Values], i: int) -> str:
    return escaped(" · ".join([_cut(name), *(f"{_cut(one.label)}: {_value(one.values[i])}" for one in columns)]))


def _value(value: Any) -> str:
    return "none" if value is None else _cut(f"{value:.6g}" if isinstance(value, float) else str(value))


def _cut(words: str) -> str:
    return words if len(words) <= _TITLE else words[: _TITLE - 1] + "…"
