"""A folder of this machine against a version: which one it came from, and what changed; nothing is stored."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import artifactstore
from artifactstore import ConflictError, InvalidInputError, NotFoundError, Store
from artifactstore.content.write.hash_files import hash_files
from artifactstore.content.write.scan import scan
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.model.digest import hash_bytes
from artifactstore.work.session.origins import Origin, Origins

FILES = {"a.csv": "1\n2\n", "sub/b.txt": "b", "sub/c.json": '{"x": 1}'}


@pytest.fixture(params=["blake3", "sha256"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    made = artifactstore.create(tmp_path / "store", digest=request.param)
    folder(Path("data"))
    made.put("data", "raw")
    return made


def folder(top: Path) -> None:
    for path, text in FILES.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    (top / "empty").mkdir()
    (top / "link").symlink_to("a.csv")


def seen(found: artifactstore.Status) -> list[tuple[str, str]]:
    return [(one.change, one.path) for folder in found for one in folder.diff]


# What a user may do to a folder → what is seen then.
EDITS: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "nothing": (lambda _: None, []),
    "touched": (lambda top: os.utime(top / "a.csv", (1, 1)), []),
    "changed, same size": (lambda top: (top / "a.csv").write_text("1\n3\n"), [("changed", "a.csv")]),
    "changed": (lambda top: (top / "sub/b.txt").write_text("longer"), [("changed", "sub/b.txt")]),
    "added": (lambda top: (top / "new").write_text("x"), [("added", "new")]),
    "removed": (lambda top: (top / "a.csv").unlink(), [("removed", "a.csv")]),
    "renamed": (lambda top: (top / "a.csv").rename(top / "z.csv"), [("moved", "z.csv")]),
    "link": (lambda top: os.system(f"ln -sfn sub {top}/link"), [("changed", "link")]),
    "link to file": (lambda top: os.system(f"rm {top}/link; cp {top}/a.csv {top}/link"), [("changed", "link")]),
    "empty folder gone": (lambda top: (top / "empty").rmdir(), [("removed", "empty")]),
    "empty folder new": (lambda top: (top / "void").mkdir(), [("added", "void")]),
    "file in it": (lambda top: (top / "empty/f").write_text(""), [("removed", "empty"), ("added", "empty/f")]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_each_kind_of_change_is_seen_however_the_version_is_known(store: Store, edit: str, tmp_path: Path):
    change, expected = EDITS[edit]
    head = store.head
    store.get("raw", to="got")
    shutil.copytree("data", "copy", symlinks=True)
    for name in ("data", "got", "copy"):
        change(Path(name))
    reader = artifactstore.open(store.url, "r")
    for name, how in (("data", "put"), ("got", "get")):
        (one,) = found = reader.status(name)
        assert (one.ref, one.how, bool(found)) == ("raw:v1", how, bool(expected))
        assert sorted(seen(found)) == sorted(expected)
    assert sorted((one.change, one.path) for one in reader.diff("raw:v1", Path("copy"))) == sorted(expected)
    assert bool(reader.diff(Path("copy"), "raw:v1")) == bool(expected)
    assert sorted(seen(reader.status("copy", against="raw:v1"))) == sorted(expected)
    if edit in {"link", "empty folder gone", "empty folder new"} or not expected:  # the files are those of the version
        assert [(one.ref, one.how) for one in reader.status("copy")] == [("raw:v1", "content")]
        assert sorted(seen(reader.status("copy"))) == sorted(expected)
    else:
        with pytest.raises(NotFoundError, match=r"no version in .* has the content of copy.*against='NAME:v1'"):
            reader.status("copy")
    assert reader.head == head


def test_a_part_that_was_got_is_compared_with_that_part(store: Store):
    store.get("raw:v1/sub", to="part")
    store.get("raw:v1/a.csv", to="one")
    store.get("raw", to="some", paths=["*.csv", "empty"])
    for path, ref in (("part/sub", "raw:v1/sub"), ("one/a.csv", "raw:v1/a.csv"), ("some", "raw:v1"), ("some/a.csv", "raw:v1/a.csv"),
                      ("data/sub", "raw:v1/sub"), ("data/sub/b.txt", "raw:v1/sub/b.txt")):  # fmt: skip
        found = store.status(path)
        assert ([one.ref for one in found], seen(found), bool(found)) == ([ref], [], False), path
    assert [one.path for one in store.status(".")] == ["data", "one/a.csv", "part/sub", "some"]
    Path("part/sub/b.txt").write_text("B")
    Path("some/a.csv").unlink()
    assert [one.path for one in store.status(".") if one.diff] == ["part/sub", "some"]
    assert seen(store.status("some")) == [("removed", "a.csv")]


@pytest.mark.parametrize("value", [b"bytes", {"a": [1, 2]}, "text"])
def test_a_single_file_and_an_object_are_known_too(store: Store, value: object):
    if isinstance(value, str):
        Path("one.txt").write_text(value)
        store.put("one.txt", "one")
        assert [(one.ref, one.how) for one in store.status("one.txt")] == [("one:v1", "put")]
    else:
        store.put(value, "one")
    store.get("one", to="target")
    (one,) = store.status("target")
    assert (one.ref.partition("/")[0], one.how, len(one.diff)) == ("one:v1", "get", 0)
    file = next(Path("target").iterdir())
    file.write_bytes(b"other")
    assert seen(store.status("target")) == [("changed", file.name)]
    shutil.copy(file, "elsewhere.bin")
    assert [one.change for one in store.diff("one", Path("elsewhere.bin"))] == ["changed"]


def test_one_file_is_compared_with_the_file_of_its_name(store: Store):
    Path("a.csv").write_text("1\n9\n")
    found = store.diff("raw", Path("a.csv"))
    assert [(one.change, one.path) for one in found] == [("changed", "a.csv")]
    assert "-2\n+9" in found.patches["a.csv"]
    Path("q.csv").write_text("1\n2\n")
    assert not store.diff("raw:v1/a.csv", Path("q.csv"))
    with pytest.raises(InvalidInputError, match=r"q\.csv is one file, and raw has 5 and no 'q\.csv': pass raw/PATH"):
        store.diff("raw", Path("q.csv"))


def test_differences_inside_of_files_are_found_on_this_machine(store: Store, tmp_path: Path):
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    top = Path("kinds")
    top.mkdir()
    pd.DataFrame({"x": [1, 2]}).to_parquet(top / "t.parquet")
    np.save(top / "m.npy", np.zeros(3))
    (top / "j.json").write_text('{"x": 1}')
    store.put("kinds", "kinds")
    pd.DataFrame({"x": [1, 2, 3]}).to_parquet(top / "t.parquet")
    np.save(top / "m.npy", np.ones(3))
    (top / "j.json").write_text('{"x": 2}')
    for found, sign in ((store.diff("kinds", top), 1), (store.diff(top, "kinds"), -1)):
        table = found.tables["t.parquet"]
        assert table.new_rows - table.old_rows == sign
        assert found.tensors["m.npy"][0].largest == 1
        assert [one.new - one.old for one in found.json["j.json"]] == [sign]
        assert "x: 1 -> 2" in found.inside() or sign < 0


def test_what_a_put_left_out_is_no_addition(store: Store):
    Path("data/x.tmp").write_text("")
    store.put("data", "lean", exclude=["*.tmp"])
    assert not store.status("data")
    assert seen(store.status("data", exclude=["*.json"])) == [("added", "x.tmp"), ("removed", "sub/c.json")]
    Path("outside").write_text("o")
    Path("data/out").symlink_to("../outside")
    with pytest.raises(InvalidInputError, match="links='follow'"):
        store.status("data")
    store.put("data", "followed", links="follow")
    assert not store.status("data")


def test_a_newer_version_and_a_version_of_another_folder_are_named(store: Store):
    store.get("raw", to="old")
    Path("data/a.csv").write_text("new")
    assert store.put("data", "raw").ref.startswith("raw:v2")
    (one,) = store.status("old")
    assert (one.ref, one.newest, str(store.status("old")).splitlines()[-1]) == ("raw:v1", "raw:v2", "  raw:v2 is newer")
    assert [one.newest for one in store.status("data")] == [None]


def test_the_store_that_a_folder_came_from_is_named(store: Store, tmp_path: Path):
    other = artifactstore.open(tmp_path / "other")
    other.put(b"x", "x")
    with pytest.raises(NotFoundError, match=rf"it was put with the store at {tmp_path}/store"):
        other.status("data")
    folder(Path("two"))
    other.put("two", "two")
    store.put("two", "second")
    assert [(one.ref, one.how) for one in other.status("two")] == [("two:v1", "put")]
    assert [(one.ref, one.how) for one in store.status("two")] == [("second:v1", "put")]


def test_without_a_cache_content_alone_decides(store: Store):
    blind = artifactstore.open(store.url, "r", cache=None)
    assert [(one.ref, one.how) for one in blind.status("data")] == [("raw:v1", "content")]
    Path("data/a.csv").write_text("x")
    with pytest.raises(NotFoundError):
        blind.status("data")
    assert seen(blind.status("data", against="raw")) == [("changed", "a.csv")]


def test_executable_bits_do_not_hide_the_version_of_code(store: Store):
    Path("code").mkdir()
    Path("code/run.sh").write_text("#!")
    Path("code/run.sh").chmod(0o755)
    store.put("code", "code", kind="code")
    shutil.copytree("code", "copied")
    assert [(one.ref, one.how) for one in artifactstore.open(store.url, cache=None).status("copied")] == [("code:v1", "content")]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("none", "no such path: 'none'"),
        ("", "is not a valid path"),
        ("store", "is the store itself"),
        ("pipe", "is a named pipe"),
    ],
)
def test_what_cannot_be_compared_is_refused(store: Store, path: str, text: str):
    os.mkfifo("pipe")
    with pytest.raises(InvalidInputError, match=text):
        store.status(path)
    with pytest.raises(InvalidInputError, match=r"exclude= is for a folder of this machine"):
        store.diff("raw", "raw:v1", exclude=["x"])
    with pytest.raises(InvalidInputError, match="no such path"):
        store.diff("raw", Path("none"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(store: Store):
    Path("data/sub").chmod(0)
    try:
        with pytest.raises(InvalidInputError, match=r"data/sub cannot be read: Permission denied"):
            store.status("data")
    finally:
        Path("data/sub").chmod(0o755)


def test_a_removed_record_or_a_damaged_one_is_passed_over(store: Store, isolated: Path):
    record = next(isolated.rglob("origins"))
    record.write_bytes(b"{}\n[1]\nnonsense\n" + record.read_bytes() + b'{"folder": 1')
    assert [one.how for one in store.status("data")] == ["put"]
    store.get("raw", to="got")
    assert [one.how for one in store.status("got")] in (["get"], ["content"])  # the line before has no end
    record.write_bytes(b"\xff" * 99)
    assert [one.how for one in store.status("data")] == ["content"]


def test_the_record_stays_small_and_keeps_the_newest(tmp_path: Path):
    origins = Origins(tmp_path)
    for number in range(6000):
        origins.add(Origin(f"/folder/{number % 5000}", "s" * 32, "/url" * 20, "name", f"blake3:{number:064}", "put"))
    assert (tmp_path / "origins").stat().st_size < 1.1 * 2**20
    found = origins.of("/folder/999/below/it", "s" * 32)
    assert found is not None
    assert (found[0].digest[-4:], found[1]) == ("5999", "below/it")
    assert origins.of("/elsewhere", "s" * 32) is None


def test_files_of_every_size_are_hashed_once(tmp_path: Path):
    top = tmp_path / "many"
    top.mkdir()
    sizes = [0, 1, 2**20, 2**20 + 1, 9 * 2**20, *[7] * 300]
    for number, size in enumerate(sizes):
        (top / f"{number:04}").write_bytes(bytes([number % 251]) * size)
    with (top / "sparse").open("wb") as file:
        file.truncate(20 * 2**20)
    listed = scan(str(top), keep=lambda _path, _folder: True)
    done: list[int] = []
    found = hash_files(str(top), listed.files, "blake3", StatCache(tmp_path, "blake3"), progress=done.append)
    assert found == [hash_bytes((top / path).read_bytes(), "blake3") for path in listed.paths]
    assert sum(done) == sum(sizes) + 20 * 2**20
    assert hash_files(str(top), listed.files, "blake3", StatCache(tmp_path, "blake3")) == found
    (top / "0001").write_bytes(b"xx")
    with pytest.raises(ConflictError, match="0001 changed"):
        hash_files(str(top), listed.files, "blake3", StatCache(None, "blake3"))
