"""Feast: what a feature store answers for training becomes an artifact with its definitions and entities; see docs/integrations/feast.md."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from artifactstore.store import Store

if TYPE_CHECKING:
    from artifactstore.work.get.artifact import Artifact

__all__ = ["retrieve"]


def retrieve(
    store: Store, feature_store: Any, *, entity_df: Any, features: "str | Sequence[str] | Any", name: str, **options: Any
) -> "Artifact":
    """Retrieve historical features, and store them as the next version of a name, with what they were made from.

    In an active run they are an output of that; else of a run of their own. Its inputs are `feast/<project>/registry`, the project's
    definitions, and `<name>/entities`. Equal definitions, whenever they were applied, are one artifact; rows come sorted, since
    many offline stores return them in any order: so the same inputs give the same digest, and `.new` is False.

    Args:
        store: where to.
        feature_store: a `feast.FeatureStore`.
        entity_df: the entities and their times: a DataFrame, or a query of the offline store. None with `start_date` and `end_date`.
        features: a feature service or its name, or a list of features, such as `["driver_stats:trips"]`.
        name: the name here.
        **options: of `get_historical_features`: `full_feature_names`, `start_date`, `end_date` …

    Returns:
        The artifact, of kind `features`: a table.

    Raises:
        NotFoundError: there is no such feature, service, view or project, or a file of a source is gone.
        InvalidInputError: an argument is invalid, or the entities lack a column.
        RefusedError: Feast's permissions do not allow it.
        ConflictError: the definitions changed again and again meanwhile.
        BackendError: the offline store, the registry, or the store here failed.
    """
    from artifactstore.integrations.feast.retrieval import retrieve_features  # noqa: PLC0415 - loads what it needs when it is called

    return retrieve_features(store, feature_store, entity_df=entity_df, features=features, name=name, options=options)
