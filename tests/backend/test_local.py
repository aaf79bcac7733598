"""What a folder must do beyond the contract: durability, odd filesystems, full disks."""

import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from artifactstore.backend.local.backend import LocalBackend
from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError, UnsupportedError

ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def backend(root):
    return LocalBackend(root)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def refuse_links(monkeypatch, code=errno.EPERM):
    def link(source, target):
        raise OSError(code, os.strerror(code), source)

    monkeypatch.setattr(os, "link", link)


def test_nothing_is_made_before_the_first_write(backend, root):
    assert not list(backend.list(""))
    backend.delete("a")
    with pytest.raises(NotFoundError):
        backend.read("a")
    with pytest.raises(InvalidInputError):
        backend.create("a", "text")
    assert not root.exists()


@pytest.mark.parametrize("path", ["~/store", "store", "./x/../store"])
def test_the_url_is_an_absolute_path(path, isolated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = isolated / "store" if path.startswith("~") else tmp_path / "store"
    assert LocalBackend(path).url == str(wanted)
    assert LocalBackend(Path(path).expanduser()).url == str(wanted)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_files_have_the_mode_that_the_umask_gives(backend, root, mask):
    before = os.umask(mask)
    try:
        backend.write("a/b", b"1")
        backend.create("a/c", b"1")
    finally:
        os.umask(before)
    assert {(root / key).stat().st_mode & 0o777 for key in ("a/b", "a/c")} == {0o666 & ~mask}
    assert (root / "a").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("verb", ["write", "create"])
def test_a_file_is_synced_before_it_has_its_name_and_its_folders_after(backend, root, monkeypatch, verb):
    events: list[str] = []

    def watch(name, describe):
        real = getattr(os, name)

        def watched(*args):
            events.append(describe(*args))
            return real(*args)

        monkeypatch.setattr(os, name, watched)

    def synced(fd):
        path = Path(f"/proc/self/fd/{fd}").readlink().relative_to(root.parent)
        return "sync " + re.sub(r"\.tmp-\w+", "TMP", str(path))

    watch("fsync", synced)
    watch("link", lambda *_: "name")
    watch("replace", lambda *_: "name")
    watch("mkdir", lambda path: f"make {Path(path).relative_to(root.parent)}")
    getattr(backend, verb)("a/b/c", b"1")
    assert events == [
        *("make store", "sync .", "make store/a", "sync store", "make store/a/b", "sync store/a"),
        *("sync store/a/b/TMP", "name", "sync store/a/b"),
    ]
    events.clear()
    getattr(backend, verb)("a/b/d", b"1")
    assert events == ["sync store/a/b/TMP", "name", "sync store/a/b"]
    events.clear()
    # Another process may have made these folders a moment ago and not synced them yet.
    getattr(LocalBackend(root), verb)("a/b/e", b"1")
    assert [event for event in events if "TMP" not in event] == ["make store", "sync .", "make store/a", "sync store",
                                                                 "make store/a/b", "sync store/a", "name", "sync store/a/b"]  # fmt: skip


def test_a_folder_that_was_removed_is_made_again(backend, root):
    import shutil

    backend.write("a/b", b"1")
    shutil.rmtree(root)
    backend.write("a/b", b"2")
    assert backend.read("a/b") == b"2"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_create_is_refused_and_says_what_to_do(backend, root, monkeypatch, code):
    refuse_links(monkeypatch, code)
    with pytest.raises(UnsupportedError, match="single_writer=True"):
        backend.create("a", b"1")
    assert files(root) == []
    backend.write("a", b"1")
    assert backend.read("a") == b"1"


def test_without_hard_links_a_single_writer_can_create(root, monkeypatch):
    refuse_links(monkeypatch)
    backend = LocalBackend(root, single_writer=True)
    backend.create("a", b"1")
    with pytest.raises(AlreadyExistsError):
        backend.create("a", b"2")
    assert backend.read("a") == b"1"
    assert files(root) == ["a"]


def test_without_hard_links_the_threads_of_a_single_writer_still_have_one_winner(root, monkeypatch):
    refuse_links(monkeypatch)
    backend = LocalBackend(root, single_writer=True)
    won: list[int] = []

    def race():
        for key in range(50):
            try:
                backend.create(f"{key}", b"1")
            except AlreadyExistsError:
                continue
            won.append(key)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(50))


@pytest.mark.parametrize("code", [errno.EEXIST, errno.ETIMEDOUT, errno.EIO])
def test_a_link_that_was_made_though_the_call_failed_is_a_success(backend, monkeypatch, code):
    real = os.link

    def link(source, target):
        real(source, target)
        raise OSError(code, os.strerror(code))  # NFS: the reply was lost, the client asked again

    monkeypatch.setattr(os, "link", link)
    backend.create("a", b"1")
    assert backend.read("a") == b"1"


def test_a_link_that_was_not_made_is_no_success(backend, root, monkeypatch):
    refuse_links(monkeypatch, errno.EIO)
    with pytest.raises(BackendError, match="check it before anything else") as caught:
        backend.create("a", b"1")
    assert not caught.value.transient
    assert files(root) == []


@pytest.mark.parametrize("verb", ["write", "create"])
@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize(
    "failure",
    [
        (errno.ENOSPC, False, "free some space"),
        (errno.EDQUOT, False, "quota"),
        (errno.EIO, False, "check it"),
        (errno.EROFS, False, "read-only"),
        (errno.ESTALE, True, "cannot write"),
        (errno.EINTR, True, "cannot write"),
    ],
    ids=lambda failure: errno.errorcode[failure[0]],
)
def test_a_failure_leaves_nothing_and_names_the_file(backend, monkeypatch, verb, call, failure):
    code, transient, words = failure
    backend.write("a/old", b"1")

    def fail(*args):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(BackendError, match=words) as caught:
            getattr(backend, verb)("a/new", b"12345")
    assert f"{backend.url}/a/new" in str(caught.value)
    assert caught.value.transient is transient
    assert isinstance(caught.value.__cause__, OSError)
    assert files(Path(backend.url)) == ["a/old"]
    getattr(backend, verb)("a/new", b"12345")


def test_a_failed_write_leaves_the_old_object(backend, monkeypatch):
    backend.write("a", b"old")

    def pieces():
        yield bytes(2**20)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        backend.write("a", pieces())
    assert backend.read("a") == b"old"
    assert [item.key for item in backend.temporaries()] == []


@pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="needs to mount a small disk")
def test_a_full_disk_is_said_and_nothing_of_the_object_is_visible(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        backend = LocalBackend(disk / "store")
        backend.write("small", b"1" * 1000)
        for verb in (backend.write, backend.create):
            with pytest.raises(BackendError, match="No space left on device; free some space") as caught:
                verb("big", bytes(2 * 2**20))
            assert not caught.value.transient
        with pytest.raises(BackendError, match="free some space"):
            backend.write("big", (bytes(2**18) for _ in range(20)))
        assert [item.key for item in backend.list("")] == ["small"]
        assert list(backend.temporaries()) == []
        backend.write("small", b"2" * 1000)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_write_that_takes_less_than_it_was_given_goes_on(backend, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    backend.write("a", bytes(range(100)))
    assert backend.read("a") == bytes(range(100))


@pytest.mark.parametrize("takes", [1, 7, 10, 25, 99, 100])
def test_of_many_buffers_none_is_lost_where_a_write_takes_less(backend, monkeypatch, takes):
    data = bytes(range(100))
    write, writev = os.write, os.writev
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    monkeypatch.setattr(os, "writev", lambda fd, pieces: writev(fd, [memoryview(b"".join(pieces))[:takes]]))
    backend.write("a", [data[:10], b"", data[10:11], memoryview(data)[11:70], bytearray(data[70:])])
    assert backend.read("a") == data


def test_more_buffers_than_one_call_takes_are_all_written(backend):
    pieces = [number.to_bytes(3, "big") for number in range(3000)]
    backend.write("a", pieces)
    assert backend.read("a") == b"".join(pieces)


@pytest.mark.parametrize("name", ["writev", "preadv"])
def test_a_system_without_calls_for_many_buffers_does_without(backend, monkeypatch, name):
    monkeypatch.delattr(os, name)
    backend.write("a", [b"some", b" bytes"])
    room = memoryview(bytearray(5))
    backend.read_into("a", [(5, room)])
    assert bytes(room) == b"bytes"


def test_reads_that_return_less_than_was_asked_for_go_on(backend, monkeypatch):
    data = bytes(range(256)) * 10
    backend.write("a", data)
    read, pread = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 100)))
    monkeypatch.setattr("artifactstore.backend.local.backend.pread", lambda fd, size, offset: pread(fd, min(size, 100), offset))
    assert backend.read("a") == data
    assert backend.read_ranges("a", [(5, 1000)]) == [data[5:1005]]
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, rooms, offset: preadv(fd, [rooms[0][:100]], offset))
    room = memoryview(bytearray(1000))
    backend.read_into("a", [(5, room)])
    assert room == data[5:1005]


def test_a_file_that_shrinks_while_it_is_read_into_memory_is_told(backend, monkeypatch):
    backend.write("a", bytes(1000))
    monkeypatch.setattr(os, "preadv", lambda _fd, _rooms, offset: 100 if offset < 500 else 0)
    with pytest.raises(BackendError, match="ends before byte 1,000"):
        backend.read_into("a", [(0, memoryview(bytearray(1000)))])


def test_a_denied_file_is_a_failure_and_not_a_missing_key(backend, monkeypatch):
    def denied(*args):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    backend.write("a", b"1")
    monkeypatch.setattr(os, "open", denied)
    monkeypatch.setattr(os, "stat", denied)
    monkeypatch.setattr(os, "scandir", denied)
    monkeypatch.setattr(os, "unlink", denied)
    for call in (
        lambda: backend.read("a"),
        lambda: backend.read_ranges("a", [(0, 1)]),
        lambda: backend.size("a"),
        lambda: list(backend.list("")),
        lambda: backend.delete("a"),
        lambda: backend.write("a", b""),
    ):
        with pytest.raises(BackendError) as caught:
            call()
        assert not caught.value.transient


def test_unfinished_files_are_in_no_listing_and_can_be_found_and_removed(backend, root):
    backend.write("a/b", b"1")
    name = f"a/.tmp-{'0' * 32}"
    (root / name).write_bytes(b"half")
    assert [item.key for item in backend.list("")] == ["a/b"]
    assert [(item.key, item.size) for item in backend.temporaries()] == [(name, 4)]
    with pytest.raises(InvalidInputError, match="reserved for temporary files"):
        backend.write(name, b"")
    backend.delete(name)
    assert files(root) == ["a/b"]


def test_what_is_not_ours_is_left_out_of_a_listing(backend, root):
    backend.write("a/b", b"1")
    (root / "a" / "with blank").write_bytes(b"")
    (root / "ünïcode").mkdir()
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    assert [item.key for item in backend.list("")] == ["a/b"]


def test_files_that_vanish_during_a_listing_are_no_error(backend, root):
    for number in range(5):
        backend.write(f"a/{number}", b"1")
        backend.write(f"b/{number}", b"1")
    listing = backend.list("")
    first = next(listing)
    for key in [f"{folder}/{number}" for folder in "ab" for number in range(5)]:
        backend.delete(key)
    assert {item.key[0] for item in listing} <= {first.key[0]}
    assert not list(backend.list(""))


def test_a_folder_where_the_object_should_be_is_said(backend):
    backend.write("a/b", b"1")
    for verb in (backend.write, backend.create):
        with pytest.raises(BackendError, match="a folder is in the object's place"):
            verb("a", b"")
        with pytest.raises(BackendError, match="a file is in the place of a folder"):
            verb("a/b/c", b"")


def test_a_filesystem_that_can_not_sync_folders_is_good_enough(backend, monkeypatch):
    real = os.fsync

    def fsync(fd):
        if Path(f"/proc/self/fd/{fd}").is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    backend.create("a/b", b"1")
    assert backend.read("a/b") == b"1"


def test_a_local_store_loads_nothing_that_speaks_to_a_network(tmp_path):
    code = (
        "import sys; from artifactstore.backend.connect import connect; b = connect(sys.argv[1]); b.create('a/b', b'1');"
        "assert b.read('a/b') == b'1'; connect('memory://x').write('a', b'');"
        "print([m for m in ('fsspec', 's3fs', 'botocore', 'pyarrow', 'pydantic', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


VERBS = {
    "read": lambda backend, key: backend.read(key),
    "a range": lambda backend, key: backend.read_ranges(key, [(0, 1)]),
    "into memory": lambda backend, key: backend.read_into(key, [(0, memoryview(bytearray(1)))]),
    "size": lambda backend, key: backend.size(key),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["a pipe", "a link to a pipe", "a link to a device", "a socket"])
def test_what_may_never_end_is_refused_and_not_waited_for(backend, root, kind, verb):
    root.mkdir()
    if kind == "a pipe":
        os.mkfifo(root / "x")
    elif kind == "a link to a pipe":
        os.mkfifo(root / "pipe")
        (root / "x").symlink_to("pipe")
    elif kind == "a link to a device":
        (root / "x").symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(root):  # the path of a socket is short
            made.bind("x")
    with pytest.raises(BackendError) as error:
        VERBS[verb](backend, "x")
    assert not error.value.transient
    assert list(backend.list("")) == []
    with pytest.raises((AlreadyExistsError, BackendError)):
        backend.create("x", b"1")


def test_links_that_lead_in_circles_end_a_listing_and_other_links_are_followed(backend, root, tmp_path):
    for key in ("a/one", "a/b/two"):
        backend.write(key, b"1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/three").write_bytes(b"1")
    (tmp_path / "elsewhere/back").symlink_to(root / "a")
    (root / "a/here").symlink_to(".")
    (root / "a/b/up").symlink_to("../..")
    (root / "a/self").symlink_to("self")
    (root / "a/nothing").symlink_to("nowhere")
    (root / "far").symlink_to(tmp_path / "elsewhere")
    found = sorted(item.key for item in backend.list(""))
    assert found == ["a/b/two", "a/one", "far/back/b/two", "far/back/one", "far/three"]
    with pytest.raises(BackendError):
        backend.read("a/self")
