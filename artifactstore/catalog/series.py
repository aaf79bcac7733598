"""The series of metrics that runs logged, read from the journal."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from artifactstore.model.encoding import parse_time
from artifactstore.model.fields import sane
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["Point", "Read", "series"]


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric's series.

    Attributes:
        step: the step that was passed, or None.
        value: the value; NaN and infinities as such.
        time: when it was committed, which is with the next output or at the end of the run; of an imported run, when it was logged.
    """

    step: int | None
    value: float
    time: datetime


Read = Callable[[Collection[str]], Mapping[str, Mapping[str, Sequence[Point]]]]  # ids of runs → what each logged, by metric


def series(entries: "Iterable[Entry]", runs: Collection[str]) -> dict[str, dict[str, list[Point]]]:
    """Return what runs logged: run → metric → its values in their order.

    Args:
        entries: from that in which the first of them started.
        runs: their ids.
    """
    found: dict[str, dict[str, list[Point]]] = {run: {} for run in runs}
    running = set(runs)
    for entry in entries:
        for txn in entry["txns"]:
            for raw, time in _facts(txn):
                run = raw.get("run")
                if not isinstance(run, str) or run not in running:
                    continue
                fact = sane(raw)
                if fact["fact"] == "finished":
                    running.remove(run)
                    if not running:
                        return found
                elif fact["fact"] == "measured":
                    at = parse_time(fact.get("at", time))
                    for metric, value in {**fact.get("not_finite", {}), **fact["metrics"]}.items():
                        found[run].setdefault(metric, []).append(Point(fact.get("step"), float(value), at))
    return found


def _facts(txn: Any) -> Iterator[tuple[Any, str]]:
    """Yield the facts of a transaction with their times: those that were received from another store have their own."""
    for fact in txn["facts"]:
        if fact["fact"] == "received":
            yield from ((inner, fact["time"]) for inner in fact["facts"])
        else:
            yield fact, txn["time"]
