"""Parts: several processes store the files of one artifact, and one of them commits it; it is what one process would have put."""

import pickle
import random
from datetime import timedelta
from pathlib import Path

import pytest

import artifactstore
from artifactstore.content.write.source import from_bytes
from artifactstore.errors import CondemnedBeforeCommitError, InvalidInputError, NotFoundError
from artifactstore.store import Store
from artifactstore.work.put.parts import Parts, StoredPart, store_part

SMALL = 300
LARGE = 3 * 2**20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def part(store: Store, files: dict[str, bytes], name: str = "joint", *, sha256: bool = False) -> StoredPart:
    """Store files as another process of another machine does: with a store and a cache of its own, and send what it says."""
    other = artifactstore.open(store.url, cache=None)
    made = store_part(other._session, [from_bytes(path, data) for path, data in files.items()], name=name, sha256=sha256)
    sent: StoredPart = pickle.loads(pickle.dumps(made))
    return sent


def shards(step: int, *, ranks: int = 3) -> list[dict[str, bytes]]:
    return [{f"large-{rank}": content(rank, LARGE), f"small-{rank}": content(100 * step + rank, SMALL)} for rank in range(ranks)]


def on_disk(folder: Path, files: list[dict[str, bytes]]) -> Path:
    folder.mkdir()
    for one in files:
        for path, data in one.items():
            (folder / path).write_bytes(data)
    return folder


def test_the_parts_are_what_one_put_of_all_files_is(store: Store, tmp_path: Path) -> None:
    files = shards(1)
    made = store.put(Parts([part(store, one) for one in files]), "joint", metadata={"step": 1})
    assert (made.ref, made.metadata, made.kind, made.new) == ("joint:v1", {"step": 1}, "data", True)
    alone = artifactstore.open(tmp_path / "alone", cache=None).put(on_disk(tmp_path / "files", files), "joint")
    assert made.digest == alone.digest
    for one in files:
        for path, data in one.items():
            with store.open_file("joint", path) as file:
                assert file.read() == data
    assert store.verify(level="full").ok


def test_nothing_is_visible_before_the_commit_and_what_is_stored_is_not_stored_again(store: Store) -> None:
    store.put(b"x", "other")
    facts = len(store.log())
    parts = [part(store, one) for one in shards(1)]
    assert len(store.log()) == facts
    with pytest.raises(NotFoundError):
        store.artifact("joint")
    first = store.put(Parts(parts), "joint")
    again = [part(store, one) for one in shards(2)]
    assert [one.packs for one in again] == [frozenset()] * 3
    second = store.put(Parts(again), "joint")
    assert first.uploaded > 2 * LARGE
    assert second.uploaded < 20_000
    assert second.version == 2


def test_the_same_parts_again_are_no_new_version(store: Store) -> None:
    store.put(Parts([part(store, one) for one in shards(1)]), "joint")
    elsewhere = artifactstore.open(store.url, cache=None)  # of a machine that has proven nothing
    made = elsewhere.put(Parts([part(store, one) for one in shards(1)]), "joint")
    assert (made.version, made.new) == (1, False)


def test_the_digests_of_a_model_come_along(store: Store) -> None:
    made = store.put(Parts([part(store, one, sha256=True) for one in shards(1)]), "model", kind="model")
    paths = [line.partition("  ")[2] for line in str(made.sha256).splitlines()]
    assert paths == ["large-0", "large-1", "large-2", "small-0", "small-1", "small-2"]


def test_it_is_an_output_of_the_current_run(store: Store) -> None:
    with store.run("train", code=False) as run:
        run.put(Parts([part(store, one) for one in shards(1)]), "joint", role="shards")
    assert store.artifact("joint").run == run.id


def test_parts_in_a_batch_are_visible_with_the_rest_of_it(store: Store) -> None:
    with store.batch():
        store.put(Parts([part(store, one) for one in shards(1)]), "joint")
        store.put(b"x", "other")
        assert len(artifactstore.open(store.url, cache=None).names()) == 0
    assert [one.name for one in store.names()] == ["joint", "other"]


def test_clean_up_spares_parts_and_what_it_was_made_to_take_is_not_committed(store: Store) -> None:
    store.put(b"x", "other")
    parts = [part(store, one) for one in shards(1)]
    store.maintenance.gc()
    kept = store.put(Parts(parts), "joint")
    assert store.verify(level="full").ok
    parts = [part(store, {"new": content(9, LARGE)})]
    store.maintenance.gc(grace=timedelta(0))
    with pytest.raises(CondemnedBeforeCommitError, match="store it again"):
        store.put(Parts(parts), "joint")
    assert store.artifact("joint").digest == kept.digest
    store.put(Parts([part(store, {"new": content(9, LARGE)})]), "joint")
    assert store.verify(level="full").ok


def test_parts_outlive_a_clean_up_that_took_something_else(store: Store) -> None:
    store.put(content(7, LARGE), "old")
    parts = [part(store, one) for one in shards(1)]
    store.registry.remove("old:v1", "not needed")
    store.maintenance.gc()
    assert store.put(Parts(parts), "joint").version == 1
    assert store.verify(level="full").ok


def test_parts_of_another_store_and_paths_that_clash_are_refused(store: Store, tmp_path: Path) -> None:
    other = artifactstore.open(tmp_path / "other", cache=None)
    with pytest.raises(InvalidInputError, match="another store"):
        store.put(Parts([part(store, {"a": b"1"}), part(other, {"b": b"2"})]), "joint")
    for first, second in (("a", "a"), ("a", "a/b")):
        with pytest.raises(InvalidInputError, match="artifact cannot contain"):
            store.put(Parts([part(store, {first: b"1"}), part(store, {second: b"2"})]), "joint")
    for options in ({"exclude": ["x"]}, {"format": "data"}, {"rehash": True}):
        with pytest.raises(InvalidInputError, match="stored already"):
            store.put(Parts([part(store, {"a": b"1"})]), "joint", **options)
    assert len(store.names()) == 0


def test_a_put_of_parts_that_fails_in_a_run_keeps_nothing_for_later(store: Store, tmp_path: Path) -> None:
    other = artifactstore.open(tmp_path / "other", cache=None)
    with store.run("train", code=False), pytest.raises(InvalidInputError, match="another store") as caught:
        store.put(Parts([part(other, {"b": b"2"})]), "joint")
    assert "rescue" not in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
