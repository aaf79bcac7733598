"""A zip file as a place: whole stores in it, and zip files that somebody made to deceive."""

import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import psutil
import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.readonly.zip import ZipBackend
from artifactstore.errors import (
    BackendError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
)
from artifactstore.testing import BackendContract
from tests.backend.published import Published

pytestmark = pytest.mark.slow  # the contract once more: the line runs it on the main backends


def pack(folder, target, *, method=zipfile.ZIP_STORED, inside=""):
    """Pack a folder, anew each time."""
    part = Path(f"{target}.part")
    with zipfile.ZipFile(part, "w", method) as archive:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                archive.write(path, inside + path.relative_to(folder).as_posix())
    part.replace(target)


def make(target, *members, method=zipfile.ZIP_STORED):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names given twice, which are meant
        with zipfile.ZipFile(target, "w", method) as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data, method)
    return ZipBackend(target)


class InZip(BackendContract):
    """The contract's reading half; what is written goes to a folder that is packed before the next read."""

    many = 300
    method = zipfile.ZIP_STORED
    inside = ""

    @pytest.fixture
    def backend(self, tmp_path):
        folder, target = tmp_path / "folder", tmp_path / "store.zip"
        publish = Packing(folder, target, self.method, self.inside)
        return Published(LocalBackend(folder), connect(f"zip://{target}"), publish)

    @pytest.mark.skip(reason="the folder's race, not the zip file's")
    def test_of_many_threads_exactly_one_creates(self, backend):
        pass


class Packing:
    def __init__(self, folder, target, method, inside):
        self.arguments = folder, target, method, inside

    def __call__(self):
        folder, target, method, inside = self.arguments
        pack(folder, target, method=method, inside=inside)


class TestStored(InZip):
    pass


class TestDeflated(InZip):
    method = zipfile.ZIP_DEFLATED


@pytest.fixture
def packed(tmp_path):
    """A store with a folder of two files and a value, packed."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(700_000))
    (source / "b.txt").write_text("text\n" * 50_000)
    store = artifactstore.open(tmp_path / "store")
    store.put(source, "some/name")
    store.put({"a": 1}, "value")
    store.alias("some/name:v1", "good")
    pack(tmp_path / "store", tmp_path / "store.zip")
    return store


def test_a_store_is_read_from_a_zip_file(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.open("zip://store.zip", cache=None)
    assert store.url == f"zip://{tmp_path}/store.zip"
    assert [name.name for name in store.names()] == ["some/name", "value"]
    assert store.get("value") == {"a": 1}
    out = store.get("some/name:good", tmp_path / "out")
    assert (out / "a.bin").read_bytes() == (tmp_path / "source" / "a.bin").read_bytes()
    assert store.artifact("some/name:good").digest == packed.artifact("some/name").digest
    assert store.verify(level="full").ok
    monkeypatch.chdir("/")
    assert [name.name for name in pickle.loads(pickle.dumps(store)).names()] == ["some/name", "value"]


def test_a_folder_that_was_packed_by_its_name_is_a_store_too(packed, tmp_path):
    pack(tmp_path / "store", tmp_path / "named.zip", inside="my store/", method=zipfile.ZIP_DEFLATED)
    assert artifactstore.open(f"zip://{tmp_path}/named.zip", cache=None).get("value") == {"a": 1}
    pack(tmp_path / "store", tmp_path / "deep.zip", inside="my/store/")
    with pytest.raises(NotFoundError, match="no store at zip://"):
        artifactstore.open(f"zip://{tmp_path}/deep.zip", cache=None).names()


def test_every_change_is_refused_before_any_work(packed, tmp_path):
    store = artifactstore.open(f"zip://{tmp_path}/store.zip", cache=None)
    before = (tmp_path / "store.zip").read_bytes()
    for call in (
        lambda: store.put(tmp_path / "not even there", "x"),
        lambda: store.alias("value:v1", "x"),
    ):
        with pytest.raises(RefusedError, match="read-only"):
            call()
    backend = connect(f"zip://{tmp_path}/store.zip")
    for verb in (lambda: backend.write("a", b""), lambda: backend.create("a", b""), lambda: backend.delete("store.json")):
        with pytest.raises(RefusedError, match="is read-only"):
            verb()
    assert (tmp_path / "store.zip").read_bytes() == before
    with pytest.raises(RefusedError, match="read-only"):
        artifactstore.create(f"zip://{tmp_path}/new.zip")
    assert not (tmp_path / "new.zip").exists()


def test_a_zip_file_that_is_replaced_is_read_anew(tmp_path):
    backend = make(tmp_path / "a.zip", ("a", b"first"))
    assert backend.read("a") == b"first"
    make(tmp_path / "b.zip", ("b", b"x"), ("a", b"second"))
    (tmp_path / "b.zip").replace(tmp_path / "a.zip")
    assert backend.read("a") == b"second"
    assert backend.read_ranges("a", [(0, 3)]) == [b"sec"]


def test_no_such_file_is_no_store_and_a_folder_is_no_zip_file(tmp_path):
    with pytest.raises(NotFoundError, match="no store at zip://"):
        artifactstore.open(f"zip://{tmp_path}/missing.zip").names()
    with pytest.raises(BackendError, match="is not a file"):
        connect(f"zip://{tmp_path}").read("a")
    make(tmp_path / "empty.zip")
    with pytest.raises(NotFoundError, match="no store at zip://"):
        artifactstore.open(f"zip://{tmp_path}/empty.zip").names()


@pytest.mark.parametrize("url", ["zip://", "zip:///"])
def test_a_url_without_a_path_is_refused(url):
    with pytest.raises(InvalidInputError, match="path of a zip file"):
        connect(url)


def test_what_is_no_zip_file_or_is_cut_is_damage_and_never_missing(packed, tmp_path):
    whole = (tmp_path / "store.zip").read_bytes()
    bad = tmp_path / "bad.zip"
    for content in (b"", b"no zip file at all", whole[: len(whole) // 2], whole[:-30], whole[100:]):
        bad.write_bytes(content)
        with pytest.raises(CorruptionError, match="copied incompletely") as caught:
            artifactstore.open(f"zip://{bad}").names()
        assert caught.value.location == str(bad)


def test_a_member_that_was_changed_fails_its_checksum(tmp_path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        backend = make(tmp_path / "a.zip", ("key", os.urandom(5000)), method=method)
        raw = bytearray((tmp_path / "a.zip").read_bytes())
        raw[2000] ^= 1
        (tmp_path / "a.zip").write_bytes(raw)
        with pytest.raises(CorruptionError, match=r"checksum|inflated"):
            backend.read("key")


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    backend = make(tmp_path / "a.zip", ("store.json", b"{}"), ("store.json", b"[]"))
    with pytest.raises(CorruptionError, match=r"it contains store\.json twice"):
        backend.read("store.json")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "C:/x", "a\\..\\x", "a/.."])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    backend = make(tmp_path / "a.zip", ("store.json", b"{}"), (name, b"x"))
    with pytest.raises(CorruptionError, match="is outside of it"):
        backend.read("store.json")


def test_a_name_with_a_nul_is_refused(tmp_path):
    make(tmp_path / "a.zip", ("store.json?", b"{}"), ("b", b""))
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"store.json?", b"store.json\0"))
    with pytest.raises(CorruptionError, match="is outside of it"):
        ZipBackend(tmp_path / "a.zip").read("store.json")


def test_names_that_are_no_keys_are_nobodys_business(tmp_path):
    backend = make(tmp_path / "a.zip", ("ä b", b"x"), ("folder/", b""), ("a/b", b"12345"))
    assert [(item.key, item.size) for item in backend.list("")] == [("a/b", 5)]
    with pytest.raises(NotFoundError):
        backend.read("folder")


def test_an_encrypted_member_names_the_way_out(tmp_path):
    make(tmp_path / "a.zip", ("store.json", b"{}"))
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UnsupportedError, match="encrypted: unpack the zip file"):
        ZipBackend(tmp_path / "a.zip").read("store.json")


def test_another_compression_names_the_way_out(tmp_path):
    backend = make(tmp_path / "a.zip", ("key", b"12345" * 100), method=zipfile.ZIP_BZIP2)
    assert backend.size("key") == 500
    for call in (lambda: backend.read("key"), lambda: backend.read_ranges("key", [(0, 1)])):
        with pytest.raises(UnsupportedError, match="pack the store again"):
            call()


def test_a_bomb_takes_no_more_memory_than_was_asked_for(tmp_path):
    size = 300 * 2**20
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("key", "w") as member:
        for _ in range(300):
            member.write(bytes(2**20))
    assert (tmp_path / "a.zip").stat().st_size < 2**20
    backend = ZipBackend(tmp_path / "a.zip")
    with pytest.raises(UnsupportedError, match="would inflate to"):
        backend.read("key")
    before = psutil.Process().memory_info().rss
    assert backend.read_ranges("key", [(size - 5, 5), (7, 3)]) == [bytes(5), bytes(3)]
    assert psutil.Process().memory_info().rss - before < 50 * 2**20


@pytest.mark.parametrize("claimed", [10, 5000])
def test_a_size_that_is_a_lie_is_damage(tmp_path, claimed):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        backend = make(tmp_path / "a.zip", ("key", b"x" * 1000), ("other", b""), method=method)
        raw = bytearray((tmp_path / "a.zip").read_bytes())
        at = raw.index(b"PK\1\2")
        raw[at + 24 : at + 28] = struct.pack("<L", claimed)
        (tmp_path / "a.zip").write_bytes(raw)
        with pytest.raises(CorruptionError):
            backend.read("key")


def test_a_directory_that_points_at_another_member_is_damage(tmp_path):
    make(tmp_path / "a.zip", ("one", b"1111"), ("two", b"2222"))
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    first = raw.index(b"PK\1\2")
    second = raw.index(b"PK\1\2", first + 1)
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]
    (tmp_path / "a.zip").write_bytes(raw)
    backend = ZipBackend(tmp_path / "a.zip")
    for call in (lambda: backend.read("two"), lambda: backend.read_ranges("two", [(0, 2)])):
        with pytest.raises(CorruptionError, match="has another name"):
            call()
    assert backend.read("one") == b"1111"
