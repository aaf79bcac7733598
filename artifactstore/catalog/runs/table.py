"""The table of runs: fields by path (`params.lr`, `metrics.auc`), conditions on them, order, and its plots."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, overload

from artifactstore.catalog.comparison import OPERATORS
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.runs.fields import Fields, in_order, paths_of, text_of, value_at
from artifactstore.catalog.runs.info import RunInfo
from artifactstore.catalog.series import Read
from artifactstore.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    import pyarrow as pa

    from artifactstore.display.outline import Block, Table
    from artifactstore.display.plots.chart import Chart

__all__ = ["RunTable", "Selection"]

_SAMPLE: Final = 100  # runs that decide which columns are shown
_FEW: Final = 6  # metrics, and parameters, that are shown unless chosen
_CONDITION: Final = re.compile(r"\s*([^\s<>=!~]+)\s*(>=|<=|==|!=|=|~|>|<)\s*(.+?)\s*", re.DOTALL)


class RunTable(Rows[RunInfo]):
    """Runs as a table: each parameter and each metric is a column, unless columns were chosen.

    Attributes:
        columns: the paths of the chosen columns; None for all.
    """

    def __init__(
        self,
        found: Sequence[RunInfo],
        columns: Sequence[str] | None = None,
        of: "Fields | None" = None,
        *,
        read: Read | None = None,
        by: str | None = None,
    ) -> None:
        super().__init__(RunInfo, found)
        self.columns = None if columns is None else list(columns)
        self._fields = of or Fields(found)
        self._read = read
        self._by = by  # the column that it is sorted by

    @overload
    def __getitem__(self, at: int) -> RunInfo: ...
    @overload
    def __getitem__(self, at: slice) -> "RunTable": ...
    def __getitem__(self, at: Any) -> "RunInfo | RunTable":
        if isinstance(at, str):
            raise InvalidInputError(f"[{at!r}]: runs are chosen by number; a column is .values({at!r}), or .to_pandas()[{at!r}]")
        found = super().__getitem__(at)
        return (
            found
            if isinstance(found, RunInfo)
            else RunTable(list(found), self.columns, self._fields, read=self._read, by=self._by)
        )

    def known(self, column: str) -> str:
        """Return the whole path of a column: `metrics.auc` for `auc`, if only one has this name.

        Raises:
            InvalidInputError: there is none, or several; the message has the nearest ones.
        """
        if not isinstance(column, str):
            raise InvalidInputError(f"a column must be a str such as 'auc' or 'params.lr', got {column!r:.200}")
        return self._fields.known(column)

    def names(self) -> list[str]:
        """Return the name of each run with the first digits of its id."""
        return [f"{run.name} {run.id[:8]}" for run in self]

    def series(self, metric: str, most: int) -> tuple[int, dict[int, list[tuple[float | None, float]]]]:
        """Return the (step, value) pairs of a metric that runs logged, by one reading of the journal.

        Args:
            metric: the metric.
            most: number of runs to read, the first ones.

        Returns:
            The number of runs that logged it, and the pairs by the number of the run in the table.

        Raises:
            UnsupportedError: the table is not of an open store.
        """
        if self._read is None:
            raise UnsupportedError("this table is not of an open store: take it from store.runs()")
        logged = {i: run.id for i, run in enumerate(self) if metric in run.metrics or metric in run.not_finite}
        chosen = dict(islice(logged.items(), most))
        found = self._read([*chosen.values()])
        return len(logged), {i: [(point.step, point.value) for point in found[run].get(metric, ())] for i, run in chosen.items()}

    def plot(
        self,
        x: str | None = None,
        y: str | None = None,
        *,
        color: str | None = None,
        log: str | Collection[str] = (),
        svg: bool = False,
    ) -> Any:
        """Plot a column over another one, a point for each run: `store.runs().plot("lr", "auc", color="depth", log="lr")`.

        Args:
            x: the horizontal column; by default the time of the start.
            y: the vertical column; by default the first metric.
            color: the column of the colours.
            log: the columns with a logarithmic scale.
            svg: return a `Chart` also where matplotlib is installed.

        Returns:
            The `Axes` of matplotlib where it is installed, else a `Chart`, which notebooks show and `.save("a.svg")` writes.

        Raises:
            InvalidInputError: there is no such column (the message has the nearest), or it cannot be drawn.
        """
        from artifactstore.display.plots.tables import plot_points  # noqa: PLC0415 - most processes draw nothing

        return plot_points(self, x, y, color, log, svg=svg)

    def parallel(self, columns: Sequence[str] | None = None, *, log: str | Collection[str] = ()) -> "Chart":
        """Draw parallel coordinates, a line for each run: `store.runs().parallel(["lr", "depth", "auc"], log="lr")`.

        Args:
            columns: the columns from left to right, the last of which gives the colour; by default the parameters that differ,
                and the first metric.
            log: the columns with a logarithmic scale.

        Raises:
            InvalidInputError: as for `plot`.
        """
        from artifactstore.display.plots.tables import plot_parallel  # noqa: PLC0415 - as above

        return plot_parallel(self, columns, log)

    def curves(self, metric: str, *, color: str | None = None, log: str | Collection[str] = ()) -> "Chart":
        """Draw what runs logged of a metric, step by step: `store.runs("train*")[-5:].curves("loss", log="loss")`.

        Args:
            metric: the metric.
            color: the column of the colours; by default up to eight runs have a colour each.
            log: the metric, for a logarithmic scale.

        Raises:
            InvalidInputError: as for `plot`, or it is not a metric.
        """
        from artifactstore.display.plots.tables import plot_curves  # noqa: PLC0415 - as above

        return plot_curves(self, metric, color, log)

    def paths(self) -> list[str]:
        """Return the columns of all parameters and metrics."""
        return paths_of(self)

    def values(self, column: str) -> list[Any]:
        """Return the values of a column, None where a run has none.

        Raises:
            InvalidInputError: none of the runs that the table was chosen from has such a column.
        """
        path = self._fields.known(column)
        return [value_at(run, path) for run in self]

    def _list(self, most: int) -> "list[Block]":
        from artifactstore.display.lists import list_outline, run_columns  # noqa: PLC0415 - most processes show no list

        sample = self[:_SAMPLE]
        columns = run_columns(self.columns or self._usual(sample), value_at, sample)
        return list_outline("RunInfo", self, (), most=most, columns=columns)

    def listing(self) -> "Table":
        """Return all runs as a table for terminals: the id, which commands take, then what differs most in interest."""
        from artifactstore.display.lists import run_columns  # noqa: PLC0415 - as above
        from artifactstore.display.outline import table_of  # noqa: PLC0415 - as above

        sample = self[:_SAMPLE]
        *usual, run = self._usual(sample)
        return table_of(self, run_columns([run, *usual], value_at, sample))

    def _usual(self, runs: Sequence[RunInfo]) -> list[str]:
        """Return the columns that are shown unless some were chosen: metrics, then parameters, those that differ first."""
        found = paths_of(runs)
        params = [path for path in found if path.startswith("params.")]
        params.sort(key=lambda path: len({text_of(value_at(run, path)) for run in runs}) < 2)
        metrics = [path for path in found if path.startswith("metrics.")]
        for paths in (metrics, params):
            paths.sort(key=lambda path: path != self._by)
        more = ["code.commit"] if any(run.code.get("commit") for run in runs) else []
        return ["name", "status", *metrics[:_FEW], *params[:_FEW], "seconds", "started", *more, "id"]

    def to_arrow(self) -> "pa.Table":
        """Return the table for Arrow; other values than numbers, texts, booleans and times become JSON text."""
        import pyarrow as pa  # noqa: PLC0415 - 0.2 s, only needed for a table

        chosen = self.columns or ["id", "name", "status", "started", "seconds", *self.paths()]
        return pa.table({one: _column(self.values(one)) for one in chosen})


def _column(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) <= 1 and kinds <= {str, bool, datetime}):
        return [float(value) for value in values] if kinds == {int, float} and None not in values else values
    return [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]


@dataclass(frozen=True)
class Selection:
    """Which runs, in which order.

    Args:
        where: conditions `PATH OP VALUE` that all must hold; OP is one of `>= <= > < = != ~`, the last for text that contains it.
        sort: a path; with `-` before it the largest first. Runs without the value come last.
        limit: only so many.
        columns: the paths of the columns.
    """

    where: Sequence[str] = ()
    sort: str | None = None
    limit: int | None = None
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        where = (self.where,) if isinstance(self.where, str) else self.where
        columns = self.columns
        if columns is not None:
            columns = [one.strip() for one in (columns.split(",") if isinstance(columns, str) else columns)]
        for what, texts in (("where", where), ("columns", columns or ())):
            if not isinstance(texts, list | tuple) or not all(isinstance(one, str) and one for one in texts):
                raise InvalidInputError(f"{what}= must be a str or a list of str, got {texts!r:.200}")
        if self.sort is not None and (not isinstance(self.sort, str) or not self.sort.lstrip("-")):
            raise InvalidInputError(f"sort= must be a column such as '-metrics.auc', got {self.sort!r}")
        if self.limit is not None and (isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0):
            raise InvalidInputError(f"limit={self.limit!r}: must be a number of runs")
        object.__setattr__(self, "where", tuple(where))
        object.__setattr__(self, "columns", columns)

    def of(
        self,
        runs: Sequence[Any],
        read: Read | None = None,
        records: Callable[[Sequence[Any]], list[RunInfo]] = list,
        fields: Fields | None = None,
    ) -> RunTable:
        """Return the runs that meet the conditions, in order.

        Args:
            runs: the runs, or candidates.
            read: returns what runs logged.
            records: returns the whole records of those that were chosen.
            fields: those of all runs, if the candidates are not all of them.

        Raises:
            InvalidInputError: a condition is malformed, or no run has such a field; the message has the nearest one.
        """
        chosen, fields_of_all = list(runs), fields or Fields(runs)
        for asked, test in map(_condition, self.where):
            path = fields_of_all.known(asked)
            chosen = [one for one in chosen if test(value_at(one, path))]
        by = None if self.sort is None else fields_of_all.known(self.sort.removeprefix("-"))
        if self.sort is not None and by is not None:
            valued = [(value_at(one, by), one) for one in chosen]
            having = in_order([pair for pair in valued if pair[0] is not None], reverse=self.sort.startswith("-"))
            chosen = [one for _, one in having] + [one for value, one in valued if value is None]
        if self.limit is not None:
            chosen = chosen[: self.limit]
        columns = None if self.columns is None else [fields_of_all.known(one) for one in self.columns]
        return RunTable(records(chosen), columns, fields_of_all, read=read, by=by)


def _condition(text: str) -> tuple[str, Callable[[Any], bool]]:
    """Parse a condition.

    Raises:
        InvalidInputError: the form differs.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or not match[3].strip():
        raise InvalidInputError(f"{text!r} is not a condition; expected for example 'metrics.auc >= 0.9' or 'status = failed'")
    path, sign, right = match.groups()
    wanted = _literal(right)

    def test(value: Any) -> bool:
        if sign == "~":
            return value is not None and right.casefold() in text_of(value).casefold()
        if sign in {"=", "==", "!="}:
            return (value is not None and (value == wanted or text_of(value) == right)) == (sign != "!=")
        if isinstance(value, datetime):
            return bool(OPERATORS[sign](value, _moment(right)))
        if isinstance(value, int | float) and isinstance(wanted, str):
            raise InvalidInputError(f"{text!r}: {right!r} is not a number, as {path} is of some run")
        number = isinstance(value, int | float) and isinstance(wanted, int | float)
        if not number and not (isinstance(value, str) and isinstance(wanted, str)):
            return False
        return bool(OPERATORS[sign](value, wanted))

    return path, test


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip("'\"")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip("'\""))
    except ValueError as error:
        raise InvalidInputError(f"{text!r} is not a time: expected ISO 8601, for example 2026-11-23T20:00:00Z") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
