"""The checkpoints of a run, as a trainer's callback needs them: the newest, the best, and how to go on from them."""

import math
from collections.abc import Mapping
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.get.artifact import artifact as find_artifact
from artifactstore.work.runs.checkpoints import Checkpoint, name_of, newest, of_run
from artifactstore.work.runs.run import Run
from artifactstore.work.session.session import Session

__all__ = ["BEST", "Series"]

BEST = "best"


class Series:
    """The checkpoints of one run under one name.

    Args:
        run: a started run.
        name: of the series; by default `<run name>/checkpoint`.
        monitor: the metric by which one is the best, or None.
        mode: `min` or `max`.
    """

    def __init__(self, run: Run, name: str | None = None, *, monitor: str | None = None, mode: str = "min") -> None:
        if not isinstance(run, Run):
            raise InvalidInputError(
                f"expected a run, as `with store.run('train', id=…) as run:` makes it, got {type(run).__name__}"
            )
        if mode not in {"min", "max"}:
            raise InvalidInputError(f"mode={mode!r}: expected 'min' or 'max'")
        self.run = run
        self.name = name_of(run.name, name)
        self.monitor = monitor
        self.mode = mode
        self._session: Session = run._session  # noqa: SLF001 - this is a view of the run

    def all(self) -> list[Checkpoint]:
        """Return those that are not removed, oldest first."""
        with self._session.state() as state:
            return of_run(state, self.run.id, self.name)

    def newest(self) -> Checkpoint | None:
        """Return the newest one, or None."""
        with self._session.state() as state:
            return newest(state, self.run.id, self.name)

    def best(self) -> str | None:
        """Return a reference to the best one, or None."""
        found = self._ranked()
        return found[0].ref if found else None

    def _ranked(self) -> list[Checkpoint]:
        monitor, sign = self.monitor, 1 if self.mode == "min" else -1
        if monitor is None:
            return []
        return sorted((one for one in self.all() if monitor in one.metrics), key=lambda one: sign * one.metrics[monitor])

    def is_best(self, metrics: Mapping[str, float]) -> bool:
        """Return whether a state with these metrics is better than all before."""
        value = None if self.monitor is None else metrics.get(self.monitor)
        if value is None or not math.isfinite(value):
            return False
        found = self._ranked()
        if not found:
            return True
        before = found[0].metrics[str(self.monitor)]
        return value < before if self.mode == "min" else value > before

    def add(self, state: Any, step: int, metrics: Mapping[str, float], *, best: bool, **options: Any) -> Artifact:
        """Store the next one; the best gets the alias `best` in the same transaction."""
        aliases = [*options.pop("aliases", ()), *([BEST] if best else ())]
        return self.run.checkpoint(state, step=step, name=self.name, metrics=metrics, aliases=aliases, **options)

    def artifact(self, ref: str) -> Artifact:
        """Return the record of one of them."""
        return find_artifact(self._session, ref)

    def read(self, ref: str, **options: Any) -> Any:
        """Read an artifact of the store; what the run has made itself is no input of it."""
        found = self._session.resolve(ref)
        with self._session.state(fresh=False) as state:
            own = self.run.id in state.produced_by.get(found.digest, ())
        if own:
            self.run._running().own(found.digest)  # noqa: SLF001 - as Run.resume does
        return self.run.get(ref, **options)
