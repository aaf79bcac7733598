"""A registry that lies, breaks off or asks too much: one error of the right class, and nothing half-written."""

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from artifactstore.errors import (
    ArtifactStoreError,
    BackendError,
    CorruptionError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from artifactstore.integrations import oci
from artifactstore.model.listing import Extra, identify
from artifactstore.store import Store
from tests.integrations.oci.conftest import MODEL, write
from tests.servers.oci import INDEX, MANIFEST, MemoryRegistry, digest_of, memory_registry
from tests.work.tree import tree

RAW = "application/vnd.cncf.model.weight.v1.raw"
TAR = "application/vnd.cncf.model.weight.v1.tar"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
TITLE = "org.opencontainers.image.title"


def layer(registry: MemoryRegistry, data: bytes, path: str | None = None, media_type: str = RAW, **more: Any) -> dict[str, Any]:
    notes = {} if path is None else {"annotations": {TITLE: path}}
    return {"mediaType": media_type, **registry.add_blob("x", data), **notes, **more}


def manifest(
    registry: MemoryRegistry, *layers: dict[str, Any], config: str = "application/vnd.oci.empty.v1+json", **more: Any
) -> str:
    about = {"mediaType": config, **registry.add_blob("x", b"{}")}
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": list(layers), **more}
    return registry.add_manifest("x", "latest", body)


def packed(*entries: Any) -> bytes:
    """A tar; an entry is (path, bytes), or a TarInfo with or without bytes."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in entries:
            info, data = one if isinstance(one, tuple) else (one, b"")
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return held.getvalue()


def huge_header() -> bytes:
    """A tar whose first header says that an extended header of 4 GB follows, which zeros are."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**32
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))


def special(path: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    return info


def pull(store: Store, registry: MemoryRegistry, tag: str = "", **options: Any) -> Any:
    return oci.pull(store, f"{registry.host}/x{tag}", "b", plain_http=True, **options)


@contextmanager
def nothing_stored(store: Store, tmp_path: Path) -> Iterator[None]:
    """Neither in the store, nor in the folder of temporary files."""
    yield
    assert not list((tmp_path / "store").rglob("*.pack"))
    assert not list(tmp_path.glob("artifactstore-pull-*"))
    assert not (tmp_path / "store/store.json").exists() or not store.names()


# -- what is there


def test_what_others_pushed_is_read(store: Store, registry: MemoryRegistry) -> None:
    tar = packed(
        ("./conf/a.json", b"{}"),
        special("latest", tarfile.SYMTYPE, "conf/a.json"),
        special("hard", tarfile.LNKTYPE, "./conf/a.json"),
    )
    manifest(
        registry,
        layer(registry, b"raw", "w.bin"),
        layer(registry, b"cnai", "old.bin", "application/vnd.cnai.model.weight.v1"),
        layer(registry, b"by path", None, RAW, annotations={"org.cncf.model.filepath": "deep/p.bin"}),
        layer(registry, tar, None, TAR),
        layer(registry, gzip.compress(packed(("docs/x.md", b"x"))), None, "application/vnd.cncf.model.doc.v1.tar+gzip"),
        layer(registry, zstandard.compress(packed(("code/x.py", b"x"))), None, "application/vnd.cncf.model.code.v1.tar+zstd"),
        layer(registry, b"{}", None, "application/vnd.oci.empty.v1+json"),
        artifactType="application/vnd.cncf.model.manifest.v1+json",
    )
    made = pull(store, registry)
    assert made.kind == "model"
    assert {one.path: store.open_file("b", one.path).read() for one in made.files if one.type == "file"} == {
        "w.bin": b"raw", "old.bin": b"cnai", "deep/p.bin": b"by path", "conf/a.json": b"{}", "hard": b"{}", "docs/x.md": b"x", "code/x.py": b"x",
    }  # fmt: skip
    assert [(one.path, one.target) for one in made.files if one.type == "link"] == [("latest", "conf/a.json")]


def test_what_oras_pushed_is_read(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    folder = gzip.compress(packed(special("data", tarfile.DIRTYPE), ("data/x.csv", b"1")))
    manifest(
        registry,
        layer(registry, b"one", "one.txt", IMAGE_LAYER),
        layer(registry, b"two", "sub/two.txt", "text/plain"),
        layer(
            registry,
            folder,
            None,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            annotations={TITLE: "data", "io.deis.oras.content.unpack": "true"},
        ),
        config="application/vnd.unknown.config.v1+json",
    )
    assert pull(store, registry).kind == "data"
    assert tree(store.get("b", tmp_path / "got")) == {"one.txt": b"one", "sub/two.txt": b"two", "data/x.csv": b"1"}


def test_a_model_kit_of_kitops_is_read(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    kit = "application/vnd.kitops.modelkit"
    manifest(
        registry,
        layer(registry, packed(("model/x.onnx", b"onnx")), None, f"{kit}.model.v1.tar"),
        layer(registry, gzip.compress(packed(("data/x.csv", b"1"))), None, f"{kit}.datasets.v1.tar+gzip"),
        layer(
            registry,
            packed(("data/x.csv", b"1"), special("data/link", tarfile.SYMTYPE, "../model/x.onnx")),
            None,
            f"{kit}.docs.v1.tar",
        ),
        config=f"{kit}.config.v1+json",
    )
    assert pull(store, registry).kind == "model"
    assert tree(store.get("b", tmp_path / "got")) == {"model/x.onnx": b"onnx", "data/x.csv": b"1", "data/link": "../model/x.onnx"}


def test_the_layers_of_an_image_lie_over_each_other(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    first = packed(
        ("etc/passwd", b"no model"),
        ("./models//a", b"1"),
        ("models/b", b"1"),
        ("models/old/c", b"1"),
        ("models/d/e", b"1"),
        ("models/s/f", b"1"),
    )
    second = packed(
        ("/models/a", b"2"),
        ("models/.wh.b", b""),
        ("models/.wh.old", b""),
        ("models/d/.wh..wh..opq", b""),
        ("models/d/g", b"2"),
        ("models/s", b"2"),
    )
    manifest(
        registry,
        layer(registry, first, None, IMAGE_LAYER),
        layer(registry, gzip.compress(second), None, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        config=IMAGE_CONFIG,
    )
    assert pull(store, registry).kind == "model"
    assert tree(store.get("b", tmp_path / "got")) == {"a": b"2", "d/g": b"2", "s": b"2"}


def test_of_an_index_the_manifest_of_this_platform_is_taken(store: Store, registry: MemoryRegistry) -> None:
    digests = {}
    for name in ("linux/amd64", "linux/arm64", "windows/amd64"):
        digests[name] = manifest(
            registry, layer(registry, packed((f"models/{name}", b"x")), None, IMAGE_LAYER), config=IMAGE_CONFIG
        )

    def entry(name: str) -> dict[str, Any]:
        system, _, processor = name.partition("/")
        return {"mediaType": MANIFEST, "digest": digests[name], "size": 1, "platform": {"os": system, "architecture": processor}}

    attested = {**entry("linux/amd64"), "platform": {"os": "unknown", "architecture": "unknown"}}
    rows = [*map(entry, digests), attested]
    inner = registry.add_manifest("x", "inner", {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}, INDEX)
    for tag in ("inner", "outer"):
        registry.add_manifest(
            "x",
            "outer",
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": INDEX, "digest": inner, "size": 1}]},
            INDEX,
        )
        assert pull(store, registry, f":{tag}", platform="linux/arm64").files[0].path == "linux/arm64"
        assert pull(store, registry, f":{tag}").files[0].path.startswith("linux/")
        with pytest.raises(InvalidInputError, match=r"linux/s390x.*sha256:"):
            pull(store, registry, f":{tag}", platform="linux/s390x")
    registry.add_manifest(
        "x", "one", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry("windows/amd64"), attested]}, INDEX
    )
    assert pull(store, registry, ":one").files[0].path == "windows/amd64"


# -- manifests


def bad_layers(registry: MemoryRegistry, *paths: str) -> str:
    return manifest(registry, *(layer(registry, path.encode(), path) for path in paths))


def bad_tar(registry: MemoryRegistry, *entries: Any) -> None:
    manifest(registry, layer(registry, packed(*entries), None, TAR))


def with_row(registry: MemoryRegistry, **fields: Any) -> None:
    manifest(registry, {**layer(registry, b"a", "a"), **fields})


def circle(registry: MemoryRegistry) -> None:
    digest = registry.add_manifest("x", "x0", {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []})
    for k in range(6):
        rows = [{"mediaType": INDEX, "digest": digest, "size": 1}]
        digest = registry.add_manifest("x", "latest", {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows, "k": k}, INDEX)


MANIFESTS: dict[str, tuple[Callable[[MemoryRegistry], object], type[ArtifactStoreError], str]] = {
    "path upwards": (lambda r: bad_layers(r, "../evil"), FormatError, "evil"),
    "path upwards inside": (lambda r: bad_layers(r, "a/../../evil"), FormatError, "evil"),
    "absolute": (lambda r: bad_layers(r, "/etc/cron.d/evil"), FormatError, "absolute"),
    "backslash drive": (lambda r: bad_layers(r, "C:/evil"), FormatError, "drive"),
    "nul": (lambda r: bad_layers(r, "a\0b"), FormatError, "NUL"),
    "surrogate": (lambda r: with_row(r, annotations={TITLE: "\ud800"}), FormatError, "UTF-8"),
    "dot": (lambda r: bad_layers(r, "."), FormatError, "segment"),
    "twice": (lambda r: bad_layers(r, "a", "b", "a"), FormatError, "twice"),
    "file and folder": (lambda r: bad_layers(r, "a", "a/b"), FormatError, "inside"),
    "folder and file": (lambda r: bad_layers(r, "a/b", "a"), FormatError, "twice"),
    "long segment": (lambda r: bad_layers(r, "n" * 300), FormatError, "255"),
    "long path": (lambda r: bad_layers(r, "/".join(["n" * 100] * 60)), FormatError, "long"),
    "tar upwards": (lambda r: bad_tar(r, ("../evil", b"x")), FormatError, "evil"),
    "tar absolute": (lambda r: bad_tar(r, ("/etc/evil", b"x")), FormatError, "evil"),
    "tar through a link": (lambda r: bad_tar(r, special("l", tarfile.SYMTYPE, "/tmp"), ("l/evil", b"x")), FormatError, "'l"),
    "tar link upwards": (lambda r: bad_tar(r, special("l", tarfile.SYMTYPE, "../../etc")), FormatError, "outside"),
    "tar links that climb": (
        lambda r: bad_tar(r, special("a/b", tarfile.SYMTYPE, ".."), special("c", tarfile.SYMTYPE, "a/b/..")), FormatError, "through other links"),
    "tar hard link": (lambda r: bad_tar(r, special("h", tarfile.LNKTYPE, "/etc/passwd")), FormatError, "leads out|no file"),
    "tar device": (lambda r: bad_tar(r, special("d", tarfile.CHRTYPE)), FormatError, "neither"),
    "tar pipe": (lambda r: bad_tar(r, special("p", tarfile.FIFOTYPE)), FormatError, "neither"),
    "tar twice": (lambda r: bad_tar(r, ("a", b"1"), ("a", b"2")), FormatError, "twice"),
    "tar header of gigabytes": (lambda r: manifest(r, layer(r, huge_header(), None, TAR + "+gzip")), FormatError, "a header of"),
    "tar of another encoding": (lambda r: bad_tar(r, (b"\xff\xfe".decode(errors="surrogateescape"), b"x")), FormatError, "UTF-8"),
    "no tar": (lambda r: manifest(r, layer(r, b"not a tar" * 200, None, TAR)), FormatError, "not a tar"),
    "cut tar": (lambda r: manifest(r, layer(r, packed(("a", b"x" * 5000))[:3000], None, TAR)), FormatError, "not a tar"),
    "no gzip": (lambda r: manifest(r, layer(r, packed(("a", b"x")), None, TAR + "+gzip")), FormatError, "not a tar"),
    "cut gzip": (lambda r: manifest(r, layer(r, gzip.compress(packed(("a", bytes(range(256)) * 40)))[:100], None, TAR + "+gzip")), FormatError, "not a tar"),
    "no zstd": (lambda r: manifest(r, layer(r, packed(("a", b"x")), None, TAR + "+zstd")), FormatError, "not a tar"),
    "huge": (lambda r: with_row(r, size=2**62), BackendError, "free"),
    "impossible size": (lambda r: with_row(r, size=2**70), FormatError, "size"),
    "negative size": (lambda r: with_row(r, size=-1), FormatError, "size"),
    "text size": (lambda r: with_row(r, size="1"), FormatError, "size"),
    "bool size": (lambda r: with_row(r, size=True), FormatError, "size"),
    "two sizes": (lambda r: manifest(r, layer(r, b"a", "a"), layer(r, b"a", "b", size=5)), FormatError, "two sizes"),
    "odd digest": (lambda r: with_row(r, digest="sha256:../../../etc/passwd"), FormatError, "not a digest"),
    "other digest": (lambda r: with_row(r, digest="sha512:" + "a" * 128), FormatError, "sha512"),
    "no digest": (lambda r: with_row(r, digest=None), FormatError, "digest"),
    "list of texts": (lambda r: registry_body(r, {"schemaVersion": 2, "layers": ["a"]}), FormatError, "descriptor"),
    "annotations": (lambda r: with_row(r, annotations={TITLE: 5}), FormatError, "annotations"),
    "unknown type": (lambda r: manifest(r, layer(r, b"x", None, "application/x-unknown")), FormatError, "application/x-unknown"),
    "image without models": (
        lambda r: manifest(r, layer(r, packed(("etc/x", b"x")), None, IMAGE_LAYER), config=IMAGE_CONFIG), NotFoundError, "/models"),
    "models is a file": (
        lambda r: manifest(r, layer(r, packed(("models", b"x")), None, IMAGE_LAYER), config=IMAGE_CONFIG), FormatError, "folder"),
    "schema 1": (lambda r: registry_body(r, {"schemaVersion": 1, "fsLayers": []}), FormatError, "schema 1"),
    "no json": (lambda r: registry_body(r, b"<html>"), FormatError, "JSON"),
    "a list": (lambda r: registry_body(r, b"[]"), FormatError, "object"),
    "deep": (lambda r: registry_body(r, b'{"a":' + b"[" * 200_000), FormatError, "JSON"),
    "both": (lambda r: registry_body(r, {"layers": [], "manifests": []}), FormatError, "two kinds"),
    "neither": (lambda r: registry_body(r, {"schemaVersion": 2}), FormatError, "no list"),
    "too long": (lambda r: registry_body(r, b" " * (4 * 2**20 + 1)), CorruptionError, "longer"),
    "circle": (circle, FormatError, "index of indexes"),
    "empty index": (lambda r: r.add_manifest("x", "latest", {"schemaVersion": 2, "manifests": []}, INDEX), FormatError, "without manifests"),
    "no such blob": (lambda r: (bad_layers(r, "a"), r.blobs["x"].pop(digest_of(b"a"))), NotFoundError, "BLOB_UNKNOWN"),
    "no such tag": (lambda r: None, NotFoundError, "MANIFEST_UNKNOWN"),
}  # fmt: skip


def registry_body(registry: MemoryRegistry, value: Any) -> str:
    return registry.add_manifest("x", "latest", value)


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_hostile_manifest_is_one_error_and_nothing_is_stored(
    store: Store, tmp_path: Path, registry: MemoryRegistry, case: str
) -> None:
    make, error, word = MANIFESTS[case]
    make(registry)
    outside = tree(tmp_path)
    with nothing_stored(store, tmp_path), pytest.raises(error, match=word):
        pull(store, registry)
    assert tree(tmp_path) == outside


# -- answers


def lying(data: bytes, *, status: int = 200, part: str = "/blobs/", **headers: str) -> Callable[[Any], bool]:
    def answer(handler: Any) -> bool:
        if part not in handler.path or handler.command not in {"GET", "HEAD"}:
            return False
        handler.answer(status, data, **headers)
        return True

    return answer


@pytest.mark.parametrize("answer", [b"wrong", b"right and more", b"right"[:4], b""])
def test_other_bytes_than_the_digest_says_are_damage(
    store: Store, tmp_path: Path, registry: MemoryRegistry, answer: bytes
) -> None:
    for media_type in (RAW, TAR):
        manifest(registry, layer(registry, b"right", "a" if media_type is RAW else None, media_type))
        registry.override = lying(answer)
        with nothing_stored(store, tmp_path), pytest.raises(CorruptionError, match=r"sha256:|bytes"):
            pull(store, registry)


def test_a_manifest_that_is_not_the_one_asked_for_is_damage(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    bad_layers(registry, "other")
    other = registry.manifests["x", "latest"][1]
    digest = manifest(registry, layer(registry, b"a", "a"))
    registry.override = lying(other, part="/manifests/", Content_Type=MANIFEST)
    with nothing_stored(store, tmp_path), pytest.raises(CorruptionError, match="another manifest"):
        pull(store, registry, f"@{digest}")
    registry.override = lying(other, part="/manifests/", Content_Type=MANIFEST, Docker_Content_Digest=digest)
    with nothing_stored(store, tmp_path), pytest.raises(CorruptionError, match="another manifest"):
        pull(store, registry)


def test_a_tag_that_moves_in_the_middle_changes_nothing(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    digest = manifest(registry, layer(registry, b"a", "a"), layer(registry, b"b", "b"))

    def move(handler: Any) -> bool:
        if "/blobs/" in handler.path:
            bad_layers(registry, "other")
        return False

    registry.override = move
    made = pull(store, registry)
    assert made.metadata["oci.digest"] == digest
    assert tree(store.get("b", tmp_path / "got")) == {"a": b"a", "b": b"b"}
    assert registry.asked("GET", "/manifests/") == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_what_breaks_off_is_asked_for_again_from_there(store: Store, registry: MemoryRegistry, *, ranges: bool) -> None:
    data = bytes(range(256)) * 40_000
    manifest(registry, layer(registry, data, "a"))
    times = [3]

    def cut(handler: Any) -> bool:
        if "/blobs/" not in handler.path or times[0] == 0:
            if not ranges and "Range" in handler.headers:
                del handler.headers["Range"]
            return False
        times[0] -= 1
        begin = int(handler.headers.get("Range", "bytes=0-")[6:-1]) if ranges else 0
        part = data[begin : begin + 3_000_000]
        more = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        handler.answer(206 if begin else 200, part, Content_Length=str(len(data) - begin), **more)
        handler.close_connection = True
        return True

    registry.override = cut
    pull(store, registry)
    assert store.open_file("b").read() == data
    asked = [headers.get("Range") for _, path, headers in registry.requests if "/blobs/" in path]
    assert len(asked) == 4
    assert asked[-1] == ("bytes=9000000-" if ranges else "bytes=3000000-")


def test_a_server_that_always_breaks_off_is_a_failure(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    manifest(registry, layer(registry, b"x" * 1000, "a"))

    def cut(handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        handler.answer(200, b"", Content_Length="1000")
        handler.close_connection = True
        return True

    registry.override = cut
    with nothing_stored(store, tmp_path), pytest.raises(BackendError, match=r"too early|broke off") as caught:
        pull(store, registry)
    assert caught.value.transient


def test_a_server_that_falls_silent_is_given_up(
    store: Store, tmp_path: Path, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifactstore.integrations.oci.registry.connections._SILENCE", 0.3)
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    over = threading.Event()
    manifest(registry, layer(registry, b"x" * 1000, "a"))

    def stop(handler: Any) -> bool:
        if "/blobs/" not in handler.path or handler.command not in {"GET", "PUT"}:
            return False
        if handler.command == "GET":
            handler.answer(200, b"x" * 500, Content_Length="1000")
        over.wait(20)
        handler.close_connection = True
        return True

    registry.override = stop
    try:
        with nothing_stored(store, tmp_path), pytest.raises(BackendError, match="timed out") as caught:
            pull(store, registry)
        assert caught.value.transient
        store.put(write(tmp_path / "source", {"a": b"a"}), "a")
        with pytest.raises(BackendError, match="timed out"):
            oci.push(store, "a", f"{registry.host}/x:a", plain_http=True)
    finally:
        over.set()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_waited_for_as_it_asks(
    store: Store, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "20")
    manifest(registry, layer(registry, b"a", "a"))
    times = [2]

    def busy(handler: Any) -> bool:
        if times[0] == 0:
            return False
        times[0] -= 1
        handler.answer(status, b"", Retry_After="0")
        return True

    registry.override = busy
    pull(store, registry)
    manifest(registry, layer(registry, b"b", "b"))
    for part in ("/manifests/", "/blobs/"):
        registry.override = lying(b"", status=status, part=part, Retry_After="3600")
        with pytest.raises(BackendError, match=rf"{status}.* pause of 3,600 s") as caught:
            pull(store, registry)
        assert caught.value.transient


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_failing_registry_is_tried_again(store: Store, tmp_path: Path, registry: MemoryRegistry, status: int) -> None:
    write(tmp_path / "source", MODEL)
    store.put(tmp_path / "source", "a")
    failed: set[tuple[str, str]] = set()

    def fail_once(handler: Any) -> bool:
        key = handler.command, handler.path.partition("?")[0].partition("uploads/")[0]
        if key in failed:
            return False
        failed.add(key)
        handler.answer(status)
        return True

    registry.override = fail_once
    oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert pull(store, registry).digest == store.artifact("a").digest


def test_an_upload_that_the_server_forgot_is_begun_again(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    store.put(write(tmp_path / "source", {"a": b"a"}), "a")
    once = [True]

    def forget(handler: Any) -> bool:
        if handler.command == "PUT" and "/uploads/" in handler.path and once.pop() if once else False:
            handler.error(404, "BLOB_UPLOAD_UNKNOWN")
            return True
        return False

    registry.override = forget
    oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
    assert registry.asked("POST", "/uploads/") == 3


def test_a_registry_with_other_bytes_of_a_blob_is_damage(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    store.put(write(tmp_path / "source", {"a": b"abc"}), "a")
    registry.blobs["x"] = {digest_of(b"abc"): b"abcdef"}
    with pytest.raises(CorruptionError, match="6 bytes"):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    del registry.blobs["x"]

    def other_digest(handler: Any) -> bool:
        if handler.command == "PUT" and "/manifests/" in handler.path:
            handler.answer(201, Docker_Content_Digest="sha256:" + "0" * 64)
            return True
        return False

    registry.override = other_digest
    with pytest.raises(CorruptionError, match="names sha256:000"):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)


def test_a_lost_reply_to_an_upload_is_not_sent_again(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    store.put(write(tmp_path / "source", {"a": b"a"}), "a")
    lost = [True]

    def lose(handler: Any) -> bool:
        if handler.command == "PUT" and "/uploads/" in handler.path and lost:
            lost.pop()
            registry.add_blob("x", handler.body)
            handler.close_connection = True
            return True  # the connection ends without a reply
        return False

    registry.override = lose
    done = oci.push(store, "a", f"{registry.host}/x", plain_http=True, referrers=False)
    assert (registry.asked("PUT", "/uploads/"), done.sent) == (2, 2)


def test_a_push_that_fails_leaves_the_tag_as_it_was(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    store.put(write(tmp_path / "source", MODEL), "a")
    before = manifest(registry, layer(registry, b"a", "a"))

    def full(handler: Any) -> bool:
        if handler.command == "PUT" and "/uploads/" in handler.path and len(handler.body) > 100_000:
            handler.error(507, "DENIED", "disk full")
            return True
        return False

    registry.override = full
    with pytest.raises(BackendError, match=r"507 \(DENIED: disk full\)"):
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)
    assert digest_of(registry.manifests["x", "latest"][1]) == before


def test_annotations_are_believed_only_if_the_bytes_agree(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    truth = store.put(write(tmp_path / "source", {"a": b"a"}), "a", kind="code")
    notes = {
        "artifactstore.digest": truth.digest,
        "artifactstore.kind": "code",
        "artifactstore.listing": '#["format","pickle"]\n',
    }
    for lie in (
        {**notes, "artifactstore.listing": ""},
        notes,
        {**notes, "artifactstore.digest": "blake3:" + "0" * 64},
        {**notes, "artifactstore.listing": '#["link","l","../../etc/passwd"]\n'},
        {**notes, "artifactstore.listing": "#[[[["},
        {**notes, "artifactstore.listing": '#["x",5]\n'},
        {**notes, "artifactstore.digest": "nonsense"},
        {**notes, "artifactstore.kind": "no kind!\n"},
    ):
        manifest(registry, layer(registry, b"evil", "a"), annotations=lie)
        with pytest.warns(UserWarning, match="stored as what it is"):
            made = pull(store, registry)
        assert made.digest != truth.digest
        assert (made.kind, made.format) == ("model", None)
        assert tree(store.get("b", tmp_path / "got", overwrite=True)) == {"a": b"evil"}


def test_a_listing_that_fits_its_digest_is_checked_all_the_same(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    """Whoever pushes can compute the digest of any listing."""
    raw = blake3(b"a").digest()
    for extra in (
        Extra(links=[("l", "../../etc/passwd")]),
        Extra(links=[("l", "/etc/passwd")]),
        Extra(links=[("a/l", "x")]),
        Extra(links=[("../l", "x")]),
        Extra(links=[("d/up", ".."), ("l", "d/up/..")]),
        Extra(folders=["../d"]),
        Extra(folders=["a/d"]),
        Extra(folders=["a"]),
    ):
        digest = identify([("a", raw)], extra, "blake3")[1]
        notes = {"artifactstore.digest": str(digest), "artifactstore.listing": b"".join(extra.lines()).decode()}
        manifest(registry, layer(registry, b"a", "a"), annotations=notes)
        outside = tree(tmp_path)
        with nothing_stored(store, tmp_path), pytest.raises(FormatError):
            pull(store, registry)
        assert tree(tmp_path) == outside


def test_a_read_only_store_and_a_bad_name_are_refused_before_anything_is_asked(
    store: Store, tmp_path: Path, registry: MemoryRegistry
) -> None:
    import artifactstore

    store.put(write(tmp_path / "source", {"a": b"a"}), "a")
    for name, kind, error in (("../b", None, InvalidInputError), ("b", "no kind!", InvalidInputError)):
        with pytest.raises(error):
            oci.pull(store, f"{registry.host}/x", name, kind=kind, plain_http=True)
    with pytest.raises(RefusedError):
        oci.pull(artifactstore.open(tmp_path / "store", "r"), f"{registry.host}/x", "b", plain_http=True)
    assert registry.requests == []


def test_redirects_are_followed_without_credentials(store: Store, tmp_path: Path, registry: MemoryRegistry) -> None:
    made = store.put(write(tmp_path / "source", MODEL), "a")
    registry.login = "ada:very-secret"
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(
        json.dumps({"auths": {registry.host: {"username": "ada", "password": "very-secret"}}})
    )
    with memory_registry() as elsewhere:
        oci.push(store, "a", f"{registry.host}/x", plain_http=True)
        elsewhere.blobs = registry.blobs

        def send_away(handler: Any) -> bool:
            if handler.command == "GET" and "/blobs/" in handler.path:
                handler.answer(307, Location=f"http://{elsewhere.host}{handler.path}?signature=1")
                return True
            return False

        registry.override = send_away
        assert pull(store, registry).digest == made.digest
        assert elsewhere.requests
        assert not [headers for _, _, headers in elsewhere.requests if "Authorization" in headers]

        elsewhere.override = lambda handler: handler.command == "HEAD" and (handler.answer(403) or True)
        registry.override = lambda handler: (
            "/blobs/sha" in handler.path and (handler.answer(307, Location=f"http://{elsewhere.host}/signed") or True)
        )
        assert oci.push(store, "a", f"{registry.host}/x:again", plain_http=True, referrers=False).sent == 0
        elsewhere.override = lambda _: False

        def upload_elsewhere(handler: Any) -> bool:
            if handler.command == "POST":
                elsewhere.uploads["u"] = bytearray()
                handler.answer(202, Location=f"http://{elsewhere.host}/v2/y/blobs/uploads/u")
                return True
            return False

        registry.override = upload_elsewhere
        store.put(write(tmp_path / "more", {"new": b"new"}), "new")
        with pytest.raises(BackendError, match="400"):  # the other server has the blob, and the registry does not know it
            oci.push(store, "new", f"{registry.host}/z", plain_http=True)
        assert not [headers for _, _, headers in elsewhere.requests if "Authorization" in headers]


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://x/y", "http://[", "//", "http://user:pw@127.0.0.1/x", "http://127.0.0.1:99999/"]
)
def test_a_redirect_to_no_server_is_a_failure(store: Store, tmp_path: Path, registry: MemoryRegistry, place: str) -> None:
    manifest(registry, layer(registry, b"a", "a"))
    registry.override = lying(b"", status=302, Location=place)
    with nothing_stored(store, tmp_path), pytest.raises(BackendError) as caught:
        pull(store, registry)
    assert "pw" not in str(caught.value)


def test_redirects_in_a_circle_end(store: Store, registry: MemoryRegistry) -> None:
    manifest(registry, layer(registry, b"a", "a"))
    registry.override = lying(b"", status=302, Location="/v2/x/blobs/again")
    with pytest.raises(BackendError, match="circle"):
        pull(store, registry)
    assert len(registry.requests) < 10


def test_two_pulls_at_once_both_come_through(store: Store, registry: MemoryRegistry) -> None:
    manifest(registry, layer(registry, b"a" * 100_000, "a"))
    failures: list[BaseException] = []

    def go() -> None:
        try:
            pull(store, registry)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []
    assert len(store.versions("b")) == 1
