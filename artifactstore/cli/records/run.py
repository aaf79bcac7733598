"""How a run is shown: its record, with the course of its metrics; and runs side by side."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from artifactstore.catalog.runs.parent import PARENT, ROOT
from artifactstore.cli import printing
from artifactstore.display.values import BARS, counted, format_value, moment, sparkline

__all__ = ["compared", "show_run"]


def show_run(store: Any, run: Any, *, as_json: bool) -> None:
    """Print the record of a run."""
    from artifactstore.work.get.provenance import provenance_of_run  # noqa: PLC0415 - `--help` must not load it

    origin = provenance_of_run(store._session, run.id)  # noqa: SLF001 - as for an artifact
    if as_json:
        inputs = [printing.record(one) for one in origin.inputs]
        outputs, checkpoints = ([printing.record(one) for one in some] for some in _divided(origin.outputs))
        environment = {"digest": origin.environment, "text": origin.environment_text}
        made = {"outputs": outputs, "checkpoints": checkpoints}
        printing.as_json({**printing.record(run), "inputs": inputs, **made, "environment": environment})
        return
    from artifactstore.display.artifact_card import record_outline  # noqa: PLC0415 - as above
    from artifactstore.work.views.runs import histories  # noqa: PLC0415 - as above

    results, states = _divided(origin.outputs)
    lines, series = origin.lines(), histories(store._session, [run.id])[run.id]  # noqa: SLF001 - as above
    facts = {
        "run": f"{run.id} {run.name}",
        "status": run.status + (f": {run.error}" if run.error else ""),
        "started": f"{moment(run.started)} UTC by {run.actor}",
        "took": None if run.seconds is None else f"{run.seconds:.1f} s",
        "parent": run.parent,
        "scheduler": _scheduler(run),
        "command": " ".join(run.command),
        "job": _job(run),
        "params": tuple(f"{key} = {format_value(value)}" for key, value in run.params.items()),
        "metrics": tuple(
            _course(name, run.metrics.get(name), series.get(name, ())) for name in {**run.metrics, **run.not_finite}
        ),
        "code": lines["code"],
        "env": lines["env"],
        "inputs": lines["inputs"],
        "outputs": tuple(one.ref for one in results),
        "checkpoints": f"{len(states)}, the newest is {states[-1].ref}" if states else None,
        "around": f"may have read {counted(len(run.around) + run.around_more, 'files')} outside the store"
        if run.around
        else None,
    }
    printing.outline(record_outline(facts, None, {}))


def _scheduler(run: Any) -> tuple[str, ...]:
    """Return the run of another system that a run was started by, and the one that this began with."""
    above = run.scheduled_by
    if above is None:
        return ()
    return (str(above), *((f"under {above.root}",) if above.root is not None else ()))


def _job(run: Any) -> str | None:
    if not run.jobs:
        return None
    words = " ".join(f"{key}={value}" for key, value in run.job.items() if key not in {PARENT, ROOT})
    return None if not words else words if len(run.jobs) == 1 else f"{words} (the last of {len(run.jobs)})"


def _divided(outputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return what a run was for, and the checkpoints on the way."""
    from artifactstore.work.runs.checkpoints import ROLE  # noqa: PLC0415 - as above

    return [one for one in outputs if one.role != ROLE], [one for one in outputs if one.role == ROLE]


def _course(name: str, last: float | None, points: Sequence[Any]) -> str:
    """Return a metric with its last value, and its course where the terminal has the characters."""
    text = f"{name} = {'not finite' if last is None else f'{last:g}'}"
    if len(points) < 2 or not _is_printable(BARS):
        return text
    return f"{text}  {sparkline([one.value for one in points])}  {counted(len(points), 'values')}"


def _is_printable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def compared(runs: Iterable[Any]) -> list[tuple[str, list[str]]]:
    """Return the fields in which runs differ, with the value of each run."""
    from artifactstore.catalog.runs.table import RunTable  # noqa: PLC0415 - `--help` must not load it

    table = RunTable(list(runs))
    found = []
    for path in ("name", "status", "seconds", "actor", "code.commit", "code.branch", "code.dirty", *table.paths()):
        values = table.values(path)
        if any(one != values[0] for one in values[1:]):
            found.append((path, ["" if one is None else format_value(one) for one in values]))
    return found
