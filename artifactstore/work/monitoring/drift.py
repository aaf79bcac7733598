"""Drift: compares a table with the one that is expected, judges it by rules, and records the report for gates."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError, RefusedError
from artifactstore.model.reference import as_reference
from artifactstore.objects.drift.comparison import compare_tables
from artifactstore.objects.drift.tables import Input, input_of
from artifactstore.runtime.records import dataclass
from artifactstore.work.get.artifact import artifact
from artifactstore.work.get.get import open_table
from artifactstore.work.monitoring.report import Drift
from artifactstore.work.monitoring.rules import judged, parse_rules
from artifactstore.work.runs.run import Run
from artifactstore.work.session.session import Session

__all__ = ["ROLE", "drift", "pinned"]

ROLE: Final = "drift"  # of the report in its run: `{ report = "drift", … }` of a gate


@dataclass(frozen=True, slots=True)
class _Side:
    """One side: the table, and its record in the report."""

    table: Input
    record: Mapping[str, Any]


def drift(
    session: Session,
    reference: Any,
    current: Any,
    rules: Any = None,
    *,
    name: str | None = None,
    columns: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    model: Any = None,
    reason: str | None = None,
    exact: bool = True,
    record: bool | None = None,
    about: Mapping[str, Any] | None = None,
) -> Drift:
    """Compare two tables; see `Registry.drift`. `about` is what the report says of the current side."""
    recorded = session.may_write if record is None and model is None and name is None else record is not False
    if recorded:
        session.check_writable()
    elif model is not None or name is not None:
        raise RefusedError("record=False records nothing: leave out model= and name=, or record the report")
    used = None if model is None else pinned(session, as_reference(model))
    old, new = (_side(session, one, what, exact=exact) for one, what in ((reference, "reference"), (current, "current")))
    new = new if about is None else _Side(new.table, {**new.record, **about})
    pairs = _labels(labels)
    asked = parse_rules(rules, {*old.table.types})
    found = compare_tables(old.table, new.table, columns=columns, labels=pairs)
    results = judged(asked, found)
    report: dict[str, Any] = {
        "format": 1,
        "ok": all(one.ok for one in results),
        "breaches": sum(not one.ok for one in results),
        "rules": [{"field": one.field, "is": one.limit, "value": one.value, "ok": one.ok} for one in results],
        "reference": dict(old.record),
        "current": dict(new.record),
        **({} if used is None else {"model": used}),
        **found,
    }
    made = None
    if recorded:
        target = name if name is not None or used is None or "name" not in used else f"{used['name']}/drift"
        given = {"rules": asked, "columns": list(columns) if columns else None, "labels": pairs or None}
        made = _record(session, report, target, params={key: one for key, one in given.items() if one}, model=used, reason=reason)
    return Drift(bool(report["ok"]), results, made, report)


def _labels(labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not all(isinstance(word, str) for pair in labels.items() for word in pair):
        raise InvalidInputError(
            f"labels={labels!r:.200}: expected a dict of the column with the truth to the column with the prediction"
        )
    return dict(labels)


def pinned(session: Session, ref: str) -> dict[str, Any]:
    """Return an artifact as a report names it: an alias may move, a version does not."""
    found = session.resolve(ref)
    if found.path is not None:
        return {"ref": ref, "digest": found.digest}
    if found.name is None or found.version is None:
        return {"ref": found.digest, "digest": found.digest}
    return {"ref": f"{found.name}:v{found.version}", "digest": found.digest, "name": found.name, "version": found.version}


def _side(session: Session, given: Any, what: str, *, exact: bool) -> _Side:
    if isinstance(given, os.PathLike):
        return _Side(input_of(_local(Path(given)), what), {"file": Path(given).name})
    if not isinstance(given, str) and not isinstance(getattr(given, "ref", None), str):
        return _Side(input_of(given, what), {})
    ref = as_reference(given)
    about = pinned(session, ref)
    profile = None if exact else artifact(session, ref).profile
    return _Side(input_of(open_table(session, ref) if profile is None else profile, what), about)


def _local(path: Path) -> Any:
    import pyarrow.dataset as ds  # noqa: PLC0415 - few sides are files of this machine

    from artifactstore.objects.tables.datasets import SUFFIXES  # noqa: PLC0415 - as above

    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise InvalidInputError(f"{path} is not a file of a table ({', '.join(SUFFIXES)})")
    return ds.dataset(str(path), format=kind)


def _record(
    session: Session, report: dict[str, Any], name: str | None, *, params: dict[str, Any], model: Any, reason: Any
) -> Any:
    """Store a report as the output of a run that used both sides and the model."""
    run = Run(session, ROLE, params=params, code=False).start(current=False, capture=False)
    try:
        for role, one in (("reference", report["reference"]), ("current", report["current"]), ("model", model)):
            for ref in [] if one is None else one.get("refs", [one["ref"]] if "ref" in one else []):
                run.use(ref, role=role)
        made = run.put(report, name, role=ROLE, kind="report", reason=reason)
    except BaseException as error:
        run.finish(error=f"{type(error).__name__}: {error}")
        raise
    run.finish()
    return made
