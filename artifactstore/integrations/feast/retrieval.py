"""The retrieval: Feast is asked, then definitions and entities are stored, then the table with these as its inputs."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.integrations.feast.definitions import definitions_of
from artifactstore.integrations.feast.failures import errors_of
from artifactstore.model.reference import check_name
from artifactstore.store import Store
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.tracking.current_run import current, detached

__all__ = ["retrieve_features"]

_TRIES: Final = 3  # retrievals, while the definitions change
_FORM: Final = "a feature service, its name, or a list such as ['view:feature']"


def retrieve_features(
    store: Store, feature_store: Any, *, entity_df: Any, features: Any, name: str, options: Mapping[str, Any]
) -> Artifact:
    """Retrieve and store; see `retrieve`."""
    name = check_name(name)
    check_name(f"{name}/entities")
    _check(feature_store, entity_df, features, options)
    session = store._session  # noqa: SLF001 - which run is active is asked before anything is done
    session.check_writable()
    with errors_of("Feast cannot be asked for these features"):
        project = str(feature_store.project)
        if isinstance(features, str):
            features = feature_store.get_feature_service(features)
    registry = check_name(f"feast/{project}/registry")
    service, refs = _described(features)
    table, definitions = _asked(feature_store, project, entity_df=entity_df, features=features, options=options)
    of_project = {"feast.project": project}
    about = {**of_project, **({"feast.service": service} if service else {}), "feast.features": ",".join(refs)}
    with detached():
        inputs = {"registry": store.put(definitions, registry, metadata=of_project)}
        if isinstance(entity_df, str):
            inputs["entities"] = store.put(entity_df, f"{name}/entities", metadata=of_project, format="text")
        elif entity_df is not None:
            inputs["entities"] = store.put(entity_df, f"{name}/entities", metadata=of_project)
    active = current(session)
    own = None if active is not None else store.run("feast.retrieve", params={**about, **options})
    with own or nullcontext():
        run = active or current(session)
        assert run is not None  # one of the two
        for role, one in inputs.items():
            run.used(one.digest, name=one.name, version=one.version, role=role)
        return store.put(table, name, kind="features", metadata=about)


def _check(feature_store: Any, entity_df: Any, features: Any, options: Mapping[str, Any]) -> None:
    """Refuse what Feast would not understand.

    Raises:
        InvalidInputError: says what is expected.
    """
    if not all(hasattr(feature_store, one) for one in ("get_historical_features", "registry", "project")):
        raise InvalidInputError(
            f"feature_store must be a feast.FeatureStore, such as FeatureStore(repo_path='repo'), got {type(feature_store).__name__}"
        )
    if isinstance(features, list | tuple):
        is_known = bool(features) and all(isinstance(one, str) and ":" in one for one in features)
    else:
        is_known = isinstance(features, str) or hasattr(features, "feature_view_projections")
    if not is_known:
        raise InvalidInputError(f"features must be {_FORM}, got {features!r:.200}")
    if entity_df is None:
        if not {"start_date", "end_date"} <= set(options):
            raise InvalidInputError("entity_df=None needs start_date= and end_date=, so that the same call retrieves the same")
    elif not isinstance(entity_df, str) and not hasattr(entity_df, "columns"):
        raise InvalidInputError(f"entity_df must be a DataFrame, or a query of the offline store, got {type(entity_df).__name__}")
    elif not len(entity_df):
        raise InvalidInputError("entity_df has no rows: nothing can be retrieved for it")


def _described(features: Any) -> tuple[str | None, list[str]]:
    """Return the name of a service, and the features: `view:feature`."""
    if isinstance(features, Sequence):
        return None, list(features)
    views = features.feature_view_projections
    return str(features.name), [f"{view.name_to_use()}:{one.name}" for view in views for one in view.features]


def _asked(feature_store: Any, project: str, *, entity_df: Any, features: Any, options: Mapping[str, Any]) -> tuple[Any, bytes]:
    """Return the table that Feast makes, and the definitions that it made it by.

    Raises:
        ConflictError: these changed meanwhile, again and again.
    """
    known = list(features) if isinstance(features, Sequence) else features
    for _ in range(_TRIES):
        with errors_of("Feast cannot retrieve these features"):
            before = definitions_of(feature_store.registry.proto(), project)
            given = entity_df.to_pandas() if hasattr(entity_df, "to_pandas") else entity_df
            given = given.copy() if hasattr(given, "copy") else given  # Feast changes the frame that it is handed
            job = feature_store.get_historical_features(entity_df=given, features=known, **options)
            definitions = definitions_of(feature_store.registry.proto(), project)
            if before == definitions:
                return _sorted(job.to_arrow()), definitions
    raise ConflictError(f"the definitions of the Feast project {project} changed {_TRIES} times meanwhile: retrieve again")


def _sorted(table: Any) -> Any:
    """Return a table with its rows sorted by its columns from left to right, as far as these have an order."""
    import pyarrow.types as types  # noqa: PLC0415, PLR0402 - whoever has Feast has it

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string, types.is_binary,
             types.is_temporal, types.is_decimal)  # fmt: skip
    names = [field.name for field in table.schema if any(test(field.type) for test in tests)]
    keys = [(one, "ascending") for one in names if names.count(one) == 1]
    return table.sort_by(keys) if keys else table
