"""What somebody tried who wanted to break it: each once did, or could."""

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import (
    AlreadyExistsError,
    BackendError,
    ConflictError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
)
from artifactstore.content.write.ingest import ingest
from artifactstore.store import Store
from tests.work.tree import tree


def nested(depth: int) -> Any:
    value: Any = 1
    for i in range(depth):
        value = [value] if i % 2 else {"k": value}
    return value


def test_nesting_that_readers_would_refuse_is_refused_before_it_is_written(store: Store):
    store.put(b"x", "n", metadata={"d": nested(50)})
    for value in (nested(70), nested(5000)):
        with pytest.raises(InvalidInputError, match="nested deeper"):
            store.put(b"x", "n", metadata={"d": value})
        with pytest.raises(InvalidInputError, match="nested deeper"):
            store.put({"d": value}, "n")
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InvalidInputError, match=r"(holds|contains) itself"):
        store.put(cycle, "n")
    assert artifactstore.open(store.url, cache=None).artifact("n").version == 1


def test_a_store_put_back_from_a_copy_is_not_broken_by_a_writer_that_knew_more(store: Store, tmp_path: Path):
    for i in range(5):
        store.put(str(i).encode(), "n")
    shutil.copytree(store.url, tmp_path / "copy")
    for i in range(5, 10):
        store.put(str(i).encode(), "n")
    shutil.rmtree(store.url)
    shutil.copytree(tmp_path / "copy", store.url)
    with pytest.warns(UserWarning, match="entries are missing"), pytest.raises(RefusedError, match="accept"):
        store.put(b"new", "n")
    store.maintenance.accept_head()
    assert store.put(b"new", "n").version == 6
    fresh = artifactstore.open(store.url, cache=None)
    assert fresh.get("n:v6") == b"new"
    assert fresh.verify(level="full").ok


def test_a_store_put_back_between_two_tries_is_not_broken(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store.put(b"0", "n")
    shutil.copytree(store.url, tmp_path / "copy")
    for i in range(1, 5):
        store.put(str(i).encode(), "n")
    journal = store._session.core().journal
    create, tries = journal.backend.create, list[str]()

    def first_without_reply(key: str, data: bytes) -> None:
        tries.append(key)
        if len(tries) > 1:
            create(key, data)
            return
        shutil.rmtree(store.url)
        shutil.copytree(tmp_path / "copy", store.url)
        raise BackendError("no reply", transient=True)

    monkeypatch.setattr(journal.backend, "create", first_without_reply)
    with pytest.warns(UserWarning, match="entries are missing"), pytest.raises(OutcomeUnknownError, match="accept"):
        store.put(b"new", "n")
    assert len(tries) == 1
    fresh = artifactstore.open(store.url, cache=None)
    assert fresh.verify(level="full").ok
    assert fresh.artifact("n").version == 1


def test_a_store_that_was_made_anew_is_not_written_by_who_knew_the_old_one(store: Store):
    store.put(b"old", "n")
    shutil.rmtree(store.url)
    artifactstore.open(store.url).put(b"other", "n")
    with pytest.raises(ConflictError, match="another store"):
        store.put(b"more", "n")
    fresh = artifactstore.open(store.url, cache=None)
    assert fresh.verify(level="full").ok
    assert fresh.get("n") == b"other"


def test_verify_looks_at_each_place_where_the_same_bytes_lie(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_bytes(os.urandom(1_000_000))
    (tmp_path / "d/y").write_bytes(os.urandom(1_000_000))
    store.put(tmp_path / "d", "a")
    (first,) = Path(store.url).rglob("*.pack")
    monkeypatch.setattr("artifactstore.content.packs.known_chunks.is_hook", lambda _: False)  # so that x is stored once more
    store.put(tmp_path / "d/x", "b")
    (second,) = set(Path(store.url).rglob("*.pack")) - {first}
    good = second.read_bytes()
    flipped = bytearray(good)
    flipped[500_000] ^= 1
    second.write_bytes(flipped)
    assert not store.verify(level="full").ok
    assert not store.verify(level="frames").ok
    second.write_bytes(good)
    whole = first.read_bytes()
    first.write_bytes(good)  # a sound pack, but another one
    assert not store.verify(level="full").ok
    assert not store.verify(level="frames").ok
    first.write_bytes(whole)
    assert store.verify(level="full").ok
    assert store.verify(level="frames").ok


def test_a_cached_tree_that_somebody_touched_is_made_anew(store: Store, folder: Path):
    store.put(folder, "n")
    for touch in (
        lambda root: ((root / "a.txt").chmod(0o644), (root / "a.txt").write_text("edited")),
        lambda root: (root.chmod(0o755), (root / "empty").unlink()),
        lambda root: (root.chmod(0o755), (root / "more").write_text("added")),
    ):
        touch(store.get("n"))
        assert tree(store.get("n")) == tree(folder)
    without = artifactstore.open(store.url, cache=None)
    assert without.get("n") == without.get("n")
    assert (without.get("n") / "a.txt").stat().st_mode & 0o222 == 0


def test_a_name_that_reads_like_a_pattern_means_itself(store: Store, tmp_path: Path):
    root = tmp_path / "d"
    root.mkdir()
    for name in ("a[1].txt", "a1.txt", "b"):
        (root / name).write_text(name)
    store.put(root, "n")
    store.get("n", tmp_path / "one", paths=["a[1].txt"])
    assert set(tree(tmp_path / "one")) == {"a[1].txt"}
    assert "a[1].txt" not in {one.path for one in store.put(root, "m", exclude=["a[1].txt"]).files}


def test_exclude_knows_the_double_star(store: Store, folder: Path):
    (folder / "__pycache__").mkdir()
    (folder / "deep/__pycache__").mkdir()
    (folder / "deep/__pycache__/x").write_text("x")
    made = store.put(folder, "n", exclude=["**/__pycache__"])
    assert not [one.path for one in made.files if "__pycache__" in one.path]


@pytest.mark.parametrize("target", ["er/", "./er", "er//b.bin"])
def test_link_targets_come_back_to_the_letter(store: Store, folder: Path, tmp_path: Path, target: str):
    os.symlink(target, folder / "deep/odd")  # noqa: PTH211 - to the letter
    made = store.put(folder, "n")
    (tmp_path / "to").mkdir()
    for _ in range(2):
        store.get("n", tmp_path / "to")
        assert os.readlink(tmp_path / "to/deep/odd") == target  # noqa: PTH115
    assert store.put(tmp_path / "to").digest == made.digest


def test_a_reason_inside_a_batch_stays_with_its_fact(store: Store):
    with store.batch(reason="all"):
        one = store.put(b"1", "n", reason="mine")
        store.alias(one.ref, "a", reason="because")
        store.put(b"2", "m")
    assert {(e.fact, e.name): e.reason for e in store.log() if e.fact != "stored"} == {
        ("versioned", "n"): "mine",
        ("aliased", "n"): "because",
        ("versioned", "m"): "all",
    }


def test_true_is_not_one_in_metadata(store: Store):
    store.put(b"1", "n", metadata={"f": 1})
    assert store.put(b"1", "n", metadata={"f": True}).new
    assert len(store.find(metadata={"f": 1})) == 0
    assert len(store.find(metadata={"f": True})) == 1


def test_links_can_not_leave_through_other_links(store: Store, tmp_path: Path):
    root = tmp_path / "d"
    (root / "a").mkdir(parents=True)
    (root / "a/here").symlink_to(".")
    (root / "up").symlink_to("a/here/..")
    (root / "fine").symlink_to("a/here/here/../a")
    assert store.put(root, "n").new
    (root / "esc").symlink_to("up/../outside.txt")
    with pytest.raises(InvalidInputError, match="through other links"):
        store.put(root, "n")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux only")
def test_files_that_the_system_makes_up_are_not_stored_empty(store: Store):
    with pytest.raises(InvalidInputError, match="more bytes than its size"):
        store.put("/proc/cpuinfo", "n")


def test_a_file_that_becomes_a_pipe_does_not_hang_a_put(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "f"
    file.write_bytes(b"x")

    def swapping(*arguments, **options):
        file.unlink()
        os.mkfifo(file)
        return ingest(*arguments, **options)

    monkeypatch.setattr("artifactstore.work.put.put.ingest", swapping)
    done = []

    def run() -> None:
        with pytest.raises(ConflictError):
            store.put(file, "n")
        done.append(True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert done


def test_a_file_that_vanishes_is_a_conflict(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "f"
    file.write_bytes(b"x")

    def removing(*arguments, **options):
        file.unlink()
        return ingest(*arguments, **options)

    monkeypatch.setattr("artifactstore.work.put.put.ingest", removing)
    with pytest.raises(ConflictError, match="vanished"):
        store.put(file, "n")


def test_a_folder_nested_without_end_is_refused(store: Store, tmp_path: Path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        with pytest.raises(InvalidInputError, match="nested too deep"):
            store.put(tmp_path / "d", "n")
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest itself could not remove it


def test_a_folder_below_an_odd_name_can_be_put(store: Store, tmp_path: Path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff/clean"))
    odd.mkdir(parents=True)
    (odd / "f").write_text("x")
    assert store.put(odd, "n").new
    assert not store.put(odd, "n").new


def test_long_and_odd_targets(store: Store, tmp_path: Path):
    store.put(b"x", "n")
    store.get("n", tmp_path / ("x" * 250))
    for bad in ("a\0b", "\ud800", str(tmp_path / ("x" * 256)), 5, b"bytes", "~nosuchuser/x", ""):
        with pytest.raises(InvalidInputError):
            store.get("n", bad)  # type: ignore[arg-type]
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(AlreadyExistsError):
        store.get("n", tmp_path / "dangling")
    with pytest.raises(InvalidInputError, match="inside the store"):
        store.get("n", Path(store.url) / "x")


WRONG: list[tuple[str, Any]] = [
    ("put", lambda s: s.put(b"x", "n", metadata=5)),
    ("put", lambda s: s.put(b"x", "n", metadata="ab")),
    ("put", lambda s: s.put(b"x", "n", metrics=[1])),
    ("put", lambda s: s.put(b"x", "n", metrics={"a": 10**400})),
    ("put", lambda s: s.put(b"x", "n", kind="")),
    ("put", lambda s: s.put(b"x", "n", kind=0)),
    ("put", lambda s: s.put(b"x", "n", reason=5)),
    ("put", lambda s: s.put("~nosuchuser/x", "n")),
    ("put", lambda s: s.put(".", "n", links=[])),
    ("put", lambda s: s.put(".", "n", exclude=None)),
    ("put", lambda s: s.put(".", "n", exclude=[1])),
    ("put", lambda s: s.put(".", "n", modes="yes")),
    ("put", lambda s: s.put(b"x", "n", format=None)),
    ("get", lambda s: s.get("a", paths=5)),
    ("get", lambda s: s.get(None)),
    ("get", lambda s: s.get(b"a")),
    ("open_file", lambda s: s.open_file("a", 5)),
    ("names", lambda s: s.names(None)),
    ("versions", lambda s: s.versions(5)),
    ("find", lambda s: s.find(name=5)),
    ("find", lambda s: s.find(metadata=5)),
    ("find", lambda s: s.find(metadata={1: 2})),
    ("find", lambda s: s.find(metrics=5)),
    ("find", lambda s: s.find(file=5)),
    ("find", lambda s: s.find(file=b"x")),
    ("log", lambda s: s.log(txn=5)),
    ("log", lambda s: s.log(txn="0" * 32 + "-" + "9" * 5000)),
    ("log", lambda s: s.log(name=5)),
    ("verify", lambda s: s.verify(fraction="x")),
    ("verify", lambda s: s.verify(fraction=None)),
    ("verify", lambda s: s.verify(anchor=5)),
    ("verify", lambda s: s.verify(anchor="9" * 5000 + ":blake3:x")),
    ("verify", lambda s: s.verify(level=5)),
    ("alias", lambda s: s.alias("a:v1", 5)),
    ("alias", lambda s: s.alias("a:v1", "b", expect="v1")),
    ("artifact", lambda s: s.artifact("a:v1/data")),
    ("diff", lambda s: s.diff("a", 5)),
    ("at", lambda s: s.at(None)),
    ("batch", lambda s: s.batch(reason=5).__enter__()),
    ("open", lambda _: artifactstore.open(mode=[])),  # type: ignore[arg-type]
    ("open", lambda _: artifactstore.open("x", cache=5)),  # type: ignore[arg-type]
    ("open", lambda _: artifactstore.open("x", cache="\0")),
    ("open", lambda _: artifactstore.open("\ud800")),
    ("open", lambda _: artifactstore.open(5)),  # type: ignore[arg-type]
    ("open", lambda _: artifactstore.open("")),
    ("create", lambda _: artifactstore.create("x", digest=5)),  # type: ignore[arg-type]
]


@pytest.mark.slow
@pytest.mark.parametrize("call", [row[1] for row in WRONG], ids=[f"{n}-{row[0]}" for n, row in enumerate(WRONG)])
def test_wrong_arguments_are_invalid_input(store: Store, call):
    store.put(b"x", "a")
    with pytest.raises(InvalidInputError):
        call(store)


def test_a_store_without_permission_refuses_at_the_call(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.put(b"x", "a")
    monkeypatch.setattr("artifactstore.work.session.session.may_write", lambda _: False)
    with pytest.raises(RefusedError, match="this user cannot write"):
        store.put(b"y", "a")
    assert store.get("a") == b"x"


def test_a_frame_that_would_become_a_terabyte_is_refused(tmp_path: Path):
    import zstandard

    from artifactstore.content.manifests.manifest import Manifest
    from artifactstore.content.manifests.parquet import decode, encode

    raw = zstandard.ZstdCompressor().compress(b"x")
    manifest = Manifest("blake3")
    manifest.chunks.inline[0] = raw
    manifest.chunks.add(b"\0" * 32, 2**40, -1, 0, len(raw), 1)
    manifest.close_file("bomb", 2**40, b"\0" * 32, executable=False)
    content, digest = manifest.identify()
    with pytest.raises(CorruptionError, match="the size of a chunk must be"):
        decode(encode(manifest, content, digest), "m", algorithm="blake3")


@pytest.mark.slow
def test_an_answer_survives_any_terminal(store: Store, tmp_path: Path):
    command = [sys.executable, "-m", "artifactstore", "put", str(tmp_path), "n", "--exclude", "store", "--store", store.url]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1), done.stderr
    assert done.stderr.startswith(b"note: --exclude store matched nothing")
    assert done.stdout.startswith(b"n:v1")
    full = subprocess.run(
        f"{sys.executable} -m artifactstore ls --store {store.url} > /dev/full", shell=True, capture_output=True, check=False
    )
    assert full.returncode == 4
    assert b"cannot write the answer" in full.stderr
    assert b"Traceback" not in full.stderr


def test_deleting_things_meanwhile_is_an_error_of_ours(store: Store, folder: Path):
    store.put(folder, "n")
    stop = threading.Event()

    def shake() -> None:
        while not stop.is_set():
            (folder / "flicker").write_text(str(time.time()))
            (folder / "flicker").unlink(missing_ok=True)

    thread = threading.Thread(target=shake)
    thread.start()
    try:
        for _ in range(20):
            with suppress(ConflictError, InvalidInputError):
                store.put(folder, "n")
    finally:
        stop.set()
        thread.join()
    with pytest.raises(NotFoundError):
        store.get("gone")
