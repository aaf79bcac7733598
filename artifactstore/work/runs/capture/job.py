"""The job that a process belongs to: what a scheduler says of it, by a list of variables. Facts of the run, not of its environment."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from artifactstore.work.runs.capture.parent_run import parent_variables
from artifactstore.work.runs.json_safe import escape_undecodable
from artifactstore.work.secrets import captured

__all__ = ["job"]

# Variables that say where and as what something ran; none of them holds a secret. What looks like one is hidden all the same.
_VARIABLES: Final = (
    "JOB_NAME", "JOB_UUID", "POD_INDEX", "POD_UUID", "POD_NAME", "POD_NAMESPACE", "NODE_NAME", "KUBERNETES_SERVICE_HOST", "RUNAI_*",
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_RESTART_COUNT", "SLURM_NODELIST", "SLURM_JOB_NODELIST", "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "NXF_TASK_WORKDIR",
    "NXF_TASK_NAME", "NXF_RUN_ID", "TRAINING_JOB_*", "AZUREML_RUN_ID", "AZUREML_EXPERIMENT_ID", "AZUREML_ROOT_RUN_ID",
)  # fmt: skip
_LONGEST: Final = 500  # characters of a value


def job(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what the variables of a process say of its job; empty outside of one."""
    exact = {name for name in _VARIABLES if "*" not in name}
    patterns = [name for name in _VARIABLES if "*" in name]
    chosen = sorted(name for name in variables if name in exact or any(fnmatchcase(name, one) for one in patterns))
    found: dict[str, str] = captured({name: escape_undecodable(variables[name][:_LONGEST]) for name in chosen if variables[name]})
    return found | parent_variables(variables)
