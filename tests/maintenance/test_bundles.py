"""Bundles: a store or a selection as one zip file, read where it lies, copied and imported from there."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import artifactstore
from artifactstore import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.store import Store
from tests.warm import program

from .facts import clean_up, removed, tell
from .places import accepts_writes, assert_whole_copy, entries, fill, objects


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return fill(str(tmp_path / "store"))


def test_a_bundle_is_a_copy_that_is_read_where_it_lies(store, tmp_path):
    done = store.maintenance.bundle(tmp_path / "all.zip")
    assert (done.kind, done.entries) == ("bundle", len(entries(store.url)))
    assert_whole_copy(store.url, f"zip://{tmp_path}/all.zip")
    bundled = artifactstore.open(f"zip://{tmp_path}/all.zip", cache=None)
    assert bundled.get("aba:best") == store.get("aba:best")
    with pytest.raises(RefusedError):
        bundled.put(b"x", "n")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_the_same_store_gives_the_same_file(store, tmp_path):
    store.maintenance.bundle(tmp_path / "a.zip")
    shutil.copytree(store.url, tmp_path / "elsewhere")
    artifactstore.open(tmp_path / "elsewhere", cache=None).maintenance.bundle(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_bundle_that_is_unpacked_is_a_copy_and_no_second_store(store, tmp_path):
    store.maintenance.bundle(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert_whole_copy(store.url, str(tmp_path / "unpacked"))
    assert not accepts_writes(str(tmp_path / "unpacked"))
    store.put(b"later", "later")
    assert store.maintenance.sync(tmp_path / "unpacked").entries == 1


def test_a_store_is_carried_to_a_place_without_network_and_kept_up_with(store, tmp_path):
    store.maintenance.bundle(tmp_path / "1.zip")
    far = str(tmp_path / "far")
    assert artifactstore.open(f"zip://{tmp_path}/1.zip", cache=None).maintenance.sync(far).kind == "replica"
    store.put(b"n" * 100_000, "new")
    store.maintenance.bundle(tmp_path / "2.zip")
    done = artifactstore.open(f"zip://{tmp_path}/2.zip", cache=None).maintenance.sync(far)
    assert done.entries == 1
    assert_whole_copy(store.url, far)


def test_a_selection_is_a_small_store_that_another_imports(store, tmp_path):
    done = store.maintenance.bundle(tmp_path / "some.zip", names=["name/*"])
    assert (done.versions, done.head) == (6, store.head)
    bundled = artifactstore.open(f"zip://{tmp_path}/some.zip", cache=None)
    assert [one.name for one in bundled.names()] == ["name/0", "name/1"]
    assert bundled.verify(level="full").findings == []
    there = store._session.core().config.store
    assert {(one.origin or "").partition(":")[0] for one in bundled.versions("name/1")} == {there}
    far = artifactstore.create(tmp_path / "far", cache=None)
    assert bundled.maintenance.sync(far.url).versions == 6
    store.put(b"later", "name/0")
    store.maintenance.bundle(tmp_path / "later.zip", names=["name/0"])
    later = artifactstore.open(f"zip://{tmp_path}/later.zip", cache=None)
    done = later.maintenance.sync(far.url)
    assert (done.versions, done.artifacts, done.left_out) == (1, 1, [])
    far = artifactstore.open(far.url, cache=None)
    assert [one.digest for one in far.versions("name/0")] == [one.digest for one in store.versions("name/0")]
    assert {(one.origin or "").partition(":")[0] for one in far.versions("name/0")} == {there}
    # And the store itself goes on where its bundles ended.
    assert store.maintenance.sync(far.url, names=["name/*"]).entries == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "later.zip", "some.zip", "store"]


def test_clean_up_in_between_begins_a_new_file(store, tmp_path):
    store.put(b"g" * 100_000, "gone")
    tell(store, removed("gone", 1))
    begun: list[str] = []

    def watch(what, _total):  # called when it is known what there is to copy
        if not begun:
            clean_up(artifactstore.open(store.url, cache=None))
        begun.append(what)
        return lambda _more: None

    store._session.watch = watch
    done = store.maintenance.bundle(tmp_path / "all.zip")
    assert done.entries == len(entries(store.url))
    assert begun == ["bundle"] * 2
    assert_whole_copy(store.url, f"zip://{tmp_path}/all.zip")


def test_a_damaged_store_is_not_bundled(store, tmp_path):
    victim, raw = next(iter(objects(store.url, "packs/").items()))
    connect(store.url).delete(victim)
    with pytest.raises(CorruptionError, match=victim):
        store.maintenance.bundle(tmp_path / "all.zip")
    connect(store.url).write(victim, raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:])
    with pytest.raises(CorruptionError, match=victim):
        store.maintenance.bundle(tmp_path / "all.zip")
    with pytest.raises(CorruptionError, match=victim):
        store.maintenance.bundle(tmp_path / "some.zip", names=["name/*", "aba"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


@pytest.mark.slow
@pytest.mark.parametrize("names", [None, ["aba"]])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_an_interrupted_bundle_leaves_nothing(store, tmp_path, monkeypatch, names, at):
    real, left = zipfile.ZipFile.writestr, [at]

    def add(self, member, raw):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        real(self, member, raw)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", add)
    with pytest.raises(KeyboardInterrupt):
        store.maintenance.bundle(tmp_path / "x.zip", names=names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


_KILLED = """
import os, signal, sys, zipfile
real, left = zipfile.ZipFile.writestr, [int(sys.argv[3])]
def add(self, member, raw):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, member, raw)
zipfile.ZipFile.writestr = add
import artifactstore
artifactstore.open(sys.argv[1], cache=None).maintenance.bundle(sys.argv[2])
"""


def test_a_killed_bundle_is_not_there(store, tmp_path):
    for at in (2, 5, 9):
        done = program("-c", _KILLED, store.url, str(tmp_path / "x.zip"), str(at))
        assert done.returncode == -signal.SIGKILL
        assert not (tmp_path / "x.zip").exists()
    store.maintenance.bundle(tmp_path / "x.zip")
    assert_whole_copy(store.url, f"zip://{tmp_path}/x.zip")


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path):
    """It takes long: a bundle in memory shows only where it is larger than what the libraries themselves take."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells a process's own peak: elsewhere it counts what its parent had when it was forked")
    store = artifactstore.create(tmp_path / "store", cache=None)
    for i in range(6):
        store.put(os.urandom(32 * 2**20), f"n{i}")
    code = (
        "import artifactstore, sys\n"
        "store = artifactstore.open(sys.argv[1], 'r', cache=None)\n"
        "store.maintenance.bundle(sys.argv[2], names=sys.argv[3:] or None)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    for k, names in enumerate(([], ["n*"])):
        command = [sys.executable, "-c", code, store.url, str(tmp_path / f"{k}.zip"), *names]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024
        assert (tmp_path / f"{k}.zip").stat().st_size > 190 * 2**20
        assert peak < 420 * 2**20, peak // 2**20


def test_what_makes_no_sense_is_said(store, tmp_path):
    (tmp_path / "there.zip").write_bytes(b"mine")
    with pytest.raises(AlreadyExistsError, match="exists already"):
        store.maintenance.bundle(tmp_path / "there.zip")
    with pytest.raises(InvalidInputError, match="does not exist"):
        store.maintenance.bundle(tmp_path / "no/x.zip")
    with pytest.raises(InvalidInputError, match="is inside the store"):
        store.maintenance.bundle(Path(store.url) / "x.zip")
    with pytest.raises(InvalidInputError, match="is a URL"):
        store.maintenance.bundle("s3://bucket/x.zip")
    with pytest.raises(NotFoundError, match="matches 'nothing'"):
        store.maintenance.bundle(tmp_path / "x.zip", names=["nothing"])
    with pytest.raises(InvalidInputError, match="without at"):
        store.at(1).maintenance.bundle(tmp_path / "x.zip")
    with pytest.raises(NotFoundError, match="no store at"):
        artifactstore.open(tmp_path / "nothing", cache=None).maintenance.bundle(tmp_path / "x.zip")
    store.maintenance.bundle(tmp_path / "y.zip")
    with pytest.raises(RefusedError, match="is read-only"):
        store.maintenance.sync(f"zip://{tmp_path}/y.zip")
    assert (tmp_path / "there.zip").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "there.zip", "y.zip"]


@pytest.mark.parametrize("names", [None, ["name/*"]])
@pytest.mark.parametrize("lost", ["store.json", "journal/"])
def test_a_bundle_that_a_reader_would_refuse_gets_no_name(store, tmp_path, monkeypatch, names, lost):
    add = zipfile.ZipFile.writestr

    def lose(self: zipfile.ZipFile, member: zipfile.ZipInfo, raw: bytes) -> None:
        if not member.filename.startswith(lost):
            add(self, member, raw)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", lose)
    with pytest.raises((CorruptionError, NotFoundError)):
        store.maintenance.bundle(tmp_path / "all.zip", names=names)
    assert [one.name for one in tmp_path.iterdir()] == ["store"]
