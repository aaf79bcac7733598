"""Several users of one machine, and users that a machine does not know: stores and caches between them."""

import errno
import json
import os
import shutil
import stat
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.content.read.tree_cache import TreeCache, _signature
from artifactstore.model.digest import hash_bytes
from artifactstore.work.settings.settings import author

FIRST, SECOND, GROUP = 61_001, 61_002, 61_100  # of which no passwd file knows

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can act as several users: run as root"
)


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have every module loaded: an ordinary user may not be able to read this interpreter's own files."""
    store = artifactstore.open(tmp_path_factory.mktemp("loaded") / "s", cache=None)
    store.put(b"1" * 100_000, "n")
    store.put({"a": 1}, "j")
    assert store.get("j") == {"a": 1}
    assert store.verify(level="full").ok


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own is for its user alone."""
    made = Path(tempfile.mkdtemp(prefix="artifactstore-users-"))
    made.chmod(0o755)
    yield made
    for path in (made, *made.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    import shutil

    shutil.rmtree(made)


def acting(uid: int, do: Callable[[], Any], *, umask: int = 0o022, environment: Mapping[str, str] | None = None) -> Any:
    """Return what a forked child returns that acts as a user without home; its warnings come first."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([GROUP])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            for name in (
                "HOME",
                "XDG_CACHE_HOME",
                "XDG_DATA_HOME",
                "ARTIFACTSTORE_CACHE",
                "ARTIFACTSTORE_URL",
                "ARTIFACTSTORE_ACTOR",
            ):
                os.environ.pop(name, None)
            os.environ.update(environment or {})
            os.chdir("/")
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                try:
                    value: Any = do()
                except artifactstore.ArtifactStoreError as error:
                    value = f"{type(error).__name__}: {error}"
            answer = [[str(one.message) for one in said], value]
        except BaseException:  # noqa: BLE001 - whatever it is, the parent shows it
            answer = [["crashed"], traceback.format_exc()]
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        answer = json.loads(file.read())
    os.waitpid(child, 0)
    assert answer[0] != ["crashed"], answer[1]
    return answer


def source(folder: Path, text: str = "true") -> Path:
    made = folder / f"src-{text}"
    made.mkdir()
    (made / "f.txt").write_text(text)
    return made


def read(folder: Path, cache: Any, name: str = "data") -> str:
    found: Path = artifactstore.open(folder / "s", "r", cache=cache).get(name)
    return (found / "f.txt").read_text()


def owned(path: Path, uid: int, mode: int | None = None) -> Path:
    for one in (path, *path.rglob("*")):
        os.chown(one, uid, uid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)
    return path


# -- caches


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "mode", "believed"),
    [
        (0, 0o755, True),  # baked into an image
        (0, 0o555, True),
        (FIRST, 0o700, True),
        (FIRST, 0o755, True),
        (FIRST, 0o775, True),  # the user's own group
        (FIRST, 0o777, False),
        (0, 0o777, False),
        (0, 0o1777, False),
        (SECOND, 0o755, False),
        (SECOND, 0o777, False),
    ],
)
def test_a_cache_is_used_only_where_no_other_user_can_have_written_it(folder: Path, owner: int, mode: int, *, believed: bool):
    store = artifactstore.open(folder / "s", cache=folder / "cache")
    store.put(source(folder), "data")
    artifactstore.open(folder / "s", cache=folder / "cache").get("data")
    owned(folder / "cache", owner, mode)
    tree = next((folder / "cache/trees").glob("*/f.txt")).parent
    # What an attacker would do: other bytes, and a mark that vouches for them.
    inode = tree.stat().st_ino
    (tree / "f.txt").unlink()
    (tree / "f.txt").write_text("EVIL")
    (folder / f"cache/trees/{tree.name}.{inode}.used").write_text(_signature(tree))
    fold = next((folder / "cache").rglob("fold.json"))
    line, _, body = fold.read_bytes().partition(b"\n")
    body = body.replace(b'"data"', b'"evil"')
    head = {**json.loads(line), "checksum": hash_bytes(body, "blake3").hex()}
    fold.write_bytes(json.dumps(head).encode() + b"\n" + body)
    owned(folder / "cache", owner, mode)

    def get() -> Any:
        mine = artifactstore.open(folder / "s", "r", cache=folder / "cache")
        return [
            mine.names()[0].name,
            (mine.get(mine.names()[0].name) / "f.txt").read_text() if mine.names()[0].name == "data" else "",
        ]

    said, found = acting(FIRST, get)
    if believed:
        assert found[0] == "evil"  # so the cache was read: whoever owns it could have put any name there
    else:
        assert found == ["data", "true"]
        assert len(said) == 1
        assert "other users can write the cache folder" in said[0]


def test_files_of_another_user_in_an_own_cache_are_not_believed(folder: Path):
    store = artifactstore.open(folder / "s", cache=folder / "cache")
    store.put(source(folder), "data")
    store.get("data")
    owned(folder / "cache", FIRST)
    for path in (folder / "cache").rglob("*"):
        if path.is_file():
            os.chown(path, SECOND, SECOND)
    tree = next((folder / "cache/trees").glob("*/f.txt")).parent
    (tree / "f.txt").write_text("EVIL")
    mark = folder / f"cache/trees/{tree.name}.{tree.stat().st_ino}.used"
    mark.write_text(_signature(tree))
    said, found = acting(FIRST, lambda: read(folder, folder / "cache"))
    assert (said, found) == ([], "true")


def test_a_cache_that_root_has_filled_serves_a_user_who_can_only_read_it(folder: Path):
    from artifactstore.backend.wrappers.range_cache import RangeCache

    pieces = RangeCache(folder / "cache", "0" * 32)
    pieces.put_object("packs/00/x", b"whole")
    pieces.put_parts("packs/00/y", [(5, b"part")])
    for path in (folder / "cache").rglob("*"):  # what a cache holds is its user's alone, until that one says otherwise
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))

    def read() -> Any:
        mine = RangeCache(folder / "cache", "0" * 32)
        mine.put_object("packs/00/z", b"new")  # in vain, and without a word
        return [
            (mine.whole("packs/00/x") or b"").decode(),
            [(one or b"").decode() for one in mine.parts("packs/00/y", [(5, 4)])],
            mine.whole("packs/00/z"),
        ]

    assert acting(FIRST, read) == [[], ["whole", ["part"], None]]


@pytest.mark.slow
@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("change", ["nothing", "bytes", "a file more", "a file less", "a mode"])
@pytest.mark.parametrize("part", [False, True])
def test_trees_of_a_cache_that_was_copied_into_an_image_are_used_if_they_are_right(
    folder: Path, change: str, *, part: bool, writable: bool
):
    """A copy has other inodes and times; without packs nothing else can serve what was got before."""
    (folder / "src/sub").mkdir(parents=True)
    (folder / "src/sub/a").write_text("a")
    (folder / "src/run").write_text("run")
    (folder / "src/run").chmod(0o755)
    (folder / "src/link").symlink_to("sub/a")
    (folder / "src/empty").mkdir()
    asked = ["sub/*"] if part else None
    store = artifactstore.open(folder / "s", cache=folder / "cache")
    store.put(folder / "src", "d")
    store.get("d", paths=asked)
    shutil.copytree(folder / "cache", folder / "baked", symlinks=True)
    shutil.rmtree(folder / "cache")
    (root,) = (one for one in (folder / "baked/trees").iterdir() if one.is_dir() and not one.name.startswith("."))
    if change == "bytes":
        (root / "sub/a").chmod(0o644)
        (root / "sub/a").write_text("b")
    elif change == "a file more":
        (root / "more").write_text("more")
    elif change == "a file less":
        (root / "sub/a").unlink()
    elif change == "a mode":
        (root / "sub/a").chmod(0o555)
    owned(folder / "baked", FIRST if writable else 0)
    for path in (folder / "baked", *(folder / "baked").rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))

    def get() -> Any:
        mine = artifactstore.open(folder / "s", "r", cache=folder / "baked")
        found = [mine.get("d", paths=asked), mine.get("d", paths=asked)]
        return [[(one / "sub/a").read_text() for one in found], found[0] == found[1], str(found[0])]

    said, (texts, same, place) = acting(FIRST, get)
    assert texts == ["a", "a"]
    assert same or not writable
    if change == "nothing":
        assert (said, place) == ([], str(root))
    elif not writable:
        assert place != str(root)


# -- users that the machine does not know


def test_without_home_and_name_a_store_works_and_the_cache_costs_a_warning(folder: Path):
    owned(folder, FIRST)

    def work() -> Any:
        store = artifactstore.open(folder / "s")
        store.put({"a": 1}, "n")
        store.put(source(folder), "d")
        return [store.get("n"), (store.get("d") / "f.txt").read_text(), store.versions("n")[0].actor]

    said, found = acting(FIRST, work)
    assert found == [{"a": 1}, "true", f"uid:{FIRST}"]
    assert len(said) == 1
    assert "no home folder" in said[0]
    assert "working without a cache" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "", "/", "/nowhere/at/all", "/proc/self"])
def test_whatever_home_is_a_named_store_can_be_read_by_anyone(folder: Path, home: str | None):
    artifactstore.open(folder / "s", cache=None).put(source(folder), "d")
    environment = {} if home is None else {"HOME": home}
    said, found = acting(FIRST, lambda: read(folder, "default", "d"), environment=environment)
    assert found == "true"
    assert len(said) == 1


def test_a_store_that_nothing_names_needs_a_home():
    _, found = acting(FIRST, lambda: artifactstore.open(cache=None).url)
    assert found.startswith("InvalidInputError: no store is named")
    assert "ARTIFACTSTORE_URL" in found


def test_without_any_folder_for_temporary_files_a_get_says_what_it_needs(folder: Path):
    artifactstore.open(folder / "s", cache=None).put(source(folder), "d")

    def get() -> Any:
        tempfile.tempdir = "/nowhere"
        return str(artifactstore.open(folder / "s", "r", cache=None).get("d"))

    assert "to=" in acting(FIRST, get)[1]


@pytest.mark.slow
def test_without_any_folder_for_temporary_files_a_large_object_says_what_it_needs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    import numpy as np
    import pandas as pd

    store = artifactstore.create(folder / "s", cache=None)
    store.put(b"1", "n")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(artifactstore.BackendError, match="set TMPDIR"):
        store.put(pd.DataFrame({"x": np.random.default_rng(0).random(9_000_000)}), "t")  # 72 MB: more than waits in memory
    with pytest.raises(artifactstore.BackendError, match="set TMPDIR"):
        store.maintenance.snapshot()
    assert store.put({"a": 1}, "small").version == 1


def test_who_acts_is_named_by_its_number_where_it_has_no_name():
    assert acting(FIRST, lambda: author("t")().actor)[1] == f"uid:{FIRST}"


# -- a store that a group shares


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_folder_that_a_group_shares_is_written_by_all_its_members(folder: Path, umask: int):
    (folder / "s").mkdir()
    os.chown(folder / "s", 0, GROUP)
    (folder / "s").chmod(0o2775)

    def put(text: str) -> Callable[[], Any]:
        return lambda: artifactstore.open(folder / "s", cache=None).put(text.encode() * 100_000, "n").version

    for number, uid in enumerate((FIRST, SECOND, FIRST, SECOND), 1):
        assert acting(uid, put(str(number)), umask=umask) == [[], number]
    for path in (folder / "s").rglob("*"):
        st = path.stat()
        assert st.st_gid == GROUP, path
        assert st.st_mode & 0o060 == 0o060, path
        if path.is_dir():
            assert st.st_mode & (stat.S_ISGID | 0o070) == stat.S_ISGID | 0o070, path
    assert acting(SECOND, lambda: artifactstore.open(folder / "s", "r", cache=None).verify(level="full").ok) == [[], True]


@pytest.mark.parametrize(("mode", "umask"), [(0o755, 0o022), (0o775, 0o022), (0o700, 0o077)])
def test_a_folder_that_nobody_shares_is_as_the_umask_says(folder: Path, mode: int, umask: int):
    (folder / "s").mkdir()
    owned(folder / "s", FIRST, mode)
    assert acting(FIRST, lambda: artifactstore.open(folder / "s", cache=None).put(b"x", "n").version, umask=umask)[1] == 1
    for path in (folder / "s").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path


# -- errors of the disk under the cache


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EPERM])
@pytest.mark.parametrize("call", ["rename", "mkdir", "write_text", "chmod", "touch"])
def test_what_fails_in_the_cache_of_trees_fails_no_get(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int):
    store = artifactstore.open(folder / "s", cache=folder / "cache")
    store.put(source(folder), "d")
    inside = str(folder / "cache")
    owner: Any = os if call == "chmod" else Path
    real = getattr(owner, call)

    def fail(path: Any, *rest: Any, **options: Any) -> Any:
        if str(path).startswith(inside):
            raise OSError(code, os.strerror(code))
        return real(path, *rest, **options)

    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        patch.setattr(owner, call, fail)
        for _ in range(2):
            assert (store.get("d") / "f.txt").read_text() == "true"
    assert all("cannot be written" in str(one.message) for one in said)
    assert said


def test_a_full_disk_under_the_cache_of_trees_fails_no_get(folder: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []
    trees = TreeCache(folder / "cache")

    def fill(at: Path) -> None:
        made.append(at)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(artifactstore.BackendError, match="No space left"):
        trees.get("blake3:00", 1, fill)
    assert not made[0].exists()
