"""MLflow: artifact roots such as `artifactstore+s3://bucket/ml`, with deduplicated, verified and never lost artifacts; and its history.

MLflow finds the repository by its entry points; nothing else changes. `import_from` brings what a tracking server or its database
has. See docs/integrations/mlflow.md.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifactstore.store import Store
    from artifactstore.work.sync.imported import Imported

__all__ = ["import_from"]


def import_from(
    store: "Store",
    source: str | os.PathLike[str],
    *,
    name: str,
    experiment: Sequence[str] = (),
    dry_run: bool = False,
    reason: str | None = None,
) -> "Imported":
    """Bring the runs, logged models and registered models of MLflow; run again, it brings just what is new.

    Runs become runs `mlflow-<run id>`, registered models the names `<name>/<model>`. The source is only read.

    Args:
        store: where to.
        source: the tracking URI: a server (`http://…`), a database (`sqlite:///mlflow.db`), or a folder (`mlruns`).
        name: the beginning of the names here.
        experiment: only these, by name or id: their runs, and the models that those made.
        dry_run: report what would be brought, and write nothing.
        reason: why, for the audit trail.

    Raises:
        NotFoundError: there is no such server, database, folder or experiment.
        InvalidInputError: the name or the URI is invalid.
        UnsupportedError: MLflow is not installed.
        FormatError: the database is of a newer MLflow than the one that is installed, or of something else.
        BackendError: the source failed in the middle; what was brought stays, and the next import goes on.
    """
    from artifactstore.errors import UnsupportedError  # noqa: PLC0415 - MLflow loads this package for its entry points

    try:
        from artifactstore.integrations.mlflow.importing import bring  # noqa: PLC0415 - imports MLflow, which takes seconds
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise UnsupportedError("an import from MLflow needs MLflow, which is not installed here: pip install mlflow") from error
    return bring(store, os.fspath(source), name, experiments=experiment, dry_run=dry_run, reason=reason)
