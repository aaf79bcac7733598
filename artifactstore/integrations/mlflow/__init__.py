"""MLflow: artifact roots such as `artifactstore+s3://bucket/ml`, with deduplicated, verified and never lost artifacts.

MLflow finds the repository by its entry points; nothing else changes. See docs/integrations/mlflow.md.
"""
