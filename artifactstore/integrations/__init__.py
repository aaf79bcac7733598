"""Integrations with other systems, one leaf module each; nothing else imports them but the command line, by name."""

from typing import Final

__all__ = ["EXPORTS", "IMPORTS"]

IMPORTS: Final[tuple[str, ...]] = (
    "dvc",
    "mlflow",
)  # modules here with `import_from(store, source, *, name, dry_run=False, …) -> Imported`
EXPORTS: Final[tuple[str, ...]] = ("oci",)  # modules here with `export(store, ref, to, …)`, which returns a path or a JSON value
