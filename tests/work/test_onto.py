"""`put(…, onto=…)`: the next version is made out of an existing one, of which no byte is read; what two writers add both lands."""

import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.content.write import layer
from artifactstore.errors import CondemnedBeforeCommitError, ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.encoding import new_id
from artifactstore.store import Store
from artifactstore.work.put import onto as onto_module
from tests.work.tree import tree

LARGE = random.Random(7).randbytes(700_000)  # several chunks
Tree = dict[str, object]


def make(root: Path, files: Tree) -> Path:
    """Write a folder: path → bytes, the target of a link, or None for an empty folder."""
    root.mkdir(parents=True, exist_ok=True)
    for path, what in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if what is None:
            target.mkdir()
        elif isinstance(what, str):
            target.symlink_to(what)
        else:
            assert isinstance(what, bytes)
            target.write_bytes(what)
    return root


def laid(lower: Tree, upper: Tree, at: str) -> Tree:
    """What a put of `upper` onto `lower` must have."""
    prefix = f"{at}/" if at else ""
    made = {**lower, **{prefix + path: what for path, what in upper.items()}}
    if at and not upper:
        made[at] = None
    return {path: what for path, what in made.items() if what is not None or not any(one.startswith(f"{path}/") for one in made)}


LOWER: dict[str, Tree] = {
    "a file": {"a.txt": b"lower"},
    "a tree": {"a.txt": b"lower", "deep/er/b.bin": LARGE, "deep/link": "er/b.bin", "z": b"", "hollow": None},
    "an empty folder": {},
    "large": {"deep/er/b.bin": LARGE, "x/y": LARGE[::-1]},
}
UPPER: dict[str, Tree] = {
    "a new file": {"n.txt": b"new"},
    "a replaced file": {"a.txt": b"other"},
    "a tree": {
        "a.txt": b"other",
        "deep/new.bin": LARGE[:300_000] + b"!" + LARGE[300_000:],
        "hollow/inside": b"i",
        "link": "a.txt",
    },
    "an empty folder": {},
    "hollow folders": {"hollow": None, "other/inside": None},
}


def _in_memory() -> Store:
    return artifactstore.open(f"memory://onto-{new_id()}")


@pytest.mark.parametrize("at", ["", "deep/er", "new/folder"])
@pytest.mark.parametrize("upper", UPPER)
@pytest.mark.parametrize("lower", LOWER)
def test_the_version_is_the_one_that_a_put_of_all_files_makes(tmp_path: Path, lower: str, upper: str, at: str) -> None:
    store = _in_memory()
    store.put(make(tmp_path / "lower", LOWER[lower]), "x")
    made = store.put(make(tmp_path / "upper", UPPER[upper]), "x", onto="x", at=at)
    expected = laid(LOWER[lower], UPPER[upper], at)
    assert made.version == (1 if expected == LOWER[lower] else 2)
    whole = _in_memory().put(make(tmp_path / "all", expected), "x")
    assert (made.digest, made.size, made.count) == (whole.digest, whole.size, whole.count)
    assert tree(store.get("x", tmp_path / "back")) == expected
    assert store.verify(level="full").ok


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["deep/"], {"a.txt", "z", "hollow"}),
        (["*.bin"], {"a.txt", "deep/link", "z", "hollow"}),
        (["/a.txt", "hollow/"], {"deep/er/b.bin", "deep/link", "z"}),
        (["*", "!a.txt"], {"a.txt"}),
        (["*"], set()),
    ],
)
def test_files_are_left_out_by_patterns(tmp_path: Path, patterns: list[str], left: set[str]) -> None:
    store = _in_memory()
    store.put(make(tmp_path / "lower", LOWER["a tree"]), "x")
    made = store.put(None, "x", onto="x", without=patterns)
    assert {one.path for one in made.files} == left
    assert {one.path for one in store.artifact("x:v1").files} > left


def test_one_file_goes_under_its_own_name_and_the_kind_stays(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    store.put(make(tmp_path / "lower", LOWER["a tree"]), "x", kind="raw")
    file = tmp_path / "one.txt"
    file.write_bytes(b"one")
    assert [one.path for one in store.put(file, "x", onto="x", at="in/").files if "one" in one.path] == ["in/one.txt"]
    assert store.artifact("x").kind == "raw"
    assert store.put(file, "y", onto="x:v1", kind="model").kind == "model"
    assert store.put(file, "y", onto=store.artifact("x:v2"), at="p").count == 5


def test_executable_files_stay_executable(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    code = make(tmp_path / "code", {"run.sh": b"#!/bin/sh\n", "a.py": b""})
    (code / "run.sh").chmod(0o755)
    store.put(code, "code", kind="code")
    file = tmp_path / "b.py"
    file.write_bytes(b"b")
    assert {one.path for one in store.put(file, "code", onto="code").files if one.executable} == {"run.sh"}


# -- nothing is read


def _watched(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the keys that are read from now on."""
    keys: list[str] = []
    backend = type(store._session.backend)
    for call in ("read", "read_range", "read_ranges", "open_read"):
        if (real := getattr(backend, call, None)) is not None:

            def watched(self: Any, key: str, *more: Any, real: Any = real, **given: Any) -> Any:
                keys.append(key)
                return real(self, key, *more, **given)

            monkeypatch.setattr(backend, call, watched)
    return keys


@pytest.mark.parametrize("whose", ["this process's", "another writer's"])
@pytest.mark.parametrize("kind", ["data", "model"])
def test_no_byte_of_the_files_that_stay_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str, kind: str) -> None:
    first = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    first.put(make(tmp_path / "lower", LOWER["large"]), "x", kind=kind)
    store = first if whose == "this process's" else artifactstore.open(tmp_path / "store", cache=tmp_path / "new cache")
    keys = _watched(store, monkeypatch)
    made = store.put(make(tmp_path / "upper", UPPER["a new file"]), "x", onto="x")
    assert not [key for key in keys if key.startswith("packs/") and kind == "data"]
    if kind == "model":
        lines = (made.sha256 or "").splitlines()
        assert lines == [
            f"{hashlib.sha256(data).hexdigest()}  {path}"
            for path, data in sorted({**LOWER["large"], "n.txt": b"new"}.items())
            if isinstance(data, bytes)
        ]
    assert made.uploaded < 20_000
    assert artifactstore.open(tmp_path / "store", cache=None).verify(level="full").ok


def test_a_model_made_out_of_data_gets_the_sha256_of_every_file(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    store.put(make(tmp_path / "lower", LOWER["large"]), "x")
    made = store.put(None, "x", onto="x", without=["x/"], kind="model")
    assert made.sha256 == f"{hashlib.sha256(LARGE).hexdigest()}  deep/er/b.bin\n"


# -- several writers


def test_what_sixteen_writers_add_at_the_same_time_all_lands(tmp_path: Path) -> None:
    url = tmp_path / "store"

    def add(n: int) -> None:
        artifactstore.open(url).put(make(tmp_path / f"upper {n}", {f"{n}.txt": str(n).encode()}), "x", onto="x", at="all")

    threads = [threading.Thread(target=add, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = artifactstore.open(url)
    assert [store.artifact(f"x:v{k}").count for k in range(1, 17)] == list(range(1, 17))
    assert tree(store.get("x", tmp_path / "back")) == {f"all/{n}.txt": str(n).encode() for n in range(16)}
    manifests = sum(path.is_file() for path in (url / "manifests").rglob("*"))
    assert manifests <= 20, "they took turns: each made one manifest"
    assert store.verify(level="full").ok


PROCESS = """
import sys, artifactstore
store = artifactstore.open(sys.argv[1])
for n in range(3):
    open(f"{sys.argv[2]}-{n}.txt", "w").write(sys.argv[2])
    store.put(f"{sys.argv[2]}-{n}.txt", "x", onto="x")
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "s3"])
def test_what_processes_add_at_the_same_time_all_lands(request: pytest.FixtureRequest, tmp_path: Path, place: str) -> None:
    url = str(tmp_path / "store") if place == "folder" else str(request.getfixturevalue("s3_url"))
    command = [sys.executable, "-c", PROCESS, url]
    several = [subprocess.Popen([*command, f"w{n}"], cwd=tmp_path) for n in range(5)]
    assert [one.wait(120) for one in several] == [0] * 5
    assert {one.path for one in artifactstore.open(url).artifact("x").files} == {
        f"w{n}-{k}.txt" for n in range(5) for k in range(3)
    }


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Do something once, after the next put has read what it is made out of and before it is committed."""
    real = layer.lay_over
    waiting: list[Callable[[], object]] = []

    def then(*given: Any, **more: Any) -> Any:
        made = real(*given, **more)
        if waiting:
            waiting.pop()()
        return made

    monkeypatch.setattr(onto_module, "lay_over", then)
    monkeypatch.setattr(onto_module, "_PATIENCE", 0)  # as writers of another machine
    yield waiting.append
    assert not waiting


@pytest.mark.parametrize("first", [True, False], ids=["new", "known"])
@pytest.mark.parametrize("batch", [True, False], ids=["batch", "alone"])
def test_a_put_that_is_overtaken_is_made_out_of_the_newer_version(
    tmp_path: Path, between: Callable[[Callable[[], object]], None], *, first: bool, batch: bool
) -> None:
    store, other = artifactstore.open(tmp_path / "store"), artifactstore.open(tmp_path / "store")
    if not first:
        store.put(make(tmp_path / "lower", {"lower": LARGE}), "x")
    a, b, c = (make(tmp_path / name, {name: name.encode()}) for name in "abc")
    between(lambda: other.put(b, "x", onto="x"))
    if batch:
        with store.batch():
            store.put(a, "x", onto="x")
            store.put(c, "x", onto="x")
            store.put(c, "y", onto="x", at="copy")
    else:
        store.put(a, "x", onto="x")
    expected = {"a", "b", *({"c"} if batch else ()), *(() if first else {"lower"})}
    assert {one.path for one in store.artifact("x").files} == expected
    if batch:
        assert {one.path for one in store.artifact("y").files} == expected | {"copy/c"}
    assert store.verify(level="full").ok


def test_what_was_uploaded_before_it_was_overtaken_is_not_uploaded_again(
    tmp_path: Path, between: Callable[[Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = (artifactstore.open(tmp_path / "store", cache=None) for _ in range(2))
    store.put(make(tmp_path / "lower", {"lower": b"l"}), "x")
    between(lambda: other.put(make(tmp_path / "b", {"b": b"b"}), "x", onto="x"))
    packs: list[str] = []
    backend = type(store._session.backend)
    real = backend.write

    def write(self: Any, key: str, data: Any) -> Any:
        packs.extend([key] if key.startswith("packs/") else [])
        return real(self, key, data)

    monkeypatch.setattr(backend, "write", write)
    store.put(make(tmp_path / "a", {"large": LARGE}), "x", onto="x")
    assert len(packs) == 1
    assert store.artifact("x").count == 3


def test_what_clean_up_took_before_the_commit_is_stored_again(
    tmp_path: Path, between: Callable[[Callable[[], object]], None]
) -> None:
    from datetime import timedelta

    store, other = (artifactstore.open(tmp_path / "store", cache=None) for _ in range(2))
    store.put(make(tmp_path / "lower", {"lower": b"l"}), "x")
    between(lambda: other.maintenance.gc(grace=timedelta(0)))
    made = store.put(make(tmp_path / "a", {"large": LARGE}), "x", onto="x")
    assert made.count == 2
    assert store.verify(level="full").ok


def test_what_it_is_made_out_of_is_removed_meanwhile(tmp_path: Path, between: Callable[[Callable[[], object]], None]) -> None:
    from datetime import timedelta

    store, other = (artifactstore.open(tmp_path / "store", cache=None) for _ in range(2))
    store.put(make(tmp_path / "lower", {"lower": LARGE}), "x")

    def take() -> None:
        other.registry.remove("x:v1", reason="wrong")
        other.maintenance.gc(grace=timedelta(0))

    between(take)
    with pytest.raises(NotFoundError, match="removed"):
        store.put(make(tmp_path / "a", {"a": b"a"}), "y", onto="x")
    assert [one.name for one in store.names()] == ["x"]


def test_a_version_that_is_named_by_number_is_what_it_is_made_out_of(
    tmp_path: Path, between: Callable[[Callable[[], object]], None]
) -> None:
    store, other = artifactstore.open(tmp_path / "store"), artifactstore.open(tmp_path / "store")
    store.put(make(tmp_path / "lower", {"lower": b"l"}), "x")
    between(lambda: other.put(make(tmp_path / "b", {"b": b"b"}), "x", onto="x"))
    made = store.put(make(tmp_path / "a", {"a": b"a"}), "x", onto="x:v1")
    assert (made.version, {one.path for one in made.files}) == (3, {"a", "lower"})


# -- streams


class Trickle:
    """A stream that gives at most so many bytes at a time, and may fail."""

    def __init__(self, data: bytes, step: int, fails_at: int | None = None) -> None:
        self._data, self._step, self._fails_at, self._at = data, step, fails_at, 0

    def read(self, size: int) -> bytes:
        if self._fails_at is not None and self._at >= self._fails_at:
            raise ConnectionResetError("the other side has gone")
        data = self._data[self._at : self._at + min(size, self._step)]
        self._at += len(data)
        return data


WHOLE = 8 * 2**20
LONG = random.Random(8).randbytes(WHOLE + 3_000_000)
LINES = b"".join(b"%d,%d\n" % (k, k * k % 997) for k in range(900_000))


@pytest.mark.parametrize(
    "data", [b"", b"short", LONG[: WHOLE - 1], LONG[:WHOLE], LONG[: WHOLE + 1], LONG, LINES], ids=lambda data: str(len(data))
)
@pytest.mark.parametrize("kind", ["data", "model"])
def test_a_stream_has_the_chunks_and_digests_of_a_file(tmp_path: Path, data: bytes, kind: str) -> None:
    store = _in_memory()
    made = store.put(Trickle(data, 999_999), "x", onto="x", at="in/file.bin", kind=kind)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file.bin").write_bytes(data)
    whole = store.put(tmp_path, "y", kind=kind)
    assert (made.digest, made.sha256) == (whole.digest, whole.sha256)
    assert whole.uploaded < 20_000
    assert store.open_file("x:latest/in/file.bin").read() == data
    assert {one.path for one in store.put(Trickle(b"more", 1), "x", onto="x", at="more").files} == {"in/file.bin", "more"}
    assert store.verify(level="full").ok


def test_nothing_of_a_stream_is_written_to_a_disk_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    seen: set[str] = set()

    class Looking(Trickle):
        def read(self, size: int) -> bytes:
            seen.update(one.name for one in temporary.iterdir())
            return super().read(size)

    _in_memory().put(Looking(LONG, 2**20), "x", onto="x", at="file")
    assert not seen


@pytest.mark.parametrize("fails_at", [0, 100, WHOLE, WHOLE + 2_000_000])
def test_a_stream_that_breaks_off_leaves_nothing(fails_at: int) -> None:
    store = _in_memory()
    store.put(b"first", "before")
    head = store.head
    with pytest.raises(ConnectionResetError, match="has gone"):
        store.put(Trickle(LONG, 100_000, fails_at), "x", onto="x", at="file")
    assert store.head == head
    assert store.put(Trickle(LONG, 100_000), "x", onto="x", at="file").version == 1


def test_a_stream_is_not_read_again_where_another_writer_was_first(
    tmp_path: Path, between: Callable[[Callable[[], object]], None]
) -> None:
    store, other = (artifactstore.open(tmp_path / "store", cache=None) for _ in range(2))
    between(lambda: other.put(make(tmp_path / "b", {"b": b"b"}), "x", onto="x"))
    assert store.put(Trickle(LONG, 10**6), "x", onto="x", at="file").count == 2
    assert store.verify(level="full").ok


def test_a_stream_whose_content_clean_up_took_is_one_clear_error(
    tmp_path: Path, between: Callable[[Callable[[], object]], None]
) -> None:
    from datetime import timedelta

    store, other = (artifactstore.open(tmp_path / "store", cache=None) for _ in range(2))
    store.put(b"first", "before")
    between(lambda: other.maintenance.gc(grace=timedelta(0)))
    with pytest.raises(CondemnedBeforeCommitError, match="send it again"):
        store.put(Trickle(LONG, 10**6), "x", onto="x", at="file")
    assert not store.exists("x")


# -- runs, batches


def test_in_a_run_it_is_an_input_and_the_new_version_an_output(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    lower = store.put(make(tmp_path / "lower", {"lower": b"l"}), "x")
    with store.run("extend", code=False) as run:
        first = store.put(make(tmp_path / "a", {"a": b"a"}), "x", onto="x")
        second = store.put(make(tmp_path / "b", {"b": b"b"}), "x", onto="x")
    for made in (first, second):
        found = store.artifact(made.ref)
        assert found.run == run.id
        assert [(one.ref, one.role) for one in found.inputs if one.role != "environment"] == [(lower.ref, "onto")]


def test_in_a_batch_each_builds_on_the_one_before(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    with store.batch():
        for name in "abc":
            store.put(make(tmp_path / name, {name: LARGE[: 1000 * ord(name)]}), "x", onto="x")
        store.put(make(tmp_path / "d", {"d": b"d"}), "y", onto="x")
    assert [store.artifact(f"x:v{k}").count for k in (1, 2, 3)] == [1, 2, 3]
    assert store.artifact("y").count == 4
    assert store.verify(level="full").ok


# -- what is refused


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"onto": "nowhere"}, NotFoundError, "nowhere"),
        ({"onto": "x:v9"}, NotFoundError, "newest version is v1"),
        ({"onto": "x:best"}, NotFoundError, "alias"),
        ({"onto": "x:latest/a.txt"}, InvalidInputError, "at="),
        ({"onto": 5}, InvalidInputError, "reference"),
        ({"onto": "object"}, InvalidInputError, "format 'json'"),
        ({"at": "deep"}, InvalidInputError, "onto="),
        ({"without": ["a"]}, InvalidInputError, "onto="),
        ({"onto": "x", "at": "../up"}, InvalidInputError, r"'\.\.'"),
        ({"onto": "x", "at": "/top"}, InvalidInputError, "path"),
        ({"onto": "x", "at": 5}, InvalidInputError, "at=5"),
        ({"onto": "x", "at": "a.txt"}, InvalidInputError, "inside it"),
        ({"onto": "x", "without": "deep"}, InvalidInputError, "must be a list"),
        ({"onto": "x", "without": [5]}, InvalidInputError, "list of str"),
        ({"onto": "x", "format": "text"}, InvalidInputError, "object"),
        ({"onto": "x", "source": io.BytesIO(b"x")}, InvalidInputError, "no file name"),
        ({"onto": "x", "source": io.BytesIO(b"x"), "at": "in/"}, InvalidInputError, "no file name"),
        ({"onto": "x", "source": io.StringIO("x"), "at": "in/x"}, InvalidInputError, "mode 'rb'"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_error(tmp_path: Path, options: dict[str, Any], error: Any, word: str) -> None:
    store = _in_memory()
    store.put(make(tmp_path / "lower", LOWER["a tree"]), "x")
    store.put({"a": 1}, "object")
    before = store.head
    source = options.pop("source", None) or make(tmp_path / "upper", UPPER["a new file"])
    with pytest.raises(error, match=word):
        store.put(source, "x", **options)
    assert store.head == before


def test_a_put_without_source_or_name_or_a_writable_store_is_refused(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    store.put(make(tmp_path / "lower", LOWER["a tree"]), "x")
    with pytest.raises(InvalidInputError, match="without="):
        store.put(None, "x", onto="x")
    with pytest.raises(InvalidInputError, match="pass the name"):
        store.put(tmp_path / "lower", onto="x")
    with pytest.raises(InvalidInputError, match="object"):
        store.put(b"bytes", "x", onto="x")
    with pytest.raises(RefusedError):
        artifactstore.open(tmp_path / "store", "r").put(tmp_path / "lower", "x", onto="x")
    with pytest.warns(UserWarning, match=r"without=\['nothing'\] matched nothing"):
        store.put(tmp_path / "lower", "x", onto="x", without=["nothing"])


def test_others_that_are_first_again_and_again_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from artifactstore.work.session import commit as commit_module

    monkeypatch.setattr(commit_module, "_OVERTAKEN", 3)
    store, other = artifactstore.open(tmp_path / "store"), artifactstore.open(tmp_path / "store")
    real, count = layer.lay_over, 0

    def overtaken(*given: Any, **more: Any) -> Any:
        nonlocal count
        made = real(*given, **more)
        count += 1
        other.put(make(tmp_path / f"other {count}", {f"{count}": os.urandom(8)}), "x")
        return made

    monkeypatch.setattr(onto_module, "lay_over", overtaken)
    with pytest.raises(ConflictError, match="3 times"):
        store.put(make(tmp_path / "a", {"a": b"a"}), "x", onto="x")
    assert count == 3


def test_a_store_needs_the_newer_format_from_the_first_such_version_on(tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store")
    store.put(make(tmp_path / "lower", {"a": b"a"}), "x")
    store.put(make(tmp_path / "b", {"b": b"b"}), "y", onto="x")  # expects nothing
    with store._session.state() as state:
        assert state.header["format"] == 1
    store.put(make(tmp_path / "c", {"c": b"c"}), "x", onto="x")
    with store._session.state() as state:
        assert state.header["format"] == 3
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "store", copy)
    assert artifactstore.open(copy).artifact("x").count == 2
