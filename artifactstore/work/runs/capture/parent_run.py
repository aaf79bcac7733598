"""The run of a scheduler that this process works for: OpenLineage's variables, or the configuration of a Spark session.

Airflow's macros `lineage_parent_id` and `lineage_root_parent_id` write the variables; its provider sets the configuration of
Spark jobs, `spark.openlineage.parentRunId` and what goes with it.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.catalog.runs.parent import PARENT, ROOT, ParentRun
from artifactstore.runtime.remarks import remark
from artifactstore.work.secrets import captured

__all__ = ["parent_variables"]

_SPARK: Final = {PARENT: "parent", ROOT: "rootParent"}
_SHOWN: Final = 200  # characters of a broken value
_warned: Final[set[tuple[str, str]]] = set()


def parent_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the parent run and the root run as the variables that name them; of broken values one warning, and nothing else."""
    found = {name: variables.get(name, "").strip() for name in (PARENT, ROOT)}
    if not found[PARENT]:
        found = _of_spark()
    made = {}
    for name, text in found.items():
        parsed = ParentRun.parse(text)
        if parsed is not None:
            made[name] = str(parsed)
        elif text:
            _warn_once(name, text)
    return made if PARENT in made else {}


def _warn_once(name: str, text: str) -> None:
    if (name, text) not in _warned:
        _warned.add((name, text))
        remark(f"{name} is {captured(text[:_SHOWN])!r}, expected namespace/job/run-uuid: the run is recorded without it")


def _of_spark() -> dict[str, str]:
    """Return the same from the active Spark session of this thread; empty without one."""
    sql = sys.modules.get("pyspark.sql")
    if sql is None:
        return {}
    try:
        session = sql.SparkSession.getActiveSession()
        return {} if session is None else {name: _configured(session.conf, prefix) for name, prefix in _SPARK.items()}
    except Exception:  # noqa: BLE001 - a session that has ended, or whose server is gone, raises what its version likes
        return {}


def _configured(conf: Any, prefix: str) -> str:
    parts = [str(conf.get(f"spark.openlineage.{prefix}{part}", "") or "") for part in ("JobNamespace", "JobName", "RunId")]
    return "/".join(parts) if any(parts) else ""
