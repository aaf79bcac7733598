"""A digest that is asked for is the digest that is returned, at every door, whatever other writers of the store recorded."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

import artifactstore
from artifactstore import CorruptionError
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import Manifest, manifest_key
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.encoding import new_id
from artifactstore.store import Store

from .falsified import append, claim, inline, manifest_of, stored, written

GOOD, EVIL = b"x,y\n1,2\n", b"x,y\n6,6\n"
LOUD = pytest.warns(UserWarning, match=r"read from an earlier manifest.*verify")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    made = artifactstore.open(place, cache=None)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/data.csv").write_bytes(GOOD)
    made.put(tmp_path / "src", "n")
    made.alias("n:v1", "production")
    return made


def digest_of(store: Store, name: str = "n") -> str:
    return store.artifact(name).digest


# -- what can be false: each takes the store and the digest, and appends a holder that comes first from then on


def of_other_content(store: Store, digest: str) -> str:
    return claim(store, digest, inline({"data.csv": EVIL}))


def of_another_format(store: Store, digest: str) -> str:
    return claim(store, digest, inline({"data.csv": GOOD}, "pickle"))


def that_is_not_there(store: Store, digest: str) -> str:
    fact = {**stored(store, digest, inline({"data.csv": GOOD})), "manifest": new_id()}
    append(store, [fact])
    return str(fact["manifest"])


def with_another_digest(store: Store, digest: str) -> str:
    return claim(store, digest, inline({"data.csv": GOOD}), manifest_digest=f"blake3:{'0' * 64}")


def that_is_no_parquet(store: Store, digest: str) -> str:
    one, raw = new_id(), b"PAR1 no manifest PAR1"
    store._session.backend.write(manifest_key(one), raw)
    append(store, [{**stored(store, digest, inline({})), "manifest": one, "manifest_digest": str(Digest.of(raw))}])
    return one


def that_lies_about_itself(store: Store, digest: str) -> str:
    """Its metadata say the digest that is asked for, over other files."""
    one, made = new_id(), inline({"data.csv": EVIL})
    _, _, raw = written(store, made)
    own = str(made.identify()[1])
    assert raw.count(own.encode()) >= 1
    raw = raw.replace(own.encode(), digest.encode())
    store._session.backend.write(manifest_key(one), raw)
    append(store, [{**stored(store, digest, inline({})), "manifest": one, "manifest_digest": str(Digest.of(raw))}])
    return one


def in_a_pack_that_is_not_there(store: Store, digest: str) -> str:
    return claim(store, digest, in_pack(new_id()))


def relocated(store: Store, digest: str) -> str:
    current = store._session.core().journal.fold.current_manifest(digest)
    one, found, _ = written(store, inline({"data.csv": EVIL}))
    append(store, [{"fact": "relocated", "digest": digest, "from": current, "to": one, "manifest_digest": found, "packs": []}])
    return one


def in_pack(pack: str) -> Manifest:
    made = Manifest("blake3", packs=[pack])
    made.chunks.add(Digest.of(GOOD).raw, len(GOOD), 0, 8, len(GOOD), RAW)
    made.close_file("data.csv", len(GOOD), Digest.of(GOOD).raw, executable=False)
    return made


LIES = [
    of_other_content,
    of_another_format,
    that_is_not_there,
    with_another_digest,
    that_is_no_parquet,
    that_lies_about_itself,
    relocated,
]


@pytest.fixture(params=LIES, ids=lambda lie: lie.__name__)
def false(request: pytest.FixtureRequest, store: Store, place: Path) -> Store:
    """The store as a new process sees it after somebody recorded a false holder."""
    request.param(store, digest_of(store))
    return artifactstore.open(place, cache=None)


# -- doors


def door_file(store: Store, ref: str, _: Path) -> bytes:
    return bytes(store.open_file(ref).read())


def door_to(store: Store, ref: str, folder: Path) -> bytes:
    return bytes((store.get(ref, to=folder / "out") / "data.csv").read_bytes())


def door_tree(store: Store, ref: str, _: Path) -> bytes:
    return bytes((store.get(ref) / "data.csv").read_bytes())


def door_part(store: Store, ref: str, _: Path) -> bytes:
    return bytes((store.get(ref, paths=["*.csv"]) / "data.csv").read_bytes())


def door_table(store: Store, ref: str, _: Path) -> bytes:
    frame = store.open_table(ref).to_table().to_pandas()
    return str(frame.to_csv(index=False)).encode()


def door_files(store: Store, ref: str, _: Path) -> bytes:
    (one,) = store.artifact(ref).files
    return {str(Digest.of(data)): data for data in (GOOD, EVIL)}[str(one.digest)]


def door_listing(store: Store, ref: str, _: Path) -> bytes:
    return {Digest.of(data).hex: data for data in (GOOD, EVIL)}[store.artifact(ref).listing.split()[0]]


def door_diff(store: Store, ref: str, _: Path) -> bytes:
    empty = store.put({}, "empty").ref
    (one,) = (one for one in store.diff(empty, ref) if one.path == "data.csv")
    return {str(Digest.of(data)): data for data in (GOOD, EVIL)}[str(one.new)]


def door_fsspec(store: Store, ref: str, _: Path) -> bytes:
    place = fsspec.filesystem("artifactstore", store=store.url, skip_instance_cache=True)
    return bytes(place.cat_file(f"{ref}/data.csv"))


def door_import(store: Store, ref: str, folder: Path) -> bytes:
    other = artifactstore.create(folder / "other", cache=None)
    store.maintenance.sync(folder / "other")
    assert other.verify(level="full").ok
    return other.open_file(ref if ref.startswith("blake3") else "n").read()


def door_bundle(store: Store, _: str, folder: Path) -> bytes:
    store.maintenance.bundle(folder / "some.zip", names=["n"])
    return artifactstore.open(f"zip://{folder}/some.zip", cache=None).open_file("n").read()


DOORS: list[Callable[[Store, str, Path], bytes]] = [
    door_file,
    door_to,
    door_tree,
    door_part,
    door_files,
    door_listing,
    door_diff,
    door_fsspec,
    door_import,
    door_bundle,
]


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_no_door_returns_what_another_writer_says_a_digest_is(false: Store, tmp_path: Path, door: Callable[..., bytes]):
    with LOUD:
        assert door(false, "n:v1", tmp_path) == GOOD


@pytest.mark.slow
@pytest.mark.parametrize("ref", ["n", "n:latest", "n:production", "n@{}", "{}"])
def test_no_form_of_a_reference_does(false: Store, tmp_path: Path, ref: str):
    ref = ref.format(digest_of(false))
    for door in (door_file, door_tree, door_to):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert door(false, ref, tmp_path) == GOOD


def test_it_is_reported_once_and_verify_names_who_recorded_it(false: Store):
    with LOUD:
        false.get("n")
    false.get("n")  # warnings are errors: not a second time
    report = false.verify()
    damage = [one for one in report.findings if one.severity == "damage"]
    actor = false.log()[0].actor
    assert damage
    for one in damage:
        assert f"recorded in entry 3 by {actor}" in one.what
        assert one.artifacts == (digest_of(false),)


@pytest.mark.parametrize("lie", [*LIES, in_a_pack_that_is_not_there], ids=lambda lie: lie.__name__)
def test_where_no_other_holder_is_left_nothing_is_returned(place: Path, tmp_path: Path, lie: Callable[[Store, str], str]):
    """The attacker is first: the digest of public content is known before anybody has stored it."""
    store = artifactstore.create(place, cache=None)
    digest = str(inline({"data.csv": GOOD}).identify()[1])
    if lie is relocated:
        claim(store, digest, inline({"data.csv": EVIL}))
    lie(store, digest)
    append(store, [{"fact": "versioned", "name": "n", "digest": digest, "kind": "data"}])
    store.put(b"sound", "sound")
    fresh = artifactstore.open(place, cache=None)
    for door in (door_file, door_to, door_tree, door_part, door_files, door_listing, door_diff):
        if lie is in_a_pack_that_is_not_there and door not in (door_file, door_to):
            continue  # its files are those of the digest, and a cache may have their bytes: another test had them
        with pytest.raises(CorruptionError):
            door(fresh, "n", tmp_path)
    assert fresh.get("sound") == b"sound"
    assert not fresh.verify().ok


class Boom:
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


def test_trust_in_a_digest_runs_no_other_bytes(store: Store, place: Path, tmp_path: Path):
    model = store.put({1, 2}, "model", format="pickle")
    claim(store, model.digest, inline({"data.pickle": pickle.dumps(Boom(str(tmp_path / "pwned")))}, "pickle"))
    fresh = artifactstore.open(place, cache=None)
    with LOUD:
        assert fresh.get("model", trust=model.digest) == {1, 2}
    assert fresh.get("model:v1", trust=True) == {1, 2}
    assert not (tmp_path / "pwned").exists()


def test_a_table_is_opened_as_it_was_put(store: Store, place: Path):
    frame = pd.DataFrame({"a": [1, 2]})
    table = store.put(frame, "table")
    evil = store.put(pd.DataFrame({"a": [6, 6]}), "other")
    claim(store, table.digest, manifest_of(store, evil.digest))
    fresh = artifactstore.open(place, cache=None)
    with LOUD:
        assert fresh.open_table("table").to_table().to_pydict() == {"a": [1, 2]}
    assert fresh.get("table").equals(frame)


def false_chunks(good: bytes, evil: bytes, pack: str, offsets: list[int]) -> Manifest:
    """Return a manifest with the paths and digests of one file, and the chunks of another."""
    made = Manifest("blake3", packs=[pack])
    half = len(evil) // 2
    for part, offset in zip((evil[:half], evil[half:]), offsets, strict=True):
        made.chunks.add(Digest.of(part).raw, len(part), 0, offset, len(part), RAW)
    made.close_file("big", len(good), Digest.of(good).raw, executable=False)
    return made


def test_chunks_that_are_not_the_file_s_are_no_file(tmp_path: Path, place: Path):
    """Its listing is right, and only the file's own digest tells."""
    good, evil = os.urandom(100_000), os.urandom(100_000)
    (tmp_path / "big").write_bytes(good)
    store = artifactstore.open(place, cache=None)
    digest = store.put(tmp_path / "big", "big").digest
    pack = _write_pack(store, [evil[:50_000], evil[50_000:]])
    claim(store, digest, false_chunks(good, evil, pack[0], pack[1]))
    fresh = artifactstore.open(place, cache=None)
    with LOUD:
        assert fresh.open_file("big").read() == good
    assert fresh.get("big").read_bytes() == good
    assert [one.severity for one in fresh.verify(level="full").findings] == ["damage"]


def _write_pack(store: Store, parts: list[bytes]) -> tuple[str, list[int]]:
    from artifactstore.content.packs.pack import OpenPack, pack_key

    pack = OpenPack()
    offsets = [pack.add(Digest.of(part).raw, len(part), RAW, part) for part in parts]
    store._session.backend.write(pack_key(pack.id), b"".join(bytes(one) for one in pack.seal()))
    return pack.id, offsets


# -- what one store says never becomes another's


def test_a_stranger_s_store_can_not_poison_the_cache(tmp_path: Path, store: Store, place: Path):
    digest, cache = digest_of(store), tmp_path / "cache"
    evil = artifactstore.create(tmp_path / "evil", cache=None)
    append(
        evil,
        [stored(evil, digest, inline({"data.csv": EVIL})), {"fact": "versioned", "name": "n", "digest": digest, "kind": "x"}],
    )
    with zipfile.ZipFile(tmp_path / "gift.zip", "w") as gift:
        for path in (tmp_path / "evil").rglob("*"):
            gift.write(path, path.relative_to(tmp_path / "evil"))
    for url in (f"zip://{tmp_path}/gift.zip", str(tmp_path / "evil")):
        for paths in (None, ["data.csv"]):
            with pytest.raises(CorruptionError, match="recorded as the manifest of"):
                artifactstore.open(url, cache=cache).get("n", paths=paths)
    mine = artifactstore.open(place, cache=cache)
    assert (mine.get("n") / "data.csv").read_bytes() == GOOD
    assert (mine.get(digest, paths=["data.csv"]) / "data.csv").read_bytes() == GOOD


def test_a_tree_that_an_older_version_left_in_the_cache_is_made_anew(tmp_path: Path, store: Store, place: Path):
    """It took a manifest for a digest on its word."""
    mine = artifactstore.open(place, cache=tmp_path / "cache")
    folder = mine.get("n")
    (folder / "data.csv").chmod(0o644)
    (folder / "data.csv").write_bytes(EVIL)
    (mark,) = (tmp_path / "cache/trees").glob("*.used")
    hasher = new_hasher("blake3")
    st = os.lstat(folder / "data.csv")
    hasher.update(f"/data.csv\0{st.st_size} {st.st_mtime_ns} {st.st_ctime_ns} {st.st_ino}\n".encode())
    mark.write_text(hasher.digest().hex())
    assert (mine.get("n") / "data.csv").read_bytes() == GOOD


# -- an import passes over what can never come


@pytest.mark.parametrize("names", [None, ["*"]])
def test_an_import_passes_over_what_is_false_and_says_so(tmp_path: Path, place: Path, names: list[str] | None):
    store = artifactstore.open(place, cache=None)
    store.put(b"1", "a")
    facts = [stored(store, f"blake3:{'7' * 64}", inline({"data.csv": EVIL}))]
    append(store, [*facts, {"fact": "versioned", "name": "a", "digest": f"blake3:{'7' * 64}", "kind": "data"}])
    store.put(b"3", "a")
    store.put(b"z", "z")
    target = artifactstore.create(tmp_path / "other", cache=None)
    target.put(b"own", "own")
    report = store.maintenance.sync(tmp_path / "other", names=names) if names else store.maintenance.sync(tmp_path / "other")
    assert [one.what for one in report.left_out] == ["a:v2"]
    assert "recorded as the manifest of" in report.left_out[0].why
    fresh = artifactstore.open(tmp_path / "other", cache=None)
    assert [fresh.get(ref) for ref in ("a:v1", "a:v3", "z", "own")] == [b"1", b"3", b"z", b"own"]
    assert fresh.verify(level="full").ok
    again = store.maintenance.sync(tmp_path / "other")
    assert again.entries == 0


def test_what_the_journal_says_of_an_artifact_is_compared_with_it(store: Store, place: Path):
    digest = digest_of(store)
    claim(store, digest, manifest_of(store, digest), size=10**12, files=7, content=f"blake3:{'1' * 64}", format="pickle")
    report = artifactstore.open(place, cache=None).verify()
    assert [one.what.partition("the journal has ")[2].partition("=")[0] for one in report.findings] == [
        "size",
        "files",
        "content",
        "format",
    ]
    assert all("entry 3" in one.what for one in report.findings)
