"""There and back: what was pushed comes back as the same artifact, and nothing is sent twice."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.integrations import oci
from artifactstore.store import Store
from tests.integrations.oci.conftest import MODEL, write
from tests.servers.oci import INDEX, MemoryRegistry
from tests.work.tree import tree


def plain(store: Store, folder: Path) -> Any:
    return store.put(write(folder, MODEL), "a", kind="model")


def with_links(store: Store, folder: Path) -> Any:
    write(folder, MODEL)
    (folder / "nothing/here").mkdir(parents=True)
    (folder / "latest").symlink_to("config/settings.json")
    (folder / "up").mkdir()
    (folder / "up/there").symlink_to("../config")
    return store.put(folder, "a", kind="model")


def code(store: Store, folder: Path) -> Any:
    write(folder, {"run.sh": b"#!/bin/sh", "lib/x.py": b"x = 1"})
    (folder / "run.sh").chmod(0o755)
    return store.put(folder, "a", kind="code")


def executables_outside_of_the_identity(store: Store, folder: Path) -> Any:
    write(folder, {"run.sh": b"#!/bin/sh", "x": b""})
    (folder / "run.sh").chmod(0o755)
    return store.put(folder, "a", kind="data", modes=False)


def one_file(store: Store, folder: Path) -> Any:
    return store.put(write(folder, {"x.onnx": b"onnx"}) / "x.onnx", "a")


def folder_of_one(store: Store, folder: Path) -> Any:
    return store.put(write(folder, {"x.onnx": b"onnx"}), "a")


def no_file(store: Store, folder: Path) -> Any:
    folder.mkdir()
    return store.put(folder, "a")


def an_object(store: Store, folder: Path) -> Any:
    del folder
    return store.put({"depth": 8, "names": ["a", "b"]}, "a")


def odd_names(store: Store, folder: Path) -> Any:
    """Line ends of every kind, and signs that JSON, tar and URLs escape."""
    names = [
        "new\nline",
        "sep\u2028arator",
        "next\x85line",
        "form\x0cfeed",
        'quo"te',
        "per%20cent",
        "ta\tb",
        "a#b?c&d=e",
        "-dash",
        "\U0001f600",
    ]
    write(folder, {name: name.encode() for name in names})
    for name in names:
        (folder / f"empty {name}").mkdir()
        (folder / f"link {name}").symlink_to(name)
    return store.put(folder, "a", kind="model")


def deep_and_long(store: Store, folder: Path) -> Any:
    deep = "/".join(["d" * 60] * 5)
    return store.put(write(folder, {f"{deep}/x": b"1", "n" * 200: b"2", "back\\slash": b"3"}), "a")


SHAPES: list[Callable[[Store, Path], Any]] = [
    plain, with_links, code, executables_outside_of_the_identity, one_file, odd_names, folder_of_one, no_file, an_object, deep_and_long,
]  # fmt: skip


@pytest.mark.parametrize("layout", ["modelpack", "image"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_what_was_pushed_comes_back_as_the_same_artifact(  # noqa: PLR0917 - fixtures
    store: Store, other: Store, tmp_path: Path, host: str, shape: Any, layout: str
) -> None:
    made = shape(store, tmp_path / "source")
    repository = f"{host}/{shape.__name__}/{layout}"
    pushed = oci.push(store, "a", repository, layout=layout, plain_http=True)
    assert pushed.pinned == f"{repository}@{pushed.digest}"
    assert pushed.target == f"{repository}:latest"
    got = oci.pull(other, repository, "b", plain_http=True)
    assert (got.digest, got.kind, got.single, got.format) == (made.digest, made.kind, made.single, made.format)
    assert other.verify(level="full").ok
    source, target = store.get(made.digest, tmp_path / "one"), other.get(got.digest, tmp_path / "two")
    assert tree(source) == tree(target)
    modes = [{path.name: path.stat().st_mode & 0o111 for path in top.rglob("*") if path.is_file()} for top in (source, target)]
    assert modes[0] == modes[1]
    assert dict(got.metadata) == {"oci.repository": repository, "oci.digest": pushed.digest}
    before = len(other.log())
    again = oci.pull(other, pushed.pinned, "b", plain_http=True)
    assert (again.new, len(other.log())) == (False, before)


@pytest.mark.parametrize("layout", ["modelpack", "image"])
def test_a_second_push_sends_nothing(store: Store, tmp_path: Path, host: str, layout: str) -> None:
    with store.run("train", code=False):
        with_links(store, tmp_path / "source")
    first = oci.push(store, "a", f"{host}/second/{layout}:v1", layout=layout, plain_http=True)
    assert first.sent == first.blobs > 2
    assert {one["type"] for one in first.referrers} == {"application/vnd.in-toto+json", "application/vnd.cyclonedx+json"}
    again = oci.push(store, "a:v1", f"{host}/second/{layout}:other", layout=layout, plain_http=True)
    assert (again.digest, again.sent, again.sent_bytes, again.blobs) == (first.digest, 0, 0, first.blobs)
    assert again.referrers == first.referrers


def test_a_second_push_to_the_same_tag_writes_nothing_at_all(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    with store.run("train", code=False):
        plain(store, tmp_path / "source")
    for lists in (True, False):
        registry.lists_referrers = lists
        oci.push(store, "a", f"{registry.host}/x:{lists}", plain_http=True)
        registry.requests.clear()
        oci.push(store, "a", f"{registry.host}/x:{lists}", plain_http=True)
        assert {method for method, _, _ in registry.requests} == {"HEAD", "GET"}


def test_of_a_new_version_only_the_changed_files_are_sent(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    plain(store, tmp_path / "source")
    oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
    (tmp_path / "source/README.md").write_bytes(b"read me again")
    plain(store, tmp_path / "source2")
    store.put(tmp_path / "source", "a", kind="model")
    done = oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
    assert done.sent == 2  # the file, and the config that lists all of them
    assert done.sent_bytes < 3000


def test_of_a_new_version_only_the_changed_files_are_fetched(
    store: Store, other: Store, tmp_path: Path, registry: MemoryRegistry
) -> None:
    store.put(write(tmp_path / "source", MODEL), "a", kind="data")
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    oci.pull(other, f"{registry.host}/x", "b", plain_http=True)
    registry.requests.clear()
    assert not oci.pull(other, f"{registry.host}/x", "b", plain_http=True).new
    assert registry.asked("GET", "/blobs/") == 0
    made = store.put(write(tmp_path / "source", {"README.md": b"read me again", "odd/back\\slash": b"odd"}), "a", kind="data")
    oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
    registry.requests.clear()
    assert oci.pull(other, f"{registry.host}/x", "b", plain_http=True).digest == made.digest
    assert registry.asked("GET", "/blobs/") == 1
    back = store.put(write(tmp_path / "back", MODEL), "c", kind="data")
    assert oci.push(store, "c", f"{registry.host}/x:c", plain_http=True, referrers=False).sent == 1
    assert oci.pull(other, f"{registry.host}/x:c", "b", plain_http=True).digest == back.digest


def test_what_is_damaged_here_is_fetched(store: Store, other: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    made = plain(store, tmp_path / "source")
    oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
    oci.pull(other, f"{registry.host}/x", "b", plain_http=True)
    for pack in (tmp_path / "other/packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[100_000] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    registry.requests.clear()
    fresh = artifactstore.open(tmp_path / "other", cache=None)
    assert oci.pull(fresh, f"{registry.host}/x", "b", plain_http=True).digest == made.digest
    assert registry.asked("GET", "/blobs/") == 1


def test_from_another_repository_of_the_registry_nothing_is_sent_again(
    store: Store, other: Store, tmp_path: Path, registry: MemoryRegistry
) -> None:
    plain(store, tmp_path / "source")
    oci.push(store, "a", f"{registry.host}/base", plain_http=True, referrers=False)
    oci.pull(other, f"{registry.host}/base", "b", plain_http=True)
    registry.sent = 0
    done = oci.push(other, "b", f"{registry.host}/team/copy", plain_http=True, referrers=False)
    assert done.sent == 1  # its config
    assert registry.sent == done.sent_bytes < 2000
    assert oci.pull(store, f"{registry.host}/team/copy", "c", plain_http=True).digest == store.artifact("a").digest


@pytest.mark.parametrize("lists", [True, False])
def test_what_refers_to_a_manifest_is_listed(store: Store, tmp_path: Path, registry: MemoryRegistry, *, lists: bool) -> None:
    registry.lists_referrers = lists
    with store.run("train", code=False):
        made = plain(store, tmp_path / "source")
    done = oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    tag = done.digest.replace(":", "-")
    assert (("x", tag) in registry.manifests) is not lists
    for one in done.referrers:
        manifest = json.loads(registry.manifests["x", one["digest"]][1])
        assert manifest["subject"]["digest"] == done.digest
        assert (manifest["artifactType"], manifest["annotations"]["artifactstore.digest"]) == (one["type"], made.digest)
        document = json.loads(registry.blobs["x"][manifest["layers"][0]["digest"]])
        assert "predicateType" in document or document["bomFormat"] == "CycloneDX"
    if not lists:
        rows = json.loads(registry.manifests["x", tag][1])["manifests"]
        assert {one["digest"] for one in rows} == {one["digest"] for one in done.referrers}
        assert {one["artifactType"] for one in rows} == {one["type"] for one in done.referrers}


def test_the_index_of_referrers_keeps_what_others_listed(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    registry.lists_referrers = False
    plain(store, tmp_path / "source")
    digest = oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False).digest
    theirs = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "0" * 64, "size": 3, "x": 1}
    tag = digest.replace(":", "-")
    registry.add_manifest("x", tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [theirs]}, INDEX)
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    rows = json.loads(registry.manifests["x", tag][1])["manifests"]
    assert rows[0] == theirs
    assert len(rows) == 2


def test_another_writer_of_that_index_loses_nothing(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    registry.lists_referrers = False
    plain(store, tmp_path / "source")
    digest = oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False).digest
    tag, times = digest.replace(":", "-"), [0]
    empty = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()

    def always_first(handler: Any) -> bool:
        if handler.command == "GET" and handler.path.endswith(tag) and times[0] > 0:
            times[0] -= 1
            handler.answer(200, empty, Content_Type=INDEX)
            return True
        return False

    registry.override = always_first
    times[0] = 2
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert len(json.loads(registry.manifests["x", tag][1])["manifests"]) == 1
    times[0] = 99
    with pytest.raises(ConflictError, match="push again"):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)


def test_a_signature_goes_along(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = tmp_path / "key.pem"
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    plain(store, tmp_path / "source")
    signature = store.registry.sign("a", reason="r", signer=key)
    done = oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    kinds = {one["type"]: one["digest"] for one in done.referrers}
    manifest = json.loads(registry.manifests["x", kinds["application/vnd.dev.sigstore.bundle.v0.3+json"]][1])
    assert json.loads(registry.blobs["x"][manifest["layers"][0]["digest"]]) == json.loads(signature.bundle)


def test_a_store_with_other_digests_takes_the_same_files(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    made = with_links(store, tmp_path / "source")
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    hashed = artifactstore.create(tmp_path / "sha256", digest="sha256")
    got = oci.pull(hashed, f"{registry.host}/x", "b", plain_http=True)
    assert (got.digest.partition(":")[0], got.count, got.kind) == ("sha256", made.count, "model")
    assert tree(hashed.get("b", tmp_path / "one")) == tree(tmp_path / "source")
    oci.push(hashed, "b", f"{registry.host}/y", plain_http=True)
    assert oci.pull(store, f"{registry.host}/y", "c", plain_http=True).digest == made.digest


def test_a_version_is_pushed_as_it_was_by_any_reference(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    made = plain(store, tmp_path / "source")
    store.alias("a:v1", "best")
    refs = ("a", "a:v1", "a:best", f"a@{made.digest}", made)
    assert len({oci.push(store, ref, f"{registry.host}/x", plain_http=True, referrers=False).digest for ref in refs}) == 1
    oci.push(store, made.digest, f"{registry.host}/x", plain_http=True)
    for ref, error in (("a:v9", NotFoundError), ("none", NotFoundError), ("a:v1/README.md", InvalidInputError)):
        with pytest.raises(error):
            oci.push(store, ref, f"{registry.host}/x", plain_http=True)


def test_a_manifest_that_no_registry_takes_is_refused_before_anything_is_sent(
    store: Store, tmp_path: Path, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(store, tmp_path / "source")
    monkeypatch.setattr(sys.modules["artifactstore.integrations.oci.push"], "LARGEST_MANIFEST", 1000)
    with pytest.raises(InvalidInputError, match="layout='image'"):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert registry.requests == []
    oci.push(store, "a", f"{registry.host}/x", plain_http=True, layout="image")


def test_a_server_that_takes_no_large_bodies_gets_parts(
    store: Store, other: Store, tmp_path: Path, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plain(store, tmp_path / "source")
    registry.largest = 100_000
    monkeypatch.setattr("artifactstore.integrations.oci.registry.client._PART", 65_536)
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert registry.asked("PATCH") >= 5
    assert oci.pull(other, f"{registry.host}/x", "b", plain_http=True).digest == made.digest


def test_damage_in_the_store_is_never_pushed(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    plain(store, tmp_path / "source")
    for pack in (tmp_path / "store/packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[100_000] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    for layout in ("modelpack", "image"):
        with pytest.raises(CorruptionError):
            oci.push(
                artifactstore.open(tmp_path / "store", cache=None), "a", f"{registry.host}/x", layout=layout, plain_http=True
            )
        assert registry.manifests == {}


def test_a_run_does_not_count_a_push_as_a_use(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    plain(store, tmp_path / "source")
    with store.run("deploy", code=False) as run:
        oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
        got = oci.pull(store, f"{registry.host}/x", "b", plain_http=True)
    assert got.run == run.id
    assert {one.role for one in got.inputs} <= {"code", "environment"}
