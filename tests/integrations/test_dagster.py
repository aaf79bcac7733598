# mypy: disable-error-code="untyped-decorator"
"""Dagster itself: assets, partitions and ops that are materialized with the IO manager.

Run where Dagster is installed: `.ci/run` has an environment of its own for it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.store import Store

dagster = pytest.importorskip("dagster")
from dagster import (  # noqa: E402 - where it is installed
    AllPartitionMapping,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetOut,
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    EnvVar,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    Output,
    RetryPolicy,
    SpecificPartitionsPartitionMapping,
    StaticPartitionsDefinition,
    asset,
    job,
    materialize,
    multi_asset,
    op,
)

from artifactstore.integrations.dagster import ArtifactStoreIOManager  # noqa: E402
from artifactstore.work.get.provenance import provenance_of_run  # noqa: E402
from artifactstore.work.tracking.current_run import detached  # noqa: E402
from tests.integrations.pages import run_page  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

DAYS = StaticPartitionsDefinition(["2026-11-29", "2026-11-30", "a/b c"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Any]:
    with DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store")


def made(store: Store, assets: list[Any], instance: Any, **options: Any) -> Any:
    manager = ArtifactStoreIOManager(store.url, "churn")
    return materialize(assets, instance=instance, resources={"io_manager": manager}, **options)


def runs(store: Store) -> dict[str, Any]:
    return {one.name: one for one in artifactstore.open(store.url).runs()}


def inputs(store: Store, run: Any) -> dict[str, str]:
    found = provenance_of_run(artifactstore.open(store.url)._session, run.id).inputs
    return {str(one.role): one.ref for one in found}


@asset
def raw() -> list[int]:
    return [1, 2, 3]


@asset(metadata={"artifactstore": {"kind": "model", "tags": {"team": "churn"}}})
def model(raw: list[int]) -> dict[str, Any]:
    return {"weights": [sum(raw)]}


@asset(key=["reports", "daily_report"])
def report(model: dict[str, Any]) -> str:
    return f"{model['weights']} / no path"


def test_assets_are_names_and_each_step_is_a_run_below_that_of_the_whole(store: Store, instance: Any) -> None:
    result = made(store, [raw, model, report], instance)
    found = runs(store)
    whole = found.pop(next(name for name in found if name.startswith("dagster ")))
    assert whole.id == f"dagster-{result.run_id}"
    assert whole.status == "finished"
    assert {name: (run.status, run.parent) for name, run in found.items()} == dict.fromkeys(
        ("raw", "model", "reports__daily_report"), ("finished", whole.id)
    )
    assert store.artifact("churn/model").run == f"{whole.id}-model"
    assert inputs(store, found["model"]) == {"raw": "churn/raw:v1"}
    assert (store.artifact("churn/model").kind, store.artifact("churn/model").metadata["tags"]) == ("model", {"team": "churn"})
    (named,) = store.names("churn/reports/")
    assert store.get(named.name) == "[6] / no path"
    assert store.artifact(named.name).metadata["dagster.asset"] == "reports/daily_report"
    assert [one.name for one in store.find(metadata={"dagster.asset": "model"})] == ["churn/model"]
    assert store.verify().ok


def test_the_materialization_has_digest_ref_and_run(store: Store, instance: Any) -> None:
    result = made(store, [raw, model], instance)
    (event,) = result.asset_materializations_for_node("model")
    artifact = store.artifact("churn/model")
    assert {key: event.metadata[key].value for key in ("ref", "digest", "uri", "run")} == {
        "ref": "churn/model:v1",
        "digest": artifact.digest,
        "uri": artifact.uri,
        "run": f"dagster-{result.run_id}-model",
    }
    again = made(store, [raw, model], instance)
    (event,) = again.asset_materializations_for_node("model")
    assert event.metadata["ref"].value == "churn/model:v1"
    assert len(store.versions("churn/model")) == 1


def test_a_failing_asset_is_a_failed_run_and_so_is_the_whole(store: Store, instance: Any) -> None:
    @asset
    def broken(raw: list[int]) -> None:
        raise ValueError("no convergence")

    @asset
    def after(broken: Any) -> int:
        return 1

    result = made(store, [raw, broken, after, report, model], instance, raise_on_error=False)
    assert not result.success
    found = runs(store)
    assert found["broken"].status == "failed"
    assert "no convergence" in found["broken"].error
    assert (found["raw"].status, found["model"].status) == ("finished", "finished")
    (whole,) = (run for run in found.values() if run.id == f"dagster-{result.run_id}")
    assert (whole.status, whole.error) == ("failed", "failed: broken")
    assert "after" not in found
    assert inputs(store, found["broken"]) == {"raw": "churn/raw:v1"}


def test_an_asset_that_fails_before_it_reads_fails_the_whole(store: Store, instance: Any) -> None:
    @asset
    def broken() -> int:
        raise ValueError("at once")

    result = made(store, [broken], instance, raise_on_error=False)
    (whole,) = runs(store).values()
    assert (whole.id, whole.status) == (f"dagster-{result.run_id}", "failed")


def test_each_try_of_a_step_is_a_run_of_its_own(store: Store, instance: Any) -> None:
    tries: list[int] = []

    @asset(retry_policy=RetryPolicy(max_retries=2))
    def shaky(raw: list[int]) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return len(tries)

    result = made(store, [raw, shaky], instance)
    found = {run.id: run.status for run in store.runs("shaky")}
    start = f"dagster-{result.run_id}-shaky"
    assert found == {start: "failed", f"{start}-try2": "failed", f"{start}-try3": "finished"}
    assert store.artifact("churn/shaky").run == f"{start}-try3"


def test_steps_load_what_their_run_made_whatever_others_put(store: Store, instance: Any) -> None:
    @asset
    def meddled(raw: list[int]) -> int:
        return len(raw)

    @asset(deps=[raw])
    def meddler() -> int:
        with detached():
            store.put([0] * 10, "churn/raw")
        return 1

    @asset
    def last(raw: list[int], meddler: int) -> int:
        return len(raw)

    made(store, [raw, meddler, last], instance)
    assert store.get("churn/last") == 3
    assert inputs(store, runs(store)["last"])["raw"] == "churn/raw:v1"
    made(store, [raw, meddled], instance, selection=[meddled])
    assert store.get("churn/meddled") == 10, "what is no part of a run is the newest"


# -- partitions


@asset(partitions_def=DAYS)
def daily(context: AssetExecutionContext) -> dict[str, str]:
    return {"day": context.partition_key}


@asset(partitions_def=DAYS)
def same(context: AssetExecutionContext, daily: dict[str, str]) -> list[str]:
    return [daily["day"]]


@asset
def total(daily: dict[str, Any]) -> list[str]:
    return sorted(f"{key}={value['day']}" for key, value in daily.items())


def test_each_partition_is_a_name_of_its_own(store: Store, instance: Any) -> None:
    for key in DAYS.get_partition_keys():
        made(store, [daily, same], instance, partition_key=key)
    names = [one.name for one in store.names("churn/daily/")]
    assert names[:2] == ["churn/daily/2026-11-29", "churn/daily/2026-11-30"]
    assert len(names) == 3
    assert store.get("churn/same/2026-11-30") == ["2026-11-30"]
    assert {one.metadata["dagster.partition"] for one in store.find(metadata={"dagster.asset": "daily"})} == set(
        DAYS.get_partition_keys()
    )
    assert store.runs("same")[1].params == {"partition": "2026-11-30"}
    made(store, [daily, total], instance, selection=[total])
    assert store.get("churn/total") == [f"{key}={key}" for key in sorted(DAYS.get_partition_keys())]
    used = provenance_of_run(artifactstore.open(store.url)._session, runs(store)["total"].id).inputs
    assert {one.ref for one in used} == {f"{name}:v1" for name in names}


def test_a_mapping_chooses_the_partitions(store: Store, instance: Any) -> None:
    @asset(ins={"daily": AssetIn(partition_mapping=SpecificPartitionsPartitionMapping(["2026-11-30"]))})
    def one(daily: dict[str, str]) -> dict[str, str]:
        return daily

    made(store, [daily], instance, partition_key="2026-11-30")
    made(store, [daily, one], instance, selection=[one])
    assert store.get("churn/one") == {"day": "2026-11-30"}


@pytest.mark.parametrize("allowed", [True, False])
def test_a_partition_that_was_never_made_is_left_out_only_if_that_is_allowed(
    store: Store, instance: Any, *, allowed: bool
) -> None:
    @asset(ins={"daily": AssetIn(partition_mapping=AllPartitionMapping(), metadata={"allow_missing_partitions": allowed})})
    def some(daily: dict[str, Any]) -> list[str]:
        return sorted(daily)

    made(store, [daily], instance, partition_key="2026-11-30")
    result = made(store, [daily, some], instance, selection=[some], raise_on_error=False)
    assert result.success is allowed
    assert store.exists("churn/some") is allowed
    if allowed:
        assert store.get("churn/some") == ["2026-11-30"]


def test_partitions_of_several_dimensions_are_segments_in_the_order_of_their_dimensions(store: Store, instance: Any) -> None:
    both = MultiPartitionsDefinition(
        {"region": StaticPartitionsDefinition(["eu"]), "day": StaticPartitionsDefinition(["1", "2"])}
    )

    @asset(partitions_def=both)
    def crossed(context: AssetExecutionContext) -> str:
        return str(context.partition_key)

    made(store, [crossed], instance, partition_key=MultiPartitionKey({"region": "eu", "day": "2"}))
    assert [one.name for one in store.names("churn/crossed/")] == ["churn/crossed/2/eu"]


def test_a_name_that_another_asset_has_is_refused(store: Store, instance: Any) -> None:
    @asset(key=["daily", "2026-11-30"])
    def clash() -> int:
        return 1

    made(store, [daily], instance, partition_key="2026-11-30")
    with pytest.raises(InvalidInputError, match="is that of daily 2026-11-30"):
        made(store, [clash], instance)
    assert len(store.versions("churn/daily/2026-11-30")) == 1


# -- ops and odd values


def test_outputs_of_ops_are_names_of_their_run(store: Store, instance: Any) -> None:
    @op(out=DynamicOut())
    def spread() -> Iterator[Any]:
        for number in range(3):
            yield DynamicOutput(number, mapping_key=f"n{number}")

    @op
    def double(value: int) -> int:
        return value * 2

    @op
    def add(values: list[int]) -> int:
        return sum(values)

    @job(resource_defs={"io_manager": ArtifactStoreIOManager(store.url, "ops")}, executor_def=dagster.in_process_executor)
    def work() -> None:
        add(spread().map(double).collect())

    result = work.execute_in_process(instance=instance, run_config={}, raise_on_error=True)
    assert result.success
    names = [one.name for one in artifactstore.open(store.url).names(f"ops/{result.run_id}/")]
    assert names
    assert store.get(f"ops/{result.run_id}/add/result") == 6
    assert {run.status for run in store.runs()} == {"finished"}
    assert len(store.runs("double*")) == 3


def test_what_a_step_returns_comes_back_whatever_it_is(store: Store, instance: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.txt").write_text("a")
    values = {
        "text": "churn/raw",
        "data": b"bytes",
        "none": None,
        "number": 1.5,
        "folder": tmp_path / "folder",
        "pairs": (1, "a"),
    }

    @multi_asset(outs={key: AssetOut() for key in values})
    def several():
        return tuple(values.values())

    @asset(ins={key: AssetIn() for key in values})
    def check(**given: Any) -> bool:
        folder = given.pop("folder")
        return (folder / "a.txt").read_text() == "a" and given == {key: one for key, one in values.items() if key != "folder"}

    made(store, [several, check], instance)
    assert store.get("churn/check") is True
    assert store.runs("several")[0].status == "finished"


def test_an_asset_that_returns_nothing_stores_nothing(store: Store, instance: Any) -> None:
    @asset
    def side_effect() -> None:
        return None

    made(store, [side_effect], instance)
    assert list(store.names("churn/")) == []


def test_options_and_metadata_of_an_output_win(store: Store, instance: Any) -> None:
    @asset(metadata={"artifactstore": {"kind": "model", "metadata": {"a": 1}}})
    def chosen() -> Output[bytes]:
        return Output(b"x", metadata={"ref": "own", "artifactstore": {"aliases": ["best"], "kind": "data"}})

    (event,) = made(store, [chosen], instance).asset_materializations_for_node("chosen")
    assert event.metadata["ref"].value == "own"
    artifact = store.artifact("churn/chosen:best")
    assert (artifact.kind, artifact.metadata["a"], artifact.metadata["dagster.asset"]) == ("data", 1, "chosen")


def test_configuration_comes_from_the_environment_and_the_store_is_the_default_one(
    tmp_path: Path, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN", str(tmp_path / "one"))
    materialize([raw], instance=instance, resources={"io_manager": ArtifactStoreIOManager(url=EnvVar("CHURN"))})
    assert artifactstore.open(tmp_path / "one").get("raw") == [1, 2, 3]
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "two"))
    materialize([raw], instance=instance, resources={"io_manager": ArtifactStoreIOManager()})
    assert artifactstore.open(tmp_path / "two").get("raw") == [1, 2, 3]


def test_an_asset_can_be_loaded_without_a_run(store: Store, instance: Any) -> None:
    made(store, [raw], instance)
    definitions = dagster.Definitions([raw, daily], resources={"io_manager": ArtifactStoreIOManager(store.url, "churn")})
    assert definitions.load_asset_value(AssetKey("raw"), instance=instance) == [1, 2, 3]
    made(store, [daily], instance, partition_key="2026-11-30")
    assert definitions.load_asset_value("daily", partition_key="2026-11-30", instance=instance) == {"day": "2026-11-30"}
    with pytest.raises(NotFoundError):
        definitions.load_asset_value("daily", partition_key="2026-11-29", instance=instance)
    before = len(store.runs())
    assert before == 4


PARALLEL = """
import sys
from dagster import Definitions, asset, define_asset_job, execute_job, reconstructable, DagsterInstance, multiprocess_executor
from artifactstore.integrations.dagster import ArtifactStoreIOManager

SERVER = {"start_method": {"forkserver": {"preload_modules": ["artifactstore.integrations.dagster", "pyarrow.parquet"]}}}

@asset
def left(): return [1]

@asset
def right(): return [2]

@asset
def both(left, right): return left + right

@asset
def fails(both): raise ValueError("late")

def work():
    assets = [left, right, both, fails] if "fails" in sys.argv else [left, right, both]
    return Definitions(
        assets, jobs=[define_asset_job("work")], executor=multiprocess_executor.configured(SERVER),
        resources={"io_manager": ArtifactStoreIOManager(sys.argv[1], "p")},
    ).resolve_job_def("work")

if __name__ == "__main__":
    with DagsterInstance.local_temp(sys.argv[2]) as instance:
        result = execute_job(reconstructable(work), instance, raise_on_error=False)
        print(result.run_id, result.success)
"""


@pytest.mark.parametrize("fails", [True])  # the other one is a process more for each step
def test_steps_in_processes_of_their_own_are_below_one_run(store: Store, tmp_path: Path, *, fails: bool) -> None:
    program = tmp_path / "parallel.py"
    program.write_text(PARALLEL)
    (tmp_path / "home").mkdir()
    command = [sys.executable, str(program), store.url, str(tmp_path / "home"), *(["fails"] if fails else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, cwd=tmp_path, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    run_id, success = done.stdout.split()[-2:]
    assert success == str(not fails), done.stderr[-3000:]
    assert store.get("p/both") == [1, 2]
    found = runs(store)
    assert found.pop("dagster work").status == ("failed" if fails else "finished")
    wanted = {"left": "finished", "right": "finished", "both": "finished"} | ({"fails": "failed"} if fails else {})
    assert {name: run.status for name, run in found.items()} == wanted
    assert {run.parent for run in found.values()} == {f"dagster-{run_id}"}
    assert inputs(store, found["both"]) == {"left": "p/left:v1", "right": "p/right:v1"}


def test_the_snippets_of_its_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("dagster")
