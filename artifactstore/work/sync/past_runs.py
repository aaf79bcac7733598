"""Runs of another system, and the facts that record them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, format_time
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Referable
from artifactstore.work.runs.json_safe import numbers, parameters
from artifactstore.work.secrets import captured

__all__ = ["PastRun"]

_LONGEST = 100  # characters of a run's id
_ERROR = 2000  # characters of the error of a failed run


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run of another system.

    Attributes:
        id: `<system>-<its id>`.
        name: the kind of work.
        time: when it started.
        ended: when it ended; None while it is running.
        status: `finished` or `failed`, once it has ended.
        params: its parameters.
        actor: who started it; None if that is not known.
        error: of a failed run.
        inputs: references or digests in this store, each with its role.
        outputs: likewise.
        history: (metric, step, value, time) of what it logged, in order; step and time may be None.
        parent: id of the run that it is a part of.
        code: reference or digest of its code, and what is known of that: commit, author …
    """

    id: str
    name: str
    time: datetime
    ended: datetime | None = None
    status: str | None = "finished"
    params: Mapping[str, Any] | None = None
    actor: str | None = None
    error: str | None = None
    inputs: Sequence[tuple[str | Referable, str | None]] = ()
    outputs: Sequence[tuple[str | Referable, str | None]] = ()
    history: Sequence[tuple[str, int | None, float, datetime | None]] = ()
    parent: str | None = None
    code: tuple[str | Referable, Mapping[str, Any]] | None = None

    def check(self) -> None:
        """Refuse what no reader would take.

        Raises:
            InvalidInputError: the id, the status or a time is invalid.
        """
        if not 0 < len(self.id) <= _LONGEST or not self.id.isprintable():
            raise InvalidInputError(f"a run's id must have 1 to {_LONGEST} printable characters, got {self.id!r}")
        if self.ended is not None and self.status not in {"finished", "failed"}:
            raise InvalidInputError(f"status={self.status!r} of {self.id}: expected finished or failed")
        times = (self.time, self.ended, *(one[3] for one in self.history))
        if odd := [one for one in times if one is not None and one.tzinfo is None]:
            raise InvalidInputError(f"{odd[0]!r} of {self.id}: expected a datetime with a time zone")

    def is_news(self, state: State) -> bool:
        """Return whether it is not here, or was brought before it ended and has ended now."""
        row = state.runs.get(self.id)
        return row is None or (self.ended is not None and "status" not in row and not is_own(row))

    def start(self) -> Fact:
        """Return the fact of its start."""
        fact: Fact = {"fact": "started", "run": self.id, "name": captured(self.name[:200], "name") or self.id, "claimed": True}
        fact |= {"params": params} if (params := parameters(self.params)) else {}
        return fact | ({"parent": self.parent} if self.parent is not None else {})

    def end(self) -> list[Fact]:
        """Return the fact of its end; none while it is running."""
        if self.ended is None:
            return []
        seconds = max(0.0, round((self.ended - self.time).total_seconds(), 3))
        fact: Fact = {"fact": "finished", "run": self.id, "status": self.status, "seconds": seconds}
        return [fact | ({"error": captured(self.error[:_ERROR], "error")} if self.error and self.status == "failed" else {})]

    def measures(self) -> Iterable[Fact]:
        """Yield what it logged: one fact for the values of one step and time."""
        at: tuple[int | None, datetime | None] = (None, None)
        values: dict[str, float] = {}
        for metric, step, value, time in self.history:
            if values and ((step, time) != at or metric in values):
                yield from self._measured(values, *at)
                values = {}
            at = (step, time)
            values[metric] = value
        if values:
            yield from self._measured(values, *at)

    def _measured(self, values: Mapping[str, float], step: int | None, time: datetime | None) -> Iterable[Fact]:
        finite, odd, _ = numbers(values)
        if finite or odd:
            fact: Fact = {"fact": "measured", "run": self.id, "metrics": finite}
            fact |= {} if step is None else {"step": step}
            fact |= {} if time is None else {"at": format_time(time)}
            yield fact | ({"not_finite": odd} if odd else {})

    def size(self) -> int:
        """Return about how many bytes its facts take."""
        edges = len(self.inputs) + len(self.outputs)
        return 200 * (2 + edges + len(self.history)) + len(canonical_json(parameters(self.params)))
