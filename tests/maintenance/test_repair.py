"""Repair: what is damaged comes back from a copy, from files, from elsewhere in the store; what does not is marked."""

import itertools
import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import CorruptionError, FormatError, InvalidInputError, RefusedError
from artifactstore.backend.connect import connect
from artifactstore.cli import main
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal import append as append_module
from artifactstore.journal import segments as segments_module
from artifactstore.journal.chain import entry_key
from artifactstore.maintenance.repair import history as history_module
from artifactstore.maintenance.repair.history import mend_history
from artifactstore.maintenance.repair.history_sources import CopyHistory
from artifactstore.maintenance.repair.report import Repaired
from artifactstore.model.digest import Digest
from artifactstore.store import Store
from tests.maintenance.facts import clean_up, removed, state_of, tell
from tests.maintenance.killed import sync_killed

Damage = Callable[[Path], Any]


def flip(path: Path, at: float = 0.5) -> Any:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)


def gone(path: Path) -> Any:
    path.unlink()


def rmtree(path: Path) -> Any:
    shutil.rmtree(path)


def entry(root: Path, seq: int) -> Path:
    return root / f"journal/000000000/{seq:012d}.json"


def every(root: Path, pattern: str, change: Callable[[Path], object]) -> Any:
    found = [one for one in sorted(root.glob(pattern)) if one.is_file()]
    assert found
    for one in found:
        change(one)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with shared chunks, deltas, inline and side content, spilled facts; with a copy, a bundle and the files."""
    home = tmp_path_factory.mktemp("repair")
    store = artifactstore.create(home / "store", cache=None)
    noise = random.Random(7)
    first = noise.randbytes(400_000)
    store.put(first, "bytes")
    store.put(first[:200_000] + noise.randbytes(200_000), "bytes")
    store.put(b"small", "small")
    folder = home / "files" / "folder"
    (folder / "inner" / "empty").mkdir(parents=True)
    (folder / "x").write_bytes(noise.randbytes(200_000))
    (folder / "inner/y").write_bytes(b"hello" * 10_000)
    store.put(folder, "folder")
    weights = np.random.default_rng(1).normal(0, 0.02, 150_000).astype(np.float32)
    store.put({"w": weights}, "model", kind="model")
    store.put({"w": weights + np.float32(1e-6)}, "model", kind="model")
    store.alias("model:v1", "best", reason="because")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_module, "SPILL", 200)
        tell(store, {"fact": "measured", "digest": store.artifact("small").digest, "metrics": {f"m{k}": k for k in range(30)}})
    store.put(b"last", "last")
    store.maintenance.sync(home / "copy")
    store.maintenance.bundle(home / "bundle.zip")
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    shutil.copytree(made / "store", tmp_path / "store")
    return tmp_path


def opened(root: Path, **options: Any) -> Store:
    return artifactstore.open(root, cache=None, **options)


def content(store: Store) -> dict[str, Any]:
    """All that the store gives, version by version."""
    found: dict[str, Any] = {}
    for name in store.names():
        for row in store.versions(name.name):
            value = store.get(row.ref)
            if hasattr(value, "__fspath__"):
                root = Path(value)
                value = {str(one.relative_to(root)): one.read_bytes() for one in sorted(root.rglob("*")) if one.is_file()}
            elif isinstance(value, dict):
                value = {key: one.tobytes() for key, one in value.items()}
            found[row.ref] = value
    return found


def repaired(root: Path, source: Any = None, **options: Any) -> Repaired:
    """Repair, look at the outcome, and repair again: nothing is left to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = opened(root).maintenance.repair(source, **options)
        again = opened(root).maintenance.repair(source, **options)
    assert not again.restored, again
    assert [one.ref for one in again.lost] == [one.ref for one in done.lost]
    assert done.report.ok or done.lost, str(done.report)
    return done


def is_whole(home: Path, made: Path) -> None:
    store = opened(home / "store")
    report = store.verify(level="full")
    assert report.ok, str(report)
    assert content(store) == content(opened(made / "store"))


CONTENT: dict[str, Damage] = {
    "flipped packs": lambda r: every(r, "packs/*/*", flip),
    "packs whose footers are flipped": lambda r: every(r, "packs/*/*", lambda p: flip(p, 0.9999)),
    "packs that begin as something else": lambda r: every(r, "packs/*/*", lambda p: flip(p, 0)),
    "truncated packs": lambda r: every(r, "packs/*/*", lambda p: p.write_bytes(p.read_bytes()[:-100])),
    "empty packs": lambda r: every(r, "packs/*/*", lambda p: p.write_bytes(b"")),
    "longer packs": lambda r: every(r, "packs/*/*", lambda p: p.write_bytes(p.read_bytes() + b"x")),
    "missing packs": lambda r: shutil.rmtree(r / "packs"),
    "one missing pack": lambda r: gone(max(r.glob("packs/*/*"), key=lambda p: p.stat().st_size)),
    "swapped packs": lambda r: swap(*sorted(r.glob("packs/*/*"))[:2]),
    "flipped manifests": lambda r: every(r, "manifests/*/*", flip),
    "missing manifests": lambda r: shutil.rmtree(r / "manifests"),
    "empty manifests": lambda r: every(r, "manifests/*/*", lambda p: p.write_bytes(b"")),
    "swapped manifests": lambda r: swap(*sorted(r.glob("manifests/*/*"))[:2]),
    "one manifest and one pack": lambda r: (flip(min(r.glob("manifests/*/*"))), flip(max(r.glob("packs/*/*")))),
    "nothing but the journal": lambda r: (rmtree(r / "packs"), rmtree(r / "manifests")),
}
HISTORY: dict[str, Damage] = {
    "the first entry": lambda r: flip(entry(r, 1), 0.3),
    "an entry whose facts changed": lambda r: entry(r, 2).write_bytes(entry(r, 2).read_bytes().replace(b'"bytes"', b'"Bytes"')),
    "an entry that links elsewhere": lambda r: flip(entry(r, 3), 0.05),
    "a missing entry": lambda r: gone(entry(r, 4)),
    "an empty entry": lambda r: entry(r, 4).write_bytes(b""),
    "two entries in a row": lambda r: (flip(entry(r, 2)), flip(entry(r, 3))),
    "two entries apart": lambda r: (gone(entry(r, 2)), flip(entry(r, 5))),
    "swapped entries": lambda r: swap(entry(r, 2), entry(r, 5)),
    "the last entry": lambda r: flip(entry(r, 9), 0.01),
    "all entries but the last": lambda r: [gone(entry(r, k)) for k in range(1, 9)],
    "all entries": lambda r: [entry(r, k).write_bytes(b"x") for k in range(1, 10)],
    "facts": lambda r: every(r, "facts/*/*", flip),
    "missing facts": lambda r: shutil.rmtree(r / "facts"),
    "entries that link to themselves": lambda r: (loop(entry(r, 2)), loop(entry(r, 4))),
}
CONFIG: dict[str, Damage] = {
    "a flipped store.json": lambda r: flip(r / "store.json", 0.02),
    "a store.json with another date": lambda r: (r / "store.json").write_bytes(
        (r / "store.json").read_bytes().replace(b'"created":"20', b'"created":"19')
    ),
    "no store.json": lambda r: gone(r / "store.json"),
    "an empty store.json": lambda r: (r / "store.json").write_bytes(b""),
    "neither store.json nor the first entry": lambda r: (gone(r / "store.json"), gone(entry(r, 1))),
    "a store.json that links to itself": lambda r: loop(r / "store.json"),
}


def loop(path: Path) -> Any:
    """Put a link to itself in a file's place: it exists, and cannot be read."""
    path.unlink()
    path.symlink_to(path.name)


def swap(one: Path, other: Path) -> Any:
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


FEW = ("flipped packs", "missing packs", "swapped packs", "flipped manifests", "nothing but the journal")
MATRIX = [
    pytest.param(
        one,
        marks=()
        if one in {*FEW, "two entries in a row", "all entries", "facts", "entries that link to themselves"}
        else pytest.mark.slow,
    )
    for one in [*CONTENT, *HISTORY]
]


@pytest.mark.parametrize("damage", MATRIX)
def test_a_copy_brings_back_all(home: Path, made: Path, damage: str):
    {**CONTENT, **HISTORY}[damage](home / "store")
    done = repaired(home / "store", made / "copy")
    assert done.restored
    assert not done.lost
    assert {one.source for one in done.restored} <= {str(made / "copy"), *(one.key for one in done.restored)} | {
        one.source for one in done.restored if one.source.startswith(("packs/", "manifests/", "a manifest"))
    }
    is_whole(home, made)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["bundle", "zip URL", "store", "list"])
@pytest.mark.parametrize("damage", ["flipped packs", "missing manifests", "two entries apart", "facts"])
def test_a_source_is_a_url_a_bundle_a_store_or_several(home: Path, made: Path, damage: str, source: str):
    {**CONTENT, **HISTORY}[damage](home / "store")
    given: Any = {
        "bundle": made / "bundle.zip",
        "zip URL": f"zip://{made}/bundle.zip",
        "store": opened(made / "copy"),
        "list": [made / "bundle.zip", opened(made / "copy")],
    }[source]
    assert not repaired(home / "store", given).lost
    is_whole(home, made)


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations(["flipped packs", "missing manifests", "two entries apart"], 2))
)
def test_damage_of_many_kinds_is_repaired_at_once(home: Path, made: Path, one: str, other: str):
    for damage in (one, other):
        {**CONTENT, **HISTORY}[damage](home / "store")
    assert not repaired(home / "store", made / "copy").lost
    is_whole(home, made)


@pytest.mark.parametrize("damage", [pytest.param(one, marks=() if one == FEW[0] else pytest.mark.slow) for one in CONTENT])
def test_without_a_source_what_is_lost_is_marked_and_can_be_put_again(home: Path, made: Path, damage: str):
    CONTENT[damage](home / "store")
    done = repaired(home / "store")
    store = opened(home / "store")
    lost = {one.ref for one in done.lost}
    assert {one.digest for one in done.lost} == {one.digest for one in store.log(fact="damaged")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ref, value in content(opened(made / "store")).items():
            if ref in lost:
                name = ref.partition(":")[0]
                again = {"w": np.frombuffer(value["w"], np.float32)} if name == "model" else value
                store.put(
                    made / "files/folder" if name == "folder" else again,
                    f"again/{name}",
                    kind=None if name != "model" else "model",
                )
    after = repaired(home / "store")
    assert not after.lost, after
    is_whole_in(home / "store", made, lost)


def is_whole_in(root: Path, made: Path, lost: set[str]) -> None:
    store = opened(root)
    found = content(store)
    for ref, value in content(opened(made / "store")).items():
        assert found[ref] == value, (ref, lost)
    assert store.verify(level="full").ok


@pytest.mark.parametrize("damage", ["flipped packs", "missing packs", "flipped manifests", "missing manifests"])
def test_the_users_own_files_bring_back_what_they_hold(home: Path, made: Path, damage: str):
    CONTENT[damage](home / "store")
    done = repaired(home / "store", files=made / "files")
    assert "folder:v1" not in {one.ref for one in done.lost}
    assert done.lost
    opened(home / "store").get("folder", to=home / "out")
    assert (home / "out/x").read_bytes() == (made / "files/folder/x").read_bytes()
    assert any(str(made / "files") in one.source for one in done.restored)


def test_another_pack_with_the_same_chunk_is_enough(home: Path, made: Path):
    store = opened(home / "store")
    digest = store.artifact("bytes:v1").digest
    holder = state_of(store).holders[digest][-1]
    (pack,) = state_of(store).manifests[holder][2]
    tell(store, {"fact": "damaged", "digest": digest, "manifest": holder})  # the next put stores all of it again
    store.put(store.get("bytes:v1"), "twice")
    path = home / "store" / pack_key(pack)
    raw = path.read_bytes()
    path.write_bytes(bytes(byte ^ 1 for byte in raw[:400_000]) + raw[400_000:])
    done = repaired(home / "store")
    assert not done.lost
    assert {one.key for one in done.restored} == {pack_key(pack)}  # the second version shared it
    assert all(one.source.startswith("packs/") for one in done.restored)
    is_whole_in(home / "store", made, set())


@pytest.mark.parametrize("damage", CONFIG)
@pytest.mark.parametrize("dry", ["dry", "wet"])
def test_the_command_repairs_where_store_json_cannot_be_read(home: Path, made: Path, damage: str, dry: str, capsys: Any):
    before = (made / "store/store.json").read_bytes()
    CONFIG[damage](home / "store")
    words = ["repair", "--store", str(home / "store"), "--source", str(made / "copy")]
    assert main([*words, "--dry-run"] if dry == "dry" else words) == 0
    assert "store.json from " + str(made / "copy") in capsys.readouterr().out
    if dry == "wet":
        assert (home / "store/store.json").read_bytes() == before
        is_whole(home, made)
        assert main(words) == 0
        assert capsys.readouterr().out == "nothing to repair\n"
    else:
        assert not (home / "store/store.json").exists() or (home / "store/store.json").read_bytes() != before


def test_a_last_entry_that_links_to_itself_comes_back(home: Path, made: Path):
    last = max((home / "store/journal").glob("0*/*.json"))
    before = last.read_bytes()
    loop(last)
    assert main(["repair", "--store", str(home / "store"), "--source", str(made / "copy")]) == 0
    assert last.read_bytes() == before
    is_whole(home, made)


def test_a_folder_with_files_in_the_place_of_an_entry_is_named_and_has_to_go_first(home: Path, made: Path, capsys: Any):
    entry(home / "store", 2).unlink()
    entry(home / "store", 2).mkdir()
    (entry(home / "store", 2) / "mine.txt").write_text("not yours")
    words = ["repair", "--store", str(home / "store"), "--source", str(made / "copy")]
    assert main(words) == 5
    assert "move it away, then try again" in capsys.readouterr().out
    (entry(home / "store", 2) / "mine.txt").unlink()
    assert main(words) == 0  # an empty one tells nothing, and goes
    is_whole(home, made)


def test_a_process_that_has_read_store_json_gives_it_back(home: Path, made: Path):
    store = opened(home / "store")
    store.names()
    (home / "store/store.json").write_bytes(b"?")
    done = store.maintenance.repair()
    assert [one.key for one in done.restored] == ["store.json"]
    is_whole(home, made)


@pytest.mark.parametrize("damage", [*CONFIG, "fine"])
def test_another_store_is_no_source(home: Path, damage: str):
    other = artifactstore.create(home / "other", cache=None)
    other.put(b"small", "small")
    CONFIG.get(damage, lambda _: None)(home / "store")
    before = {one: one.read_bytes() for one in (home / "store").rglob("*") if one.is_file()}
    assert main(["repair", "--store", str(home / "store"), "--source", str(home / "other")]) == 2
    if damage in {"fine", "a store.json with another date"}:
        with pytest.raises(InvalidInputError, match="another store"):
            opened(home / "store").maintenance.repair(other)
    assert before == {one: one.read_bytes() for one in (home / "store").rglob("*") if one.is_file()}


@pytest.mark.parametrize("given", [3, [3], "", b"x", ["", 4]])
def test_what_is_no_source_is_refused(home: Path, given: Any):
    with pytest.raises(InvalidInputError):
        opened(home / "store").maintenance.repair(given)


@pytest.mark.parametrize("given", [3, [3], "nowhere", ["nowhere"], {"a": 1}])
def test_files_that_are_none_are_refused(home: Path, given: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    with pytest.raises(InvalidInputError, match="files="):
        opened(home / "store").maintenance.repair(files=given)


def test_the_store_itself_is_no_source(home: Path):
    with pytest.raises(InvalidInputError, match="the store itself"):
        opened(home / "store").maintenance.repair(home / "store")


@pytest.mark.parametrize("how", ["mode r", "a copy", "a bundle", "the past"])
def test_what_may_not_be_written_is_not_repaired(home: Path, made: Path, how: str):
    shutil.copytree(made / "copy", home / "copy")
    store = {
        "mode r": lambda: artifactstore.open(home / "store", "r", cache=None),
        "a copy": lambda: opened(home / "copy"),
        "a bundle": lambda: artifactstore.open(f"zip://{made}/bundle.zip", cache=None),
        "the past": lambda: opened(home / "store").at(2),
    }[how]()
    with pytest.raises(RefusedError):
        store.maintenance.repair(made / "store")


@pytest.mark.parametrize(
    "damage", [pytest.param(one, marks=() if one in FEW[:1] else pytest.mark.slow) for one in [*CONTENT, *HISTORY]]
)
def test_a_dry_run_writes_nothing_and_says_what_a_run_does(home: Path, made: Path, damage: str):
    {**CONTENT, **HISTORY}[damage](home / "store")
    before = {one: one.read_bytes() for one in (home / "store").rglob("*") if one.is_file()}
    planned = opened(home / "store").maintenance.repair(made / "copy", dry_run=True)
    assert planned.dry_run
    assert before == {one: one.read_bytes() for one in (home / "store").rglob("*") if one.is_file()}
    done = opened(home / "store").maintenance.repair(made / "copy")
    assert set(planned.restored) == set(done.restored)
    assert list(planned.lost) == list(done.lost)
    assert "would restore" in str(planned)


def test_a_sound_store_is_left_as_it_is(home: Path, made: Path):
    before = {one: one.stat().st_mtime_ns for one in (home / "store").rglob("*")}
    done = opened(home / "store").maintenance.repair(made / "copy", files=made / "files")
    assert (list(done.restored), list(done.lost)) == ([], [])
    assert str(done).strip() == "nothing to repair"
    assert done.report.ok
    assert before == {one: one.stat().st_mtime_ns for one in (home / "store").rglob("*")}


# -- the history is only replaced by what the chain vouches for


@pytest.mark.parametrize("which", [2, 5, 9])
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_source_cannot_bring_another_history(home: Path, made: Path, which: int, damage: str):
    """A copy in which an entry was changed, and all behind it made to fit."""
    copy = home / "forged"
    shutil.copytree(made / "copy", copy)
    previous = None
    for seq in range(which, 10):
        record = json.loads(entry(copy, seq).read_bytes())
        if previous is not None:
            record["previous"] = previous
        else:
            record["writer"] = "f" * 32
        raw = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        entry(copy, seq).write_bytes(raw)
        previous = str(artifactstore.model.digest.Digest.of(raw, "blake3"))
    (mark,) = (copy / "replica").iterdir()
    if which == 9:
        mark.rename(mark.with_name(f"{9:012d}-{'0' * 64}.json"))
    store = home / "store"
    entry(store, which).unlink() if damage == "missing" else flip(entry(store, which), 0.01)
    before = entry(store, which).read_bytes() if damage == "flipped" else None
    if which == 9 and damage == "missing":
        return  # without its last entry a journal only ends earlier
    done = opened(store).maintenance.repair(copy)
    assert [one.key for one in done.lost][:1] == [f"journal/000000000/{which:012d}.json"]
    assert not done.restored
    assert (entry(store, which).read_bytes() if entry(store, which).exists() else None) == before


@pytest.mark.parametrize("before", [8, 9])
def test_a_writer_that_appends_during_a_repair_of_the_end_breaks_no_chain(
    home: Path, made: Path, monkeypatch: pytest.MonkeyPatch, before: int
):
    """The end of the journal is gone, and a machine that has not seen it appends where the repair is about to."""
    root, real = home / "store", history_module._put_right
    anchors = {9: str(Digest.of(entry(root, 9).read_bytes()))}
    for seq in (8, 9):
        entry(root, seq).unlink()

    def put_right(backend: Any, key: str, raw: bytes, walk: Any) -> bool:
        if key == entry_key(before):
            opened(root).put(b"another writer", "another")
        return real(backend, key, raw, walk)

    monkeypatch.setattr(history_module, "_put_right", put_right)
    found = mend_history(connect(str(root)), [CopyHistory(connect(str(made / "copy")))], anchors=anchors)
    assert [one.key for one in found.lost] == [entry_key(seq) for seq in range(before, 10)]
    assert [one.key for one in found.restored] == [entry_key(seq) for seq in range(8, before)]
    assert {path.name for path in (root / "journal").rglob("*.json")} == {f"{seq:012d}.json" for seq in range(1, before + 1)}
    assert opened(root).verify().ok
    assert opened(root).get("another") == b"another writer"


@pytest.mark.parametrize("seq", range(1, 9))
def test_a_process_that_has_read_a_changed_entry_reads_on_once_it_was_repaired(home: Path, made: Path, seq: int):
    """A changed entry shows only by the next one: what was folded of it must not stay."""
    right = {k: entry(home / "store", k).read_bytes() for k in range(1, 10)}
    for k in range(seq, 10):
        entry(home / "store", k).unlink()
    store = opened(home / "store")
    store.names()
    for k in range(seq, 10):
        entry(home / "store", k).write_bytes(right[k])
    raw = right[seq].replace(b'"actor":"', b'"actor":"x', 1)
    entry(home / "store", seq).write_bytes(raw)
    with pytest.raises(CorruptionError, match="journal is broken"):
        store.names()
    with pytest.raises(CorruptionError, match="journal is broken"):
        store.put(b"x", "x")
    opened(home / "store").maintenance.repair(made / "copy")
    assert entry(home / "store", seq).read_bytes() == right[seq]
    assert {one.name for one in store.names()} == {one.name for one in opened(made / "store").names()}
    assert content(store) == content(opened(made / "store"))
    store.put(b"x", "x")


@pytest.mark.parametrize("upto", range(9))
def test_a_repair_ends_where_the_journal_is_another_than_this_machine_has_seen(home: Path, upto: int):
    """A copy that is behind, and an end that an anchor contradicts."""
    shutil.copytree(home / "store", home / "behind")
    for k in range(upto + 1, 10):
        entry(home / "behind", k).unlink()
    for seq in range(1, 10):
        found = mend_history(
            connect(str(home / "store")),
            [CopyHistory(connect(str(home / "behind")))],
            anchors={seq: str(Digest.of(b"?"))},
            dry_run=True,
        )
        assert not found.bytes


def test_the_last_entry_comes_back_if_this_machine_has_seen_it(home: Path, made: Path):
    store = artifactstore.open(home / "store", cache=home / "cache")
    store.names()
    shutil.copytree(made / "copy", home / "copy")
    for mark in (home / "copy/replica").iterdir():
        mark.unlink()
    for damage in (lambda: flip(entry(home / "store", 9), 0.01), lambda: entry(home / "store", 9).unlink()):
        damage()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            without = opened(home / "store").maintenance.repair(home / "copy")
            assert not without.restored
            done = artifactstore.open(home / "store", cache=home / "cache").maintenance.repair(home / "copy")
        assert [one.key for one in done.restored] == ["journal/000000000/000000000009.json"]
        is_whole(home, made)


def test_a_segment_has_the_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segments_module, "STRIDE", 3)
    store = opened(tmp_path / "store")
    for k in range(12):
        store.put(b"%d" % k, "n")
    assert list((tmp_path / "store/segments").glob("*.parquet"))
    before = {k: entry(tmp_path / "store", k).read_bytes() for k in range(1, 13)}
    entry(tmp_path / "store", 2).unlink()
    flip(entry(tmp_path / "store", 4))
    flip(entry(tmp_path / "store", 5))
    done = repaired(tmp_path / "store")
    assert {one.source for one in done.restored} == {"a segment of this store"}
    assert not done.lost
    assert before == {k: entry(tmp_path / "store", k).read_bytes() for k in range(1, 13)}
    every(tmp_path / "store", "segments/*.parquet", flip)
    done = repaired(tmp_path / "store")
    assert {one.source for one in done.restored} == {"the journal"}
    assert opened(tmp_path / "store").verify(level="full").findings == []


def test_a_damaged_snapshot_is_written_again(tmp_path: Path):
    store = opened(tmp_path / "store")
    for k in range(3):
        store.put(b"%d" % k, "n")
    store.maintenance.snapshot()
    (path,) = (tmp_path / "store/segments/folds").iterdir()
    before = path.read_bytes()
    flip(path)
    assert not opened(tmp_path / "store").verify(level="full").ok
    done = repaired(tmp_path / "store")
    assert [one.source for one in done.restored] == ["the journal"]
    assert path.read_bytes() == before
    assert opened(tmp_path / "store").verify(level="full").ok


def test_a_damaged_mark_of_a_released_copy_is_made_again(made: Path, home: Path):
    shutil.copytree(made / "copy", home / "released")
    artifactstore.open(home / "released", cache=None).maintenance.sync(home / "released", release=True)
    before = {one.name: one.read_bytes() for one in (home / "released/replica").iterdir()}
    every(home / "released", "replica/*", flip)
    every(home / "released", "replica/*", lambda path: path.write_bytes(b"?"))
    done = repaired(home / "released")
    assert len(done.restored) == len(before) == 2
    assert before == {one.name: one.read_bytes() for one in (home / "released/replica").iterdir()}


# -- beside what else happens


def test_what_is_condemned_is_not_created_again(home: Path, made: Path):
    store = opened(home / "store")
    tell(store, removed("folder", 1))
    clean_up(store)
    gone = {
        path.relative_to(made / "store") for path in (made / "store").glob("*s/*/*") if path.parts[-3] in {"packs", "manifests"}
    }
    gone = {path for path in gone if not (home / "store" / path).exists()}
    assert gone
    done = repaired(home / "store", made / "copy")
    assert not done.restored
    assert not any((home / "store" / path).exists() for path in gone)


def test_what_was_removed_is_no_lost_version(home: Path):
    store = opened(home / "store")
    tell(store, removed("folder", 1))
    shutil.rmtree(home / "store/packs")
    assert "folder:v1" not in {one.ref for one in repaired(home / "store").lost}


def test_what_is_lost_is_found_in_an_earlier_holder(home: Path, made: Path):
    """A newer manifest that is damaged, and an older one that is not: clean-up would take the older one."""
    store = opened(home / "store")
    digest = store.artifact("bytes:v1").digest
    tell(store, {"fact": "damaged", "digest": digest, "manifest": state_of(store).holders[digest][-1]})
    store.put(store.get("bytes:v1"), "bytes-again")
    old, new = state_of(store).holders[digest]
    (home / "store" / manifest_key(new)).unlink()
    done = repaired(home / "store")
    assert [(one.key, one.source) for one in done.restored] == [(manifest_key(new), manifest_key(old))]
    current = state_of(opened(home / "store")).holders[digest][-1]
    assert current not in {old, new}
    clean_up(opened(home / "store"))
    is_whole_in(home / "store", made, set())


def test_a_source_that_is_ahead_and_was_repacked_helps_by_its_chunks(home: Path, made: Path):
    shutil.copytree(made / "store", home / "ahead")
    ahead = opened(home / "ahead")
    for digest in list(state_of(ahead).holders):
        tell(ahead, *({"fact": "damaged", "digest": digest, "manifest": one} for one in state_of(ahead).holders[digest]))
    for ref, value in content(opened(made / "store")).items():
        name = ref.partition(":")[0]
        if name not in {"folder", "model"}:
            ahead.put(value, f"again/{name}")
    ahead.put(made / "files/folder", "again/folder")
    for pack in made.glob("store/packs/*/*"):
        (home / "ahead" / pack.relative_to(made / "store")).unlink()
    shutil.rmtree(home / "store/packs")
    done = repaired(home / "store", home / "ahead")
    assert {one.ref.partition(":")[0] for one in done.lost} <= {"model"}
    assert opened(home / "store").get("bytes:v2") == opened(made / "store").get("bytes:v2")


@pytest.mark.parametrize("damage", ["flipped packs", "nothing but the journal", "two entries apart"])
@pytest.mark.parametrize("with_copy", ["a copy", "no source"])
@pytest.mark.slow
def test_a_repair_that_is_killed_anywhere_is_run_again(home: Path, made: Path, damage: str, with_copy: str):
    {**CONTENT, **HISTORY}[damage](home / "store")
    source = str(made / "copy") if with_copy == "a copy" else ""
    for at, after in itertools.product(range(1, 40), (False, True)):
        root = home / f"at{at}{after}"
        shutil.copytree(home / "store", root)
        killed = sync_killed(str(root), source, at, after=after, repair=True)
        done = repaired(root, source or None)
        if source:
            assert not done.lost
            assert content(opened(root)) == content(opened(made / "store"))
        elif damage != "two entries apart":
            assert done.lost
        shutil.rmtree(root)
        if not killed:
            return
    raise AssertionError("it comes to no end")


def test_the_json_of_the_command_has_all(home: Path, made: Path, capsys: Any):
    CONTENT["missing packs"](home / "store")
    assert main(["repair", "--store", str(home / "store"), "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert {one["ref"] for one in found["lost"]} >= {"bytes:v1", "bytes:v2"}
    assert found["report"]["findings"]
    assert main(["repair", "--store", str(home / "store"), "--json", "--source", str(made / "copy")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lost"] == []
    assert all(one["key"].startswith("packs/") and one["source"] == str(made / "copy") for one in found["restored"])


def test_a_store_json_that_no_source_explains_is_an_error(home: Path):
    (home / "store/store.json").write_bytes(b"?")
    with pytest.raises(FormatError):
        opened(home / "store")
    assert main(["repair", "--store", str(home / "store")]) == 5


def test_a_missing_pack_is_created_only_with_verified_bytes(home: Path, made: Path):
    shutil.copytree(made / "copy", home / "copy")
    every(home / "copy", "packs/*/*", flip)
    shutil.rmtree(home / "store/packs")
    done = repaired(home / "store", [home / "copy", made / "copy"])
    assert {one.source for one in done.restored if one.key.startswith("packs/")} == {str(made / "copy")}
    is_whole(home, made)


def test_a_pack_that_only_looks_right_is_not_created(home: Path, made: Path):
    """Self-consistent bytes of another pack under the missing one's key."""
    shutil.copytree(made / "copy", home / "copy")
    state = state_of(opened(home / "store"))
    digest = opened(home / "store").artifact("folder:v1").digest
    mine = Path(pack_key(state.manifests[str(state.current_manifest(digest))][2][0]))
    other = next(one for path in (made / "copy").glob("packs/*/*") if (one := path.relative_to(made / "copy")) != mine)
    packs = [other, mine]
    shutil.copy(made / "copy" / packs[0], home / "copy" / packs[1])
    (home / "store" / packs[1]).unlink()
    done = repaired(home / "store", home / "copy")
    assert not (home / "store" / packs[1]).exists()
    assert done.lost
    assert pack_key(packs[1].stem) in {one.key for one in done.lost}
