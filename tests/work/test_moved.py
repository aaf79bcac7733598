"""Content whose layout changes under its readers: it is read where it lies now, as often as it moves."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from artifactstore import CorruptionError, NotFoundError
from artifactstore.backend.base import Backend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers import Wrapper
from artifactstore.content.manifest import manifest_key
from artifactstore.content.manifest_file import decode, encode
from artifactstore.content.pack import pack_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from artifactstore.work.caches import Manifests
from artifactstore.work.session import Session

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
    monkeypatch.setattr("artifactstore.work.session.connect", lambda *_, **__: backend)
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
