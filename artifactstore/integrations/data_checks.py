"""Reports of data checks as evidence: Great Expectations, pandera, frictionless and Evidently, by the JSON that they write.

No library of theirs is loaded. A report is stored as it is, with a summary whose fields gates can ask for.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.fields import finite
from artifactstore.model.reference import Referable, as_reference
from artifactstore.store import Store
from artifactstore.work.get.artifact import Artifact

__all__ = ["attach", "summary"]

_METHODS: Final = ("to_json_dict", "to_dict", "dict", "as_dict")  # in this order: what an object of a tool has


def attach(
    store: Store,
    report: Any,
    model: str | Referable,
    *,
    data: str | Referable | None = None,
    tool: str | None = None,
    role: str | None = None,
    name: str | None = None,
    reason: str | None = None,
) -> Artifact:
    """Store a report as evidence about a model: a gate asks for it by `{ report = "pandera", field = "failed", is = "== 0" }`.

    Args:
        store: the store.
        report: the tool's own object (a validation result, `SchemaErrors`, a report, a snapshot), its JSON as a dict or text, or
            the `Path` of a JSON file. Of pandera, which has no report of success: `{}`, with `tool="pandera"`.
        model: what the report is about.
        data: the data that was checked.
        tool: great_expectations, pandera, frictionless or evidently; by default recognised.
        role: by which gates ask for it; by default the name of the tool.
        name: of the report; by default `<name of the model>/<role>`, and of an unnamed model its digest alone.
        reason: why, for the audit trail.

    Returns:
        The stored report: {tool, checks, failed, failed_share, columns, …, report}.

    Raises:
        InvalidInputError: the report is of no known tool.
        NotFoundError: no such model or data.
        RefusedError: the store is read-only.
    """
    found = summary(report, tool=tool)
    word = role or str(found["tool"])
    subject = store.artifact(model)
    target = name or (None if subject.name is None else f"{subject.name}/{word}")
    with store.run(word, code=False) as run:
        run.use(subject.ref, role="model")
        if data is not None:
            run.use(as_reference(data), role="data")
        return run.put(found, target, role=word, kind="report", reason=reason)


def summary(report: Any, *, tool: str | None = None) -> dict[str, Any]:
    """Return a report with what gates can ask of it, as JSON values.

    Raises:
        InvalidInputError: it is of no known tool, or lacks what reports of that tool have.
    """
    raw = finite(_as_json(report))
    if tool is not None and tool not in _TOOLS:
        raise InvalidInputError(f"tool={tool!r}: expected one of {', '.join(_TOOLS)}")
    known = tool or next((name for name, (is_its, _) in _TOOLS.items() if is_its(raw)), None)
    if known is None:
        raise InvalidInputError(
            f"this is no report of {', '.join(_TOOLS)}: it has {', '.join(map(repr, list(raw)[:8])) or 'nothing'}"
        )
    try:
        counts = _TOOLS[known][1](raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"the report of {known} is not as that tool writes it: {type(error).__name__}: {error}"
        ) from error
    checks, failed = counts["checks"], counts["failed"]
    share = None if not checks else round(failed / checks, 12)
    return {"tool": known, "failed_share": share, **counts, "report": raw}


def _as_json(report: Any) -> dict[str, Any]:
    if isinstance(report, os.PathLike):
        try:
            report = Path(report).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"cannot read {report}: {error}") from error
    if isinstance(report, BaseException):
        report = getattr(report, "message", None)  # pandera's SchemaErrors
    if isinstance(report, str | bytes):
        try:
            report = json.loads(report)
        except ValueError as error:
            raise InvalidInputError(f"the report is not JSON: {error}") from error
    method = next((one for one in _METHODS if callable(getattr(report, one, None))), None)
    if not isinstance(report, Mapping) and method is not None:
        report = getattr(report, method)()
    if not isinstance(report, Mapping):
        raise InvalidInputError(
            f"a report must be a dict, its JSON, a Path, or the tool's own object, got {type(report).__name__}"
        )
    found: dict[str, Any] = json.loads(json.dumps(dict(report), default=str))
    return found


# -- what each tool writes


def _counted(names: Iterable[Any]) -> dict[str, int]:
    return dict(sorted(Counter(str(name) for name in names if name is not None).items()))


def _of_expectations(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Great Expectations 0.18 and 1: {success, statistics, results: [{success, expectation_config: {type, kwargs}}]}."""
    statistics = raw["statistics"]
    wrong = [one["expectation_config"] for one in raw["results"] if not one["success"]]
    columns = _counted(one.get("kwargs", {}).get("column") for one in wrong)
    return {
        "checks": int(statistics["evaluated_expectations"]),
        "failed": int(statistics["unsuccessful_expectations"]),
        "columns": columns,
        "critical": sum(one.get("severity", "critical") == "critical" for one in wrong),
    }


def _of_pandera(raw: Mapping[str, Any]) -> dict[str, Any]:
    """pandera: {SCHEMA | DATA: {reason: [{column, check, error}]}}, the failed checks alone."""
    wrong = [one for part in raw.values() for errors in part.values() for one in errors]
    return {"checks": None, "failed": len(wrong), "columns": _counted(one.get("column") for one in wrong)}


def _of_frictionless(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Frictionless 5: {valid, stats: {tasks, errors, warnings}, tasks: [{errors: [{type, fieldName}]}]}."""
    wrong = [one for task in raw["tasks"] for one in task["errors"]] + list(raw.get("errors", ()))
    rows = sum(int(task.get("stats", {}).get("rows", 0)) for task in raw["tasks"])
    return {
        "checks": None,
        "failed": int(raw["stats"]["errors"]),
        "warnings": int(raw["stats"].get("warnings", 0)),
        "rows": rows,
        "columns": _counted(one.get("fieldName") for one in wrong),
    }


def _of_evidently(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Evidently 0.7: {metrics: [{metric_id, value}], tests: [{status}]}; before: {metrics: [{metric, result}]}, test suites {tests}."""
    tests = raw.get("tests") or []
    wrong = [one for one in tests if str(one["status"]).upper() in {"FAIL", "ERROR"}]
    values: dict[str, Any] = {}
    drifted: list[str] = []
    compared = 0
    for one in raw.get("metrics", ()):
        result = one.get("result")
        if isinstance(result, Mapping):
            key = str(one["metric"]) + (f"({result['column_name']})" if "column_name" in result else "")
            values[key] = {name: value for name, value in result.items() if isinstance(value, int | float)}
            if "drift_detected" in result:
                compared += 1
                drifted += [str(result.get("column_name"))] if result["drift_detected"] else []
        else:
            values[str(one.get("metric_name") or one.get("metric_id") or one.get("id"))] = one.get("value")
    whole = next((value for key, value in values.items() if key.startswith(("DriftedColumnsCount", "DatasetDriftMetric"))), None)
    found: dict[str, Any] = {
        "checks": len(tests) or compared or None,
        "failed": len(wrong) if tests else len(drifted),
        "columns": _counted(drifted),
        "metrics": values,
    }
    if isinstance(whole, Mapping):
        count = whole.get("count", whole.get("number_of_drifted_columns"))
        share = whole.get("share", whole.get("share_of_drifted_columns"))
        found["drift"] = {"count": count, "share": share}
        if not tests and not drifted and count is not None:
            found["failed"] = int(count)
    return found


_TOOLS: Final[Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], dict[str, Any]]]]] = {
    "great_expectations": (lambda raw: {"success", "statistics", "results"} <= {*raw}, _of_expectations),
    "frictionless": (lambda raw: {"valid", "stats", "tasks"} <= {*raw}, _of_frictionless),
    "pandera": (lambda raw: bool(raw) and {*raw} <= {"SCHEMA", "DATA"}, _of_pandera),
    "evidently": (lambda raw: isinstance(raw.get("metrics", raw.get("tests")), list), _of_evidently),
}
