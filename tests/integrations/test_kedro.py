"""Kedro itself: a project with a catalog, its sessions and its runners, over datasets in a store.

Run where Kedro is installed: `.ci/run` has an environment of its own for it.
"""

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import InvalidInputError
from artifactstore.store import Store

kedro = pytest.importorskip("kedro")
from kedro.framework.session import KedroSession  # noqa: E402 - where it is installed
from kedro.framework.startup import bootstrap_project  # noqa: E402
from kedro.io import DataCatalog, DatasetError  # noqa: E402
from kedro.io.core import Version  # noqa: E402
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner  # noqa: E402

from artifactstore.integrations.kedro import ArtifactDataset  # noqa: E402
from artifactstore.work.get.provenance import provenance_of_run  # noqa: E402
from artifactstore.work.tracking.current_run import detached  # noqa: E402
from tests.integrations.pages import run_page  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

RUNNERS = {"sequential": SequentialRunner, "thread": ThreadRunner, "parallel": ParallelRunner}
NODES = """
import os
import artifactstore
from kedro.pipeline import Pipeline, node


def clean(raw, scale):
    return [one * scale for one in raw]


def describe(features, parameters):
    return {"mean": sum(features) / len(features), "pid": 0}


def train(summary, features):
    if os.environ.get("FAIL") == "train":
        raise ValueError("no convergence")
    return {"weights": [summary["mean"]]}


def evaluate(model, other):
    store = artifactstore.open(os.environ["CHURN_STORE"])
    store.put({"note": 1}, "churn/note")
    if os.environ.get("FAIL") == "save":
        return object()
    return {"auc": 0.9}


def parts(features):
    for one in features:
        yield {"part": one}


def unrelated(other):
    return {"copied": other}


def register_pipelines():
    main = Pipeline([
        node(clean, ["raw", "params:scale"], "features", name="clean"),
        node(describe, ["features", "parameters"], "summary", name="describe"),
        node(train, ["summary", "features"], "model", name="train"),
        node(evaluate, ["model", "other"], "report", name="evaluate"),
        node(unrelated, "other", "copied", name="unrelated"),
    ])
    return {"__default__": main, "parts": Pipeline([node(parts, "raw", "part", name="parts")])}
"""
CATALOG = """
raw: {{type: artifactstore.integrations.kedro.ArtifactDataset, name: "churn/raw:v1", store: "{store}"}}
other: {{type: artifactstore.integrations.kedro.ArtifactDataset, name: churn/other, store: "{store}"}}
features: {{type: artifactstore.integrations.kedro.ArtifactDataset, name: churn/features, store: "{store}"}}
model:
  type: artifactstore.integrations.kedro.ArtifactDataset
  name: churn/model
  store: "{store}"
  kind: model
  metadata: {{team: churn}}
  versioned: true
report: {{type: artifactstore.integrations.kedro.ArtifactDataset, name: churn/report, store: "{store}"}}
copied: {{type: artifactstore.integrations.kedro.ArtifactDataset, name: churn/copied, store: "{store}"}}
"{{name}}#stored": {{type: artifactstore.integrations.kedro.ArtifactDataset, name: "churn/{{name}}", store: "{store}"}}
part: {{type: artifactstore.integrations.kedro.ArtifactDataset, name: churn/part, store: "{store}"}}
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = artifactstore.create(tmp_path / "store")
    made.put([1, 2, 3], "churn/raw")
    made.put({"x": 1}, "churn/other")
    monkeypatch.setenv("CHURN_STORE", made.url)
    return made


@pytest.fixture
def project(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project as `kedro new` makes it."""
    root = tmp_path / "project"
    files = {
        "pyproject.toml": f'[tool.kedro]\npackage_name = "churning"\nproject_name = "churn"\nkedro_init_version = "{kedro.__version__}"\n',
        "src/churning/__init__.py": "",
        "src/churning/settings.py": "",
        "src/churning/pipeline_registry.py": NODES,
        "conf/base/catalog.yml": CATALOG.format(store=store.url),
        "conf/base/parameters.yml": "scale: 2\nmodel:\n  depth: 8\n",
        "conf/local/.keep": "",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(textwrap.dedent(text))
    before = list(sys.path)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root / "src"), *filter(None, map(str, sys.path))]))
    bootstrap_project(root)
    yield root
    sys.path[:] = before
    for name in [one for one in sys.modules if one.partition(".")[0] == "churning"]:
        del sys.modules[name]


def go(project: Path, runner: Any = None, **options: Any) -> Any:
    with KedroSession.create(project_path=project, **options.pop("session", {})) as session:
        session.run(runner=runner, **options)
        return session.session_id


def runs(store: Store) -> dict[str, Any]:
    return {one.name: one for one in artifactstore.open(store.url).runs()}


def inputs(store: Store, run: Any) -> dict[str, str]:
    """Return the inputs of a run by their roles, without code and environment."""
    found = provenance_of_run(artifactstore.open(store.url)._session, run.id).inputs
    return {str(one.role): one.ref for one in found}


@pytest.mark.parametrize("runner", [*RUNNERS, "async"])
def test_each_node_is_a_run_below_that_of_the_session(project: Path, store: Store, runner: str) -> None:
    session = go(project, ThreadRunner(is_async=True) if runner == "async" else RUNNERS[runner]())
    found = runs(store)
    assert {name: run.status for name, run in found.items()} == dict.fromkeys(
        ["kedro __default__", "clean", "describe", "train", "evaluate", "unrelated"], "finished"
    )
    top = found.pop("kedro __default__")
    assert top.id == f"kedro-{session}"
    assert {run.parent for run in found.values()} == {top.id}
    assert found["clean"].id == f"{top.id}-clean"
    assert found["clean"].params == {"scale": 2}
    assert found["describe"].params == {"scale": 2, "model": {"depth": 8}}
    assert inputs(store, found["clean"]) == {"raw": "churn/raw:v1"}
    assert inputs(store, found["train"]) == {"features": "churn/features:v1"}
    assert inputs(store, found["evaluate"]) == {"model": "churn/model:v1", "other": "churn/other:v1"}
    made = {name: store.artifact(name).run for name in ("churn/features", "churn/model", "churn/report", "churn/copied")}
    assert made == {
        "churn/features": found["clean"].id,
        "churn/model": found["train"].id,
        "churn/report": found["evaluate"].id,
        "churn/copied": found["unrelated"].id,
    }
    assert store.artifact("churn/note").run == found["evaluate"].id, "what a node puts itself is its own"
    assert (store.artifact("churn/model").kind, store.artifact("churn/model").metadata["team"]) == ("model", "churn")
    names = {one.name for one in store.lineage("churn/copied").upstream().artifacts if one.name}
    assert names == {"churn/other"}, "nodes have apart what they used"
    assert store.get("churn/model") == {"weights": [4.0]}
    assert store.verify().ok


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_failing_node_is_a_failed_run_and_so_is_its_session(
    project: Path, store: Store, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "train")
    with pytest.raises(ValueError, match="no convergence"):
        go(project, RUNNERS[runner]())
    found = runs(store)
    assert (found["train"].status, found["train"].error) == ("failed", "ValueError: no convergence")
    assert (found["clean"].status, found["kedro __default__"].status) == ("finished", "failed")
    assert inputs(store, found["train"]) == {"features": "churn/features:v1"}
    assert "evaluate" not in found
    with store.run("next", code=False):
        store.get("churn/features")
    assert runs(store)["next"].parent is None, "nothing of the session is current any more"


@pytest.mark.parametrize("runner", RUNNERS)
def test_an_output_that_cannot_be_saved_fails_the_run_of_its_node(
    project: Path, store: Store, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "save")
    with pytest.raises(Exception, match=r"churn/report|pickle"):
        go(project, RUNNERS[runner]())
    found = runs(store)
    assert found["evaluate"].status == "failed"
    assert found["kedro __default__"].status == "failed"
    assert "running" not in {run.status for run in found.values()}


def test_an_input_that_is_not_there_fails_the_session(project: Path, store: Store) -> None:
    store.registry.remove("churn/other:v1", "no consent")
    with pytest.raises(DatasetError, match="churn/other"):
        go(project)
    assert runs(store)["kedro __default__"].status == "failed"
    store.put(b"x", "x")
    with store.run("next", code=False) as run:
        ArtifactDataset("x", store=store.url).load()
    assert inputs(store, run) == {"None": "x:v1"}, "a load that failed announces no later one"


@pytest.mark.parametrize("runner", RUNNERS)
def test_nodes_load_what_their_session_saved_whatever_others_put(project: Path, store: Store, runner: str) -> None:
    go(project, RUNNERS[runner](), to_nodes=["clean"])
    store.put([100], "churn/features")  # another session, meanwhile
    go(project, RUNNERS[runner](), from_nodes=["describe"])
    assert store.get("churn/model") == {"weights": [100.0]}, "what is no part of a session is the newest"


def test_versions_of_others_do_not_come_between_the_nodes_of_a_session(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ArtifactDataset.save

    def save(self: Any, data: Any) -> None:
        original(self, data)
        if self._name == "churn/features":
            with detached():
                store.put([100], "churn/features")

    monkeypatch.setattr(ArtifactDataset, "save", save)
    go(project)
    assert store.get("churn/model") == {"weights": [4.0]}
    assert inputs(store, runs(store)["train"]) == {"features": "churn/features:v1"}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_node_that_yields_parts_ends_with_its_session(project: Path, store: Store, runner: str) -> None:
    go(project, RUNNERS[runner](), pipeline_names=["parts"])
    found = runs(store)
    assert {run.status for run in found.values()} == {"finished"}
    assert [store.get(one) for one in store.versions("churn/part")] == [{"part": one} for one in (1, 2, 3)]
    assert store.artifact("churn/part").run == found["parts"].id


def test_a_version_is_chosen_as_for_any_versioned_dataset(project: Path, store: Store) -> None:
    go(project)
    store.put({"weights": [0]}, "churn/model")
    store.alias("churn/model:v1", "production")
    for version in ("v1", "1", "production"):
        go(project, from_nodes=["evaluate"], load_versions={"model": version})
    seen = [inputs(store, run)["model"] for run in store.runs("evaluate")]
    assert seen == ["churn/model:v1"] * 4


def test_a_second_session_of_the_same_millisecond_is_a_run_of_its_own(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro.framework.session.session.generate_timestamp", lambda: "2026-12-01T00.00.00.000Z")
    go(project)
    go(project)
    tops = [run.id for run in store.runs("kedro*")]
    assert len(set(tops)) == 2
    assert tops[0] == "kedro-2026-12-01T00.00.00.000Z"
    assert len(store.versions("churn/model")) == 1, "what is unchanged is no new version"


def test_a_project_without_such_datasets_is_left_alone(project: Path, store: Store) -> None:
    kept = "type: kedro.io.MemoryDataset"
    names = ("raw", "other", "features", "model", "report", "copied", "part")
    (project / "conf/base/catalog.yml").write_text("\n".join(f"{name}: {{{kept}}}" for name in names))
    with pytest.raises(DatasetError, match="has not been saved"):
        go(project)
    assert len(store.runs()) == 0


def test_a_session_inside_of_a_run_is_below_it_and_its_loads_are_no_inputs_of_that_run(project: Path, store: Store) -> None:
    with store.run("outer", code=False) as outer:
        go(project)
    assert runs(store)["kedro __default__"].parent == outer.id
    assert inputs(store, outer) == {}
    assert inputs(store, runs(store)["clean"]) == {"raw": "churn/raw:v1"}


# -- the dataset alone


def test_a_catalog_of_its_own_needs_no_session(store: Store) -> None:
    catalog = DataCatalog.from_config(
        {"model": {"type": "artifactstore.integrations.kedro.ArtifactDataset", "name": "m", "store": store.url, "kind": "model"}}
    )
    assert not catalog.exists("model")
    with store.run("by hand", code=False) as run:
        catalog.save("model", {"a": 1})
        assert catalog.load("model") == {"a": 1}
    assert catalog.exists("model")
    assert store.artifact("m").run == run.id


@pytest.mark.parametrize("value", ["a text / no path", b"bytes", {"a": [1, None]}, [1, 2], 3.5])
def test_values_come_back_as_they_were_saved(store: Store, value: Any) -> None:
    dataset = ArtifactDataset("value", store=store)
    dataset.save(value)
    assert dataset.load() == value


def test_a_folder_is_saved_by_its_path(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.txt").write_text("a")
    dataset = ArtifactDataset("folder", store=store)
    dataset.save(tmp_path / "folder")
    assert (dataset.load() / "a.txt").read_text() == "a"
    assert ArtifactDataset("folder:v1/a.txt", store=store).load().read_text() == "a"


@pytest.mark.parametrize(
    ("name", "version", "wanted"),
    [
        ("m", None, [3]), ("m", 1, [1]), ("m", "v2", [2]), ("m", "2", [2]), ("m", "best", [1]), ("m:v1", None, [1]),
        ("m:best", None, [1]), ("m", Version(None, "now"), [3]), ("m", Version("v2", "now"), [2]),
    ],
)  # fmt: skip
def test_a_dataset_loads_the_version_that_it_pins(store: Store, name: str, version: Any, wanted: list[int]) -> None:
    for number in (1, 2, 3):
        store.put([number], "m", aliases=["best"] if number == 1 else [])
    dataset = ArtifactDataset(name, version, store=store.url)
    assert dataset.load() == wanted
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert (other.load(), str(other)) == (wanted, str(dataset))


@pytest.mark.parametrize(
    "arguments", [("m:v1", 2), ("m", True), ("m", 1.5), ("m", ""), ("m", "v0"), ("m/../x",), ("m", "a b"), (7,)]
)
def test_what_is_no_version_is_refused_when_the_catalog_is_made(store: Store, arguments: tuple[Any, ...]) -> None:
    name, version = (*arguments, None)[:2]
    with pytest.raises(InvalidInputError):
        ArtifactDataset(name, version, store)


@pytest.mark.parametrize("name", ["m:v1", "m:best", "m@blake3:abcdef", "m:v1/a.txt"])
def test_one_version_is_never_saved(store: Store, name: str) -> None:
    with pytest.raises(DatasetError, match="never changes"):
        ArtifactDataset(name, store=store).save([1])


def test_an_alias_of_a_tainted_version_is_not_loaded(store: Store) -> None:
    store.put([1], "m", aliases=["best"])
    store.registry.taint("m:v1", "wrong labels")
    with pytest.raises(DatasetError, match="wrong labels"):
        ArtifactDataset("m", "best", store=store).load()


def test_datasets_with_stores_of_their_own_are_in_one_run(store: Store) -> None:
    from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks_entry_points
    from kedro.pipeline import Pipeline, node

    manager = _create_hook_manager()
    _register_hooks_entry_points(manager, [])
    catalog = DataCatalog(
        {
            "raw": ArtifactDataset("churn/raw", store=artifactstore.open(store.url, "r")),
            "made": ArtifactDataset("made", store=artifactstore.open(store.url)),
        }
    )
    pipeline = Pipeline([node(sum, "raw", "made", name="add")])
    SequentialRunner().run(pipeline, catalog, manager)
    (run,) = store.runs()
    assert (run.name, run.status, run.parent) == ("add", "finished", None)
    assert inputs(store, run) == {"raw": "churn/raw:v1"}
    assert store.artifact("made").run == run.id


def test_a_store_that_is_only_read_has_no_runs(store: Store) -> None:
    from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks_entry_points
    from kedro.pipeline import Pipeline, node

    manager = _create_hook_manager()
    _register_hooks_entry_points(manager, [])
    catalog = DataCatalog({"raw": ArtifactDataset("churn/raw", store=artifactstore.open(store.url, "r"))})
    result = SequentialRunner().run(Pipeline([node(sum, "raw", "made", name="add")]), catalog, manager)
    assert result["made"].load() == 6
    assert len(store.runs()) == 0


def test_an_interrupted_session_is_a_failed_run(project: Path, store: Store) -> None:
    program = f"""
import os
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project({str(project)!r})
import churning.pipeline_registry as registry

registry.clean.__code__ = (lambda raw, scale: (_ for _ in ()).throw(KeyboardInterrupt())).__code__
with KedroSession.create(project_path={str(project)!r}) as session:
    session.run()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    assert {run.name: (run.status, run.error) for run in store.runs()} == dict.fromkeys(
        ["kedro __default__", "clean"], ("failed", "it was interrupted")
    )


def test_each_object_that_was_loaded_is_known_by_its_artifact(store: Store) -> None:
    dataset = ArtifactDataset("m", store=store)
    values = []
    for number in (1, 2, 3):
        store.put([number], "m")
        values.append(dataset.load())
    assert [dataset.artifact_of(value).ref for value in values] == ["m:v1", "m:v2", "m:v3"]
    assert dataset.artifact_of(object()).ref == "m:v3"


def test_no_secret_is_described_or_logged(tmp_path: Path) -> None:
    dataset = ArtifactDataset(
        "m",
        store="s3://user:hunter2hunter2@bucket/ml?token=hunter3hunter3",
        credentials={"secret": "hunter4hunter4"},
        kind="model",
    )
    assert "hunter" not in f"{dataset} {dataset!r} {dataset._describe()}"
    assert "s3://bucket/ml" in str(dataset)
    other = pickle.loads(pickle.dumps(dataset))
    assert other._credentials == {"secret": "hunter4hunter4"}, "workers need it"


def test_behind_a_cache_the_newest_load_or_save_counts(project: Path, store: Store) -> None:
    text = (project / "conf/base/catalog.yml").read_text().splitlines()
    line = next(one for one in text if one.startswith("features:"))
    cached = line.replace("features: ", "features: {type: CachedDataset, dataset: ") + "}"
    (project / "conf/base/catalog.yml").write_text("\n".join(cached if one is line else one for one in text))
    go(project)
    assert inputs(store, runs(store)["train"]) == {"features": "churn/features:v1"}
    assert store.artifact("churn/features").run == runs(store)["clean"].id


def test_what_memory_carries_between_nodes_is_in_their_lineage(project: Path, store: Store) -> None:
    text = (project / "conf/base/catalog.yml").read_text()
    (project / "conf/base/catalog.yml").write_text("\n".join(one for one in text.splitlines() if not one.startswith("features:")))
    for runner in RUNNERS.values():
        go(project, runner())
        found = runs(store)
        assert inputs(store, found["train"]) == {"raw": "churn/raw:v1"}
        assert {run.status for run in found.values()} == {"finished"}


def test_the_snippets_of_its_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("kedro")
