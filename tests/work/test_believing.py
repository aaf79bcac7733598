"""What a put relies on is looked at before: a false manifest or ledger makes no later put succeed with nothing behind it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import CorruptionError, InvalidInputError
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import INLINE, Manifest
from artifactstore.content.packs.footers import Footers
from artifactstore.content.packs.pack import OpenPack, pack_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store

from .falsified import append, elsewhere, manifest_of, stored

pytestmark = pytest.mark.filterwarnings("ignore:.*artifactstore verify:UserWarning")
PRECIOUS = random.Random(1).randbytes(300_000)  # several chunks


def place_of(tmp_path: Path, data: bytes = PRECIOUS) -> Path:
    path = tmp_path / "precious.bin"
    path.write_bytes(data)
    return path


def opened(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "s", cache=None)


@pytest.fixture
def model(tmp_path: Path) -> Manifest:
    """The true manifest of the precious file, of another store, over whose chunks lies are made."""
    other = artifactstore.open(tmp_path / "other-store", cache=None)
    return manifest_of(other, other.put(place_of(tmp_path), "x").digest)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a pack of other content, in which lies may point."""
    made = opened(tmp_path)
    made.put(random.Random(2).randbytes(500_000), "other")
    return made


def pack_in(store: Store) -> str:
    return manifest_of(store, store.artifact("other").digest).packs[0]


def own_pack(store: Store, model: Manifest, data: bytes = PRECIOUS) -> tuple[str, list[int]]:
    """Write a true pack with the precious chunks; returns its id and where they are."""
    pack, at, offsets = OpenPack(), 0, []
    for digest, size in zip(model.chunks.digests, model.chunks.sizes, strict=True):
        offsets.append(pack.add(digest, size, RAW, data[at : at + size]))
        at += size
    store._session.backend.write(pack_key(pack.id), b"".join(map(bytes, pack.seal())))
    return pack.id, offsets


# -- lies about chunks: each returns a manifest of the very same files, and of what a put would take


def bait(model: Manifest, pack: str, offsets: list[int], path: str) -> Manifest:
    made = Manifest("blake3", packs=[pack])
    for digest, size, offset in zip(model.chunks.digests, model.chunks.sizes, offsets, strict=True):
        made.chunks.add(digest, size, 0, offset, size, RAW)
    made.close_file(path, model.sizes[0], model.digests[0], executable=False)
    return made


def in_another_s_pack(store: Store, model: Manifest, path: str) -> Manifest:
    return bait(model, pack_in(store), [8] * len(model.chunks), path)


def in_no_pack(_store: Store, model: Manifest, path: str) -> Manifest:
    return bait(model, new_id(), [8 + 1000 * i for i in range(len(model.chunks))], path)


def one_byte_beside(store: Store, model: Manifest, path: str) -> Manifest:
    pack, offsets = own_pack(store, model)
    return bait(model, pack, [*offsets[:-1], offsets[-1] + 1], path)


def two_swapped(store: Store, model: Manifest, path: str) -> Manifest:
    pack, offsets = own_pack(store, model)
    return bait(model, pack, [offsets[1], offsets[0], *offsets[2:]], path)


def too_long(store: Store, model: Manifest, path: str) -> Manifest:
    pack, offsets = own_pack(store, model)
    made = bait(model, pack, offsets, path)
    made.chunks.stored[0] += 1
    return made


def of_another_codec(store: Store, model: Manifest, path: str) -> Manifest:
    pack, offsets = own_pack(store, model)
    made = bait(model, pack, offsets, path)
    made.chunks.codecs[0] = 1
    return made


def in_a_truncated_pack(store: Store, model: Manifest, path: str) -> Manifest:
    pack, offsets = own_pack(store, model)
    (there,) = Path(store.url).glob(f"packs/*/{pack}.pack")
    there.write_bytes(there.read_bytes()[:-30])
    return bait(model, pack, offsets, path)


def riding_along(_store: Store, model: Manifest, path: str) -> Manifest:
    made = bait(model, new_id(), [0] * len(model.chunks), path)
    made.packs.clear()
    for i, size in enumerate(made.chunks.sizes):
        made.chunks.packs[i] = INLINE
        made.chunks.inline[i] = bytes(size)
    return made


LIES: list[Callable[[Store, Manifest, str], Manifest]] = [
    in_another_s_pack,
    in_no_pack,
    one_byte_beside,
    two_swapped,
    too_long,
    of_another_codec,
    in_a_truncated_pack,
    riding_along,
]


def record(store: Store, manifest: Manifest, name: str) -> str:
    digest = str(manifest.identify()[1])
    append(store, [stored(store, digest, manifest), {"fact": "versioned", "name": name, "digest": digest, "kind": "data"}])
    return digest


def assert_there(tmp_path: Path, ref: str, *, data: bytes = PRECIOUS) -> None:
    """Assert that a new process, on another machine, gets it at every door."""
    fresh = opened(tmp_path)
    digest = fresh.artifact(ref).digest
    out = tmp_path / f"out-{new_id()}"
    assert (fresh.get(ref, to=out) / "precious.bin").read_bytes() == data
    assert fresh.open_file(ref).read() == data
    sound = fresh._session.core().journal.fold.current_manifest(digest)
    assert not Footers(fresh._session.backend).contradictions(manifest_of(fresh, digest))
    assert sound is not None


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("way", ["the same name", "another name", "base", "the same artifact"])
def test_a_put_that_succeeds_can_be_got(tmp_path: Path, store: Store, model: Manifest, lie: Callable[..., Manifest], way: str):
    path = "precious.bin" if way == "the same artifact" else "bait"
    false = record(store, lie(store, model, path), "data" if way == "the same name" else "bait")
    honest, source = opened(tmp_path), place_of(tmp_path)
    made = honest.put(source, "data", base=false) if way == "base" else honest.put(source, "data")
    assert made.new
    assert_there(tmp_path, "data")
    assert not opened(tmp_path).put(source, "data").new


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_what_a_false_holder_spoilt_is_mended_by_a_put(
    tmp_path: Path, store: Store, model: Manifest, lie: Callable[..., Manifest]
):
    """A version that nobody could ever get, as puts before this one could make them."""
    record(store, lie(store, model, "precious.bin"), "data")
    if lie is not in_a_truncated_pack:  # reading takes no footer
        with pytest.raises(CorruptionError):
            opened(tmp_path).get("data", to=tmp_path / "nothing")
    opened(tmp_path).put(place_of(tmp_path), "data")
    assert len(opened(tmp_path).versions("data")) == 1
    assert_there(tmp_path, "data:v1")


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("same", ["", "the same artifact"])
def test_an_import_relies_on_nothing_false_either(
    tmp_path: Path, store: Store, model: Manifest, lie: Callable[..., Manifest], same: str
):
    record(store, lie(store, model, "precious.bin" if same else "bait"), "data")
    source = artifactstore.open(tmp_path / "other-store", cache=None)
    source.maintenance.sync(tmp_path / "s")
    assert_there(tmp_path, "x")


def test_the_false_manifest_is_named(tmp_path: Path, store: Store, model: Manifest):
    false = record(store, in_another_s_pack(store, model, "bait"), "data")
    with pytest.warns(UserWarning, match=f"the manifest of {false} is false.*verify --level frames"):
        opened(tmp_path).put(place_of(tmp_path), "data")
    found = [one for one in opened(tmp_path).verify(level="frames").findings if one.severity == "damage"]
    assert [one.artifacts for one in found] == [(false,)]
    assert f"recorded in entry 2 by {store.log()[0].actor}" in found[0].what


def test_a_delta_rests_on_no_false_base(tmp_path: Path):
    """The base of a delta is read and checked; where it is said to be is compared, too."""
    weights = np.random.default_rng(0).normal(0, 0.02, 60_000).astype("f4")
    store = opened(tmp_path)
    first = store.put(weights, "w")
    manifest = manifest_of(store, first.digest)
    del store
    for change in ({"offset": 9}, {"pack": new_id()}, {"digest": b"\1" * 32}):
        false = manifest_of(opened(tmp_path), first.digest)
        for i in range(len(false.chunks)):
            moved = elsewhere(manifest.extent(i), **change)
            false.chunks.offsets[i], false.chunks.digests[i] = moved.offset, moved.digest
        if "pack" in change:
            false.packs = [str(change["pack"])]
        if "digest" in change:
            continue  # a file of another chunk list is another matter: its own digest tells
        false.close_file("more", 0, Digest.of(b"").raw, executable=False)
        record(opened(tmp_path), false, "w")
    weights[::7] += np.float32(1e-5)
    opened(tmp_path).put(weights, "w")
    assert np.array_equal(opened(tmp_path).get("w"), weights)


@pytest.mark.parametrize("way", ["the same artifact", "the same name"])
def test_a_false_footer_is_found_by_reading_alone(tmp_path: Path, store: Store, model: Manifest, way: str):
    pack, offsets = own_pack(store, model, bytes(len(PRECIOUS)))  # its records say what its frames do not have
    path = "precious.bin" if way == "the same artifact" else "bait"
    record(store, bait(model, pack, offsets, path), "data")
    opened(tmp_path).put(place_of(tmp_path), "data", verify=True)
    assert (opened(tmp_path).get("data", to=tmp_path / "out") / "precious.bin").read_bytes() == PRECIOUS
    with pytest.raises(InvalidInputError, match="verify="):
        opened(tmp_path).put(place_of(tmp_path), "data", verify="yes")  # type: ignore[arg-type]


def test_verify_is_an_option_of_objects_too(tmp_path: Path):
    store = opened(tmp_path)
    for _ in range(2):
        store.put(np.arange(100_000), "array", verify=True)
    assert len(store.versions("array")) == 1


# -- what a machine knows of its own


def test_an_unchanged_put_reads_nothing_that_this_machine_wrote(tmp_path: Path):
    for _ in range(2):
        store = artifactstore.open(tmp_path / "s", cache=tmp_path / "cache")
        store.put(place_of(tmp_path), "data")
    (pack,) = (tmp_path / "s").glob("packs/*/*")
    pack.unlink()
    (manifest,) = (tmp_path / "s").glob("manifests/*/*")
    manifest.rename(tmp_path / "kept")
    assert not artifactstore.open(tmp_path / "s", cache=tmp_path / "cache").put(place_of(tmp_path), "data").new
    (tmp_path / "kept").rename(manifest)
    assert artifactstore.open(tmp_path / "s", cache=None).put(place_of(tmp_path), "data").uploaded > 300_000  # it looked
    assert_there(tmp_path, "data")


@pytest.mark.parametrize("harm", [b"", b"\0" * 100, b"0" * 64, b"{}\n"])
def test_a_damaged_note_of_checks_says_nothing(tmp_path: Path, store: Store, model: Manifest, harm: bytes):
    record(store, in_another_s_pack(store, model, "precious.bin"), "data")
    cache = tmp_path / "cache"
    artifactstore.open(tmp_path / "s", cache=cache).put(b"1", "one")
    (notes,) = cache.glob("stores/*/checked")
    notes.write_bytes(notes.read_bytes()[:-9] + harm)
    artifactstore.open(tmp_path / "s", cache=cache).put(place_of(tmp_path), "data")
    assert_there(tmp_path, "data")


# -- the ledger of uploads


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder behave as a network place does."""
    monkeypatch.setattr(LocalBackend, "is_remote", property(lambda _: True))
    monkeypatch.setattr(LocalBackend, "concurrency", 8)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize(
    "change",
    [
        lambda row, _: row.__setitem__(2, row[2] + 1),
        lambda row, _: row.__setitem__(0, "00" * 32),
        lambda row, _: row.__setitem__(4, 1 - row[4]),
        lambda row, chunks: row.__setitem__(2, chunks[0][2]),
    ],
)
def test_a_ledger_supplies_no_place_that_the_packs_do_not_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
):
    data = random.Random(3).randbytes(400_000)
    source, cache = place_of(tmp_path, data), tmp_path / "cache"
    artifactstore.open(tmp_path / "s", cache=cache).put(b"x", "x")

    write = LocalBackend.write

    def die(self: LocalBackend, key: str, data: Any) -> None:
        if key.startswith("manifests/"):
            raise KeyboardInterrupt
        write(self, key, data)

    with monkeypatch.context() as patched:
        patched.setattr(LocalBackend, "write", die)
        attempt = artifactstore.open(tmp_path / "s", cache=cache)
        with pytest.raises(KeyboardInterrupt):
            attempt.put(source, "data")
    (ledger,) = cache.rglob("*.jsonl")
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    for row in rows:
        for chunk in row["chunks"][1:]:
            change(chunk, row["chunks"])
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = artifactstore.open(tmp_path / "s", cache=cache)
    made = again.put(source, "data")
    assert made.new
    assert_there(tmp_path, "data", data=data)
    assert not ledger.exists()
