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
    from artifactstore.opening import create, open  # noqa: A004 - artifactstore.open, as in gzip.open
    from artifactstore.store import ANY, Store
    from artifactstore.work.get.artifact import Artifact

__version__: Final = VERSION

__all__ = [
    "ANY",
    "AlreadyExistsError",
    "Artifact",
    "ArtifactStoreError",
    "BackendError",
    "CondemnedBeforeCommitError",
    "ConflictError",
    "CorruptionError",
    "FormatError",
    "InvalidInputError",
    "NotFoundError",
    "OutcomeUnknownError",
    "RefusedError",
    "Store",
    "UnsupportedError",
    "UntrustedError",
    "__version__",
    "create",
    "open",
]

_LATE: Final = {
    "ANY": "artifactstore.store",
    "Artifact": "artifactstore.work.get.artifact",
    "Store": "artifactstore.store",
    "create": "artifactstore.opening",
    "open": "artifactstore.opening",
}


def __getattr__(name: str) -> Any:
    """Load the store when it is first asked for: `import artifactstore` alone costs next to nothing."""
    if name not in _LATE:
        raise AttributeError(f"module 'artifactstore' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    value = getattr(importlib.import_module(_LATE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
