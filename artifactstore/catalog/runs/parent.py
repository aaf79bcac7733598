"""The run of another system that a run was started by, as OpenLineage's integrations pass it on: `namespace/job/run-uuid`."""

import re
from collections.abc import Mapping
from typing import Any, Final

from artifactstore.runtime.records import dataclass

__all__ = ["PARENT", "ROOT", "ParentRun", "parent_of_job"]

PARENT: Final = "OPENLINEAGE_PARENT_ID"
ROOT: Final = "OPENLINEAGE_ROOT_PARENT_ID"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_LONGEST: Final = 1000  # characters


@dataclass(frozen=True, slots=True)
class ParentRun:
    """A run of a scheduler, by OpenLineage's identity.

    Attributes:
        namespace: of the job.
        job: its name, such as `dag.task`.
        run: the UUID of its run.
        root: the run that everything began with, such as that of the DAG; None if it was not passed on.
    """

    namespace: str
    job: str
    run: str
    root: "ParentRun | None" = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.job}/{self.run}"

    @classmethod
    def parse(cls, text: str) -> "ParentRun | None":
        """Parse `namespace/job/run-uuid`; None for anything else.

        A namespace that is a URI, such as `https://airflow.example/prod`, may have slashes of its own. With other
        further slashes it is ambiguous where the job begins.
        """
        text = text.strip()
        above, _, run = text.rpartition("/")
        namespace, _, job = above.rpartition("/")
        whole = "://" in namespace or "/" not in namespace
        fits = len(text) <= _LONGEST and text.isprintable() and bool(_UUID.fullmatch(run))
        named = bool(namespace.strip() and job.strip()) and not namespace.endswith(("/", ":"))
        return cls(namespace, job, run.lower()) if fits and named and whole else None


def parent_of_job(job: Mapping[str, Any]) -> ParentRun | None:
    """Return the parent run that is among the recorded variables of a job; None if there is none."""
    found, root = (ParentRun.parse(str(job.get(name, ""))) for name in (PARENT, ROOT))
    return None if found is None else ParentRun(found.namespace, found.job, found.run, root)
