"""Features of a real feature store: a table with its definitions and entities as inputs, and one digest for the same inputs."""

import os
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import artifactstore
from artifactstore.errors import BackendError, ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.integrations.feast import retrieve
from artifactstore.integrations.feast.definitions import definitions_of
from artifactstore.integrations.feast.failures import errors_of
from artifactstore.store import Store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    feast = pytest.importorskip("feast")
    from feast import errors as feast_errors
    from feast.infra.registry.sql import SqlRegistryConfig
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.types import Float64, Int64

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast warns of what it calls experimental, and its libraries of each other

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "stats.parquet"
    rows = {"driver_id": [1, 1, 2, 2], "trips": [1, 2, 3, 4], "rate": [0.1, 0.2, 0.3, 0.4]}
    days = [NOW, NOW + timedelta(days=1)] * 2
    pd.DataFrame({**rows, "event_timestamp": days, "created": [NOW] * 4}).to_parquet(path)
    return path


def opened(folder: Path, project: str = "rides", registry: Any = None) -> Any:
    folder.mkdir(exist_ok=True)
    config = feast.RepoConfig(
        project=project,
        registry=registry or str(folder / "registry.db"),
        provider="local",
        online_store={"type": "sqlite", "path": str(folder / f"{project}.db")},
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
    )
    return feast.FeatureStore(config=config)


def definitions(source: Path, *, ttl: int = 30) -> list[Any]:
    driver = feast.Entity(name="driver", join_keys=["driver_id"], value_type=feast.ValueType.INT64)
    stats = feast.FileSource(
        name="stats_source", path=str(source), timestamp_field="event_timestamp", created_timestamp_column="created"
    )
    fields = [feast.Field(name="trips", dtype=Int64), feast.Field(name="rate", dtype=Float64)]
    view = feast.FeatureView(
        name="stats", entities=[driver], ttl=timedelta(days=ttl), schema=fields, source=stats, tags={"a": "1", "b": "2"}
    )
    request = feast.RequestSource(name="request", schema=[feast.Field(name="plus", dtype=Int64)])

    @on_demand_feature_view(sources=[view, request], schema=[feast.Field(name="more", dtype=Float64)])  # type: ignore[untyped-decorator]
    def more(inputs: pd.DataFrame) -> pd.DataFrame:
        out = pd.DataFrame()
        out["more"] = inputs["rate"] + inputs["plus"]
        return out

    return [driver, stats, view, request, more, feast.FeatureService(name="model_v1", features=[view[["rate"]], more])]


@pytest.fixture
def features(tmp_path: Path, source: Path) -> Any:
    found = opened(tmp_path / "repo")
    found.apply(definitions(source))
    return found


def entities(*drivers: int) -> pd.DataFrame:
    times = [NOW + timedelta(days=2)] * len(drivers)
    return pd.DataFrame({"driver_id": [*drivers], "event_timestamp": times, "plus": [10 * one for one in drivers]})


def test_features_are_a_table_with_definitions_and_entities_as_inputs(store: Store, features: Any) -> None:
    made = retrieve(
        store, features, entity_df=entities(2, 1), features=features.get_feature_service("model_v1"), name="rides/train"
    )
    assert (made.ref, made.kind, made.new) == ("rides/train:v1", "features", True)
    assert made.metadata == {
        "feast.project": "rides",
        "feast.service": "model_v1",
        "feast.features": "stats:rate,more:more",
    }
    table = store.get(made.ref).to_pandas()
    assert table[["driver_id", "rate"]].to_dict("list") == {"driver_id": [1, 2], "rate": [0.2, 0.4]}
    assert table["more"].tolist() == pytest.approx([10.2, 20.4])
    pd.testing.assert_frame_equal(store.get("rides/train/entities"), entities(2, 1))
    registry = Registry.FromString(store.get("feast/rides/registry"))
    assert [one.spec.name for one in registry.feature_services] == ["model_v1"]
    (run,) = store.runs()
    assert (run.name, run.status, run.params["feast.service"]) == ("feast.retrieve", "finished", "model_v1")
    above = {one.name: one for one in store.lineage(made.ref).upstream()}
    assert {"feast.retrieve", "feast/rides/registry", "rides/train/entities"} <= set(above)
    for name in ("feast/rides/registry", "rides/train/entities"):
        assert not [one for one in store.lineage(name).upstream() if one.name == "feast.retrieve"], "they came from outside"
    assert store.verify(level="full").ok


def test_the_same_inputs_are_the_same_digest(store: Store, features: Any, source: Path) -> None:
    asked: dict[str, Any] = {"entity_df": entities(2, 1, 2), "features": "model_v1", "name": "rides/train"}
    before = asked["entity_df"].copy()
    first = retrieve(store, features, **asked)
    for change in ("nothing", "applied again", "materialized", "a new process"):
        if change == "applied again":
            features.apply(definitions(source))
        elif change == "materialized":
            features.materialize(NOW - timedelta(days=1), NOW + timedelta(days=2))
        elif change == "a new process":
            features = feast.FeatureStore(config=features.config)
        again = retrieve(store, features, **asked)
        assert (again.ref, again.digest, again.new) == (first.ref, first.digest, False), change
        assert len(store.versions("feast/rides/registry")) == 1, change
    pd.testing.assert_frame_equal(asked["entity_df"], before)
    shuffled = retrieve(store, features, **{**asked, "entity_df": entities(2, 2, 1)})
    assert shuffled.digest == first.digest, "rows are sorted"
    assert len(store.versions("rides/train/entities")) == 2, "and entities are kept as they were passed"
    features.apply(definitions(source, ttl=31))
    assert retrieve(store, features, **asked).new is False, "the same table"
    assert len(store.versions("feast/rides/registry")) == 2, "by other definitions"


def test_definitions_are_the_same_bytes_in_any_registry_and_beside_any_project(tmp_path: Path, source: Path) -> None:
    found = {}
    sql = SqlRegistryConfig(registry_type="sql", path=f"sqlite:///{tmp_path}/registry.sqlite")
    for kind, registry in (("file", None), ("sql", sql)):
        own = opened(tmp_path / kind, registry=registry)
        own.apply(definitions(source)[:: 1 if kind == "file" else -1])
        found[kind] = definitions_of(own.registry.proto(), "rides")
        other = opened(tmp_path / kind, "other", registry=registry)
        other.apply(definitions(source, ttl=3))
        own.refresh_registry()
        assert definitions_of(own.registry.proto(), "rides") == found[kind]
        assert definitions_of(other.registry.proto(), "other") != found[kind]
    known, others = (Registry.FromString(found[kind]) for kind in ("file", "sql"))
    assert str(known) == str(others)
    assert found["file"] == found["sql"]
    assert [one.spec.name for one in known.feature_views] == ["stats"]
    assert feast.FeatureView.from_proto(known.feature_views[0]).ttl == timedelta(days=30), "Feast reads them"
    assert known.feature_views[0].spec.tags == {"a": "1", "b": "2"}


def test_in_an_active_run_features_are_its_output(store: Store, features: Any) -> None:
    with store.run("train", code=False) as run:
        made = retrieve(store, features, entity_df=entities(1), features=["stats:trips"], name="rides/train")
        model = run.put({"weight": 1}, "rides/model", kind="model")
    (found,) = store.runs()
    assert (found.id, found.name) == (run.id, "train")
    with store._session.state() as state:
        edges = {(one["fact"], one.get("name"), one.get("role")) for one in state.edges[run.id]}
    assert {("used", "feast/rides/registry", "registry"), ("used", "rides/train/entities", "entities")} <= edges
    assert {name for fact, name, _ in edges if fact == "produced"} == {"rides/train", "rides/model"}, "no run has made the others"
    assert "feast/rides/registry" in {one.name for one in store.lineage(model.ref).upstream()}
    assert made.metadata["feast.features"] == "stats:trips"


def test_names_of_features_and_ranges_of_time_are_passed_on(store: Store, features: Any) -> None:
    made = retrieve(store, features, entity_df=entities(1), features=["stats:trips"], name="full", full_feature_names=True)
    assert "stats__trips" in store.get(made.ref).column_names
    assert store.runs()[0].params["full_feature_names"] is True
    ranged = retrieve(
        store, features, entity_df=None, features=["stats:trips"], name="ranged", start_date=NOW, end_date=NOW + timedelta(days=1)
    )
    assert store.get(ranged.ref).num_rows
    assert [one.name for one in store.names()] == ["feast/rides/registry", "full", "full/entities", "ranged"]


def test_frames_of_other_libraries_are_entities(store: Store, features: Any) -> None:
    import pyarrow as pa

    asked: dict[str, Any] = {"features": ["stats:trips"], "name": "rides/train"}
    first = retrieve(store, features, entity_df=entities(1, 2), **asked)
    assert retrieve(store, features, entity_df=pa.Table.from_pandas(entities(1, 2)), **asked).digest == first.digest


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a service that is not there": ({"features": "nothing"}, NotFoundError, "nothing does not exist"),
    "a view that is not there": ({"features": ["nothing:x"]}, NotFoundError, "nothing"),
    "a feature that is not there": ({"features": ["stats:nothing"]}, NotFoundError, "nothing not found"),
    "no features": ({"features": []}, InvalidInputError, "feature service"),
    "features that are none": ({"features": ["stats"]}, InvalidInputError, "view:feature"),
    "features of another type": ({"features": 7}, InvalidInputError, "view:feature"),
    "no time": ({"entity_df": entities(1).drop(columns=["event_timestamp"])}, InvalidInputError, "event_timestamp"),
    "no key": ({"entity_df": entities(1).drop(columns=["driver_id"])}, InvalidInputError, "no column 'driver_id'"),
    "no request data": ({"entity_df": entities(1).drop(columns=["plus"])}, InvalidInputError, "plus"),
    "no rows": ({"entity_df": entities()}, InvalidInputError, "no rows"),
    "no entities": ({"entity_df": None}, InvalidInputError, "start_date"),
    "entities of another type": ({"entity_df": 7}, InvalidInputError, "DataFrame"),
    "a query that this offline store does not take": ({"entity_df": "SELECT 1"}, InvalidInputError, "entity_df of type"),
    "an option that is none": ({"nothing": 1}, InvalidInputError, "nothing"),
    "a name that is none": ({"name": "a b"}, InvalidInputError, "not a valid name"),
    "a path for a feature store": ({"feature_store": "repo"}, InvalidInputError, "FeatureStore"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_an_error_of_ours_and_nothing_is_stored(store: Store, features: Any, case: str) -> None:
    store.put({"x": 1}, "other")
    entries = len(store.log())
    changes, error, text = WRONG[case]
    asked = {"feature_store": features, "entity_df": entities(1), "features": "model_v1", "name": "n", **changes}
    with pytest.raises(error, match=text):
        retrieve(store, **asked)
    assert len(store.log()) == entries


def test_a_source_that_is_gone_is_not_found(store: Store, features: Any, source: Path) -> None:
    source.unlink()
    with pytest.raises(NotFoundError, match=r"stats\.parquet"):
        retrieve(store, features, entity_df=entities(1), features=["stats:trips"], name="n")


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (lambda: feast_errors.FeastPermissionError("no"), RefusedError),
        (lambda: feast_errors.ProjectObjectNotFoundException("rides"), NotFoundError),
        (lambda: feast_errors.FeatureServiceNotFoundException("x"), NotFoundError),
        (lambda: feast_errors.RequestDataNotFoundInEntityDfException("x", "view"), InvalidInputError),
        (lambda: feast_errors.FeatureNameCollisionError(["a:x", "b:x"], full_feature_names=False), InvalidInputError),
        (lambda: feast_errors.EntityTimestampInferenceException("x"), InvalidInputError),
        (lambda: feast_errors.RedshiftQueryError({"x": 1}), BackendError),
        (feast_errors.SnowflakeCredentialsError, BackendError),
        (lambda: feast_errors.FeastExtrasDependencyImportError("gcp", "no module"), BackendError),
        (lambda: ConnectionError("refused"), BackendError),
        (lambda: FileNotFoundError("gone"), NotFoundError),
        (lambda: RuntimeError("of some service"), BackendError),
        (lambda: InvalidInputError("ours"), InvalidInputError),
    ],
)
def test_errors_are_ours_by_what_can_be_done_about_them(error: Any, ours: type[Exception]) -> None:
    made = error()
    with pytest.raises(ours) as caught, errors_of("x"):
        raise made
    assert type(caught.value) is ours
    assert caught.value is made or caught.value.__cause__ is made


def test_definitions_that_change_meanwhile_are_those_that_were_used(store: Store, features: Any, source: Path) -> None:
    asked = features.get_historical_features
    changes: list[int] = []

    def ask_while_others_apply(**given: Any) -> Any:
        job = asked(**given)
        if len(changes) < limit:
            changes.append(1)
            features.apply(definitions(source, ttl=40 + len(changes)))
        return job

    features.get_historical_features = ask_while_others_apply
    limit = 1
    retrieve(store, features, entity_df=entities(1), features=["stats:trips"], name="n")
    known = Registry.FromString(store.get("feast/rides/registry"))
    assert known.feature_views[0].spec.ttl.seconds == 41 * 86_400
    limit = 99
    with pytest.raises(ConflictError, match="retrieve again"):
        retrieve(store, features, entity_df=entities(1), features=["stats:trips"], name="n")


def test_a_store_for_reading_is_refused_before_feast_is_asked(store: Store, features: Any) -> None:
    store.put({"x": 1}, "other")
    with pytest.raises(RefusedError):
        retrieve(artifactstore.open(store.url, mode="r"), features, entity_df=entities(1), features=["nothing:x"], name="n")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/integrations/feast.md").read_text()
    (code,) = [block for block in page.split("```python\n")[1:] if "retrieve" in block]
    monkeypatch.chdir(tmp_path)
    os.environ.pop("ARTIFACTSTORE_URL", None)
    exec(compile(code.partition("```")[0], "feast.md", "exec"), {"__name__": "page"})
