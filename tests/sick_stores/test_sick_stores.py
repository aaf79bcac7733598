"""What a damaged store may never do: run verify into an error, believe what is derived, or place a file outside."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore import CorruptionError, InvalidInputError
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.manifests.parquet import decode, encode
from artifactstore.model.digest import Digest
from artifactstore.store import Store
from tests.sick_stores.cases import entry, flip, one, truncate


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    """A store with three versions, packs and inline content, to be damaged."""
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(os.urandom(100_000), "name")
    store.put(os.urandom(100_000), "name")
    store.put(b"small", "small")
    return tmp_path / "store"


def reopened(root: Path) -> Store:
    return artifactstore.open(root, cache=None)


@pytest.mark.parametrize(
    ("damage", "location"),
    [
        (lambda r: flip(one(r, "packs/*/*")), "packs/"),
        (lambda r: truncate(one(r, "packs/*/*")), "packs/"),
        (lambda r: one(r, "packs/*/*").unlink(), "packs/"),
        (lambda r: flip(one(r, "manifests/*/*")), "manifests/"),
        (lambda r: one(r, "manifests/*/*").unlink(), "manifests/"),
        (lambda r: flip(entry(r, 2), 0.3), "journal/"),
        (lambda r: entry(r, 2).unlink(), "journal/"),
        (lambda r: flip(one(r, "packs/*/*"), 0.999), "packs/"),
    ],
)
def test_verify_lists_damage_and_never_raises(sick: Path, damage, location: str):
    store = reopened(sick)
    store.names()
    damage(sick)
    level = "frames"
    report = store.verify(level=level)
    assert not report.ok
    assert any(location in found.location for found in report.findings), report.findings


def test_verify_tells_an_anchor_that_no_longer_holds(sick: Path):
    store = reopened(sick)
    digest = Digest.of(entry(sick, 2).read_bytes())
    assert store.verify(anchor=f"2:{digest}").ok
    assert not store.verify(anchor=f"3:{digest}").ok
    assert not store.verify(anchor=f"9:{digest}").ok
    with pytest.raises(InvalidInputError):
        store.verify(anchor="nonsense")


@pytest.mark.slow
def test_segments_are_only_derived(sick: Path):
    store = reopened(sick)
    for i in range(300):
        store.put(str(i).encode(), "many")
    names = list(store.names())
    assert list((sick / "segments").iterdir())
    assert list(reopened(sick).names()) == names
    for segment in (sick / "segments").iterdir():
        flip(segment)
    assert list(reopened(sick).names()) == names
    shutil.rmtree(sick / "segments")
    assert list(reopened(sick).names()) == names


def hostile(paths: list[str], links: list[tuple[str, str]] | None = None, size: int = 1) -> bytes:
    """A manifest with hostile paths: written by hand, since this library refuses to."""
    manifest = Manifest("blake3")
    data = b"x" * size
    digest = Digest.of(data).raw
    for path in paths:
        manifest.chunks.inline[len(manifest.chunks)] = data
        manifest.chunks.add(digest, size, pack=-1, offset=0, stored=size, codec=0)
        manifest.close_file(path, size, digest, executable=False)
    manifest.links = links or []
    content, whole = manifest.identify()
    return encode(manifest, content, whole)


@pytest.mark.parametrize(
    "path",
    [
        "../up",
        "/etc/passwd",
        "a/../../up",
        "C:/windows",
        "a\0b",
        "a//b",
        "./a",
        "x" * 256,
        "a/" + "y" * 300,
        "",
        "-",
        "a\rb",
        ".",
    ],
)
def test_a_hostile_path_in_a_manifest_is_refused(path: str):
    with pytest.raises(CorruptionError, match="m is damaged"):
        decode(hostile([path]), "m", algorithm="blake3")


@pytest.mark.parametrize(
    ("paths", "links"),
    [
        (["a/b"], [("a", "../..")]),
        (["a/b"], [("a", "/etc")]),
        (["a/b"], [("a", "c")]),
        (["a", "a/b"], [("link", "a")]),
        (["b", "a"], []),
        (["a", "a"], [("link", "a")]),
        ([], [("link", "../outside")]),
        ([], [("link", "/etc/passwd")]),
        ([], [("deep/er/up", "../.."), ("x", "deep/er/up/..")]),
        ([], [("deep/er/up", "../.."), ("deep/y", "er/up/../etc")]),
        ([], [("a/b/c", ".."), ("d", "a/b/c/../..")]),
    ],
)
def test_a_hostile_tree_in_a_manifest_is_refused(paths: list[str], links: list[tuple[str, str]]):
    with pytest.raises(CorruptionError, match="m is damaged"):
        decode(hostile(paths, links), "m", algorithm="blake3")


@pytest.mark.parametrize("column", ["size", "digest", "path", "chunks"])
def test_a_manifest_that_does_not_add_up_is_refused(column: str):
    table = pq.read_table(pa.BufferReader(hostile(["a", "b"])))
    values = {
        "size": pa.array([5, 1], pa.int64()),
        "path": pa.array(["a", "c"]),
        "digest": pa.array([b"\0" * 32, b"\1" * 32], pa.binary(32)),
    }
    if column == "chunks":
        table = table.drop(["chunks"])
    else:
        at = table.schema.get_field_index(column)
        table = table.set_column(at, table.schema.field(at), values[column].cast(table.schema.field(at).type))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(CorruptionError):
        decode(sink.getvalue().to_pybytes(), "m", algorithm="blake3")


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"x" * 1000, b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_no_manifest(raw: bytes):
    with pytest.raises(CorruptionError, match="damaged"):
        decode(raw, "m", algorithm="blake3")


def test_a_kept_fold_that_lies_is_not_believed(tmp_path: Path):
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    for i in range(5):
        store.put(str(i).encode(), "name")
    assert len(artifactstore.open(tmp_path / "store", cache=tmp_path / "cache").versions("name")) == 5
    (kept,) = (tmp_path / "cache").rglob("fold.json")
    for lie in (b"", b"{", b'{"format": 1}', kept.read_bytes().replace(b'"digest":"blake3:', b'"digest":"blake3:0')):
        kept.write_bytes(lie)
        assert len(artifactstore.open(tmp_path / "store", cache=tmp_path / "cache").versions("name")) == 5
