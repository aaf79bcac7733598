"""Repacking through the public API: what is written anew, that digests and content stay, and what stops it."""

import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import CorruptionError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.maintenance.repack import execute
from artifactstore.maintenance.repack import rewrite as rewrite_module
from artifactstore.store import Store

from .killed import upkeep_killed
from .places import objects
from .test_gc import content, everything, keys

NO_GRACE = timedelta(0)
_count = iter(range(10**6))


@pytest.fixture
def store() -> Store:
    return artifactstore.create(f"memory://repack-{next(_count)}", cache=None)


def dead_half(store: Store, tmp_path: Path, seed: int = 0) -> dict[str, bytes]:
    """A store whose packs are mostly dead, in several names; returns the files that stay, by reference."""
    stays: dict[str, bytes] = {}
    for name in ("a", "b/c"):
        folder = tmp_path / f"{seed}-{name.replace('/', '-')}"
        folder.mkdir()
        for number in range(10):
            (folder / f"{number:02d}.bin").write_bytes(content(seed + number + 100 * len(name), 60_000))
        store.put(folder, name, metadata={"k": 1})
        for number in range(3, 10):
            (folder / f"{number:02d}.bin").unlink()
        store.put(folder, name)
        store.registry.remove(f"{name}:v1", "old")
        stays |= {f"{name}:v2/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    store.maintenance.gc(grace=NO_GRACE)
    return stays


def assert_stays(store: Store, stays: dict[str, bytes]) -> None:
    again = artifactstore.open(store.url, cache=None)
    assert again.verify(level="full").findings == []
    for ref, data in stays.items():
        with again.open_file(*ref.split("/", 1) if ref.count("/") == 1 else ref.rsplit("/", 1)) as file:
            assert file.read() == data


def packs_of(store: Store) -> dict[str, int]:
    return {key: len(raw) for key, raw in objects(store.url, "packs/").items()}


def test_packs_that_are_mostly_dead_are_written_anew(store: Store, tmp_path: Path):
    stays = dead_half(store, tmp_path)
    digests = {name: store.artifact(name).digest for name in ("a", "b/c")}
    before, state = packs_of(store), everything(store)
    plan = store.maintenance.repack(dry_run=True)
    assert everything(store) == state, "a dry run writes nothing"
    assert len(plan.packs) == 2
    assert plan.bytes_before == sum(before.values())
    assert 6 * 60_000 <= plan.bytes_after <= plan.bytes_before * 0.35
    done = store.maintenance.repack()
    assert (done.packs, done.manifests, done.bytes_before) == (plan.packs, plan.manifests, plan.bytes_before)
    assert {*before} <= {*packs_of(store)}, "it deletes nothing"
    assert sum(packs_of(store).values()) - sum(before.values()) == done.bytes_after <= plan.bytes_after
    assert_stays(store, stays)
    freed = store.maintenance.gc(grace=NO_GRACE)
    assert {*freed.packs} == {*done.packs}
    assert {*freed.manifests} == {*done.manifests}
    assert sum(packs_of(store).values()) == done.bytes_after
    assert_stays(store, stays)
    assert {name: store.artifact(name).digest for name in digests} == digests
    again = store.maintenance.repack()
    assert (again.packs, again.manifests, again.bytes_after) == ((), (), 0), "nothing is left to do"


def test_small_packs_of_a_name_become_few_in_reading_order(store: Store):
    stays = {}
    for number in range(12):
        stays[f"n:v{number + 1}"] = content(number, 50_000)
        store.put(stays[f"n:v{number + 1}"], "n")
    store.put(content(50, 50_000), "other")
    assert len(packs_of(store)) == 13
    done = store.maintenance.repack()
    assert (len(done.packs), len(done.manifests)) == (12, 12)
    store.maintenance.gc(grace=NO_GRACE)
    assert len(packs_of(store)) == 2
    raw = max(objects(store.url, "packs/").values(), key=len)
    places = [raw.index(stays[f"n:v{number}"][:100]) for number in range(12, 0, -1)]
    assert places == sorted(places), "the newest version first"
    again = artifactstore.open(store.url, cache=None)
    assert again.verify(level="full").findings == []
    assert all(again.get(ref) == data for ref, data in stays.items())
    assert again.maintenance.repack().packs == ()


def test_names_choose_what_moves(store: Store, tmp_path: Path):
    stays = dead_half(store, tmp_path)
    done = store.maintenance.repack(names=["b/*"])
    assert len(done.manifests) == len(done.packs) == 1
    assert_stays(store, stays)
    assert len(store.maintenance.repack().manifests) == 1
    with pytest.raises(NotFoundError):
        store.maintenance.repack(names=["none*"])


def test_a_pack_that_other_names_need_stays_where_names_choose(store: Store):
    whole = content(1, 3_000_000)
    store.put(whole, "a")
    store.put(whole, "b")
    store.put(whole[:900_000], "a")
    store.registry.remove("a:v1", "old")
    store.registry.remove("b:v1", "old")
    store.put(whole[:900_000], "b")
    store.maintenance.gc(grace=NO_GRACE)
    assert len(store.maintenance.repack(dry_run=True).packs) == 1
    store.put(whole[:900_000] + b"tail" * 10_000, "b")  # another artifact in the same pack
    assert store.maintenance.repack(names=["a"], dry_run=True).packs == ()


def test_a_manifest_that_does_not_give_its_digest_is_not_written(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dead_half(store, tmp_path)
    real = rewrite_module._Whole.split

    def split(self: Any, done: Any, sources: Any) -> Any:
        made = real(self, done, sources)
        made[0].folders.append("added")
        return made

    monkeypatch.setattr(rewrite_module._Whole, "split", split)
    before = keys(store, "manifests/", "journal/")
    with pytest.raises(CorruptionError, match="it is not moved"):
        store.maintenance.repack()
    assert keys(store, "manifests/", "journal/") == before


def test_below_chooses_how_dead_a_pack_must_be(store: Store, tmp_path: Path):
    dead_half(store, tmp_path)  # 0.3 of each pack is alive
    assert store.maintenance.repack(below=0.2, dry_run=True).packs == ()
    assert len(store.maintenance.repack(below=0.4, dry_run=True).packs) == 2


def test_tables_objects_and_side_content_come_along(store: Store, tmp_path: Path):
    import pandas as pd

    frames = [pd.DataFrame({"x": range(k, k + 20_000), "y": [float(i * k) for i in range(20_000)]}) for k in range(4)]
    for frame in frames:
        store.put(frame, "t")
    store.put({"a": 1}, "j")
    model = content(1, 200_000)
    for number in range(3):
        store.put(model + bytes([number]) * 60_000, "m", kind="model")
    profiles = [store.artifact(f"t:v{k + 1}").profile for k in range(4)]
    sums = store.artifact("m").sha256
    store.registry.remove("t:v1", "old")
    done = store.maintenance.repack()
    assert done.packs
    store.maintenance.gc(grace=NO_GRACE)
    again = artifactstore.open(store.url, cache=None)
    assert again.verify(level="full").findings == []
    for k in range(1, 4):
        assert again.get(f"t:v{k + 1}").equals(frames[k])
        assert again.artifact(f"t:v{k + 1}").profile == profiles[k]
    assert again.artifact("m").sha256 == sums
    assert again.maintenance.repack().packs == ()


def test_what_is_stored_raw_and_shrinks_is_encoded_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    from artifactstore.content.codecs.codec import RAW, Encoder

    monkeypatch.setattr(Encoder, "encode", lambda _self, data: (RAW, data))
    texts = [bytes(random.Random(seed).choices(b"abcd", k=100_000)) for seed in range(3)]
    for text in texts:
        store.put(text, "n")
    before = sum(packs_of(store).values())
    monkeypatch.undo()
    done = store.maintenance.repack()
    assert done.bytes_after < before / 2
    assert [artifactstore.open(store.url, cache=None).get(f"n:v{k + 1}") for k in range(3)] == texts


def test_deltas_stay_where_they_are(store: Store):
    import numpy as np

    dice = np.random.default_rng(1)
    weights = dice.normal(0, 0.02, 200_000).astype(np.float32)
    for _ in range(4):
        store.put(weights, "w")
        weights = (weights + dice.normal(0, 1e-4, weights.size)).astype(np.float32)
    before = [store.get(f"w:v{k}") for k in (1, 2, 3, 4)]
    store.maintenance.repack()
    store.maintenance.gc(grace=NO_GRACE)
    again = artifactstore.open(store.url, cache=None)
    assert again.verify(level="full").findings == []
    for k, array in enumerate(before, 1):
        assert np.array_equal(again.get(f"w:v{k}"), array)


@pytest.mark.parametrize(
    "options",
    [
        {"below": 0},
        {"below": -0.1},
        {"below": 1.01},
        {"below": True},
        {"below": "half"},
        {"below": None},
        {"below": float("nan")},
        {"names": []},
        {"names": [1]},
        {"names": 3},
        {"dry_run": 1},
    ],
)
def test_bad_input_is_refused(store: Store, options: dict[str, Any]):
    store.put(b"1", "a")
    with pytest.raises(InvalidInputError):
        store.maintenance.repack(**options)


def test_where_nothing_may_be_written_it_is_refused(tmp_path: Path):
    store = artifactstore.create(tmp_path / "s", cache=None)
    dead_half(store, tmp_path)
    with pytest.raises(RefusedError):
        artifactstore.open(store.url, "r", cache=None).maintenance.repack()
    with pytest.raises(RefusedError):
        store.at(1).maintenance.repack()
    assert len(artifactstore.open(store.url, "r", cache=None).maintenance.repack(dry_run=True).packs) == 2


def test_no_damaged_chunk_is_written_anew(store: Store, tmp_path: Path):
    dead_half(store, tmp_path)
    backend = connect(store.url)
    key = max(packs_of(store))
    raw = bytearray(backend.read(key))
    for at in range(1000, len(raw) - 2000, 5000):
        raw[at] ^= 1
    backend.write(key, bytes(raw))
    before = {k: v for k, v in everything(store).items() if k.startswith(("manifests/", "journal/"))}
    with pytest.raises(CorruptionError):
        artifactstore.open(store.url, cache=None).maintenance.repack(names=["a", "b/c"])
    after = {k: v for k, v in everything(store).items() if k.startswith("journal/")}
    assert len(after) - len([k for k in before if k.startswith("journal/")]) <= 1, "the other name may have moved"


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_repacking_killed_at_each_change_loses_nothing(tmp_path: Path, after: Any):
    stays = dead_half(artifactstore.create(tmp_path / "origin", cache=None), tmp_path)
    at, killed = 0, True
    while killed:
        at += 1
        url = str(tmp_path / f"s{at}")
        shutil.copytree(tmp_path / "origin", url)
        killed = upkeep_killed(url, "repack", at, after=after)
        assert_stays(artifactstore.open(url, cache=None), stays)
        store = artifactstore.open(url, cache=None)
        store.maintenance.repack()
        store.maintenance.gc(grace=NO_GRACE)
        assert_stays(store, stays)
        assert len(packs_of(store)) == 2
        shutil.rmtree(url)
    assert at >= 6


def _meanwhile_removed(store: Store) -> None:
    store.registry.remove("a:v2", "gone")
    store.maintenance.gc(grace=NO_GRACE)


def _meanwhile_cleaned(store: Store) -> None:
    store.maintenance.gc(grace=NO_GRACE)


def _meanwhile_repacked(store: Store) -> None:
    store.maintenance.repack()
    store.maintenance.gc(grace=NO_GRACE)


@pytest.mark.parametrize("meanwhile", [_meanwhile_removed, _meanwhile_cleaned, _meanwhile_repacked])
def test_what_others_do_in_the_middle_is_seen(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Store], None]
):
    stays = dead_half(store, tmp_path)
    real, done = vars(execute)["rewrite"], list[int]()

    def rewrite(*args: Any) -> Any:
        made = real(*args)
        if not done:
            done.append(1)
            meanwhile(artifactstore.open(store.url, cache=None))
        return made

    monkeypatch.setattr(execute, "rewrite", rewrite)
    reader = artifactstore.open(store.url, cache=None)
    reader.artifact("b/c")
    store.maintenance.repack()
    monkeypatch.undo()
    if meanwhile is _meanwhile_removed:
        stays = {ref: data for ref, data in stays.items() if not ref.startswith("a:")}
    assert_stays(store, stays)
    store.maintenance.repack()
    store.maintenance.gc(grace=NO_GRACE)
    assert_stays(store, stays)
    assert_stays(reader, stays)
    assert keys(store, "packs/")
