"""Azure Machine Learning: assets as its schemas ask, and which artifact a mounted model is."""

import json
import subprocess
from pathlib import Path

import pytest

import artifactstore
from artifactstore.cli.runner import run as cli
from artifactstore.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from artifactstore.integrations import azureml
from artifactstore.runtime.yaml.reader import parse_yaml
from artifactstore.store import Store
from tests.servers.place import SERVERS

SDK = SERVERS / "azureml" / "bin" / "python"
LOAD = """
import json, sys
from azure.ai.ml import load_data, load_model
load = load_model if sys.argv[1].endswith("model.yml") else load_data
made = load(sys.argv[1])
print(json.dumps([made.type, made.name, made.version, str(made.path), made.description, dict(made.tags)]))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"weights")
    (folder / "deep" / "config.json").write_text("{}")
    store.put(folder, "team/churn", kind="model", description='of "November": 100 %\n# no comment')
    (folder / "MLmodel").write_text("flavors: {}\n")
    store.put(folder, "team/churn", kind="model")
    store.put({"x": 1}, "table")
    return store


ASSETS = {
    "team/churn:v1": ("model.yml", "custom_model", "team-churn", "1"),
    "team/churn:v2": ("model.yml", "mlflow_model", "team-churn", "2"),
    "table": ("data.yml", "uri_folder", "table", "1"),
}


@pytest.mark.parametrize("ref", ASSETS)
def test_an_asset_says_what_it_is_and_which_artifact(store: Store, ref: str, tmp_path: Path) -> None:
    file, kind, name, version = ASSETS[ref]
    assert cli(["export", ref, "--as", "azureml", "--to", str(tmp_path / "out"), "--store", store.url]) == 0
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted(["files", file])
    made = parse_yaml((tmp_path / "out" / file).read_bytes(), file)
    artifact = store.artifact(ref)
    assert (made["type"], made["name"], made["version"], made["path"]) == (kind, name, version, "files")
    assert made["$schema"].endswith("/model.schema.json" if kind != "uri_folder" else "/data.schema.json")
    assert made["tags"] == {
        "artifactstore.digest": artifact.digest,
        "artifactstore.ref": artifact.ref,
        "artifactstore.uri": artifact.uri,
    }
    assert made.get("description") == artifact.metadata.get("description")
    assert not store.verify_folder(tmp_path / "out" / "files", ref)
    with pytest.raises(AlreadyExistsError):
        azureml.export(store, ref, str(tmp_path / "out"))


def test_a_mounted_model_is_recognised_by_its_content(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azureml.export(store, "team/churn:v1", str(tmp_path / "mounted" / "azureml-models" / "churn"))
    files = tmp_path / "mounted" / "azureml-models" / "churn" / "files"
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(files))
    assert azureml.model(store).ref == "team/churn:v1"
    outer = tmp_path / "outer"
    outer.mkdir()
    files.rename(outer / "files")
    assert azureml.model(store, outer).ref == "team/churn:v1", "the service mounts the folder inside of another"
    (outer / "files" / "weights.bin").write_bytes(b"Weights")
    with pytest.raises(NotFoundError, match="no artifact"):
        azureml.model(store, outer)


def test_wrong_calls_say_what_to_do(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZUREML_MODEL_DIR", raising=False)
    with pytest.raises(InvalidInputError, match="AZUREML_MODEL_DIR"):
        azureml.model(store)
    with pytest.raises(InvalidInputError, match="no such folder"):
        azureml.model(store, tmp_path / "nothing")
    assert cli(["export", "team/churn", "--as", "azureml", "--store", store.url]) == 2
    assert cli(["export", "nothing", "--as", "azureml", "--to", str(tmp_path / "x"), "--store", store.url]) == 3
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.skipif(not SDK.exists(), reason="azure-ai-ml is not installed")
def test_the_real_sdk_reads_the_assets(store: Store, tmp_path: Path) -> None:
    for ref, (_, kind, name, version) in ASSETS.items():
        folder = tmp_path / ref.replace("/", "-").replace(":", "-")
        made = azureml.export(store, ref, str(folder))
        done = subprocess.run([str(SDK), "-c", LOAD, made], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        artifact = store.artifact(ref)
        read = json.loads(done.stdout.strip().splitlines()[-1])
        assert read[:4] == [kind, name, version, str(folder / "files")]
        assert read[4] == artifact.metadata.get("description")
        assert read[5]["artifactstore.digest"] == artifact.digest
