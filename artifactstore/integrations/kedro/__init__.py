"""Kedro: a dataset whose versions are the store's, and a run for each node.

    model:
      type: artifactstore.integrations.kedro.ArtifactDataset
      name: churn/model
      store: s3://bucket/ml

The runs come by Kedro's entry point for hooks, without any setting. See docs/integrations/kedro.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifactstore.integrations.kedro.dataset import ArtifactDataset

__all__ = ["ArtifactDataset"]


def __getattr__(name: str) -> Any:
    if name != "ArtifactDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from artifactstore.errors import UnsupportedError  # noqa: PLC0415 - Kedro loads this package for its entry point

    try:
        from artifactstore.integrations.kedro.dataset import ArtifactDataset  # noqa: PLC0415 - imports Kedro
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kedro":
            raise
        raise UnsupportedError("a dataset of Kedro needs Kedro: pip install 'artifactstore-ml[kedro]'") from error
    return ArtifactDataset
