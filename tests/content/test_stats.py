"""What a stat proves: a file that was changed in any way, on any file system here, is never taken for unchanged."""

import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

import artifactstore
from artifactstore.content.write.source import from_file
from artifactstore.content.write.stat_cache import StatCache
from artifactstore.model.digest import Digest
from artifactstore.runtime import file_stats

SIZES = (300, 5_000, 3_000_000)
SETTLED = 0.1  # seconds: more than a tick of the clock, so that times tell the one change from the other


class Mapped:
    """A file that is open through a map."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def change(self) -> None:
        self.map[7:8] = bytes([self.map[7] ^ 255])

    def close(self) -> None:
        self.map.close()


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    """A folder on each kind of file system that is at hand."""
    shared = Path("/dev/shm")
    others = [Path(mkdtemp(dir=shared))] if os.access(shared, os.W_OK) else []
    (tmp_path / "files").mkdir()
    yield [tmp_path / "files", *others]
    for other in others:
        shutil.rmtree(other)


def plainly(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)


def keeping_its_time(path: Path) -> None:
    st = path.stat()
    plainly(path)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def by_another_file(path: Path) -> None:
    st, other = path.stat(), path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1] + b"")
    os.utime(other, ns=(st.st_atime_ns, st.st_mtime_ns))
    other.replace(path)


def through_a_new_map(path: Path) -> None:
    one = Mapped(path)
    one.change()
    one.close()


def test_a_change_of_any_kind_is_seen_by_the_next_put(tmp_path: Path, folders: list[Path]):
    calls = (plainly, keeping_its_time, by_another_file, through_a_new_map)
    ways: list[str | Callable[[Path], None]] = ["map", "map, flushed", "map, closed", *calls]
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    files: list[tuple[Path, str | Callable[[Path], None]]] = []
    mapped: dict[Path, Mapped] = {}
    for folder in folders:
        for size in SIZES:
            for way in ways:
                path = folder / f"{size} {getattr(way, '__name__', way)}"
                path.write_bytes(os.urandom(size))
                files.append((path, way))
                if isinstance(way, str):
                    mapped[path] = Mapped(path)
                    mapped[path].change()
    time.sleep(SETTLED)
    for folder in folders:
        store.put(folder)
    time.sleep(SETTLED)
    for path, way in files:
        if not isinstance(way, str):
            way(path)
            continue
        mapped[path].change()
        if way == "map, flushed":
            mapped[path].map.flush()
        if way == "map, closed":
            mapped[path].close()
    for folder in folders:
        digests = {one.path: one.digest for one in store.put(folder).files}
        true = {path.name: str(Digest.of(path.read_bytes())) for path, _ in files if path.parent == folder}
        assert [name for name in true if digests[name] != true[name]] == []


def test_an_unchanged_file_on_a_disk_is_not_read_again(tmp_path: Path):
    if file_stats.file_system(str(tmp_path)) not in {"ext2", "ext3", "ext4", "btrfs", "xfs", "f2fs"}:
        pytest.skip("the folder for tests is on another file system")
    path, cache = tmp_path / "f", StatCache(tmp_path / "cache", "blake3")
    path.write_bytes(b"some data")
    time.sleep(SETTLED)
    store = artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")
    made = store.put(path)
    assert cache.lookup(str(path), [from_file(str(path))]) != [None]
    opened = Mapped(path)
    opened.change()
    time.sleep(SETTLED)
    assert store.put(path).digest != made.digest
    assert cache.lookup(str(path), [from_file(str(path))]) == [None]  # a process may change it through that map
    opened.close()
    store.put(path)
    assert cache.lookup(str(path), [from_file(str(path))]) != [None]


@pytest.mark.parametrize(
    "case",
    [
        ("ext4", -1.0, False, True),
        ("ext4", -1.0, True, False),
        ("ext4", -100_000.0, True, True),  # written back long ago: a map that changes it sets its time
        ("ext4", -0.001, False, False),
        ("ext4", 1.0, False, False),
        ("overlay", -1.0, False, False),  # a lease knows nothing of maps there
        ("overlay", -100_000.0, False, True),
        ("nfs4", -1.0, False, False),
        ("nfs4", -100_000.0, True, True),
        *(
            (kind, -100_000.0, False, False)
            for kind in ("tmpfs", "ramfs", "fuse.s3fs", "9p", "virtiofs", "hugetlbfs", "new", None)
        ),
    ],
)
def test_what_a_stat_proves_depends_on_file_system_time_and_writers(case: tuple[str | None, float, bool, bool]):
    kind, changed, held, lasts = case
    now = time.time_ns()
    at = now + int(changed * 1e9)
    at -= at % 1_000_000 == 0  # a whole number of milliseconds is taken for a coarse clock
    st = os.stat_result((0o100644, 1, 2, 1, 0, 0, 4, 0, 0, 0), {"st_mtime_ns": at, "st_ctime_ns": at})
    assert file_stats.lasting(kind, file_stats.signature(st), held=held, hashed_at=now) is lasts


@pytest.mark.parametrize("time_ns", [-(2**70), -(2**63) - 1, -1, 0, 2**63 - 1, 2**63, 2**64 + 5])
def test_any_time_and_any_inode_has_a_signature(time_ns: int):
    values = (0o100644, 2**100 + 1, 2**66, 1, 0, 0, 4, 0, 0, 0)
    one = os.stat_result(values, {"st_mtime_ns": time_ns, "st_ctime_ns": 1})
    other = os.stat_result(values, {"st_mtime_ns": time_ns + 1, "st_ctime_ns": 1})
    assert file_stats.signature(one) == file_stats.signature(one) != file_stats.signature(other)


def test_the_type_of_a_file_system_is_found_below_links_and_other_mounts(tmp_path: Path):
    if file_stats.file_system("/proc/self/stat") is None:
        pytest.skip("the mounts are not known here")
    assert file_stats.file_system("/proc/self/stat") == "proc"
    (tmp_path / "link").symlink_to("/proc")
    assert file_stats.file_system(str(tmp_path / "link/self/stat")) == "proc"
    assert file_stats.file_system(str(tmp_path)) != "proc"
