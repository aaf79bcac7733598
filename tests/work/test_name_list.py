"""The list of names that completion reads: it has what the fold has, whoever wrote, and is read in pieces."""

import os
import random
from pathlib import Path

import pytest

import artifactstore
from artifactstore.catalog.fold import state as fold
from artifactstore.catalog.fold.state import State
from artifactstore.work.session import name_list
from artifactstore.work.session.name_list import Known, NameList, read_paths, remember_paths


@pytest.fixture(params=["in memory", "on disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> artifactstore.Store:
    if request.param == "on disk":
        monkeypatch.setattr(State, "SPILL", 0)
        monkeypatch.setattr(fold, "_SPILL_CHECK", 1)
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


def list_of(tmp_path: Path) -> NameList:
    return NameList(next((tmp_path / "cache/stores").iterdir()))


def known(store: artifactstore.Store) -> dict[str, tuple[int, dict[str, int]]]:
    return {one.name: (one.versions, dict(one.aliases)) for one in store.names()}


def listed(tmp_path: Path, prefix: str = "") -> dict[str, tuple[int, dict[str, int]]]:
    names, folders = list_of(tmp_path).read(prefix, 1000)
    assert folders == []
    return {one.name: (one.versions, one.aliases) for one in names}


def test_the_list_is_what_the_fold_knows_after_each_commit_and_for_each_process(
    store: artifactstore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(name_list, "_APPENDED", 300)  # the list is sorted anew now and then
    rng = random.Random(7)
    for step in range(60):
        writer = store if step % 3 else artifactstore.open(store.url, cache=tmp_path / "cache")
        name = rng.choice(["a", "a-b", "a/b", "a/c", "b", "z/y/x", "Z"])
        writer.put(f"{step}".encode(), name)
        if step % 4 == 0:
            writer.alias(name, rng.choice(["best", "prod"]))
        if step % 7 == 0 and (aliases := known(writer)[name][1]):
            writer.registry.unalias(name, next(iter(aliases)), "gone")
        with writer.batch():
            writer.put(f"batch {step}".encode(), "batched")
        assert listed(tmp_path) == known(writer)
    for prefix in ("a", "a/", "b", "zz", "Z", "z/y/x"):
        assert listed(tmp_path, prefix) == {name: about for name, about in known(store).items() if name.startswith(prefix)}
    with store.run("train", code=False) as run:
        pass
    assert next(iter(list_of(tmp_path).runs().items())) == (run.id, "train")
    (found,) = list_of(tmp_path).read("a-b", 1)[0]
    assert store.artifact(f"a-b@{found.digest}").version == found.versions == store.artifact("a-b").version


def test_a_process_that_sees_nothing_new_adds_nothing(store: artifactstore.Store, tmp_path: Path):
    for number in range(5):
        store.put(str(number).encode(), f"n{number}")
    path = next((tmp_path / "cache/stores").iterdir()) / "names"
    before = path.read_bytes()
    (path.parent / "fold.json").unlink()  # all entries are read again
    another = artifactstore.open(store.url, cache=tmp_path / "cache")
    assert len(another.names()) == 5
    assert path.read_bytes() == before
    (path.parent / "fold.json").unlink()
    artifactstore.open(store.url, cache=None).put(b"new", "n9")
    assert len(artifactstore.open(store.url, cache=tmp_path / "cache").names()) == 6
    assert [line.split(b"\t")[0] for line in path.read_bytes().removeprefix(before).splitlines()] == [b"n9", b""]


def test_a_list_that_is_gone_or_damaged_is_made_again(store: artifactstore.Store, tmp_path: Path):
    for number in range(3):
        store.put(str(number).encode(), f"n{number}")
    path = next((tmp_path / "cache/stores").iterdir()) / "names"
    whole = path.read_bytes()
    for damaged in (None, b"", b"nonsense", whole[:30], whole[:-5], b"\xff" * 200, whole.replace(b"names 1", b"names 9")):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        list_of(tmp_path).read("n", 10)
        list_of(tmp_path).find("n1")
        list_of(tmp_path).runs()
        another = artifactstore.open(store.url, cache=tmp_path / "cache")
        assert len(another.names()) == 3
        another.put(b"x" + str(damaged).encode(), "n0")
        assert {"n0", "n1", "n2"} <= {*listed(tmp_path)} or damaged in (whole[:-5], whole[:30]), damaged
    path.unlink()
    path.mkdir()  # nothing can be written there
    artifactstore.open(store.url, cache=tmp_path / "cache").put(b"y", "n9")
    assert list_of(tmp_path).read("", 10) == ([], [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_is_only_read_gets_no_list(tmp_path: Path):
    listing = NameList(tmp_path)
    tmp_path.chmod(0o500)
    listing._write_all(object())  # nothing of the fold is looked at
    assert not (tmp_path / "names").exists()


def test_of_many_names_the_next_parts_are_offered(tmp_path: Path):
    names = [*sorted(f"t{i % 5}/p{i % 7}/m{i}" for i in range(500)), "top", "tz"]
    folder = tmp_path / "s"
    folder.mkdir()
    listing = NameList(folder)
    listing._replace([Known(name, 1, "", {}).line()[:-1] for name in sorted(names)], [], b"9")
    assert listing.read("", 100) == ([Known("top", 1, "", {}), Known("tz", 1, "", {})], [f"t{i}/" for i in range(5)])
    assert listing.read("t1/", 50)[1] == [f"t1/p{i}/" for i in range(7)]
    assert [one.name for one in listing.read("t1/p3/", 100)[0]] == [name for name in names if name.startswith("t1/p3/")]
    for name in names[::37]:
        assert listing.find(name) == Known(name, 1, "", {})
    assert listing.find("t1") is None
    assert listing.find("m") is None


def test_names_of_others_that_do_not_fit_into_a_line_are_left_out(store: artifactstore.Store, tmp_path: Path):
    from tests.work.test_odd_facts import append

    store.put(b"x", "plain")
    digest = store.artifact("plain").digest
    for name in ("tab\tin", "line\nfeed", "\x1b[2J", "\u202e"):
        append(
            store,
            {"fact": "versioned", "name": name, "digest": digest, "kind": "data"},
            {"fact": "started", "run": name, "name": name},
        )
    append(store, {"fact": "aliased", "name": "plain", "alias": "a b\n", "version": 1})
    artifactstore.open(store.url, cache=tmp_path / "cache").put(b"y", "plain")
    assert {name: count for name, (count, _) in listed(tmp_path).items()} == {"plain": 2}
    assert list_of(tmp_path).runs() == {}


def test_paths_of_versions_are_kept_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(name_list, "_VERSIONS", 3)
    for number in range(1, 6):
        remember_paths(tmp_path, "a/b", number, ["x.csv", "sub/y", "new\nline"])
    assert len([*(tmp_path / "paths").iterdir()]) == 3
    assert read_paths(tmp_path, "a/b", 1) == []
    remember_paths(tmp_path, "a/b", 9, ["x.csv", "sub/y", "new\nline"])
    assert read_paths(tmp_path, "a/b", 9) == ["x.csv", "sub/y"]
