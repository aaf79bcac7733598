"""Explains why two artifacts differ: their runs' parameters, code, packages, environment, metrics and inputs, recursively.

Only unequal parts are opened: content, code and environment are compared by their digests first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import code_of, companions, is_companion
from artifactstore.catalog.runs.info import RunInfo, run_info
from artifactstore.errors import ArtifactStoreError
from artifactstore.work.get.get import stored_value
from artifactstore.work.queries.diff import Diff, diff
from artifactstore.work.queries.explanation import CodeChange, Difference, InputChange, Why
from artifactstore.work.queries.recorded_values import differences, lacking, outside_reads, packages, record
from artifactstore.work.queries.resolve import resolve
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Session

__all__ = ["Difference", "why"]

_DEEPEST: Final = 50  # steps back
_SHOWN: Final = 5  # files of an input that are listed
_COMPARED: Final = (
    "name, command, status and programs of the runs", "metrics", "parameters", "code", "cells", "modules", "packages",
    "environment", "inputs and their roles", "reads outside the store",
)  # fmt: skip


@dataclass(slots=True)
class _Side:
    """The journal's knowledge of one side.

    Attributes:
        label: its reference or run.
        digest: of an artifact; None for a run.
        run: the run that produced it.
        metrics: of the artifact and its run.
        code: its digest, or None.
        about: the record of the code.
        companions: role → digest of content recorded with a run, such as its environment.
        inputs: its other inputs, as facts.
    """

    label: str
    digest: str | None
    run: RunInfo | None
    metrics: dict[str, float] = field(default_factory=dict)
    code: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    companions: dict[str, str] = field(default_factory=dict)
    inputs: list[Mapping[str, Any]] = field(default_factory=list)


@one_state()
def why(session: Session, a: str, b: str) -> Why:
    """Explain the differences; see `Store.why`."""
    starts = [resolve(session, ref) for ref in (a, b)]
    with session.query_state() as state:
        sides = [_side(state, ref, start, is_run=is_run) for ref, (start, is_run) in zip((a, b), starts, strict=True)]
    return _Comparison(session, sides[0], sides[1], set()).result()


def _side(state: State, label: str, start: str, *, is_run: bool) -> _Side:
    made = [start] if is_run else [run for run in state.produced_by.get(start, ()) if run in state.runs]
    side = _Side(label, None if is_run else start, run_info(state, made[-1]) if made else None)
    if side.run is not None:
        side.code, side.about = code_of(state, side.run.id)
        side.metrics |= side.run.metrics
        side.companions = companions(state, side.run.id)
        side.inputs = [edge for edge in state.edges.get(side.run.id, ()) if edge["fact"] == "used" and not is_companion(edge)]
    if side.digest is not None:
        side.metrics |= state.metrics.get(side.digest, {})
    return side


class _Comparison:
    """The comparison of two things and of the runs that made them."""

    def __init__(self, session: Session, a: _Side, b: _Side, seen: set[tuple[str, str]], depth: int = 0) -> None:
        self._session = session
        self._a, self._b = a, b
        self._seen = seen
        self._depth = depth
        self._same: list[str] = []
        self._unknown: list[str] = []

    def result(self) -> Why:
        """Compare them."""
        a, b = self._a, self._b
        same_run = a.run is not None and b.run is not None and a.run.id == b.run.id
        equal = a.digest == b.digest if a.digest is not None or b.digest is not None else same_run
        runs, metrics = (a.run, b.run), tuple(differences(a.metrics, b.metrics))
        if equal and (same_run or self._depth):
            return Why(a.label, b.label, equal=True, runs=runs, metrics=metrics)
        if a.run is None or b.run is None:
            lost = tuple(dict.fromkeys(f"no run produced {side.label}" for side in (a, b) if side.run is None))
            return Why(a.label, b.label, equal, runs, metrics, unknown=lost)
        params = tuple(differences(a.run.params, b.run.params))
        if not params and a.run.params:
            self._same.append("parameters")
        code, cells, modules = self._code(), self._texts("cells"), self._texts("modules")
        found, environment = self._environment()
        alike = a.code == b.code
        run = tuple(differences(record(a.run, a.about, same_code=alike), record(b.run, b.about, same_code=alike)))
        seen, inputs = tuple(differences(outside_reads(a.run), outside_reads(b.run))), tuple(self._inputs())
        same = ("the run that made both",) if same_run else tuple(self._same)
        unknown, missing = tuple(self._unknown), self._lacking()
        return Why(
            a.label, b.label, equal, runs, metrics, params, code, found, environment, seen, inputs, same, unknown,
            run, cells, modules, _COMPARED, missing,
        )  # fmt: skip

    def _lacking(self) -> tuple[str, ...]:
        """Return the parts that either run does not record, in words."""
        a, b = (
            [*lacking(one.run, one.about, code=one.code is not None, environment="environment" in one.companions)]
            for one in (self._a, self._b)
            if one.run is not None
        )
        both = [one for one in a if one in b]
        rest = [f"{one} of {side.label}" for side, found in ((self._a, a), (self._b, b)) for one in found if one not in both]
        return (*both, *rest)

    def _texts(self, role: str) -> CodeChange | None:
        """Compare content recorded with a run in a role: code that is a separate artifact."""
        a, b = self._a, self._b
        old, new = a.companions.get(role), b.companions.get(role)
        if old == new:
            self._same += [role] if old is not None else []
            return None
        if old is None or new is None:
            which = (b if old is None else a).label
            self._unknown.append(f"what differs in the {role}: only {which} has some")
            return None
        return self._changed(old, new, role)

    def _code(self) -> CodeChange | None:
        a, b = self._a, self._b
        if a.code is None or b.code is None:
            self._unknown += [f"the code of {side.label}: none was recorded" for side in (a, b) if side.code is None]
            return None
        if a.code == b.code:
            self._same.append("code")
            return None
        return self._changed(a.code, b.code, "code")

    def _changed(self, old: str, new: str, role: str) -> CodeChange | None:
        a, b = (self._a.about, self._b.about) if role == "code" else ({}, {})
        found = _diff(self._session, old, new)
        if found is None:
            self._unknown.append(f"what differs in the {role}: it is not stored any more")
            return None
        from artifactstore.objects.compare.texts import count  # noqa: PLC0415 - difflib, where code differs

        signs = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
        rows = []
        for one in found:
            lines = count(found.patches[one.path]) if one.path in found.patches else (None, None)
            rows.append((signs[one.change], one.path, *lines))
        return CodeChange(
            a.get("commit"),
            b.get("commit"),
            bool(a.get("dirty")),
            bool(b.get("dirty")),
            tuple(rows),
            "".join(found.patches[path] for path in sorted(found.patches)),
        )

    def _environment(self) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
        a, b = self._a, self._b
        old, new = a.companions.get("environment"), b.companions.get("environment")
        if old is None or new is None:
            lost = [side.label for side in (a, b) if "environment" not in side.companions]
            self._unknown += [f"the environment of {label}: none was recorded" for label in lost]
            return (), ()
        if old == new:
            self._same += ["packages", "environment"]
            return (), ()
        try:
            before, now = (stored_value(self._session, digest) for digest in (old, new))
        except ArtifactStoreError as error:
            self._unknown.append(f"what differs in the environment: {error}")
            return (), ()
        versions = tuple(differences(packages(before), packages(now)))
        environment = tuple(differences(before, now))
        self._same += [word for word, rows in (("packages", versions), ("environment", environment)) if not rows]
        return versions, environment

    def _inputs(self) -> Iterator[InputChange]:
        a, b = self._a.inputs, self._b.inputs
        equal = {edge["digest"] for edge in a} & {edge["digest"] for edge in b}
        moved = {one for one in equal if _roles(a, one) != _roles(b, one)}
        shared = [label_of(edge) for edge in a if edge["digest"] in equal - moved]
        if shared:
            names = ", ".join(shared[:_SHOWN]) + (" …" if len(shared) > _SHOWN else "")
            self._same.append(f"{len(shared)} input{'' if len(shared) == 1 else 's'} ({names})")
        for edge in {one["digest"]: one for one in a if one["digest"] in moved}.values():
            was, now = (f"{label_of(edge)} ({', '.join(_roles(side, edge['digest'])) or 'no role'})" for side in (a, b))
            yield InputChange(str(edge.get("name") or "input"), was, now)
        for old, new in _pairs(
            [one for one in a if one["digest"] not in equal], [one for one in b if one["digest"] not in equal]
        ):
            some = old or new or {}
            role = str(some.get("role") or some.get("name") or "input")
            labels = (None if old is None else label_of(old), None if new is None else label_of(new))
            if old is None or new is None:
                yield InputChange(role, *labels)
                continue
            files, inside = _content(self._session, old["digest"], new["digest"])
            yield InputChange(role, *labels, files, inside, self._deeper(labels, (old["digest"], new["digest"])))

    def _deeper(self, labels: tuple[Any, Any], pair: tuple[str, str]) -> Why | None:
        """Explain why two inputs differ, once for each pair; None if no run made them."""
        if pair in self._seen:
            return None
        self._seen.add(pair)
        with self._session.query_state() as state:
            a, b = (_side(state, str(label), one, is_run=False) for label, one in zip(labels, pair, strict=True))
        if a.run is None and b.run is None:
            return None
        if self._depth >= _DEEPEST:
            return Why(a.label, b.label, equal=False, unknown=(f"why these differ: they are more than {_DEEPEST} steps back",))
        return _Comparison(self._session, a, b, self._seen, self._depth + 1).result()


def _roles(edges: Sequence[Mapping[str, Any]], digest: str) -> list[str]:
    return sorted({str(edge["role"]) for edge in edges if edge["digest"] == digest and edge.get("role")})


def label_of(edge: Mapping[str, Any]) -> str:
    """Return the label that a run recorded for an input."""
    if edge.get("name"):
        return f"{edge['name']}:v{edge['version']}" if edge.get("version") else str(edge["name"])
    return str(edge["digest"])[:15]


def _pairs(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """Match inputs: by role and name, then by name, then by role, in order; the rest is unmatched."""
    olds, news = list(old), list(new)
    for keys in (("role", "name"), ("name",), ("role",)):
        for one in list(olds):
            if all(one.get(key) is None for key in keys):
                continue
            other = next((two for two in news if all(two.get(key) == one.get(key) for key in keys)), None)
            if other is not None:
                olds.remove(one)
                news.remove(other)
                yield one, other
    if len(olds) == len(news) == 1:
        yield olds[0], news[0]
        return
    yield from ((one, None) for one in olds)
    yield from ((None, one) for one in news)


def _diff(session: Session, old: str, new: str) -> Diff | None:
    try:
        return diff(session, old, new)
    except ArtifactStoreError:
        return None  # removed since


def _content(session: Session, old: str, new: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the differences in the files of an input, and inside them, as lines."""
    found = _diff(session, old, new)
    if found is None:
        return ("its content is not stored any more",), ()
    files = repr(found).splitlines()
    if len(files) > _SHOWN + 1:
        files = [*files[:_SHOWN], f"… {len(files) - 1 - _SHOWN} more files", files[-1]]
    try:
        inside = found.inside().splitlines()
    except ArtifactStoreError as error:
        inside = [f"cannot compare inside: {error}"]
    return tuple(files), tuple(inside)
