"""Replicas and moves: killed anywhere and run again, they end well; never two places that may be written to."""

import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import artifactstore
from artifactstore import BackendError, ConflictError, CorruptionError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.cli import main
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from tests.work.falsified import append, claim, inline, manifest_of, stored

from .killed import sync_killed
from .places import accepts_writes, assert_whole_copy, entries, fill, is_writable, objects


@pytest.fixture
def source(tmp_path: Path) -> str:
    fill(str(tmp_path / "source"))
    return str(tmp_path / "source")


def test_a_copy_equals_its_source_byte_for_byte_and_is_kept_up_with(source: str, tmp_path: Path):
    target = str(tmp_path / "target")
    store = artifactstore.open(source, cache=None)
    first = store.maintenance.sync(target)
    assert first.kind == "replica"
    assert first.entries == len(entries(source))
    assert_whole_copy(source, target)
    store.put(b"n" * 100_000, "new")
    second = store.maintenance.sync(target)
    assert (second.entries, second.objects) == (1, 2) or (second.entries, second.objects) == (1, 1)
    assert_whole_copy(source, target)
    third = store.maintenance.sync(target)
    assert (third.objects, third.bytes, third.entries) == (0, 0, 0)


def test_an_empty_store_is_copied_too(tmp_path: Path):
    store = artifactstore.create(tmp_path / "a", cache=None)
    assert store.maintenance.sync(tmp_path / "b", move=True).released
    assert accepts_writes(str(tmp_path / "b"))
    assert not accepts_writes(str(tmp_path / "a"))


def test_a_copy_is_not_written_to_before_its_release(source: str, tmp_path: Path):
    target = str(tmp_path / "target")
    store = artifactstore.open(source, cache=None)
    store.maintenance.sync(target)
    copy = artifactstore.open(target, cache=None)
    for write in (lambda: copy.put(b"x", "n"), lambda: copy.alias("aba:v1", "other"), lambda: copy.put(b"y")):
        with pytest.raises(RefusedError, match="only sync writes to it"):
            write()
    assert copy.get("aba:best") == store.get("aba:v2")
    assert store.maintenance.sync(target, release=True).released
    assert artifactstore.open(target, cache=None).put(b"x", "n").version == 1
    assert not store.maintenance.sync(target, release=True).released


def test_a_dry_run_says_what_would_be_copied_and_writes_nothing(source: str, tmp_path: Path):
    target = tmp_path / "target"
    store = artifactstore.open(source, cache=None)
    planned = store.maintenance.sync(target, dry_run=True)
    assert not target.exists()
    done = store.maintenance.sync(target)
    assert (planned.objects, planned.bytes, planned.entries) == (done.objects, done.bytes, done.entries)
    assert planned.dry_run
    assert not done.dry_run


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_copy_killed_at_any_change_is_finished_by_the_next_run(source: str, tmp_path: Path, after):
    store = artifactstore.open(source, cache=None)
    changes = len(objects(source)) + 1  # everything, and the mark
    for at in random.sample(range(1 if after else 2, changes + 1), 9):  # before the first nothing has begun
        target = str(tmp_path / f"target-{at}")
        assert sync_killed(source, target, at, after=after)
        assert not is_writable(target)
        if (Path(target) / "store.json").exists():
            assert not accepts_writes(target)
            half = artifactstore.open(target, "r", cache=None)
            assert half.verify(level="full").ok
            assert half.log()[-1:] == [] or half.log()[-1].seq <= len(entries(source))
        else:
            with pytest.raises(RefusedError, match="partial copy of a store"):
                artifactstore.open(target, cache=None).put(b"x", "n")
        store.maintenance.sync(target)
        assert_whole_copy(source, target)
    assert not sync_killed(source, str(tmp_path / "never"), changes + 1, after=after)


@pytest.mark.slow
def test_a_move_killed_at_any_change_ends_with_one_writable_place(tmp_path: Path):
    fill(str(tmp_path / "model"), puts=2)
    changes = len(objects(str(tmp_path / "model"))) + 3  # everything, the mark, the closing entry, the release
    last = range(changes - 3, changes + 1)
    for at in [*random.sample(range(1, changes - 3), 5), *last]:
        for after in (False, True):
            source, target = str(tmp_path / f"s{at}{after}"), str(tmp_path / f"t{at}{after}")
            shutil.copytree(tmp_path / "model", source)
            assert sync_killed(source, target, at, after=after, move=True)
            assert [is_writable(source), is_writable(target)].count(True) <= 1
            assert accepts_writes(source) == is_writable(source)  # the old place goes on until it is closed
            found = artifactstore.open(source, cache=None).maintenance.sync(target, move=True)
            assert found.moved
            assert not is_writable(source)
            assert accepts_writes(target)
            # The closing entry alone is not copied; a write at the target may have taken its number since.
            assert [key for key in entries(source) if key not in entries(target)] in ([], [max(entries(source))])
            assert artifactstore.open(target, cache=None).verify(level="full").findings == []
    assert not sync_killed(str(tmp_path / "model"), str(tmp_path / "never"), changes + 1, after=False, move=True)


@pytest.mark.slow
def test_a_copy_to_s3_killed_at_random_is_finished_by_the_next_run(source: str, s3_url: str):
    store = artifactstore.open(source, cache=None)
    changes = len(objects(source)) + 1
    for at in sorted(random.sample(range(1, changes), 3)):
        target = f"{s3_url}/{at}"
        assert sync_killed(source, target, at, after=bool(at % 2))
        assert not is_writable(target)
        store.maintenance.sync(target)
        assert_whole_copy(source, target)


@pytest.mark.slow
def test_a_move_from_s3_killed_at_its_end_is_finished_by_the_next_run(s3_url: str, tmp_path: Path):
    fill(f"{s3_url}/model", puts=2)
    changes = len(objects(f"{s3_url}/model")) + 3
    for at in range(changes - 2, changes + 1):
        source, target = f"{s3_url}/{at}", str(tmp_path / f"{at}")
        artifactstore.open(f"{s3_url}/model", cache=None).maintenance.sync(source, release=True)
        assert sync_killed(source, target, at, after=True, move=True)
        assert [is_writable(source), is_writable(target)].count(True) <= 1
        assert artifactstore.open(source, cache=None).maintenance.sync(target, move=True).moved
        assert (is_writable(source), is_writable(target)) == (False, True)


@pytest.mark.slow
def test_folder_to_s3_and_back_each_time_into_an_empty_place(source: str, s3_url: str, tmp_path: Path):
    places = [source, f"{s3_url}/moved", str(tmp_path / "back"), f"memory://{tmp_path.name}-moved"]
    before = {one.name: one.digest for one in artifactstore.open(source, cache=None).find()}
    for old, new in pairwise(places):
        store = artifactstore.open(old, cache=None)
        assert store.maintenance.sync(new, move=True).moved
        with pytest.raises(RefusedError, match=f"moved to {new}"):
            store.put(b"too late", "late")
        with pytest.raises(RefusedError, match=f"moved to {new}"):
            artifactstore.open(old, cache=None).put(b"too late", "late")
        assert store.get("aba:best")
        artifactstore.open(new, cache=None).put(new.encode(), "visited")
    last = artifactstore.open(places[-1], cache=None)
    assert {one.name: one.digest for one in last.find() if one.name != "visited"} == before
    assert len(last.versions("visited")) == 3
    assert last.verify(level="full").findings == []
    # What was closed is no fork of what went on: nothing is to be copied forwards, nothing can be backwards.
    for old in places[:-1]:
        assert artifactstore.open(old, cache=None).maintenance.sync(places[-1]).entries == 0
        with pytest.raises(RefusedError, match="accepts no more entries"):
            last.maintenance.sync(old)
    with pytest.raises(RefusedError, match="has moved to"):
        artifactstore.open(source, cache=None).maintenance.sync(tmp_path / "elsewhere", move=True)
    assert not (tmp_path / "elsewhere").exists()


def test_two_histories_are_told_by_the_first_entry_that_differs(source: str, tmp_path: Path):
    other = str(tmp_path / "other")
    shutil.copytree(source, other)
    common = len(entries(source))
    for url in (source, other):
        for i in range(3):
            artifactstore.open(url, cache=None).put(f"{url} {i}".encode(), "own")
    with pytest.raises(
        ConflictError, match=rf"entry {common + 1} is the first that differs \(blake3:\w+ and blake3:\w+\)"
    ) as caught:
        artifactstore.open(source, cache=None).maintenance.sync(other)
    key = f"journal/000000000/{common + 1:012d}.json"
    from artifactstore.model.digest import Digest

    for url in (source, other):
        assert str(Digest.of(connect(url).read(key))) in str(caught.value)


def test_a_plain_copy_of_the_folder_is_brought_forward_and_stays_writable(source: str, tmp_path: Path):
    other = str(tmp_path / "other")
    shutil.copytree(source, other)
    artifactstore.open(source, cache=None).put(b"x" * 100_000, "new")
    assert artifactstore.open(source, cache=None).maintenance.sync(other).entries == 1
    assert_whole_copy(source, other)
    assert accepts_writes(other)
    assert artifactstore.open(source, cache=None).maintenance.sync(other).entries == 0  # the target is ahead
    with pytest.raises(RefusedError, match="writable store of its own"):
        artifactstore.open(source, cache=None).maintenance.sync(other, move=True)


def test_a_source_that_lacks_something_is_copied_as_far_as_it_is_whole(source: str, tmp_path: Path):
    victim = next(key for key in objects(source, "packs/"))
    raw = connect(source).read(victim)
    connect(source).delete(victim)
    store = artifactstore.open(source, cache=None)
    with pytest.raises(CorruptionError, match=victim):
        store.maintenance.sync(tmp_path / "target")
    half = artifactstore.open(tmp_path / "target", "r", cache=None)
    assert half.verify(level="full").unfinished
    assert half.names() == []
    connect(source).write(victim, raw)
    store.maintenance.sync(tmp_path / "target")
    assert_whole_copy(source, str(tmp_path / "target"))


def test_damage_is_not_copied(source: str, tmp_path: Path):
    for prefix in ("packs/", "manifests/", "facts/"):
        victim, raw = next(iter(objects(source, prefix).items()))
        bad = bytearray(raw)
        bad[len(bad) // 2] ^= 1
        connect(source).write(victim, bytes(bad))
        with pytest.raises(CorruptionError, match=victim):
            artifactstore.open(source, cache=None).maintenance.sync(tmp_path / f"target-{prefix[:-1]}")
        connect(source).write(victim, raw)


def test_what_a_half_copy_lacks_is_unfinished_and_not_damaged(source: str, tmp_path: Path):
    target = str(tmp_path / "target")
    artifactstore.open(source, cache=None).maintenance.sync(target)
    head = len(entries(source))
    artifactstore.open(source, cache=None).put(b"z" * 100_000, "new")
    # As a kill leaves it where clean-up has taken things meanwhile: a further head named, an early object not there.
    victim = next(iter(objects(target, "packs/")))
    connect(target).delete(victim)
    assert not artifactstore.open(target, "r", cache=None).verify(level="full").ok
    newest = artifactstore.open(source, cache=None)._session.core().journal
    newest.catch_up()
    from artifactstore.journal.replica import mark_body, target_key

    connect(target).create(target_key(head + 1, newest.digest), mark_body(newest.config.store, head + 1, newest.digest))
    half = artifactstore.open(target, "r", cache=None)
    report = half.verify(level="full")
    assert report.ok
    assert report.unfinished
    assert [one.location for one in report.findings] == [victim]
    failed = []
    for ref in ("aba:v1", "aba:v2", "name/1:latest"):
        try:
            half.get(ref)
        except BackendError as error:
            failed.append(error)
    assert failed
    assert all(error.transient and "unfinished copy" in str(error) for error in failed)


def test_a_copy_whose_source_is_lost_is_released_in_its_own_name(source: str, tmp_path: Path):
    target = str(tmp_path / "target")
    artifactstore.open(source, cache=None).maintenance.sync(target)
    shutil.rmtree(source)
    copy = artifactstore.open(target, cache=None)
    with pytest.raises(InvalidInputError, match="both the source and the target"):
        copy.maintenance.sync(target)
    assert copy.maintenance.sync(target, release=True).released
    assert accepts_writes(target)


def test_an_unfinished_copy_is_neither_released_nor_copied_on(source: str, tmp_path: Path):
    target = str(tmp_path / "target")
    assert sync_killed(source, target, len(objects(source)) - 2, after=True)
    copy = artifactstore.open(target, cache=None)
    with pytest.raises(RefusedError, match="finish the copy"):
        copy.maintenance.sync(target, release=True)
    with pytest.raises(RefusedError, match="not finished"):
        copy.maintenance.sync(tmp_path / "further")


def test_a_place_with_other_things_in_it_is_left_alone(source: str, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    with pytest.raises(InvalidInputError, match="is not empty"):
        artifactstore.open(source, cache=None).maintenance.sync(tmp_path / "full")
    with pytest.raises(NotFoundError):
        artifactstore.open(tmp_path / "nothing", cache=None).maintenance.sync(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["letter.txt"]


def never_there(store: Store, digest: str) -> str:
    """Append that a manifest which is not there holds a digest."""
    made = manifest_of(store, digest)
    fact = {**stored(store, digest, made), "manifest": new_id()}
    append(store, [fact])
    return manifest_key(str(fact["manifest"]))


def of_another_digest(store: Store, digest: str) -> str:
    return manifest_key(claim(store, digest, manifest_of(store, digest), manifest_digest=f"blake3:{'0' * 64}"))


def in_a_pack_that_is_not_there(store: Store, digest: str) -> str:
    made = manifest_of(store, digest)
    pack = new_id()
    claim(store, digest, made, packs=[*made.packs, pack])
    return pack_key(pack)


def of_what_no_version_names(store: Store, _: str) -> str:
    claim(store, f"blake3:{'7' * 64}", inline({"a": b"a"}), packs=[pack := new_id()])
    return pack_key(pack)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*artifactstore verify:UserWarning")
@pytest.mark.parametrize("lie", [never_there, of_another_digest, in_a_pack_that_is_not_there, of_what_no_version_names])
def test_what_a_false_fact_names_is_passed_over_and_named(source: str, tmp_path: Path, lie: Callable[[Store, str], str]):
    store = artifactstore.open(source, cache=None)
    made = store.put(b"x" * 5000, "victim")
    key = lie(store, made.digest)
    store.put(b"later", "later")
    copy, archive = tmp_path / "copy", tmp_path / "all.zip"
    for report in (store.maintenance.sync(copy), store.maintenance.bundle(archive)):
        assert [one.what for one in report.left_out] == [key]
        assert "no version needs it" in report.left_out[0].why
        assert report.head == store.head
    for url in (copy, f"zip://{archive}"):
        other = artifactstore.open(url, "r", cache=None)
        assert (other.get("victim"), other.get("later")) == (b"x" * 5000, b"later")
    assert store.maintenance.sync(copy).entries == 0


def test_the_only_manifest_of_a_version_is_not_passed_over(source: str, tmp_path: Path):
    store = artifactstore.open(source, cache=None)
    made = store.put(b"x" * 5000, "victim")
    false = never_there(store, made.digest)
    holder = store._session.core().journal.fold.holders[made.digest][0]
    connect(source).delete(manifest_key(holder))
    for copy in (store.maintenance.sync, store.maintenance.bundle):
        with pytest.raises(CorruptionError, match=f"{manifest_key(holder)}|{false}"):
            copy(tmp_path / f"{copy.__name__}.zip")


def test_the_command_shows_the_head_with_its_digest_and_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = artifactstore.create(tmp_path / "s", cache=None)
    key = never_there(store, store.put(b"x", "n").digest)
    for command in (["sync", store.url, str(tmp_path / "copy")], ["bundle", str(tmp_path / "all.zip"), "--store", store.url]):
        assert main(command) == 7
        said = capsys.readouterr().out
        assert store.head in said
        assert f"left out: {key}: is missing" in said
