"""An immutable, content-addressed store for code, data sets and models, on any fsspec backend.

import artifactstore

store = artifactstore.open("s3://bucket/ml")        # or a folder
store.put("data/images/", "scans/raw")
store.get("scans/raw:v1", to="images/")
"""

from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    CondemnedBeforeCommitError,
    ConflictError,
    CorruptionError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    UnsupportedError,
    UntrustedError,
)
from artifactstore.model.version import VERSION

if TYPE_CHECKING:
    from artifactstore.catalog.audit import Event, Log, Transaction
    from artifactstore.catalog.rows import Rows
    from artifactstore.catalog.runs.info import RunInfo
    from artifactstore.catalog.runs.table import RunTable
    from artifactstore.catalog.versions import Name, Version
    from artifactstore.display.plots.chart import Chart
    from artifactstore.maintenance.doctor.findings import Check, Diagnosis
    from artifactstore.maintenance.gc.cleanup import Cleanup
    from artifactstore.maintenance.repack.repacked import Repacked
    from artifactstore.maintenance.sync.report import SyncReport
    from artifactstore.maintenance.usage.usage import Usage
    from artifactstore.maintenance.verify.report import Finding, Report
    from artifactstore.model.graph import Node
    from artifactstore.opening import create, open  # noqa: A004 - artifactstore.open, as in gzip.open
    from artifactstore.store import ANY, Store
    from artifactstore.work.get.artifact import Artifact, File
    from artifactstore.work.monitoring.report import Drift
    from artifactstore.work.monitoring.serving.log import Serving
    from artifactstore.work.monitoring.serving.served import LogCheck
    from artifactstore.work.put.arguments import PutOptions
    from artifactstore.work.queries.diff import Change, Diff
    from artifactstore.work.queries.drawing import Drawing
    from artifactstore.work.queries.explanation import CodeChange, Difference, InputChange, Why
    from artifactstore.work.queries.queries import Conditions
    from artifactstore.work.queries.status import FolderStatus, Status
    from artifactstore.work.registry.gates import Gate
    from artifactstore.work.registry.holds import Hold, Removed
    from artifactstore.work.registry.retention import Expiry, Retention
    from artifactstore.work.registry.signatures.anchors import Anchor
    from artifactstore.work.registry.signatures.approvals import Approval
    from artifactstore.work.registry.signatures.sign import Signature
    from artifactstore.work.registry.verdict import Condition, Verdict
    from artifactstore.work.reproduce.code import Code
    from artifactstore.work.reproduce.comparison import Output, Reproduction
    from artifactstore.work.runs.run import Run
    from artifactstore.work.session.prepared import Batch
    from artifactstore.work.views.lineage import Lineage
    from artifactstore.work.views.maintenance import Maintenance
    from artifactstore.work.views.registry import Registry

__version__: Final = VERSION

__all__ = [
    "ANY",
    "AlreadyExistsError",
    "Anchor",
    "Approval",
    "Artifact",
    "ArtifactStoreError",
    "BackendError",
    "Batch",
    "Change",
    "Chart",
    "Check",
    "Cleanup",
    "Code",
    "CodeChange",
    "CondemnedBeforeCommitError",
    "Condition",
    "Conditions",
    "ConflictError",
    "CorruptionError",
    "Diagnosis",
    "Diff",
    "Difference",
    "Drawing",
    "Drift",
    "Event",
    "Expiry",
    "File",
    "Finding",
    "FolderStatus",
    "FormatError",
    "Gate",
    "Hold",
    "InputChange",
    "InvalidInputError",
    "Lineage",
    "Log",
    "LogCheck",
    "Maintenance",
    "Name",
    "Node",
    "NotFoundError",
    "OutcomeUnknownError",
    "Output",
    "PutOptions",
    "RefusedError",
    "Registry",
    "Removed",
    "Repacked",
    "Report",
    "Reproduction",
    "Retention",
    "Rows",
    "Run",
    "RunInfo",
    "RunTable",
    "Serving",
    "Signature",
    "Status",
    "Store",
    "SyncReport",
    "Transaction",
    "UnsupportedError",
    "UntrustedError",
    "Usage",
    "Verdict",
    "Version",
    "Why",
    "__version__",
    "create",
    "open",
]

_LATE: Final = {
    "Registry": "artifactstore.work.views.registry",
    "Maintenance": "artifactstore.work.views.maintenance",
    "Conditions": "artifactstore.work.queries.queries",
    "ANY": "artifactstore.store",
    "Artifact": "artifactstore.work.get.artifact",
    "Batch": "artifactstore.work.session.prepared",
    "Change": "artifactstore.work.queries.diff",
    "Check": "artifactstore.maintenance.doctor.findings",
    "Cleanup": "artifactstore.maintenance.gc.cleanup",
    "Repacked": "artifactstore.maintenance.repack.repacked",
    "Usage": "artifactstore.maintenance.usage.usage",
    "Code": "artifactstore.work.reproduce.code",
    "CodeChange": "artifactstore.work.queries.explanation",
    "Diagnosis": "artifactstore.maintenance.doctor.findings",
    "Diff": "artifactstore.work.queries.diff",
    "Difference": "artifactstore.work.queries.explanation",
    "Drawing": "artifactstore.work.queries.drawing",
    "Drift": "artifactstore.work.monitoring.report",
    "LogCheck": "artifactstore.work.monitoring.serving.served",
    "Serving": "artifactstore.work.monitoring.serving.log",
    "Event": "artifactstore.catalog.audit",
    "File": "artifactstore.work.get.artifact",
    "FolderStatus": "artifactstore.work.queries.status",
    "Status": "artifactstore.work.queries.status",
    "Finding": "artifactstore.maintenance.verify.report",
    "InputChange": "artifactstore.work.queries.explanation",
    "Lineage": "artifactstore.work.views.lineage",
    "Log": "artifactstore.catalog.audit",
    "Name": "artifactstore.catalog.versions",
    "Node": "artifactstore.model.graph",
    "Output": "artifactstore.work.reproduce.comparison",
    "PutOptions": "artifactstore.work.put.arguments",
    "Report": "artifactstore.maintenance.verify.report",
    "Reproduction": "artifactstore.work.reproduce.comparison",
    "Rows": "artifactstore.catalog.rows",
    "Run": "artifactstore.work.runs.run",
    "RunInfo": "artifactstore.catalog.runs.info",
    "RunTable": "artifactstore.catalog.runs.table",
    "Chart": "artifactstore.display.plots.chart",
    "Store": "artifactstore.store",
    "SyncReport": "artifactstore.maintenance.sync.report",
    "Transaction": "artifactstore.catalog.audit",
    "Version": "artifactstore.catalog.versions",
    "Why": "artifactstore.work.queries.explanation",
    "Anchor": "artifactstore.work.registry.signatures.anchors",
    "Approval": "artifactstore.work.registry.signatures.approvals",
    "Condition": "artifactstore.work.registry.verdict",
    "Expiry": "artifactstore.work.registry.retention",
    "Gate": "artifactstore.work.registry.gates",
    "Hold": "artifactstore.work.registry.holds",
    "Removed": "artifactstore.work.registry.holds",
    "Retention": "artifactstore.work.registry.retention",
    "Verdict": "artifactstore.work.registry.verdict",
    "Signature": "artifactstore.work.registry.signatures.sign",
    "create": "artifactstore.opening",
    "open": "artifactstore.opening",
}


def __getattr__(name: str) -> Any:
    """Load the store when it is first asked for: `import artifactstore` alone costs next to nothing."""
    if name not in _LATE:
        raise AttributeError(f"module 'artifactstore' has no attribute {name!r}{_hint(name)}")
    import importlib  # noqa: PLC0415

    value = getattr(importlib.import_module(_LATE[name]), name)
    globals()[name] = value
    return value


def _hint(name: str) -> str:
    """Return what to use instead of a name that this package does not have, or nothing."""
    if name.startswith("_"):
        return ""
    from artifactstore.habits.calls import module_hint  # noqa: PLC0415 - only for a message
    from artifactstore.store import Store  # noqa: PLC0415 - as above

    return module_hint(name, [one for one in dir(Store) if not one.startswith("_")])


def __dir__() -> list[str]:
    return sorted(__all__)
