"""Exported layouts: the same bytes each time, as the published schemas have them, complete or not there."""

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from artifactstore.errors import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.integrations import oci
from artifactstore.integrations.oci.media_types import layer_type
from artifactstore.store import Store
from tests.integrations.oci import schemas
from tests.integrations.oci.conftest import MODEL, write
from tests.integrations.oci.test_push_pull import SHAPES, plain, with_links
from tests.servers.oci import digest_of
from tests.work.tree import tree


def check(value: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def blob(layout: Path, entry: Any) -> bytes:
    data: bytes = (layout / "blobs" / entry["digest"].replace(":", "/")).read_bytes()
    assert (digest_of(data), len(data)) == (entry["digest"], entry["size"])
    return data


def opened(layout: Path) -> tuple[Any, Any, list[Any]]:
    """Check a layout; return its manifest, its config and its layers."""
    check(json.loads((layout / "oci-layout").read_bytes()), schemas.LAYOUT)
    index = json.loads((layout / "index.json").read_bytes())
    check(index, schemas.INDEX)
    (entry,) = index["manifests"]
    manifest = json.loads(blob(layout, entry))
    check(manifest, schemas.MANIFEST)
    assert entry.get("artifactType") == manifest.get("artifactType")
    config = json.loads(blob(layout, manifest["config"]))
    used = {entry["digest"], manifest["config"]["digest"], *(one["digest"] for one in manifest["layers"])}
    assert {f"sha256:{one.name}" for one in (layout / "blobs/sha256").iterdir()} == used
    assert {one.name for one in layout.iterdir()} == {"oci-layout", "index.json", "blobs"}
    return manifest, config, [(one, blob(layout, one)) for one in manifest["layers"]]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_model_pack_is_as_its_schema_has_it(store: Store, tmp_path: Path, shape: Any) -> None:
    made = shape(store, tmp_path / "source")
    assert oci.export(store, "a", tmp_path / "layout") == tmp_path / "layout"
    manifest, config, layers = opened(tmp_path / "layout")
    check(config, schemas.MODEL_CONFIG)
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert config["modelfs"]["diffIds"] == [one["digest"] for one, _ in layers]
    assert (config["descriptor"]["name"], config["descriptor"]["version"]) == ("a", "v1")
    files = {one.path: one for one in made.files if one.type == "file"}
    assert len(layers) == max(1, len(files))
    for entry, data in layers if files else ():
        path = entry["annotations"]["org.opencontainers.image.title"]
        assert entry["annotations"]["org.cncf.model.filepath"] == path
        assert re.search(schemas.MODEL_LAYER, entry["mediaType"])
        assert data == store.open_file(made.digest, path).read()
    notes = manifest["annotations"]
    assert notes["artifactstore.digest"] == made.digest
    assert notes["artifactstore.uri"] == made.uri
    assert notes["artifactstore.uri"].endswith(f"#a@{made.digest}")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_an_image_has_everything_below_models(store: Store, tmp_path: Path, shape: Any) -> None:
    shape(store, tmp_path / "source")
    oci.export(store, "a", tmp_path / "layout", layout="image", platform="linux/arm64/v8")
    manifest, config, ((entry, _),) = opened(tmp_path / "layout")
    check(config, schemas.IMAGE_CONFIG)
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm64", "v8")
    assert config["rootfs"]["diff_ids"] == [entry["digest"]]
    assert (entry["mediaType"], "artifactType" in manifest) == ("application/vnd.oci.image.layer.v1.tar", False)
    with tarfile.open(tmp_path / "layout/blobs" / entry["digest"].replace(":", "/")) as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, 0, "", "")}
    names = [one.name.split("/") for one in members]
    assert names == sorted(names)
    assert tree(tmp_path / "unpacked/models") == tree(store.get("a:v1", tmp_path / "got"))
    for one in members:
        assert one.mode == (0o777 if one.issym() else 0o755 if one.isdir() or one.mode & 0o111 else 0o644)


@pytest.mark.parametrize("layout", ["modelpack", "image"])
def test_the_same_version_is_the_same_bytes_each_time(store: Store, tmp_path: Path, layout: str) -> None:
    with_links(store, tmp_path / "source")
    store.alias("a:v1", "best")
    oci.export(store, "a", tmp_path / "one", layout=layout)
    store.registry.describe("a:v1", {"more": "of it"})
    store.registry.measure("a:v1", {"auc": 0.9})
    with store.run("again", code=False):
        store.put(tmp_path / "source", "other", kind="model")
    (tmp_path / "two").mkdir()
    oci.export(store, "a:best", tmp_path / "two", layout=layout)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_push_and_an_export_are_the_same_manifest(store: Store, tmp_path: Path, host: str) -> None:
    plain(store, tmp_path / "source")
    oci.export(store, "a", tmp_path / "layout")
    pushed = oci.push(store, "a", f"{host}/same", plain_http=True)
    assert json.loads((tmp_path / "layout/index.json").read_bytes())["manifests"][0]["digest"] == pushed.digest


def test_a_folder_with_something_in_it_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    plain(store, tmp_path / "source")
    before = tree(tmp_path / "source")
    for to, error in (
        (tmp_path / "source", AlreadyExistsError),
        (tmp_path / "source/README.md", AlreadyExistsError),
        (tmp_path / "no/layout", InvalidInputError),
    ):
        with pytest.raises(error):
            oci.export(store, "a", to)
    assert tree(tmp_path / "source") == before
    for options in ({"layout": "docker"}, {"platform": "linux/amd64"}, {"layout": "image", "platform": "linux"}):
        with pytest.raises(InvalidInputError):
            oci.export(store, "a", tmp_path / "layout", **options)
    with pytest.raises(NotFoundError):
        oci.export(store, "none", tmp_path / "layout")
    assert not (tmp_path / "layout").exists()


def test_damage_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    import artifactstore

    plain(store, tmp_path / "source")
    for pack in (tmp_path / "store/packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[100_000] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    for layout in ("modelpack", "image"):
        with pytest.raises(CorruptionError):
            oci.export(artifactstore.open(tmp_path / "store", cache=None), "a", tmp_path / "layout", layout=layout)
    assert [one.name for one in tmp_path.iterdir() if one.name not in {"store", "source"}] == []


@pytest.mark.parametrize(
    ("path", "kind", "sort"),
    [
        ("model.safetensors", "model", "weight"),
        ("pytorch_model.bin", "model", "weight"),
        ("config.json", "model", "weight.config"),
        ("tokenizer.model", "model", "weight.config"),
        ("MLmodel", "model", "weight.config"),
        ("README.md", "model", "doc"),
        ("LICENSE", "data", "doc"),
        ("train.py", "model", "code"),
        ("Makefile", "code", "code"),
        ("rows.parquet", "data", "dataset"),
        ("rows.json", "data", "dataset"),
    ],
)
def test_a_layer_is_of_the_kind_that_its_name_says(path: str, kind: str, sort: str) -> None:
    assert layer_type(path, kind) == f"application/vnd.cncf.model.{sort}.v1.raw"


def test_the_files_hashes_are_the_layers(store: Store, tmp_path: Path) -> None:
    plain(store, write(tmp_path / "source", MODEL))
    oci.export(store, "a", tmp_path / "layout")
    manifest, _, _ = opened(tmp_path / "layout")
    found = {one["annotations"]["org.opencontainers.image.title"]: one["digest"] for one in manifest["layers"]}
    assert found == {path: f"sha256:{hashlib.sha256(data).hexdigest()}" for path, data in MODEL.items()}
