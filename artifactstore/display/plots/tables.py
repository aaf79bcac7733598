"""What is plotted of a table of runs: columns by their names, with matplotlib where it is installed, else as SVG."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from artifactstore.display.plots.axis import axis_of
from artifactstore.display.plots.chart import Chart
from artifactstore.display.plots.plots import CURVES, Values, curves, parallel, points
from artifactstore.errors import InvalidInputError
from artifactstore.printable import visible

__all__ = ["Plotted", "plot_curves", "plot_parallel", "plot_points"]

_LABELS: Final = {"seconds": "took (s)", "started": "started (UTC)", "finished": "finished (UTC)"}


class Plotted(Protocol):
    """A table whose columns can be plotted."""

    def known(self, column: str) -> str:
        """Return the whole path of a column."""

    def paths(self) -> list[str]:
        """Return the columns of all parameters and metrics."""

    def values(self, column: str) -> list[Any]:
        """Return the values of a column."""

    def names(self) -> list[str]:
        """Return a name for each row."""

    def series(self, metric: str, most: int) -> tuple[int, Mapping[int, Sequence[tuple[float | None, float]]]]:
        """Return how many rows have the metric, and of so many the (step, value) pairs, by the number of the row."""


def _columns(table: Plotted, wanted: Sequence[str], log: str | Collection[str]) -> list[Values]:
    """Return the columns to plot.

    Raises:
        InvalidInputError: there is no such column, or one in `log` is not plotted.
    """
    paths = [table.known(one) for one in wanted]
    scales = _logarithmic(table, log)
    if strange := scales - set(paths):
        raise InvalidInputError(f"log={log!r}: {', '.join(sorted(strange))} is not plotted; the columns are {', '.join(paths)}")
    short = [path.partition(".")[2] or path for path in table.paths()]
    labels = [_LABELS.get(path) or (name if short.count(name := path.partition(".")[2]) == 1 else path) for path in paths]
    return [Values(label, table.values(path), path in scales) for label, path in zip(labels, paths, strict=True)]


def _logarithmic(table: Plotted, log: str | Collection[str]) -> set[str]:
    if not isinstance(log, str | Collection) or not all(isinstance(one, str) for one in log):
        raise InvalidInputError(f"log= must be a column or a list of columns, got {log!r:.200}")
    return {table.known(one) for one in ([log] if isinstance(log, str) else log)}


def plot_points(table: Plotted, x: str | None, y: str | None, color: str | None, log: str | Collection[str], *, svg: bool) -> Any:
    """Plot a column over another one; see `RunTable.plot`."""
    metrics = [path for path in table.paths() if path.startswith("metrics.")]
    if y is None and not metrics:
        raise InvalidInputError("no run has a metric: pass the column to plot, y=")
    wanted = ["started" if x is None else x, metrics[0] if y is None else y, *([color] if color is not None else [])]
    columns = _columns(table, wanted, log)
    across, up, shade = columns[0], columns[1], columns[2] if color is not None else None
    if not svg:
        axes = _new_axes()
        if axes is not None:
            return _scatter(axes, across, up, shade)
    return points(across, up, table.names(), shade)


def _new_axes() -> Any:
    """Return new axes of matplotlib; None if it is not installed."""
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - 0.3 s, and not everywhere
    except ImportError:
        return None
    return plt.subplots()[1]


def _scatter(axes: Any, across: Values, up: Values, shade: Values | None) -> Any:
    given = [across, up, *([shade] if shade is not None else [])]
    scales = [axis_of(one.label, one.values, log=one.log) for one in given]
    rows = [
        i
        for i in range(len(up.values))
        if all(scale.at(one.values[i]) is not None for scale, one in zip(scales, given, strict=True))
    ]

    def chosen(number: int, some: Sequence[int] = rows) -> list[Any]:
        values = given[number].values
        return [_literal(str(values[i])) if scales[number].kind == "category" else values[i] for i in some]

    labels = [_literal(one.label) for one in given]
    if shade is None:
        axes.scatter(chosen(0), chosen(1))
    elif scales[2].kind == "category":
        for name in scales[2].names:
            part = [i for i in rows if str(shade.values[i]) == name]
            axes.scatter(chosen(0, part), chosen(1, part), label=_literal(name))
        axes.legend(title=labels[2])
    else:
        from matplotlib.colors import LogNorm  # noqa: PLC0415 - as above

        numbers = [value.timestamp() if hasattr(value, "timestamp") else value for value in chosen(2)]
        drawn = axes.scatter(chosen(0), chosen(1), c=numbers, norm=LogNorm() if shade.log and numbers else None)
        axes.figure.colorbar(drawn, ax=axes, label=labels[2])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if across.log:
        axes.set_xscale("log")
    if up.log:
        axes.set_yscale("log")
    if len(rows) < len(up.values):
        axes.set_title(f"{len(rows):,} of {len(up.values):,} runs have all values", fontsize="small")
    return axes


def _literal(text: str) -> str:
    """Return a text that matplotlib does not read as a formula."""
    return visible(text).replace("$", r"\$")


def plot_parallel(table: Plotted, wanted: Sequence[str] | None, log: str | Collection[str]) -> Chart:
    """Plot parallel coordinates; see `RunTable.parallel`."""
    if wanted is not None and (isinstance(wanted, str) or not all(isinstance(one, str) for one in wanted)):
        raise InvalidInputError(f"parallel needs a list of columns such as ['lr', 'depth', 'auc'], got {wanted!r:.200}")
    columns = list(wanted) if wanted is not None else _usual(table)
    if len(columns) < 2:
        raise InvalidInputError(f"parallel needs two columns or more, the last of them the one to look at, got {columns!r:.200}")
    return parallel(_columns(table, columns, log), table.names())


def _usual(table: Plotted) -> list[str]:
    """Return the parameters that differ, and the first metric."""
    paths = table.paths()
    metrics = [path for path in paths if path.startswith("metrics.")]
    differ = [path for path in paths if path.startswith("params.") and len({str(one) for one in table.values(path)}) > 1]
    return [*differ[:7], *metrics[:1]]


def plot_curves(table: Plotted, metric: str, color: str | None, log: str | Collection[str]) -> Chart:
    """Plot the series of a metric; see `RunTable.curves`."""
    path = table.known(metric)
    head, _, name = path.partition(".")
    if head != "metrics":
        raise InvalidInputError(f"{metric!r} is not a metric: curves show what run.log(…, step=) recorded")
    scales = _logarithmic(table, log)
    if scales - {path}:
        raise InvalidInputError(f"log={log!r}: curves have only {name!r} to scale")
    shade = None if color is None else _columns(table, [color], ())[0]
    rows, found = table.series(name, CURVES)
    names = table.names()
    if shade is not None:
        shade = Values(shade.label, [shade.values[i] for i in found])
    return curves(
        name, [(names[i], pairs) for i, pairs in found.items()], log=path in scales, colour=shade, total=len(names), logged=rows
    )
