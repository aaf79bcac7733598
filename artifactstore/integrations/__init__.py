"""Integrations with other systems, one leaf module each; nothing else imports them but the command line, by name."""

from typing import Final

__all__ = ["EXPORTS", "IMPORTS"]

# Modules here with `import_from(store, source, *, name, dry_run=False, …) -> Imported`.
IMPORTS: Final[tuple[str, ...]] = ("dvc", "hf", "mlflow", "nextflow")
# Modules here with `export(store, ref, to, …)`, which returns a path or a JSON value; `a-b` is `export_b` of the module `a`.
EXPORTS: Final[tuple[str, ...]] = ("azureml", "hf", "oci", "sagemaker", "sagemaker-tar")
