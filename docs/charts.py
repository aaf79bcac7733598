"""Charts of the page about performance, drawn from the tables that the benchmarks wrote into results.md."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

__all__ = ["CHARTS"]

Draw = Callable[[str, int, int, Iterable[str]], str]  # title, width, height, parts → SVG
Table = list[dict[str, str]]  # rows: head → cell

_RESULTS: Final = Path(__file__).parents[1] / "benchmarks/results.md"
_COLOURS: Final = ("data", "model", "code", "environment", "other")
_STEPS: Final = ("put v1", "again", "put v2", "get v2")
_WIDTH: Final = 760


def _tables(section: str) -> list[Table]:
    """Return the tables of a section of the results."""
    text = _RESULTS.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"results.md has no section {section!r}"
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", found[1], re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines())
        tables.append([dict(zip(head, row, strict=True)) for row in rows])
    return tables


def _number(cell: str) -> float | None:
    """Return the first number of a cell."""
    found = re.match(r"[\d,]*\.?\d+", cell)
    return float(found[0].replace(",", "")) if found else None


def _text(x: float, y: float, text: str, kind: str = "s", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _key(names: Sequence[str], x: float, y: float) -> str:
    parts = []
    for colour, name in zip(_COLOURS, names, strict=False):
        parts.append(
            f'<g class="{colour}"><rect class="b" x="{x}" y="{y - 9}" width="12" height="10"/></g>{_text(x + 18, y, name)}'
        )
        x += 36 + 7 * len(name)
    return "".join(parts)


def floor(draw: Draw) -> str:
    """Draw the seconds of each step of each set, beside the floor and other tools."""
    own, peers = _tables("Beside the floor")[:2]
    beside = {row["step"]: row for row in peers}
    tools = ["floor", "artifactstore", *(name for name in ("restic", "borg") if name in peers[0])]
    parts, y, bar = [_text(10, 22, "Seconds by the clock, two cores, process start included", "h"), _key(tools, 10, 46)], 74, 11
    for name in ("small", "checkpoint", "csv"):
        rows = []
        for step in _STEPS:
            (row,) = (one for one in own if one["step"] == f"{name}, {step}")
            values = [_number(row["floor: clock / processors"]), _number(row["artifactstore"])]
            rows.append((step, [*values, *(_number(beside[f"{name}, {step}"][tool]) for tool in tools[2:])]))
        most = max(value or 0 for _, values in rows for value in values)
        parts.append(_text(10, y, name, "t"))
        for step, values in rows:
            y += 6
            parts.append(_text(84, y + bar * len(values) / 2 + 4, step, anchor="end"))
            for colour, value in zip(_COLOURS, values, strict=False):
                if value is not None:
                    width = 560 * value / most
                    parts.append(
                        f'<g class="{colour}"><rect class="b" x="92" y="{y}" width="{width:.1f}" height="{bar - 2}"/></g>'
                        f"{_text(98 + width, y + 8, f'{value:.2f}')}"
                    )
                y += bar
        y += 30
    return draw("Seconds of each step beside the floor and other tools", _WIDTH, y - 10, parts)


def _lines(
    draw: Draw,
    title: str,
    series: dict[str, list[tuple[float, float]]],
    *,
    x_label: str,
    marks: Sequence[tuple[float, str]],
    levels: Sequence[tuple[float, str]],
    logarithmic: bool,
) -> str:
    """Draw lines; `marks` and `levels` are the values that both axes name."""
    height, left, right, top, bottom = 320, 70, 500, 44, 270
    scale: Callable[[float], float] = math.log10 if logarithmic else float
    low_x, high_x = scale(marks[0][0]), scale(marks[-1][0])
    low_y, high_y = scale(levels[0][0]), scale(levels[-1][0])

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (right - left) * (scale(x) - low_x) / (high_x - low_x)
        return across, bottom - (bottom - top) * (scale(y) - low_y) / (high_y - low_y)

    parts = [_text(10, 22, title, "h"), _text((left + right) / 2, bottom + 36, x_label, anchor="middle")]
    for value, name in levels:
        _, y = at(marks[0][0], value)
        parts.append(
            f'<path class="e" stroke-opacity=".3" d="M{left} {y:.1f}H{right}"/>{_text(left - 8, y + 4, name, anchor="end")}'
        )
    for value, name in marks:
        x, _ = at(value, levels[0][0])
        parts.append(_text(x, bottom + 18, name, anchor="middle"))
    ends: list[float] = []
    for colour, (name, points) in zip(
        _COLOURS * 2, sorted(series.items(), key=lambda one: one[1][-1][1], reverse=True), strict=False
    ):
        spots = [at(*point) for point in points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        dots = "".join(f'<circle class="b" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in spots)
        y = max(spots[-1][1] + 4, ends[-1] + 15 if ends else 0)
        ends.append(y)
        parts.append(f'<path class="e" d="{path}"/><g class="{colour}">{dots}</g>{_text(right + 12, y, name)}')
    return draw(title, _WIDTH, height, parts)


def cores(draw: Draw) -> str:
    """Draw how many times as fast each set is with more cores."""
    (rows,) = _tables("Cores")
    counts = [int(name.split()[0]) for name in rows[0] if re.fullmatch(r"\d+ cores?", name)]
    series = {}
    for row in rows:
        seconds = [_number(row[f"{count} core{'s' * (count > 1)}"]) or 0.0 for count in counts]
        series[row["step"]] = [(float(count), seconds[0] / value) for count, value in zip(counts, seconds, strict=True)]
    marks = [(float(count), str(count)) for count in counts]
    most = max(times for points in series.values() for _, times in points)
    levels = [(float(n), f"{n} x") for n in range(math.ceil(most) + 1)]
    return _lines(draw, "Times as fast as with one core", series, x_label="cores", marks=marks, levels=levels, logarithmic=False)


def growth(draw: Draw) -> str:
    """Draw what calls cost in longer and longer histories."""
    (rows,) = _tables("As a store grows")
    calls = [name for name in rows[0] if name != "entries"]
    counts = [_number(row["entries"]) or 0.0 for row in rows]
    series = {call: [(count, _number(row[call]) or 0.0) for count, row in zip(counts, rows, strict=True)] for call in calls}
    values = [value for points in series.values() for _, value in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    levels = [(10.0**power, f"{10.0**power:g} ms") for power in range(low, high + 1)]
    marks = [(count, f"{count:,.0f}") for count in counts]
    return _lines(
        draw, "Milliseconds of a call", series, x_label="entries in the history", marks=marks, levels=levels, logarithmic=True
    )


CHARTS: Final[dict[str, Callable[[Draw], str]]] = {"floor.svg": floor, "cores.svg": cores, "growth.svg": growth}
