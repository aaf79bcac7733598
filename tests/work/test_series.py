"""Series of checkpoints: each version takes what it differs by, comes back bit by bit, and never rests on what is damaged."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import CorruptionError, Store
from artifactstore.content.codecs.codec import is_delta
from artifactstore.content.manifests.manifest import Manifest

Weights = Mapping[str, np.ndarray]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def weights(seed: int = 0, count: int = 400_000, layers: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {f"layer.{i}": (random.standard_normal(count) * 0.02).astype("f4") for i in range(layers)}


def trained(old: Weights, seed: int, size: float = 1e-4) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: one + (random.standard_normal(one.shape) * size).astype(one.dtype) for name, one in old.items()}


def save(path: Path, tensors: Weights, **metadata: str) -> Path:
    """Write a safetensors file of fp32."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, one in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(one.shape), "data_offsets": [at, at + one.nbytes]}
        at += one.nbytes
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"".join(one.tobytes() for one in tensors.values()))
    return path


def manifest(store: Store, ref: str) -> Manifest:
    session = store._session
    return session.with_manifest(session.resolve(ref).digest, lambda found: found)


def deltas(store: Store, ref: str) -> float:
    """Share of an artifact's bytes that are told as differences."""
    chunks = manifest(store, ref).chunks
    assert all(not is_delta(base.codec) for base in chunks.bases.values())
    return sum(size for size, codec in zip(chunks.sizes, chunks.codecs, strict=True) if is_delta(codec)) / sum(chunks.sizes)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000_000, 60_000], ids=["window by window", "whole in memory"])
def test_a_series_comes_back_and_takes_less(store: Store, tmp_path: Path, count: int):
    now = weights(count=count)
    files = []
    for number in range(12):
        path = save(tmp_path / f"checkpoint-{number}.safetensors", now)
        files.append(path.read_bytes())
        store.put(path, "model")
        now = trained(now, number + 1, 3e-5 if number < 9 else 1e-2)
    stored = [sum(manifest(store, f"model:v{n}").chunks.stored) / len(files[0]) for n in range(1, 13)]
    full = [n for n in range(1, 13) if not deltas(store, f"model:v{n}")]
    assert full[0] == 1
    assert 11 in full, "the step before it was so large that differences don't pay"
    assert all(one < 0.75 for n, one in enumerate(stored, 1) if n not in full)
    for n, data in enumerate(files, 1):
        assert store.open_file(f"model:v{n}").read() == data
    back = store.get("model:v9", tmp_path / "back")
    assert (back / "checkpoint-8.safetensors").read_bytes() == files[8]
    for level in ("frames", "full"):
        assert store.verify(level=level).findings == []
    store.put(tmp_path / "checkpoint-4.safetensors", "other")  # the same content again, elsewhere: nothing moves
    assert len(store.versions("model")) == 12


@pytest.mark.slow
def test_a_full_version_comes_when_the_next_difference_takes_more_than_all_have_on_average(store: Store, tmp_path: Path):
    now = weights(count=100_000)
    taken: list[float] = []
    for number in range(30):
        store.put(save(tmp_path / "model.safetensors", now), "model")
        now = trained(now, number + 1, 4e-4)
        ref = f"model:v{number + 1}"
        found = manifest(store, ref)
        own = sum(found.chunks.stored)
        if not deltas(store, ref):
            assert not found.deltas
            taken = [own]
        else:
            taken.append(own)
            assert found.deltas == {"model.safetensors": (len(taken), sum(taken))}
            assert own <= 1.02 * sum(taken[:-1]) / len(taken[:-1])
    fulls = sum(not deltas(store, f"model:v{n}") for n in range(1, 31))
    assert 2 <= fulls <= 15


def test_tensors_are_found_where_they_moved_to_and_frozen_ones_take_nothing(store: Store, tmp_path: Path):
    old = weights()
    store.put(save(tmp_path / "m.safetensors", old), "model")
    new = {"head": weights(9, 150_000)["layer.0"], **trained(old, 1, 1e-5), "layer.1": old["layer.1"]}
    path = save(tmp_path / "m.safetensors", new, step="2")
    made = store.put(path, "model")
    # The new head in full (0.84), two layers as differences (0.53), the frozen one not at all.
    assert made.uploaded < 0.9 * new["head"].nbytes + 0.6 * 2 * old["layer.0"].nbytes
    assert store.open_file(made.ref).read() == path.read_bytes()
    other = store.put(save(tmp_path / "m.safetensors", {**new, "layer.1": weights(5)["layer.0"][:300_000]}), "model")
    assert 0 < deltas(store, other.ref) < 1  # of another shape: it is no continuation


def test_arrays_are_series_too(store: Store):
    random = np.random.default_rng(0)
    for dtype, most in (("f4", 0.65), ("f2", 0.75)):
        array = (random.standard_normal((700, 1001)) * 0.02).astype(dtype)
        store.put(array, dtype)
        array = array + (random.standard_normal(array.shape) * 1e-4).astype(dtype)
        made = store.put(array, dtype)
        assert made.uploaded < most * array.nbytes
        assert deltas(store, made.ref) > 0.99
        np.testing.assert_array_equal(store.get(made.ref), array)


@pytest.mark.slow
def test_wide_numbers_are_deltas_in_a_folder_only_where_these_take_half(store: Store, faulty_s3):
    random = np.random.default_rng(0)
    array = random.standard_normal((700, 1001)) * 0.02
    moved = array + random.standard_normal(array.shape) * 1e-4
    some = np.where(random.random(array.shape) < 0.05, moved, array)
    far = artifactstore.create(faulty_s3[1], cache=None)
    for where, new, least, most in ((store, moved, 1, 1.01), (store, some, 0.02, 0.3), (far, moved, 0.5, 0.9)):
        name = f"n{most}"
        where.put(array, name)
        made = where.put(new, name)
        assert least <= made.uploaded / array.nbytes <= most
        assert (deltas(where, made.ref) > 0.99) == (most < 1)
        np.testing.assert_array_equal(where.get(made.ref), new)


def test_numbers_of_other_widths_in_the_same_file_are_deltas_as_ever(store: Store, tmp_path: Path):
    random = np.random.default_rng(0)

    def save_both(narrow: np.ndarray, wide: np.ndarray) -> Path:
        header, size = {}, narrow.nbytes
        header["narrow"] = {"dtype": "F32", "shape": [len(narrow)], "data_offsets": [0, size]}
        header["wide"] = {"dtype": "F64", "shape": [len(wide)], "data_offsets": [size, size + wide.nbytes]}
        raw = json.dumps(header).encode()
        raw += b" " * (-len(raw) % 8)
        path = tmp_path / "both.safetensors"
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + narrow.tobytes() + wide.tobytes())
        return path

    narrow, wide = (random.standard_normal(200_000) * 0.02).astype("f4"), random.standard_normal(200_000)
    store.put(save_both(narrow, wide), "both")
    made = store.put(save_both(narrow + np.float32(1e-6), wide + random.standard_normal(200_000) * 1e-4), "both")
    assert deltas(store, made.ref) == pytest.approx(1 / 3, abs=0.02)


def test_base_names_what_a_fine_tuned_model_came_from(store: Store, tmp_path: Path):
    old = weights()
    store.put(save(tmp_path / "a.safetensors", old), "base/model")
    made = store.put(save(tmp_path / "b.safetensors", trained(old, 1, 1e-5)), "tuned/model", base="base/model:v1")
    assert deltas(store, made.ref) > 0.99


def test_a_part_is_read_alone(store: Store, tmp_path: Path):
    old = weights()
    store.put(save(tmp_path / "m.safetensors", old), "model")
    path = save(tmp_path / "m.safetensors", trained(old, 1))
    store.put(path, "model")
    data = path.read_bytes()
    with store.open_file("model:v2") as file:
        for at in (5, 1_000_003, 3_999_999):
            file.seek(at)
            assert file.read(70_000) == data[at : at + 70_000]


def test_text_and_noise_are_none(store: Store, tmp_path: Path):
    (tmp_path / "rows.csv").write_text("".join(f"{i},{i * i}\n" for i in range(200_000)))
    store.put(tmp_path / "rows.csv", "rows")
    (tmp_path / "rows.csv").write_text("".join(f"{i},{i * i + 1}\n" for i in range(200_000)))
    assert not deltas(store, store.put(tmp_path / "rows.csv", "rows").ref)
    store.put(save(tmp_path / "m.safetensors", weights(1)), "model")
    assert not deltas(store, store.put(save(tmp_path / "m.safetensors", weights(2)), "model").ref)


def packs(store: Store) -> set[Path]:
    return set(Path(store.url).glob("packs/*/*.pack"))


@pytest.mark.parametrize("damaged", [slice(2, None), slice(3, 4)], ids=["most of it", "what no sample meets"])
def test_nothing_rests_on_a_damaged_base(store: Store, tmp_path: Path, damaged: slice):
    old = weights()
    first = store.put(save(tmp_path / "m.safetensors", old), "model")
    found = manifest(store, first.ref)
    (pack,) = packs(store)
    raw = bytearray(pack.read_bytes())
    for i in range(len(found.chunks))[damaged]:
        raw[found.extent(i).offset + 5000] ^= 1  # in a plane that is stored as it is: nothing but the digest tells
    pack.chmod(0o600)
    pack.write_bytes(raw)
    path = save(tmp_path / "m.safetensors", trained(old, 1))
    made = store.put(path, "model")
    assert bool(deltas(store, made.ref)) == (damaged.stop is not None)
    assert store.open_file(made.ref).read() == path.read_bytes()
    assert store.verify(made.ref, level="full").ok


def test_damage_and_loss_of_a_base_are_told_for_what_rests_on_it(store: Store, tmp_path: Path):
    old = weights()
    store.put(save(tmp_path / "m.safetensors", old), "model")
    (pack,) = packs(store)
    made = store.put(save(tmp_path / "m.safetensors", trained(old, 1)), "model")
    whole = pack.read_bytes()
    raw = bytearray(whole)
    raw[1_000_000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    with pytest.raises(CorruptionError, match=pack.name):
        store.get(made.ref, tmp_path / "back")
    assert {one.severity for one in store.verify(made.ref, level="frames").findings} == {"damage"}
    assert not store.verify(made.ref, level="full").ok
    pack.write_bytes(whole[:100_000])
    assert any("truncated" in one.what for one in store.verify(made.ref).findings)
    pack.unlink()
    assert any(made.digest in one.artifacts for one in store.verify().findings)
    with pytest.raises(artifactstore.ArtifactStoreError):
        store.get(made.ref, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.slow
def test_a_get_of_a_difference_takes_no_more_round_trips(faulty_s3, tmp_path: Path):
    proxy, url = faulty_s3
    store = artifactstore.open(url, cache=None)
    old = weights()
    store.put(save(tmp_path / "m.safetensors", old), "model")
    store.put(save(tmp_path / "m.safetensors", trained(old, 1)), "model")
    cold = artifactstore.open(url, cache=None)
    cold.names()
    proxy.take()
    cold.get("model:v2", tmp_path / "back")
    asked = proxy.take()
    assert sorted(asked[:2]) == ["GET journal", "GET manifests"]
    assert set(asked[2:]) == {"GET packs"}
    assert len(asked) <= 6
    assert (tmp_path / "back/m.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


@pytest.mark.slow
def test_differences_travel(store: Store, tmp_path: Path):
    now = weights()
    files = []
    for number in range(4):
        files.append(save(tmp_path / "m.safetensors", now).read_bytes())
        store.put(tmp_path / "m.safetensors", "model")
        now = trained(now, number + 1, 1e-5)
    one = files[0]
    replica = tmp_path / "replica"
    store.maintenance.sync(str(replica))
    other = artifactstore.create(tmp_path / "other", cache=None)
    store.maintenance.sync(other.url)
    for place in (artifactstore.open(replica, cache=None), other):
        assert place.verify(level="full").findings == []
        for n, data in enumerate(files, 1):
            assert place.open_file(f"model:v{n}").read() == data
    size = sum(path.stat().st_size for path in packs(other))
    assert size < (0.85 + 3 * 0.6) * len(one), "differences stay differences where what they refer to is there"
    store.maintenance.bundle(tmp_path / "all.zip")
    assert artifactstore.open(f"zip://{tmp_path / 'all.zip'}").open_file("model:v4").read() == files[3]


def test_an_import_of_the_last_version_alone_needs_no_other(store: Store, tmp_path: Path):
    old = weights()
    store.put(save(tmp_path / "m.safetensors", old), "old/model")
    path = save(tmp_path / "m.safetensors", trained(old, 1, 1e-5))
    made = store.put(path, "new/model", base="old/model")
    assert deltas(store, made.ref) > 0.99
    other = artifactstore.create(tmp_path / "other", cache=None)
    store.maintenance.sync(other.url, names=["new/*"])
    assert other.open_file("new/model").read() == path.read_bytes()
    assert not deltas(other, "new/model")
    assert other.verify(level="full").findings == []
