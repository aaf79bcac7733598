"""Checkpoints of a run: a series of states, of which a restarted job takes the newest, and old ones go.

They are versions of one name, `<run name>/checkpoint`, apart from the run's outputs: produced in the role `checkpoint`, each with
its step in the metadata. Which of them are a run's own is in the journal; a name may be shared by runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.model.reference import check_name
from artifactstore.runtime.remarks import remark

__all__ = ["ROLE", "Keep", "name_of", "newest", "of_run", "prune"]

ROLE: Final = "checkpoint"
_KEYS: Final = ("last", "every", "max", "min", "best")


@dataclass(frozen=True, slots=True)
class Keep:
    """Which checkpoints stay: those that any of these says.

    Attributes:
        last: so many of the newest.
        every: those whose step is divisible by it.
        max: those with the largest values of this metric.
        min: those with the smallest values of this metric.
        best: how many of these.
    """

    last: int = 1
    every: int | None = None
    max: str | None = None
    min: str | None = None
    best: int = 1

    @classmethod
    def of(cls, given: Any) -> "Keep":
        """Return what was passed as `keep=`: a number, or a dict with `last`, `every`, `max`, `min`.

        Raises:
            InvalidInputError: anything else.
        """
        values = {"last": given} if isinstance(given, int) and not isinstance(given, bool) else given
        form = "expected the number of the newest to keep, or a dict such as {'last': 3, 'every': 1000, 'min': 'loss'}"
        if not isinstance(values, Mapping) or not values or not set(values) <= set(_KEYS):
            raise InvalidInputError(f"keep={given!r:.200}: {form}")
        for key, value in values.items():
            kind, what = (int, "a number of at least 1") if key in {"last", "every", "best"} else (str, "the name of a metric")
            if not isinstance(value, kind) or isinstance(value, bool) or not value or (isinstance(value, int) and value < 1):
                raise InvalidInputError(f"keep={given!r:.200}: {key} must be {what}; {form}")
        if "best" in values and not values.keys() & {"min", "max"}:
            raise InvalidInputError(f"keep={given!r:.200}: best= is how many stay by a metric: pass min= or max=, too; {form}")
        return cls(**values)

    def __str__(self) -> str:
        kept = {key: value for key in _KEYS if (value := getattr(self, key)) is not None and (key, value) != ("best", 1)}
        return ", ".join(f"{key} {value}" for key, value in kept.items())

    def goes(self, checkpoints: "Sequence[Checkpoint]") -> list["Checkpoint"]:
        """Return those that go, oldest first; the newest always stays.

        Args:
            checkpoints: of one run, oldest first.
        """
        stay = {one.version for one in checkpoints[-self.last :]}
        if self.every is not None:
            stay.update(one.version for one in checkpoints if one.step is not None and one.step % self.every == 0)
        for metric, sign in ((self.max, -1), (self.min, 1)):
            if metric is not None:
                measured = [(sign * one.metrics[metric], one.version) for one in checkpoints if metric in one.metrics]
                stay.update(version for _, version in sorted(measured)[: self.best])
        return [one for one in checkpoints if one.version not in stay]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One state of a run.

    Attributes:
        ref: `name:v3`.
        version: its number.
        digest: of the artifact.
        step: its step.
        metrics: measured values.
        aliased: whether an alias means it.
    """

    ref: str
    version: int
    digest: str
    step: int | None
    metrics: Mapping[str, float]
    aliased: bool


def name_of(run: str, name: str | None) -> str:
    """Return the name of a run's checkpoints.

    Raises:
        InvalidInputError: the run's name, or the one that was passed, is not a name.
    """
    if name is not None:
        return check_name(name)
    try:
        return check_name(f"{run}/{ROLE}")
    except InvalidInputError as error:
        raise InvalidInputError(f"the run's name {run!r} cannot begin a name: pass name= for its checkpoints") from error


def of_run(state: State, run: str, name: str) -> list[Checkpoint]:
    """Return the checkpoints of a run that are not removed, oldest first."""
    rows = state.names.get(name, ())
    aliased = {moves[-1]["version"] for moves in state.aliases.get(name, {}).values() if moves}
    found = []
    for number, row in enumerate(rows, 1):
        digest = row["digest"]
        if "removed" not in row and run in state.produced_by.get(digest, ()):
            step = row.get("metadata", {}).get("step")
            metrics = state.metrics.get(digest, {})
            found.append(Checkpoint(f"{name}:v{number}", number, digest, step, metrics, number in aliased))
    return found


def newest(state: State, run: str, name: str) -> Checkpoint | None:
    """Return the newest checkpoint of a run, or None."""
    rows = state.names.get(name, ())
    for number in range(len(rows), 0, -1):
        digest = rows[number - 1]["digest"]
        if "removed" not in rows[number - 1] and run in state.produced_by.get(digest, ()):
            return Checkpoint(
                f"{name}:v{number}", number, digest, rows[number - 1].get("metadata", {}).get("step"), {}, aliased=False
            )
    return None


def prune(checkpoints: Iterable[Checkpoint], keep: Keep, remove: Callable[[str, str], object], kept: set[str]) -> None:
    """Remove what does not stay; what cannot be removed stays, with a warning. Training goes on in any case.

    Args:
        checkpoints: of one run, oldest first.
        keep: which stay.
        remove: removes one; raises if a hold or a rule forbids it.
        kept: references that could not be removed; they are not tried again.
    """
    for one in keep.goes([*checkpoints]):
        if one.aliased or one.ref in kept:
            continue
        try:
            remove(one.ref, f"checkpoint of step {one.step}; kept are: {keep}")
        except ArtifactStoreError as error:
            kept.add(one.ref)
            remark(f"the checkpoint {one.ref} stays: {error}")
