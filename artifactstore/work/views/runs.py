"""Runs as an experiment table: chosen, sorted, with the series of their metrics."""

from collections.abc import Collection
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.runs.fields import Candidate, Fields, candidates, records
from artifactstore.catalog.runs.info import RunInfo, record_of, run_info, status_of
from artifactstore.catalog.runs.table import RunTable, Selection
from artifactstore.catalog.series import Point, series
from artifactstore.catalog.spill.table import load
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.encoding import parse_time
from artifactstore.runtime.loading import gc_paused
from artifactstore.work.session.session import Session

__all__ = ["histories", "recorded", "runs"]


def recorded(session: Session, state: State, run: str) -> RunInfo:
    """Return the record of a run, which can read the series of its metrics."""
    return run_info(state, run, _now(session, state), partial(_history, session, run))


def histories(session: Session, runs: Collection[str]) -> dict[str, dict[str, list[Point]]]:
    """Return the series of all metrics that runs logged, by one reading of the journal: run → metric → values."""
    if not runs:
        return {}
    with session.state(fresh=False) as state:
        first = min(int(state.runs[run]["seq"]) for run in runs)
    last = None if session.view is None else session.view.head
    return series(session.core().journal.entries(first, last=last), runs)


def _history(session: Session, run: str, metric: str) -> Rows[Point]:
    return Rows(Point, histories(session, [run])[run].get(metric, []))


def runs(session: Session, *, name: Any = None, status: Any = None, chosen: Selection | None = None) -> RunTable:
    """Return runs, oldest first unless they are sorted; see `Store.runs`."""
    if status is not None and status not in {"running", "finished", "failed", "abandoned"}:
        raise InvalidInputError(f"status={status!r}: expected running, finished, failed or abandoned")
    if name is not None and not isinstance(name, str):
        raise InvalidInputError(f"name must be a str, got {name!r}")
    chosen = chosen or Selection()
    with session.query_state() as state, gc_paused():
        ends = _ends(state, chosen) if name is None and status is None else None
        if ends is not None:
            rows = {run: state.runs[run] for run in ends}
        else:
            if name is None:
                load(state.runs)
            rows = {run: row for run, row in state.runs.items() if name is None or fnmatchcase(row["name"], name)}
        if name is not None and not rows and "*" not in name:
            raise NotFoundError(f"no run has the name {name!r}")
        now = _now(session, state)
        if status is not None:
            rows = {run: row for run, row in rows.items() if status_of(row, now) == status}

        def read(run: str) -> Any:
            return partial(_history, session, run)

        def record(one: Candidate) -> RunInfo:
            known = {"row": rows[one.id], "metrics": one.metrics, "outputs": one.output_metrics}
            return record_of(state, one.id, **known, now=now, series=read(one.id))

        if chosen.where or chosen.limit is not None:
            fields = None if ends is None else Fields(partial(runs, session))
            return chosen.of(candidates(state, rows, record), partial(histories, session), partial(records, state), fields)
        if name is None:
            load(state.metrics, state.edges)
        return chosen.of([run_info(state, run, now, read(run)) for run in rows], partial(histories, session))


def _ends(state: State, chosen: Selection) -> list[str] | None:
    """Return the runs among which the first or the last ones are that a question asks for; None if it has to look at all of them."""
    limit, sort = chosen.limit, chosen.sort
    if limit is None or chosen.where or chosen.columns is not None:
        return None
    if sort is None:
        return [*islice(state.runs, limit)]
    if sort.removeprefix("-") != "started" or state.received or state.header.get("resets"):
        return None  # received runs, and those before a clock was set back, are not in the order of their times
    if sort == "started":
        return [*islice(state.runs, limit)]
    found: list[str] = []
    last = None
    for run in reversed([*state.runs]):
        time = state.runs[run]["time"]
        if len(found) >= limit and time != last:  # of those with one time the first come first
            break
        found.append(run)
        last = time
    return found[::-1]


def _now(session: Session, state: State) -> datetime:
    """Return the time that decides which runs are abandoned: now, or that of the last entry of a view of the past."""
    return datetime.now(UTC) if session.view is None else parse_time(state.header["time"])
