"""The record of a run, as a function of the fold."""

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.ancestry import code_of
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.runs.parent import ParentRun, parent_of_job
from artifactstore.errors import NotFoundError, UnsupportedError
from artifactstore.model.encoding import parse_time
from artifactstore.runtime.records import dataclass

__all__ = ["STALE", "RunInfo", "jobs_of", "output_metrics", "record_of", "run_info", "status_of"]

STALE: Final = timedelta(days=1)  # time without a sign of life after which an unfinished run counts as abandoned


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as recorded in the journal.

    Attributes:
        id: id of the run.
        name: its name.
        status: running, finished, failed, or abandoned: unfinished, and no sign of life for a day.
        started: start time.
        finished: end time, or None.
        seconds: duration, as measured by the run itself.
        actor: the actor that started it.
        params: its parameters.
        parent: the enclosing run, or None.
        error: the error of a failed run.
        command: the command line of its program.
        metrics: the latest measured value of each of its own metrics.
        code: the recorded state of its code: commit, tree, branch, dirty …; empty if none.
        reads_seen: `partial` if its process tracked files that it opened outside the store, `strict` if the program that
            it started, and those of Python that this started, were watched.
        around: files that it may have read outside the store, each {path, size, digest?, stored?} (`stored`: with its code).
        around_more: number of further such files.
        programs: the programs it started, by their arguments.
        not_finite: its own metrics that were NaN or infinite, with counts; `metrics` has the latest finite values.
        jobs: the variables of schedulers, for each job that worked for it: one a rank, and one for each restart.
        output_metrics: the latest measured value of each metric of the artifacts that it produced.
    """

    id: str
    name: str
    status: str
    started: datetime
    finished: datetime | None = None
    seconds: float | None = None
    actor: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    error: str | None = None
    command: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    reads_seen: str | None = None
    around: tuple[dict[str, Any], ...] = ()
    around_more: int = 0
    programs: tuple[list[str], ...] = ()
    not_finite: dict[str, int] = field(default_factory=dict)
    output_metrics: dict[str, float] = field(default_factory=dict)
    jobs: tuple[dict[str, str], ...] = ()
    _series: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)

    def history(self, metric: str) -> Any:
        """Return the series of one of its own metrics, as logged: rows of (step, value, time).

        Raises:
            NotFoundError: it logged no such metric; the message has those that it logged.
        """
        if metric not in self.metrics and metric not in self.not_finite:
            known = ", ".join(sorted({*self.metrics, *self.not_finite})) or "none"
            raise NotFoundError(f"the run {self.id[:12]} logged no metric {metric!r}; it logged: {known}")
        if self._series is None:
            raise UnsupportedError("this record is not of an open store: take it from store.runs()")
        return self._series(metric)

    @property
    def job(self) -> dict[str, str]:
        """The variables of the scheduler, such as `SLURM_JOB_ID`, of the job that worked for it last; empty outside of one."""
        return self.jobs[-1] if self.jobs else {}

    @property
    def scheduled_by(self) -> ParentRun | None:
        """The run of another system that it was started by, as OpenLineage's integrations pass it on; of the job that worked for it last."""
        return parent_of_job(self.job)

    @property
    def ref(self) -> str:
        """Its id, a reference for `store.lineage` and `store.why`."""
        return self.id


def run_info(state: State, run: str, now: datetime | None = None, series: Callable[[str], Any] | None = None) -> RunInfo:
    """Return the record of a started run; `now` decides whether it still counts as running, `series` reads a metric's history."""
    own = state.metrics.get(f"run:{run}", {})
    return record_of(
        state,
        run,
        row=state.runs[run],
        metrics=own,
        outputs=output_metrics(state.edges, state.metrics, run),
        now=now,
        series=series,
    )


def record_of(
    state: State,
    run: str,
    *,
    row: Mapping[str, Any],
    metrics: dict[str, float],
    outputs: dict[str, float],
    now: datetime | None,
    series: Callable[[str], Any] | None,
) -> RunInfo:
    """Return the record of a run whose row, metrics and metrics of outputs were read before; see `run_info`."""
    return RunInfo(
        id=run,
        name=row["name"],
        status=status_of(row, now),
        started=parse_time(row["time"]),
        finished=parse_time(row["finished"]) if "finished" in row else None,
        seconds=row.get("seconds"),
        actor=row["actor"],
        params=row.get("params", {}),
        parent=row.get("parent"),
        error=row.get("error"),
        command=tuple(row.get("command", ())),
        metrics=metrics,
        code=code_of(state, run)[1],
        reads_seen=row.get("reads_seen"),
        around=tuple(row.get("around", ())),
        around_more=row.get("around_more", 0),
        programs=tuple(row.get("programs", ())),
        not_finite=row.get("not_finite", {}),
        output_metrics=outputs,
        jobs=jobs_of(row),
        _series=series,
    )


def jobs_of(row: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """Return the variables of schedulers for each job that worked for a run, by its row."""
    return (*([row["job"]] if "job" in row else ()), *row.get("jobs", ()))


def status_of(row: Mapping[str, Any], now: datetime | None) -> str:
    """Return the status of a run by its row; `now` decides whether it still counts as running."""
    if "status" in row:
        return str(row["status"])
    return "running" if now is None or now - parse_time(row.get("seen", row["time"])) <= STALE else "abandoned"


def output_metrics(edges: Mapping[str, Any], metrics: Mapping[str, Any], run: str) -> dict[str, float]:
    """Return the latest value of each metric of what a run produced; the last output that has it counts."""
    found: dict[str, float] = {}
    for edge in edges.get(run, ()):
        if edge["fact"] == "produced":
            found |= metrics.get(edge["digest"], {})
    return found
