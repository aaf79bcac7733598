"""Content whose layout changes under its readers: it is read where it lies now, as often as it moves."""

import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import artifactstore
from artifactstore import CorruptionError, NotFoundError
from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.manifests.parquet import decode, encode
from artifactstore.content.packs.pack import pack_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from artifactstore.work.session.caches import Manifests
from artifactstore.work.session.session import Session

from .falsified import claim, manifest_of

DATA = np.random.default_rng(3).bytes(150_000)


class Moving(Wrapper):
    """A place where something happens just before some keys are read."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.before: Callable[[str], None] = lambda _key: None

    def read(self, key: str) -> bytes:
        self.before(key)
        return self.inner.read(key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.before(key)
        return self.inner.read_ranges(key, ranges)


@pytest.fixture
def place(tmp_path: Path) -> MemoryBackend:
    return MemoryBackend(f"memory://{tmp_path.name}-{new_id()}")


def over(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("artifactstore.work.session.session.connect", lambda *_, **__: backend)
    return Store(Session(backend.url, cache=None))


def commit(session: Session, *facts: dict[str, object]) -> None:
    core = session.core()
    head = core.journal.catch_up()
    core.appender.commit(list(facts), birth=head, alive_at=head, refuse=lambda void: AssertionError(str(void)))


def move(session: Session) -> None:
    """Write the newest artifact's manifest and packs under new ids, say so, and condemn and delete what they were."""
    core = session.core()
    core.journal.catch_up()
    fold = core.journal.fold
    digest = next(reversed(fold.holders))
    before = fold.current_manifest(digest)
    assert before is not None
    manifest = decode(core.backend.read(manifest_key(before)), before, algorithm="blake3")
    gone = [manifest_key(before), *map(pack_key, manifest.packs)]
    renamed = {pack: new_id() for pack in manifest.packs}
    for old, new in renamed.items():
        core.backend.write(pack_key(new), core.backend.read(pack_key(old)))
    manifest.packs = list(renamed.values())
    raw, to = encode(manifest, *manifest.identify()), new_id()
    core.backend.write(manifest_key(to), raw)
    fact = {"fact": "relocated", "digest": digest, "from": before, "to": to, "packs": manifest.packs}
    commit(session, {**fact, "manifest_digest": str(Digest.of(raw))})
    commit(session, {"fact": "condemned", "manifests": [before], "packs": [*renamed]})
    for key in gone:
        core.backend.delete(key)


@pytest.mark.parametrize("kind", ["manifests/", "packs/"])
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_reader_goes_on_for_as_long_as_what_it_reads_is_moved(
    place: MemoryBackend, monkeypatch: pytest.MonkeyPatch, kind: str, times: int
):
    mover = over(place, monkeypatch)
    mover.put(DATA, "name")
    moving = Moving(place)
    reader = over(moving, monkeypatch)
    left = [times]

    def once_more(key: str) -> None:
        if key.startswith(kind) and left[0]:
            left[0] -= 1
            move(mover._session)

    moving.before = once_more
    assert reader.get("name") == DATA
    assert left == [0]


def test_the_past_is_read_where_its_content_lies_today(place: MemoryBackend, monkeypatch: pytest.MonkeyPatch):
    store = over(place, monkeypatch)
    store.put(DATA, "name")
    head = store._session.core().journal.head
    known = store.at(head)
    move(store._session)
    store.put(b"newer", "name")
    for past in (known, store.at(head), over(place, monkeypatch).at(head)):
        past._session.core().manifests = Manifests()  # nothing of it is at hand any more
        assert past.get("name") == DATA
        assert past.get("name:v1") == DATA


def test_what_is_gone_and_was_not_moved_is_damage_and_what_was_condemned_is_removed(
    place: MemoryBackend, monkeypatch: pytest.MonkeyPatch
):
    store = over(place, monkeypatch)
    made = store.put(DATA, "name")
    fold = store._session.core().journal.fold
    holder = str(fold.current_manifest(made.digest))
    packs = list(fold.manifests[holder][2])
    for key in (manifest_key(holder), *map(pack_key, packs)):
        place.delete(key)
    reader = over(place, monkeypatch)
    with pytest.raises(CorruptionError, match=f"{manifest_key(holder)} is missing"):
        reader.get("name")
    commit(store._session, {"fact": "removed", "digest": made.digest})
    commit(store._session, {"fact": "condemned", "manifests": [holder], "packs": packs})
    with pytest.raises(NotFoundError, match="removed in entry"):
        reader.get("name:v1")
    with pytest.raises(NotFoundError, match="clean-up took its content in entry 3"):
        reader.at(1).get("name")


# -- every reading door goes on to another holder, whatever becomes of the one it began with, also while it reads

ROWS = np.random.default_rng(4).integers(0, 2**60, 600_000)  # 4.8 MB: more than is read at once


def with_two_holders(folder: Path) -> Store:
    """Return a store in which another writer has put the same table once more, into packs of its own."""
    store = artifactstore.create(folder, cache=None)
    source = folder.parent / "source.parquet"
    pq.write_table(pa.table({"x": ROWS[: len(ROWS) // 2], "y": ROWS[len(ROWS) // 2 :]}), source, row_group_size=50_000)
    digest = store.put(source, "t").digest
    made = manifest_of(store, digest)
    raw = decode(encode(made, *made.identify()), "copy", algorithm="blake3")
    renamed = {pack: new_id() for pack in raw.packs}
    for old, new in renamed.items():
        store._session.backend.write(pack_key(new), store._session.backend.read(pack_key(old)))
    raw.packs = list(renamed.values())
    claim(store, digest, raw)
    return store


def newest(store: Store) -> tuple[str, list[str]]:
    core = store._session.core()
    core.journal.catch_up()
    (digest,) = core.journal.fold.holders
    holder = str(core.journal.fold.current_manifest(digest))
    return holder, list(core.journal.fold.manifests[holder][2])


def pack_removed(store: Store) -> None:
    for pack in newest(store)[1]:
        store._session.backend.delete(pack_key(pack))


def pack_truncated(store: Store) -> None:
    for pack in newest(store)[1]:
        path = Path(store.url) / pack_key(pack)
        path.write_bytes(path.read_bytes()[:100])


def pack_changed(store: Store) -> None:
    for pack in newest(store)[1]:
        path = Path(store.url) / pack_key(pack)
        path.write_bytes(b"\0" * path.stat().st_size)


def pack_moved(store: Store) -> None:
    move(store._session)


def manifest_removed(store: Store) -> None:
    pack_removed(store)
    store._session.backend.delete(manifest_key(newest(store)[0]))


def manifest_changed(store: Store) -> None:
    pack_removed(store)
    (Path(store.url) / manifest_key(newest(store)[0])).write_bytes(b"PAR1PAR1")


FAILURES = [pack_removed, pack_truncated, pack_changed, pack_moved, manifest_removed, manifest_changed]


def door_to(store: Store, folder: Path) -> Generator[bytes, None, None]:
    yield b""
    yield (store.get("t", to=folder / "out") / "source.parquet").read_bytes()


def door_tree(store: Store, _: Path) -> Generator[bytes, None, None]:
    yield b""
    yield Path(store.get("t")).read_bytes()


def door_file(store: Store, _: Path) -> Generator[bytes, None, None]:
    with store.open_file("t") as file:
        begin = file.read(70_000)
        yield b""
        yield begin + file.read()


def door_part(store: Store, _: Path) -> Generator[bytes, None, None]:
    with store.open_file("t") as file:
        file.read(10)
        yield b""
        file.seek(2_500_000)
        yield bytes(file.read(300_000))


def door_table(store: Store, _: Path) -> Generator[bytes, None, None]:
    opened = store.open_table("t")
    yield b""
    yield opened.to_table(columns=["y"])["y"].to_numpy().tobytes()


def door_fsspec(store: Store, _: Path) -> Generator[bytes, None, None]:
    place = fsspec.filesystem("artifactstore", store=store.url, cache=None, skip_instance_cache=True)
    with place.open("t") as file:
        file.read(10)
        yield b""
        file.seek(2_500_000)
        yield bytes(file.read(300_000))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*was read from an earlier manifest:UserWarning")
def test_every_door_goes_on_to_another_holder_when_one_fails_while_it_reads(tmp_path: Path):
    with_two_holders(tmp_path / "s")
    data = (tmp_path / "source.parquet").read_bytes()
    expected = {
        door_to: data,
        door_tree: data,
        door_file: data,
        door_part: data[2_500_000:2_800_000],
        door_table: ROWS[len(ROWS) // 2 :].tobytes(),
        door_fsspec: data[2_500_000:2_800_000],
    }
    for failure in FAILURES:
        shutil.copytree(tmp_path / "s", tmp_path / failure.__name__)
        store = artifactstore.open(tmp_path / failure.__name__, cache=None)
        begun = {}
        for door in expected:
            begun[door] = door(artifactstore.open(store.url, cache=None), tmp_path / f"{failure.__name__}-out")
            next(begun[door])
        failure(store)
        for door, right in expected.items():
            assert next(begun[door]) == right, (failure.__name__, door.__name__)
            begun[door].close()


def test_without_another_holder_an_open_file_names_what_is_missing(tmp_path: Path):
    store = with_two_holders(tmp_path / "s")
    with store.open_file("t") as file:
        file.read(10)
        for pack in Path(store.url).glob("packs/*/*.pack"):
            pack.unlink()
        file.seek(3_000_000)
        with pytest.raises(CorruptionError, match=r"packs/.* is missing, but the journal names it"):
            file.read()
