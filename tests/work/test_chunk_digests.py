"""The chunk digests of a manifest are the word of its writer: no part of a file is read, and no put relies on them, unproven."""

import io
import random
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore import CorruptionError
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.pack import OpenPack, pack_key
from artifactstore.content.read import open_file
from artifactstore.model.digest import Digest
from artifactstore.store import Store

from .falsified import append, claim, manifest_of

Cut = Sequence[bytes]


def table(seed: int) -> bytes:
    numbers = np.random.default_rng(seed)
    out = io.BytesIO()
    pq.write_table(pa.table({"x": numbers.integers(0, 2**60, 20_000), "y": numbers.integers(0, 2**60, 20_000)}), out)
    return out.getvalue()


GOOD, EVIL = table(1), table(2)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [data[low:high] for low, high in pairwise(ends)]


# -- false lists of chunks for the right digest of the file, made of the true one


def of_another_file(_true: Cut) -> Cut:
    return cut(EVIL, [100_000, len(EVIL) - 100_000])


def in_another_order(true: Cut) -> Cut:
    return [true[1], true[0], *true[2:]]


def with_one_changed(true: Cut) -> Cut:
    return [*true[:-1], true[-1][:-1] + b"?"]


def with_one_twice(true: Cut) -> Cut:
    return [*true, true[-1]]


def without_the_last(true: Cut) -> Cut:
    return true[:-1]


def without_any(_true: Cut) -> Cut:
    return []


LIES = [of_another_file, in_another_order, with_one_changed, with_one_twice, without_the_last, without_any]


def false(store: Store, true: Manifest, lie: Callable[[Cut], Cut], path: str = "t.parquet") -> Manifest:
    """Return a manifest whose chunks are all there, in a pack with the right footer, and are not those of the file."""
    pack = OpenPack()
    made = Manifest("blake3", packs=[pack.id])
    row = true.paths.index(path)
    size = 0
    for part in lie(cut(GOOD, true.chunks.sizes[true.first[row] : true.first[row + 1]])):
        digest = Digest.of(part).raw
        made.chunks.add(digest, len(part), 0, pack.add(digest, len(part), RAW, part), len(part), RAW)
        size += len(part)
    if not size:
        made.packs.clear()
    made.close_file(path, size, Digest.of(GOOD).raw, executable=False)
    store._session.backend.write(pack_key(pack.id), b"".join(map(bytes, pack.seal())))
    return made


# -- doors that read parts


def by_seeking(store: Store, ref: str) -> bytes:
    with store.open_file(ref) as file:
        file.seek(1000)
        return bytes(file.read(500))


def by_the_beginning(store: Store, ref: str) -> bytes:
    with store.open_file(ref) as file:
        return bytes(file.read(500))


def from_the_end(store: Store, ref: str) -> bytes:
    with store.open_file(ref) as file:
        file.seek(-500, io.SEEK_END)
        return bytes(file.read())


def whole(store: Store, ref: str) -> bytes:
    return store.open_file(ref).read()


def _system(store: Store) -> fsspec.AbstractFileSystem:
    return fsspec.filesystem("artifactstore", store=store.url, cache=None, skip_instance_cache=True)


def by_fsspec(store: Store, ref: str) -> bytes:
    return bytes(_system(store).cat_file(ref, 1000, 1500))


def by_fsspec_from_the_end(store: Store, ref: str) -> bytes:
    return bytes(_system(store).cat_file(ref, -500))


def by_column(store: Store, ref: str) -> bytes:
    return bytes(store.open_table(ref).to_table(columns=["y"])["y"].to_numpy().tobytes())


def by_arrow(store: Store, ref: str) -> bytes:
    with _system(store).open(ref) as file:
        return bytes(pq.ParquetFile(file).read(columns=["y"])["y"].to_numpy().tobytes())


_Y = pq.read_table(io.BytesIO(GOOD), columns=["y"])["y"].to_numpy().tobytes()
DOORS = {
    by_seeking: GOOD[1000:1500],
    by_the_beginning: GOOD[:500],
    from_the_end: GOOD[-500:],
    whole: GOOD,
    by_fsspec: GOOD[1000:1500],
    by_fsspec_from_the_end: GOOD[-500:],
    by_column: _Y,
    by_arrow: _Y,
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "s", cache=None)


@pytest.fixture
def true(tmp_path: Path) -> Manifest:
    (tmp_path / "t.parquet").write_bytes(GOOD)
    other = artifactstore.create(tmp_path / "other", cache=None)
    made = manifest_of(other, other.put(tmp_path / "t.parquet").digest)
    assert len(made.chunks) > 2
    return made


@pytest.fixture(params=[open_file.SMALL_FILE, 0], ids=["small", "large"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """What counts as small: files above it are not read whole for a part."""
    monkeypatch.setattr(open_file, "SMALL_FILE", request.param)
    return int(request.param)


@pytest.mark.slow
@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_false_list_of_chunks_beside_the_true_one_changes_no_byte_at_any_door(
    store: Store, true: Manifest, tmp_path: Path, lie: Callable[[Cut], Cut]
):
    digest = store.put(tmp_path / "t.parquet", "t").digest
    claim(store, digest, false(store, true, lie))
    for door, expected in DOORS.items():
        for ref in ("t", digest):
            fresh = artifactstore.open(store.url, cache=None)
            with pytest.warns(UserWarning, match=r"read from an earlier manifest.*artifactstore verify"):
                assert door(fresh, ref) == expected, (door, ref)


@pytest.mark.usefixtures("limit")
def test_a_true_manifest_is_used_beside_any_number_of_false_ones(store: Store, true: Manifest, tmp_path: Path):
    """Those before it are not believed against it, either."""
    digest = str(true.identify()[1])
    for lie in LIES:
        claim(store, digest, false(store, true, lie))
    writer = artifactstore.open(store.url, cache=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer.put(tmp_path / "t.parquet", "t")
    for door, expected in DOORS.items():
        assert door(artifactstore.open(store.url, cache=None), "t") == expected, door


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_where_only_a_false_list_is_there_no_part_of_a_small_file_is_returned(
    store: Store, true: Manifest, lie: Callable[[Cut], Cut]
):
    digest = str(true.identify()[1])
    claim(store, digest, false(store, true, lie))
    append(store, [{"fact": "versioned", "name": None, "digest": digest, "kind": "data"}])
    for door in DOORS:
        with pytest.raises(
            (CorruptionError, artifactstore.InvalidInputError), match=r"does not match its digest|there are no chunks"
        ):
            door(artifactstore.open(store.url, cache=None), digest)


def test_a_large_file_of_which_only_a_false_list_is_there_is_refused_when_its_end_is_reached(
    store: Store, true: Manifest, monkeypatch: pytest.MonkeyPatch
):
    """Parts of it are what its only writer says that they are (decision 0045)."""
    monkeypatch.setattr(open_file, "SMALL_FILE", 0)
    digest = str(true.identify()[1])
    claim(store, digest, false(store, true, of_another_file))
    append(store, [{"fact": "versioned", "name": None, "digest": digest, "kind": "data"}])
    assert by_seeking(store, digest) == EVIL[1000:1500]
    file = artifactstore.open(store.url, cache=None).open_file(digest)
    with pytest.raises(CorruptionError, match="its manifest is false"):
        list(iter(lambda: file.read(10_000), b""))


# -- what a put relies on


def as_it_is(folder: Path) -> Path:
    return folder / "t.parquet"


def among_others(folder: Path) -> Path:
    """Beside a new file, so that the artifact is new and only the file is known."""
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src/t.parquet").write_bytes(GOOD)
    (folder / "src/new").write_bytes(random.Random(3).randbytes(100_000))
    return folder / "src"


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [*product([as_it_is, among_others], ["hashed before", "unknown here"])],
    ids=lambda case: f"{case[0].__name__}-{case[1]}",
)
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.filterwarnings("ignore:.*artifactstore verify:UserWarning")
def test_no_put_relies_on_a_false_list_of_chunks(
    store: Store, true: Manifest, tmp_path: Path, lie: Callable[[Cut], Cut], case: tuple[Callable[[Path], Path], str]
):
    (source, known), cache = case, tmp_path / "cache"
    if known == "hashed before":
        artifactstore.create(tmp_path / "before", cache=cache).put(source(tmp_path))
    digest = str(true.identify()[1])
    claim(store, digest, false(store, true, lie))
    append(store, [{"fact": "versioned", "name": "t", "digest": digest, "kind": "data"}])
    artifactstore.open(store.url, cache=cache).put(source(tmp_path), "t")
    fresh = artifactstore.open(store.url, cache=None)
    fresh.get("t", to=tmp_path / "out")
    assert (tmp_path / "out/t.parquet").read_bytes() == GOOD
    assert fresh.open_file("t", "t.parquet").read() == GOOD


def test_what_other_writers_put_rightly_is_stored_once(store: Store, true: Manifest, tmp_path: Path):
    """It is read to know that; only once on a machine."""
    del true
    store.put(tmp_path / "t.parquet", "t")
    other = artifactstore.open(store.url, cache=tmp_path / "cache")
    assert not other.put(tmp_path / "t.parquet", "t").new
    assert not other.put(tmp_path / "t.parquet", "t").uploaded
    (digest,) = store._session.core().journal.fold.holders
    holder = other._session.core().journal.fold.current_manifest(digest)
    expected = other._session.core().journal.fold.manifests[holder][1]
    assert artifactstore.open(store.url, cache=tmp_path / "cache")._session.core().checked.has(holder, expected, digest)
