"""ML-BOM: what CycloneDX's own strict validator takes, and what is a component."""

import json
import warnings
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import InvalidInputError, Store
from artifactstore.work.export.ml_bom import _purl
from artifactstore.work.export.record import as_text


@pytest.fixture(scope="module")
def validator() -> Any:
    """CycloneDX's own; it imports for a second, which each worker that only collects tests need not take."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the validator's own dependencies
        made = validation.JsonStrictValidator(SchemaVersion.V1_6)
        made.validate_str("{}")  # reads its schemas
    return made


def bom(store: Store, ref: str = "churn/model", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = store.lineage(ref).export("ml-bom", **options)
    return found


def properties(entity: dict[str, Any]) -> dict[str, str]:
    return {one["name"].removeprefix("artifactstore:"): one["value"] for one in entity.get("properties", ())}


def test_the_strict_validator_takes_every_artifact_and_every_run(chain: Store, validator: Any):
    for ref in ("churn/report", "churn/raw", chain.runs("evaluate")[0].id):
        assert validator.validate_str(as_text(bom(chain, ref))) is None, ref


def test_the_validator_finds_unknown_keys_and_wrong_words(chain: Store, validator: Any):
    for break_it in (
        lambda found: found.update(verdict="good"),
        lambda found: found["metadata"]["component"].update(type="model"),
        lambda found: found["metadata"]["component"]["modelCard"].update(metrics=[]),
    ):
        broken = json.loads(json.dumps(bom(chain)))
        break_it(broken)
        assert validator.validate_str(json.dumps(broken)) is not None


def test_the_model_has_its_metrics_its_data_its_commit_and_its_files(chain: Store):
    found = bom(chain)
    model = found["metadata"]["component"]
    assert (found["bomFormat"], found["specVersion"], model["type"]) == ("CycloneDX", "1.6", "machine-learning-model")
    assert (model["name"], model["version"]) == ("churn/model", "v1")
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "auc", "value": "0.91"}]
    features = chain.artifact("churn/features").digest
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": features}]
    (commit,) = model["pedigree"]["commits"]
    assert commit == {"uid": chain.runs("train")[0].code["commit"], "url": "https://git.example/team/churn.git"}
    assert "no commit holds" in model["pedigree"]["notes"]
    files = {one["name"]: {item["alg"]: item["content"] for item in one["hashes"]} for one in model["components"]}
    assert files["weights ä.bin"]["SHA-256"] == sha256(b"w" * 100).hexdigest()
    assert "BLAKE3" in files["weights ä.bin"]
    assert properties(model)["aliases"] == '["production"]'


def test_everything_that_it_was_made_from_is_a_component_and_a_dependency(chain: Store):
    found = bom(chain)
    components = {one["bom-ref"]: one for one in found["components"]}
    assert len(components) == len(found["components"])
    names = {one["name"] for one in found["components"] if one["type"] == "data"}
    assert {"churn/raw", "churn/features"} <= names
    kinds = {one["data"][0]["type"] for one in found["components"] if one["type"] == "data"}
    assert kinds == {"dataset", "source-code", "configuration"}
    libraries = {one["name"]: one for one in found["components"] if one["type"] == "library"}
    assert libraries["numpy"]["purl"] == f"pkg:pypi/numpy@{libraries['numpy']['version']}"
    depends = {one["ref"]: one.get("dependsOn", []) for one in found["dependencies"]}
    known = {*components, found["metadata"]["component"]["bom-ref"]}
    assert set(depends) == known
    assert {ref for refs in depends.values() for ref in refs} <= known
    model, features, raw = (chain.artifact(f"churn/{name}").digest for name in ("model", "features", "raw"))
    assert features in depends[model]
    assert raw in depends[features]
    assert libraries["numpy"]["bom-ref"] in depends[model]
    assert [one["name"] for one in found["formulation"][0]["workflows"]] == ["prepare äö", "train"]


def test_a_base_model_is_an_ancestor_and_metadata_have_their_words(tmp_path: Path, validator: Any):
    store = artifactstore.create(tmp_path / "store", digest="sha256", cache=None)
    about = {"description": "No <b> bold", "license": "Apache-2.0", "tags": ["a", "b"], "task": "ranking", "owner": "ann", "x": 1}
    store.put(b"base", "base", kind="model")
    store.put(b"rows", "rows", kind="dataset", metadata=about)
    with store.run("tune", code=False) as run:
        run.get("base")
        run.get("rows")
        run.put(b"tuned", "tuned", kind="model", metadata=about)
    found = bom(store, "tuned")
    assert validator.validate_str(as_text(found)) is None
    model = found["metadata"]["component"]
    (ancestor,) = model["pedigree"]["ancestors"]
    assert (ancestor["name"], properties(ancestor)["digest"]) == ("base", store.artifact("base").digest)
    assert (model["description"], model["tags"]) == ("No <b> bold", ["a", "b"])
    assert model["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert model["modelCard"]["modelParameters"] == {"datasets": [{"ref": store.artifact("rows").digest}], "task": "ranking"}
    assert properties(model)["metadata:x"] == "1"
    rows = next(one for one in found["components"] if one["name"] == "rows")
    assert rows["hashes"] == [{"alg": "SHA-256", "content": sha256(b"rows").hexdigest()}]
    assert rows["data"][0]["governance"] == {"owners": [{"contact": {"name": "ann"}}]}
    assert bom(store, "rows")["metadata"]["component"]["type"] == "data"


def test_serial_numbers_are_equal_for_equal_bills_and_others_for_others(chain: Store):
    first, again, other = bom(chain), bom(chain), bom(chain, "churn/report")
    assert first == again
    assert first["serialNumber"] != other["serialNumber"]
    assert datetime.fromisoformat(first["metadata"]["timestamp"]) == chain.runs("train")[0].finished


def test_a_run_is_of_its_model_and_one_that_made_nothing_has_no_bill(chain: Store, tmp_path: Path):
    (train,) = chain.runs("train")
    assert bom(chain, train.id)["metadata"]["component"]["name"] == "churn/model"
    store = artifactstore.create(tmp_path / "store", cache=None)
    with store.run("idle", code=False) as run:
        pass
    with pytest.raises(InvalidInputError, match="made nothing"):
        bom(store, run.id)


def test_packages_have_urls_of_their_own():
    assert _purl("Ruamel_yaml.Clib", "0.2+x", None) == "pkg:pypi/ruamel-yaml-clib@0.2%2Bx"
    vcs = {"url": "https://host/a b.git", "vcs_info": {"vcs": "git", "commit_id": "f00"}}
    assert _purl("x", "1", vcs) == "pkg:pypi/x@1?vcs_url=git%2Bhttps://host/a%20b.git%40f00"
    assert _purl("x", "", {"url": "https://host/x.whl"}) == "pkg:pypi/x?download_url=https://host/x.whl"
    assert _purl("x", "1", {"local": True, "editable": True}) == "pkg:pypi/x@1"
