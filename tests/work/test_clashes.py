"""Names that one artifact cannot hold together: refused before anything is recorded; a store that holds such a version goes on."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

import artifactstore
from artifactstore import CorruptionError, InvalidInputError
from artifactstore.content.manifests.manifest import Manifest, manifest_key
from artifactstore.content.manifests.parquet import encode
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, new_id
from artifactstore.objects.base import WriteFolder
from artifactstore.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def lake(keys: Mapping[str, bytes]) -> str:
    """Put objects under keys that a folder could not have, as object storage can."""
    bucket = new_id()
    for key, data in keys.items():
        MemoryFileSystem.store[f"/{bucket}/{key}"] = MemoryFile(MemoryFileSystem(), f"/{bucket}/{key}", data)
    return f"memory://{bucket}/data"


@pytest.mark.parametrize(
    ("keys", "hint", "exclude"),
    [
        (["data/x", "data//x"], "x", ["x"]),
        (["data/a", "data/a/b"], "a/*", ["a"]),
        (["data/a", "data/a/b/c/d", "data/b"], "a/*", ["a", "b"]),
        (["data/p/q", "data/p/q/r", "data/p/q-r"], "p/q/*", ["p"]),
    ],
)
def test_keys_that_clash_are_both_named_and_can_be_left_out(store: Store, keys: list[str], hint: str, exclude: list[str]):
    url = lake(dict.fromkeys([*keys, "data/z"], b"1"))
    with pytest.raises(InvalidInputError) as refused:
        store.put(url, "data")
    assert all(f"/{key}'" in str(refused.value) for key in keys[:2])
    assert f"exclude=[{hint!r}]" in str(refused.value)
    assert store.names() == []
    assert [one.path for one in store.put(url, "data", exclude=exclude).files] == ["z"]


def test_a_listing_that_names_a_file_twice_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_text("1")
    scandir = os.scandir

    class Twice(list[Any]):
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patched:
        patched.setattr("artifactstore.content.write.source.os.scandir", lambda path: Twice([*scandir(path)] * 2))
        with pytest.raises(InvalidInputError, match=r"has 'a' twice.*exclude="):
            store.put(tmp_path / "d", "d")
    assert store.put(tmp_path / "d", "d").count == 1


@pytest.mark.parametrize("names", [("one", "one"), ("one", "one/two"), ("a", "a/b/c")])
def test_a_format_that_writes_what_clashes_is_named(store: Store, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]):
    def write(_obj: object, folder: WriteFolder, *_: object) -> str:
        for name in names:
            folder.add(name, b"x")
        return "odd"

    monkeypatch.setattr("artifactstore.work.put.sources.write_object", write)
    with pytest.raises(InvalidInputError, match=f"the format 'odd' wrote.*{names[1]}"):
        store.put({1, 2}, "odd")
    assert store.names() == []


@pytest.mark.parametrize(
    "keys",
    [
        ["members.json"],
        ["members.json", "_members.json"],
        ["_members.json", "table"],
        ["Members.json", "members.json", "members.json.bak"],
        ["arrays.json", "data.npy", "data.json", "members"],
    ],
)
def test_members_may_be_called_as_the_files_of_formats_are(store: Store, tmp_path: Path, keys: list[str]):
    value = {key: np.arange(n + 2) for n, key in enumerate(keys)} | {"text": "kept"}
    made = store.put({"top": value, **value}, "m")
    back = store.get("m")
    assert list(back) == ["top", *value]
    assert list(back["top"]) == list(value)
    for found in (back, back["top"]):
        assert all(np.array_equal(found[key], value[key]) for key in keys)
    only = store.get("m", keys=[keys[0]])
    assert np.array_equal(only[keys[0]], value[keys[0]])
    assert f"{keys[0]}/data.npy" in {one.path for one in made.files}
    assert (store.get("m", to=tmp_path / "out") / keys[0] / "data.npy").exists()


# -- a store that holds such a version already, as versions before this one wrote it


def write_old(store: Store, name: str, files: list[tuple[str, bytes]], form: str | None = None) -> str:
    """Append a version whose manifest no put would write any more."""
    core = store._session.core()
    core.journal.catch_up()
    made = Manifest("blake3")
    for path, data in files:
        made.chunks.inline[len(made.chunks)] = data
        made.chunks.add(Digest.of(data).raw, len(data), -1, 0, len(data), 0)
        made.close_file(path, len(data), Digest.of(data).raw, executable=False)
    made.format = form
    content, identity = made.identify()
    raw, one = encode(made, content, identity), new_id()
    store._session.backend.write(manifest_key(one), raw)
    stored = {
        "fact": "stored",
        "digest": str(identity),
        "manifest": one,
        "manifest_digest": str(Digest.of(raw)),
        "size": made.size,
        "files": len(files),
        "packs": [],
    }
    versioned = {"fact": "versioned", "name": name, "digest": str(identity), "kind": "data"}
    head = core.journal.head
    core.appender.commit([stored, versioned], birth=head, alive_at=head, refuse=lambda void: RuntimeError(str(void)))
    return str(identity)


OLD = {
    "twice": [("good", b"g"), ("x", b"1"), ("x", b"2")],
    "inside": [("a", b"1"), ("a/b", b"2"), ("good", b"g")],
}


@pytest.mark.parametrize("shape", OLD)
def test_an_old_version_that_clashes_is_named_and_its_files_can_be_had(store: Store, tmp_path: Path, shape: str):
    store.put(b"sound", "sound")
    digest = write_old(store, "old", OLD[shape])
    store.put(b"later", "later")
    fresh = artifactstore.open(tmp_path / "store", cache=None)
    for level in ("quick", "full"):
        report = fresh.verify(level=level)
        assert [one.artifacts for one in report.findings] == [(digest,)]
        assert "one by one" in report.findings[0].what
    assert fresh.get("sound") == b"sound"
    assert fresh.get("later") == b"later"
    assert fresh.open_file("old", "good").read() == b"g"
    assert fresh.open_file(f"old:latest/{OLD[shape][1][0]}").read() == OLD[shape][1][1]
    assert (fresh.get("old", paths=["good"]) / "good").read_bytes() == b"g"
    assert fresh.get("old:latest/good", to=tmp_path / "one").joinpath("good").read_bytes() == b"g"
    assert [one.path for one in fresh.artifact("old").files] == [path for path, _ in OLD[shape]]
    for target in (None, tmp_path / "whole"):
        with pytest.raises(CorruptionError, match=r"cannot be written as a whole.*paths="):
            fresh.get("old", to=target)
    assert not (tmp_path / "whole").exists()


def test_an_old_object_with_a_member_called_members_json_can_be_got(store: Store):
    listed = canonical_json({"type": "dict", "members": [["members.json", "text"], ["n", "text"]]})
    files = [("members.json", listed), ("members.json/data.txt", b"one"), ("n/data.txt", b"two")]
    write_old(store, "old", files, "members")
    assert store.get("old") == {"members.json": "one", "n": "two"}
