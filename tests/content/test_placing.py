"""Targets of a get: other disks, folders above that can't be written, several gets at once, gets that were killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

import artifactstore
from artifactstore.content.read import checkout
from artifactstore.content.read.partial_folder import is_partial, partial_folder
from artifactstore.content.read.retrieve import retrieve
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError
from artifactstore.store import Store
from tests.work.tree import tree

posix = pytest.mark.skipif(os.name == "nt", reason="links, modes and locks of POSIX")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for path in ("a", "sub/b", "sub/deep/c"):
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / path).write_text(path)
    (tmp_path / "source/link").symlink_to("sub/b")
    (tmp_path / "source/empty").mkdir()
    return tmp_path / "source"


@pytest.fixture
def store(tmp_path: Path, source: Path) -> Store:
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    store.put(source, "d")
    return store


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(mkdtemp(dir=shared))
    yield folder
    shutil.rmtree(folder)


@posix
@pytest.mark.parametrize("there", ["nothing", "a part", "everything", "something else"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_target_may_be_a_link_to_another_disk(
    store: Store, source: Path, disk: Path, tmp_path: Path, there: str, *, overwrite: bool
):
    (tmp_path / "target").symlink_to(disk)
    if there == "a part":
        (disk / "a").write_text("a")
    if there == "everything":
        shutil.copytree(source, disk, symlinks=True, dirs_exist_ok=True)
    if there == "something else":
        (disk / "other").write_text("other")
    store.get("d", to=tmp_path / "target", overwrite=overwrite)
    assert tree(disk) == tree(source) | ({"other": b"other"} if there == "something else" else {})
    assert (tmp_path / "target").is_symlink()


@pytest.mark.slow
@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_target_or_a_folder_in_it_may_be_a_mount(store: Store, source: Path, tmp_path: Path):
    code = (
        "import artifactstore, sys; from tests.work.tree import tree; from pathlib import Path\n"
        "store = artifactstore.open(sys.argv[1], 'r', cache=None)\n"
        "for target in sys.argv[3:]:\n"
        "    store.get('d', to=target, overwrite='over' in target)\n"
        "    assert tree(Path(target)) == tree(Path(sys.argv[2])), target"
    )
    targets = [tmp_path / f"{way}{number}" for number in range(3) for way in ("new", "over")]
    mounts = [target / inner for target, inner in zip(targets, ("", "", "sub", "sub", "sub/deep", "sub/deep"), strict=True)]
    for mount in mounts:
        mount.mkdir(parents=True)
    lines = "".join(f'mount -t tmpfs none "{mount}" || exit 77\n' for mount in mounts)
    command = ["unshare", "-m", "sh", "-c", f'{lines}exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run([*command, store.url, source, *targets], capture_output=True, text=True, check=False)
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def user() -> Iterator[None]:
    """Not root, who may do everything."""
    if os.name == "nt" or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def open_to_all(*folders: Path) -> None:
    for folder in folders:
        for one in (folder, *folder.parents):
            if one.stat().st_uid == os.getuid() and one != Path("/"):
                one.chmod(one.stat().st_mode | 0o055)


@posix
def test_only_the_target_must_be_writable_and_a_message_says_what_was_placed(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
):
    for name in ("target", "full/sub", "closed"):
        (tmp_path / "parent" / name).mkdir(parents=True)
    open_to_all(tmp_path / "parent", Path(store.url))
    for folder in ("parent/target", "parent/full"):
        (tmp_path / folder).chmod(0o777)
    for folder in ("parent/full/sub", "parent/closed", "parent"):
        (tmp_path / folder).chmod(0o555)
    reading = artifactstore.open(store.url, "r", cache=None)
    reading.artifact("d")
    request.getfixturevalue("user")
    reading.get("d", to=tmp_path / "parent/target")
    assert names(tmp_path / "parent/target") == ["a", "empty", "link", "sub"]
    with pytest.raises(BackendError, match=r"\d of 4 files were written before that.*get again"):
        reading.get("d", to=tmp_path / "parent/full")
    assert "a" in names(tmp_path / "parent/full")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        reading.get("d", to=tmp_path / "parent/closed")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        reading.get("d", to=tmp_path / "parent/new")
    assert not [name for _, folders, _ in os.walk(tmp_path / "parent") for name in folders if is_partial(name)]


@pytest.mark.parametrize("there", ["nothing", "the folder", "something else"])
def test_gets_of_the_same_into_one_folder_all_succeed(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
):
    """Each has looked at the target, and written what is missing there, before any of them places it."""
    together, real, wrong = threading.Barrier(4), retrieve, []

    def all_at_once(*arguments: object, **more: object) -> None:
        real(*arguments, **more)  # type: ignore[arg-type]
        together.wait(60)

    monkeypatch.setattr(checkout, "retrieve", all_at_once)
    if there != "nothing":
        (tmp_path / "out").mkdir()
    if there == "something else":
        (tmp_path / "out/other").write_text("")

    def work() -> None:
        try:
            artifactstore.open(store.url, "r", cache=None).get("d", to=tmp_path / "out")
        except Exception as error:  # noqa: BLE001 - told below
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    found = tree(tmp_path / "out")
    found.pop("other", None)
    assert found == tree(source)


@posix
@pytest.mark.parametrize(
    ("path", "make"), [("a", "file"), ("sub/b", "file"), ("link", "link"), ("link", "file"), ("sub", "file"), ("sub", "link")]
)
def test_what_is_placed_meanwhile_and_differs_is_never_replaced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, make: str
):
    real, out = retrieve, tmp_path / "out"
    out.mkdir()

    def meanwhile(*arguments: object, **more: object) -> None:
        real(*arguments, **more)  # type: ignore[arg-type]
        (out / path).parent.mkdir(exist_ok=True)
        if make == "file":
            (out / path).write_text("another's")
        else:
            (out / path).symlink_to(tmp_path)

    monkeypatch.setattr(checkout, "retrieve", meanwhile)
    with pytest.raises(AlreadyExistsError, match=r"by another process meanwhile.*written"):
        store.get("d", to=out)
    assert (out / path).read_text() == "another's" if make == "file" else (out / path).readlink() == tmp_path


@posix
def test_what_a_killed_get_left_is_cleared_by_the_next_one_and_what_lives_is_not(store: Store, tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from artifactstore.content.read.partial_folder import partial_folder\n"
        "with partial_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'f').write_text('half'); print(folder.name, flush=True); time.sleep(600)"
    )
    out = tmp_path / "out"
    out.mkdir()
    for parent, target in ((tmp_path / "beside", tmp_path / "beside/new"), (out, out)):
        parent.mkdir(exist_ok=True)
        children = [subprocess.Popen([sys.executable, "-c", code, parent], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        dead, living = [str(child.stdout and child.stdout.readline()).strip() for child in children]
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        old = parent / ".0123456789abcdef.partial"
        old.mkdir()
        os.utime(old, (1, 1))
        store.get("d", to=target)
        assert (dead in names(parent), living in names(parent), old.exists()) == (False, True, False)
        assert [one.path for one in store.put(parent).files if "partial" in one.path] == []
        children[1].kill()
        children[1].wait()


def test_an_unfinished_folder_is_made_where_it_can_be_and_gone_at_the_end(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with partial_folder(tmp_path / "file", tmp_path / "new/deep") as folder:
        assert folder.parent == tmp_path / "new/deep"
        assert is_partial(folder.name)
        (folder / "x").write_text("")
    assert names(tmp_path / "new/deep") == []
    with pytest.raises(InvalidInputError, match="cannot be written"), partial_folder(tmp_path / "file"):
        pass


@pytest.mark.slow
@posix
def test_a_cached_tree_stays_as_long_as_a_process_lives_that_was_given_it(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ARTIFACTSTORE_CACHE_BYTES", "10")
    code = (
        "import artifactstore, sys, time\n"
        "print(artifactstore.open(sys.argv[1], 'r', cache=sys.argv[2]).get('d', paths=['a']), flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, store.url, tmp_path / "cache"], stdout=subprocess.PIPE, text=True)
    theirs, mine = Path(str(child.stdout and child.stdout.readline()).strip()), store.get("d")

    def get_more(folder: str) -> None:
        for mark in (tmp_path / "cache/trees").glob("*.used"):
            os.utime(mark, (1, 1))
        store.get(store.put(source / folder).digest)

    get_more("sub")
    assert (theirs.exists(), mine.exists()) == (True, True)
    child.kill()
    child.wait()
    get_more("sub/deep")
    assert (theirs.exists(), mine.exists()) == (False, True)


@posix
@pytest.mark.parametrize("what", ["an empty folder", "a file", "a link"])
def test_a_get_makes_nothing_behind_a_link_in_its_target_and_says_so_before_it_writes(tmp_path: Path, what: str):
    """Also where the very same is there behind the link."""
    source, out, elsewhere = tmp_path / "src", tmp_path / "out", tmp_path / "elsewhere"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("a")
    make = {
        "an empty folder": lambda folder: (folder / "x").mkdir(),
        "a file": lambda folder: (folder / "x").write_text("x"),
        "a link": lambda folder: (folder / "x").symlink_to("y"),
    }[what]
    make(source / "sub")
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(source, "d")
    elsewhere.mkdir()
    make(elsewhere)
    out.mkdir()
    (out / "sub").symlink_to(elsewhere)
    with pytest.raises(AlreadyExistsError, match=r"has other content under sub/x; nothing was written"):
        store.get("d", to=out)
    assert (names(out), names(elsewhere)) == (["sub"], ["x"])
    store.get("d", to=out, overwrite=True)
    assert tree(out) == tree(source)
    assert names(elsewhere) == ["x"]
