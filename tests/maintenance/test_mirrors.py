"""Mirrors: what is damaged or missing comes from a copy, checked, with one warning; nothing is asked of them before."""

import pickle
import random
import shutil
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.mirrored import MirroredBackend
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.content.read import open_file as open_file_module
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from artifactstore.testing import BackendContract
from artifactstore.work.session import session as session_module
from artifactstore.work.session.manifests import ManifestReader
from tests.maintenance.facts import clean_up, removed, state_of, tell
from tests.maintenance.test_repair import CONFIG, CONTENT, HISTORY, content, entry, every, flip, home, made, opened

__all__ = ["home", "made"]


class TestMirroredBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MirroredBackend(MemoryBackend(f"memory://{new_id()}"), [MemoryBackend(f"memory://{new_id()}")])


def mirrored(root: Path, *mirrors: Any) -> Store:
    return artifactstore.open(root, cache=None, mirrors=list(mirrors))


def used(root: Path, mirror: Path, use: Callable[[Store], Any]) -> tuple[Store, Any]:
    store = mirrored(root, mirror)
    return store, use(store)


# A link that leads to itself is a failure of the backend for readers, and no damage: repair replaces it.
DAMAGE = {name: harm for name, harm in {**CONTENT, **HISTORY, **CONFIG}.items() if "link" not in name}
UNSEEN = {name for name in CONTENT if name.startswith(("packs whose", "packs that", "truncated", "longer"))}  # by readers
FEW = (
    "flipped packs",
    "missing packs",
    "missing manifests",
    "flipped manifests",
    "two entries in a row",
    "facts",
    "no store.json",
)


@pytest.mark.parametrize("damage", [pytest.param(one, marks=() if one in FEW else pytest.mark.slow) for one in DAMAGE])
def test_all_is_read_with_the_help_of_a_mirror(home: Path, made: Path, damage: str):
    if damage == "neither store.json nor the first entry":
        return  # nothing here vouches for a store.json then
    DAMAGE[damage](home / "store")
    if damage in UNSEEN:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert used(home / "store", made / "copy", content)[1] == content(opened(made / "store"))
        return
    with pytest.warns(UserWarning, match="came from the mirror"):
        store, found = used(home / "store", made / "copy", content)
    assert found == content(opened(made / "store"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert content(store) == found  # said once
    report = store.verify(level="frames")
    assert [one for one in report.findings if one.rule == "mirror"]
    assert not report.ok  # a mirror answers no check


@pytest.mark.parametrize("damage", [pytest.param(one, marks=() if one in FEW[:2] else pytest.mark.slow) for one in DAMAGE])
def test_a_repair_uses_the_mirrors(home: Path, made: Path, damage: str):
    if damage == "neither store.json nor the first entry":
        return
    DAMAGE[damage](home / "store")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = mirrored(home / "store", made / "copy")
        content(store)
        done = store.maintenance.repair()
    assert done.restored
    assert not done.lost
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.verify(level="full").ok
        assert content(store) == content(opened(made / "store"))
        store.put(b"more", "more")
    assert opened(home / "store").verify(level="full").ok


class Counting:
    """Counts the requests to each location."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str, str]] = []
        real = vars(session_module)["connect"]

        def connect(*args: Any, **options: Any) -> Backend:
            backend: Backend = real(*args, **options)
            for verb in ("read", "read_ranges", "read_large", "read_into", "size", "list", "create", "write"):
                setattr(backend, verb, self._counted(verb, getattr(backend, verb), backend.url))
            return backend

        monkeypatch.setattr(session_module, "connect", connect)

    def _counted(self, verb: str, call: Callable[..., Any], url: str) -> Callable[..., Any]:
        def counted(key: str, *rest: Any) -> Any:
            self.calls.append((url, verb, key))
            return call(key, *rest)

        return counted

    def take(self) -> list[tuple[str, str, str]]:
        calls, self.calls = self.calls, []
        return calls


def test_where_nothing_is_wrong_nothing_is_asked_of_a_mirror(home: Path, made: Path, monkeypatch: pytest.MonkeyPatch):
    counting = Counting(monkeypatch)
    without = opened(home / "store")
    content(without)
    with without.open_file("bytes:v1") as file:
        file.read(1000)
    expected = counting.take()
    store = mirrored(home / "store", made / "copy")
    opening = counting.take()
    assert [call for call in opening if call[0] == str(made / "copy")] == [(str(made / "copy"), "read", "store.json")]
    content(store)
    with store.open_file("bytes:v1") as file:
        file.read(1000)
    rest = counting.take()
    assert not [call for call in rest if call[0] == str(made / "copy")]
    assert sorted([call for call in opening if call[0] != str(made / "copy")] + rest) == sorted(expected)
    store.put(b"new", "new")
    assert not [call for call in counting.take() if call[0] == str(made / "copy")]


def test_only_what_is_damaged_is_asked_for(home: Path, made: Path, monkeypatch: pytest.MonkeyPatch):
    digest = opened(home / "store").artifact("bytes:v1").digest
    state = state_of(opened(home / "store"))
    pack = home / "store" / pack_key(state.manifests[str(state.current_manifest(digest))][2][0])
    pack.unlink()
    counting = Counting(monkeypatch)
    store = mirrored(home / "store", made / "copy")
    counting.take()
    with pytest.warns(UserWarning, match=pack.stem):
        content(store)
    assert {key for url, _, key in counting.take() if url == str(made / "copy")} == {f"packs/{pack.stem[:2]}/{pack.name}"}


@pytest.mark.parametrize("how", ["a second mirror", "an open store", "a bundle"])
def test_the_next_mirror_is_asked_if_one_is_damaged_as_well(home: Path, made: Path, how: str):
    shutil.copytree(made / "copy", home / "bad")
    every(home / "bad", "packs/*/*", flip)
    every(home / "store", "packs/*/*", flip)
    other: Any = {
        "a second mirror": made / "copy",
        "an open store": opened(made / "copy"),
        "a bundle": f"zip://{made}/bundle.zip",
    }[how]
    with pytest.warns(UserWarning, match="came from the mirror"):
        assert content(mirrored(home / "store", home / "bad", other)) == content(opened(made / "store"))
    with pytest.raises(CorruptionError):
        mirrored(home / "store", home / "bad").get("bytes")


def test_an_open_file_goes_on_with_a_mirror(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(open_file_module, "SMALL_FILE", 0)
    data = random.Random(1).randbytes(6_000_000)
    opened(home / "store").put(data, "large")
    shutil.copytree(home / "store", home / "copy")
    store = mirrored(home / "store", home / "copy")
    with store.open_file("large") as file:
        first = file.read(10)
        every(home / "store", "packs/*/*", lambda path: path.write_bytes(b"?"))
        with pytest.warns(UserWarning, match="came from the mirror"):
            rest = file.read()
    assert first + rest == data


def test_a_mirror_never_decides_where_the_journal_ends(home: Path, made: Path):
    """The copy has entries that the store lacks, at its end: that is for the store to say."""
    entry(home / "store", 9).unlink()
    store = mirrored(home / "store", made / "copy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "last" not in {one.name for one in store.names()}
        store.put(b"another", "another")
    with pytest.raises(NotFoundError):
        store.get("last")


def test_what_clean_up_took_does_not_come_back_by_a_mirror(home: Path, made: Path):
    store = mirrored(home / "store", made / "copy")
    tell(opened(home / "store"), removed("folder", 1))
    clean_up(opened(home / "store"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NotFoundError):
            store.get("folder")


@pytest.mark.parametrize(
    "case", list(product(["get", "part"], ["its manifest", "its packs"], ["moved", "freed"], ["missing", "changed"])), ids=str
)
def test_a_mirror_is_asked_only_after_catching_up(home: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str, str]):
    """Another process moves or frees the content between a reader's look at the journal and its look at the content."""
    door, at, meanwhile, fault = case
    expected = random.Random(8).randbytes(150_000)
    opened(home / "store").put(expected, "alone")
    shutil.copytree(home / "store", home / "copy")
    real, old = ManifestReader._load, objects_of(home / "store", "alone")

    def other_process() -> None:
        other = opened(home / "store")
        if meanwhile == "moved":
            digest = other.artifact("alone").digest
            data = other.get("alone")
            tell(other, {"fact": "damaged", "digest": digest, "manifest": old[0].stem})
            other.put(data, "again")
        else:
            other.registry.remove(other.artifact("alone").digest, "old")
        clean_up(opened(home / "store"))
        for path in old if fault == "changed" else []:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"?")  # what is left of it, on a backend that deletes late

    def load(self: ManifestReader, *args: Any) -> Any:
        monkeypatch.setattr(ManifestReader, "_load", real)
        if at == "its manifest":
            other_process()
        found = real(self, *args)
        if at == "its packs":
            other_process()
        return found

    counting = Counting(monkeypatch)
    store = mirrored(home / "store", home / "copy")
    store.names()
    counting.take()
    monkeypatch.setattr(ManifestReader, "_load", load)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if meanwhile == "freed":
            with pytest.raises(NotFoundError, match=r"clean-up took its content in entry \d+"):
                read_by(store, door)
        else:
            assert read_by(store, door) == (expected if door == "get" else expected[:1000])
    assert not [call for call in counting.take() if call[0] == str(home / "copy")]


def objects_of(root: Path, ref: str) -> list[Path]:
    """The files of the current manifest of a version and of its packs."""
    store = opened(root)
    state = state_of(store)
    holder = str(state.current_manifest(store.artifact(ref).digest))
    return [root / manifest_key(holder), *(root / pack_key(one) for one in state.manifests[holder][2])]


def read_by(store: Store, door: str) -> Any:
    if door == "get":
        return store.get("alone")
    with store.open_file("alone") as file:
        return file.read(1000)


@pytest.mark.parametrize("damage", ["two entries in a row", "no store.json"])
def test_nothing_is_written_while_a_mirror_helps_with_the_history(home: Path, made: Path, damage: str):
    DAMAGE[damage](home / "store")
    before = {one: one.read_bytes() for one in (home / "store").rglob("*") if one.is_file()}
    with pytest.warns(UserWarning, match="came from the mirror"):
        store, _ = used(home / "store", made / "copy", lambda store: store.names())
    with pytest.raises(CorruptionError, match="repair"):
        store.put(b"x", "y")
    assert before == {one: one.read_bytes() for one in (home / "store").rglob("*") if one.is_file()}


def test_a_mirror_cannot_bring_another_history(home: Path, made: Path):
    shutil.copytree(made / "copy", home / "forged")
    raw = entry(home / "forged", 2).read_bytes()
    entry(home / "forged", 2).write_bytes(raw.replace(b'"bytes"', b'"Bytes"'))
    flip(entry(home / "store", 2))
    store = mirrored(home / "store", home / "forged")
    with pytest.raises(CorruptionError, match="000000000002"):
        store.names()


@pytest.mark.parametrize("mirrors", ["somewhere", b"x", 3, [3], [None], {"a": 1}.items()])
def test_what_are_no_mirrors_is_refused(home: Path, mirrors: Any):
    with pytest.raises((InvalidInputError, NotFoundError)):
        artifactstore.open(home / "store", cache=None, mirrors=mirrors)


def test_another_store_is_no_mirror(home: Path):
    other = artifactstore.create(home / "other", cache=None)
    for one in (other, home / "other"):
        with pytest.raises(InvalidInputError, match="another store"):
            mirrored(home / "store", one)
    with pytest.raises(InvalidInputError, match="the store itself"):
        mirrored(home / "store", home / "store")
    with pytest.raises(NotFoundError):
        mirrored(home / "store", home / "nowhere")


def test_a_store_with_mirrors_is_pickled_with_them(home: Path, made: Path):
    store = pickle.loads(pickle.dumps(mirrored(home / "store", made / "copy")))
    every(home / "store", "packs/*/*", flip)
    with pytest.warns(UserWarning, match="came from the mirror"):
        assert store.get("bytes:v1") == opened(made / "store").get("bytes:v1")
    with pytest.warns(UserWarning, match="came from the mirror"):
        assert pickle.loads(pickle.dumps(mirrored(home / "store", made / "copy").at(5))).get("bytes:v1") == store.get("bytes:v1")


def test_a_path_that_cannot_be_read_is_read_from_a_mirror(home: Path, made: Path):
    for pack in (home / "store").glob("packs/*/*"):
        pack.unlink()
        pack.mkdir()
    with pytest.warns(UserWarning, match="came from the mirror"):
        assert content(mirrored(home / "store", made / "copy")) == content(opened(made / "store"))
