"""Clean-up that takes what a put or a batch has uploaded before it could commit: it is stored again, or nothing is committed."""

from pathlib import Path

import numpy as np
import pytest

import artifactstore
from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.errors import CondemnedBeforeCommitError
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from artifactstore.work.session.session import Session

DATA = [np.random.default_rng(seed).bytes(100_000) for seed in range(3)]


class Cleaned(Wrapper):
    """A place where clean-up takes all that no entry names, some times just before an entry is created."""

    def __init__(self, inner: Backend, times: int) -> None:
        super().__init__(inner)
        self.times = times
        self.cleaner: Store | None = None

    def create(self, key: str, data: bytes) -> None:
        if key.startswith("journal/") and self.times and self.cleaner is not None:
            self.times -= 1
            clean_up(self.cleaner)
        self.inner.create(key, data)


def ids(backend: Backend, folder: str) -> set[str]:
    return {item.key.rpartition("/")[2].partition(".")[0] for item in backend.list(f"{folder}/")}


def clean_up(store: Store) -> None:
    """Condemn and delete what no living version needs."""
    core = store._session.core()
    head = core.journal.catch_up()
    fold = core.journal.fold
    live = {row["digest"] for rows in fold.names.values() for row in rows if "removed" not in row}
    keep = {str(fold.current_manifest(digest)) for digest in live}
    manifests = (ids(core.backend, "manifests") | {*fold.manifests}) - keep - {*fold.condemned_manifests}
    packs = ids(core.backend, "packs") - {pack for one in keep for pack in fold.manifests[one][2]} - {*fold.condemned_packs}
    fact = {"fact": "condemned", "manifests": sorted(manifests), "packs": sorted(packs)}
    core.appender.commit([fact], birth=head, alive_at=head, refuse=lambda void: AssertionError(str(void)))
    for key in [*map(manifest_key, manifests), *map(pack_key, packs)]:
        core.backend.delete(key)


def opened(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("artifactstore.work.session.session.connect", lambda *_, **__: backend)
    return Store(Session(backend.url, cache=None))


@pytest.fixture
def place() -> MemoryBackend:
    return MemoryBackend(f"memory://{new_id()}")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("puts", [1, 3])
def test_what_clean_up_takes_before_the_commit_is_stored_again(
    place: MemoryBackend, monkeypatch: pytest.MonkeyPatch, times: int, puts: int
):
    opened(place, monkeypatch).put(b"0", "other")
    cleaned = Cleaned(place, times)
    cleaned.cleaner = opened(place, monkeypatch)
    store = opened(cleaned, monkeypatch)
    if puts == 1:
        store.put(DATA[0], "name0")
    else:
        with store.batch():
            made = [store.put(DATA[number], f"name{number}") for number in range(puts)]
            store.alias(made[0].ref, "best")
    assert cleaned.times == 0
    fresh = opened(place, monkeypatch)
    assert [fresh.get(f"name{number}") for number in range(puts)] == DATA[:puts]
    assert len(fresh.versions("name0")) == 1
    report = fresh.verify(level="full")
    assert report.ok
    clean_up(fresh)
    assert [fresh.get(f"name{number}") for number in range(puts)] == DATA[:puts]


def test_when_clean_up_takes_it_again_and_again_nothing_is_committed(place: MemoryBackend, monkeypatch: pytest.MonkeyPatch):
    opened(place, monkeypatch).put(b"0", "other")
    cleaned = Cleaned(place, 99)
    cleaned.cleaner = opened(place, monkeypatch)
    with pytest.raises(CondemnedBeforeCommitError, match="nothing was committed"):
        opened(cleaned, monkeypatch).put(DATA[0], "name")
    fresh = opened(place, monkeypatch)
    assert [one.name for one in fresh.names()] == ["other"]
    assert fresh.verify(level="full").ok


@pytest.mark.parametrize("name", ["same", "another"])
def test_content_that_is_known_by_its_stat_and_was_cleaned_up_is_stored_again(tmp_path: Path, name: str):
    """The stat cache tells a digest, and never that the store has it."""
    store = artifactstore.create(tmp_path / "store")
    folder = tmp_path / "data"
    folder.mkdir()
    for number, data in enumerate(DATA):
        (folder / str(number)).write_bytes(data)
    made = store.put(folder, "same")
    core = store._session.core()
    head = core.journal.catch_up()
    fact = {"fact": "removed", "digest": made.digest}
    core.appender.commit([fact], birth=head, alive_at=head, refuse=lambda void: AssertionError(str(void)))
    clean_up(store)
    assert ids(core.backend, "packs") == set()
    again = store.put(folder, name)
    assert again.digest == made.digest
    assert store.get(f"{name}:latest", tmp_path / "back").joinpath("1").read_bytes() == DATA[1]
    assert store.verify(level="full").ok


def test_a_call_on_the_batch_itself_names_the_call_that_does_it(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    with store.batch() as batch, pytest.raises(AttributeError, match=r"store\.put"):
        batch.put(b"x", "x")
