"""What MLflow's records are here: names, times, parameters, histories."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

__all__ = ["described", "history_of", "moment", "name_of", "parameters_of", "status_of"]

_LAST: Final = 253_402_300_799_000  # milliseconds: the end of the year 9999, where MLflow takes any number
_ODD: Final = re.compile(r"[^A-Za-z0-9._/-]")
_LONGEST: Final = 150  # characters of a model's name here
_OWN_TAGS: Final = frozenset(
    {"mlflow.parentRunId", "mlflow.runName", "mlflow.user", "mlflow.log-model.history", "mlflow.loggedModels"}
)
_STATUS: Final = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed"}


def name_of(model: str) -> str:
    """Return a model's name with the characters that a name may have; two models never get the same."""
    parts = [re.sub(r"^\.+", "_", one) for one in _ODD.sub("_", model).split("/") if one]
    name = "/".join(parts)[:_LONGEST].rstrip("/")
    if name and name == model:
        return name
    return f"{name}-{hashlib.sha256(model.encode(errors='surrogatepass')).hexdigest()[:8]}".lstrip("-")


def path_of(path: str) -> str:
    """Return a path as parts of a name."""
    return name_of(quote(path).replace("%", "_") if _ODD.search(path) else path)


def moment(milliseconds: int | None) -> datetime | None:
    """Return a time of MLflow's."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(min(max(milliseconds, 0), _LAST) / 1000, UTC)


def status_of(status: str) -> str | None:
    """Return how a run ended; None while it is running."""
    return _STATUS.get(status)


def parameters_of(run: Any, experiment: Any) -> dict[str, Any]:
    """Return the parameters of a run, and what else MLflow records of it: experiment, tags, data sets."""
    found: dict[str, Any] = dict(run.data.params)
    found["mlflow.experiment"] = experiment.name
    if tags := {key: value for key, value in run.data.tags.items() if key not in _OWN_TAGS}:
        found["mlflow.tags"] = tags
    if run.info.status == "KILLED":
        found["mlflow.status"] = "KILLED"
    inputs = getattr(run, "inputs", None)
    if sets := [_data_set(one) for one in (inputs.dataset_inputs if inputs is not None else ())]:
        found["mlflow.datasets"] = sets
    return found


def _data_set(one: Any) -> dict[str, Any]:
    data = one.dataset
    found = {
        "name": data.name,
        "digest": data.digest,
        "source_type": data.source_type,
        "source": data.source,
        "context": context_of(one),
    }
    return {key: value for key, value in found.items() if value is not None}


def context_of(one: Any) -> str | None:
    """Return what a data set was used for, such as `training`."""
    return next((tag.value for tag in one.tags if tag.key == "mlflow.data.context"), None)


def history_of(values: Iterable[Any]) -> list[tuple[str, int | None, float, datetime | None]]:
    """Return logged values in MLflow's own order: the last of each metric is the one that it shows."""
    rows = sorted(values, key=lambda one: (one.step or 0, one.timestamp or 0, one.key, not math.isnan(one.value), one.value))
    return [(one.key, one.step, one.value, moment(one.timestamp)) for one in rows]


def described(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata `mlflow.<field>` of those that are known."""
    return {f"mlflow.{key}": str(value) for key, value in fields.items() if value not in (None, "", "None")}
