"""Comparison of a reproduction with its record: which artifacts are equal, which have equal metrics, and the first difference."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from artifactstore.catalog.runs.info import RunInfo
from artifactstore.display.displayed import Displayed
from artifactstore.display.outline import Block, Change, Changes, Line, Lines, Section
from artifactstore.display.values import format_pair

__all__ = ["Made", "Output", "Reproduction", "compare"]

_RANKS: Final = ("bit-equal", "within tolerance", "different", "failed")  # verdicts, the best first
_TAIL: Final = 1500  # characters of a failed program's output


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a run, recorded and reproduced.

    Attributes:
        name: of its put, or None.
        role: its role in the run, or None.
        recorded: the recorded digest.
        made: the reproduced digest; None if it was not made.
        verdict: bit-equal, within tolerance or different.
        metrics: metric → (recorded, now), for metrics that both have.
    """

    name: str | None
    role: str | None
    recorded: str
    made: str | None
    verdict: str
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name, role or digest."""
        return self.name or self.role or self.recorded[:15]


@dataclass(frozen=True, slots=True)
class Reproduction(Displayed):
    """Result of a reproduction; displayed as text and HTML.

    Attributes:
        run: the recorded run.
        verdict: `bit-equal`, `within tolerance` (bytes differ, metrics agree), `different`, or `failed` (the program failed).
        outputs: the outputs of the run, in order.
        diverged: the first output that is not bit-equal, or None.
        notes: differences from the recorded conditions.
        command: the command that was run.
        folder: contains code, environment, log and scratch store.
        returned: the program's exit code.
        log: the output of the program.
    """

    run: RunInfo
    verdict: str
    outputs: tuple[Output, ...]
    diverged: Output | None
    notes: tuple[str, ...]
    command: tuple[str, ...]
    folder: Path
    returned: int
    log: Path

    @classmethod
    def of(cls, outputs: tuple[Output, ...], run: RunInfo, returned: int, **about: Any) -> Self:
        """Return the result with the verdict that follows from its outputs and the program's exit code."""
        diverged = next((one for one in outputs if one.verdict != _RANKS[0]), None)
        verdict = _RANKS[3] if returned else max((one.verdict for one in outputs), key=_RANKS.index, default=_RANKS[0])
        return cls(run=run, verdict=verdict, outputs=outputs, diverged=diverged, returned=returned, **about)

    @property
    def ok(self) -> bool:
        """Whether it was reproduced, bit for bit or within the tolerance."""
        return self.verdict in _RANKS[:2]

    def _outline(self) -> list[Block]:
        body: list[Block] = [_shown(one) for one in self.outputs]
        if self.diverged is not None:
            body.append(Line(f"first difference: {self.diverged.label}"))
            body += (
                [Section("to compare it with the record:", [Lines(self._comparing(self.diverged))])] if self.diverged.made else []
            )
        if self.verdict == "failed":
            ending = self.log.read_text("utf-8", "replace")[-_TAIL:].splitlines()[-15:]
            body.append(Section(f"the program returned {self.returned}; the end of its output:", [Lines(ending)]))
        body += [Line(f"note: {note}") for note in self.notes]
        body.append(Line(f"in {self.folder}"))
        return [Section(f"run {self.run.name} {self.run.id[:12]}: {self.verdict}", body)]

    def _comparing(self, one: Output) -> list[str]:
        """Return commands: the scratch store is opened by the fork's file, and has no record of what was made before."""
        made = shlex.quote(str(self.folder / "made"))
        fork = shlex.quote(str(self.folder / "fork.json"))
        return [f"ARTIFACTSTORE_FORK={fork} artifactstore get {one.made} {made}", f"artifactstore diff {one.recorded} {made}"]


def _shown(one: Output) -> Section:
    changed = [Change("", metric, *format_pair(*both)) for metric, both in sorted(one.metrics.items()) if len({*both}) > 1]
    return Section(f"{one.label}: {one.verdict}" + ("" if one.made else " (not made)"), [Changes(changed)])


Made = tuple[Mapping[str, Any], Mapping[str, float]]  # an output, as a fact, and its metrics


def compare(old: Sequence[Made], new: Sequence[Made], tolerance: float) -> tuple[Output, ...]:
    """Compare recorded outputs with reproduced ones, matched by name and role.

    Args:
        old: the recorded outputs, in order.
        new: the reproduced outputs.
        tolerance: allowed difference of metrics, relative to the larger.
    """
    left = list(new)
    outputs: list[Output] = []
    for edge, metrics in old:
        found = _matching(edge, left)
        if found is not None:
            left.remove(found)
        outputs.append(_compared(edge, metrics, found, tolerance))
    return tuple(outputs)


def _matching(edge: Mapping[str, Any], new: Sequence[Made]) -> Made | None:
    for keys in (("name", "role"), ("name",), ("role",)):
        if all(edge.get(key) is None for key in keys):
            continue
        for one in new:
            if all(one[0].get(key) == edge.get(key) for key in keys):
                return one
    return next((one for one in new if one[0]["digest"] == edge["digest"]), new[0] if len(new) == 1 else None)


def _compared(edge: Mapping[str, Any], metrics: Mapping[str, float], found: Made | None, tolerance: float) -> Output:
    name, role, digest = edge.get("name"), edge.get("role"), edge["digest"]
    if found is None:
        return Output(name, role, digest, None, _RANKS[2])
    both = {metric: (value, found[1][metric]) for metric, value in metrics.items() if metric in found[1]}
    if found[0]["digest"] == digest:
        return Output(name, role, digest, digest, _RANKS[0], both)
    agrees = bool(both) and all(abs(old - new) <= tolerance * max(abs(old), abs(new)) for old, new in both.values())
    return Output(name, role, digest, found[0]["digest"], _RANKS[1] if agrees else _RANKS[2], both)
