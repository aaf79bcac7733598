"""The node's cache: the second pod gets the files of the first as clones or links, and never a byte that is not the approved one."""

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import InvalidInputError
from artifactstore.content.read import shared_tree
from artifactstore.content.read.shared_tree import Lender
from artifactstore.content.read.tree_cache import signature_of, stats_of
from artifactstore.integrations.kserve.command import main
from artifactstore.runtime.file_stats import file_system, leases
from tests.work.tree import tree

FILES = {"a/model-1.bin": os.urandom(1_500_000), "model-2.bin": os.urandom(1_100_000), "config.json": b"{}", "run.sh": b"#!\n"}
PROGRAM = "from artifactstore.integrations.kserve.command import run; run()"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Node":
    if not leases(file_system(str(tmp_path))):
        pytest.skip("the file system of temporary files has no leases, so nothing in a cache there is shared")
    monkeypatch.setattr(shared_tree, "_clone", lambda *_: False)  # clones have tests of their own, below
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TERMINATION_LOG_PATH", str(tmp_path / "termination-log"))
    for name in ("ARTIFACTSTORE_KSERVE_REQUIRE", "ARTIFACTSTORE_KSERVE_SHARE"):
        monkeypatch.delenv(name, raising=False)
    return Node(tmp_path)


class Node:
    """A machine with a store, a cache, and pods that start on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path, data in FILES.items():
            target = folder / "source" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        self.uri = artifactstore.open(folder / "store", cache=None).put(folder / "source", "m", kind="model").uri
        self.pods = 0

    def start(self, *, at: Path | None = None) -> Path:
        """Start a pod; return its folder, which has exactly the approved bytes."""
        self.pods += 1
        pod = at or self.folder / f"pod{self.pods}"
        assert main([self.uri, str(pod)]) == 0, (self.folder / "termination-log").read_text()
        assert tree(pod) == FILES
        return pod

    def cut_off(self) -> None:
        """Take away the bytes of the store: what starts now has them from the cache."""
        (self.folder / "store/packs").rename(self.folder / "packs")

    def connect(self) -> None:
        (self.folder / "packs").rename(self.folder / "store/packs")

    @property
    def cached(self) -> Path:
        (found,) = (one for one in (self.folder / "cache/trees").iterdir() if one.is_dir())
        return found


def inode(path: Path) -> int:
    return path.stat().st_ino


def shares(one: Path, other: Path) -> bool:
    return inode(one / "model-2.bin") == inode(other / "model-2.bin")


@pytest.fixture
def read_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The large cached files whose bytes were read."""
    read: list[str] = []

    def noting(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if args[-2].sizes[args[-1]] > 1_000_000:
                read.append(name(*args))
            return function(*args)

        return call

    monkeypatch.setattr(shared_tree, "_is_equal", noting(shared_tree._is_equal, lambda path, *_: Path(path).name))
    monkeypatch.setattr(shared_tree, "_copy", noting(shared_tree._copy, lambda *args: args[-2].paths[args[-1]]))
    return read


def test_the_second_pod_starts_without_reading_a_byte(node: Node, read_again: list[str]) -> None:
    first = node.start()
    node.cut_off()
    pods = [node.start() for _ in range(3)]
    assert read_again == []
    assert all(shares(first, one) for one in pods)
    assert not (first / "model-2.bin").stat().st_mode & 0o222
    assert not shares(first, node.start(at=node.folder / "other")) or inode(first / "config.json") != inode(
        pods[0] / "config.json"
    )


def test_when_pods_end_the_bytes_are_read_again_and_not_fetched(node: Node, read_again: list[str]) -> None:
    first = node.start()
    shutil.rmtree(first)
    node.cut_off()
    second = node.start()
    assert sorted(read_again) == ["model-1.bin", "model-2.bin"]
    read_again.clear()
    assert shares(second, node.start())
    assert read_again == []


def _rewrite(path: Path, change: Callable[[Path], object]) -> None:
    """Change a file as its owner can, with the mode and the times that it had."""
    st = path.stat()
    path.chmod(0o644)
    change(path)
    if path.exists():
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        path.chmod(st.st_mode & 0o777)


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))


def _flip_by_map(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[1000] ^= 1


def _replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    _flip(other)
    other.rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "flipped": _flip,
    "flipped by a map": _flip_by_map,
    "cut": lambda path: os.truncate(path, 1000),
    "replaced": _replace,
    "gone": Path.unlink,
    "beside another": lambda path: path.with_name("model-3.bin").write_bytes(b"x"),
}


@pytest.mark.parametrize("how", [*CHANGES, "a link elsewhere"])
def test_a_cached_file_that_was_changed_is_not_served(node: Node, how: str) -> None:
    node.start()
    path = node.cached / "model-2.bin"
    if how == "a link elsewhere":
        aside = node.folder / "aside"
        shutil.copy2(path, aside)
        path.unlink()
        path.symlink_to(aside)
    else:
        _rewrite(path, CHANGES[how])
    second = node.start()
    assert shares(second, node.start())


@pytest.mark.parametrize("how", ["flipped", "flipped by a map", "cut"])
def test_a_neighbour_that_writes_into_its_links_changes_no_pod_that_starts_later(node: Node, how: str) -> None:
    first = node.start()
    node.start()
    _rewrite(first / "model-2.bin", CHANGES[how])
    third = node.start()
    assert not shares(first, third)
    assert shares(third, node.start())


@pytest.mark.parametrize("by_map", [False, True])
def test_a_file_that_a_neighbour_has_open_for_writing_is_not_linked(node: Node, *, by_map: bool) -> None:
    """It could write between the look and the start, and leave no trace."""
    first = node.start()
    path = first / "model-2.bin"
    path.chmod(0o644)
    with path.open("r+b") as file:
        path.chmod(0o444)
        memory = mmap.mmap(file.fileno(), 0) if by_map else None
        if memory is not None:
            memory[0] = memory[0]
            file.close()
        second = node.start()
        assert not shares(first, second)
        assert shares(second, node.start())


def test_a_writer_whose_open_left_no_trace_gets_copies_made(node: Node, read_again: list[str]) -> None:
    """As root can: no mode has to be changed for it."""
    first = node.start()
    node.cut_off()
    with (first / "model-2.bin").open("r+b"):
        second = node.start()
    assert not shares(first, second)
    assert inode(first / "a/model-1.bin") == inode(second / "a/model-1.bin")
    assert read_again == ["model-2.bin"]


def test_nobody_can_open_a_linked_file_for_writing_until_the_mark_is_renewed(
    node: Node, monkeypatch: pytest.MonkeyPatch, read_again: list[str]
) -> None:
    """And one that tries, and might be let in after a while, costs the mark: every byte is read again."""
    renew, refused = Lender._renew, []
    opening = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK)"

    def attacked(self: Lender) -> None:
        target = node.folder / f"pod{node.pods}/model-2.bin"
        done = subprocess.run([sys.executable, "-c", opening, str(target)], capture_output=True, text=True, check=False)
        refused.append("BlockingIOError" in done.stderr)
        renew(self)

    monkeypatch.setattr(Lender, "_renew", attacked)
    node.start()
    monkeypatch.setattr(Lender, "_renew", renew)
    assert refused == [True]
    node.cut_off()
    node.start()
    assert sorted(read_again) == ["model-1.bin", "model-2.bin"]
    node.start()
    assert len(read_again) == 2


def test_what_is_copied_is_compared_whatever_the_records_say(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.start()
    monkeypatch.setattr(shared_tree, "_MOST_LINKS", 0)
    for name in ("config.json", "model-2.bin"):
        path = node.cached / name
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        path.chmod(0o444)
    (mark,) = (node.folder / "cache/trees").glob("*.used")
    mark.write_text(signature_of(node.cached, stats_of(node.cached)))
    node.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("whose", ["file", "tree"])
def test_files_of_another_user_are_not_shared(node: Node, whose: str) -> None:
    first = node.start()
    os.chown(node.cached / "model-2.bin" if whose == "file" else node.cached, 65534, 65534)
    second = node.start()
    assert not shares(first, second)
    assert (second / "model-2.bin").stat().st_uid == (node.cached / "model-2.bin").stat().st_uid == 0
    assert shares(second, node.start())


def test_the_mode_of_a_file_is_that_of_a_new_one_without_the_right_to_write(node: Node) -> None:
    os.umask(0o077)
    try:
        hidden = node.start()
    finally:
        os.umask(0o022)
    assert (hidden / "model-2.bin").stat().st_mode & 0o777 == 0o400
    open_ = node.start()
    assert (open_ / "model-2.bin").stat().st_mode & 0o444 == 0o444
    assert (open_ / "config.json").stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize(("share", "links"), [("links", True), ("", True), ("clones", False), ("nothing", False)])
def test_what_may_be_shared_is_said_by_a_variable(
    node: Node, monkeypatch: pytest.MonkeyPatch, share: str, *, links: bool
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_KSERVE_SHARE", share)
    first, second = node.start(), node.start()
    assert shares(first, second) is links
    monkeypatch.setenv("ARTIFACTSTORE_KSERVE_SHARE", "perhaps")
    assert main([node.uri, str(node.folder / "no")]) == 1
    assert not (node.folder / "no").exists()


def test_only_so_many_files_are_linked_as_can_be_held(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_tree, "_MOST_LINKS", 1)
    first, second = node.start(), node.start()
    same = [inode(first / path) == inode(second / path) for path in FILES]
    assert sum(same) == 1


def test_a_tree_that_is_lent_is_the_one_that_others_get_from_the_cache(node: Node) -> None:
    pod = node.start()
    node.cut_off()
    got = artifactstore.open(node.folder / "store").get("m")
    assert got == node.cached
    assert inode(got / "model-2.bin") == inode(pod / "model-2.bin")
    node.start()
    assert artifactstore.open(node.folder / "store").get("m") == got


def test_a_container_that_is_started_again_goes_on_where_it_was(node: Node) -> None:
    pod = node.start()
    (pod / "model-2.bin").unlink()
    node.cut_off()
    assert node.start(at=pod) == pod
    assert node.start(at=pod) == pod


@pytest.mark.parametrize("same", [False, True])
def test_pods_that_start_at_once_fetch_once_and_have_the_same_bytes(node: Node, *, same: bool) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(artifactstore.__file__).parents[1])}
    pods = [node.folder / ("one" if same else f"at-once-{n}") for n in range(3)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, node.uri, str(pod)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for pod in pods
    ]
    for one in running:
        out, err = one.communicate(timeout=120)
        assert one.returncode == 0, err
        assert json.loads(out)["files"] == len(FILES)
    assert all(tree(pod) == FILES for pod in pods)
    if str(file_system(str(node.folder))).startswith("ext"):  # no clones
        assert len({inode(pod / "model-2.bin") for pod in pods}) == 1


@pytest.mark.slow
def test_a_start_that_is_killed_anywhere_leaves_nothing_that_the_next_one_trusts(node: Node) -> None:
    """At each call that makes a link, gives a name, or writes a mark."""
    killed = (
        "import os, sys, pathlib\n"
        "left = int(sys.argv.pop(1))\n"
        "def dying(function):\n"
        "    def call(*args, **more):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left == 0: os._exit(9)\n"
        "        done = function(*args, **more)\n"
        "        left -= 1\n"
        "        if left == 0: os._exit(9)\n"
        "        return done\n"
        "    return call\n"
        "import artifactstore\n"
        "os.link, os.replace, os.rename = dying(os.link), dying(os.replace), dying(os.rename)\n"
        "pathlib.Path.write_text = dying(pathlib.Path.write_text)\n" + PROGRAM
    )
    env = {**os.environ, "PYTHONPATH": str(Path(artifactstore.__file__).parents[1])}
    step, ended = 1, False
    while not ended:
        if step % 3 == 1:
            shutil.rmtree(node.folder / "cache", ignore_errors=True)
        pod = node.folder / f"killed{step}"
        words = [sys.executable, "-c", killed, str(step), node.uri, str(pod)]
        code = subprocess.run(words, env=env, capture_output=True, check=False).returncode
        assert code in {0, 9}
        assert node.start(at=pod) == pod
        ended = code == 0
        step += 2
    assert step > 8


def test_a_get_shares_only_what_it_can_and_says_what_it_does_not_know(node: Node) -> None:
    store = artifactstore.open(node.folder / "store")
    whole = store.get("m", node.folder / "whole", share="links")
    again = store.get("m", node.folder / "again", share="links")
    assert shares(whole, again)
    part = store.get("m", node.folder / "part", paths=["model-2.bin"], share="links")
    assert not shares(whole, part)
    inner = store.get("m:v1/a", node.folder / "inner", share="links")
    assert inode(inner / "a/model-1.bin") != inode(whole / "a/model-1.bin")
    alone = artifactstore.open(node.folder / "store", cache=None).get("m", node.folder / "alone", share="links")
    assert not shares(whole, alone)
    assert tree(alone) == FILES
    with pytest.raises(InvalidInputError, match="clones"):
        store.get("m", node.folder / "no", share=True)


# -- clones


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on XFS, whose files can be cloned."""
    maker = shutil.which("mkfs.xfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or maker is None:
        pytest.skip("only root can mount a file system with clones, and mkfs.xfs must be installed")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(320 * 2**20)
    subprocess.run([maker, "-q", "-m", "reflink=1", str(image)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no file system of a file")
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("TERMINATION_LOG_PATH", str(folder / "termination-log"))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _changed_in(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    return bytes(data)


def test_a_clone_is_a_file_of_its_own(disk: Path, read_again: list[str]) -> None:
    """Also behind another mount of the file system, as a pod's volumes are."""
    node = Node(disk)
    first = node.start()
    node.cut_off()
    other = disk.parent / "volume"
    other.mkdir()
    (disk / "volume").mkdir()
    subprocess.run(["mount", "--bind", str(disk / "volume"), str(other)], check=True)
    try:
        with pytest.raises(OSError, match="cross-device"):
            os.link(node.cached / "model-2.bin", other / "link")
        try:
            node.start(at=other / "pod")
        except AssertionError:
            if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 18):
                pytest.skip("before Linux 5.18 nothing is cloned from one mount to another")
            raise
    finally:
        subprocess.run(["umount", "-l", str(other)], check=False)
    second = node.start()
    assert read_again == []
    assert (second / "model-2.bin").stat().st_nlink == 1
    assert (second / "model-2.bin").stat().st_mode & 0o200
    _changed_in(first / "model-2.bin")
    assert tree(second) == FILES
    third = node.start()
    assert read_again == []
    _rewrite(node.cached / "model-2.bin", _flip)
    node.connect()
    fourth = node.start()
    assert read_again == ["model-2.bin"] or sorted(read_again) == ["model-1.bin", "model-2.bin"]
    assert tree(third) == tree(fourth) == FILES
