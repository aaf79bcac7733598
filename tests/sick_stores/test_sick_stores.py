"""A catalogue of sick stores: what is wrong with each, and the exact error that it must give."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore import ArtifactStoreError, CorruptionError, FormatError, InvalidInputError, NotFoundError
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.manifests.parquet import decode, encode
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store


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


def one(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


def flip(path: Path, at: float = 0.5) -> Path:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def rewrite(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    record = json.loads(path.read_bytes())
    change(record)
    path.write_bytes(canonical_json(record))


def entry(root: Path, seq: int) -> Path:
    return root / f"journal/000000000/{seq:012d}.json"


def newer(record: dict[str, object]) -> None:
    record["format"] = 99


SICK: list[tuple[str, Callable[[Path], object], Callable[[Store], object], type[ArtifactStoreError], str]] = [
    (
        "a flipped pack",
        lambda r: [flip(p) for p in r.glob("packs/*/*")],
        lambda s: s.get("name"),
        CorruptionError,
        r"packs/.* at \d+",
    ),
    (
        "a truncated pack",
        lambda r: [truncate(p) for p in r.glob("packs/*/*")],
        lambda s: s.get("name"),
        CorruptionError,
        "truncated",
    ),
    (
        "a missing pack",
        lambda r: shutil.rmtree(r / "packs"),
        lambda s: s.get("name"),
        CorruptionError,
        r"packs/.*pack is missing",
    ),
    (
        "a flipped manifest",
        lambda r: [flip(p) for p in r.glob("manifests/*/*")],
        lambda s: s.get("name"),
        CorruptionError,
        "manifests/.*digest",
    ),
    (
        "a missing manifest",
        lambda r: shutil.rmtree(r / "manifests"),
        lambda s: s.get("name"),
        CorruptionError,
        "manifests/.*is missing",
    ),
    ("a flipped entry", lambda r: flip(entry(r, 2), 0.3), lambda s: s.names(), CorruptionError, "000000000002"),
    (
        "a truncated entry",
        lambda r: truncate(entry(r, 3)),
        lambda s: s.names(),
        CorruptionError,
        "000000000003.json is not a journal entry",
    ),
    ("an empty entry", lambda r: entry(r, 1).write_bytes(b""), lambda s: s.names(), CorruptionError, "000000000001"),
    (
        "a gap in the journal",
        lambda r: entry(r, 2).unlink(),
        lambda s: s.names(),
        CorruptionError,
        "000000000002.json is missing",
    ),
    (
        "a gap, and a writer",
        lambda r: entry(r, 2).unlink(),
        lambda s: s.put(b"x", "y"),
        CorruptionError,
        "Nothing can be written",
    ),
    (
        "a forked journal",
        lambda r: rewrite(entry(r, 2), lambda e: e.update(time="2020-01-01T00:00:00.000000Z")),
        lambda s: s.names(),
        CorruptionError,
        "journal is broken between .*000000000002.json and .*000000000003.json",
    ),
    ("a newer entry", lambda r: rewrite(entry(r, 3), newer), lambda s: s.names(), FormatError, "upgrade"),
    ("a newer entry, and a writer", lambda r: rewrite(entry(r, 3), newer), lambda s: s.put(b"1", "x"), FormatError, "upgrade"),
    ("a newer store", lambda r: rewrite(r / "store.json", newer), lambda s: s.names(), FormatError, "format 99.*upgrade"),
    ("a flipped store.json", lambda r: flip(r / "store.json", 0.01), lambda s: s.names(), FormatError, "store.json"),
    (
        "an empty store.json",
        lambda r: (r / "store.json").write_bytes(b""),
        lambda s: s.names(),
        FormatError,
        "not the store.json",
    ),
    (
        "a store.json of something else",
        lambda r: (r / "store.json").write_text("{}"),
        lambda s: s.names(),
        FormatError,
        "not the store.json",
    ),
    (
        "a changed store.json",
        lambda r: rewrite(r / "store.json", lambda c: c.update(created="2020-01-01T00:00:00.000000Z")),
        lambda s: s.names(),
        CorruptionError,
        "between store.json and",
    ),
    (
        "no store.json",
        lambda r: (r / "store.json").unlink(),
        lambda s: s.put(b"x", "y"),
        CorruptionError,
        "a journal but no store.json",
    ),
    (
        "no store.json, read",
        lambda r: (r / "store.json").unlink(),
        lambda s: s.names(),
        CorruptionError,
        "a journal but no store.json",
    ),
    ("nothing at all", shutil.rmtree, lambda s: s.names(), NotFoundError, "no store at"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "use", "error", "text"), [row[1:] for row in SICK], ids=[row[0] for row in SICK])
def test_each_sick_store_gives_its_error(sick: Path, damage, use, error: type[ArtifactStoreError], text: str):
    damage(sick)
    with pytest.raises(error, match=text):
        use(reopened(sick))


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
